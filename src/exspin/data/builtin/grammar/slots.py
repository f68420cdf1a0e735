"""What the forms of question share: choosing tables and columns by shape, and the slots that frames are filled with."""

from __future__ import annotations

from dataclasses import dataclass

from exspin.data.builtin.grammar import wording
from exspin.data.builtin.grammar.rowset import RowSet, draw_rows
from exspin.data.builtin.grammar.speaker import Speaker, Unsuitable, are_years
from exspin.data.builtin.meaning import Agg, Query, Ref
from exspin.data.builtin.phrasebook import Kind, Link

AGGREGATES = {
    "AVG": ("average", "mean", "average"),
    "MAX": ("highest", "maximum", "largest"),
    "MIN": ("lowest", "minimum", "smallest"),
    "SUM": ("total", "total", "combined"),
}
YEARS = {"MAX": "latest", "MIN": "earliest"}
Slots = dict[str, str]
Asked = tuple[str, Slots, Query]  # frames, slots, meaning


@dataclass(frozen=True, slots=True)
class Group:
    """What rows are grouped by: a column of their own or of a parent."""

    keys: tuple[Ref, ...]  # GROUP BY
    show: Ref  # SELECT
    say: str


def spoken_tables(s: Speaker, *, event: bool | None = None) -> list[str]:
    """Tables people ask about, larger vocabularies more often."""
    tables = [t for t, words in s.book.tables.items() if words.columns]
    if event is not None:
        tables = [t for t in tables if bool(s.links_up(t)) == event]
    return tables


def choose_rows(s: Speaker, kind: str, tables: list[str] | None = None) -> RowSet:
    tables = spoken_tables(s) if tables is None else tables
    if not tables:
        raise Unsuitable
    weights = [1 + len(s.book.tables[t].columns) for t in tables]
    return draw_rows(s, s.shape.choices(tables, weights)[0], kind)


def row_slots(s: Speaker, rows: RowSet) -> Slots:
    slots = {"set": rows.set, "one": rows.one, "many": rows.many}
    slots["among"] = f" among those {rows.text}" if rows.text else ""
    person = s.book.tables[rows.table].person
    if wording.is_neutral(rows.text):
        slots["each"] = f"{rows.one} {rows.text}".strip()
    if len(rows.modifiers) == 1:
        if wording.is_subject_clause(rows.text):
            slots["vp"] = rows.text.partition(" ")[2]
            if person and wording.is_neutral(rows.text):
                slots["vp_who"] = slots["vp"]
        if rows.text.split(" ")[0] in wording.AFTER_BE and " which " not in rows.text:
            slots["be"] = rows.text
    if person and rows.text:
        slots["set_who"] = rows.set
    return slots


def columns_slots(says: list[str]) -> Slots:
    return {
        "cols": wording.listed(says),
        "colss": wording.listed([wording.plural(say) for say in says]),
    }


def most_slots(s: Speaker, table: str, column: str, descending: bool) -> Slots:
    """`the doctor {most}`, `the {high} {say}`."""
    words = s.book.tables[table].columns[column]
    if words.kind is Kind.DATE:
        phrases = words.latest if descending else words.earliest
        high = "latest" if descending else "earliest"
    else:
        phrases = words.most if descending else words.least
        high = aggregate_word(s, table, column, "MAX" if descending else "MIN")
        high = high.replace("maximum", "highest").replace("minimum", "lowest")
    most = s.voice.choice(phrases)
    slots = {"most": most, "high": high, "say": s.say(table, column)}
    if wording.is_subject_clause(most):
        slots["most_vp"] = most.partition(" ")[2]
        if s.book.tables[table].person:
            slots["most_who"] = slots["most_vp"]
    return slots


def label_of(s: Speaker, table: str) -> str:
    label = s.book.tables[table].label
    if not label:
        raise Unsuitable
    return label


def some_columns(s: Speaker, rows: RowSet, count: int) -> list[str]:
    """So many columns to show, the naming one mostly among them; none that the modifiers fix."""
    names = [c for c in s.columns(rows.table) if c not in rows.fixed]
    label = s.book.tables[rows.table].label
    if len(names) < count:
        raise Unsuitable
    chosen = s.shape.sample(names, count)
    if label in names and label not in chosen and s.shape.random() < 0.7:
        chosen[0] = label
    return chosen


def parent_column(s: Speaker, link: Link, column: str) -> str:
    """A parent's column as part of a child's list: `doctor name`, `name of the doctor`."""
    one, say = s.one(link.parent), s.say(link.parent, column)
    if len(one.split()) + len(say.split()) <= 3 and " of " not in say and not say.startswith(one):
        return s.voice.choice((f"{one} {say}", f"{say} of the {one}"))
    return f"{say} of the {one}"


def named_links(s: Speaker, rows: RowSet) -> list[Link]:
    """Foreign keys of the rows, not fixed by a modifier, to tables whose rows have names."""
    links = s.links_up(rows.table)
    return [k for k in links if k.column not in rows.fixed and s.book.tables[k.parent].label]


def choose_group(s: Speaker, rows: RowSet) -> Group:
    """A category of the rows, or one of a parent."""
    own = [c for c in s.columns(rows.table, Kind.CATEGORY) if c not in rows.fixed]
    above = [
        (link, column)
        for link in s.links_up(rows.table)
        for column in s.columns(link.parent, Kind.CATEGORY)
        if link.column not in rows.fixed and s.is_plain(link)
    ]
    if own and (not above or s.shape.random() < 0.65):
        column = s.pick(own)
        return Group((Ref(column),), Ref(column), s.say(rows.table, column))
    if not above:
        raise Unsuitable
    link, column = s.shape.choice(above)
    ref = Ref(column, (link.column,))
    one, say = s.one(link.parent), s.say(link.parent, column)
    short = len(one.split()) + len(say.split()) <= 3 and " of " not in say
    return Group((ref,), ref, f"{one} {say}" if short else f"{say} of {s.many(link.parent)}")


def choose_aggregate(
    s: Speaker, rows: RowSet, *, funcs: str = "AVG AVG MAX MIN SUM"
) -> tuple[Agg, Slots]:
    numbers = [c for c in s.columns(rows.table, Kind.NUMBER) if c not in rows.fixed]
    column = s.pick(numbers)
    func = s.shape.choice(funcs.split())
    if func == "SUM" and not s.book.tables[rows.table].columns[column].sum:
        func = "AVG"
    word = aggregate_word(s, rows.table, column, func)
    say = s.say(rows.table, column).removeprefix("total ")
    return Agg(func, Ref(column)), {"agg": f"{word} {say}"}


def aggregate_word(s: Speaker, table: str, column: str, func: str) -> str:
    if func in YEARS and are_years(s.schema.values(table, column)):
        return YEARS[func]
    return s.voice.choice(AGGREGATES[func])


def choose_than(s: Speaker, value: str) -> tuple[str, str]:
    """An operator and its words: more than, at least, fewer than."""
    if s.shape.random() < 0.6:
        return ">", s.voice.choice(("more than", "over")) + " " + value
    return ">=", s.voice.choice((f"at least {value}", f"{value} or more"))


def choose_extreme(s: Speaker, rows: RowSet) -> tuple[Ref, bool]:
    names = [c for c in s.columns(rows.table, Kind.NUMBER, Kind.DATE) if c not in rows.fixed]
    return Ref(s.pick(names)), s.shape.random() < 0.6


def most_of(s: Speaker, down: bool) -> Slots:
    if down:
        return {
            "most_of": s.voice.choice(("most", "most", "largest number of", "highest number of")),
            "common": s.voice.choice(("most common", "most frequent")),
        }
    return {
        "most_of": s.voice.choice(("fewest", "smallest number of", "lowest number of")),
        "common": s.voice.choice(("least common", "least frequent", "rarest")),
    }


def high_slots(s: Speaker, down: bool) -> Slots:
    word = s.voice.choice(("highest", "largest") if down else ("lowest", "smallest"))
    return {"high": word, "highest": word}

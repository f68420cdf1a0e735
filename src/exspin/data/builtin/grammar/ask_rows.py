"""Forms of question about the rows themselves: lists, numbers, extremes."""

from __future__ import annotations

from exspin.data.builtin.grammar import wording
from exspin.data.builtin.grammar.slots import (
    YEARS,
    Asked,
    aggregate_word,
    choose_aggregate,
    choose_extreme,
    choose_rows,
    columns_slots,
    label_of,
    most_slots,
    named_links,
    parent_column,
    row_slots,
    some_columns,
    spoken_tables,
)
from exspin.data.builtin.grammar.speaker import Speaker, Unsuitable, are_years, said
from exspin.data.builtin.meaning import Agg, Compare, Expr, Query, Ref, Spread
from exspin.data.builtin.phrasebook import Kind

# Lists


def ask_list(s: Speaker, kind: str, count: int) -> Asked:
    rows = choose_rows(s, kind)
    label = s.book.tables[rows.table].label
    names = some_columns(s, rows, count)
    if count > 1:
        s.voice.shuffle(names)
    slots = row_slots(s, rows) | columns_slots([s.say(rows.table, c) for c in names])
    query = Query(rows.table, tuple(Ref(c) for c in names), rows.conds, unique=label in names)
    return "label" if names == [label] else "list", slots, query


def ask_lookup(s: Speaker, kind: str) -> Asked:
    rows = choose_rows(s, kind, [t for t in spoken_tables(s) if s.book.tables[t].label])
    label = label_of(s, rows.table)
    names = [c for c in s.columns(rows.table) if c != label]
    ups = [k for k in s.links_up(rows.table) if s.book.tables[k.parent].label and s.is_plain(k)]
    value = s.voice.choice(s.schema.values(rows.table, label))
    items: list[Ref] = []
    says: list[str] = []
    for _ in range(s.shape.choice((1, 1, 2))):
        if ups and s.shape.random() < 0.3:
            link = ups.pop(s.shape.randrange(len(ups)))
            column = s.book.tables[link.parent].label
            items.append(Ref(column, (link.column,)))
            says.append(
                f"{s.one(link.parent)}"
                if s.voice.random() < 0.4
                else parent_column(s, link, column)
            )
        elif names:
            column = names.pop(s.shape.randrange(len(names)))
            items.append(Ref(column))
            says.append(s.say(rows.table, column))
    if not items:
        raise Unsuitable
    slots = {"name": said(value), "one": rows.one} | columns_slots(says)
    return "lookup", slots, Query(rows.table, tuple(items), (Compare(Ref(label), "=", value),))


def ask_join(s: Speaker, kind: str) -> Asked:
    """Columns of the rows beside columns of a parent."""
    rows = choose_rows(s, kind, spoken_tables(s, event=True))
    ups = [k for k in s.links_up(rows.table) if k.column not in rows.fixed and s.is_plain(k)]
    if not ups:
        raise Unsuitable
    link = s.shape.choice(ups)
    own = some_columns(s, rows, min(s.shape.choice((1, 1, 2)), len(s.columns(rows.table))))
    label = s.book.tables[link.parent].label
    upper = label if label and s.shape.random() < 0.7 else s.pick(s.columns(link.parent))
    parts = [(Ref(c), s.say(rows.table, c)) for c in own]
    parts.append((Ref(upper, (link.column,)), parent_column(s, link, upper)))
    if len(parts) == 2 and s.voice.random() < 0.3:
        parts.reverse()
    slots = row_slots(s, rows) | columns_slots([say for _, say in parts])
    return "list", slots, Query(rows.table, tuple(ref for ref, _ in parts), rows.conds)


def ask_sorted(s: Speaker, kind: str) -> Asked:
    rows = choose_rows(s, kind)
    label = s.book.tables[rows.table].label
    names = some_columns(s, rows, s.shape.choice((1, 1, 2)))
    keys = [c for c in s.columns(rows.table, Kind.NUMBER, Kind.DATE) if c not in rows.fixed]
    key = s.pick([*keys, label] if label else keys)
    down = key != label and s.shape.random() < 0.6
    order: tuple[tuple[Expr, bool], ...] = ((Ref(key), down),)
    match s.book.tables[rows.table].columns[key].kind:
        case Kind.DATE:
            ways = (
                ("from latest to earliest", "latest first", "with the most recent first")
                if down
                else ("", "from earliest to latest", "earliest first")
            )
        case Kind.NUMBER:
            ways = (
                ("in descending order", "from highest to lowest", "highest first")
                if down
                else ("", "in ascending order", "from lowest to highest")
            )
        case _:
            ways = ("", "in alphabetical order", "alphabetically")
    by = f"{s.say(rows.table, key)} {s.voice.choice(ways)}".strip()
    if label and key != label and s.shape.random() < 0.25:
        order = (*order, (Ref(label), False))
        by += f", then by {s.say(rows.table, label)}"
    slots = row_slots(s, rows) | columns_slots([s.say(rows.table, c) for c in names])
    query = Query(
        rows.table, tuple(Ref(c) for c in names), rows.conds, order=order, unique=label in names
    )
    return "sorted", slots | {"by": by}, query


# One number


def ask_count(s: Speaker, kind: str) -> Asked:
    rows = choose_rows(s, kind)
    return "count", row_slots(s, rows), Query(rows.table, (Agg("COUNT"),), rows.conds)


def ask_aggregate(s: Speaker, kind: str, count: int) -> Asked:
    rows = choose_rows(s, kind)
    agg, slots = choose_aggregate(s, rows)
    items = [agg]
    if count == 2:
        assert agg.of is not None
        other = s.shape.choice([f for f in ("AVG", "MAX", "MIN") if f != agg.func])
        items.append(Agg(other, agg.of))
        if s.voice.random() < 0.3:
            items.reverse()
        words = [aggregate_word(s, rows.table, agg.of.column, item.func) for item in items]
        slots = {"agg": f"{wording.listed(words)} {s.say(rows.table, agg.of.column)}"}
    return "aggregate", row_slots(s, rows) | slots, Query(rows.table, tuple(items), rows.conds)


def ask_spread(s: Speaker, kind: str) -> Asked:
    rows = choose_rows(s, kind)
    column = s.pick([c for c in s.columns(rows.table, Kind.NUMBER) if c not in rows.fixed])
    years = are_years(s.schema.values(rows.table, column))
    high, low = (YEARS["MAX"], YEARS["MIN"]) if years else ("highest", "lowest")
    slots = row_slots(s, rows) | {"say": s.say(rows.table, column), "high": high, "low": low}
    return "spread", slots, Query(rows.table, (Spread(Ref(column)),), rows.conds)


def ask_distinct(s: Speaker, kind: str, *, count: bool) -> Asked:
    rows = choose_rows(s, kind)
    names = [c for c in s.columns(rows.table, Kind.CATEGORY) if c not in rows.fixed]
    ref = Ref(s.pick(names))
    slots = row_slots(s, rows) | columns_slots([s.say(rows.table, ref.column)])
    if count:
        return "count_distinct", slots, Query(rows.table, (Agg("COUNT", ref, True),), rows.conds)
    return "distinct", slots, Query(rows.table, (ref,), rows.conds, distinct=True)


# Extremes


def ask_superlative(s: Speaker, kind: str) -> Asked:
    rows = choose_rows(s, kind)
    ref, down = choose_extreme(s, rows)
    label = s.book.tables[rows.table].label
    names = some_columns(s, rows, s.shape.choice((1, 1, 2)))
    slots = row_slots(s, rows) | columns_slots([s.say(rows.table, c) for c in names])
    slots |= most_slots(s, rows.table, ref.column, down)
    query = Query(rows.table, tuple(Ref(c) for c in names), rows.conds, top=(ref, down))
    return "superlative_label" if names == [label] else "superlative", slots, query


def ask_top_k(s: Speaker, kind: str) -> Asked:
    rows = choose_rows(s, kind)
    ref, down = choose_extreme(s, rows)
    number = s.voice.randint(2, 5)
    names = some_columns(s, rows, s.shape.choice((1, 1, 2)))
    slots = row_slots(s, rows) | columns_slots([s.say(rows.table, c) for c in names])
    slots |= most_slots(s, rows.table, ref.column, down)
    slots["k"] = wording.small_number(number, s.voice)
    slots["dir"] = "in descending order" if down else "in ascending order"
    query = Query(
        rows.table, tuple(Ref(c) for c in names), rows.conds, order=((ref, down),), limit=number
    )
    return "top_k", slots, query


def ask_parent_of_top(s: Speaker, kind: str) -> Asked:
    rows = choose_rows(s, kind, spoken_tables(s, event=True))
    ups = [k for k in named_links(s, rows) if s.is_plain(k)]
    if not ups:
        raise Unsuitable
    link = s.shape.choice(ups)
    ref, down = choose_extreme(s, rows)
    label = s.book.tables[link.parent].label
    slots = row_slots(s, rows) | most_slots(s, rows.table, ref.column, down)
    slots |= {"parent": s.one(link.parent), "plabel": s.say(link.parent, label)}
    return (
        "parent_of_top",
        slots,
        Query(rows.table, (Ref(label, (link.column,)),), rows.conds, top=(ref, down)),
    )

"""Forms of question about groups of rows: by a category, by year, by the parent the rows belong to."""

from __future__ import annotations

from exspin.data.builtin.grammar import wording
from exspin.data.builtin.grammar.modifiers import threshold
from exspin.data.builtin.grammar.rowset import RowSet
from exspin.data.builtin.grammar.slots import (
    Asked,
    Group,
    Slots,
    choose_aggregate,
    choose_extreme,
    choose_group,
    choose_rows,
    choose_than,
    columns_slots,
    high_slots,
    label_of,
    most_of,
    most_slots,
    named_links,
    row_slots,
    spoken_tables,
)
from exspin.data.builtin.grammar.speaker import Speaker, Unsuitable, said
from exspin.data.builtin.meaning import Agg, Compare, Path, Query, Ref, YearOf
from exspin.data.builtin.phrasebook import Kind, Link

# Groups


def ask_group_count(s: Speaker, kind: str) -> Asked:
    rows = choose_rows(s, kind)
    group = choose_group(s, rows)
    slots = row_slots(s, rows) | {"group": group.say, "groups": wording.plural(group.say)}
    return (
        "group_count",
        slots,
        Query(rows.table, (group.show, Agg("COUNT")), rows.conds, group.keys),
    )


def ask_group_aggregate(s: Speaker, kind: str) -> Asked:
    rows = choose_rows(s, kind)
    group = choose_group(s, rows)
    agg, slots = choose_aggregate(s, rows)
    slots |= row_slots(s, rows) | {"group": group.say, "groups": wording.plural(group.say)}
    return "group_aggregate", slots, Query(rows.table, (group.show, agg), rows.conds, group.keys)


def ask_group_having(s: Speaker, kind: str) -> Asked:
    rows = choose_rows(s, kind)
    group = choose_group(s, rows)
    number = s.voice.randint(2, 8)
    op, than = choose_than(s, wording.small_number(number, s.voice))
    slots = row_slots(s, rows) | {
        "group": group.say,
        "groups": wording.plural(group.say),
        "than": than,
    }
    having = (Compare(Agg("COUNT"), op, number),)
    return "group_having", slots, Query(rows.table, (group.show,), rows.conds, group.keys, having)


def ask_group_having_aggregate(s: Speaker, kind: str) -> Asked:
    rows = choose_rows(s, kind)
    group = choose_group(s, rows)
    agg, slots = choose_aggregate(s, rows, funcs="AVG")
    assert agg.of is not None
    value = threshold(s, s.schema.values(rows.table, agg.of.column), 0.35, 0.65)
    up = s.shape.random() < 0.65
    words = (
        ("above", "higher than", "more than", "over")
        if up
        else ("below", "lower than", "less than", "under")
    )
    slots |= row_slots(s, rows) | {"group": group.say, "groups": wording.plural(group.say)}
    slots["than"] = f"{s.voice.choice(words)} {said(value)}"
    having = (Compare(agg, ">" if up else "<", value),)
    return (
        "group_having_aggregate",
        slots,
        Query(rows.table, (group.show,), rows.conds, group.keys, having),
    )


def ask_group_most(s: Speaker, kind: str) -> Asked:
    rows = choose_rows(s, kind)
    group = choose_group(s, rows)
    down = s.shape.random() < 0.75
    slots = row_slots(s, rows) | {"group": group.say} | most_of(s, down)
    order = ((Agg("COUNT"), down),)
    return (
        "group_most",
        slots,
        Query(rows.table, (group.show,), rows.conds, group.keys, order=order, limit=1),
    )


def ask_group_top_aggregate(s: Speaker, kind: str) -> Asked:
    rows = choose_rows(s, kind)
    group = choose_group(s, rows)
    agg, slots = choose_aggregate(s, rows, funcs="AVG AVG SUM")
    down = s.shape.random() < 0.7
    slots |= row_slots(s, rows) | {"group": group.say, **high_slots(s, down)}
    return (
        "group_top_aggregate",
        slots,
        Query(rows.table, (group.show,), rows.conds, group.keys, order=((agg, down),), limit=1),
    )


def ask_group_best(s: Speaker, kind: str) -> Asked:
    """Of every category the row with the largest value, with all ties."""
    rows = choose_rows(s, kind, [t for t in spoken_tables(s) if s.book.tables[t].label])
    label = label_of(s, rows.table)
    category = s.pick(s.columns(rows.table, Kind.CATEGORY))
    ref, down = choose_extreme(s, rows)
    shown = [label, ref.column] if s.shape.random() < 0.5 else [label]
    slots = row_slots(s, rows) | columns_slots([s.say(rows.table, c) for c in shown])
    slots |= most_slots(s, rows.table, ref.column, down)
    slots["group"] = s.say(rows.table, category)
    inner = Query(rows.table, (Agg("MAX" if down else "MIN", ref),), correlate=category)
    items = (Ref(category), *(Ref(c) for c in shown))
    return "group_best", slots, Query(rows.table, items, (Compare(ref, "=", inner),))


def ask_group_two(s: Speaker, kind: str) -> Asked:
    rows = choose_rows(s, kind)
    names = [c for c in s.columns(rows.table, Kind.CATEGORY) if c not in rows.fixed]
    if len(names) < 2:
        raise Unsuitable
    refs = [Ref(c) for c in s.shape.sample(names, 2)]
    says = [s.say(rows.table, ref.column) for ref in refs]
    slots = row_slots(s, rows) | {"first": says[0], "second": says[1]}
    return "group_two", slots, Query(rows.table, (*refs, Agg("COUNT")), rows.conds, tuple(refs))


def ask_by_year(s: Speaker, kind: str) -> Asked:
    rows = choose_rows(s, kind)
    year = YearOf(Ref(s.pick([c for c in s.columns(rows.table, Kind.DATE) if c not in rows.fixed])))
    slots = row_slots(s, rows) | {"say": s.say(rows.table, year.of.column)}
    return "by_year", slots, Query(rows.table, (year, Agg("COUNT")), rows.conds, (year,))


# Parents and the rows below them


def _parent(s: Speaker, rows: RowSet) -> tuple[Link, Group, Slots]:
    """A named parent of the rows, as what they are grouped by."""
    ups = named_links(s, rows)
    if not ups:
        raise Unsuitable
    link = s.shape.choice(ups)
    words = s.book.tables[link.parent]
    path = (link.column,)
    group = Group((Ref(s.schema.keys[link.parent], path),), Ref(words.label, path), "")
    say = s.say(link.parent, words.label)
    slots = row_slots(s, rows) | {
        "parent": s.one(link.parent),
        "parents": s.many(link.parent),
        "plabel": say,
        "plabels": wording.plural(say),
        "pcols": say,
        "its": "their" if words.person else "its",
        "rel": "who" if words.person else "that",
    }
    slots["set"] = f"{s.voice.choice(link.child_each)} {rows.text}".strip()
    if not rows.modifiers:
        count = s.voice.choice(link.count)
        slots["count"] = f"the {count}" if count.startswith("number") else count
    return link, group, slots


def _children(s: Speaker, kind: str) -> RowSet:
    """Rows that have a parent; a link table counts too."""
    tables = [t for t in s.book.tables if s.links_up(t)]
    if kind != "all":
        tables = [t for t in tables if s.book.tables[t].columns]
    return choose_rows(s, kind, tables)


def ask_parent_count(s: Speaker, kind: str) -> Asked:
    rows = _children(s, kind)
    _, group, slots = _parent(s, rows)
    return (
        "parent_count",
        slots,
        Query(rows.table, (group.show, Agg("COUNT")), rows.conds, group.keys),
    )


def ask_parent_count_all(s: Speaker, kind: str) -> Asked:
    rows = _children(s, kind)
    link, group, slots = _parent(s, rows)
    step: Path = (f"<{link.child}",)
    items = (Ref(group.show.column), Agg("COUNT", Ref(link.column, step)))
    keys = (Ref(s.schema.keys[link.parent]),)
    return "parent_count_all", slots, Query(link.parent, items, group=keys, outer=True)


def ask_parent_aggregate(s: Speaker, kind: str) -> Asked:
    rows = _children(s, kind)
    _, group, slots = _parent(s, rows)
    agg, words = choose_aggregate(s, rows)
    return (
        "parent_aggregate",
        slots | words,
        Query(rows.table, (group.show, agg), rows.conds, group.keys),
    )


def ask_parent_having(s: Speaker, kind: str) -> Asked:
    rows = _children(s, kind)
    _, group, slots = _parent(s, rows)
    number = s.voice.randint(2, 6)
    op, slots["than"] = choose_than(s, wording.small_number(number, s.voice))
    having = (Compare(Agg("COUNT"), op, number),)
    return "parent_having", slots, Query(rows.table, (group.show,), rows.conds, group.keys, having)


def ask_parent_most(s: Speaker, kind: str, *, columns: bool = False) -> Asked:
    rows = _children(s, kind)
    link, group, slots = _parent(s, rows)
    down = bool(rows.modifiers) or s.shape.random() < 0.75
    if not down and {*s.schema.values(link.table, link.column)} != {
        *s.schema.values(link.parent, s.schema.keys[link.parent])
    }:
        raise Unsuitable  # the fewest would be none
    slots |= most_of(s, down)
    phrases = link.most if down else link.least
    if not rows.modifiers and phrases:
        slots["most"] = s.voice.choice(phrases)
        if wording.is_subject_clause(slots["most"]):
            slots["most_vp"] = slots["most"].partition(" ")[2]
            if s.book.tables[link.parent].person:
                slots["most_who"] = slots["most_vp"]
    items = [group.show]
    if columns:
        label = group.show.column
        extra = s.pick([c for c in s.columns(link.parent) if c != label])
        items.append(Ref(extra, (link.column,)))
        says = [slots["plabel"], s.say(link.parent, extra)]
        if s.shape.random() < 0.4:
            items, says = items[1:], says[1:]
        slots["pcols"] = wording.listed(says)
    query = Query(
        rows.table, tuple(items), rows.conds, group.keys, order=((Agg("COUNT"), down),), limit=1
    )
    return "parent_most_columns" if columns else "parent_most", slots, query


def ask_parent_top_k(s: Speaker, kind: str) -> Asked:
    rows = _children(s, kind)
    _, group, slots = _parent(s, rows)
    number = s.voice.randint(2, 5)
    slots["k"] = wording.small_number(number, s.voice)
    order = ((Agg("COUNT"), True),)
    query = Query(rows.table, (group.show,), rows.conds, group.keys, order=order, limit=number)
    return "parent_top_k", slots, query


def ask_parent_top_aggregate(s: Speaker, kind: str) -> Asked:
    rows = _children(s, kind)
    _, group, slots = _parent(s, rows)
    agg, words = choose_aggregate(s, rows, funcs="AVG SUM SUM")
    down = s.shape.random() < 0.7
    slots |= words | high_slots(s, down)
    query = Query(rows.table, (group.show,), rows.conds, group.keys, order=((agg, down),), limit=1)
    return "parent_top_aggregate", slots, query

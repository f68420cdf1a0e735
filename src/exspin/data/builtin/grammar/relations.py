"""Post-modifiers that read other tables: rows above, rows below, rows across a link table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from exspin.data.builtin.grammar import wording
from exspin.data.builtin.grammar.modifiers import Modifier, local
from exspin.data.builtin.grammar.speaker import Speaker, Unsuitable, said
from exspin.data.builtin.meaning import Compare, Has, Path, Ref
from exspin.data.builtin.phrasebook import Bridge, Link

Choice = tuple[float, Callable[[], Modifier]]


def related(s: Speaker, table: str) -> Modifier:
    """A condition on rows above, below or across a bridge."""
    choices: list[Choice] = []
    for link in s.links_up(table):
        if link.of and s.book.tables[link.parent].label:
            choices.append((3, partial(_of, s, link)))
        if link.where:
            choices.append((3, partial(_up_where, s, link)))
    for link in s.links_down(table):
        choices += _down_choices(s, link)
    for bridge in s.book.bridges:
        if bridge.from_ == table:
            for key in ("with", "without", "both", "with_where"):
                if bridge.words(key):
                    weight = {"with": 2, "without": 1, "both": 2, "with_where": 2}[key]
                    choices.append((weight, partial(_across, s, bridge, key)))
    if not choices:
        raise Unsuitable
    return s.shape.choices([c for _, c in choices], [w for w, _ in choices])[0]()


def _of(s: Speaker, link: Link) -> Modifier:
    label = s.book.tables[link.parent].label
    value = s.voice.choice(s.schema.values(link.parent, label))
    cond = Compare(Ref(label, (link.column,)), "=", value)
    return Modifier(s.words(link.of).format(v=said(value)), (cond,), (link.column,))


def _up_where(s: Speaker, link: Link) -> Modifier:
    inner = _inner(s, link.parent, (link.column,))
    return Modifier(s.words(link.where).format(p=inner.text), inner.conds, (link.column,), True)


def _inner(s: Speaker, table: str, path: Path = (), came_by: Link | None = None) -> Modifier:
    """A modifier of another table: mostly of its own columns, now and then of its parent's name."""
    ups = [
        link
        for link in s.links_up(table)
        if link.of and link != came_by and s.book.tables[link.parent].label
    ]
    if ups and s.shape.random() < 0.2:
        link = s.shape.choice(ups)
        label = s.book.tables[link.parent].label
        value = s.voice.choice(s.schema.values(link.parent, label))
        cond = Compare(Ref(label, (*path, link.column)), "=", value)
        return Modifier(s.words(link.of).format(v=said(value)), (cond,))
    return local(s, table, path)


def _down_choices(s: Speaker, link: Link) -> Iterator[Choice]:
    step = f"<{link.child}"
    if link.some:
        yield 0.7, lambda: Modifier(s.words(link.some), (Has(step),))
    if link.none:
        yield 1.3, lambda: Modifier(s.words(link.none), (Has(step, absent=True),))
    if link.at_least:
        yield 1, lambda: _at_least(s, link)
    if link.parents_where:
        yield 2.5, lambda: _down_where(s, link)


def _at_least(s: Speaker, link: Link) -> Modifier:
    number = s.voice.randint(2, 5)
    text = s.words(link.at_least).format(n=wording.small_number(number, s.voice))
    return Modifier(text, (Has(f"<{link.child}", at_least=number),))


def _down_where(s: Speaker, link: Link) -> Modifier:
    inner = _inner(s, link.table, came_by=link)
    text = s.words(link.parents_where).format(p=inner.text)
    return Modifier(text, (Has(f"<{link.child}", inner.conds),), nested=True)


def _across(s: Speaker, bridge: Bridge, key: str) -> Modifier:
    via, start, end = bridge.via, bridge.from_, bridge.to
    wordings = bridge.words(key)
    near = next(link for link in s.book.links if link.table == via and link.parent == start)
    far = next(
        link for link in s.book.links if link.table == via and link.parent == end and link != near
    )
    step, path = f"<{near.child}", (far.column,)
    if key == "with_where":
        inner = local(s, end, path)
        text = s.words(wordings).format(p=inner.text)
        return Modifier(text, (Has(step, inner.conds),), nested=True)
    label = s.book.tables[end].label
    if not label:
        raise Unsuitable
    if key == "both":
        pairs = s.schema.together(via, near.column, far.column, label)
        if not pairs:
            raise Unsuitable
        values = list(s.voice.choice(pairs))
        s.voice.shuffle(values)
    else:
        values = [s.voice.choice(s.schema.values(end, label))]
    conds = tuple(
        Has(step, (Compare(Ref(label, path), "=", value),), absent=key == "without")
        for value in values
    )
    slots = dict(zip("vw", map(said, values), strict=False))
    return Modifier(s.words(wordings).format_map(slots), conds)

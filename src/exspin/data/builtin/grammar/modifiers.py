"""Post-modifiers that read the rows themselves: `earning more than 5000`, `whose price is above average`.

Each is a phrase of the phrasebook with values of the database in it, and the conditions it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from exspin.data.builtin.grammar import wording
from exspin.data.builtin.grammar.speaker import Speaker, Unsuitable, are_years, said
from exspin.data.builtin.meaning import (
    Agg,
    Between,
    Compare,
    Cond,
    Either,
    Like,
    Null,
    Path,
    Period,
    Query,
    Ref,
    Value,
)
from exspin.data.builtin.phrasebook import ColumnWords, Kind, Words


@dataclass(frozen=True, slots=True)
class Modifier:
    """One post-modifier and what it means."""

    text: str
    conds: tuple[Cond, ...]
    columns: tuple[str, ...] = ()  # of the table itself, that it fixes to one value or speaks of
    nested: bool = False  # ends in a modifier of another table, so it must come last


def local(s: Speaker, table: str, path: Path = (), avoid: tuple[str, ...] = ()) -> Modifier:
    """A condition on one column."""
    choices = [c for c in _local_choices(s, table, path) if c[2] not in avoid]
    if not choices:
        raise Unsuitable
    weights = [weight for weight, _, _ in choices]
    return s.shape.choices(choices, weights)[0][1]()


def _local_choices(
    s: Speaker, table: str, path: Path
) -> Iterator[tuple[float, Callable[[], Modifier], str]]:
    words = s.book.tables[table]
    for name, column in words.columns.items():
        ref = Ref(name, path)
        values = s.schema.values(table, name)
        match column.kind:
            case Kind.CATEGORY:
                yield 3, partial(_is, s, column.is_, ref, "=", values), name
                if column.not_:
                    yield 0.8, partial(_is, s, column.not_, ref, "<>", values), name
                yield 0.6, partial(_one_of, s, column, ref, values), name
            case Kind.NUMBER:
                yield 1.5, partial(_bound, s, column.more, ref, ">", values), name
                yield 1.5, partial(_bound, s, column.less, ref, "<", values), name
                if column.between:
                    yield 0.8, partial(_between, s, column, ref, values), name
                if column.exactly:
                    yield 0.5, partial(_is, s, column.exactly, ref, "=", values), name
            case Kind.DATE:
                yield 1.2, partial(_date, s, column.after, ref, ">", values), name
                yield 1.2, partial(_date, s, column.before, ref, "<", values), name
                if column.year:
                    yield 1, partial(_period, s, column, ref, values, 4), name
                    yield 0.6, partial(_period, s, column, ref, values, 7), name
            case Kind.NAME:
                if name == words.label:
                    yield 0.7, partial(_like, s, table, name, ref, values), name
            case Kind.TEXT:
                pass
    for name, null in words.nulls.items():
        ref = Ref(name, path)
        yield 0.4, partial(_null, s, null.missing, ref, True), name
        yield 0.3, partial(_null, s, null.present, ref, False), name


def _on_column(text: str, ref: Ref, cond: Cond) -> Modifier:
    return Modifier(text, (cond,), () if ref.path else (ref.column,))


def _is(s: Speaker, wordings: Words, ref: Ref, op: str, values: list[Value]) -> Modifier:
    value = s.voice.choice(values)
    text = wording.one_of_many(s.words(wordings).format(v=said(value)))
    return _on_column(text, ref, Compare(ref, op, value))


def _one_of(s: Speaker, column: ColumnWords, ref: Ref, values: list[Value]) -> Modifier:
    two = sorted({*values}, key=str)
    if len(two) < 3:
        raise Unsuitable
    a, b = s.voice.sample(two, 2)
    cond = Either((Compare(ref, "=", a), Compare(ref, "=", b)))
    both = f"{'either ' * (s.voice.random() < 0.3)}{said(a)} or {said(b)}"
    return _on_column(s.words(column.is_).format(v=both), ref, cond)


def _bound(s: Speaker, wordings: Words, ref: Ref, op: str, values: list[Value]) -> Modifier:
    value = threshold(s, values, 0.15, 0.85)
    text = wording.one_of_many(s.words(wordings).format(v=said(value)))
    return _on_column(text, ref, Compare(ref, op, value))


def _between(s: Speaker, column: ColumnWords, ref: Ref, values: list[Value]) -> Modifier:
    low, high = threshold(s, values, 0.05, 0.45), threshold(s, values, 0.55, 0.95)
    if low >= high:
        raise Unsuitable
    cond = Between(ref, low, high)
    text = s.words(column.between).format(a=said(low), b=said(high))
    return _on_column(text, ref, cond)


def threshold(s: Speaker, values: list[Value], low: float, high: float) -> int | float:
    """A value somewhere in the middle, often a round one."""
    numbers = [v for v in values if not isinstance(v, str)]
    value = numbers[int(len(numbers) * s.voice.uniform(low, high))]
    if s.voice.random() < 0.6 and abs(value) >= 10 and not are_years(values):
        digits = len(str(int(abs(value)))) - (1 if abs(value) < 100 else 2)
        value = round(value, -digits) or value
    if all(v == int(v) for v in numbers):
        return int(value)
    return int(value) if value == int(value) else round(value, 4)


def _date(s: Speaker, wordings: Words, ref: Ref, op: str, values: list[Value]) -> Modifier:
    value = str(values[int(len(values) * s.voice.uniform(0.15, 0.85))])
    if s.voice.random() < 0.3:
        value = value[:8] + "01"
    text = s.words(wordings).format(v=wording.spoken_date(value, s.voice))
    return _on_column(text, ref, Compare(ref, op, value))


def _period(
    s: Speaker, column: ColumnWords, ref: Ref, values: list[Value], length: int
) -> Modifier:
    period = str(s.voice.choice(values))[:length]
    if length == 4:
        text = s.words(column.year).format(v=period)
        return _on_column(text, ref, Period(ref, period))
    wordings = tuple(words for words in column.year if "year" not in words)
    text = s.words(wordings).format(v=wording.spoken_month(period))
    return _on_column(text, ref, Period(ref, period))


def _like(s: Speaker, table: str, name: str, ref: Ref, values: list[Value]) -> Modifier:
    value = str(s.voice.choice(values))
    say = s.say(table, name)
    if s.shape.random() < 0.4:
        letter = value[0].upper()
        text = s.voice.choice(
            (
                f"whose {say} starts with {letter}",
                f"whose {say} begins with the letter {letter}",
                f"with {wording.article(say)} starting with {letter}",
            )
        )
        return _on_column(text, ref, Like(ref, f"{letter}%"))
    words = [w for w in value.split() if len(w) > 3 and w.isalpha()]
    if not words:
        raise Unsuitable
    word = s.voice.choice(words)
    quote = s.voice.choice(("", "'", '"'))
    quoted = f"{quote}{word}{quote}"
    text = s.voice.choice((f"whose {say} contains {quoted}", f"with {quoted} in the {say}"))
    return _on_column(text, ref, Like(ref, f"%{word}%"))


def _null(s: Speaker, wordings: Words, ref: Ref, missing: bool) -> Modifier:
    return _on_column(s.words(wordings), ref, Null(ref, missing))


def either(s: Speaker, table: str) -> Modifier:
    """One of two conditions on different columns."""
    first = local(s, table)
    second = local(s, table, avoid=first.columns)
    if any(isinstance(c, Either) for c in (*first.conds, *second.conds)):
        raise Unsuitable
    parts = [first, second]
    s.voice.shuffle(parts)
    text = f"{parts[0].text} or {parts[1].text}"
    if s.voice.random() < 0.3 and not wording.is_relative(parts[0].text):
        text = "either " + text
    return Modifier(
        text, (Either((*first.conds, *second.conds)),), (*first.columns, *second.columns)
    )


def compared(s: Speaker, table: str) -> Modifier:
    """A condition that reads other rows: the average, or a named row."""
    label = s.book.tables[table].label
    numbers, categories = s.columns(table, Kind.NUMBER), s.columns(table, Kind.CATEGORY)
    kind = s.shape.choice(("average", "average", "row", "same"))
    if kind == "average":
        return _than_average(s, table, s.pick(numbers))
    if not label:
        raise Unsuitable
    other = str(s.voice.choice(s.schema.values(table, label)))
    named = Compare(Ref(label), "=", other)
    if kind == "row":
        return _than_row(s, table, s.pick(numbers), named)
    name = s.pick(categories)
    ref = Ref(name)
    cond = Compare(ref, "=", Query(table, (ref,), (named,)))
    text = f"with the same {s.say(table, name)} as {other}"
    return Modifier(text, (cond, Compare(Ref(label), "<>", other)), (name,))


def _more_or_less(s: Speaker, table: str, name: str, up: bool) -> str:
    """The comparative of a number: higher, lower; earlier and later for years."""
    if are_years(s.schema.values(table, name)):
        return "later" if up else "earlier"
    return s.voice.choice(("higher", "greater") if up else ("lower", "smaller"))


def _than_average(s: Speaker, table: str, name: str) -> Modifier:
    ref, up = Ref(name), s.shape.random() < 0.65
    cond = Compare(ref, ">" if up else "<", Query(table, (Agg("AVG", ref),)))
    comparative = f"{_more_or_less(s, table, name, up)} than"
    than = s.voice.choice((comparative, comparative, "above" if up else "below"))
    say = s.say(table, name)
    verb = wording.is_or_are(say)
    forms = [f"whose {say} {verb} {than} average", f"whose {say} {verb} {than} the average"]
    if verb == "is":
        forms.append(f"with {wording.article(say)} {than} the average")
    return Modifier(s.voice.choice(forms), (cond,), (name,))


def _than_row(s: Speaker, table: str, name: str, named: Compare) -> Modifier:
    ref, up = Ref(name), s.shape.random() < 0.65
    cond = Compare(ref, ">" if up else "<", Query(table, (ref,), (named,)))
    more = _more_or_less(s, table, name, up)
    say = s.say(table, name)
    if wording.is_or_are(say) == "are":
        text = f"whose {say} are {more} than those of {named.right}"
    else:
        short = f"with {wording.article(f'{more} {say}')} than {named.right}"
        text = s.voice.choice((f"whose {say} is {more} than that of {named.right}", short))
    return Modifier(text, (cond,), (name,))

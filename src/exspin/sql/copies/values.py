"""New values for a column that could have been there: drawn from its own, from between them, and from what golds name.

A `Sampler` knows one column: how its values are distributed, what kind they are, which literals golds compare them
with. Numbers may be new ones between or near the old, dates likewise; text is new only where a column's values are all
different (names, codes). All chance comes from a `Dice`, which depends on its seed alone. Standard library only.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from math import isfinite
from typing import Any, TypeVar

from exspin.sql.copies.mentions import Value, number_of

T = TypeVar("T")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d:\d\d)?")
_MENTIONED_SHARE = (0.05, 0.35)  # of drawn values, where golds name any: from, to
_BORROWED_SHARE = 0.5  # of drawn numbers and dates: values as they are
_FEW = 20  # a column with at most so many values, each twice on average, holds categories
_ENOUGH = 5  # values that show what kind of column it is
_NAMES = 0.8  # of a column's values are different where it holds names
_TRIES = 20


class Dice:
    """Chance from a seed. Built on `Random.random`, the only stream that Python promises never to change."""

    def __init__(self, *seed: object) -> None:
        self.roll = random.Random("\0".join(map(str, seed))).random

    def below(self, n: int) -> int:
        return int(self.roll() * n)

    def pick(self, values: Sequence[T]) -> T:
        return values[self.below(len(values))]

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.roll()

    def shuffled(self, values: Sequence[T]) -> list[T]:
        result = list(values)
        for last in range(len(result) - 1, 0, -1):
            other = self.below(last + 1)
            result[last], result[other] = result[other], result[last]
        return result


class Weighted:
    """Values that are picked in proportion to weights."""

    def __init__(self, values: Sequence[Any], weights: Sequence[float]) -> None:
        self._values = values
        self._sums = list(accumulate(weights))

    def pick(self, dice: Dice) -> Any:
        return self._values[bisect_right(self._sums, dice.between(0.0, self._sums[-1]))]


class Sampler:
    """One column's source of values. `unique`: its values never repeat. `strict`: what the data shows but no schema
    demands need not hold: the least and the largest value, and a name that a gold names, may occur twice."""

    def __init__(
        self,
        values: Sequence[Any],
        conditions: Sequence[tuple[str, Value]],
        *,
        unique: bool,
        strict: bool,
        nullable: bool,
    ) -> None:
        self.pool = [value for value in values if value is not None]
        self.null_share = 1 - len(self.pool) / len(values) if values and nullable else 0.0
        self.unique = unique
        counts = Counter(self.pool)
        self.distinct = list(counts)  # in row order
        self._counts = list(counts.values())
        self.kind = _kind(self.pool)
        self.categories = not unique and len(self.distinct) <= min(_FEW, len(self.pool) / 2)
        self.numbers = sorted(filter(isfinite, self.distinct)) if self.kind == "number" else []
        self.decimals = max((_decimals(number) for number in self.numbers), default=0)
        self.mentioned = self._mentioned(conditions)
        self.literals = {value for value in self.mentioned if value in counts}
        self._extremes = (
            set()
            if strict or self.categories or len(self.numbers) < 3
            else {n for n in (self.numbers[0], self.numbers[-1]) if counts[n] == 1}
        )
        self._weighted = Weighted(self.distinct, self._counts) if self.distinct else None
        self._mentioned_share = _MENTIONED_SHARE[1]
        named = {literal for operator, literal in conditions if operator == "="}
        different = len(self.pool) >= _ENOUGH and len(self.distinct) >= _NAMES * len(self.pool)
        # "Kyle's friends" is asked where there is one Kyle: who is named once stays one.
        self.single = (
            {value for value in named if counts[value] <= 1}
            if different and self.kind == "text" and not strict
            else set()
        )

    def begin(self, dice: Dice) -> None:
        """Give the values of a new copy weights of their own, so that the most frequent one is not always the same."""
        self._mentioned_share = dice.between(*_MENTIONED_SHARE)
        if self.distinct:
            counts = dice.shuffled(self._counts) if dice.roll() < 0.5 else self._counts
            weights = [count * (0.2 + 3 * dice.roll() ** 2) for count in counts]
            self._weighted = Weighted(self.distinct, weights)

    def draw(self, dice: Dice) -> Any:
        """A value for a row."""
        if dice.roll() < self.null_share:
            return None
        if self.mentioned and dice.roll() < self._mentioned_share:
            return dice.pick(self.mentioned)
        if self._weighted is None:
            return dice.pick(self.mentioned) if self.mentioned else None
        value = self._weighted.pick(dice)
        if not self.categories and dice.roll() > _BORROWED_SHARE:
            value = self._near(value, dice)
        for _ in range(_TRIES):
            if value not in self._extremes:
                break
            value = self._near(value, dice)
        return value

    def fresh(self, dice: Dice, seen: Collection[tuple[Any, ...]]) -> Any:
        """A value that is not in `seen`, as a tuple of one; None where none is found."""
        if self.mentioned and dice.roll() < self._mentioned_share:
            value = dice.pick(self.mentioned)
            if (value,) not in seen:
                return value
        for attempt in range(_TRIES):
            value = self._new(dice) if attempt or not self.distinct else dice.pick(self.distinct)
            if value is not None and (value,) not in seen:
                return value
        if self.kind == "number" or not self.pool:
            top = max((key[0] for key in seen if isinstance(key[0], int | float)), default=0)
            return min(int(top), 2**63 - 5) + 1 + dice.below(3)
        return None

    def satisfying(self, conditions: Sequence[tuple[str, Value]], dice: Dice) -> Any:
        """A value that satisfies one of these conditions, as many of them as it can; None: none is known."""
        options = [*self.mentioned, *self.distinct[:50]]
        fulfilled = [
            sum(holds(value, op, literal) for op, literal in conditions) for value in options
        ]
        best = max(fulfilled, default=0)
        if not best:
            return None
        return dice.pick([v for v, count in zip(options, fulfilled, strict=True) if count == best])

    # --- new values

    def _near(self, value: Any, dice: Dice) -> Any:
        if isinstance(value, int | float) and self.numbers:
            return self._number(dice)
        if self.kind == "date" and isinstance(value, str) and _DATE.fullmatch(value):
            return _moved(value, int(dice.between(-60, 60)), dice)
        return value

    def _number(self, dice: Dice) -> int | float:
        low, high = self.numbers[0], self.numbers[-1]
        if dice.roll() < 0.75:
            a, b = dice.pick(self.numbers), dice.pick(self.numbers)
            value = dice.between(a, b)
        else:  # a little past the ends
            reach = (high - low) * 0.2 or abs(high) * 0.2 or 1
            value = high + reach * dice.roll() if dice.roll() < 0.6 else low - reach * dice.roll()
        if low >= 0:
            value = max(value, 0)
        if all(isinstance(number, int) for number in self.numbers[:50]):
            return max(-(2**63), min(2**63 - 1, round(value)))
        return round(value, self.decimals)

    def _new(self, dice: Dice) -> Any:
        """A value that need not be one of the column's own."""
        if self.kind == "number":
            return self._number(dice)
        if not self.pool:
            return dice.pick(self.mentioned) if self.mentioned and dice.roll() < 0.5 else None
        value = dice.pick(self.pool)
        if not isinstance(value, str):
            return None
        if self.kind == "date" and _DATE.fullmatch(value):
            return _moved(value, int(dice.between(-400, 400)), dice)
        return _new_text(value, str(dice.pick(self.pool)), dice)

    def _mentioned(self, conditions: Sequence[tuple[str, Value]]) -> list[Any]:
        """The literals as this column would hold them, with the values around them that tell `>` from `>=`."""
        found: dict[Any, None] = {}
        for operator, literal in conditions:
            value = self._as_held(literal)
            if operator == "LIKE":
                found.update(dict.fromkeys(self._like(str(literal))))
                continue
            found[value] = None
            number = number_of(str(value))
            if number is not None and operator in ("<", ">", "<=", ">=", "="):
                if operator == "=" and self.categories:
                    continue
                step = 10**-self.decimals if self.decimals else 1
                for near in (number - step, number + step):
                    near = round(near, self.decimals) if isinstance(near, float) else near
                    found[near if isinstance(value, int | float) else str(near)] = None
        if found and self.kind == "text" and set(self.distinct) <= found.keys():
            # A column in which every value is named cannot show that a condition is missing.
            one = str(self.distinct[0] if self.distinct else next(iter(found)))
            if number_of(one) is None:  # numbers have their neighbours
                found[f"{one} 2"] = None
        return list(found)

    def _as_held(self, literal: Value) -> Value:
        if self.kind == "number" and isinstance(literal, str):
            number = number_of(literal)
            return literal if number is None else number
        if self.kind in ("text", "date") and self.pool and not isinstance(literal, str):
            return str(literal)
        return literal

    def _like(self, pattern: str) -> list[str]:
        """Texts that match, and texts that only nearly do: the pattern at the start, at the end, inside, cut short."""
        core = pattern.strip("%").replace("%", " ").replace("_", "a")
        if not core or self.kind == "number":
            return []
        around = str(self.distinct[0]) if self.distinct else "a"
        if self.kind == "date":  # text around a date would be none
            return [value for value in map(str, self.distinct) if core in value][:5]
        return [
            f"{core} {around}",
            f"{around} {core}",
            f"{around} {core} {around}",
            core[:-1] or core,
        ]


def _kind(pool: Sequence[Any]) -> str:
    """number, date, text or other: what nearly all of the values are."""
    if not pool:
        return "text"
    enough = 0.9 * len(pool)
    if sum(isinstance(value, int | float) for value in pool) == len(pool):
        return "number"
    texts = [value for value in pool if isinstance(value, str)]
    if sum(bool(_DATE.fullmatch(text)) for text in texts) >= enough:
        return "date"
    return "text" if len(texts) >= enough else "other"


def _decimals(number: int | float) -> int:
    if isinstance(number, int):
        return 0
    text = repr(number)
    return 0 if "e" in text or "n" in text else min(6, len(text.partition(".")[2]))


def _moved(text: str, days: int, dice: Dice) -> str:
    """A date some days away, written the same way."""
    form = "%Y-%m-%d" if len(text) == 10 else f"%Y-%m-%d{text[10]}%H:%M:%S"
    try:
        moment = datetime.strptime(text, form) + timedelta(days=days)
        if len(text) > 10:
            moment += timedelta(seconds=dice.below(86_400))
    except (ValueError, OverflowError):
        return text
    return f"{moment.year:04d}" + moment.strftime(form.removeprefix("%Y"))


def _new_text(one: str, two: str, dice: Dice) -> str:
    """A text like these two: words of both, or a letter or digit changed where there are no words."""
    first, second = one.split(" "), two.split(" ")
    if len(first) > 1 and len(second) > 1 and dice.roll() < 0.8:
        return " ".join([*first[: (len(first) + 1) // 2], *second[(len(second) + 1) // 2 :]])
    places = [place for place, letter in enumerate(one) if letter.isalnum() and letter.isascii()]
    if not places:
        return f"{one}{dice.below(1000)}"
    place = dice.pick(places)
    letter = one[place]
    alphabet = (
        "0123456789"
        if letter.isdigit()
        else "ABCDEFGHIKLMNOPRSTUVW"
        if letter.isupper()
        else "abcdefghiklmnoprstuvw"
    )
    return one[:place] + dice.pick(alphabet) + one[place + 1 :]


def holds(value: Any, operator: str, literal: Value) -> bool:
    if operator == "LIKE":
        pattern = ".*".join(map(re.escape, str(literal).split("%"))).replace("_", ".")
        return isinstance(value, str) and bool(re.fullmatch(pattern, value, re.I | re.S))
    if isinstance(value, str) != isinstance(literal, str):
        value, literal = str(value), str(literal)
    match operator:
        case "=":
            return bool(value == literal)
        case "!=":
            return bool(value != literal)
        case "<":
            return bool(value < literal)
        case ">":
            return bool(value > literal)
        case "<=":
            return bool(value <= literal)
        case _:
            return bool(value >= literal)

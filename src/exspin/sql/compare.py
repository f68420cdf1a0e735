"""Do two results say the same? The comparators, by name, and how each reads a query before it runs.

- `default`: multiset of rows, in order iff the outermost SELECT of the gold has ORDER BY; columns in any order.
- `strict`: as default, columns in the gold's order.
- `bird`: set of rows, columns in order, values exact (the rule of the BIRD script).
- `test-suite`: multiset of rows, columns in any order, values exact, two empty results are equal whatever their
  columns; in order iff the gold's text contains "order by" anywhere; DISTINCT is dropped from both queries and only
  the first statement of a text runs (the rule of the public test-suite evaluator, its quirks included).
- `test-suite-distinct`: the same, DISTINCT and text kept.

Values: NULL equals NULL, NaN equals NaN, text never equals a number, text never equals a blob, an integer equals a
float of the same value. `default` and `strict` let two numbers differ by 1e-6 of the larger one if at least one is a
float; infinities only equal themselves.

A column order is found by colour refinement with bounded backtracking, never by trying all orders, and every "yes"
is checked row by row. Where a result's own values lie closer together than the tolerance, its rows are paired in sorted
order and, if that fails, by bipartite matching. Where a bound on the work is hit, the answer is "no". Standard library
only: the worker process loads it.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, count, pairwise
from typing import Any

from exspin.errors import ConfigError
from exspin.sql.tokens import has_outer_order_by, tokens

Rows = Sequence[tuple[Any, ...]]
COMPARATORS = ("default", "strict", "bird", "test-suite", "test-suite-distinct")
TOLERANCE = 1e-6
_CELL_VISITS = (
    300_000  # bound on the search for a column order, beside a few passes over the tables
)
_PAIRINGS = 300_000  # rows compared with rows, where sorted order does not pair them
_MASK = (1 << 61) - 1
_NAN = object()  # the key of every NaN


class Mismatch(StrEnum):
    """How a result differs from gold's: the first of these that holds."""

    EMPTY = "empty"  # no rows, where gold has some
    COLUMN_COUNT = "column_count"
    ROW_COUNT = "row_count"
    ORDER = "order"  # right rows, wrong order
    VALUES = "values"


@dataclass(frozen=True, slots=True)
class Rule:
    """A comparator, made concrete for one gold query."""

    ordered: bool
    any_column_order: bool
    tolerance: float  # relative; 0 compares exactly
    as_set: bool = False
    empties_equal: bool = False  # two empty results are equal whatever their columns

    def parts(self) -> tuple[bool, bool, float, bool, bool]:
        """The fields in order, as a message carries them: `Rule(*parts)` is the rule again."""
        return (
            self.ordered,
            self.any_column_order,
            self.tolerance,
            self.as_set,
            self.empties_equal,
        )


def rule_for(comparator: str, gold: str, *, kind: str = "sqlite") -> Rule:
    """The rule a comparator applies to this gold query. Raises `ConfigError` for an unknown name.

    `kind` is the gold's engine: in MySQL's strings a backslash escapes what follows, which would hide an ORDER BY behind it.
    """
    match comparator:
        case "default" | "strict":
            ordered = has_outer_order_by(_ESCAPED.sub("__", gold) if kind == "mysql" else gold)
            return Rule(ordered, comparator == "default", TOLERANCE)
        case "bird":
            return Rule(False, False, 0.0, as_set=True, empties_equal=True)
        case "test-suite" | "test-suite-distinct":
            return Rule("order by" in gold.lower(), True, 0.0, empties_equal=True)
    raise ConfigError(
        f"comparator = {comparator!r}: unknown; choose one of {', '.join(COMPARATORS)}"
    )


def as_executed(comparator: str, sql: str) -> str:
    """The text a comparator runs for a query: the test-suite evaluator rewrites it, the others do not."""
    if not comparator.startswith("test-suite"):
        return sql
    for split in ("> =", "< =", "! ="):
        sql = sql.replace(split, split.replace(" ", ""))
    if comparator == "test-suite" and "distinct" in sql.lower():
        sql = "".join(token.text for token in tokens(sql) if token.keyword != "DISTINCT")
    return _THIS_YEAR.sub("2020", sql)


_ESCAPED = re.compile(r"\\.", re.DOTALL)
_THIS_YEAR = re.compile(r"YEAR\s*\(\s*CURDATE\s*\(\s*\)\s*\)\s*", re.IGNORECASE)


def compare(gold: Rows, other: Rows, widths: tuple[int, int], rule: Rule) -> Mismatch | None:
    """None where the results are the same by the rule, else how they differ. `widths`: columns of gold and other."""
    if not gold and not other:
        return None if rule.empties_equal or widths[0] == widths[1] else Mismatch.COLUMN_COUNT
    if rule.as_set:
        gold_set, other_set = set(_name_nans(gold)), set(_name_nans(other))
        if gold_set == other_set:
            return None
        sizes = (len(gold_set), len(other_set))
    else:
        sizes = (len(gold), len(other))
    if not other:
        return Mismatch.EMPTY
    if widths[0] != widths[1]:
        return Mismatch.COLUMN_COUNT
    if sizes[0] != sizes[1]:
        return Mismatch.ROW_COUNT
    if rule.as_set:
        return Mismatch.VALUES
    if _same(gold, other, rule.ordered, rule):
        return None
    return Mismatch.ORDER if rule.ordered and _same(gold, other, False, rule) else Mismatch.VALUES


def _same(gold: Rows, other: Rows, ordered: bool, rule: Rule) -> bool:
    """Equal as a list or bag of rows; the tables have one shape and at least one row."""
    if gold == other or (not ordered and Counter(gold) == Counter(other)):
        return True
    floats = {cell for row in chain(gold, other) for cell in row if type(cell) is float}
    if any(map(math.isnan, floats)):
        gold, other = _name_nans(gold), _name_nans(other)
    if _equal(gold, other, ordered, rule.any_column_order, _Values(0.0)):
        return True
    if not rule.tolerance or not floats:
        return False
    values = _Values(rule.tolerance)
    ints = {cell for row in chain(gold, other) for cell in row if type(cell) is int}
    values.group({cell for cell in floats if math.isfinite(cell)}, ints)
    return _equal(gold, other, ordered, rule.any_column_order, values)


def _equal(gold: Rows, other: Rows, ordered: bool, any_column_order: bool, values: _Values) -> bool:
    gold_ids, other_ids = values.encode(gold), values.encode(other)
    if any_column_order and not ordered:
        return _ColumnSearch(gold, other, gold_ids, other_ids, values).found()
    if (
        any_column_order
    ):  # rows are fixed, columns are a bag: the same question, turned by 90 degrees
        return _bags_match(_turn(gold), _turn(other), _turn(gold_ids), _turn(other_ids), values)
    if ordered:
        return gold_ids == other_ids and all(map(values.rows_close, gold, other))
    return _bags_match(gold, other, gold_ids, other_ids, values)


def _name_nans(table: Rows) -> list[tuple[Any, ...]]:
    return [tuple([cell if cell == cell else _NAN for cell in row]) for row in table]


class _Values:
    """Gives every value a number such that equal values share it.

    After `group`, numbers linked by a chain of close ones share one too. Where all members of every such group are
    close to each other, the numbers decide alone (`exact`); else `rows_close` has the last word.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.exact = True
        self.pairings_left = _PAIRINGS
        self._ids: defaultdict[Any, int] = defaultdict(count().__next__)

    def group(self, floats: set[float], ints: set[int]) -> None:
        """Let close numbers share; two integers are never merely close."""
        numbers = sorted(floats | ints)
        reach = self.tolerance * (1 + 1e-9)
        gaps = [
            place
            for place, (low, high) in enumerate(pairwise(numbers), 1)
            if high - low > reach * max(abs(low), abs(high))
        ]
        for start, end in pairwise([0, *gaps, len(numbers)]):
            members = numbers[start:end]
            if end - start == 1 or floats.isdisjoint(members):
                continue
            self._ids.update(dict.fromkeys(members, self._ids[members[0]]))
            all_close = math.isclose(members[0], members[-1], rel_tol=self.tolerance)
            if not all_close or sum(member in ints for member in members) > 1:
                self.exact = False

    def encode(self, table: Rows) -> list[tuple[int, ...]]:
        number = self._ids.__getitem__
        return [tuple(map(number, row)) for row in table]

    def close(self, a: Any, b: Any) -> bool:
        """Are two values with the same number equal?"""
        if a == b or (type(a) is not float and type(b) is not float):
            return bool(a == b)
        return math.isclose(a, b, rel_tol=self.tolerance)

    def rows_close(self, left: Sequence[Any], right: Sequence[Any]) -> bool:
        return self.exact or all(map(self.close, left, right))


def _bags_match(left: Rows, right: Rows, left_ids: Rows, right_ids: Rows, values: _Values) -> bool:
    """Equal as multisets. Rows of one number pattern are paired: in sorted order, else in any that fits."""
    if Counter(left_ids) != Counter(right_ids):
        return False
    if values.exact:
        return True
    groups: defaultdict[tuple[int, ...], tuple[list[Any], list[Any]]] = defaultdict(
        lambda: ([], [])
    )
    for side, (table, ids) in enumerate(((left, left_ids), (right, right_ids))):
        for row, key in zip(table, ids, strict=True):
            groups[key][side].append(row)
    return all(
        all(map(values.rows_close, sorted(one, key=_numbers), sorted(two, key=_numbers)))
        or _can_pair(one, two, values)
        for one, two in groups.values()
    )


def _can_pair(left: Rows, right: Rows, values: _Values) -> bool:
    """Has every row a close partner of its own? Augmenting paths; lists of one length."""
    values.pairings_left -= len(left) * len(right)
    if values.pairings_left < 0:
        return False
    close = [[at for at, row in enumerate(right) if values.rows_close(one, row)] for one in left]
    partner: dict[int, int] = {}  # place in `right` → place in `left`
    chosen: dict[int, int] = {}  # and back
    for start in range(len(left)):
        asked_by: dict[int, int] = {}  # place in `right` → the one in `left` that would take it
        waiting = [start]
        free: int | None = None
        while waiting and free is None:
            asking = waiting.pop()
            for place in close[asking]:
                if place not in asked_by:
                    asked_by[place] = asking
                    if place not in partner:
                        free = place
                        break
                    waiting.append(partner[place])
        if free is None:
            return False
        while free is not None:  # each on the way takes what it asked for and leaves what it had
            asking = asked_by[free]
            had = chosen.get(asking)
            partner[free], chosen[asking] = asking, free
            free = had
    return True


def _numbers(row: Sequence[Any]) -> tuple[Any, ...]:
    """Sorting key within a group, where all that can differ is numbers."""
    return tuple(cell if isinstance(cell, int | float) else 0 for cell in row)


class _ColumnSearch:
    """Is there an order of the columns under which two bags of rows are equal?

    Columns and rows take colours from each other's contents until nothing changes (equal tables always get equal
    colours). The order by colour is tried; if it fails, one column is fixed to each partner of its colour in turn.
    """

    def __init__(
        self, left: Rows, right: Rows, left_ids: Rows, right_ids: Rows, values: _Values
    ) -> None:
        self.tables = (left, right)
        self.ids = (left_ids, right_ids)
        self.values = values
        self.bags = (Counter(left_ids), Counter(right_ids))
        self.width = len(left_ids[0])
        self.visits_left = max(_CELL_VISITS, 4 * len(left_ids) * self.width)

    def found(self) -> bool:
        colours = [
            [hash(frozenset(Counter(column).items())) for column in zip(*ids, strict=True)]
            for ids in self.ids
        ]
        return self._search(colours[0], colours[1])

    def _search(self, left: list[int], right: list[int]) -> bool:
        if Counter(left) != Counter(right):
            return False
        if len(set(left)) < self.width and self.visits_left > 0:
            refined = self._refine(left, right)
            if refined is None:
                return False
            left, right = refined
        if self._check(left, right):
            return True
        shared = [(count, colour) for colour, count in Counter(left).items() if count > 1]
        if not shared:
            return False
        colour = min(shared)[1]
        fixed = left.index(colour)
        for partner, partner_colour in enumerate(right):
            if self.visits_left <= 0:
                return False
            if partner_colour == colour and self._search(_fix(left, fixed), _fix(right, partner)):
                return True
        return False

    def _refine(self, left: list[int], right: list[int]) -> tuple[list[int], list[int]] | None:
        """Colours as fine as contents make them; None where the tables cannot be equal."""
        while True:
            classes = len(set(left))
            refined = []
            row_colours = []
            for bag, colours in zip(self.bags, (left, right), strict=True):
                self.visits_left -= 2 * len(bag) * self.width
                row_colours.append(
                    [
                        hash((times, sum(map(hash, zip(colours, row, strict=True))) & _MASK))
                        for row, times in bag.items()
                    ]
                )
                columns = zip(*bag, strict=True)
                refined.append(
                    [
                        hash(
                            (
                                colour,
                                sum(map(hash, zip(row_colours[-1], column, strict=True))) & _MASK,
                            )
                        )
                        for colour, column in zip(colours, columns, strict=True)
                    ]
                )
            if Counter(row_colours[0]) != Counter(row_colours[1]) or Counter(refined[0]) != Counter(
                refined[1]
            ):
                return None
            left, right = refined
            if len(set(left)) in (classes, self.width) or self.visits_left <= 0:
                return left, right

    def _check(self, left: list[int], right: list[int]) -> bool:
        """Are the tables equal with columns put in order of colour?"""
        self.visits_left -= len(self.bags[0]) * self.width
        orders = [sorted(range(self.width), key=colours.__getitem__) for colours in (left, right)]
        if not self.values.exact:
            left_table, left_ids = (
                _reorder(table, orders[0]) for table in (self.tables[0], self.ids[0])
            )
            right_table, right_ids = (
                _reorder(table, orders[1]) for table in (self.tables[1], self.ids[1])
            )
            return _bags_match(left_table, right_table, left_ids, right_ids, self.values)
        where = {column: place for place, column in enumerate(orders[0])}
        order = [orders[1][where[column]] for column in range(self.width)]
        moved: Counter[tuple[int, ...]] = Counter()
        for row, times in self.bags[1].items():
            key = tuple([row[column] for column in order])
            if key not in self.bags[0]:
                return False
            moved[key] += times
        return moved == self.bags[0]


def _turn(table: Rows) -> list[tuple[Any, ...]]:
    return list(zip(*table, strict=True))


def _reorder(table: Rows, places: list[int]) -> list[tuple[Any, ...]]:
    return [tuple([row[place] for place in places]) for row in table]


def _fix(colours: list[int], column: int) -> list[int]:
    """The colours with one column set apart from all others."""
    return [
        hash((colour, 1)) if place == column else colour for place, colour in enumerate(colours)
    ]

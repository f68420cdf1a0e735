"""When two results are the same. The examples give the rule; the properties guard it."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exspin.errors import ConfigError
from exspin.sql.compare import COMPARATORS, Mismatch, Rule, as_executed, compare, rule_for

BAG = Rule(ordered=False, any_column_order=True, tolerance=1e-6)
LIST = Rule(ordered=True, any_column_order=True, tolerance=1e-6)
Table = list[tuple[Any, ...]]


def verdict(gold: Table, other: Table, rule: Rule = BAG) -> Mismatch | None:
    return compare(gold, other, (len(gold[0]) if gold else 1, len(other[0]) if other else 1), rule)


@pytest.mark.parametrize(
    ("gold", "kind", "ordered"),
    [
        (r"SELECT a FROM t WHERE b = 'O\'Brien' ORDER BY a", "mysql", True),
        (r"SELECT a FROM t WHERE b = 'O\'Brien ORDER BY a'", "mysql", False),
        (r"SELECT a FROM t WHERE b = 'C:\' ORDER BY a", "sqlite", True),
        (r"SELECT a FROM t WHERE b = 'C:\\' ORDER BY a", "mysql", True),
    ],
)
def test_a_backslash_escapes_in_mysql_alone(gold: str, kind: str, ordered: bool) -> None:
    assert rule_for("default", gold, kind=kind).ordered is ordered


@pytest.mark.parametrize(
    ("gold", "other", "expected"),
    [
        ([(1,)], [(1.0,)], None),  # an integer equals a float of the same value
        ([(1,)], [("1",)], "values"),  # text is no number
        ([("a",)], [(b"a",)], "values"),  # text is no blob
        ([("a",)], [("A",)], "values"),
        ([(None,)], [(None,)], None),
        ([(None,)], [(0,)], "values"),
        ([(None,)], [("",)], "values"),
        ([(math.inf,)], [(math.inf,)], None),
        ([(math.inf,)], [(1e308,)], "values"),
        ([(math.inf,)], [(-math.inf,)], "values"),
        ([(math.nan,)], [(math.nan,)], None),
        ([(math.nan, 1)], [(2, math.nan)], "values"),
        ([(0.1 + 0.2,)], [(0.3,)], None),
        ([(1.0,)], [(1.0000009,)], None),
        ([(1.0,)], [(1.0000012,)], "values"),
        ([(3,)], [(3.000001,)], None),  # an average that is whole
        ([(1_000_000,)], [(1_000_001,)], "values"),  # integers are exact, however close
        ([(2**53,)], [(2**53 + 1,)], "values"),
        ([(0.0,)], [(1e-300,)], "values"),  # nothing is close to zero
        ([(-0.0,)], [(0,)], None),
        (
            [(2459000.5,), (2459001.5,)],
            [(2459001.5,), (2459000.5,)],
            None,
        ),  # days, closer than the tolerance
        ([(2459000.5,), (2459001.5,)], [(2459000.5,), (2459000.5,)], None),
        ([(2459000.5,), (2459009.5,)], [(2459000.5,), (2459000.5,)], "values"),
        # an integer may be close to a float that is close to another integer
        ([(1_000_000, 1), (1_000_000.5, 2)], [(1_000_001, 1), (1_000_000.5, 2)], "values"),
        # 1.0 is close to 1.0000008 and that to 1.0000016, but the ends are not close
        ([(1.0, 1), (1.0000008, 2)], [(1.0000008, 1), (1.0000016, 2)], None),
        ([(1.0, 1), (1.0000008, 2)], [(1.0000016, 1), (1.0000008, 2)], "values"),
        ([(1,), (2,)], [(2,), (1,)], None),
        ([(1,), (1,), (2,)], [(1,), (2,), (2,)], "values"),  # a bag, not a set
        ([(1,), (1,)], [(1,)], "row_count"),
        ([(1,)], [], "empty"),
        ([], [(1,)], "row_count"),
        # two integers in a chain, each close to the float opposite
        ([(1_000_000, 1), (1_000_001, 2)], [(1_000_000.5, 1), (1_000_000.5, 2)], None),
        ([], [], None),
        ([(1, 2)], [(1,)], "column_count"),
        ([(1, "a"), (2, "b")], [("b", 2), ("a", 1)], None),  # columns may be permuted
        ([(1, 2), (2, 1)], [(1, 1), (2, 2)], "values"),  # same columns, other rows
        ([(1.0, "a"), (2.0, "b")], [("a", 2.0), ("b", 1.0)], "values"),
    ],
)
def test_the_default_rule(gold: Table, other: Table, expected: str | None) -> None:
    assert verdict(gold, other) == expected


def test_order_counts_where_the_gold_orders() -> None:
    assert verdict([(1, "a"), (2, "b")], [("a", 1), ("b", 2)], LIST) is None
    assert verdict([(1, "a"), (2, "b")], [("b", 2), ("a", 1)], LIST) is Mismatch.ORDER
    assert verdict([(1.0,), (2.0,)], [(1.0000001,), (2.0,)], LIST) is None
    assert verdict([(1, "a"), (2, "b")], [("b", 1), ("a", 2)], LIST) is Mismatch.VALUES


def test_two_empty_results_need_the_same_columns_except_by_the_scripts_rules() -> None:
    assert compare([], [], (1, 2), BAG) is Mismatch.COLUMN_COUNT
    for script in ("bird", "test-suite", "test-suite-distinct"):
        assert compare([], [], (1, 2), rule_for(script, "SELECT 1")) is None


def test_a_result_with_rows_where_gold_has_none_is_told_by_its_columns_first() -> None:
    assert compare([], [(1, 2)], (1, 2), BAG) is Mismatch.COLUMN_COUNT
    assert compare([], [(1, 2)], (2, 2), BAG) is Mismatch.ROW_COUNT


def test_strict_keeps_columns_in_order_and_bird_drops_duplicates_and_order() -> None:
    strict, bird = rule_for("strict", "SELECT 1"), rule_for("bird", "SELECT 1 ORDER BY 1")
    assert verdict([(1, 2)], [(2, 1)], strict) is Mismatch.VALUES
    assert verdict([(1, 2.0)], [(1, 2.0000001)], strict) is None
    assert verdict([(1, 2.0), (3, 4.0)], [(3, 4.0000001), (1, 2.0)], strict) is None
    assert verdict([(1,), (2,)], [(2,), (1,), (1,)], bird) is None
    assert verdict([(1, 2)], [(2, 1)], bird) is Mismatch.VALUES
    assert verdict([(0.3,)], [(0.1 + 0.2,)], bird) is Mismatch.VALUES


def test_the_test_suite_rule_reads_queries_as_its_script_does() -> None:
    assert rule_for("test-suite", "SELECT 'no order by here'").ordered
    assert not rule_for("test-suite", "SELECT a FROM t ORDER\nBY a").ordered
    assert (
        as_executed("test-suite", "SELECT count(DISTINCT a), 'distinct' FROM t")
        == "SELECT count( a), 'distinct' FROM t"
    )
    assert (
        as_executed("test-suite-distinct", "SELECT DISTINCT a FROM t WHERE b > = 2")
        == "SELECT DISTINCT a FROM t WHERE b >= 2"
    )
    assert as_executed("test-suite", "SELECT year(curdate()) - 1") == "SELECT 2020- 1"
    assert as_executed("default", "SELECT DISTINCT a > = 2") == "SELECT DISTINCT a > = 2"


def test_an_unknown_comparator_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'exact': unknown; choose one of default, strict"):
        rule_for("exact", "SELECT 1")


CELLS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, 1.0000004, 1.0000008, 1.0000012, 2.0, 1e6, 1e6 + 1, math.inf]),
    st.sampled_from(["", "a", "1", b"a", None]),
    st.integers(1_000_000, 1_000_002),
)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    width, height = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    return [tuple(draw(CELLS) for _ in range(width)) for _ in range(height)]


def close(a: Any, b: Any) -> bool:
    """The rule for two cells, said once more, without cleverness."""
    numbers = isinstance(a, int | float) and isinstance(b, int | float)
    if numbers and float in (type(a), type(b)):
        return math.isclose(a, b, rel_tol=1e-6)
    return type(a) is type(b) and bool(a == b)


def same_by_enumeration(gold: Table, other: Table) -> bool:
    """Try every order of columns and rows."""
    return any(
        all(
            all(close(x, row[place]) for x, place in zip(gold_row, columns, strict=True))
            for gold_row, row in zip(gold, rows, strict=True)
        )
        for columns in itertools.permutations(range(len(gold[0])))
        for rows in itertools.permutations(other)
    )


@given(tables(), st.booleans())
def test_a_table_equals_itself(table: Table, ordered: bool) -> None:
    assert verdict(table, list(table), LIST if ordered else BAG) is None


@given(tables(), st.randoms(use_true_random=False), st.booleans())
def test_permuted_columns_change_nothing(
    table: Table, shuffle: random.Random, ordered: bool
) -> None:
    order = list(range(len(table[0])))
    shuffle.shuffle(order)
    moved = [tuple(row[place] for place in order) for row in table]
    assert verdict(table, moved, LIST if ordered else BAG) is None


@given(tables(), st.randoms(use_true_random=False))
def test_permuted_rows_change_nothing_unless_ordered(table: Table, shuffle: random.Random) -> None:
    moved = list(table)
    shuffle.shuffle(moved)
    assert verdict(table, moved) is None
    assert verdict(table, moved, LIST) in (None, Mismatch.ORDER)


@given(tables(), tables(), st.booleans())
def test_the_verdict_is_symmetric(one: Table, two: Table, ordered: bool) -> None:
    rule = LIST if ordered else BAG
    assert (verdict(one, two, rule) is None) == (verdict(two, one, rule) is None)


@settings(max_examples=400)
@given(tables(), st.sampled_from(COMPARATORS), st.booleans(), st.data())
def test_no_comparator_takes_a_value_beyond_the_tolerance_for_another(
    table: Table, comparator: str, ordered: bool, data: st.DataObject
) -> None:
    rule = rule_for(comparator, "SELECT a FROM t" + " ORDER BY a" * ordered)
    assert verdict(table, table, rule) is None
    row = data.draw(st.integers(0, len(table) - 1))
    column = data.draw(st.integers(0, len(table[0]) - 1))
    for other in (987654.25, 987655.5, "no such text", b"none", 123456789):  # none is in a table
        changed = [list(cells) for cells in table]
        changed[row][column] = other
        changed_table = [tuple(cells) for cells in changed]
        assert verdict(table, changed_table, rule) is not None
        assert verdict(changed_table, table, rule) is not None


@given(tables(), st.sampled_from(COMPARATORS), st.randoms(use_true_random=False))
def test_no_comparator_minds_the_order_of_rows_unless_the_gold_orders(
    table: Table, comparator: str, shuffle: random.Random
) -> None:
    mixed = list(table)
    shuffle.shuffle(mixed)
    assert verdict(table, mixed, rule_for(comparator, "SELECT a FROM t")) is None
    found = verdict(table, mixed, rule_for(comparator, "SELECT a FROM t ORDER BY a"))
    assert found in ((None,) if comparator == "bird" or mixed == table else (None, Mismatch.ORDER))


@given(tables(), st.data())
def test_equal_if_and_only_if_some_order_of_columns_and_rows_makes_all_cells_equal(
    table: Table, data: st.DataObject
) -> None:
    other = [list(row) for row in table]
    for _ in range(data.draw(st.integers(1, 3))):  # few changes, so that near misses are common
        other[data.draw(st.integers(0, len(table) - 1))][
            data.draw(st.integers(0, len(table[0]) - 1))
        ] = data.draw(CELLS)
    changed = [tuple(row) for row in other]
    assert (verdict(table, changed) is None) == same_by_enumeration(table, changed)


@settings(max_examples=300)
@given(st.integers(2, 5), st.integers(2, 6), st.integers(0, 2**32), st.booleans())
def test_no_column_order_is_missed(width: int, height: int, seed: int, flip: bool) -> None:
    """0/1 tables, where columns look alike: agreement with enumeration in both directions."""
    chance = random.Random(seed)
    table = [tuple(chance.randint(0, 1) for _ in range(width)) for _ in range(height)]
    order = chance.sample(range(width), width)
    moved = [tuple(row[place] for place in order) for row in chance.sample(table, height)]
    if flip:
        row = list(moved[0])
        row[0] = 1 - row[0]
        moved[0] = tuple(row)
    bags = (
        sorted(tuple(row[p] for p in columns) for row in moved)
        for columns in itertools.permutations(range(width))
    )
    assert (verdict(table, moved) is None) == (sorted(table) in bags)


def test_twelve_columns_that_look_alike_are_searched_within_bounds() -> None:
    """Every 0/1 row of twelve columns but two, once with the two close and once far apart: 479 million orders."""
    rows = list(itertools.product((0, 1), repeat=12))
    near = [row for row in rows if row not in (rows[0b000000111111], rows[0b000001011111])]
    far = [row for row in rows if row not in (rows[0b000000111111], rows[0b111111000000])]
    assert verdict(near, far) is Mismatch.VALUES
    moved = [row[::-1] for row in near]
    assert verdict(near, moved) is None


def test_many_rows_that_sorting_does_not_pair_are_given_up_within_bounds() -> None:
    """Days of three years, all close to their neighbours, beside sums that differ by noise: pairing takes n² looks."""

    def days(count: int, far: float) -> tuple[Table, Table]:
        # the noise sorts one side's rows by day, the other's the other way round
        noise = [0.3 * (1 + step * 1e-12) for step in range(count)]
        forwards = [(noise[day], 2459000.5 + day) for day in range(count)]
        backwards = [(noise[-1 - day], 2459000.5 + day) for day in range(count)]
        return forwards, [*backwards[:-1], (backwards[-1][0], backwards[-1][1] + far)]

    strict = rule_for("strict", "SELECT 1")
    assert verdict(*days(365, 0), strict) is None
    assert verdict(*days(365, 100), strict) is Mismatch.VALUES
    assert verdict(*days(1100, 0), strict) is Mismatch.VALUES  # past the bound: never a wrong yes


def test_regular_tables_that_colours_cannot_tell_apart() -> None:
    """A ring of six and two rings of three have equal colours everywhere; only fixing columns tells them apart."""

    def ring(members: list[int]) -> Table:
        pairs = zip(members, members[1:] + members[:1], strict=True)
        return [tuple(int(place in pair) for place in range(6)) for pair in pairs]

    assert verdict(ring([0, 1, 2, 3, 4, 5]), ring([0, 1, 2]) + ring([3, 4, 5])) is Mismatch.VALUES
    assert verdict(ring([0, 1, 2, 3, 4, 5]), ring([3, 0, 5, 1, 4, 2])) is None

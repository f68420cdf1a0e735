"""Dividing questions: what belongs together stays together, and the parts do not depend on order."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exspin.data.divide import divide, same_question, same_sql

DIFFERENT = [(f"question {n}", f"SELECT {n}") for n in range(100)]


def test_shares_are_kept() -> None:
    assert Counter(divide(DIFFERENT, [0.1, 0.1])) == {0: 80, 1: 10, 2: 10}
    assert Counter(divide(DIFFERENT, [0.1])) == {0: 90, 1: 10}


def test_the_order_of_rows_does_not_matter() -> None:
    there, back = divide(DIFFERENT, [0.1, 0.1]), divide(DIFFERENT[::-1], [0.1, 0.1])
    assert there == back[::-1]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("SELECT x FROM t", "select  x\nfrom t ;"),
        ("SELECT x FROM t", "SELECT x FROM t -- all of it"),
        ("SELECT X FROM t", "SELECT x FROM T"),
    ],
)
def test_queries_that_are_the_same(a: str, b: str) -> None:
    assert same_sql(a) == same_sql(b)


@pytest.mark.parametrize(
    ("a", "b"), [("SELECT 'a'", "SELECT 'A'"), ("SELECT a", "SELECT b"), ("SELECT 'a  b'", "SELECT 'a b'")]
)  # fmt: skip
def test_queries_that_are_not(a: str, b: str) -> None:
    assert same_sql(a) != same_sql(b)


def test_large_groups_leave_the_small_parts_a_group_each() -> None:
    rows = [(f"q{n}", f"SELECT {n % 3}") for n in range(30)]  # three groups of ten
    assert Counter(divide(rows, [0.1, 0.1])) == {0: 10, 1: 10, 2: 10}


@pytest.mark.parametrize("query", [f"SELECT 'one {n}'" for n in range(20)])  # wherever it comes
def test_a_group_larger_than_a_share_does_not_go_there_while_others_fit(query: str) -> None:
    rows = [*DIFFERENT[:60], *((f"again {n}", query) for n in range(40))]
    parts = divide(rows, [0.1, 0.1])
    assert Counter(parts) == {0: 80, 1: 10, 2: 10}
    assert set(parts[60:]) == {0}


def test_too_few_groups_leave_later_parts_empty_and_never_the_rest() -> None:
    assert divide([("a", "SELECT 1")], [0.1, 0.1]) == [0]
    assert sorted(divide([("a", "SELECT 1"), ("b", "SELECT 2")], [0.1, 0.1])) == [0, 1]


rows = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 5).map("SELECT {}".format)), max_size=25
)


@given(rows=rows)
def test_parts_share_neither_question_nor_query(rows: list[tuple[str, str]]) -> None:
    parts = divide(rows, [0.2, 0.1])
    assert len(parts) == len(rows) and set(parts) <= {0, 1, 2}
    for same, place in ((same_question, 0), (same_sql, 1)):
        homes: dict[str, set[int]] = {}
        for row, part in zip(rows, parts, strict=True):
            homes.setdefault(same(row[place]), set()).add(part)
        assert all(len(found) == 1 for found in homes.values())
    if len(set(rows)) == 1:
        assert set(parts) == {0}

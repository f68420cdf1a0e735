"""What golds mention."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exspin.sql.copies.mentions import Mentions, read_mentions

CONDITIONS = {
    "SELECT a FROM t WHERE age > 30": [("t", "age", ">", 30)],
    "SELECT a FROM t WHERE age > = -3 AND b <> 'x'": [("t", "age", ">=", -3), ("t", "b", "!=", "x")],
    'SELECT a FROM t WHERE name = "Ada" OR name == \'It\'\'s\'': [("t", "name", "=", "Ada"), ("t", "name", "=", "It's")],
    "SELECT T1.a FROM t AS T1 JOIN u T2 ON T1.x = T2.y WHERE T2.b LIKE '%uper%'": [("u", "b", "LIKE", "%uper%")],
    "SELECT a FROM t WHERE b NOT LIKE 'x'": [("t", "b", "LIKE", "x")],
    "SELECT a FROM t WHERE b BETWEEN 1 AND 2.5 AND c = 3": [("t", "b", ">=", 1), ("t", "b", "<=", 2.5), ("t", "c", "=", 3)],
    "SELECT a FROM t WHERE b IN ('x', 'y') AND c NOT IN (4)": [("t", "b", "=", "x"), ("t", "b", "=", "y"), ("t", "c", "=", 4)],
    "SELECT a FROM t GROUP BY a HAVING max(b) >= 7": [("t", "b", ">=", 7)],
    "SELECT a FROM [t 1] WHERE `b c` = 1e3": [("t 1", "b c", "=", 1000.0)],
    "SELECT a FROM t, u WHERE b = 1": [("t u", "b", "=", 1)],
    "SELECT a FROM t WHERE b = (SELECT max(b) FROM t)": [],
    "SELECT a FROM t LIMIT 3": [],
}  # fmt: skip


@pytest.mark.parametrize("gold", CONDITIONS)
def test_literals_with_their_columns(gold: str) -> None:
    found = [
        (" ".join(c.column.tables), c.column.name, c.operator, c.value)
        for group in read_mentions([gold]).conditions
        for c in group
    ]
    assert found == CONDITIONS[gold]


@pytest.mark.parametrize(
    ("gold", "join"),
    [
        ("SELECT 1 FROM t AS T1 JOIN u AS T2 ON T1.x = T2.y", "t.x u.y"),
        ("SELECT 1 FROM t JOIN u ON u.y = t.x", "t.x u.y"),
        ("SELECT 1 FROM t WHERE x NOT IN (SELECT DISTINCT T2.y FROM u AS T2)", "t,u.x u.y"),
    ],
)
def test_joined_columns(gold: str, join: str) -> None:
    (pair,) = read_mentions([gold]).joins
    assert " ".join(f"{','.join(name.tables)}.{name.name}" for name in pair) == join


def test_columns_that_are_ordered_by() -> None:
    golds = ["SELECT a FROM t ORDER BY b DESC, count(*) LIMIT 1", "SELECT min(c) FROM t"]
    assert [name.name for name in read_mentions(golds).ordered] == ["b", "c"]


def test_order_of_golds_makes_no_difference() -> None:
    golds = list(CONDITIONS)
    assert read_mentions(golds) == read_mentions(reversed([*golds, *golds]))


@given(
    st.lists(
        st.text(st.sampled_from("SELECT FROM WHERE a.'\"(),=<> INLIKE BETWEEN 1-[`\n")), max_size=3
    )
)
def test_no_text_fails_and_json_brings_all_back(golds: list[str]) -> None:
    found = read_mentions([*golds, *CONDITIONS])
    assert Mentions.from_json(json.loads(json.dumps(found.to_json()))) == found

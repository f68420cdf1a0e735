"""Breaking the ties of an ORDER BY both ways: where the terms go, and that the two spellings find real ties."""

from __future__ import annotations

import sqlite3

import pytest

from exspin.sql.ties import broken_ties


@pytest.mark.parametrize(
    ("sql", "upwards"),
    [
        ("SELECT a FROM t ORDER BY a", "SELECT a FROM t ORDER BY a, 1 ASC"),
        ("SELECT a FROM t ORDER BY a DESC LIMIT 3", "SELECT a FROM t ORDER BY a DESC, 1 ASC LIMIT 3"),
        ("SELECT a FROM t order  by a -- LIMIT", "SELECT a FROM t order  by a, 1 ASC  -- LIMIT"),
        ("SELECT a FROM t ORDER BY (SELECT 1 LIMIT 1) LIMIT 2 OFFSET 1",
         "SELECT a FROM t ORDER BY (SELECT 1 LIMIT 1), 1 ASC LIMIT 2 OFFSET 1"),
        ("SELECT a FROM t ORDER BY a OFFSET 1", "SELECT a FROM t ORDER BY a, 1 ASC OFFSET 1"),
        ("SELECT a FROM t ORDER BY a FETCH FIRST 1 ROW ONLY", "SELECT a FROM t ORDER BY a, 1 ASC FETCH FIRST 1 ROW ONLY"),
        ("SELECT a FROM t ORDER BY offset, t.fetch LIMIT 1", "SELECT a FROM t ORDER BY offset, t.fetch, 1 ASC LIMIT 1"),
        ("SELECT a FROM t UNION SELECT b FROM u ORDER BY 1;", "SELECT a FROM t UNION SELECT b FROM u ORDER BY 1, 1 ASC ;"),
        ("SELECT a FROM t GROUP BY a ORDER BY b", "SELECT a FROM t GROUP BY a ORDER BY b, 1 ASC"),
        ("(SELECT a FROM t ORDER BY a LIMIT 1)", "(SELECT a FROM t ORDER BY a, 1 ASC LIMIT 1)"),
    ],
)  # fmt: skip
def test_where_the_terms_go(sql: str, upwards: str) -> None:
    both = broken_ties(sql, 1)
    assert both is not None
    assert " ".join(both[0].split()) == " ".join(upwards.split())
    assert both[1] == both[0].replace("1 ASC", "1 DESC")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t",
        "SELECT a FROM t LIMIT 1",
        "SELECT a FROM (SELECT a FROM t ORDER BY a)",
        "SELECT row_number() OVER (ORDER BY a) FROM t",
        "SELECT 'ORDER BY' FROM t",
        "SELECT a FROM t GROUP BY a",
        "SELECT a FROM t GROUP BY a LIMIT 1",
        "",
    ],
)
def test_without_an_outermost_order_there_is_nothing_to_break(sql: str) -> None:
    assert broken_ties(sql, 1) is None


@pytest.mark.parametrize(
    ("sql", "tied"),
    [
        ("SELECT name FROM t ORDER BY age", True),
        ("SELECT name FROM t ORDER BY age LIMIT 1", True),
        ("SELECT name FROM t ORDER BY age LIMIT 2", True),
        ("SELECT name FROM t ORDER BY age DESC LIMIT 1", False),
        ("SELECT age FROM t ORDER BY age LIMIT 1", False),  # tied rows that look the same
        ("SELECT name, age FROM t ORDER BY age, name", False),
        ("SELECT age, count(*) FROM t GROUP BY age ORDER BY count(*) LIMIT 1", False),
        ("SELECT DISTINCT age > 2 FROM t ORDER BY 1", False),
        ("SELECT name FROM t UNION ALL SELECT 'x' ORDER BY 1", False),
    ],
)
def test_ties_show_as_a_difference(sql: str, tied: bool) -> None:
    connection = sqlite3.connect(":memory:")
    connection.executescript(
        "CREATE TABLE t (name, age); INSERT INTO t VALUES ('a', 2), ('b', 2), ('c', 3)"
    )
    width = len(connection.execute(sql).description)
    both = broken_ties(sql, width)
    assert both is not None
    up, down = (connection.execute(spelling).fetchall() for spelling in both)
    connection.close()
    assert (up != down) is tied

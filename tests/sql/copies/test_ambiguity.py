"""What a query leaves open, made visible by rewriting it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from exspin.sql.copies.ambiguity import variants

SCRIPT = """
CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, country TEXT, age INTEGER);
CREATE TABLE sang (singer_id INTEGER, title TEXT);
INSERT INTO singer VALUES (1, 'Ada', 'Peru', 30), (2, 'Bo', 'Chile', 30), (3, 'Cy', 'Peru', 41), (4, 'Di', 'Chile', 55);
INSERT INTO sang VALUES (1, 'x'), (2, 'y'), (3, 'z'), (3, 'z');
"""
OPEN = [
    "SELECT name FROM singer ORDER BY age LIMIT 1",
    "SELECT name FROM singer LIMIT 1",
    "SELECT name, country FROM singer GROUP BY country",
    "SELECT country FROM singer GROUP BY country ORDER BY count(*) DESC LIMIT 1",
    "SELECT T1.country FROM singer AS T1 GROUP BY T1.country ORDER BY count(*) LIMIT 1;",
    "SELECT title FROM sang WHERE singer_id = (SELECT id FROM singer ORDER BY age LIMIT 1)",
    "SELECT name FROM singer ORDER BY age",  # in an order of its own
    "SELECT name FROM main.singer, sang WHERE id = singer_id ORDER BY age LIMIT 1",
]
SETTLED = [
    "SELECT name FROM singer ORDER BY age DESC LIMIT 1",
    "SELECT name FROM singer ORDER BY age, name LIMIT 1",
    "SELECT name, max(age) FROM singer WHERE country = 'Peru'",
    "SELECT s.name, count(*) FROM singer s JOIN sang ON s.id = singer_id GROUP BY s.id ORDER BY 2 DESC LIMIT 1",
    "SELECT count(*) FROM singer, sang",
    "SELECT name FROM singer WHERE age = (SELECT min(age) FROM singer) ORDER BY name",
    "SELECT * FROM singer ORDER BY id",
    "SELECT sum(age * 2) FROM singer WHERE id IN (SELECT singer_id FROM sang UNION SELECT 4 ORDER BY 1)",
    "WITH singer2 AS (SELECT * FROM singer) SELECT count(*) FROM singer2",
    "SELECT name, rank() OVER (ORDER BY age) FROM singer ORDER BY id",
]


def answers(sql: str) -> set[str]:
    """The results of a statement and its variants; in order where it asks for one."""
    found = set()
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCRIPT)
        for text in (sql, *variants(sql, ("singer", "sang"))):
            rows = connection.execute(text).fetchall()
            found.add(str(rows if "ORDER BY" in sql else sorted(rows)))
    return found


@pytest.mark.parametrize("sql", OPEN)
def test_several_right_answers_are_found(sql: str) -> None:
    assert len(answers(sql)) > 1


@pytest.mark.parametrize("sql", SETTLED)
def test_one_right_answer_stays_one(sql: str) -> None:
    assert len(answers(sql)) == 1


def test_every_variant_is_written_out() -> None:
    assert variants("SELECT a, b FROM t x ORDER BY a LIMIT 1", {"T"}) == [
        "SELECT a, b FROM (SELECT * FROM t ORDER BY rowid DESC LIMIT -1) x ORDER BY a LIMIT 1",
        "SELECT a, b FROM t x ORDER BY a, 1, 2 LIMIT 1",
        "SELECT a, b FROM t x ORDER BY a, 1 DESC, 2 DESC LIMIT 1",
    ]


def test_ties_are_broken_by_the_columns_of_the_select_that_orders() -> None:
    """Of a product both sides are one column; where a * hides how many there are, the first."""
    for columns, terms in (
        ("a * 2, b", ", 1, 2"),
        ("*, b", ", 1"),
        ("t.*", ", 1"),
        ("max(a, b)", ", 1"),
    ):
        assert (
            variants(f"SELECT {columns} FROM t ORDER BY a", {})[0]
            == f"SELECT {columns} FROM t ORDER BY a{terms}"
        )
    nested = "SELECT a FROM (VALUES (1), (2) ORDER BY 1)"
    assert variants(nested, {})[0] == "SELECT a FROM (VALUES (1), (2) ORDER BY 1, 1)"
    assert variants("SELECT group_concat(a ORDER BY b) FROM t", {}) == []


def test_only_what_is_named_as_a_table_is_read_backwards() -> None:
    """A column may be called like a table."""
    t, u = (f"(SELECT * FROM {name} ORDER BY rowid DESC LIMIT -1) AS {name}" for name in "tu")
    for sql in (
        "SELECT u, t FROM {t}, {u}",
        "SELECT (SELECT a FROM {t}), max(b, u) FROM {u}",
        "SELECT a FROM {t} WHERE a IN (1, u) GROUP BY a, u",
    ):
        assert variants(sql.format(t="t", u="u"), {"t", "u"}) == [sql.format(t=t, u=u)]


@pytest.mark.parametrize(
    "sql", ["", "SELECT 1", "FROM", "ORDER BY", "SELECT a FROM", ")) ORDER BY"]
)
def test_there_may_be_none(sql: str) -> None:
    assert variants(sql, {"a"}) == [] or "ORDER BY" in sql

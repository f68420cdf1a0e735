"""Spider's hardness on our tree, against the class computed from Spider's own parse; and skeletons."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exspin.data import load, with_hardness
from exspin.sql.hardness import hardness, skeleton


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT count(*) FROM singer", "easy"),
        ("SELECT name FROM singer WHERE age > 3", "easy"),
        ("SELECT name, age FROM singer", "medium"),  # two columns
        ("SELECT name FROM singer WHERE age > 3 AND age < 9", "medium"),  # two conditions
        (
            "SELECT name FROM singer GROUP BY name ORDER BY count(*) DESC LIMIT 1",
            "hard",
        ),  # three clauses
        ("SELECT name FROM singer WHERE age = (SELECT max(age) FROM singer)", "hard"),  # nested
        ("SELECT name FROM a UNION SELECT name FROM b", "hard"),
        (
            "SELECT a FROM t JOIN u ON t.x = u.x WHERE b IN (SELECT b FROM v)",
            "extra",
        ),  # nested beside a join
        ("SELECT a FROM t WHERE a LIKE 'x%' OR b NOT LIKE 'y%'", "extra"),  # WHERE, OR, two LIKE
        ("not SQL at all", ""),
        ("DROP TABLE t", ""),
        ("SELECT " + "(" * 5000 + "1" + ")" * 5000, ""),
        ("SELECT 1 WHERE " + " OR ".join(["1"] * 3000), "extra"),
    ],
)
def test_hardness(sql: str, expected: str) -> None:
    assert hardness(sql) == expected


@given(st.text(max_size=60))
def test_any_text_has_a_hardness_and_a_skeleton(text: str) -> None:
    assert hardness(text) in ("easy", "medium", "hard", "extra", "")
    skeleton(text)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("SELECT T1.name FROM singer AS T1", "select title from song;"),
        ("SELECT name FROM singer WHERE age > 30", "SELECT `x` FROM [y] z WHERE z.w > -- c\n 7"),
        ("SELECT count(*) AS n FROM t WHERE a <> 'x'", "SELECT COUNT(*) FROM u WHERE b != 2"),
    ],
)
def test_names_literals_and_spelling_leave_the_skeleton_alone(one: str, two: str) -> None:
    assert skeleton(one) == skeleton(two)


def test_clauses_and_functions_make_the_skeleton() -> None:
    assert skeleton(
        "SELECT T1.name, max(age) FROM singer AS T1 JOIN song AS T2 ON T1.id = T2.id GROUP BY T1.name"
    ) == ("SELECT _ , MAX ( _ ) FROM _ JOIN _ ON _ = _ GROUP BY _")
    assert skeleton("SELECT min(a) FROM t") != skeleton("SELECT max(a) FROM t")


def official(sql: dict[str, Any]) -> str:
    """Spider's rule on Spider's parse, written down from its description."""
    conditions = sql["from"]["conds"][::2] + sql["where"][::2] + sql["having"][::2]
    links = sql["from"]["conds"][1::2] + sql["where"][1::2] + sql["having"][1::2]
    one = sum(bool(sql[key]) for key in ("where", "groupBy", "orderBy")) + (
        sql["limit"] is not None
    )
    one += (
        max(0, len(sql["from"]["table_units"]) - 1)
        + links.count("or")
        + sum(c[1] == 9 for c in conditions)
    )
    two = sum(isinstance(value, dict) for c in conditions for value in c[3:5])
    two += sum(sql[key] is not None for key in ("intersect", "union", "except"))
    ordered = [
        side for unit in (sql["orderBy"][1] if sql["orderBy"] else []) for side in unit[1:] if side
    ]
    counted = [*sql["select"][1], *sql["where"][::2], *sql["groupBy"], *ordered, *sql["having"]]
    many = sum(unit[0] != 0 for unit in counted) > 1
    three = many + sum(len(part) > 1 for part in (sql["select"][1], sql["where"], sql["groupBy"]))
    if one <= 1 and two == 0 and three == 0:
        return "easy"
    if two == 0 and ((three <= 2 and one <= 1) or (one <= 2 and three < 2)):
        return "medium"
    if two == 0 and ((three > 2 and one <= 2) or (2 < one <= 3 and three <= 2)):
        return "hard"
    return "hard" if one <= 1 and three == 0 and two <= 1 else "extra"


def test_all_of_spider_dev_gets_its_official_class(exspin_data: Path) -> None:
    rows = json.loads((exspin_data / "spider" / "dev.json").read_text("utf-8"))
    expected = [official(row["sql"]) for row in rows]
    assert Counter(expected) == {"easy": 248, "medium": 446, "hard": 174, "extra": 166}
    assert [hardness(row["query"]) for row in rows] == expected


def test_queries_of_one_shape_have_one_class(exspin_data: Path) -> None:
    """`with_hardness` parses one query of each shape."""
    for name in ("dev", "train-others"):
        split = load(f"spider:{exspin_data / 'spider'}", name)
        graded = with_hardness(split).examples
        assert [e.hardness for e in graded] == [hardness(e.query) for e in split.examples]

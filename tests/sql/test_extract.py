"""Taking the statement out of model text, and the gate that names what is no query. Cases: the two YAML files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from exspin.records import Outcome
from exspin.sql.extract import extract_sql, gate
from exspin.sql.tokens import has_outer_order_by, tokens


def cases(name: str) -> list[Any]:
    return list(yaml.safe_load((Path(__file__).parent / name).read_text("utf-8")))


@pytest.mark.parametrize("case", cases("extraction.yaml"), ids=lambda case: case["name"])
def test_the_statement_in_model_text(case: dict[str, Any]) -> None:
    assert extract_sql(case["text"]) == (case["text"] if case.get("same") else case["sql"])


@pytest.mark.parametrize("case", cases("gates.yaml"), ids=lambda case: repr(case["text"]))
def test_what_the_gate_calls_it(case: dict[str, Any]) -> None:
    gated = gate(case["text"])
    assert (gated.outcome or "query", gated.detail) == (case["is"], case.get("detail", ""))


def test_a_lone_surrogate_is_an_outcome_and_no_exception() -> None:
    assert gate("SELECT '\ud800'").outcome is Outcome.ERROR
    assert gate(extract_sql("```sql\nSELECT '\ud800'\n```")).detail == "syntax"


def test_a_megabyte_of_sql_is_refused_before_anyone_reads_it() -> None:
    assert gate("SELECT " + "1, " * 400_000 + "1").detail == "too_complex"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1" + "\n\n--" * 24_000,
        "SELECT 1" + "\n\n-- x" * 16_000,
        "x\n" + "(\n" * 49_000,
        "x\n" + "/*\n" * 33_000,
        "x\n" + "/*\n" * 30_000 + "*/",
        "x\n" + "-- \n" * 24_000,
        "```\n(" * 16_000,
        "```sql\n/*" * 11_000,
        "sql:\n(" * 16_000,
        "sql" + "* " * 49_000,
        "WITH\n" * 20_000,
        "sql: with a(" * 8_000,
        "<think>" * 14_000,
        "SELECT 1" + "\n\n* " * 24_000 + "FROM t",
        "SELECT 1" + "\n\nSelect from" * 7_000,
        "SELECT 1;" + "Drop table x; " * 7_000,
        "SELECT 1;" + "Drop table" + " x." * 30_000,
        "SELECT 1 " + "<|a" * 30_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_long_text_takes_time_in_proportion(text: str) -> None:
    # The slowest takes 0.2 s; where the work grows with the square of the length, minutes.
    begun = time.process_time()
    gate(extract_sql(text))
    assert time.process_time() - begun < 10


def test_text_too_long_for_any_statement_is_not_searched() -> None:
    text = "SQL: SELECT 1" + " " * 100_000
    assert extract_sql(text) == text
    assert gate(text).detail == "too_complex"


def test_the_test_suite_rule_takes_the_first_statement_but_no_write() -> None:
    assert gate("SELECT 1; chatter", first_only=True).sql == "SELECT 1"
    assert gate("SELECT 1; DROP TABLE t", first_only=True).outcome is Outcome.DENIED


@given(st.text(alphabet=st.characters(), max_size=200))
@example("```sql\n" + "(" * 5000)
@example("SELECT " + "(" * 5000)
@example(" " * 5000 + "x")
@example("/*" * 3000)
def test_any_text_gets_an_answer(text: str) -> None:
    gated = gate(extract_sql(text))
    assert gated.outcome is not None or gated.sql.strip()


@given(st.text(max_size=200))
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(token.text for token in tokens(text)) == text


NAME = st.sampled_from(["name", '"odd; name"', "`tick`", "[select]", "T1.age", "größe"])
VALUE = st.sampled_from(
    ["1", "2.5", "'it''s; ok'", "'```'", "'<think>'", "NULL", "x'00'", "'SQL: SELECT 2;'"]
)
GAP = st.sampled_from([" ", "\n", "  ", " /* a; b */ ", " -- c; d\n"])


@st.composite
def plain_statements(draw: st.DrawFn) -> str:
    """A single SELECT in varied spelling, with everything that must not be mistaken for its end."""
    words = [
        draw(st.sampled_from(["SELECT", "select", "SELECT DISTINCT"])),
        draw(NAME),
        ",",
        draw(VALUE),
    ]
    words += ["FROM", draw(NAME), "WHERE", draw(NAME), "=", draw(VALUE)]
    if draw(st.booleans()):
        words += ["ORDER BY", draw(NAME)]
    return "".join(word + draw(GAP) for word in words[:-1]) + words[-1]


@given(plain_statements(), st.sampled_from(["", "\n", " "]))
def test_a_plain_statement_is_never_changed(sql: str, padding: str) -> None:
    assert extract_sql(padding + sql + padding) == sql
    assert gate(sql).sql == sql


@given(plain_statements())
def test_wrapping_does_not_lose_a_statement(sql: str) -> None:
    assert extract_sql(f"{sql};") == sql
    assert extract_sql(f"<think>hm; SELECT 0</think>\n{sql}") == sql
    assert extract_sql(f"SQL: {sql}") == sql


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("SELECT a FROM t order\n/* x */ by a LIMIT 1", True),
        ("SELECT 1 UNION SELECT 2 ORDER BY 1", True),
        ("WITH x AS (SELECT 1 ORDER BY 1) SELECT * FROM x", False),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a LIMIT 3)", False),
        ("SELECT rank() OVER (ORDER BY a) FROM t", False),
        ("SELECT 'x ORDER BY y', \"order by\" FROM t -- ORDER BY a", False),
        # parentheses around the whole, as engines other than SQLite allow them
        ("(SELECT a FROM t ORDER BY a)", True),
        ("-- best first\n((SELECT max(a) FROM t ORDER BY 1)) ;", True),
        ("(SELECT a FROM t) ORDER BY a", True),
        ("(SELECT a FROM t ORDER BY a) UNION (SELECT a FROM u)", False),
        ("((SELECT a FROM t ORDER BY a) UNION (SELECT a FROM u ORDER BY a))", False),
        ("((SELECT a FROM t) UNION (SELECT a FROM u) ORDER BY a)", True),
        ("(SELECT rank() OVER (ORDER BY a) FROM t)", False),
        ("(SELECT a FROM t ORDER BY a", False),
        ("(order by)", True),  # no query, and no reason to fail
    ],
)
def test_only_an_outermost_order_by_orders(sql: str, ordered: bool) -> None:
    assert has_outer_order_by(sql) is ordered

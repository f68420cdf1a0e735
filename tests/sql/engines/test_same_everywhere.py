"""What must not depend on the engine: names of errors, values of results, columns, reading the same question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from exspin.records import Outcome
from exspin.sql.execute import Executor, Job, Judgement

HERE = Path(__file__).parent
ERRORS = yaml.safe_load((HERE / "errors.yaml").read_text("utf-8"))
VALUES = yaml.safe_load((HERE / "values.yaml").read_text("utf-8"))


def test_errors_have_the_same_names(stage: Any, executor: Executor) -> None:
    results = executor.run_all(stage.database, [case["sql"] for case in ERRORS])
    wrong = {}
    for case, result in zip(ERRORS, results, strict=True):
        expected = case.get("but", {}).get(stage.kind, case["is"])
        found = "ok" if result.outcome is None else result.detail
        if found != expected or result.outcome not in (None, Outcome.ERROR):
            wrong[case["sql"]] = (result.outcome, result.detail)
    assert wrong == {}


def test_values_are_the_same(stage: Any, executor: Executor) -> None:
    cases = [case for case in VALUES if stage.kind in case["sql"]]
    queries = [
        f"SELECT {case['first'] + ', ' if 'first' in case else ''}{case['sql'][stage.kind]}"
        + (f" FROM {case['from']}" if "from" in case else "")
        for case in cases
    ]
    results = executor.run_all(stage.database, queries)
    found = {
        query: list(result.rows[0]) if result.rows else (result.outcome, result.detail)
        for query, result in zip(queries, results, strict=True)
    }
    expected = {query: _expected(case["is"]) for query, case in zip(queries, cases, strict=True)}
    assert repr(found) == repr(expected)  # NaN is not itself, and 1 is not 1.0


def _expected(value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    return [bytes.fromhex(v["hex"]) if isinstance(v, dict) else v for v in values]


def test_a_result_without_rows_has_columns(stage: Any, executor: Executor) -> None:
    result = executor.run(stage.database, "SELECT name, age FROM singer WHERE age > 99")
    assert (result.columns, result.rows) == (("name", "age"), ())


def test_columns_of_one_name_stay_apart(stage: Any, executor: Executor) -> None:
    result = executor.run(
        stage.database, "SELECT s.name, c.name FROM singer s JOIN concert c ON s.id = singer_id ORDER BY c.id"
    )  # fmt: skip
    assert result.columns == ("name", "name")
    assert result.rows == (("Ada", "Spring"), ("Cy", "Autumn"), ("Cy", "Winter"))


@pytest.mark.parametrize("comparator", ["default", "strict", "bird", "test-suite"])
def test_a_right_answer_matches(stage: Any, executor: Executor, comparator: str) -> None:
    gold = "SELECT name, age FROM singer WHERE age > 30"
    candidates = {
        "SELECT name, age FROM singer WHERE NOT age <= 30": Outcome.MATCH,
        "SELECT name, age FROM singer WHERE age > 30.0": Outcome.MATCH,
        "SELECT name, age FROM singer": Outcome.MISMATCH,
        "SELECT name, age FROM singer WHERE age > 99": Outcome.MISMATCH,
        "DELETE FROM singer": Outcome.DENIED,
        "SELECT nobody FROM singer": Outcome.ERROR,
        "I cannot answer that.": Outcome.NOT_A_QUERY,
    }
    judged = executor.judge([Job(stage.database, gold, sql) for sql in candidates], comparator)
    assert [judgement.outcome for judgement in judged] == list(candidates.values())


def test_rows_and_bytes_are_capped_while_they_arrive(stage: Any, executor: Executor) -> None:
    rows, text = executor.run_all(
        stage.database,
        [
            "SELECT a.x FROM many a, many b",
            f"SELECT a.x, '{'y' * 5000}' || b.x FROM many a JOIN many b ON b.x < 9"
            if stage.kind != "mysql"
            else "SELECT a.x, repeat('y', 5000) FROM many a JOIN many b ON b.x < 9",
        ],
    )
    assert (rows.outcome, rows.detail) == (Outcome.TOO_LARGE, "rows")
    assert text.outcome is Outcome.TOO_LARGE and text.detail in ("bytes", "memory")


def test_several_databases_in_one_call(
    sqlite_stage: Any, duckdb_stage: Any, postgresql_stage: Any, mysql_stage: Any, executor: Executor
) -> None:  # fmt: skip
    gold, other = "SELECT name FROM singer", "SELECT name FROM singer WHERE id > 0"
    stages = (sqlite_stage, postgresql_stage, duckdb_stage, mysql_stage, sqlite_stage)
    judged = executor.judge([Job(stage.database, gold, other) for stage in stages])
    assert judged == [Judgement(Outcome.MATCH)] * 5

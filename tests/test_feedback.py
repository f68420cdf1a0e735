"""From candidates to verdicts."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from exspin.feedback import judge
from exspin.records import Candidate, Database, Example, Outcome
from exspin.sql.execute import Executor


def stage(folder: Path) -> dict[str, Database]:
    path = folder / "stage.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE singer (name TEXT, age INTEGER)")
        connection.execute("INSERT INTO singer VALUES ('Ada', 36), ('Bo', 29)")
    connection.close()
    return {"stage": Database.sqlite("stage", path)}


EXAMPLES = {
    "x/0": Example("x/0", 0, "stage", "Who is over 30?", "SELECT name FROM singer WHERE age > 30"),
    "x/1": Example("x/1", 1, "gone", "How many?", "SELECT count(*) FROM t"),
}


def test_every_candidate_gets_its_verdict_in_order(tmp_path: Path) -> None:
    candidates = [
        Candidate("x/0", 0, "```sql\nSELECT name FROM singer WHERE age = 36;\n```", "stop"),
        Candidate("x/1", 0, "SELECT 1", "stop"),
        Candidate("x/0", 1, "SELECT name FROM singer", "stop"),
        Candidate("x/0", 2, "DROP TABLE singer", "stop"),
        Candidate("x/0", 3, "", "length"),
    ]
    told: list[int] = []
    with Executor(workers=1) as executor:
        verdicts = judge(
            candidates, EXAMPLES, stage(tmp_path), executor, "default", progress=told.append
        )
    assert [(v.example_id, v.k, v.outcome, v.detail) for v in verdicts] == [
        ("x/0", 0, Outcome.MATCH, ""),
        ("x/1", 0, Outcome.GOLD_UNUSABLE, "database_missing"),
        ("x/0", 1, Outcome.MISMATCH, "row_count"),
        ("x/0", 2, Outcome.DENIED, "write"),
        ("x/0", 3, Outcome.NOT_A_QUERY, "empty"),
    ]
    assert verdicts[0].sql == "SELECT name FROM singer WHERE age = 36"  # what was executed
    assert sum(told) == len(candidates)


def test_without_extraction_the_text_is_the_statement(tmp_path: Path) -> None:
    text = "```sql\nSELECT name FROM singer WHERE age = 36\n```"
    with Executor(workers=1) as executor:
        (verdict,) = judge(
            [Candidate("x/0", 0, text, "stop")],
            EXAMPLES,
            stage(tmp_path),
            executor,
            "default",
            extract=False,
        )
    assert verdict.outcome is Outcome.NOT_A_QUERY
    assert verdict.sql == text


def test_no_candidates_no_worker(tmp_path: Path) -> None:
    with Executor(workers=1) as executor:
        assert judge([], EXAMPLES, stage(tmp_path), executor, "default") == []
        assert executor._workers == [None]

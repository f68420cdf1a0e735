"""Matches that do not hold on copies: who is accused, who is not, and what is counted."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from exspin.accidental import CopyCheck, CopyReport
from exspin.data import Split
from exspin.errors import ConfigError
from exspin.feedback import judge
from exspin.records import Candidate, Database, Example, Outcome, Verdict
from exspin.scoring import score
from exspin.sql.execute import Executor

SCRIPT = """
CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, country TEXT, age INTEGER, score INTEGER);
CREATE TABLE sang (singer_id INTEGER REFERENCES singer (id), title TEXT);
INSERT INTO singer VALUES (1, 'Ada', 'Peru', 36, 5), (2, 'Bo', 'Chile', 29, 4), (3, 'Cy', 'Peru', 51, 9), (4, 'Di', 'Chile', 31, 8),
  (5, 'Ed', 'Peru', 44, 2), (6, 'Flo', 'Bolivia', 23, 1);
INSERT INTO sang VALUES (1, 'x'), (2, 'y'), (3, 'z'), (3, 'w'), (5, 'v');
"""
OVER_30 = "SELECT name FROM singer WHERE age > 30"
OLDEST = "SELECT name FROM singer ORDER BY age DESC LIMIT 1"
ALL = "SELECT count(*) FROM singer"
COUNTRIES = "SELECT DISTINCT country FROM singer WHERE id IN (SELECT singer_id FROM sang)"
CHOSEN = "SELECT name FROM singer WHERE country = 'Bolivia' ORDER BY age DESC LIMIT 1"


@pytest.fixture
def stage(tmp_path: Path) -> Database:
    path = tmp_path / "stage.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCRIPT)
    return Database.sqlite("stage", path)


def checked(
    database: Database, gold: str, sql: str, *, strict: bool = False, comparator: str = "default"
) -> tuple[Verdict, CopyReport]:
    example = Example("x/0", 0, database.db_id, "?", gold)
    copies = CopyCheck(10, cache=database.path.parent / "cache", strict=strict, workers=1)
    with Executor(workers=1) as executor:
        (verdict,) = judge(
            [Candidate("x/0", 0, sql, "stop")],
            {"x/0": example},
            {database.db_id: database},
            executor,
            comparator,
            copies=copies,
        )
    return verdict, copies.report


@pytest.mark.parametrize(
    ("gold", "sql"),
    [
        (OVER_30, "SELECT name FROM singer WHERE age >= 30"),
        (OVER_30, "SELECT name FROM singer WHERE id IN (1, 3, 4, 5)"),
        (OLDEST, "SELECT name FROM singer ORDER BY score DESC LIMIT 1"),
        (OLDEST, "SELECT name FROM singer WHERE age = 51"),
        (ALL, "SELECT 6"),
        (ALL, "SELECT count(DISTINCT age) FROM singer"),
        ("SELECT name FROM singer ORDER BY id", "SELECT name FROM singer ORDER BY name"),
        ("SELECT max(age) FROM singer", "SELECT max(age) FROM singer JOIN sang ON id = singer_id"),
    ],
)
def test_accidents_are_mismatches(gold: str, sql: str, stage: Database) -> None:
    verdict, report = checked(stage, gold, sql)
    assert (verdict.outcome, verdict.detail) == (Outcome.MISMATCH, "accidental")
    assert (report.copies, report.checked, report.accidental) == (10, 1, 1)


@pytest.mark.parametrize(
    ("gold", "sql"),
    [
        (ALL, "SELECT count(id) FROM singer"),
        (ALL, "SELECT count(*) FROM singer AS s"),
        (COUNTRIES, "SELECT DISTINCT country FROM singer JOIN sang ON id = singer_id"),
        (COUNTRIES, "SELECT country FROM singer JOIN sang ON id = singer_id GROUP BY country"),
        (OVER_30, "SELECT name FROM singer WHERE NOT age <= 30"),
        ("SELECT name, count(*) FROM singer JOIN sang ON id = singer_id GROUP BY id",
         "SELECT name, count(*) FROM singer JOIN sang ON id = singer_id GROUP BY name"),
        (OLDEST, "SELECT name FROM singer WHERE age = (SELECT max(age) FROM singer)"),
        (CHOSEN, "SELECT name FROM singer WHERE country = 'Bolivia' AND age = (SELECT max(age) FROM singer WHERE country = 'Bolivia')"),
        ("SELECT max(age) FROM singer WHERE country = 'Bolivia'",
         "SELECT age FROM singer WHERE country = 'Bolivia' ORDER BY age DESC LIMIT 1"),
        ("SELECT country FROM singer GROUP BY country ORDER BY count(*) DESC LIMIT 1",
         "SELECT country FROM singer GROUP BY country HAVING count(*) = (SELECT max(n) FROM (SELECT count(*) n FROM singer GROUP BY country))"),
    ],
)  # fmt: skip
def test_other_ways_to_say_the_same_are_matches(gold: str, sql: str, stage: Database) -> None:
    verdict, report = checked(stage, gold, sql)
    assert (verdict.outcome, verdict.detail) == (Outcome.MATCH, "")
    assert (report.checked, report.accidental) == (1, 0)


def test_who_is_strict_tells_no_row_from_a_row_of_null(stage: Database) -> None:
    # A condition that is not kept alive, so that some copies have nobody so young.
    gold = "SELECT max(score) FROM singer WHERE age * 3 < 70"
    sql = "SELECT score FROM singer WHERE age * 3 < 70 ORDER BY score DESC LIMIT 1"
    verdict, report = checked(stage, gold, sql)
    assert verdict.outcome is Outcome.MATCH
    assert report.not_counted["nothing_found"] > 0
    assert checked(stage, gold, sql, strict=True)[0].detail == "accidental"


def test_who_is_strict_counts_ties(stage: Database) -> None:
    tied = "SELECT name FROM singer WHERE age = (SELECT max(age) FROM singer)"
    assert checked(stage, tied, OLDEST)[0].outcome is Outcome.MATCH
    assert checked(stage, tied, OLDEST, strict=True)[0].detail == "accidental"


def test_where_gold_has_several_answers_a_copy_does_not_count(stage: Database) -> None:
    gold = "SELECT id FROM singer GROUP BY country ORDER BY count(*) LIMIT 1"  # any id of a country
    _, report = checked(stage, gold, "SELECT 6")
    assert report.not_counted["gold_ambiguous"] > 0


def test_where_gold_fails_a_copy_does_not_count(stage: Database) -> None:
    # The sum is past 64 bits on copies that have two of that age.
    gold = "SELECT sum(9223372036854775807) FROM singer WHERE age * 2 > 101"
    _, report = checked(stage, gold, "SELECT 9223372036854775807")
    assert report.checked == 1
    assert report.not_counted["gold_unusable"] > 0


def test_gold_itself_and_what_does_not_match_need_no_copies(stage: Database) -> None:
    for sql in (ALL, f" {ALL} ", "SELECT 7", "SELECT nothing"):
        assert checked(stage, ALL, sql)[1].checked == 0
    assert not (stage.path.parent / "cache").exists()


def test_a_database_without_copies_is_said_and_its_matches_stay(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE t (a); CREATE VIRTUAL TABLE f USING fts5 (body)")
    verdict, report = checked(Database.sqlite("notes", path), "SELECT count(*) FROM t", "SELECT 0")
    assert verdict.outcome is Outcome.MATCH
    assert (report.checked, report.unchecked) == (0, 1)
    assert report.without_copies == {"notes": "table 'f' is virtual"}
    assert "no copies of notes: table 'f' is virtual (1 matches not checked)" in str(report)


def test_a_database_of_another_engine_is_refused() -> None:
    check = CopyCheck(1)
    databases = {"shop": Database("shop", "duckdb:///shop.db")}
    with Executor() as executor, pytest.raises(ConfigError, match="'shop' is on duckdb"):
        check.check([], {}, databases, executor, "default")


def test_a_score_says_how_many_were_accidental(stage: Database, tmp_path: Path) -> None:
    golds = (OVER_30, OLDEST, ALL)
    examples = tuple(Example(f"x/{i}", i, "stage", "?", gold) for i, gold in enumerate(golds))
    data = Split("x", "dev", examples, {"stage": stage}, {})
    predictions = tmp_path / "predictions.sql"
    predictions.write_text(
        f"SELECT name FROM singer WHERE age >= 30\n{OLDEST}\nSELECT count(id) FROM singer\n"
    )
    before = score(data, predictions, workers=1)
    check = CopyCheck(10, cache=tmp_path / "cache")
    verdicts = tmp_path / "verdicts.jsonl"
    after = score(data, predictions, workers=1, copies=check, verdicts=verdicts)
    assert (before.outcomes[Outcome.MATCH], after.outcomes[Outcome.MATCH]) == (3, 2)
    assert "accidental" not in before.to_json()
    row = after.to_json()
    assert row["accidental"] == row["copies"]["accidental"] == 1
    assert row["copies"]["checked"] == 2
    assert json.loads(verdicts.read_text().splitlines()[0])["detail"] == "accidental"

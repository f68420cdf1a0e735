"""Hostile candidates. Each costs one outcome: the next query answers, no file is made or changed.

`attacks.jsonl` holds one attack a line with the outcomes it may end in; `{40*text}` stands for the text forty times.
Times are not asserted: an attack that is not stopped makes this test hang.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exspin.ledger import digest_file
from exspin.records import Database, Outcome
from exspin.sql.execute import Executor, Job, Judgement, Limits

GOLD = "SELECT name FROM singer WHERE age > 30"
ATTACKS = [
    json.loads(line)
    for line in (Path(__file__).parent / "attacks.jsonl").read_text("utf-8").splitlines()
]


def expanded(sql: str) -> str:
    return re.sub(r"\{(\d+)\*([^}]*)\}", lambda match: match[2] * int(match[1]), sql)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    path = tmp_path_factory.mktemp("attacked") / "stage.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, age INTEGER);
            INSERT INTO singer VALUES (1, 'Ada', 36), (2, 'Bo', 29), (3, 'Cy', 41);
            CREATE TABLE many (x INTEGER);
            WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 5000) INSERT INTO many SELECT x FROM c;
            CREATE VIEW endless AS
                WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c;"""
        )
    connection.close()
    return Database.sqlite("stage", path)


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    limits = Limits(timeout_s=0.8, max_rows=20_000, max_bytes=20_000_000, memory_mb=256)
    with Executor(limits, workers=1) as executor:
        yield executor


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack["name"])
def test_an_attack_costs_one_outcome(
    attack: dict[str, Any],
    database: Database,
    executor: Executor,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = digest_file(database.path)
    sql = expanded(attack["sql"])

    judged = executor.judge(
        [
            Job(database, GOLD, sql),
            Job(database, GOLD, "SELECT name FROM singer WHERE NOT age <= 30"),
        ]
    )

    assert judged[0].outcome in attack["outcomes"], judged[0]
    assert judged[1] == Judgement(Outcome.MATCH)
    assert digest_file(database.path) == before
    assert [path.name for path in database.path.parent.iterdir()] == ["stage.sqlite"]
    assert not list(tmp_path.iterdir())


def test_no_attack_matches_a_gold_without_rows(database: Database, executor: Executor) -> None:
    """Statements that return nothing must not pass for a query that finds nothing."""
    fast = [a for a in ATTACKS if not {"timeout", "too_large", "mismatch"} & set(a["outcomes"])]
    gold = "SELECT name FROM singer WHERE age > 99"
    judged = executor.judge(
        [Job(database, gold, expanded(attack["sql"])) for attack in fast], "test-suite"
    )
    assert [
        a["name"] for a, j in zip(fast, judged, strict=True) if j.outcome is Outcome.MATCH
    ] == []

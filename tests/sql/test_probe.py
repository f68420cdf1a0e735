"""Every gold twice, in the sandbox: what is told apart, and what a worker that dies costs."""

from __future__ import annotations

import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from exspin.errors import ConfigError
from exspin.records import Database, Outcome
from exspin.sql import probe as probe_module
from exspin.sql.engines import Budget, Limits
from exspin.sql.engines.sqlite import open_backwards, open_engine
from exspin.sql.probe import Probe, probe_golds
from exspin.sql.process import WorkerProcess

BUDGET = Budget(5.0)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    path = tmp_path / "shop.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE t (name TEXT, n INTEGER); INSERT INTO t VALUES ('a', 1), ('b', 1), ('c', 2)"
    )
    connection.close()
    return Database.sqlite("shop", path)


def test_the_sandbox_reverses_what_nothing_orders_and_nothing_else(database: Database) -> None:
    forwards, backwards = (
        opened(database.url, Limits(), lambda _: None) for opened in (open_engine, open_backwards)
    )
    rows = forwards.run("SELECT name FROM t", BUDGET).rows
    assert rows == [("a",), ("b",), ("c",)]
    assert backwards.run("SELECT name FROM t", BUDGET).rows == rows[::-1]
    assert backwards.run("SELECT name FROM t ORDER BY n, name", BUDGET).rows == rows


@pytest.mark.parametrize(
    "sql",
    ["PRAGMA reverse_unordered_selects = 1", "SELECT * FROM pragma_reverse_unordered_selects"],
)
def test_a_statement_cannot_reverse_by_itself(sql: str, database: Database) -> None:
    assert open_engine(database.url, Limits(), lambda _: None).run(sql, BUDGET).outcome is not None


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT name FROM t", {"rows": 3}),  # a bag of rows: their order is no matter
        ("SELECT name FROM t WHERE n > 5", {"rows": 0}),
        ("SELECT name FROM t LIMIT 1", {"rows": 1, "differs": "values"}),
        ("SELECT name, max(n) - max(n) FROM t WHERE n = 1", {"rows": 1}),
        ("SELECT count(*), name FROM t", {"rows": 1, "differs": "values"}),
        ("SELECT random()", {"rows": 1, "differs": "values", "repeats": False}),
        ("SELECT name FROM t ORDER BY n", {"rows": 3, "ties": "order"}),
        ("SELECT name FROM t ORDER BY n LIMIT 1", {"rows": 1, "ties": "values"}),
        ("SELECT n FROM t ORDER BY n LIMIT 1", {"rows": 1}),
        ("SELECT x FROM t", {"outcome": Outcome.ERROR, "detail": "no_such_column"}),
        ("DROP TABLE t", {"outcome": Outcome.DENIED, "detail": "write"}),
        ("hello", {"outcome": Outcome.NOT_A_QUERY, "detail": "no_select"}),
        ("SELECT zeroblob(40000000), zeroblob(40000000)", {"outcome": Outcome.TOO_LARGE, "detail": "bytes"}),
    ],
)  # fmt: skip
def test_what_two_runs_show(sql: str, expected: dict[str, Any], database: Database) -> None:
    (found,) = probe_golds([(database, sql)], workers=1)
    assert {name: getattr(found, name) for name in Probe.__slots__ if name != "seconds"} == {
        "outcome": None, "detail": "", "rows": 0, "differs": "", "repeats": True, "ties": "", **expected,
    }  # fmt: skip


def test_the_comparator_decides_what_differs(database: Database) -> None:
    """As sets of rows, ties that change an order alone are none."""
    golds = [(database, "SELECT name FROM t ORDER BY n")]
    assert probe_golds(golds, comparator="bird", workers=1)[0].ties == ""
    with pytest.raises(ConfigError, match="exact"):
        probe_golds(golds, comparator="exact")
    # what a comparator rewrites is what runs: the test-suite evaluator drops DISTINCT
    distinct = [(database, "SELECT DISTINCT n FROM t")]
    assert probe_golds(distinct, workers=1)[0].rows == 2
    assert probe_golds(distinct, comparator="test-suite", workers=1)[0].rows == 3


def test_order_and_counts_of_many_golds(database: Database, tmp_path: Path) -> None:
    """Two hundred golds on two databases, some of them equal, come back in their order; progress adds up."""
    other = tmp_path / "other.sqlite"
    other.write_bytes(database.path.read_bytes())
    places = [database, Database.sqlite("other", other)]
    golds = [(places[i % 2], f"SELECT name FROM t LIMIT {i % 5}") for i in range(200)]
    told: list[int] = []
    found = probe_golds([*golds, (database, "DELETE FROM t")], workers=2, progress=told.append)
    assert [probe.rows for probe in found[:-1]] == [min(i % 5, 3) for i in range(200)]
    assert found[-1].outcome is Outcome.DENIED
    assert sum(told) == 201


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c"
ONE_INSTRUCTION = "SELECT instr(zeroblob(950000), zeroblob(475000)||x'01')"


@pytest.mark.parametrize(
    ("sql", "limits", "detail"),
    [
        (ENDLESS, Limits(timeout_s=10.0, max_operations=1_000_000), "operations"),
        (ONE_INSTRUCTION, Limits(timeout_s=0.3), "killed"),
    ],
    ids=["stop", "kill"],
)
def test_a_gold_that_does_not_end_costs_only_itself(
    sql: str, limits: Limits, detail: str, database: Database
) -> None:
    golds = [(database, "SELECT 1"), (database, sql), (database, "SELECT 2")]
    found = probe_golds(golds, limits=limits, workers=1)
    assert [(probe.outcome, probe.detail) for probe in found] == [
        (None, ""),
        (Outcome.TIMEOUT, detail),
        (None, ""),
    ]


def test_a_gold_that_only_the_clock_stops_is_tried_again_alone(database: Database) -> None:
    """With instructions to spare the wall is the limit; the answer comes from a run with nothing beside it."""
    limits = Limits(timeout_s=0.3, max_operations=10**12)
    golds = [(database, ENDLESS), (database, "SELECT 1")]
    found = probe_golds(golds, limits=limits, workers=2)
    assert [(probe.outcome, probe.detail) for probe in found] == [
        (Outcome.TIMEOUT, "wall"),
        (None, ""),
    ]


def test_a_worker_that_is_lost_is_replaced_and_its_gold_tried_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[WorkerProcess] = []

    class Dying(WorkerProcess):
        """The first of them dies of its first message."""

        def __init__(self, limits: Limits, kind: str) -> None:
            super().__init__(limits, kind)
            started.append(self)

        def send(self, message: dict[str, Any]) -> None:
            super().send(message)
            if len(started) == 1:
                self._process.kill()

    monkeypatch.setattr(probe_module, "WorkerProcess", Dying)
    found = probe_golds([(database, f"SELECT {i}") for i in range(20)], workers=1)
    assert [probe.outcome for probe in found] == [None] * 20
    assert len(started) == 2


def test_workers_that_keep_dying_are_our_failure_not_the_golds(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying(WorkerProcess):
        def send(self, message: dict[str, Any]) -> None:
            super().send(message)
            self._process.kill()
            self._process.wait()

        def read(self) -> list[Any]:
            """What it said before it died, if anything, did not arrive."""
            answers = super().read()
            return [] if self.lost else answers

    monkeypatch.setattr(probe_module, "WorkerProcess", Dying)
    found = probe_golds([(database, "SELECT 1")], workers=1)
    assert [(probe.outcome, probe.detail) for probe in found] == [(Outcome.INFRA, "worker_lost")]


def test_no_process_is_left(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at the end nor when something goes wrong in the middle."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def spawn(*arguments: Any, **more: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **more))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", spawn)
    golds = [(database, f"SELECT {i}") for i in range(100)]
    probe_golds(golds, workers=2)

    def stop(done: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe_golds(golds, workers=2, progress=stop)
    assert started and all(process.poll() is not None for process in started)

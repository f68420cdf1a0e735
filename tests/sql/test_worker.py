"""The worker in this process, on an engine that runs nothing: what it runs, when, and what it tells."""

from __future__ import annotations

import json
import mmap
import os
import time
from collections.abc import Callable, Hashable, Iterator
from itertools import chain
from typing import Any

import pytest

from exspin.records import Outcome
from exspin.sql import worker as worker_module
from exspin.sql.compare import rule_for
from exspin.sql.desk import Desk
from exspin.sql.engines import Budget, Limits, Ran
from exspin.sql.worker import Worker

RULE = rule_for("default", "SELECT 1").parts()
ONE, TWO = Ran(("x",), [(1,)], size=100, operations=10_000), Ran(("x",), [(2,)], size=100)


class Engine:
    """Answers from a table; remembers what it was asked."""

    def __init__(self, url: str, answers: dict[str, Ran]) -> None:
        self.url = url
        self.answers = answers
        self.ran: list[tuple[str, Budget]] = []
        self.now: Hashable | None = "first"
        self.closed = False

    def state(self) -> Hashable | None:
        return self.now

    def run(self, sql: str, budget: Budget) -> Ran:
        self.ran.append((sql, budget))
        return self.answers[sql]

    def close(self) -> None:
        self.closed = True


class Engines:
    """Stands for the module of an engine."""

    def __init__(self, answers: dict[str, Ran]) -> None:
        self.answers = answers
        self.opened: list[Engine] = []

    def confine(self, limits: Limits) -> None:
        pass

    def open_engine(self, url: str, limits: Limits, alive: Callable[[], None]) -> Engine:
        self.opened.append(Engine(url, self.answers))
        return self.opened[-1]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the worker writes to its parent."""
    lines: list[bytes] = []
    monkeypatch.setattr(worker_module, "_send", lines.append)
    return lines


@pytest.fixture
def desk() -> Iterator[Desk]:
    memory = os.memfd_create("test")
    os.ftruncate(memory, mmap.PAGESIZE)
    desk = Desk(memory)
    os.close(memory)
    yield desk
    desk.close()


def message(*tasks: Any, alone: bool = True, url: str = "sqlite:///x") -> dict[str, Any]:
    return {"url": url, "alone": alone, "tasks": list(tasks)}


def answers(told: list[bytes]) -> list[Any]:
    return list(chain.from_iterable(map(json.loads, told)))


def test_a_gold_runs_once_for_each_state_of_the_database(told: list[bytes], desk: Desk) -> None:
    engines = Engines({"gold": ONE, "a": ONE, "b": TWO})
    worker = Worker("sqlite", engines, Limits(), desk)
    for _ in range(3):
        worker.serve(message(["gold", RULE, ["a", "b"]]))
    (engine,) = engines.opened
    assert [sql for sql, _ in engine.ran] == ["gold", "a", "b", "a", "b", "a", "b"]
    assert answers(told) == 3 * [[0, 1, "match", ""], [0, 2, "mismatch", "values"], None]
    engine.now = "second"
    worker.serve(message(["gold", RULE, ["a"]]))
    assert [sql for sql, _ in engine.ran][-2:] == ["gold", "a"]
    engine.now = None  # an engine that cannot tell
    worker.serve(message(["gold", RULE, ["a"]]))
    worker.serve(message(["gold", RULE, ["a"]]))
    assert [sql for sql, _ in engine.ran][-4:] == ["gold", "a", "gold", "a"]


def test_a_gold_whose_rows_were_let_go_runs_again_only_to_say_how_results_differ(
    told: list[bytes], desk: Desk
) -> None:
    engines = Engines({"gold": ONE, "a": ONE, "b": TWO})
    worker = Worker("sqlite", engines, Limits(), desk)
    worker.serve(message(["gold", RULE, []]))
    for kept in worker._golds._kept.values():
        kept.let_go()
    worker.serve(message(["gold", RULE, ["a"]]))
    worker.serve(message(["gold", RULE, ["b"]]))
    assert [sql for sql, _ in engines.opened[0].ran] == ["gold", "a", "b", "gold"]
    assert answers(told) == [None, [0, 1, "match", ""], None, [0, 1, "mismatch", "values"], None]


def test_a_candidate_gets_the_instructions_its_gold_allows(told: list[bytes], desk: Desk) -> None:
    gold = Ran(("x",), [(1,)], operations=40_000_000)
    engines = Engines({"gold": gold, "a": ONE})
    limits = Limits(timeout_s=60)
    Worker("sqlite", engines, limits, desk).serve(message(["gold", RULE, ["a"]]))
    Worker("duckdb", engines, limits, desk).serve(message(["gold", RULE, ["a"]]))
    budgets = [budget for engine in engines.opened for _, budget in engine.ran]
    assert [b.operations for b in budgets] == [3_000_000_000, 400_000_000, None, None]
    assert {b.timeout_s for b in budgets} == {60}


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
@pytest.mark.parametrize("alone", [False, True])
def test_the_clock_alone_decides_nothing_on_sqlite(
    kind: str, alone: bool, told: list[bytes], desk: Desk
) -> None:
    wall = Ran(outcome=Outcome.TIMEOUT, detail="wall")
    counted = Ran(outcome=Outcome.TIMEOUT, detail="operations")
    engines = Engines({"gold": ONE, "slow": wall, "long": counted})
    worker = Worker(kind, engines, Limits(), desk)
    worker.serve(message(["gold", RULE, ["slow", "long"]], alone=alone))
    sure = alone or kind != "sqlite"
    assert answers(told) == [
        [0, 1, "timeout" if sure else "again", "wall"],
        [0, 2, "timeout", "operations"],
        None,
    ]


def test_comparing_is_not_done_on_the_time_of_the_statement(
    told: list[bytes], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float] = []

    def noted(*_: Any) -> None:
        left.append(desk.busy().due - time.monotonic())

    monkeypatch.setattr(worker_module, "compare", noted)
    limits = Limits(timeout_s=0.1)
    worker = Worker("sqlite", Engines({"gold": ONE, "a": TWO}), limits, desk)
    worker.serve(message(["gold", RULE, ["a"]]))
    assert left[0] > 20  # the statement itself had half a second


def test_no_answer_is_kept_back_while_a_statement_runs(
    told: list[bytes], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "_FLUSH_S", 0.0)
    worker = Worker("sqlite", Engines({"gold": ONE, "a": ONE, "b": TWO}), Limits(), desk)
    worker.serve(message(["gold", RULE, ["a", "b"]]))
    assert [json.loads(line) for line in told] == [
        [[0, 1, "match", ""]],
        [[0, 2, "mismatch", "values"], None],
    ]


def test_the_oldest_databases_are_closed(told: list[bytes], desk: Desk) -> None:
    engines = Engines({"gold": ONE})
    worker = Worker("sqlite", engines, Limits(), desk)
    for number in [*range(16), 0, 16]:
        worker.serve(message(["gold", RULE, []], url=f"sqlite:///{number}"))
    assert [engine.url for engine in engines.opened if engine.closed] == ["sqlite:///1"]


def test_a_failed_gold_is_told_and_its_candidates_do_not_run(told: list[bytes], desk: Desk) -> None:
    engines = Engines({"gold": Ran(outcome=Outcome.INFRA, detail="connection"), "other": ONE})
    worker = Worker("postgresql", engines, Limits(), desk)
    worker.serve(message(["gold", RULE, ["a", "b"]], ["other", RULE, []]))
    assert answers(told) == [[0, 0, "infra", "connection"], None]
    assert [sql for sql, _ in engines.opened[0].ran] == ["gold", "other"]

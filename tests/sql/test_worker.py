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

    def __init__(
        self,
        url: str,
        answers: dict[str, Ran],
        events: list[str],
        alive: Callable[[bool], None],
    ) -> None:
        self.url = url
        self.answers = answers
        self.events = events
        self.alive = alive
        self.looks = lambda: None
        self.ran: list[tuple[str, Budget]] = []
        self.now: Hashable | None = "first"
        self.closed = False

    def state(self) -> Hashable | None:
        return self.now

    def run(self, sql: str, budget: Budget) -> Ran:
        self.ran.append((sql, budget))
        self.events.append(f"{sql} on {self.url}")
        self.looks()
        return self.answers[sql]

    def close(self) -> None:
        self.closed = True
        self.events.append(f"{self.url} closed")


class Engines:
    """Stands for the module of an engine."""

    def __init__(self, answers: dict[str, Ran]) -> None:
        self.answers = answers
        self.opened: list[Engine] = []
        self.events: list[str] = []

    def confine(self, limits: Limits) -> None:
        pass

    def open_engine(self, url: str, limits: Limits, alive: Callable[[bool], None]) -> Engine:
        self.opened.append(Engine(url, self.answers, self.events, alive))
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


@pytest.mark.parametrize(
    ("kind", "alone", "needed_share", "sure"),
    [
        ("sqlite", True, 0.0, True),
        ("sqlite", True, 1000.0, False),  # something else had the processor
        ("sqlite", False, 0.0, False),
        ("duckdb", False, 0.0, True),
        ("duckdb", True, 1000.0, False),
        ("postgresql", False, 1000.0, True),  # it computes elsewhere
    ],
)
def test_the_clock_alone_decides_nothing_where_the_processor_was_kept_away(
    kind: str,
    alone: bool,
    needed_share: float,
    sure: bool,
    told: list[bytes],
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_module, "FULL_SHARE", needed_share)
    wall = Ran(outcome=Outcome.TIMEOUT, detail="wall")
    counted = Ran(outcome=Outcome.TIMEOUT, detail="operations")
    engines = Engines({"gold": ONE, "slow": wall, "long": counted})
    worker = Worker(kind, engines, Limits(), desk)
    worker.serve(message(["gold", RULE, ["slow", "long"]], alone=alone))
    assert answers(told) == [
        [0, 1, "timeout" if sure else "again", "wall"],
        [0, 2, "timeout", "operations"],
        None,
    ]


@pytest.mark.parametrize(
    ("kind", "ends"), [("sqlite", "timeout"), ("duckdb", "again"), ("mysql", "again")]
)
def test_the_clock_alone_makes_no_gold_unusable_where_no_instructions_are_counted(
    kind: str, ends: str, told: list[bytes], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "FULL_SHARE", 0.0)
    engines = Engines({"gold": Ran(outcome=Outcome.TIMEOUT, detail="wall")})
    worker = Worker(kind, engines, Limits(), desk)
    worker.serve(message(["gold", RULE, ["a"]]))
    worker.serve({**message(["gold", RULE, []]), "probe": True})
    assert answers(told)[0] == [0, 0, ends, "wall"]
    assert answers(told)[2][:3] == [0, ends, "wall"]


def test_the_parent_can_tell_whether_a_statement_runs(told: list[bytes], desk: Desk) -> None:
    engines = Engines({"gold": ONE})
    worker = Worker("sqlite", engines, Limits(timeout_s=1.0), desk)
    seen: list[tuple[bool, float]] = []

    def look() -> None:
        busy = desk.busy()
        seen.append((busy.running, round(busy.due - busy.begun, 1)))

    def looks() -> None:
        look()
        engine.alive(False)  # it has to connect, say, which may take longer than a statement
        look()
        engine.alive(True)
        look()

    engine = worker._engine("sqlite:///x")  # type: ignore[assignment]
    engine.looks = looks
    worker.serve(message(["gold", RULE, []]))
    look()
    assert seen == [(True, 1.8), (False, 30.0), (True, 1.8), (False, 1.8)]


def test_a_process_without_memory_for_a_database_makes_room_for_another(
    told: list[bytes], desk: Desk
) -> None:
    engines = Engines({"gold": Ran(outcome=Outcome.INFRA, detail="memory"), "other": ONE})
    worker = Worker("duckdb", engines, Limits(), desk)
    with pytest.raises(SystemExit):
        worker.serve(message(["gold", RULE, ["a"]], ["other", RULE, []]))
    assert answers(told) == [[0, 0, "infra", "memory"]]
    assert engines.events == ["gold on sqlite:///x"]


def test_one_file_is_closed_before_another_is_opened_where_they_share_memory(
    told: list[bytes], desk: Desk
) -> None:
    engines = Engines({"gold": ONE})
    worker = Worker("duckdb", engines, Limits(), desk)
    for name in "ab":
        worker.serve(message(["gold", RULE, []], url=name))
    assert engines.events == ["gold on a", "a closed", "gold on b"]


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

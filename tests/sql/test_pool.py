"""Limits that do not depend on the machine's load, golds that run once, and a parent that does not grow."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from exspin.errors import DatabaseError, UserError
from exspin.records import Database, Outcome
from exspin.sql.compare import rule_for
from exspin.sql.desk import Busy
from exspin.sql.engines import OPERATIONS_FLOOR, Budget, Limits
from exspin.sql.engines.sqlite import SQLite
from exspin.sql.execute import Executor, Job, Judgement, _Batch, _Round
from exspin.sql.probe import probe_golds
from exspin.sql.process import Stopped, WorkerProcess
from exspin.sql.tasks import Task

COUNT = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT {}) SELECT count(*) FROM c"
ENDLESS = COUNT.replace(" LIMIT {}", "")
STUCK = "SELECT instr(zeroblob(950000), zeroblob(475000)||x'01')"  # one instruction: only a kill ends it
NO_LIMIT = 10**15  # instructions


def make(path: Path) -> Database:
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (1), (2), (3);")
    connection.close()
    return Database.sqlite(path.stem, path)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return make(tmp_path / "numbers.sqlite")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Every message that workers are given."""
    messages: list[dict[str, Any]] = []
    send = WorkerProcess.send

    def noted(worker: WorkerProcess, message: dict[str, Any]) -> None:
        messages.append(message)
        send(worker, message)

    monkeypatch.setattr(WorkerProcess, "send", noted)
    yield messages


def statements(messages: list[dict[str, Any]]) -> list[tuple[bool, str]]:
    """Every candidate that was sent, and whether it was to run alone."""
    return [(m["alone"], sql) for m in messages for task in m["tasks"] for sql in task[2]]


@pytest.mark.parametrize(
    ("limits", "gold", "candidate"),
    [
        (Limits(timeout_s=30), 10_000, OPERATIONS_FLOOR),  # a short gold: still a second or so
        (Limits(timeout_s=30), 50_000_000, 500_000_000),  # ten times the gold
        (Limits(timeout_s=30), 1_000_000_000, 1_500_000_000),  # 50 million for each second
        (Limits(timeout_s=30, max_operations=7), 1_000_000_000, 7),  # the user's limit holds
    ],
)
def test_what_a_candidate_may_take_depends_on_its_gold(
    limits: Limits, gold: int, candidate: int
) -> None:
    assert limits.operations_beside(gold) == candidate


def test_instructions_are_counted_alike_every_time(database: Database) -> None:
    engine = SQLite(str(database.path), Limits())
    sql = COUNT.format(20_600)
    taken = engine.run(sql, Budget(60.0)).operations
    assert taken is not None and taken > 200_000
    for _ in range(10):  # a statement kept from before would begin with the rest of its count
        engine.run("SELECT x FROM t", Budget(60.0))
        assert engine.run(sql, Budget(60.0)).operations == taken
        assert engine.run(sql, Budget(60.0, taken)).outcome is None
        stopped = engine.run(sql, Budget(60.0, taken - 20_000))
        assert (stopped.outcome, stopped.detail) == (Outcome.TIMEOUT, "operations")
    engine.close()


def test_a_candidate_is_stopped_by_what_it_takes_and_not_by_the_clock(database: Database) -> None:
    with Executor(Limits(timeout_s=600, max_operations=300_000), workers=1) as executor:
        job = Job(database, "SELECT count(*) FROM t", COUNT.format(1_000_000))
        assert executor.judge([job]) == [Judgement(Outcome.TIMEOUT, "operations")]


def test_beside_a_short_gold_an_endless_candidate_ends_soon(database: Database) -> None:
    with Executor(Limits(timeout_s=100_000), workers=1) as executor:  # hours, if that were all
        job = Job(database, "SELECT count(*) FROM t", ENDLESS)
        assert executor.judge([job]) == [Judgement(Outcome.TIMEOUT, "operations")]


def test_what_only_the_clock_stopped_is_tried_once_more_alone(
    tmp_path: Path, sent: list[dict[str, Any]]
) -> None:
    databases = [make(tmp_path / f"{name}.sqlite") for name in "ab"]
    limits = Limits(timeout_s=0.3, max_operations=NO_LIMIT)
    with Executor(limits, workers=2) as executor:
        jobs = [Job(database, "SELECT 1", ENDLESS) for database in databases]
        jobs.append(Job(databases[0], "SELECT 1", "SELECT 1.0"))
        judged = executor.judge(jobs)
    assert judged == [Judgement(Outcome.TIMEOUT, "wall")] * 2 + [Judgement(Outcome.MATCH)]
    endless = [alone for alone, sql in statements(sent) if sql == ENDLESS]
    assert endless == [False, False, True, True]


def test_an_endless_gold_is_tried_alone_too(tmp_path: Path, sent: list[dict[str, Any]]) -> None:
    databases = [make(tmp_path / f"{name}.sqlite") for name in "ab"]
    with Executor(Limits(timeout_s=0.3, max_operations=NO_LIMIT), workers=2) as executor:
        # one candidate is the gold itself, so there is nothing to run beside it
        judged = executor.judge(
            [Job(databases[0], ENDLESS, ENDLESS), Job(databases[1], ENDLESS, "SELECT 1")]
        )
    assert judged == [Judgement(Outcome.GOLD_UNUSABLE, "timeout")] * 2
    assert [message["alone"] for message in sent] == [False, False, True, True]


def test_a_worker_that_got_no_processor_is_no_reason_for_a_timeout(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = WorkerProcess.send
    stopped = iter([True])

    def send_and_stop(worker: WorkerProcess, message: dict[str, Any]) -> None:
        if next(stopped, False):  # as a machine does that is busy with other things
            os.kill(worker._process.pid, signal.SIGSTOP)
        send(worker, message)

    with Executor(Limits(timeout_s=0.3), workers=1) as executor:
        executor.run(database, "SELECT 1")
        monkeypatch.setattr(WorkerProcess, "send", send_and_stop)
        job = Job(database, "SELECT count(*) FROM t", "SELECT 3.0")
        assert executor.judge([job]) == [Judgement(Outcome.MATCH)]
        assert next(stopped, None) is None


def test_a_statement_that_no_worker_began_is_our_failure(
    database: Database, monkeypatch: pytest.MonkeyPatch, sent: list[dict[str, Any]]
) -> None:
    """The message is never read: neither the gold nor the candidate had a moment of time."""
    send = WorkerProcess.send

    def send_and_stop(worker: WorkerProcess, message: dict[str, Any]) -> None:
        if not worker._ready:
            worker._await_start()
        os.kill(worker._process.pid, signal.SIGSTOP)
        send(worker, message)

    monkeypatch.setattr(WorkerProcess, "send", send_and_stop)
    with Executor(Limits(timeout_s=0.1), workers=1) as executor:
        job = Job(database, "SELECT count(*) FROM t", "SELECT 3.0")
        assert executor.judge([job]) == [Judgement(Outcome.INFRA, "not_begun")]
        assert executor.run(database, "SELECT 3").detail == "not_begun"
        assert [
            p.detail for p in probe_golds([(database, "SELECT 1")], limits=Limits(timeout_s=0.1))
        ] == ["not_begun"]
        assert executor._unusable == {}
    assert len(sent) == 6  # each twice


def test_a_statement_that_began_after_we_looked_is_not_the_one_that_was_overdue(
    database: Database, monkeypatch: pytest.MonkeyPatch, sent: list[dict[str, Any]]
) -> None:
    """The worker was overdue, and went on to the next statement before it was killed."""
    looks = iter([True])

    def overdue(worker: WorkerProcess) -> bool:
        busy = worker._desk.busy()
        return busy.running and busy.statement == 2 and next(looks, False)

    monkeypatch.setattr(WorkerProcess, "overdue", property(overdue))
    monkeypatch.setattr(WorkerProcess, "overdue_at", property(lambda _: 0.0))
    monkeypatch.setattr("exspin.sql.execute.FULL_SHARE", 0.0)
    with Executor(Limits(timeout_s=30), workers=1) as executor:
        candidates = ["SELECT 3.0", COUNT.format(1_000_000)]
        jobs = [Job(database, "SELECT count(*) FROM t", sql) for sql in candidates]
        assert [j.outcome for j in executor.judge(jobs)] == [Outcome.MATCH, Outcome.MISMATCH]
    assert next(looks, None) is None and len(sent) == 2


class Buried:
    """A worker that is overdue with the second statement of the first task, and has said something."""

    lost = False
    answers = 0

    def __init__(self, *said: Any, statement: int = 2, cpu_s: float = 100.0) -> None:
        self.said = [[*said]]
        self.statement = statement
        self.cpu_s = cpu_s

    def send(self, message: dict[str, Any]) -> None:
        pass

    def read(self) -> list[Any]:
        said, self.said = self.said, []
        return said

    def stop(self) -> Stopped:
        now = time.monotonic()
        busy = Busy(0, self.statement, True, now - 9, now - 1, now - 9, 0.0)
        return Stopped(busy, now, self.cpu_s)

    def kill(self) -> None:
        pass


def bury(task: Task, worker: Buried) -> None:
    executor = Executor(workers=1)
    batch = _Batch(cast(Any, worker), [task], alone=True)
    for _ in _Round(executor, [task])._bury(0, batch):
        pass
    executor.close()


def judged_task(kind: str = "sqlite") -> Task:
    database = Database("stage", f"{kind}:///stage")
    statements = {"SELECT 1": None, "SELECT 2": None}
    return Task(database, "SELECT 3", rule_for("default", "SELECT 3"), statements)


def test_an_answer_that_came_before_the_end_is_not_taken_back() -> None:
    task = judged_task()
    bury(task, Buried([0, 1, "mismatch", "values"], [0, 2, "match", ""]))
    assert task.answers == {
        "SELECT 1": Judgement(Outcome.MISMATCH, "values"),
        "SELECT 2": Judgement(Outcome.MATCH),
    }
    assert task.failures.total() == 0


def test_a_batch_that_was_through_when_its_worker_was_killed_is_done() -> None:
    task = judged_task()
    task.statements.clear()  # the gold alone
    bury(task, Buried(None, statement=0))
    assert task.finished and task.unusable is None


def test_without_an_answer_the_statement_pays() -> None:
    task = judged_task()
    bury(task, Buried([0, 1, "match", ""]))
    assert task.answers["SELECT 2"] == Judgement(Outcome.TIMEOUT, "killed")


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgresql", "mysql"])
def test_a_statement_without_a_processor_is_tried_alone_before_it_pays(kind: str) -> None:
    task = judged_task(kind)
    bury(task, Buried([0, 1, "match", ""], cpu_s=0.1))
    assert list(task.answers) == ["SELECT 1"] and task.apart == {"SELECT 2"}
    bury(task, Buried(statement=1, cpu_s=0.1))
    assert task.answers["SELECT 2"] == Judgement(Outcome.TIMEOUT, "killed")


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgresql", "mysql"])
def test_a_gold_that_only_the_clock_stopped_once_is_not_yet_unusable(kind: str) -> None:
    task = judged_task(kind)
    bury(task, Buried(statement=0))
    if kind != "sqlite":  # there it had a processor to itself for all its time
        assert task.unusable is None and task.apart == {None}
        bury(task, Buried(statement=0))
    assert task.unusable == Judgement(Outcome.GOLD_UNUSABLE, "timeout")


def test_a_gold_that_was_too_slow_once_serves_when_it_is_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a server that was busy with something else."""
    read = WorkerProcess.read
    slow = iter([True])

    def read_slowly(worker: WorkerProcess) -> list[Any]:
        answers = read(worker)
        if answers and answers[-1] and next(slow, False):
            answers = [[[0, 0, "again", "wall"], None]]
        return answers

    monkeypatch.setattr(WorkerProcess, "read", read_slowly)
    with Executor(workers=1) as executor:
        job = Job(database, "SELECT count(*) FROM t", "SELECT 3.0")
        assert executor.judge([job]) == [Judgement(Outcome.MATCH)]
        assert next(slow, None) is None and executor._unusable == {}


def test_only_the_statement_that_never_ends_pays_for_it(database: Database) -> None:
    """Answers travel together, so those before it may be lost with the worker: they are run again."""
    with Executor(Limits(timeout_s=0.4), workers=1) as executor:
        candidates = [f"SELECT {number} + 0" for number in range(8)]
        candidates[4:4] = [STUCK]
        jobs = [Job(database, "SELECT count(*) FROM t", candidate) for candidate in candidates]
        judged = executor.judge(jobs)
    outcomes = ["mismatch"] * 3 + ["match", "timeout"] + ["mismatch"] * 4
    assert [j.outcome for j in judged] == outcomes
    assert judged[4].detail == "killed"


def test_what_is_known_is_not_run_again(database: Database, sent: list[dict[str, Any]]) -> None:
    gold = "SELECT count(*) FROM t"
    candidates = ["SELECT 3.0", "SELECT 4", gold, "SELECT 3.0", " SELECT 3.0 ;", "SELECT 4"]
    with Executor(workers=1) as executor:
        jobs = [Job(database, gold, candidate) for candidate in candidates]
        judged = executor.judge(jobs)
        assert [j.outcome for j in judged] == [
            "match",
            "mismatch",
            "match",
            "match",
            "match",
            "mismatch",
        ]
        assert statements(sent) == [(True, "SELECT 3.0"), (True, "SELECT 4")]
        results = executor.run_all(database, ["SELECT 1", "SELECT 2", "SELECT 1"])
        assert [result.rows for result in results] == [((1,),), ((2,),), ((1,),)]
        assert [sql for _, sql in statements(sent)][2:] == ["SELECT 1", "SELECT 2"]


def test_many_candidates_of_one_gold_travel_in_batches(
    database: Database, sent: list[dict[str, Any]]
) -> None:
    candidates = [f"SELECT {number}" for number in range(200)]
    with Executor(workers=1) as executor:
        judged = executor.judge([Job(database, "SELECT count(*) FROM t", c) for c in candidates])
    assert [place for place, j in enumerate(judged) if j.outcome is Outcome.MATCH] == [3]
    assert [len(m["tasks"][0][2]) for m in sent] == [64, 64, 64, 8]


def test_a_gold_that_ran_and_then_does_not_is_our_failure(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a worker's death on a machine that is too busy: what was judged stays judged."""
    candidates = [f"SELECT {number}" for number in range(100)]
    batches = itertools.count()
    send = WorkerProcess.send

    def send_without_gold(worker: WorkerProcess, message: dict[str, Any]) -> None:
        if next(batches):
            message["tasks"][0][0] = "SELECT gone FROM t"
        send(worker, message)

    monkeypatch.setattr(WorkerProcess, "send", send_without_gold)
    with Executor(workers=1) as executor:
        judged = executor.judge([Job(database, "SELECT count(*) FROM t", c) for c in candidates])
    assert [j.outcome for j in judged[:64]] == ["mismatch"] * 3 + ["match"] + ["mismatch"] * 60
    assert {j.outcome for j in judged[64:]} == {Outcome.INFRA}
    assert next(batches) == 3  # once more, and no oftener


@pytest.mark.parametrize("workers", [1, 2])
def test_a_long_list_keeps_its_order(workers: int, database: Database) -> None:
    with Executor(workers=workers) as executor:
        wanted = list(range(300))
        results = executor.run_all(database, [f"SELECT {number}" for number in wanted])
        assert [result.rows[0][0] for result in results] == wanted
        assert all(r.operations == 10_000 and 0 < r.seconds < 30 for r in results)


def test_a_statement_that_fails_on_our_side_is_tried_again_and_then_infra(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an engine says it whose connection was lost: the others of the batch go on."""
    lost: dict[str, int] = {}
    read = WorkerProcess.read

    def read_and_lose(worker: WorkerProcess) -> list[Any]:
        answers = read(worker)
        for answer in itertools.chain.from_iterable(answers):
            if answer and answer[2] == "mismatch":
                lost[answer[3]] = lost.get(answer[3], 0) + 1
                if answer[3] == "row_count" or lost[answer[3]] == 1:
                    answer[2:] = ["infra", "connection"]
        return answers

    monkeypatch.setattr(WorkerProcess, "read", read_and_lose)
    with Executor(workers=1) as executor:
        candidates = ["SELECT 5", "SELECT 3.0", "SELECT x FROM t"]
        jobs = [Job(database, "SELECT count(*) FROM t", candidate) for candidate in candidates]
        assert executor.judge(jobs) == [
            Judgement(Outcome.MISMATCH, "values"),  # lost once
            Judgement(Outcome.MATCH),
            Judgement(Outcome.INFRA, "connection"),  # lost twice
        ]
    assert lost == {"values": 2, "row_count": 2}


@pytest.mark.parametrize(
    ("refused", "error"), [("DatabaseError", DatabaseError), ("MissingExtra", UserError)]
)
def test_what_the_user_has_to_mend_is_raised_and_no_worker_is_left(
    refused: str, error: type[UserError], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Executor(workers=1) as executor:
        executor.run(database, "SELECT 1")
        worker = executor._workers[0]
        assert worker is not None
        line = f'{{"refused": "{refused}", "why": "this login may write"}}\n'.encode()
        send = WorkerProcess.send

        def send_and_refuse(worker: WorkerProcess, message: dict[str, Any]) -> None:
            send(worker, message)
            worker._buffer += line

        monkeypatch.setattr(WorkerProcess, "send", send_and_refuse)
        with pytest.raises(error, match="this login may write"):
            executor.judge([Job(database, "SELECT 1", "SELECT 2")])
        assert executor._workers == [None]


def test_databases_of_several_kinds_each_get_a_worker_of_their_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[str] = []
    start = WorkerProcess.__init__

    def noted(worker: WorkerProcess, limits: Limits, kind: str) -> None:
        kinds.append(kind)
        start(worker, limits, "sqlite")
        worker.kind = kind

    monkeypatch.setattr(WorkerProcess, "__init__", noted)
    other = Database("numbers", "postgres+driver://" + str(database.path))
    assert other.kind == "postgresql"
    with Executor(workers=1) as executor:
        executor.judge([Job(database, "SELECT 1", "SELECT 2"), Job(other, "SELECT 1", "SELECT 2")])
        assert executor._workers[0] is not None
        assert executor._workers[0].kind == "postgresql"
    assert kinds == ["sqlite", "postgresql"]


def test_the_parent_does_not_grow(database: Database) -> None:
    """Batches wait as text, answers are a few words: thousands of large results leave nothing behind."""
    rows = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 2000) SELECT x, {} FROM c"
    with Executor(workers=1) as executor:
        executor.judge([Job(database, rows.format(0), rows.format(1))])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        executor.judge([Job(database, rows.format(0), rows.format(n)) for n in range(1, 1500)])
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20_000  # KiB; the results come to 200 MB


@pytest.mark.parametrize("caller", ["judge", "probe"])
def test_a_parent_that_looks_while_a_database_is_opened_does_not_sleep_through_the_statement(
    caller: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening has half a minute, the statement after it 0.3 s: the first look of each message finds the half minute."""
    real = WorkerProcess.overdue_at.fget
    send = WorkerProcess.send
    assert real
    opening: set[WorkerProcess] = set()

    def noted(worker: WorkerProcess, message: dict[str, Any]) -> None:
        send(worker, message)
        opening.add(worker)

    def due(worker: WorkerProcess) -> float:
        if worker in opening:
            opening.remove(worker)
            return time.monotonic() + 30
        return real(worker)

    monkeypatch.setattr(WorkerProcess, "send", noted)
    monkeypatch.setattr(WorkerProcess, "overdue_at", property(due))
    limits = Limits(timeout_s=0.3)
    if caller == "probe":
        (found,) = probe_golds([(database, STUCK)], limits=limits, workers=1)
        assert (found.outcome, found.detail) == (Outcome.TIMEOUT, "killed")
    else:
        with Executor(limits, workers=1) as executor:
            (judged,) = executor.judge([Job(database, "SELECT 1", STUCK)])
        assert judged == Judgement(Outcome.TIMEOUT, "killed")

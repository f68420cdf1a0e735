"""Judge many candidates safely: what runs where, what becomes of statements that do not answer.

The parent holds all authority. Each worker process (see `worker.py`) gets a batch for one database and answers
statement by statement; when an answer is overdue it is killed and replaced, and the rest of its batch goes to its
successor. A worker lost for another reason costs one retry, then the outcome `infra`. A database stays with the worker
that has it open while there is other work to do. No threads; no process is left after `close`.

An unusable gold comes before anything the candidate does; then the gate; then text equal to gold, which needs no
execution; then execution. Results depend neither on the number of workers nor on how jobs are batched.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any, Self

from exspin.records import Database, Outcome
from exspin.sql.compare import Rule, as_executed, rule_for
from exspin.sql.engines import Limits
from exspin.sql.extract import Gate, gate
from exspin.sql.process import WorkerProcess

__all__ = ["Executor", "Job", "Judgement", "Limits", "Result"]

_BATCH_STATEMENTS = 48
_EXPENSIVE = (Outcome.TIMEOUT, Outcome.TOO_LARGE)


@dataclass(frozen=True, slots=True)
class Job:
    """One candidate to judge against the gold SQL of its question."""

    database: Database
    gold: str
    candidate: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """`detail` is a `Mismatch`, an `ErrorKind`, or says which limit or rule it was; "" for a match."""

    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """Rows of one statement; `outcome` is None where it ran, else what stopped it."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    outcome: Outcome | None = None
    detail: str = ""


@dataclass(slots=True)
class _Task:
    """One gold and its distinct candidates on one database; filled in as answers arrive."""

    database: Database
    gold: str
    rule: Rule
    candidates: dict[str, int] = field(default_factory=dict)  # numbered in the order of execution
    judged: list[Judgement] = field(default_factory=list)  # of the first so many candidates
    unusable: Judgement | None = None  # why no candidate of this gold can be judged
    gold_ran: bool = False  # in the worker that has the task now
    losses: int = 0  # workers lost, not timed out, since the last candidate was judged
    jobs: int = 0  # that wait for this task

    @property
    def url(self) -> str:
        return self.database.url

    @property
    def finished(self) -> bool:
        return self.unusable is not None or (
            self.gold_ran and len(self.judged) == len(self.candidates)
        )

    def settle(self, judgement: Judgement | None) -> None:
        """Record the answer to the statement that is due; None says the gold ran."""
        if judgement is None:
            self.gold_ran = True
        elif self.gold_ran:
            self.losses = 0
            self.judged.append(judgement)
        else:
            self.unusable = _unusable(judgement)


class Executor:
    """A pool of worker processes; use it as a context manager, from one thread at a time."""

    def __init__(self, limits: Limits | None = None, workers: int = 2) -> None:
        self.limits = limits or Limits()
        self._workers: list[WorkerProcess | None] = [None] * max(1, workers)
        self._owners: dict[str, int] = {}  # which worker has a database open
        self._unusable: dict[
            tuple[str, str], Judgement
        ] = {}  # golds too slow or large to try again

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers. An executor that is used again starts new ones."""
        for place, worker in enumerate(self._workers):
            if worker is not None:
                worker.close()
            self._workers[place] = None

    def judge(
        self,
        jobs: Sequence[Job],
        comparator: str = "default",
        progress: Callable[[int], None] | None = None,
    ) -> list[Judgement]:
        """What each candidate is worth, in the order of the jobs.

        `progress` is called with the number of jobs done since its last call. Raises `ConfigError` for an unknown
        comparator and `ExspinError` where no worker process can be started.
        """
        plan = _Plan(jobs, comparator, self._unusable)
        report = progress or (lambda _: None)
        report(len(jobs) - sum(task.jobs for task in plan.tasks))
        try:
            for task in self._work(plan.tasks):
                if task.unusable is not None and task.unusable.detail in _EXPENSIVE:
                    self._unusable[task.url, task.gold] = task.unusable
                report(task.jobs)
        except BaseException:
            self._kill()  # workers are in the middle of something
            raise
        return plan.judgements()

    def run(self, database: Database, sql: str) -> Result:
        """Execute one statement and return its rows."""
        gated = gate(sql)
        if gated.outcome is not None:
            return Result(outcome=gated.outcome, detail=gated.detail)
        lost = Judgement(Outcome.INFRA)
        try:
            for _ in range(2):
                worker = self._worker(0, database.kind)
                worker.send({"url": database.url, "run": gated.sql})
                if answer := _one_answer(worker):
                    outcome, detail, columns, rows = answer
                    cells = tuple(tuple(map(_cell, row)) for row in rows)
                    return Result(
                        tuple(columns), cells, Outcome(outcome) if outcome else None, detail
                    )
                lost = self._discard(0)
                if lost.outcome is not Outcome.INFRA:
                    break
        except BaseException:
            self._kill()
            raise
        return Result(outcome=lost.outcome, detail=lost.detail)

    def _worker(self, place: int, kind: str | None = None) -> WorkerProcess:
        """The worker in this place; with `kind`, an idle one that serves that kind of database."""
        worker = self._workers[place]
        if worker is not None and kind not in (None, worker.kind):
            worker.close()
            worker = None
        if worker is None:
            assert kind is not None, "a busy worker is there"
            worker = self._workers[place] = WorkerProcess(self.limits, kind)
        return worker

    def _discard(self, place: int) -> Judgement:
        """Kill a worker that is lost or overdue; says what the statement it was busy with deserves."""
        worker = self._worker(place)
        self._workers[place] = None
        worker.kill()
        return (
            Judgement(Outcome.INFRA, "worker_lost")
            if worker.lost
            else Judgement(Outcome.TIMEOUT, "killed")
        )

    def _kill(self) -> None:
        for place, worker in enumerate(self._workers):
            if worker is not None:
                worker.kill()
            self._workers[place] = None

    def _work(self, tasks: Sequence[_Task]) -> Iterator[_Task]:
        """Run all tasks and yield each when it is finished."""
        queues = _Queues(tasks, self._owners)
        for place in range(min(len(self._workers), len(queues))):
            self._worker(place, tasks[0].database.kind)  # they start at the same time
        busy: dict[int, deque[_Task]] = {}
        with selectors.DefaultSelector() as selector:
            while queues or busy:
                for place in range(len(self._workers)):
                    if place not in busy and (batch := queues.take(place)):
                        busy[place] = batch
                        worker = self._worker(place, batch[0].database.kind)
                        worker.send(
                            {"url": batch[0].url, "tasks": [_message(task) for task in batch]}
                        )
                        selector.register(worker.answers, selectors.EVENT_READ)
                due = min(self._worker(place).overdue_at for place in busy)
                selector.select(max(0.0, due - time.monotonic()))
                for place in list(busy):
                    batch, worker = busy[place], self._worker(place)
                    for answer in worker.read():
                        yield from _settle(batch, answer)
                    if batch and not worker.lost and not worker.overdue:
                        continue
                    selector.unregister(worker.answers)
                    del busy[place]
                    if batch:
                        yield from _blame(batch, self._discard(place))
                        queues.put_back(batch)


class _Queues:
    """Batches waiting for a worker, by database."""

    def __init__(self, tasks: Sequence[_Task], owners: dict[str, int]) -> None:
        self._owners = owners
        self._batches: dict[str, deque[deque[_Task]]] = {}
        sizes: dict[str, int] = {}
        for task in tasks:
            batches = self._batches.setdefault(task.url, deque())
            if not batches or sizes[task.url] >= _BATCH_STATEMENTS:
                batches.append(deque())
                sizes[task.url] = 0
            batches[-1].append(task)
            sizes[task.url] += 1 + len(task.candidates)

    def __len__(self) -> int:
        return sum(map(len, self._batches.values()))

    def take(self, place: int) -> deque[_Task] | None:
        """A batch of a database this worker has open, else of one nobody has, else of any."""
        mine = (path for path in self._batches if self._owners.get(path) == place)
        free = (path for path in self._batches if path not in self._owners)
        path = next(mine, None) or next(free, None) or next(iter(self._batches), None)
        if path is None:
            return None
        self._owners.setdefault(path, place)
        batch = self._batches[path].popleft()
        if not self._batches[path]:
            del self._batches[path]
        return batch

    def put_back(self, batch: deque[_Task]) -> None:
        """What a dead worker left; the next one runs the golds again."""
        for task in batch:
            task.gold_ran = False
        if batch:
            self._batches.setdefault(batch[0].url, deque()).appendleft(batch)


class _Plan:
    """What the jobs come down to: each gold once, each distinct candidate of a gold once."""

    def __init__(
        self, jobs: Sequence[Job], comparator: str, unusable: dict[tuple[str, str], Judgement]
    ) -> None:
        rule_for(comparator, "")  # an unknown name is refused before anything runs
        self._comparator = comparator
        self._unusable = unusable
        self._gates: dict[str, Gate] = {}
        self._tasks: dict[tuple[str, str], _Task] = {}
        self._jobs = [self._place(job) for job in jobs]

    @property
    def tasks(self) -> list[_Task]:
        return list(self._tasks.values())

    def judgements(self) -> list[Judgement]:
        """The answer to every job, once all tasks are finished."""
        return [
            task
            if isinstance(task, Judgement)
            else task.unusable or decided or task.judged[task.candidates[sql]]
            for task, decided, sql in self._jobs
        ]

    def _place(self, job: Job) -> tuple[_Task | Judgement, Judgement | None, str]:
        """The job's task (or the answer, if its gold is known to be bad), what the gate says, what is executed."""
        url = job.database.url
        gold, candidate = self._gate(job.gold), self._gate(job.candidate)
        if gold.outcome is not None:
            return _unusable(Judgement(gold.outcome, gold.detail)), None, ""
        if known := self._unusable.get((url, gold.sql)):
            return known, None, ""
        task = self._tasks.get((url, gold.sql))
        if task is None:
            task = self._tasks[url, gold.sql] = _Task(
                job.database, gold.sql, rule_for(self._comparator, gold.sql)
            )
        task.jobs += 1
        if candidate.outcome is not None:
            return task, Judgement(candidate.outcome, candidate.detail), ""
        if candidate.sql == gold.sql:
            return task, Judgement(Outcome.MATCH), ""
        task.candidates.setdefault(candidate.sql, len(task.candidates))
        return task, None, candidate.sql

    def _gate(self, sql: str) -> Gate:
        gated = self._gates.get(sql)
        if gated is None:
            gated = gate(sql, first_only=self._comparator == "test-suite")
            if gated.outcome is None:
                gated = Gate(as_executed(self._comparator, gated.sql))
            self._gates[sql] = gated
        return gated


def _message(task: _Task) -> list[Any]:
    return [task.gold, astuple(task.rule), list(task.candidates)[len(task.judged) :]]


def _settle(batch: deque[_Task], answer: list[str]) -> Iterator[_Task]:
    """Record one answer of a worker; one without an outcome is a sign of life."""
    if len(answer) < 2:
        return
    outcome, detail = answer
    batch[0].settle(Judgement(Outcome(outcome), detail) if outcome else None)
    if batch[0].finished:
        yield batch.popleft()


def _blame(batch: deque[_Task], judgement: Judgement) -> Iterator[_Task]:
    """A worker died on the statement due in its first task: that is the answer, unless one more try is owed."""
    task = batch[0]
    task.losses += judgement.outcome is Outcome.INFRA
    if judgement.outcome is Outcome.INFRA and task.losses < 2:
        return
    task.settle(judgement)
    if task.finished:
        yield batch.popleft()


def _unusable(judgement: Judgement) -> Judgement:
    """What a gold that did not run means for its candidates; our own failure is not the gold's."""
    if judgement.outcome is Outcome.INFRA:
        return judgement
    detail = judgement.detail if judgement.outcome is Outcome.ERROR else judgement.outcome.value
    return Judgement(Outcome.GOLD_UNUSABLE, detail)


def _one_answer(worker: WorkerProcess) -> list[Any] | None:
    """Wait for an answer; None if the worker is lost or overdue."""
    with selectors.DefaultSelector() as selector:
        selector.register(worker.answers, selectors.EVENT_READ)
        while True:
            selector.select(max(0.0, worker.overdue_at - time.monotonic()))
            for answer in worker.read():
                if len(answer) > 1:  # else a sign of life
                    return answer
            if worker.lost or worker.overdue:
                return None


def _cell(value: Any) -> Any:
    return bytes.fromhex(value["blob"]) if isinstance(value, dict) else value

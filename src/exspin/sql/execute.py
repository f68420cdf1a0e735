"""Judge many candidates safely, or run statements for their rows: what runs where, what becomes of those that do not answer.

The parent holds all authority. Each worker process (see `worker.py`) gets a batch of statements for one database; when it
is overdue it is killed and replaced, the statement it was at pays, and the rest of its batch goes to its successor. A
statement that fails by our side (a lost worker, a lost connection) is tried once more, then it is `infra`. On SQLite a
statement is stopped by the instructions it takes; one that only the clock stopped is tried once more alone before it
counts as `timeout`, unless it ran alone and had a processor to itself. One that had to be killed had more than its time:
it is tried again only if other processes kept the processor from it. A database stays with the worker that has it open while there is
other work to do. No threads; no process is left after `close`; batches wait here, not in pipes.

An unusable gold comes before anything the candidate does; then the gate; then text equal to gold, which needs no
execution; then execution. Results depend neither on the number of workers nor on how jobs are batched.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Self, cast, overload

from exspin.errors import ConfigError, DatabaseError
from exspin.records import Database, Outcome
from exspin.sql.engines import AGAIN, COUNTS_OPERATIONS, FULL_SHARE, ErrorKind, Limits
from exspin.sql.extract import gate
from exspin.sql.process import Stopped, WorkerProcess
from exspin.sql.tasks import BATCH_STATEMENTS, Job, Judgement, Plan, Queues, Result, Task
from exspin.urls import FILES, KINDS, SERVERS, file_url, name_of, split

__all__ = ["Database", "Executor", "Job", "Judgement", "Limits", "Result", "execute"]

_EXPENSIVE = (Outcome.TIMEOUT, Outcome.TOO_LARGE)
_ATTEMPTS = 2


@overload
def execute(
    database: Database | str | Path, sql: str, *, limits: Limits | None = None, workers: int = 1
) -> Result: ...


@overload
def execute(
    database: Database | str | Path,
    sql: list[str],
    *,
    limits: Limits | None = None,
    workers: int = 1,
) -> list[Result]: ...


def execute(
    database: Database | str | Path,
    sql: str | list[str],
    *,
    limits: Limits | None = None,
    workers: int = 1,
) -> Result | list[Result]:
    """Run SQL that nobody vouches for and return its rows: one statement, or several in their order.

    `database` is a path to an SQLite file, a URL or a `Database`. Statements run in `workers` processes that can read
    and nothing else, each within `limits`; what is wrong with one is in its `Result.outcome`, never an exception. The
    processes end before this returns: whoever calls often keeps an `Executor` and asks its `run_all`.

    Raises `ConfigError` for a URL of an unknown kind, `DatabaseError` for a database that cannot be opened, and other
    `UserError`s where an engine refuses to serve.
    """
    place = _database(database)
    statements = [sql] if isinstance(sql, str) else sql
    with Executor(limits, min(workers, max(1, len(statements)))) as executor:
        results = executor.run_all(place, statements)
    if any(r.outcome is Outcome.ERROR and r.detail == ErrorKind.DATABASE for r in results):
        what = "is no sound database" if place.is_file else "cannot be opened"
        raise DatabaseError(f"{place.place}: {what}; give a file or server that can be read")
    return results[0] if isinstance(sql, str) else results


def _database(place: Database | str | Path) -> Database:
    """The database somebody means. Raises `ConfigError` for an unknown kind, `DatabaseError` for a missing file."""
    if isinstance(place, Path):
        database = Database.sqlite(place.stem, place)
    elif isinstance(place, str):
        try:
            scheme, rest = split(place)
            url = file_url(scheme, Path(rest)) if scheme in FILES else place
            database = Database(name_of(place), url)
        except ValueError as error:
            raise ConfigError(f"database: {error}") from error
    else:
        database = place
    if database.kind not in KINDS:
        raise ConfigError(f"database URL {database.kind}://…: known kinds are {', '.join(KINDS)}")
    if database.is_file and not database.path.exists():
        raise DatabaseError(f"{database.path}: no such file; give the path of a database")
    return database


def warn_of_logins(databases: Iterable[Database], limits: Limits) -> None:
    """Warn of logins that may write, here where it is heard. Without leave to go on, workers refuse them."""
    for database in databases:
        if limits.allow_privileged and database.kind in SERVERS:
            from exspin.sql.server_login import check_login  # an extra

            check_login(database, allow_privileged=True)


class Executor:
    """A pool of worker processes; use it as a context manager, from one thread at a time."""

    def __init__(self, limits: Limits | None = None, workers: int = 2) -> None:
        self.limits = limits or Limits()
        self._workers: list[WorkerProcess | None] = [None] * max(1, workers)
        self._owners: dict[str, int] = {}  # which worker has a database open
        self._warned: set[Database] = set()  # those whose login was looked at
        self._unusable: dict[
            tuple[str, str], Judgement
        ] = {}  # golds too slow or large to try again

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, kind: str = "sqlite") -> Self:
        """Start the workers now, while there is other work to do; else the first call does."""
        for place in range(len(self._workers)):
            self._worker(place, kind)
        return self

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
        comparator, `UserError` where an engine refuses to serve, and `ExspinError` where no worker process can be started.
        """
        plan = Plan(jobs, comparator, self._unusable)
        report = progress or (lambda _: None)
        report(len(jobs) - sum(task.jobs for task in plan.tasks))
        for task in self._work(plan.tasks):
            if task.unusable is not None and task.unusable.detail in _EXPENSIVE:
                self._unusable[task.database.url, task.gold or ""] = task.unusable
            report(task.jobs)
        return plan.judgements()

    def run(self, database: Database, sql: str) -> Result:
        """Execute one statement and return its rows."""
        return self.run_all(database, [sql])[0]

    def run_all(self, database: Database, statements: Sequence[str]) -> list[Result]:
        """Execute statements and return the rows of each, in order. Equal ones are executed once."""
        gates = [gate(sql) for sql in statements]
        tasks: dict[str, Task] = {}
        for gated in gates:
            if gated.outcome is None and gated.sql not in tasks:
                tasks[gated.sql] = Task(
                    database, None, None, {gated.sql: None}, gold_ran=True, jobs=1
                )
        for _ in self._work(list(tasks.values())):
            pass
        return [
            Result(outcome=gated.outcome, detail=gated.detail)
            if gated.outcome is not None
            else cast(Result, tasks[gated.sql].answers[gated.sql])
            for gated in gates
        ]

    def _work(self, tasks: Sequence[Task]) -> Iterator[Task]:
        """Run all tasks and yield each when it is finished."""
        warn_of_logins({task.database for task in tasks} - self._warned, self.limits)
        self._warned.update(task.database for task in tasks)
        try:
            yield from _Round(self, tasks).finished()
        except BaseException:
            for place, worker in enumerate(self._workers):  # they are in the middle of something
                if worker is not None:
                    worker.kill()
                self._workers[place] = None
            raise

    def _worker(self, place: int, kind: str) -> WorkerProcess:
        """An idle worker for this kind of database."""
        worker = self._workers[place]
        if worker is not None and kind != worker.kind:
            worker.close()
            worker = None
        if worker is None:
            worker = self._workers[place] = WorkerProcess(self.limits, kind)
        return worker


class _Batch:
    """Tasks that a worker was given, and which of their statements."""

    def __init__(self, worker: WorkerProcess, tasks: Sequence[Task], *, alone: bool) -> None:
        self.worker = worker
        self.tasks = tasks
        self.alone = alone
        self.answered: set[tuple[int, int]] = set()  # by numbers of task and statement
        apart = any(task.apart for task in tasks) and not any(task.waits_in_line for task in tasks)
        self.sent = [task.left(alone=apart)[:BATCH_STATEMENTS] for task in tasks]
        worker.send(
            {
                "url": tasks[0].database.url,
                "alone": alone,
                "tasks": [
                    [task.gold, task.rule and task.rule.parts(), sent]
                    for task, sent in zip(tasks, self.sent, strict=True)
                ],
            }
        )

    def statement(self, task: int, number: int) -> str | None:
        """What a number in an answer stands for; None is the gold."""
        return self.sent[task][number - 1] if number else None


class _Round:
    """One call's work, from the first batch to the last answer."""

    def __init__(self, executor: Executor, tasks: Sequence[Task]) -> None:
        self._executor = executor
        self._tasks = tasks
        self._places = len(executor._workers)
        self._queues = Queues(tasks, executor._owners, len(executor._workers))
        self._apart: deque[Task] = deque()  # with statements to be tried alone
        self._busy: dict[int, _Batch] = {}

    def finished(self) -> Iterator[Task]:
        """Work until nothing is left; each task is yielded when it is finished."""
        for place in range(min(self._places, len(self._tasks))):
            kind = self._tasks[0].database.kind
            self._executor._worker(place, kind)  # they start at the same time
        with selectors.DefaultSelector() as selector:
            while self._hand_out(selector):
                look_at = min(batch.worker.look_at for batch in self._busy.values())
                selector.select(max(0.0, look_at - time.monotonic()))
                for place, batch in list(self._busy.items()):
                    worker = batch.worker
                    done = yield from self._take(batch)
                    if not done and not worker.lost and not worker.overdue:
                        continue
                    selector.unregister(worker.answers)
                    del self._busy[place]
                    yield from self._complete(batch) if done else self._bury(place, batch)
                    self._put_back(batch)

    def _take(self, batch: _Batch) -> Generator[Task, None, bool]:
        """Record what a worker has said since the last look; true when the batch is through."""
        answers = list(chain.from_iterable(batch.worker.read()))
        done = bool(answers) and answers[-1] is None
        for answer in answers[:-1] if done else answers:
            yield from self._settle(batch, answer)
        return done

    def _hand_out(self, selector: selectors.BaseSelector) -> bool:
        """Give idle workers what there is to do. False when there is nothing left."""
        for place in range(self._places):
            if place not in self._busy and (tasks := self._queues.take(place)):
                alone = not self._busy and not self._queues
                self._begin(place, tasks, alone, selector)
        if not self._busy and self._apart:
            task = self._apart.popleft()
            self._begin(self._executor._owners[task.database.url], [task], True, selector)
        return bool(self._busy)

    def _begin(
        self, place: int, tasks: Sequence[Task], alone: bool, selector: selectors.BaseSelector
    ) -> None:
        worker = self._executor._worker(place, tasks[0].database.kind)
        self._busy[place] = _Batch(worker, tasks, alone=alone)
        selector.register(worker.answers, selectors.EVENT_READ)

    def _settle(self, batch: _Batch, answer: list[Any]) -> Iterator[Task]:
        """Record one answer of a worker."""
        number, place, outcome, detail, *rest = answer
        task, statement = batch.tasks[number], batch.statement(number, place)
        batch.answered.add((number, place))
        if outcome == AGAIN and not (statement is None and task.gold_ran):
            if not _set_apart(task, statement):
                yield from _record(task, statement, Judgement(Outcome.TIMEOUT, detail))
        elif _is_ours(task, statement, outcome):
            if not _try_again(task, statement):
                yield from _record(task, statement, Judgement(Outcome.INFRA, detail))
        else:
            found = Outcome(outcome) if outcome else None
            yield from _record(task, statement, _answer(found, detail, rest))

    def _complete(self, batch: _Batch) -> Iterator[Task]:
        """A batch is through: golds of which nothing was told have run."""
        for number, task in enumerate(batch.tasks):
            if not task.finished and (number, 0) not in batch.answered:
                task.gold_ran = True
                if task.finished:
                    yield task

    def _bury(self, place: int, batch: _Batch) -> Iterator[Task]:
        """Kill a worker that is lost or overdue. The statement it was at pays, if it had begun and has no answer yet."""
        worker = batch.worker
        lost = worker.lost
        stopped = worker.stop()
        done = yield from self._take(batch)  # what it said until then
        self._executor._workers[place] = None
        worker.kill()
        busy = stopped.busy
        if done:
            yield from self._complete(batch)
        elif (busy.task, busy.statement) not in batch.answered:
            yield from self._blame(batch, stopped, lost)

    def _blame(self, batch: _Batch, stopped: Stopped, lost: bool) -> Iterator[Task]:
        """Record what a dead worker means for the statement it was at, unless one more try is owed."""
        busy = stopped.busy
        task, statement = batch.tasks[busy.task], batch.statement(busy.task, busy.statement)
        if lost or not stopped.overdue or _is_ours(task, statement, Outcome.TIMEOUT):
            detail = "worker_lost" if lost or stopped.overdue else "not_begun"
            outcome, again = Outcome.INFRA, _try_again(task, statement)
        else:
            outcome, detail = Outcome.TIMEOUT, "killed"
            doubt = stopped.cpu_s < FULL_SHARE * self._executor.limits.timeout_s
            if statement is None and task.database.kind not in COUNTS_OPERATIONS:
                doubt = True  # it costs all its candidates, and the clock alone stopped it
            again = doubt and _set_apart(task, statement)
        if not again:
            rows = ((), (), stopped.at - busy.begun, None) if task.gold is None else ()
            yield from _record(task, statement, _answer(outcome, detail, rows))

    def _put_back(self, batch: _Batch) -> None:
        """What of a batch has no answer yet waits again."""
        left = [task for task in batch.tasks if not task.finished]
        self._queues.put_back(task for task in left if task.waits_in_line)
        self._apart += [task for task in left if not task.waits_in_line]


def _record(task: Task, statement: str | None, answer: Judgement | Result) -> Iterator[Task]:
    """Record an answer, and hand out the task if it was the last."""
    task.record(statement, answer)
    if task.finished:
        yield task


def _set_apart(task: Task, statement: str | None) -> bool:
    """Let a statement wait until nothing else runs; False if that was done already."""
    if statement in task.apart:
        return False
    task.apart.add(statement)
    return True


def _is_ours(task: Task, statement: str | None, outcome: str) -> bool:
    """Did our side fail? A gold that ran before and now does not says nothing about itself."""
    return outcome == Outcome.INFRA or (statement is None and task.gold_ran)


def _try_again(task: Task, statement: str | None) -> bool:
    """Count a failure of our side; is another try owed?"""
    task.failures[statement] += 1
    return task.failures[statement] < _ATTEMPTS


def _answer(outcome: Outcome | None, detail: str, rest: Sequence[Any]) -> Judgement | Result:
    """An answer of a worker; what comes with rows is the result of a statement that was run for them."""
    if not rest:
        assert outcome is not None
        return Judgement(outcome, detail)
    columns, rows, seconds, operations = rest
    cells = tuple([tuple(map(_cell, row)) for row in rows])
    return Result(tuple(columns), cells, outcome, detail, seconds, operations)


def _cell(value: Any) -> Any:
    return bytes.fromhex(value["blob"]) if isinstance(value, dict) else value

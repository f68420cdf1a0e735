"""Does a gold query work, and does it say the same twice? Each runs with and without reversed row order, guarded.

SQLite may return rows that nothing orders in any order; `PRAGMA reverse_unordered_selects` makes it show another one.
A gold whose result then differs (a LIMIT without ORDER BY, a bare column beside an aggregate) can count a right answer
as wrong; so can ties of an ORDER BY, which `ties` looks for. The worker process does all runs and the comparison, so no
rows travel and nothing hostile reaches the parent.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from exspin.records import Database, Outcome
from exspin.sql.compare import as_executed, rule_for
from exspin.sql.engines import AGAIN, COUNTS_OPERATIONS, FULL_SHARE, Limits
from exspin.sql.execute import warn_of_logins
from exspin.sql.extract import gate
from exspin.sql.process import Stopped, WorkerProcess

_BATCH = 48


@dataclass(frozen=True, slots=True)
class Probe:
    """What two runs of one gold showed."""

    outcome: Outcome | None = None  # what stopped the first run; None: it ran
    detail: str = ""
    rows: int = 0
    seconds: float = 0.0  # CPU time of the first run, so that a busy machine makes no query slow
    differs: str = (
        ""  # how the reversed run differs (a `Mismatch`, or what stopped it); "": it does not
    )
    repeats: bool = True  # would a plain run give the first result again?
    ties: str = (
        ""  # how results differ when ties of the ORDER BY are broken both ways (a `Mismatch`)
    )


@dataclass(slots=True)
class _Due:
    """One statement and what is known of it so far."""

    database: Database
    sql: str
    jobs: int
    probe: Probe | None = None
    done: bool = False
    losses: int = 0
    apart: bool = False  # to be tried once more, with nothing beside it

    def settle(self, answer: list[Any]) -> None:
        """Record an answer of the worker: of the first run, or of those after it."""
        if len(answer) == 4:
            outcome, detail, rows, seconds = answer
            if outcome == AGAIN and not self.apart:
                self.apart = True
                return
            outcome = Outcome.TIMEOUT if outcome == AGAIN else outcome
            self.probe = Probe(Outcome(outcome) if outcome else None, detail, rows, seconds)
            self.done = self.probe.outcome is not None
        elif self.probe is not None:
            differs, repeats, ties = answer
            self.probe = replace(self.probe, differs=differs, repeats=repeats, ties=ties)
            self.done = True

    def blame(self, stopped: Stopped, lost: bool, limits: Limits) -> None:
        """The worker died on this statement. One that had not its time is owed another try, and so is a lost worker."""
        ours = lost or not stopped.overdue
        self.losses += ours
        if ours and self.losses < 2:
            self.probe = None
            return
        doubt = (
            stopped.cpu_s < FULL_SHARE * limits.timeout_s
            or self.database.kind not in COUNTS_OPERATIONS
        )
        if not ours and doubt and not self.apart:
            self.probe, self.apart = None, True
            return
        outcome = Outcome.INFRA if ours else Outcome.TIMEOUT
        if self.probe is None:
            detail = "worker_lost" if lost else "not_begun" if ours else "killed"
            self.probe = Probe(outcome, detail)
        else:
            self.probe = replace(self.probe, differs=outcome.value)
        self.done = True


def probe_golds(
    golds: Sequence[tuple[Database, str]],
    *,
    comparator: str = "default",
    limits: Limits | None = None,
    workers: int = 2,
    progress: Callable[[int], None] | None = None,
) -> list[Probe]:
    """One `Probe` for each gold, in order; equal ones of one database run once.

    `progress` is called with the number of golds done since its last call. Raises `ConfigError` for an unknown
    comparator, `UserError` where an engine refuses to serve and `ExspinError` where no worker process can be started.
    """
    rule_for(comparator, "")
    report = progress or (lambda _: None)
    due: dict[tuple[str, str], _Due] = {}
    places: list[_Due] = []
    for database, sql in golds:
        key = (database.url, sql)
        if key not in due:
            gated = gate(sql, first_only=comparator == "test-suite")
            refused = None if gated.outcome is None else Probe(gated.outcome, gated.detail)
            executed = as_executed(comparator, gated.sql)
            due[key] = _Due(database, executed, 0, refused, refused is not None)
        due[key].jobs += 1
        places.append(due[key])
    report(sum(each.jobs for each in due.values() if each.done))
    limits = limits or Limits()
    warn_of_logins({each.database for each in due.values()}, limits)
    waiting = _batches([each for each in due.values() if not each.done])
    with closing(_work(waiting, comparator, limits, max(1, workers))) as work:
        for each in work:
            report(each.jobs)
    return [place.probe for place in places if place.probe is not None]


def _batches(due: Sequence[_Due]) -> deque[list[_Due]]:
    """Statements of one database together, so that one worker has it open for a while."""
    by_url: dict[str, list[_Due]] = {}
    for each in due:
        by_url.setdefault(each.database.url, []).append(each)
    return deque(
        mine[start : start + _BATCH]
        for mine in by_url.values()
        for start in range(0, len(mine), _BATCH)
    )


def _work(
    waiting: deque[list[_Due]], comparator: str, limits: Limits, workers: int
) -> Generator[_Due]:
    """Keep all workers busy until every statement is done; yields each then."""
    idle: list[WorkerProcess] = []
    busy: dict[WorkerProcess, list[_Due]] = {}
    apart: deque[list[_Due]] = deque()
    with _ended_at_last(idle, busy), selectors.DefaultSelector() as selector:
        for batch in islice(waiting, workers):
            idle.append(WorkerProcess(limits, batch[0].database.kind))  # they start together
        while waiting or apart or busy:
            while (waiting and len(busy) < workers) or (apart and not busy):
                alone = not busy and len(waiting) < 2
                batch = (waiting or apart).popleft()
                worker = _worker(batch[0].database.kind, idle, limits)
                busy[worker] = batch
                worker.send(_message(batch, comparator, alone))
                selector.register(worker.answers, selectors.EVENT_READ)
            look_at = min(worker.look_at for worker in busy)
            selector.select(max(0.0, look_at - time.monotonic()))
            for worker, batch in list(busy.items()):
                through = yield from _take(worker, batch)
                if not through and not worker.lost and not worker.overdue:
                    continue
                selector.unregister(worker.answers)
                if through:
                    idle.append(worker)
                else:
                    lost = worker.lost
                    stopped = worker.stop()
                    yield from _take(worker, batch)  # what it said until then
                    worker.kill()
                    blamed = batch[stopped.busy.task]
                    if not blamed.done:
                        blamed.blame(stopped, lost, limits)
                        if blamed.done:
                            yield blamed
                del busy[worker]
                left = [each for each in batch if not each.done]
                apart.extend([each] for each in left if each.apart)
                if together := [each for each in left if not each.apart]:
                    waiting.appendleft(together)


def _take(worker: WorkerProcess, batch: Sequence[_Due]) -> Generator[_Due, None, bool]:
    """Record what a worker has said since the last look; true when the batch is through."""
    answers = list(chain.from_iterable(worker.read()))
    through = bool(answers) and answers[-1] is None
    for number, *answer in answers[:-1] if through else answers:
        batch[number].settle(answer)
        if batch[number].done:
            yield batch[number]
    return through


def _worker(kind: str, idle: list[WorkerProcess], limits: Limits) -> WorkerProcess:
    """An idle worker for this kind of database, or a new one."""
    place = next((i for i, worker in enumerate(idle) if worker.kind == kind), None)
    if place is not None:
        return idle.pop(place)
    if idle:
        idle.pop().close()
    return WorkerProcess(limits, kind)


@contextmanager
def _ended_at_last(idle: Iterable[WorkerProcess], busy: Iterable[WorkerProcess]) -> Iterator[None]:
    """Whatever happens, no worker process is left."""
    try:
        yield
    finally:
        for worker in busy:
            worker.kill()
        for worker in idle:
            worker.close()


def _message(batch: Sequence[_Due], comparator: str, alone: bool) -> dict[str, Any]:
    database = batch[0].database
    rules = [rule_for(comparator, each.sql, kind=database.kind) for each in batch]
    tasks = [[each.sql, rule.parts(), []] for each, rule in zip(batch, rules, strict=True)]
    return {"url": database.url, "alone": alone, "probe": True, "tasks": tasks}

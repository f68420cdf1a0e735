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
from dataclasses import astuple, dataclass, replace
from typing import Any

from exspin.records import Database, Outcome
from exspin.sql.compare import as_executed, rule_for
from exspin.sql.extract import gate
from exspin.sql.process import Limits, WorkerProcess

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

    path: str
    sql: str
    jobs: int
    probe: Probe | None = None
    done: bool = False
    losses: int = 0

    def settle(self, answer: list[Any]) -> None:
        """Record an answer of the worker; `["ran"]` is only a sign of life."""
        if len(answer) == 4:
            outcome, detail, rows, seconds = answer
            self.probe = Probe(Outcome(outcome) if outcome else None, detail, rows, seconds)
            self.done = self.probe.outcome is not None
        elif len(answer) == 3 and self.probe is not None:
            differs, repeats, ties = answer
            self.probe = replace(self.probe, differs=differs, repeats=repeats, ties=ties)
            self.done = True

    def blame(self, lost: bool) -> None:
        """The worker died on this statement. One that is lost, not overdue, is owed another try."""
        self.losses += lost
        if lost and self.losses < 2:
            self.probe = None
            return
        stopped = Outcome.INFRA if lost else Outcome.TIMEOUT
        if self.probe is None:
            self.probe = Probe(stopped, "worker_lost" if lost else "killed")
        else:
            self.probe = replace(self.probe, differs=stopped.value)
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
    comparator and `ExspinError` where no worker process can be started.
    """
    rule_for(comparator, "")
    report = progress or (lambda _: None)
    due: dict[tuple[str, str], _Due] = {}
    places: list[_Due] = []
    for database, sql in golds:
        key = (str(database.path), sql)
        if key not in due:
            gated = gate(sql, first_only=comparator == "test-suite")
            refused = None if gated.outcome is None else Probe(gated.outcome, gated.detail)
            executed = as_executed(comparator, gated.sql)
            due[key] = _Due(key[0], executed, 0, refused, refused is not None)
        due[key].jobs += 1
        places.append(due[key])
    report(sum(each.jobs for each in due.values() if each.done))
    waiting = _batches([each for each in due.values() if not each.done])
    with closing(_work(waiting, comparator, limits or Limits(), workers)) as work:
        for each in work:
            report(each.jobs)
    return [place.probe for place in places if place.probe is not None]


def _batches(due: Sequence[_Due]) -> deque[deque[_Due]]:
    """Statements of one database together, so that one worker has it open for a while."""
    by_path: dict[str, list[_Due]] = {}
    for each in due:
        by_path.setdefault(each.path, []).append(each)
    return deque(
        deque(mine[start : start + _BATCH])
        for mine in by_path.values()
        for start in range(0, len(mine), _BATCH)
    )


def _work(
    waiting: deque[deque[_Due]], comparator: str, limits: Limits, workers: int
) -> Generator[_Due]:
    """Keep all workers busy until every statement is done; yields each then."""
    idle = [WorkerProcess(limits) for _ in range(min(max(1, workers), len(waiting)))]
    busy: dict[WorkerProcess, deque[_Due]] = {}
    with _ended_at_last(idle, busy), selectors.DefaultSelector() as selector:
        while waiting or busy:
            while idle and waiting:
                worker, batch = idle.pop(), waiting.popleft()
                busy[worker] = batch
                worker.send(_message(batch, comparator))
                selector.register(worker.answers, selectors.EVENT_READ)
            first_due = min(worker.overdue_at for worker in busy)
            selector.select(max(0.0, first_due - time.monotonic()))
            for worker, batch in list(busy.items()):
                for answer in worker.read():
                    batch[0].settle(answer)
                    if batch[0].done:
                        yield batch.popleft()
                if batch and not worker.lost and not worker.overdue:
                    continue
                selector.unregister(worker.answers)
                del busy[worker]
                if not batch:
                    idle.append(worker)
                    continue
                worker.kill()
                batch[0].blame(worker.lost)
                if batch[0].done:
                    yield batch.popleft()
                if batch:
                    waiting.appendleft(batch)
                if waiting:
                    idle.append(WorkerProcess(limits))


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


def _message(batch: deque[_Due], comparator: str) -> dict[str, Any]:
    golds = [[each.sql, astuple(rule_for(comparator, each.sql))] for each in batch]
    return {"path": batch[0].path, "probe": golds}

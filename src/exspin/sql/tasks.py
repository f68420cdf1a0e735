"""What waits to be executed: jobs and their answers, tasks that share a gold, batches by database."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from exspin.records import Database, Outcome
from exspin.sql.compare import Rule, as_executed, rule_for
from exspin.sql.extract import Gate, gate

BATCH_STATEMENTS = 64
_BATCH_CHARS = 400_000


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
    """Rows of one statement; `outcome` is None where it ran, else what stopped it and `detail` which kind or limit.

    `seconds` is what it took in the worker, `operations` what SQLite counted, rounded up (None on other engines).
    """

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    outcome: Outcome | None = None
    detail: str = ""
    seconds: float = 0.0
    operations: int | None = None


@dataclass(slots=True)
class Task:
    """One gold and its distinct candidates on one database, or (gold None) a statement whose rows are wanted."""

    database: Database
    gold: str | None
    rule: Rule | None
    statements: dict[str, None] = field(default_factory=dict)  # in the order of execution
    answers: dict[str, Judgement | Result] = field(default_factory=dict)
    unusable: Judgement | None = None  # why no candidate of this gold can be judged
    gold_ran: bool = False
    apart: set[str | None] = field(
        default_factory=set
    )  # to run alone; None: the gold, so everything
    failures: Counter[str | None] = field(default_factory=Counter)  # of our side, by statement
    jobs: int = 0  # that wait for this task

    @property
    def finished(self) -> bool:
        return self.unusable is not None or (
            self.gold_ran and len(self.answers) == len(self.statements)
        )

    @property
    def waits_in_line(self) -> bool:
        """Is there something left that need not run alone?"""
        if self.finished or None in self.apart:
            return False
        return not self.gold_ran or bool(self.left(alone=False))

    def left(self, *, alone: bool) -> list[str]:
        """The statements that have no answer yet, of those to run alone or of the others."""
        everything = alone and None in self.apart
        return [
            sql
            for sql in self.statements
            if sql not in self.answers and (everything or (sql in self.apart) == alone)
        ]

    def record(self, statement: str | None, answer: Judgement | Result) -> None:
        """The answer to a statement; one to the gold (None) says that it is unusable.

        Where the gold ran before, its candidates that were judged stay so.
        """
        if statement is not None:
            self.gold_ran = True
            self.failures[None] = 0
            self.answers[statement] = answer
        elif self.gold_ran:
            self.answers.update((sql, answer) for sql in self.statements if sql not in self.answers)
        else:
            assert isinstance(answer, Judgement)
            self.unusable = unusable(answer)


class Plan:
    """What the jobs come down to: each gold once, each distinct candidate of a gold once."""

    def __init__(
        self, jobs: Sequence[Job], comparator: str, unusable: dict[tuple[str, str], Judgement]
    ) -> None:
        rule_for(comparator, "")  # an unknown name is refused before anything runs
        self._comparator = comparator
        self._unusable = unusable
        self._gates: dict[str, Gate] = {}
        self._tasks: dict[tuple[str, str], Task] = {}
        self._jobs = [self._place(job) for job in jobs]

    @property
    def tasks(self) -> list[Task]:
        return list(self._tasks.values())

    def judgements(self) -> list[Judgement]:
        """The answer to every job, once all tasks are finished."""
        return [
            task
            if isinstance(task, Judgement)
            else task.unusable or decided or cast(Judgement, task.answers[sql])
            for task, decided, sql in self._jobs
        ]

    def _place(self, job: Job) -> tuple[Task | Judgement, Judgement | None, str]:
        """The job's task (or the answer, if its gold is known to be bad), what the gate says, what is executed."""
        url = job.database.url
        gold, candidate = self._gate(job.gold), self._gate(job.candidate)
        if gold.outcome is not None:
            return unusable(Judgement(gold.outcome, gold.detail)), None, ""
        if known := self._unusable.get((url, gold.sql)):
            return known, None, ""
        task = self._tasks.get((url, gold.sql))
        if task is None:
            task = self._tasks[url, gold.sql] = Task(
                job.database,
                gold.sql,
                rule_for(self._comparator, gold.sql, kind=job.database.kind),
            )
        task.jobs += 1
        if candidate.outcome is not None:
            return task, Judgement(candidate.outcome, candidate.detail), ""
        if candidate.sql == gold.sql:
            return task, Judgement(Outcome.MATCH), ""
        task.statements[candidate.sql] = None
        return task, None, candidate.sql

    def _gate(self, sql: str) -> Gate:
        gated = self._gates.get(sql)
        if gated is None:
            gated = gate(sql, first_only=self._comparator == "test-suite")
            if gated.outcome is None:
                gated = Gate(as_executed(self._comparator, gated.sql))
            self._gates[sql] = gated
        return gated


class Queues:
    """Batches waiting for a worker, by database."""

    def __init__(self, tasks: Iterable[Task], owners: dict[str, int], places: int = 1) -> None:
        """`owners` says which worker has a database open; there are so many `places` for workers."""
        self._owners = owners
        self._places = places
        self._waiting: dict[str, deque[Task]] = {}
        for task in tasks:
            self._waiting.setdefault(task.database.url, deque()).append(task)
        self._left = sum(map(len, self._waiting.values()))

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, place: int) -> list[Task]:
        """A batch of a database this worker has open, else of one nobody has, else of any."""
        mine = (url for url in self._waiting if self._owners.get(url) == place)
        free = (url for url in self._waiting if url not in self._owners)
        url = next(mine, None) or next(free, None) or next(iter(self._waiting), None)
        if url is None:
            return []
        self._owners.setdefault(url, place)
        waiting = self._waiting[url]
        batch: list[Task] = []
        statements = chars = 0
        most = self._left // (2 * self._places) + 1  # so that all have work until the end
        if self._places == 1:
            most = BATCH_STATEMENTS
        while (
            waiting and len(batch) < most and statements < BATCH_STATEMENTS and chars < _BATCH_CHARS
        ):
            task = waiting.popleft()
            batch.append(task)
            statements += 1 + len(task.statements)
            chars += len(task.gold or "") + sum(map(len, task.statements))
        self._left -= len(batch)
        if not waiting:
            del self._waiting[url]
        return batch

    def put_back(self, tasks: Iterable[Task]) -> None:
        """What a worker left goes to the front."""
        for task in reversed(list(tasks)):
            self._waiting.setdefault(task.database.url, deque()).appendleft(task)
            self._left += 1


def unusable(judgement: Judgement) -> Judgement:
    """What a gold that did not run means for its candidates; our own failure is not the gold's."""
    if judgement.outcome is Outcome.INFRA:
        return judgement
    detail = judgement.detail if judgement.outcome is Outcome.ERROR else judgement.outcome.value
    return Judgement(Outcome.GOLD_UNUSABLE, detail)

"""What waits to be executed: jobs and their answers, tasks that share a gold, batches by database."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from exspin.records import Database, Outcome
from exspin.sql.compare import Rule

_BATCH_STATEMENTS = 64
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
        """The answer to a statement; one to the gold (None) says that it is unusable."""
        if statement is None:
            assert isinstance(answer, Judgement)
            self.unusable = unusable(answer)
        else:
            self.gold_ran = True
            self.answers[statement] = answer


class Queues:
    """Batches waiting for a worker, by database."""

    def __init__(self, tasks: Iterable[Task], owners: dict[str, int]) -> None:
        self._owners = owners
        self._waiting: dict[str, deque[Task]] = {}
        for task in tasks:
            self._waiting.setdefault(task.database.url, deque()).append(task)

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
        while waiting and statements < _BATCH_STATEMENTS and chars < _BATCH_CHARS:
            task = waiting.popleft()
            batch.append(task)
            statements += 1 + len(task.statements)
            chars += len(task.gold or "") + sum(map(len, task.statements))
        if not waiting:
            del self._waiting[url]
        return batch

    def put_back(self, tasks: Iterable[Task]) -> None:
        """What a worker left goes to the front."""
        for task in reversed(list(tasks)):
            self._waiting.setdefault(task.database.url, deque()).appendleft(task)


def unusable(judgement: Judgement) -> Judgement:
    """What a gold that did not run means for its candidates; our own failure is not the gold's."""
    if judgement.outcome is Outcome.INFRA:
        return judgement
    detail = judgement.detail if judgement.outcome is Outcome.ERROR else judgement.outcome.value
    return Judgement(Outcome.GOLD_UNUSABLE, detail)

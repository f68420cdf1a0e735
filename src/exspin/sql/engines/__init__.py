"""What a database engine promises the worker, and where each engine lives.

A worker process serves one kind of database. It imports the module of that kind alone, `exspin.sql.engines.KIND`, which
offers two functions (`EngineModule`):

- `confine(limits)` sets the process limits that suit the engine. It is called once, before the first database is opened
  and after the module was imported, so an engine that maps large libraries imports them at its top.
- `open_engine(url, limits, alive)` makes the object that serves one database (`Engine`). It need not connect yet.

What may go wrong has three ways out. What a statement is worth is in `Ran.outcome`: an engine raises nothing for a bad
statement. A connection that cannot be made or is lost is `Ran(outcome=Outcome.INFRA, detail=…)`: the executor tries the
statement again a limited number of times, and it teaches nothing. What the user has to mend (a login that may write, a
package that is not installed) is raised as a `UserError`, on import, from `open_engine` or later; the call that asked
stops with that message. A message never holds a password.

The parent keeps a deadline of its own and kills a worker that does not answer in 1.4 times the time limit plus 0.4 s; an
engine that must cancel on a server does so before that, by a thread of its own if it needs one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Any, Protocol, cast

from exspin.records import Outcome

COUNTS_OPERATIONS = frozenset({"sqlite"})  # kinds whose limit does not depend on the clock
IN_PROCESS = frozenset({"sqlite", "duckdb"})  # kinds that compute in the worker process itself
SHARES_MEMORY = frozenset(
    {"duckdb"}
)  # kinds of which an open database holds on to the worker's memory
OPENS_BACKWARDS = frozenset({"sqlite"})  # kinds whose module also has `open_backwards`

FULL_SHARE = 0.8  # of a processor: with less, the clock says little about a statement
AGAIN = (
    "again"  # a worker's word, in place of an outcome, for a statement that only the clock stopped
)
NO_MEMORY = "memory"  # the detail of an `infra` that a new worker process would not meet
OPERATIONS_FLOOR = 100_000_000  # about a second; the slowest right answer to Spider takes 220,000
_OPERATIONS_PER_SECOND = 50_000_000  # of the time limit; half of what a machine of 2024 does


class ErrorKind(StrEnum):
    """Why the engine refused a statement: the `detail` of the outcome `error`, the same words for every engine."""

    NO_SUCH_TABLE = "no_such_table"
    NO_SUCH_COLUMN = "no_such_column"
    AMBIGUOUS_COLUMN = "ambiguous_column"
    NO_SUCH_FUNCTION = "no_such_function"
    WRONG_ARGUMENTS = "wrong_arguments"  # of a function, or a parameter left open
    MISUSE_OF_AGGREGATE = "misuse_of_aggregate"
    COLUMN_COUNT = "column_count"  # of the sides of a set operation, of a subquery, of VALUES
    SYNTAX = "syntax"
    TYPE = "type"  # a value that an operation cannot take
    TOO_COMPLEX = "too_complex"  # nesting, terms or length past the limits
    DATABASE = "database"  # the file cannot be opened or is damaged
    VIRTUAL_TABLE = "virtual_table"  # none but json_each and json_tree can be read
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps for one statement, the same for every engine; which of them it can keep is the engine's to say.

    Memory is for the worker process beyond its start. On SQLite a statement is stopped by the instructions of SQLite's
    virtual machine that it takes, which do not depend on the machine or its load, and `timeout_s` is the backstop.
    `max_operations` None: 50 million for each second of `timeout_s`. A candidate gets ten times what its gold took,
    within that, and never less than `OPERATIONS_FLOOR`.
    """

    timeout_s: float = 5.0
    max_rows: int = 100_000
    max_bytes: int = 64_000_000
    memory_mb: int = 512
    max_operations: int | None = None
    allow_privileged: bool = False  # go on with a server login that may write

    @property
    def operations_allowed(self) -> int:
        """What a statement may take that is run for itself, or as gold."""
        if self.max_operations is not None:
            return self.max_operations
        return max(1, int(_OPERATIONS_PER_SECOND * self.timeout_s))

    def operations_beside(self, gold: int) -> int:
        """What a candidate may take whose gold took so many."""
        return min(max(10 * gold, OPERATIONS_FLOOR), self.operations_allowed)

    @property
    def patience_s(self) -> float:
        """How long the parent waits for an answer before it kills the worker."""
        return 1.4 * self.timeout_s + 0.4


@dataclass(frozen=True, slots=True)
class Budget:
    """What one statement may take. `operations` is None where the engine counts none."""

    timeout_s: float
    operations: int | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of one statement: `outcome` is None where it ran.

    Cells are None, int, float, str or bytes: an engine turns its own types into these (a Boolean into 0 or 1, an exact
    decimal into int or float, dates into ISO text), so that results compare alike everywhere.

    `detail` of an outcome: an `ErrorKind` for `error`; for `timeout` "operations", "wall" or "killed"; for `too_large`
    "rows", "bytes", "value" or "memory"; for `denied` which rule it was.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] | list[tuple[Any, ...]] = ()
    outcome: Outcome | None = None
    detail: str = ""
    size: int = 0  # estimated bytes of the rows
    operations: int | None = None  # what it took, where the engine counts; rounded up


class Engine(Protocol):
    """One database, open for reading; it runs one statement at a time and keeps no state between two."""

    def state(self) -> Hashable | None:
        """What the database holds now, as far as that is cheap to tell: gold results are kept under it.

        Called before the statements of a question, at most once in a hundredth of a second: the moment to notice a change
        and open anew. None: nobody can tell, so a gold result serves the candidates it was run for and is not kept.
        """
        ...

    def run(self, sql: str, budget: Budget) -> Ran:
        """Execute one statement that passed the gate, under the caps of `Limits` and this budget."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


class EngineModule(Protocol):
    """What `exspin.sql.engines.KIND` offers."""

    def confine(self, limits: Limits) -> None:
        """Limit this process, once, before anything is opened."""
        ...

    def open_engine(self, url: str, limits: Limits, alive: Callable[[bool], None]) -> Engine:
        """An engine for the database at `url`, a `records.Database.url` of this kind.

        `alive` is for what has to be done before a statement can begin, as connecting. `alive(False)` says that such
        work begins: no statement runs, so none will be blamed. `alive(True)` says that the statement begins now, or
        anew, with all its time before it. Without a word a statement begins when `Engine.run` is called.
        """
        ...


class BackwardsModule(EngineModule, Protocol):
    """What the module of an engine offers that can show rows that nothing orders in another order."""

    def open_backwards(self, url: str, limits: Limits, alive: Callable[[bool], None]) -> Engine:
        """As `open_engine`; rows that nothing orders come in the other direction."""
        ...


def engine_module(kind: str) -> EngineModule:
    """The module of one kind of database. Raises `MissingExtra` where its driver is not installed."""
    return cast(EngineModule, import_module(f"exspin.sql.engines.{kind}"))

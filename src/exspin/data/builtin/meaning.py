"""What a built-in question asks, apart from how its SQL is written.

A `Query` reads rows of one table. A column of another table is a `Ref` with a path of foreign keys: `("doctor_id",)`
leads up from an appointment to its doctor, `("<appointment.doctor_id",)` down from a doctor to the appointments.
Joins follow from the paths. `sqlstyle` writes a `Query` as SQL in one of many styles; nothing here knows SQL text.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from exspin.data.builtin.phrasebook import foreign_keys, primary_key

Path = tuple[str, ...]
Value = str | int | float


@dataclass(frozen=True, slots=True)
class Ref:
    """A column of the asked table, or of one reached over foreign keys."""

    column: str
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Agg:
    """COUNT, SUM, AVG, MIN or MAX; COUNT of rows when `of` is None."""

    func: str
    of: Ref | None = None
    distinct: bool = False


@dataclass(frozen=True, slots=True)
class YearOf:
    """The year of a date."""

    of: Ref


@dataclass(frozen=True, slots=True)
class Spread:
    """Largest minus smallest value."""

    of: Ref


Expr = Ref | Agg | YearOf | Spread


@dataclass(frozen=True, slots=True)
class Compare:
    """`left op right`, where right is a value or the single value of another query."""

    left: Expr
    op: str
    right: Value | Query


@dataclass(frozen=True, slots=True)
class Between:
    """Both ends included."""

    of: Ref
    low: Value
    high: Value


@dataclass(frozen=True, slots=True)
class Like:
    """A LIKE pattern."""

    of: Ref
    pattern: str


@dataclass(frozen=True, slots=True)
class Period:
    """A date within a year ("2021") or a month ("2021-03")."""

    of: Ref
    period: str


@dataclass(frozen=True, slots=True)
class Null:
    """The value is missing, or is there."""

    of: Ref
    missing: bool


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of several conditions."""

    options: tuple[Cond, ...]


@dataclass(frozen=True, slots=True)
class Has:
    """There are rows below (`step` is a downward step) that satisfy `where`; or there are none."""

    step: str
    where: tuple[Cond, ...] = ()
    absent: bool = False
    at_least: int = 1
    path: Path = ()  # who has them


Cond = Compare | Between | Like | Period | Null | Either | Has


@dataclass(frozen=True, slots=True)
class Query:
    """Rows of `table`. `top` keeps only the rows with the largest (or smallest) value, with all ties."""

    table: str
    items: tuple[Expr, ...]
    where: tuple[Cond, ...] = ()
    group: tuple[Expr, ...] = ()
    having: tuple[Cond, ...] = ()
    order: tuple[tuple[Expr, bool], ...] = ()  # expression, descending
    limit: int = 0
    distinct: bool = False
    top: tuple[Ref, bool] | None = None  # column, descending
    outer: bool = False  # downward joins keep rows that have nothing below
    joins: tuple[Path, ...] = ()  # joined although no expression reads them
    correlate: str = ""  # only rows with the same value here as the row outside
    unique: bool = False  # the items tell rows apart, so DISTINCT loses nothing


def paths_of(part: Expr | Cond) -> Iterator[Path]:
    """The paths an expression or a condition reads."""
    match part:
        case Ref(_, path):
            yield path
        case Agg(_, of, _):
            if of is not None:
                yield of.path
        case YearOf(of) | Spread(of) | Between(of) | Like(of) | Period(of) | Null(of):
            yield of.path
        case Compare(left):
            yield from paths_of(left)
        case Either(options):
            for option in options:
                yield from paths_of(option)
        case Has():
            yield part.path


def move(cond: Cond, shift: Callable[[Path], Path]) -> Cond:
    """The same condition seen from another table: every path is shifted."""

    def ref(of: Ref) -> Ref:
        return Ref(of.column, shift(of.path))

    match cond:
        case Compare(left, _, _):
            assert isinstance(left, Ref)
            return replace(cond, left=ref(left))
        case Either(options):
            return Either(tuple(move(option, shift) for option in options))
        case Has():
            return replace(cond, path=shift(cond.path))
        case _:
            return replace(cond, of=ref(cond.of))


class Schema:
    """Keys of one database, and its rows for looking up values."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.tables = tuple(
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        )
        self.parents = {
            (table, column): parent
            for table in self.tables
            for column, parent in foreign_keys(connection, table).items()
        }
        self._values: dict[tuple[str, str], list[Value]] = {}

    @cached_property
    def keys(self) -> dict[str, str]:
        """Table → its single-column primary key, or ""."""
        found = {table: primary_key(self.connection, table) for table in self.tables}
        return {table: key[0] if len(key) == 1 else "" for table, key in found.items()}

    def walk(self, table: str, path: Path) -> str:
        """The table a path leads to."""
        for step in path:
            table = self.step(table, step)[0]
        return table

    def step(self, table: str, step: str) -> tuple[str, str, str]:
        """Where one step leads: table there, column here, column there."""
        if step.startswith("<"):
            child, _, column = step[1:].partition(".")
            return child, self.parents[child, column][1], column
        there, key = self.parents[table, step]
        return there, step, key

    def values(self, table: str, column: str) -> list[Value]:
        """All values of a column but NULL, sorted, repeats kept."""
        if (table, column) not in self._values:
            query = f'SELECT "{column}" FROM "{table}" WHERE "{column}" IS NOT NULL ORDER BY 1'
            self._values[table, column] = [row[0] for row in self.connection.execute(query)]
        return self._values[table, column]

    def together(self, via: str, near: str, far: str, label: str) -> list[tuple[Value, Value]]:
        """Names of two rows that some row of the `near` end of a link table has both."""
        end, key = self.parents[via, far]
        query = f"""
            SELECT DISTINCT one.{label}, two.{label}
            FROM {via} AS a JOIN {via} AS b ON a.{near} = b.{near}
            JOIN {end} AS one ON a.{far} = one.{key} JOIN {end} AS two ON b.{far} = two.{key}
            WHERE one.{label} < two.{label} ORDER BY 1, 2"""
        return self.connection.execute(query).fetchall()

    def size(self, table: str) -> int:
        """Rows of a table."""
        return int(self.connection.execute(f'SELECT COUNT(*) FROM "{table}"').fetchone()[0])

    def has_nulls(self, table: str, column: str) -> bool:
        """Whether some row lacks the value."""
        return len(self.values(table, column)) < self.size(table)

"""One SELECT with the names it uses: which table is a column of, and can there still be one?

Before FROM nothing is known of the tables, so names wait: `columns` and `qualified` are looked up when the SELECT ends,
and narrow the choice of tables until then.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from string import ascii_lowercase

from exspin.sql.guide.names import Names

NUMBERED = re.compile(r"t(\d+)")
_NONE = frozenset[str]()


class DeadEndError(Exception):
    """No ending makes a query of this text."""


@dataclass(slots=True, eq=False)
class Select:
    """One SELECT as far as it has been read."""

    names: Names
    outer: Select | None = None
    width: int | None = None  # columns it must have; None: any number
    tables_before: int = 0  # in earlier arms of the set operation
    clause: str = "select"
    items: int = 1
    starred: bool = False
    aggregated: bool = False  # has an aggregate among its columns, or a GROUP BY
    joined: bool = True  # no JOIN waits for its ON
    sources: dict[str, frozenset[str]] = field(default_factory=dict)
    nameable: str = ""  # the last source, while it may still get an alias
    conditions: int = 0
    aliases: set[str] = field(default_factory=set)  # of columns
    listed: set[tuple[str, str, str]] = field(default_factory=set)  # (clause, table, column)
    columns: set[str] = field(default_factory=set)  # used without a table
    qualified: dict[str, frozenset[str]] = field(default_factory=dict)  # used with one, before FROM

    def copy(self, made: dict[int, Select]) -> Select:
        """The same, apart from this one, and those around it; `made` gets the copies by the ids of their originals."""
        other = copy(self)
        other.outer = self.outer and self.outer.copy(made)
        other.sources, other.qualified = dict(self.sources), dict(self.qualified)
        other.aliases, other.listed = set(self.aliases), set(self.listed)
        other.columns = set(self.columns)
        made[id(self)] = other
        return other

    @property
    def before_from(self) -> bool:
        return self.clause == "select"

    @property
    def width_fits(self) -> bool:
        return self.width is None or (not self.starred and self.items == self.width)

    def visible(self) -> set[str]:
        """Every name that a value may begin with here, functions apart."""
        plain = self.names.plain
        if self.before_from:
            return plain | self.names.aliases | self.names.tables.keys()
        found = set(self.aliases)
        for scope in self._scopes():
            found |= scope.sources.keys()
            held = Counter(name for columns in scope.sources.values() for name in columns & plain)
            found |= {name for name, times in held.items() if times == 1}
            if scope.before_from:
                found |= plain & self.names.columns
        return found

    def use(self, name: str) -> None:
        """A column without a table."""
        self.columns.add(name)
        if not self.before_from:
            self._resolve(name)
        elif name not in self.names.columns:
            raise DeadEndError

    def use_of(self, qualifier: str, name: str) -> None:
        """A column with its table."""
        if name not in self.columns_of(qualifier):
            raise DeadEndError
        if self.before_from:
            self.qualified[qualifier] = self.qualified.get(qualifier, _NONE) | {name}

    def columns_of(self, qualifier: str) -> frozenset[str]:
        """What may follow this name and a dot: nothing where the name cannot be a table's."""
        scope = self._scope_of(qualifier)
        around = scope.sources[qualifier] if scope else frozenset[str]()
        tables = self.names.tables
        if not self.before_from:
            return around
        if qualifier in tables:
            return around | tables[qualifier]
        if qualifier not in self.names.aliases:
            return around
        needed = self.qualified.get(qualifier, _NONE)
        return around.union(*(columns for columns in tables.values() if needed <= columns))

    def next_tables(self) -> list[str]:
        """Tables that may come next in FROM, by the columns that are waiting for one."""
        tables = self.names.tables
        needed = [self.qualified.get(f"t{number}", _NONE) for number in self._numbers(1)]
        if all(needed):
            return [t for t in tables if any(names <= tables[t] for names in needed)]
        if not self.sources and self.columns:
            return [t for t in tables if not self.columns.isdisjoint(tables[t])] or list(tables)
        return list(tables)

    def add_table(self, name: str) -> bool:
        """A table in FROM; True where it is there for the second time and must get an alias."""
        if name not in self.next_tables():
            raise DeadEndError
        repeated = name in self.sources
        self.nameable = f"{name} again" if repeated else name
        self.sources[self.nameable] = self.names.tables[name]
        return repeated

    def may_be_called(self, beginning: str) -> bool:
        """May an alias of the last table begin like this (in lower case)?"""
        allowed = {f"t{number}" for number in self._numbers()}
        allowed |= {alias for alias in self.names.aliases if not NUMBERED.fullmatch(alias)}
        allowed |= set(ascii_lowercase)
        columns = self.sources[self.nameable]
        return any(
            alias.startswith(beginning) and self.qualified.get(alias, _NONE) <= columns
            for alias in allowed - self.sources.keys()
        )

    def call(self, alias: str) -> None:
        """The last table gets an alias."""
        columns = self.sources[self.nameable]
        number = NUMBERED.fullmatch(alias)
        known = alias in self.names.aliases or alias in ascii_lowercase
        in_order = int(number[1]) in self._numbers() if number else known
        if not in_order or alias in self.sources:
            raise DeadEndError
        if not self.qualified.get(alias, _NONE) <= columns:
            raise DeadEndError
        del self.sources[self.nameable]
        self.sources[alias] = columns
        self.nameable = ""

    def next_arm(self) -> Select:
        """The SELECT on the other side of UNION, INTERSECT or EXCEPT."""
        width = None if self.starred else self.items
        before = self.tables_before + len(self.sources)
        return Select(self.names, self.outer, self.width or width, before)

    @property
    def sound(self) -> bool:
        try:
            self.check()
        except DeadEndError:
            return False
        return True

    def check(self) -> None:
        """Have all names their tables, now that no more come? Raises `DeadEndError`."""
        if not self.width_fits or not self.joined:
            raise DeadEndError
        for qualifier, names in self.qualified.items():
            scope = self._scope_of(qualifier)
            if scope is None or not names <= scope.sources[qualifier]:
                raise DeadEndError
        for name in self.columns:
            self._resolve(name)

    def _scopes(self) -> Iterator[Select]:
        """This SELECT and those around it."""
        scope: Select | None = self
        while scope is not None:
            yield scope
            scope = scope.outer

    def _scope_of(self, qualifier: str) -> Select | None:
        return next((scope for scope in self._scopes() if qualifier in scope.sources), None)

    def _numbers(self, more: int = 0) -> tuple[int, ...]:
        """n of the alias Tn of the last table, or of one `more`: counted here, on from the query around, or on from
        the arms before."""
        here = len(self.sources)
        around = sum(len(scope.sources) for scope in self._scopes())
        return here + more, around + more, here + self.tables_before + more

    def _resolve(self, name: str) -> None:
        """Which table is this column of? Raises `DeadEndError` where none has it, or two have."""
        if name in self.aliases and self.sources:
            return
        for scope in self._scopes():
            if scope.before_from and scope is not self:
                return  # its tables are still to come
            holders = sum(name in columns for columns in scope.sources.values())
            if holders > 1:
                raise DeadEndError
            if holders:
                return
        raise DeadEndError

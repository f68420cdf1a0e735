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
TABLES = 6  # in one FROM


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
    stars: list[str] = field(default_factory=list)  # their tables; "" for all
    item: str = ""  # the column that the item of the result is so far, if it is just that
    results: frozenset[str] | None = None  # of the arms before; ORDER BY can only name one of these
    named: set[str] = field(default_factory=set)  # of the result
    aggregated: bool = False  # has an aggregate among its columns, or a GROUP BY
    joined: bool = True  # no JOIN waits for its ON
    sources: dict[str, frozenset[str]] = field(default_factory=dict)
    nameable: str = ""  # the last source, while it may still get an alias
    conditions: int = 0
    aliases: set[str] = field(default_factory=set)  # of columns
    totals: set[str] = field(default_factory=set)  # aliases of aggregates
    totalled: bool = False  # the item of the result has an aggregate
    listed: set[tuple[str, str, str]] = field(default_factory=set)  # (clause, table, column)
    columns: set[str] = field(default_factory=set)  # used without a table
    qualified: dict[str, frozenset[str]] = field(default_factory=dict)  # used with one, before FROM

    def copy(self, made: dict[int, Select]) -> Select:
        """The same, apart from this one, and those around it; `made` gets the copies by the ids of their originals."""
        other = copy(self)
        other.outer = self.outer and self.outer.copy(made)
        other.sources, other.qualified = dict(self.sources), dict(self.qualified)
        other.aliases, other.listed = set(self.aliases), set(self.listed)
        other.totals = set(self.totals)
        other.columns, other.named = set(self.columns), set(self.named)
        other.stars = list(self.stars)
        made[id(self)] = other
        return other

    @property
    def before_from(self) -> bool:
        return self.clause == "select"

    @property
    def width_fits(self) -> bool:
        if self.width is None:
            return True
        return self.may_star if self.stars and self.before_from else self._width == self.width

    @property
    def may_star(self) -> bool:
        """May * be written? In a result of a given width only where tables have it, and then alone."""
        alone = self.items == 1 and not self.qualified and not self.columns
        return self.width is None or (alone and self.names.can_sum(self.width, TABLES))

    @property
    def may_star_of(self) -> bool:
        """May T1.* be written?"""
        return self.width is None and self.outer is None

    @property
    def may_be_unnamed(self) -> bool:
        """Need the last table no alias?"""
        return self._can_end(unnamed=True)

    @property
    def may_join(self) -> bool:
        """May another table come, if the last one gets no alias?"""
        if len(self.sources) == TABLES or not self.may_be_unnamed:
            return False
        without = copy(self)
        without.nameable = ""
        return bool(without.next_tables())

    @property
    def by_result(self) -> bool:
        """Are we in the ORDER BY of a set operation?"""
        return self.clause == "order" and self.results is not None

    @property
    def _width(self) -> int:
        widths = {name: len(columns) for name, columns in self.sources.items()}
        starred = (widths.get(star, 0) if star else sum(widths.values()) for star in self.stars)
        return self.items - len(self.stars) + sum(starred)

    def end_item(self) -> None:
        """A comma, FROM or AS: the item before it is whole."""
        if self.item:
            self.named.add(self.item)
        self.item = ""

    def call_item(self, alias: str) -> None:
        """AS in the result."""
        self.aliases.add(alias)
        if self.totalled:
            self.totals.add(alias)

    @property
    def _callable(self) -> set[str]:
        """The aliases that may stand for their columns here."""
        if self.clause == "on":
            return set()
        return self.aliases if self.clause in ("having", "order") else self.aliases - self.totals

    def visible(self) -> set[str]:
        """Every name that a value may begin with here, functions apart."""
        plain = self.names.plain
        if self.by_result:
            return self.named | self.aliases | (self.results or set())
        if self.before_from:
            columns = {name for name in plain & self.names.columns if self._may_use(name)}
            tables = self.names.tables.keys()
            return columns | {name for name in self.names.aliases | tables if self.columns_of(name)}
        found = set(self._callable)
        for scope in self._scopes():
            found |= scope.sources.keys()
        for scope in self._homes():
            held = Counter(name for columns in scope.sources.values() for name in columns & plain)
            found -= held.keys()
            found |= {name for name, times in held.items() if times == 1}
        if self.clause == "on":
            return {name for name in found if name in self.sources or self._may_use(name)}
        return found

    def use(self, name: str) -> None:
        """A column without a table."""
        if self.by_result:
            if name not in self.visible():
                raise DeadEndError
            return
        if not self.before_from:
            self._resolve(name)
        if self.clause in ("select", "on"):  # tables may come that have it too
            if not self._may_use(name):
                raise DeadEndError
            self.columns.add(name)

    def use_of(self, qualifier: str, name: str) -> None:
        """A column with its table."""
        if name not in self.columns_of(qualifier):
            raise DeadEndError
        if self.before_from:
            self.qualified[qualifier] = self.qualified.get(qualifier, _NONE) | {name}

    def columns_of(self, qualifier: str) -> frozenset[str]:
        """What may follow this name and a dot: nothing where the name cannot be a table's."""
        scope = self._scope_of(qualifier)
        around = scope.sources[qualifier] if scope else _NONE
        tables = self.names.tables
        if self.by_result:
            return _NONE
        if not self.before_from:
            return around
        needed = self.qualified.get(qualifier, _NONE)
        if not self._can_end({qualifier: needed}):
            return around
        if qualifier in tables:
            return around | tables[qualifier]
        if qualifier not in self.names.aliases:
            return around
        found = _NONE.union(*(columns for columns in tables.values() if needed <= columns)) - needed
        possible = {n for n in found if self._can_end({qualifier: needed | {n}})}
        return around | possible | needed

    def next_tables(self) -> list[str]:
        """Tables that may come next in FROM, by the columns that are waiting for one."""
        tables = {
            name: columns for name, columns in self.names.tables.items() if self._can_follow(name)
        }
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

    def possible_aliases(self) -> list[str]:
        """What the last table may be called, in lower case."""
        allowed = {f"t{number}" for number in self._numbers()} | set(ascii_lowercase)
        allowed |= {alias for alias in self.names.aliases if not NUMBERED.fullmatch(alias)}
        columns = self.sources[self.nameable]
        return [
            alias
            for alias in allowed - self.sources.keys()
            if self.qualified.get(alias, _NONE) <= columns
            and self._can_end(unnamed=True, called=alias)
        ]

    def call(self, alias: str) -> None:
        """The last table gets an alias."""
        if alias not in self.possible_aliases():
            raise DeadEndError
        columns = self.sources[self.nameable]
        del self.sources[self.nameable]
        self.sources[alias] = columns
        self.nameable = ""

    def next_arm(self) -> Select:
        """The SELECT on the other side of UNION, INTERSECT or EXCEPT."""
        before = self.tables_before + len(self.sources)
        arm = Select(self.names, self.outer, self._width, before)
        arm.results = (self.results or _NONE) | self.named | self.aliases
        return arm

    @property
    def sound(self) -> bool:
        try:
            self.check()
        except DeadEndError:
            return False
        return True

    def check(self) -> None:
        """Have all names their tables, now that no more come? Raises `DeadEndError`."""
        if not self.width_fits or not self.joined or (self.stars and not self.sources):
            raise DeadEndError
        for qualifier, names in self.qualified.items():
            scope = self._scope_of(qualifier)
            if scope is None or not names <= scope.sources[qualifier]:
                raise DeadEndError
        for name in self.columns:
            self._resolve(name)

    def _may_use(self, name: str) -> bool:
        """Can this column without a table still have just one home?"""
        return self._can_end(column=name)

    def _can_follow(self, table: str) -> bool:
        """May this table come next in FROM?"""
        columns = self.names.tables[table]
        if self.stars and self.width is not None:
            missing = self.width - self._width - len(columns)
            if not self.names.can_sum(missing, TABLES - 1 - len(self.sources)):
                return False
        after = copy(self)
        after.nameable = f"{table} again" if table in self.sources else table
        after.sources = {**self.sources, after.nameable: columns}
        return after._can_end()

    def _can_end(
        self,
        qualified: dict[str, frozenset[str]] | None = None,
        *,
        column: str = "",
        unnamed: bool = False,
        called: str = "",
    ) -> bool:
        """Can tables that may still come give every name that waits just one home?

        `qualified` and `column` are used as well. `unnamed`: the last table gets no alias, or that it is `called`.
        """
        columns = self.columns | {column} if column else self.columns
        held = Counter(name for source in self.sources.values() for name in columns & source)
        if any(times > 1 for times in held.values()):
            return False
        waiting = frozenset(name for name in columns - held.keys() if not self._is_around(name))
        needed = {
            name: names
            for name, names in {**self.qualified, **(qualified or {})}.items()
            if name != called
            and (self._scope_of(name) is None or (called and name == self.nameable))
        }
        more = TABLES - len(self.sources)
        ways = [needed]
        if self.nameable and not unnamed:
            last = self.sources[self.nameable]
            ways += [
                {other: needed[other] for other in needed if other != name}
                for name, names in needed.items()
                if names <= last
                and name not in self.names.tables
                and self._may_be_number(name, 0, 0)
            ]
        settled = frozenset(held)
        return any(
            all(self._may_be_number(name, 1, more) for name in way)
            and self.names.can_cover(self._sources(way), settled, waiting, more)
            for way in ways
        )

    def _sources(self, needed: dict[str, frozenset[str]]) -> tuple[frozenset[str], ...]:
        """As `Names.can_cover` wants them."""
        tables = self.names.tables
        return tuple(
            sorted(
                (frozenset({f"= {q}"}) if q in tables else names for q, names in needed.items()),
                key=sorted,
            )
        )

    def _may_be_number(self, alias: str, first: int, last: int) -> bool:
        """If this is Tn: can it be the alias of the last table (0) or of one of the next?"""
        number = NUMBERED.fullmatch(alias)
        if number is None or alias in self.names.tables:
            return True
        return any(int(number[1]) in self._numbers(more) for more in range(first, last + 1))

    def _is_around(self, name: str) -> bool:
        """Is this a column of a query around this one?"""
        around = self.outer
        while around is not None:
            if any(name in columns for columns in around.sources.values()):
                return True
            around = around.outer
        return False

    def _scopes(self) -> Iterator[Select]:
        """This SELECT and those around it; for its ORDER BY just itself."""
        scope: Select | None = self
        while scope is not None:
            yield scope
            scope = scope.outer if self.clause != "order" else None

    def _homes(self) -> Iterator[Select]:
        """Where a column without a table may be from. In ON just from here: a later table could have it too."""
        return iter([self]) if self.clause == "on" else self._scopes()

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
        for scope in self._homes():
            holders = sum(name in columns for columns in scope.sources.values())
            if holders > 1:
                raise DeadEndError
            if holders:
                return
            if name in scope._callable and name not in scope.columns:
                return
        raise DeadEndError

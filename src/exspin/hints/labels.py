"""What a gold query uses of its schema: the labels that a linker learns from, and the oracle selection of training prompts.

Read from sqlglot's tree with scopes of our own, since golds are written by people: names in any case, aliases that other
parts of a query reuse, text in double quotes. `count(*)` uses no column; `SELECT *` uses every column of its tables, since
that is what the answer shows, but not inside EXISTS. A column of a subquery or table expression counts where it is named
in it. A query that names what the schema has not is not guessed at: it has no labels.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from exspin.hints.link import Item, Selection, joins
from exspin.records import Example
from exspin.sql.schema import Column, Schema, Table
from exspin.sql.tokens import significant

# sqlglot's name of a dialect by the kind of a database
DIALECTS = {"sqlite": "sqlite", "duckdb": "duckdb", "postgresql": "postgres", "mysql": "mysql"}

_MAX_CHARS = 20_000  # as for hardness: the parser's time and stack are not bounded
_MAX_DEPTH = 60
_ROW_NUMBERS = frozenset({"rowid", "oid", "_rowid_"})


@dataclass(frozen=True, slots=True)
class Used:
    """The tables and columns of a schema that a query uses, as the schema spells them."""

    tables: frozenset[str]
    columns: frozenset[Item]


def used_items(sql: str, schema: Schema, dialect: str = "sqlite") -> Used | None:
    """Everything a query uses; None where it cannot be parsed or names what the schema has not."""
    depth = max((token.depth for token in significant(sql)), default=0)
    if len(sql) > _MAX_CHARS or depth > _MAX_DEPTH:
        return None
    reader = _Reader(schema, dialect)
    try:
        tree = sqlglot.parse_one(sql, dialect=dialect)
        if not isinstance(tree, exp.Query):
            return None
        reader.query(tree, (), {})
    except (SqlglotError, RecursionError, _Unresolved):
        return None
    return Used(frozenset(reader.tables), frozenset(reader.columns))


def gold_selection(
    example: Example,
    schema: Schema,
    k1: int,
    k2: int,
    *,
    seed: int = 0,
    dialect: str = "sqlite",
) -> Selection | None:
    """What the gold uses, filled up with random others to k1 tables and k2 columns a table, in random order; more where the
    gold uses more, and with the keys that join the tables. For training prompts only. The same for the same seed and
    `example_id`. None where the gold cannot be read."""
    used = used_items(example.query, schema, dialect)
    if used is None:
        return None
    rng = random.Random(f"{seed}/{example.example_id}")
    tables = _filled([table.name for table in schema.tables], used.tables, k1, rng)
    kept = {name: {c for table, c in used.columns if table == name} for name in tables}
    for child, parent in joins(schema):
        if child[0] in kept and parent[0] in kept:
            kept[child[0]].add(child[1])
            kept[parent[0]].add(parent[1])
    by_name = {table.name: table for table in schema.tables}
    return Selection(
        tuple(tables),
        {
            name: tuple(_filled([c.name for c in by_name[name].columns], kept[name], k2, rng))
            for name in tables
        },
    )


def _filled(
    names: Sequence[str], wanted: frozenset[str] | set[str], count: int, rng: random.Random
) -> list[str]:
    """The wanted names and random others, `count` in all where there are so many, in random order."""
    others = [name for name in names if name not in wanted]
    rng.shuffle(others)
    chosen = [n for n in names if n in wanted] + others[: max(0, count - len(wanted))]
    rng.shuffle(chosen)
    return chosen


class _Unresolved(Exception):
    """A name that is neither in the schema nor in the query."""


@dataclass(frozen=True, slots=True)
class _Source:
    """One thing in FROM. `table` of the schema, or names that a subquery gives; None for both: anything at all."""

    alias: str
    table: Table | None
    names: frozenset[str] | None

    def __contains__(self, name: str) -> bool:
        return self.names is None or name in self.names


_Scopes = tuple[tuple[_Source, ...], ...]  # the innermost first
_Names = frozenset[str] | None
_Expressions = Mapping[str, _Names]  # table expressions of WITH: what they give


class _Reader:
    """One walk over a query; fills `tables` and `columns`."""

    def __init__(self, schema: Schema, dialect: str) -> None:
        self.tables: set[str] = set()
        self.columns: set[Item] = set()
        self._strings = dialect in ("sqlite", "mysql")  # "text" is one where no column has the name
        self._tables = {table.name.lower(): table for table in schema.tables}
        self._columns: dict[str, dict[str, Column]] = {}

    def query(
        self, node: exp.Expr, outer: _Scopes, given: _Expressions, exists: bool = False
    ) -> _Names:
        """Read a query and say which names its result has; None where that cannot be told."""
        given = self._with(node, outer, given)
        if isinstance(node, exp.Subquery):
            names = self.query(node.this, outer, given, exists)
            self._walk(_parts(node, "order", "limit", "offset"), outer, given, names or frozenset())
            return names
        if isinstance(node, exp.SetOperation):
            sides = [self.query(side, outer, given) for side in (node.this, node.expression)]
            names = None if None in sides else frozenset().union(*(s for s in sides if s))
            if names is not None:
                self._walk(_parts(node, "order", "limit", "offset"), outer, given, names)
            return names if names is None else sides[0]
        if isinstance(node, exp.Select):
            return self._select(node, outer, given, exists)
        return None  # VALUES

    def _with(self, node: exp.Expr, outer: _Scopes, given: _Expressions) -> _Expressions:
        clause = node.args.get("with_") or node.args.get("with")
        if clause is None:
            return given
        known = dict(given)
        for cte in clause.expressions:
            name = cte.alias.lower()
            listed = frozenset(c.name.lower() for c in cte.args["alias"].args.get("columns") or ())
            if clause.args.get("recursive"):
                known[name] = listed or None  # it may name itself
            names = self.query(cte.this, outer, known)
            known[name] = listed or names
        return known

    def _select(
        self, select: exp.Select, outer: _Scopes, given: _Expressions, exists: bool
    ) -> _Names:
        sources: list[_Source] = []
        conditions: list[exp.Expr] = []
        begin = select.args.get("from_") or select.args.get("from")
        if begin is not None:
            self._source(begin.this, sources, conditions, outer, given)
        for join in select.args.get("joins") or ():
            self._join(join, sources, conditions, outer, given)
        for lateral in select.args.get("laterals") or ():
            sources.append(_Source(lateral.alias.lower(), None, None))
        scopes = (tuple(sources), *outer)
        aliases = frozenset(e.alias.lower() for e in select.expressions if isinstance(e, exp.Alias))
        self._walk(conditions, scopes, given, aliases)
        names = set(aliases)
        unknown = False
        for shown in select.expressions:
            star = _star(shown)
            if star is None:
                self._walk([shown], scopes, given, frozenset())
                names.add(shown.alias_or_name.lower())
                continue
            for source in sources:
                if star in ("", source.alias):
                    unknown |= source.names is None
                    names |= source.names or frozenset()
                    if source.table is not None and not exists:
                        self.columns.update(
                            (source.table.name, column.name) for column in source.table.columns
                        )
        # In ORDER BY an alias comes before a column of the same name.
        self._walk(_parts(select, "order"), scopes, given, aliases, aliases_first=True)
        done = {"from_", "from", "joins", "laterals", "expressions", "order", "with_", "with"}
        rest = [part for name in select.args if name not in done for part in _parts(select, name)]
        self._walk(rest, scopes, given, aliases)
        return None if unknown else frozenset(names)

    def _join(
        self,
        join: exp.Expr,
        sources: list[_Source],
        conditions: list[exp.Expr],
        outer: _Scopes,
        given: _Expressions,
    ) -> None:
        before = tuple(sources)
        self._source(join.this, sources, conditions, outer, given)
        conditions += _parts(join, "on")
        shared = {name.name.lower() for name in join.args.get("using") or ()}
        if join.args.get("method") == "NATURAL":
            right = frozenset().union(*(s.names or frozenset() for s in sources[len(before) :]))
            shared = {n for n in right if any(s.names is not None and n in s for s in before)}
        for name in shared:
            holders = [source for source in sources if name in source]
            if not holders:
                raise _Unresolved(name)
            for source in holders:
                self._use(source, name)

    def _source(
        self,
        node: exp.Expr,
        sources: list[_Source],
        conditions: list[exp.Expr],
        outer: _Scopes,
        given: _Expressions,
    ) -> None:
        """Add what one entry of FROM gives, and the entries that are joined to it inside parentheses."""
        alias = node.alias.lower()
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            name = node.name.lower()
            if name in given and not node.args.get("db"):
                sources.append(_Source(alias or name, None, given[name]))
            elif table := self._tables.get(name):
                self.tables.add(table.name)
                sources.append(_Source(alias or name, table, frozenset(self._columns_of(table))))
            else:
                raise _Unresolved(name)
        elif isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table | exp.Subquery):
            self._source(node.this, sources, conditions, outer, given)
        elif isinstance(node, exp.Subquery):
            sources.append(_Source(alias, None, self.query(node, outer, given)))
        else:
            sources.append(_Source(alias, None, None))  # a function that gives rows
        for join in node.args.get("joins") or ():
            self._join(join, sources, conditions, outer, given)

    def _columns_of(self, table: Table) -> dict[str, Column]:
        if table.name not in self._columns:
            self._columns[table.name] = {c.name.lower(): c for c in table.columns}
        return self._columns[table.name]

    def _walk(
        self,
        nodes: Sequence[exp.Expr],
        scopes: _Scopes,
        given: _Expressions,
        aliases: frozenset[str],
        aliases_first: bool = False,
    ) -> None:
        """Resolve every column in these expressions; queries inside them have scopes of their own."""
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            if isinstance(node, exp.Query):
                self.query(node, scopes, given, exists=isinstance(node.parent, exp.Exists))
            elif isinstance(node, exp.Column):
                self._column(node, scopes, aliases, aliases_first)
            else:
                waiting += node.iter_expressions()

    def _column(
        self, node: exp.Column, scopes: _Scopes, aliases: frozenset[str], aliases_first: bool
    ) -> None:
        name, qualifier = node.name.lower(), node.table.lower()
        if isinstance(node.this, exp.Star):
            return  # count(t.*)
        if aliases_first and not qualifier and name in aliases:
            return
        for sources in scopes:
            named = [s for s in sources if not qualifier or s.alias == qualifier]
            holders = [s for s in named if name in s]
            if not holders and named and qualifier:
                if name in _ROW_NUMBERS:
                    return
                raise _Unresolved(f"{qualifier}.{name}")
            for source in holders[:1] if qualifier else holders:
                self._use(source, name)
            if holders:
                return
        quoted = isinstance(node.this, exp.Identifier) and node.this.args.get("quoted")
        if not qualifier and (
            name in aliases or name in _ROW_NUMBERS or (quoted and self._strings)
        ):
            return
        raise _Unresolved(f"{qualifier}.{name}" if qualifier else name)

    def _use(self, source: _Source, name: str) -> None:
        if source.table is not None:
            column = self._columns_of(source.table)[name]
            self.columns.add((source.table.name, column.name))


def _parts(node: exp.Expr, *names: str) -> list[exp.Expr]:
    """What stands in these clauses of a node."""
    found: list[exp.Expr] = []
    for name in names:
        value = node.args.get(name)
        found += [
            v for v in (value if isinstance(value, list) else [value]) if isinstance(v, exp.Expr)
        ]
    return found


def _star(shown: exp.Expr) -> str | None:
    """An empty text for `*`, the alias for `t.*`, None for anything else in a list of results."""
    if isinstance(shown, exp.Star):
        return ""
    if isinstance(shown, exp.Column) and isinstance(shown.this, exp.Star):
        return shown.table.lower()
    return None

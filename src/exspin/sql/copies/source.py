"""Read a database nobody trusts, as far as perturbed copies need it: tables, keys, references and rows.

The file is opened read-only and immutable, and read within bounds: at most `MAX_TABLES` tables, `MAX_ROWS` rows of one
table (a larger one is sampled over its whole length, with rows that golds name) and those that they refer to (in all
`MOST_ROWS`), `MAX_BYTES` of content. What cannot be copied is said in a `Refused`. Standard library only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from exspin.sql.copies.mentions import ColumnName, Mentions
from exspin.sql.schema import always_quoted, open_read_only

Row = tuple[Any, ...]

MAX_TABLES = 300
MAX_COLUMNS = 300  # of one table
MAX_ROWS = 2000  # of one table that are read
MOST_ROWS = 8000  # of one table with the rows that others refer to
MAX_BYTES = 32_000_000  # of all text and blobs that are read
_WORK = 400_000_000  # virtual-machine instructions for reading
_PASSES = 3  # from sampled rows to the rows they refer to
_STRATA = 200  # places of a large table at which a sample is taken


class Refused(Exception):
    """No copies of this database are possible; the message says why."""


@dataclass(frozen=True)
class Table:
    """One table of the original. `columns` are those that are written: no generated ones."""

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]  # as declared
    not_null: tuple[bool, ...]
    keys: tuple[tuple[int, ...], ...]  # declared: PRIMARY KEY, UNIQUE; places in `columns`
    rows: tuple[Row, ...]  # all, or a sample of a large table

    def place(self, column: str) -> int | None:
        wanted = column.lower()
        return next((i for i, name in enumerate(self.columns) if name.lower() == wanted), None)


@dataclass(frozen=True)
class Link:
    """Columns of `child` whose values are found in `parent`: a declared foreign key, or a join that golds make."""

    child: str
    columns: tuple[int, ...]
    parent: str
    parent_columns: tuple[int, ...]
    held: float = 0.0  # share of the child's values that the parent has; 1.0: the copy must keep it
    number: int | None = None  # SQLite's, of a declared foreign key


@dataclass(frozen=True)
class Source:
    """A database as far as a copy needs it."""

    tables: tuple[Table, ...]
    links: tuple[Link, ...]
    mentions: Mentions
    strict: bool = False  # only what the schema demands is kept: see `values.Sampler`


def key_of(row: Row, places: Sequence[int]) -> tuple[str, ...] | None:
    """What a reference compares; columns of text and of numbers may refer to each other. None where one is NULL."""
    found = []
    for place in places:
        value = row[place]
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        found.append(str(value))
    return tuple(found)


def read_source(path: Path, mentions: Mentions, *, strict: bool = False) -> Source:
    """What copies are made from. Raises `Refused`, or `sqlite3.Error` for a damaged file."""
    with closing(open_read_only(path)) as connection:
        return _Reader(connection, mentions).read(strict)


class _Reader:
    def __init__(self, connection: sqlite3.Connection, mentions: Mentions) -> None:
        self.connection = connection
        self.mentions = mentions
        self.bytes = 0
        budget = iter(range(_WORK // 10_000))
        connection.set_progress_handler(lambda: next(budget, None) is None, 10_000)

    def read(self, strict: bool) -> Source:
        listed = self.connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' "
            "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid"
        ).fetchall()
        if len(listed) > MAX_TABLES:
            raise Refused(f"{len(listed)} tables, more than {MAX_TABLES}")
        tables: dict[str, Table] = {}
        for name, ddl in listed:
            if (ddl or "").upper().lstrip().startswith("CREATE VIRTUAL"):
                raise Refused(f"table {name!r} is virtual")
            tables[name] = self._table(name)
        links = [*self._foreign_keys(tables)]
        tables = self._with_parents(tables, links)
        links += self._joined(tables, links)
        held = tuple(
            replace(link, held=share)
            for link in links
            if (share := _held(tables, link)) is not None
        )
        return Source(tuple(tables.values()), held, self.mentions, strict)

    def _table(self, name: str) -> Table:
        info = self.connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)).fetchall()
        info = [row for row in info if row[6] == 0]  # neither generated nor hidden
        if not info:
            raise Refused(f"table {name!r} has no columns that can be written")
        if len(info) > MAX_COLUMNS:
            raise Refused(f"table {name!r} has {len(info)} columns, more than {MAX_COLUMNS}")
        columns = tuple(row[1] for row in info)
        place = {column.lower(): number for number, column in enumerate(columns)}
        keys: list[tuple[int, ...]] = []
        primary = tuple(place[row[1].lower()] for row in sorted(info, key=lambda r: r[5]) if row[5])
        if primary:
            keys.append(primary)
        indexes = self.connection.execute(
            'SELECT name FROM pragma_index_list(?) WHERE "unique" AND NOT partial ORDER BY seq',
            (name,),
        ).fetchall()
        for (index,) in indexes:
            names = [
                row[0]
                for row in self.connection.execute(
                    "SELECT name FROM pragma_index_info(?) ORDER BY seqno", (index,)
                )
            ]
            if all(column is not None and column.lower() in place for column in names):
                key = tuple(place[column.lower()] for column in names)
                if key not in keys:
                    keys.append(key)
        return Table(
            name=name,
            columns=columns,
            types=tuple(row[2] or "" for row in info),
            not_null=tuple(bool(row[3]) for row in info),
            keys=tuple(keys),
            rows=self._rows(name, columns),
        )

    def _rows(self, name: str, columns: Sequence[str]) -> tuple[Row, ...]:
        cells = ", ".join(map(always_quoted, columns))
        head = f"SELECT {cells} FROM main.{always_quoted(name)} NOT INDEXED"
        rows = self._fetch(f"{head} LIMIT {MAX_ROWS + 1}")
        if len(rows) <= MAX_ROWS:
            return tuple(rows)
        self.bytes -= sum(map(_size, rows))
        table = f"main.{always_quoted(name)}"
        bounds = self._rowids(table)
        if bounds is None:
            return tuple(rows[:MAX_ROWS])
        # With their rowids, so that equal rows stay several and no row is taken twice.
        head = f"SELECT rowid, {cells} FROM {table}"
        found = [
            row
            for sql, values in self._named(name, columns)
            for row in self._fetch(f"{head} WHERE {sql}", values)
        ]
        found = found[: MAX_ROWS // 4]
        low, high = bounds
        for stratum in range(_STRATA):
            start = low + (high - low) * stratum // _STRATA
            limit = MAX_ROWS // _STRATA
            found += self._fetch(f"{head} WHERE rowid >= ? ORDER BY rowid LIMIT {limit}", (start,))
        return tuple(row[1:] for row in list(dict.fromkeys(found))[:MAX_ROWS])

    def _rowids(self, table: str) -> tuple[int, int] | None:
        """The first and the last rowid; None for a table without."""
        try:
            low, high = self.connection.execute(
                f"SELECT (SELECT min(rowid) FROM {table}), (SELECT max(rowid) FROM {table})"
            ).fetchone()
        except sqlite3.OperationalError as error:
            if "rowid" in str(error):
                return None
            raise
        return (low, high) if isinstance(low, int) and isinstance(high, int) else None

    def _named(self, name: str, columns: Sequence[str]) -> list[tuple[str, tuple[Any, ...]]]:
        """Where a large table holds the literals of golds: a few rows each."""
        lowered = {column.lower() for column in columns}
        wanted = {
            (c.column.name, c.value)
            for group in self.mentions.conditions
            for c in group
            if c.operator == "="
            and c.column.name in lowered
            and (not c.column.tables or name.lower() in c.column.tables)
        }
        return [
            (f"{always_quoted(column)} = ? LIMIT 5", (value,))
            for column, value in sorted(wanted, key=repr)[:100]
        ]

    def _fetch(self, sql: str, values: tuple[Any, ...] = ()) -> list[Row]:
        found: list[Row] = []
        cursor = self.connection.execute(sql, values)
        while chunk := cursor.fetchmany(256):
            self.bytes += sum(map(_size, chunk))
            if self.bytes > MAX_BYTES:
                raise Refused(f"more than {MAX_BYTES:,} bytes in the rows to copy")
            found += chunk
        return found

    def _foreign_keys(self, tables: dict[str, Table]) -> Iterator[Link]:
        by_name = {name.lower(): table for name, table in tables.items()}
        for name, table in tables.items():
            keys: dict[int, list[Any]] = {}
            for row in self.connection.execute(
                'SELECT id, seq, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq',
                (name,),
            ):
                keys.setdefault(row[0], []).append(row)
            for number, parts in keys.items():
                parent = by_name.get(str(parts[0][2]).lower())
                if parent is None:
                    continue
                targets = [row[4] for row in parts]
                if None in targets:
                    primary = parent.keys[0] if parent.keys else ()
                    places: list[int | None] = list(primary)
                else:
                    places = [parent.place(column) for column in targets]
                own = [table.place(row[3]) for row in parts]
                if len(own) == len(places) and None not in own and None not in places:
                    yield Link(
                        name,
                        tuple(p for p in own if p is not None),
                        parent.name,
                        tuple(p for p in places if p is not None),
                        number=number,
                    )

    def _with_parents(self, tables: dict[str, Table], links: list[Link]) -> dict[str, Table]:
        """Rows that a sampled table refers to and the parent's own sample lacks are read as well."""
        tables = dict(tables)
        for _ in range(_PASSES):
            found_any = False
            for link in links:
                parent = tables[link.parent]
                if not MAX_ROWS <= len(parent.rows) < MOST_ROWS:
                    continue  # it was read whole and lacks nothing, or it has grown enough
                found = self._missing(tables[link.child], parent, link)
                if found:
                    found_any = True
                    tables[link.parent] = replace(parent, rows=(*parent.rows, *found))
            if not found_any:
                break
        return tables

    def _missing(self, child: Table, parent: Table, link: Link) -> list[Row]:
        present = {key_of(row, link.parent_columns) for row in parent.rows}
        wanted = {
            key: tuple(row[place] for place in link.columns)
            for row in child.rows
            if (key := key_of(row, link.columns)) is not None and key not in present
        }
        cells = ", ".join(map(always_quoted, parent.columns))
        where = " AND ".join(f"{always_quoted(parent.columns[p])} = ?" for p in link.parent_columns)
        sql = f"SELECT {cells} FROM main.{always_quoted(parent.name)} WHERE {where} LIMIT 1"
        found: list[Row] = []
        for values in list(wanted.values())[: MOST_ROWS - len(parent.rows)]:
            found += self._fetch(sql, values)
        return list(dict.fromkeys(found))

    def _joined(self, tables: dict[str, Table], declared: list[Link]) -> Iterator[Link]:
        """Joins that golds make and no foreign key declares: the side whose values are all different is the parent."""
        linked = {(link.child, link.columns) for link in declared}
        for pair in self.mentions.joins:
            for left in _columns(tables, pair[0]):
                for right in _columns(tables, pair[1]):
                    if left[0] == right[0]:
                        continue
                    one, two = (_is_key(tables[name], place) for name, place in (left, right))
                    if one == two:
                        continue
                    child, parent = (right, left) if one else (left, right)
                    if (child[0], (child[1],)) not in linked:
                        linked.add((child[0], (child[1],)))
                        yield Link(child[0], (child[1],), parent[0], (parent[1],))


def _columns(tables: dict[str, Table], name: ColumnName) -> list[tuple[str, int]]:
    return [
        (table.name, place)
        for table in tables.values()
        if (not name.tables or table.name.lower() in name.tables)
        and (place := table.place(name.name)) is not None
    ]


def _is_key(table: Table, place: int) -> bool:
    if (place,) in table.keys:
        return True
    values = [row[place] for row in table.rows if row[place] is not None]
    return len(values) > 1 and len(set(values)) == len(values)


def _held(tables: dict[str, Table], link: Link) -> float | None:
    """Share of the child's references that the parent has; None: the link would go through a column to itself."""
    if link.child == link.parent and link.columns == link.parent_columns:
        return None
    present = {key_of(row, link.parent_columns) for row in tables[link.parent].rows}
    keys = [
        key for row in tables[link.child].rows if (key := key_of(row, link.columns)) is not None
    ]
    return sum(key in present for key in keys) / len(keys) if keys else 1.0


def _size(row: Row) -> int:
    return 8 * len(row) + sum(len(cell) for cell in row if isinstance(cell, str | bytes))

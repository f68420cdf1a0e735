"""The distinct values of every column of a database, one by one, with a bound on the work.

`ValueReader` is all that the value index knows of an engine; SQLite's is here, the others' in modules beside this one. Views are not read, since computing one
may never end, nor are virtual generated columns; nor virtual tables, because their code is not SQLite's own. NULL and
blobs are no values. An integer or a float comes as Python spells it, which is how SQL reads it too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol, Self

from exspin.errors import DatabaseError
from exspin.ledger import digest_file
from exspin.records import Database
from exspin.sql.schema import open_read_only, read_schema
from exspin.urls import SERVERS

LONGEST = 256  # characters; nobody writes more of a value into a question

# Virtual-machine instructions. Twenty million rows of one column take about 250 million; a second is some 50 million.
COLUMN_WORK = 400_000_000
DATABASE_WORK = 4_000_000_000
_STEP = 10_000


class Unread(Exception):
    """A column was not read to its end; says why. What came before is good."""


class ValueReader(Protocol):
    """One open database. Used as a context manager, by one thread."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def digest(self) -> str:
        """Differs when any value may differ: of a file, its content; of a server, what it can tell cheaply. Raises
        `DatabaseError` if the database is gone."""

    def columns(self) -> tuple[tuple[str, str], ...]:
        """Every (table, column) that has values worth reading, in the schema's order."""

    def distinct_values(self, table: str, column: str, limit: int) -> Iterator[str]:
        """Up to `limit` distinct values as text, neither NULL nor blobs, in any order.

        Texts longer than `LONGEST` may come cut, but longer than that; bytes that are not UTF-8 come as lone surrogates.
        Raises `Unread` after the last value where there were more that could not be read.
        """


def open_reader(database: Database, *, allow_privileged: bool = False) -> ValueReader:
    """The reader of the database's engine. Raises `DatabaseError` where it cannot be opened, or where a server's login may
    write (`allow_privileged` goes on with a warning), `MissingExtra` where a driver is not installed."""
    if database.kind == "duckdb":
        from exspin.sql.duckdb_distinct import DuckDBReader  # an extra

        return DuckDBReader(database)
    if database.kind in SERVERS:
        from exspin.sql.server_distinct import open_server_reader  # an extra

        return open_server_reader(database, allow_privileged=allow_privileged)
    if database.kind == "sqlite":
        return SQLiteReader(database)
    raise DatabaseError(f"{database.db_id}: values of a {database.kind} database cannot be read")


class SQLiteReader:
    """Reads one SQLite file; the work of all its columns together is bounded."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._path: Path = database.path
        self._state = _state(self._path)
        self._left = DATABASE_WORK
        try:
            self._connection = open_read_only(self._path)
        except sqlite3.Error as error:
            raise DatabaseError(f"{self._path}: cannot be opened ({error})") from error
        self._connection.text_factory = _decode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def digest(self) -> str:
        try:
            digest = digest_file(self._path)
        except OSError as error:
            raise DatabaseError(f"{self._path}: cannot be read ({error.strerror})") from error
        if _state(self._path) != self._state:
            raise DatabaseError(
                f"{self._path}: changed while its values were read; run the same command again"
            )
        return digest

    def columns(self) -> tuple[tuple[str, str], ...]:
        schema = read_schema(self._database, sample_values=0)
        try:
            virtual = {
                name
                for (name,) in self._connection.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL%'"
                )
            }
            found = []
            for table in schema.tables:
                if table.view or table.name in virtual:
                    continue
                # (cid, name, type, notnull, default, pk, hidden); hidden 2 is computed whenever it is read
                computed = {
                    row[1]
                    for row in self._connection.execute(
                        "SELECT * FROM pragma_table_xinfo(?)", (table.name,)
                    )
                    if row[6] == 2
                }
                found += [
                    (table.name, column.name)
                    for column in table.columns
                    if column.name not in computed
                ]
            return tuple(found)
        except sqlite3.Error as error:
            raise DatabaseError(f"{self._path}: the schema cannot be read ({error})") from error

    def distinct_values(self, table: str, column: str, limit: int) -> Iterator[str]:
        name = _quoted(column)
        # BINARY: a column's own collation may hold spellings for equal, or may not be there. NOT INDEXED: so may an
        # index's. Long text is cut and blobs dropped before they reach us.
        query = (
            f"SELECT DISTINCT CASE typeof({name}) WHEN 'blob' THEN NULL "
            f"WHEN 'text' THEN substr({name}, 1, {LONGEST + 1}) ELSE {name} END COLLATE BINARY "
            f"FROM main.{_quoted(table)} NOT INDEXED LIMIT ?"
        )
        steps = min(COLUMN_WORK, self._left) // _STEP
        taken = 0

        def count() -> bool:
            nonlocal taken
            taken += 1
            return taken > steps

        self._connection.set_progress_handler(count, _STEP)
        try:
            with closing(self._connection.execute(query, (limit + 1,))) as rows:
                for (value,) in rows:
                    if value is not None:
                        yield value if isinstance(value, str) else str(value)
        except sqlite3.Error as error:
            reason = f"more than {steps * _STEP:,} steps" if taken > steps else str(error)
            raise Unread(reason) from error
        finally:
            self._connection.set_progress_handler(None, 0)
            self._left -= taken * _STEP


def _state(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError as error:
        raise DatabaseError(f"{path}: cannot be read ({error.strerror})") from error
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

"""The distinct values of a PostgreSQL or MySQL database; see `distinct.py` for what is no value.

Read with the login of the statements, behind the same checks and the server's own time limit; rows arrive in chunks. Not read:
views, what the login may not read, bytes, and columns that are computed when read. DISTINCT compares bytes, whatever the
collation, so that no spelling is taken for another.

The digest is what `server_rows.py` can tell cheaply. It is asked for once, on opening: what changes while values are read
makes no error and another digest the next time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Self

from exspin.errors import DatabaseError
from exspin.ledger import digest_json
from exspin.records import Database
from exspin.sql.distinct import LONGEST, Unread
from exspin.sql.engines import Limits
from exspin.sql.engines.login import Lost, alone, cannot_reach
from exspin.sql.schema import always_quoted, one_line, read_schema
from exspin.sql.server_login import login_and_connect
from exspin.sql.server_rows import digest_rows

COLUMN_S = 300.0  # with the time that whoever takes the values needs
DATABASE_S = 1800.0
_CHUNK_ROWS = 1000
_NOT_TEXT = re.compile(r"BYTEA|BLOB|BINARY|VARBINARY|BIT\b|GEOMETRY|POINT|POLYGON|LINESTRING", re.I)


def open_server_reader(database: Database, *, allow_privileged: bool = False) -> ServerReader:
    """Raises `DatabaseError` where the server refuses the login, the login may write, or the schema cannot be read."""
    kinds = {"postgresql": PostgreSQLReader, "mysql": MySQLReader}
    return kinds[database.kind](database, allow_privileged)


class ServerReader:
    """Reads one database of a server; the time of all its columns together is bounded."""

    def __init__(self, database: Database, allow_privileged: bool) -> None:
        self._database = database
        self._schema = read_schema(database, 0, allow_privileged=allow_privileged)
        self._left_s = DATABASE_S
        self._login, connect = login_and_connect(database)
        limits = Limits(timeout_s=COLUMN_S, allow_privileged=allow_privileged)
        try:
            self._connection: Any = connect(self._login, limits)
            return
        except Lost as lost:
            failure = cannot_reach(self._login, lost)
        raise alone(failure)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        rows = digest_rows(self._database, self._schema)
        return digest_json([self._login.shown, self._schema.digest, rows])

    def columns(self) -> tuple[tuple[str, str], ...]:
        try:
            computed = set(self._computed())
        except self._failures as error:
            told = self._login.tell(error)
        else:
            return tuple(
                (table.name, column.name)
                for table in self._schema.tables
                if not table.view
                for column in table.columns
                if not _NOT_TEXT.search(column.type) and (table.name, column.name) not in computed
            )
        raise DatabaseError(f"{self._login.shown}: the schema cannot be read ({told})")

    def distinct_values(self, table: str, column: str, limit: int) -> Iterator[str]:
        if self._left_s <= 0:
            raise Unread(f"more than {DATABASE_S:g} seconds for all columns")
        begun = time.monotonic()
        try:
            for value in self._distinct(table, column, limit + 1):
                if value is not None:
                    yield (
                        value.decode("utf-8", "surrogateescape")
                        if isinstance(value, bytes)
                        else str(value)
                    )
        except self._failures as error:
            reason = one_line(self._login.tell(error), 120)
        else:
            return
        finally:
            self._left_s -= time.monotonic() - begun
        raise Unread(reason)

    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        raise NotImplementedError

    def _computed(self) -> Iterator[tuple[str, str]]:
        """(table, column) of those that are computed when read."""
        raise NotImplementedError

    def _distinct(self, table: str, column: str, limit: int) -> Iterator[Any]:
        raise NotImplementedError


class PostgreSQLReader(ServerReader):
    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        import psycopg

        return (psycopg.Error,)

    def _computed(self) -> Iterator[tuple[str, str]]:
        if self._connection.info.server_version >= 180_000:  # before, all were stored
            yield from self._connection.execute(_PG_COMPUTED).fetchall()

    def _distinct(self, table: str, column: str, limit: int) -> Iterator[Any]:
        name = always_quoted(column)
        # A cast to text, and COLLATE "C" for collations in which different spellings are equal.
        query = (
            f'SELECT DISTINCT pg_catalog.left({name}::text, {LONGEST + 1}) COLLATE "C" '
            f"FROM {always_quoted(table)} WHERE {name} IS NOT NULL LIMIT {limit:d}"
        )
        with self._connection.cursor() as cursor:
            for (value,) in cursor.stream(query.encode(), **self._chunks):
                yield value

    @cached_property
    def _chunks(self) -> dict[str, int]:
        import psycopg

        return {"size": _CHUNK_ROWS} if psycopg.capabilities.has_stream_chunked() else {}


_PG_COMPUTED = """SELECT c.relname, a.attname FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident(pg_catalog.current_schema()))
    AND a.attgenerated = 'v'"""


class MySQLReader(ServerReader):
    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        import pymysql

        return (pymysql.Error, OSError)

    def _computed(self) -> Iterator[tuple[str, str]]:
        yield from self._rows(_MY_COMPUTED)

    def _distinct(self, table: str, column: str, limit: int) -> Iterator[Any]:
        from pymysql.cursors import SSCursor

        name = _ticked(column)
        query = (
            f"SELECT DISTINCT CAST(LEFT(CONVERT({name} USING utf8mb4), {LONGEST + 1}) AS BINARY) "
            f"FROM {_ticked(table)} WHERE {name} IS NOT NULL LIMIT {limit:d}"
        )
        with SSCursor(self._connection) as cursor:
            cursor.execute(query)
            while rows := cursor.fetchmany(_CHUNK_ROWS):
                for (value,) in rows:
                    yield value

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())


_MY_COMPUTED = """SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND EXTRA LIKE '%VIRTUAL%'"""


def _ticked(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"

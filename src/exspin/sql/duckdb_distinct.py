"""The distinct values of a DuckDB file; see `distinct.py` for the bounds and what is no value.

The file is opened as for statements: read-only, with everything outside it locked away. What a column holds is read as the
text that DuckDB writes of it; lists, structures and the like are no values, nor are generated columns. Bounded in time and
memory: a column with more distinct text than memory allows is not read to its end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self

from exspin.errors import DatabaseError
from exspin.ledger import digest_file, digest_json
from exspin.records import Database
from exspin.sql.distinct import LONGEST, Unread
from exspin.sql.engines.duckdb import Failure, open_read_only
from exspin.sql.engines.watchdog import Watchdog
from exspin.sql.schema import always_quoted, one_line, read_schema

COLUMN_S = 300.0  # with the time that whoever takes the values needs
DATABASE_S = 1800.0
_MEMORY_MB = 1024
_CHUNK_ROWS = 2048
_PLAIN = """SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = current_database()
    AND schema_name = 'main' AND NOT internal AND data_type NOT IN ('BLOB', 'BIT', 'GEOMETRY', 'VARIANT')
    AND data_type NOT LIKE '%]' AND NOT regexp_matches(data_type, '^(STRUCT|MAP|UNION)\\b')"""
_GENERATED = "SELECT * FROM duckdb_columns() LIMIT 0"


class DuckDBReader:
    """Reads one DuckDB file."""

    def __init__(self, database: Database) -> None:
        self._path = database.path
        # Read first: one process cannot have a file open under two configurations.
        self._schema = read_schema(database, sample_values=0)
        self._left_s = DATABASE_S
        self._watchdog = Watchdog()
        try:
            self._connection = open_read_only(self._path, _MEMORY_MB)
        except Failure as error:
            raise DatabaseError(
                f"{self._path}: cannot be opened ({one_line(str(error), 200)})"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def digest(self) -> str:
        """Of the file and of the log of changes beside it, where there is one."""
        log = self._path.with_name(self._path.name + ".wal")
        try:
            found = [digest_file(self._path)]
            with suppress(FileNotFoundError):
                found.append(digest_file(log))
        except OSError as error:
            raise DatabaseError(f"{self._path}: cannot be read ({error.strerror})") from error
        return digest_json(found)

    def columns(self) -> tuple[tuple[str, str], ...]:
        try:
            plain = set(self._rows(_PLAIN))
            if "is_generated" in {name for name, *_ in self._describe(_GENERATED)}:
                plain -= set(
                    self._rows(
                        "SELECT table_name, column_name FROM duckdb_columns() WHERE is_generated"
                    )
                )
        except Failure as error:
            raise DatabaseError(
                f"{self._path}: the schema cannot be read ({one_line(str(error), 200)})"
            ) from error
        return tuple(
            (table.name, column.name)
            for table in self._schema.tables
            if not table.view
            for column in table.columns
            if (table.name, column.name) in plain
        )

    def distinct_values(self, table: str, column: str, limit: int) -> Iterator[str]:
        if self._left_s <= 0:
            raise Unread(f"more than {DATABASE_S:g} seconds for all columns")
        name = always_quoted(column)
        query = (
            f"SELECT DISTINCT left(CAST({name} AS VARCHAR), {LONGEST + 1}) FROM main.{always_quoted(table)} "
            f"WHERE {name} IS NOT NULL LIMIT {limit + 1:d}"
        )
        seconds = min(COLUMN_S, self._left_s)
        begun = time.monotonic()
        try:
            with self._watchdog.watching([(seconds, self._connection.interrupt)]):
                result = self._connection.execute(query)
                while rows := result.fetchmany(_CHUNK_ROWS):
                    for (value,) in rows:
                        if value is not None:
                            yield value
        except Failure as error:
            late = time.monotonic() - begun >= seconds
            reason = f"more than {seconds:g} seconds" if late else one_line(str(error), 120)
            raise Unread(reason) from error
        finally:
            self._left_s -= time.monotonic() - begun

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query).fetchall()

    def _describe(self, query: str) -> list[tuple[Any, ...]]:
        return list(self._connection.execute(query).description or ())

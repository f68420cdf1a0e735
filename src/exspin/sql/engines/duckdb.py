"""DuckDB files: opened read-only with everything outside them locked away, one cursor a statement.

Layers, outermost last: exactly one statement, which DuckDB's own parser calls a SELECT; no files, network, extensions or
variables of this program; a configuration that no statement can change; one thread, a memory limit, no temporary files; a
fresh cursor, so that nothing a statement made is there for the next; an interrupt at the time limit; caps on rows and
bytes while rows arrive; process limits. Some functions run long without a look at the interrupt: the parent's kill ends
those.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from exspin.errors import MissingExtra
from exspin.records import Outcome
from exspin.sql.engines import NO_MEMORY, Budget, ErrorKind, Limits, Ran
from exspin.sql.engines.confine import limit_process
from exspin.sql.engines.values import plain_rows, row_bytes
from exspin.sql.engines.watchdog import Watchdog
from exspin.urls import file_of

if find_spec("duckdb") is None:
    raise MissingExtra("DuckDB", "duckdb", "duckdb")

import duckdb

Failure = duckdb.Error
_CHUNK_ROWS = 512
_LOG = ".wal"

_CONFIGURATION = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_unsigned_extensions": "false",
    "python_enable_replacements": "false",  # a table's name never means a variable of ours
    "threads": "1",
    "temp_directory": "",
    "preserve_insertion_order": "true",
}
# Once the file is open: beside a name with "?" DuckDB looks for a log that it would not be allowed to look for.
_LOCKS = ("SET enable_external_access = false", "SET lock_configuration = true")

# What DuckDB says, in the order to look for it.
_MESSAGES = (
    (r"table function with name", ErrorKind.NO_SUCH_FUNCTION),
    (r"function with name .* does not exist", ErrorKind.NO_SUCH_FUNCTION),
    (r"(?:table|schema|catalog|sequence|view) (?:with name )?\S+ does not exist", ErrorKind.NO_SUCH_TABLE),
    (r"referenced column|does not have a column named|referenced table .* not found", ErrorKind.NO_SUCH_COLUMN),
    (r"column .* does not exist on|using clause.* not found", ErrorKind.NO_SUCH_COLUMN),
    (r"ambiguous reference|duplicate alias", ErrorKind.AMBIGUOUS_COLUMN),
    (r"no function matches the given name and argument types '[^\w\s]", ErrorKind.TYPE),  # an operator
    (r"no function matches|values were not provided for", ErrorKind.WRONG_ARGUMENTS),
    (r"must appear in the group by|cannot contain aggregates|aggregate function calls", ErrorKind.MISUSE_OF_AGGREGATE),
    (r"cannot contain window|window function", ErrorKind.MISUSE_OF_AGGREGATE),
    (r"same number of result columns|columns - expected|lists must all be the same", ErrorKind.COLUMN_COUNT),
    (r"expression depth|maximum recursion|stack", ErrorKind.TOO_COMPLEX),
    (r"term out of range", ErrorKind.SYNTAX),
    (r"more than one row returned", ErrorKind.OTHER),
    (r"could not choose a best candidate|explicit type cast|cannot compare|cannot combine", ErrorKind.TYPE),
    (r"cannot mix values|cannot be cast|could not convert|overflow|out of range|malformed json", ErrorKind.TYPE),
)  # fmt: skip
_FORBIDDEN = re.compile(
    r"^invalid input error: (?:cannot execute statement of type|.*configuration has been locked$)"
    r"|disabled (?:through|by) configuration$"
)
_WRITTEN_TO = "IO Error: Could not set lock on file"  # by another process
_QUOTED_STATEMENT = "\n\nLINE "  # with which a message may end
_KINDS = [(re.compile(pattern, re.DOTALL), kind) for pattern, kind in _MESSAGES]


def confine(limits: Limits) -> None:
    """Memory for DuckDB's buffers and results; no file can grow.

    Not address space: each of DuckDB's eight threads makes glibc reserve 64 MB of it.
    """
    limit_process(data_mb=limits.memory_mb, file_bytes=0, open_files=64)


def open_engine(url: str, limits: Limits, alive: Callable[[bool], None]) -> DuckDB:
    """The file behind `duckdb:///PATH`. Nothing is opened before the first statement."""
    return DuckDB(file_of(url), limits, alive)


def open_read_only(path: Path, memory_mb: int) -> duckdb.DuckDBPyConnection:
    """A connection that can read this file and nothing else."""
    if not path.is_file():  # DuckDB's own message depends on what is there instead
        raise duckdb.IOException(f"cannot open {path}: it is not a file")
    connection = duckdb.connect(
        str(path.absolute()),
        read_only=True,
        config={**_CONFIGURATION, "memory_limit": f"{memory_mb}MiB"},
    )
    for lock in _LOCKS:
        connection.execute(lock)
    return connection


class DuckDB:
    """One database file, kept open until it changes."""

    def __init__(self, path: Path, limits: Limits, alive: Callable[[bool], None]) -> None:
        self._path = path
        self._limits = limits
        self._alive = alive
        self._state = _state(path)
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._watchdog = Watchdog()

    def state(self) -> tuple[tuple[int, int, int, int] | None, ...]:
        """The file as it is now; a connection to an earlier one is closed."""
        state = _state(self._path)
        if state != self._state:
            self._drop()
            self._state = state
        return state

    def close(self) -> None:
        self._drop()
        self._watchdog.close()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def run(self, sql: str, budget: Budget) -> Ran:
        """Execute a statement; whatever goes wrong is in the answer."""
        if self._connection is None and (failed := self._open()):
            return failed
        assert self._connection is not None
        try:
            return self._fetch(self._connection, sql, budget)
        except (MemoryError, duckdb.OutOfMemoryException):
            self._drop()  # or it keeps the memory that the next statement needs
            return Ran(outcome=Outcome.TOO_LARGE, detail="memory")
        except (duckdb.InternalException, duckdb.FatalException):
            self._drop()  # it refuses all further work
            return Ran(outcome=Outcome.ERROR, detail=ErrorKind.OTHER)
        except duckdb.Error as error:
            return _refusal(error)
        except (UnicodeError, ValueError, OverflowError):
            return Ran(outcome=Outcome.ERROR, detail=ErrorKind.TYPE)

    def _open(self) -> Ran | None:
        """Connect to the file; what went wrong where that fails."""
        self._alive(False)
        try:
            self._watchdog.start()
            self._connection = open_read_only(self._path, self._limits.memory_mb // 2)
        except (MemoryError, RuntimeError, duckdb.OutOfMemoryException):  # no memory for a thread
            return Ran(outcome=Outcome.INFRA, detail=NO_MEMORY)
        except duckdb.Error as error:
            # Only its beginning, since a message names files, and a file may be called anything.
            if str(error).startswith(_WRITTEN_TO):
                return Ran(outcome=Outcome.INFRA, detail="locked")
            return Ran(outcome=Outcome.ERROR, detail=ErrorKind.DATABASE)
        if _state(self._path) != self._state:
            self._drop()  # gold results are kept under the state that we were asked for
            return Ran(outcome=Outcome.INFRA, detail="changed")
        self._alive(True)
        return None

    def _fetch(self, connection: duckdb.DuckDBPyConnection, sql: str, budget: Budget) -> Ran:
        cursor = connection.cursor()
        try:
            stop = partial(_interrupt, cursor)
            # Twice: DuckDB forgets an interrupt that comes just before it begins.
            steps = [(budget.timeout_s, stop), (1.2 * budget.timeout_s, stop)]
            with self._watchdog.watching(steps) as watch:
                statements = cursor.extract_statements(sql)
                if len(statements) != 1 or statements[0].type is not duckdb.StatementType.SELECT:
                    return Ran(outcome=Outcome.DENIED, detail="statement")
                cursor.execute(statements[0])
                columns = tuple([column[0] for column in cursor.description or ()])
                rows: list[tuple[Any, ...]] = []
                size = 0
                while chunk := plain_rows(cursor.fetchmany(_CHUNK_ROWS)):
                    rows += chunk
                    size += row_bytes(chunk, len(columns))
                    if len(rows) > self._limits.max_rows:
                        return Ran(outcome=Outcome.TOO_LARGE, detail="rows")
                    if size > self._limits.max_bytes:
                        return Ran(outcome=Outcome.TOO_LARGE, detail="bytes")
            if watch.acted:
                return Ran(outcome=Outcome.TIMEOUT, detail="wall")
            return Ran(columns, rows, size=size)
        finally:
            cursor.close()


def _interrupt(cursor: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.Error):  # it was closed just now
        cursor.interrupt()


def _refusal(error: duckdb.Error) -> Ran:
    message = str(error).partition(_QUOTED_STATEMENT)[0].lower()
    if isinstance(error, duckdb.InterruptException):
        return Ran(outcome=Outcome.TIMEOUT, detail="wall")
    if isinstance(error, duckdb.PermissionException) or _FORBIDDEN.search(message):
        return Ran(outcome=Outcome.DENIED, detail="configuration")
    for pattern, kind in _KINDS:
        if pattern.search(message):
            return Ran(outcome=Outcome.ERROR, detail=kind)
    if isinstance(error, duckdb.ParserException | duckdb.SyntaxException):
        return Ran(outcome=Outcome.ERROR, detail=ErrorKind.SYNTAX)
    if isinstance(
        error,
        duckdb.ConversionException
        | duckdb.TypeMismatchException
        | duckdb.OutOfRangeException
        | duckdb.InvalidInputException,
    ):
        return Ran(outcome=Outcome.ERROR, detail=ErrorKind.TYPE)
    if isinstance(error, duckdb.IOException | duckdb.SerializationException):
        return Ran(outcome=Outcome.ERROR, detail=ErrorKind.DATABASE)
    return Ran(outcome=Outcome.ERROR, detail=ErrorKind.OTHER)


def _state(path: Path) -> tuple[tuple[int, int, int, int] | None, ...]:
    return tuple(_stat(name) for name in (str(path), f"{path}{_LOG}"))


def _stat(name: str) -> tuple[int, int, int, int] | None:
    try:
        status = os.stat(name)
    except OSError:  # what is wrong with a file is for DuckDB to say
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

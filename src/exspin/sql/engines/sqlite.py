"""SQLite files: read and nothing else, within limits that do not depend on the clock.

Layers, outermost last: SQLite's own limits; an authorizer that allows reading and nothing else, set before the first
statement is prepared; read-only, query-only connections to quoted `file:` URIs; a progress handler that counts
instructions and watches the time; caps on rows and bytes while rows are fetched; a heap limit; process limits (address
space, no file can grow, few handles, no core dump). One SQLite instruction can run for minutes without a callback
(`instr` on long blobs): only the parent's kill ends that.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from sys import getsizeof
from typing import Any, Self
from urllib.parse import quote

from exspin.records import Outcome
from exspin.sql.engines import Budget, ErrorKind, Limits, Ran
from exspin.sql.engines.confine import limit_process
from exspin.urls import file_of

_ROW_BYTES = 56  # what a row takes beside its cells
_POINTER_BYTES = 8
_TICK = 10_000  # instructions between two looks at the clock
_LOGS = ("-wal", "-journal")

_FORBIDDEN_FUNCTIONS = frozenset(
    {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "writeblob"}
)
_ALLOWED_ACTIONS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})

_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 50_000_000,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 2_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 1_000_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 10,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}

# What SQLite says, in the order to look for it.
_MESSAGES = (
    ("no such table", ErrorKind.NO_SUCH_TABLE),
    ("no such column", ErrorKind.NO_SUCH_COLUMN),
    ("cannot join using column", ErrorKind.NO_SUCH_COLUMN),
    ("ambiguous column", ErrorKind.AMBIGUOUS_COLUMN),
    ("ambiguous reference", ErrorKind.AMBIGUOUS_COLUMN),
    ("no such function", ErrorKind.NO_SUCH_FUNCTION),
    ("wrong number of arguments", ErrorKind.WRONG_ARGUMENTS),
    ("number of bindings", ErrorKind.WRONG_ARGUMENTS),
    ("misuse of", ErrorKind.MISUSE_OF_AGGREGATE),
    ("aggregate functions are not allowed", ErrorKind.MISUSE_OF_AGGREGATE),
    ("group by clause is required", ErrorKind.MISUSE_OF_AGGREGATE),
    ("having clause on a non-aggregate", ErrorKind.MISUSE_OF_AGGREGATE),
    ("number of result columns", ErrorKind.COLUMN_COUNT),
    ("columns - expected", ErrorKind.COLUMN_COUNT),
    ("same number of terms", ErrorKind.COLUMN_COUNT),
    ("row value misused", ErrorKind.COLUMN_COUNT),
    ("parser stack overflow", ErrorKind.TOO_COMPLEX),
    ("expression tree is too large", ErrorKind.TOO_COMPLEX),
    ("too many", ErrorKind.TOO_COMPLEX),
    ("too complex", ErrorKind.TOO_COMPLEX),
    ("query string is too large", ErrorKind.TOO_COMPLEX),
    ("syntax error", ErrorKind.SYNTAX),
    ("incomplete input", ErrorKind.SYNTAX),
    ("unrecognized token", ErrorKind.SYNTAX),
    ("null character", ErrorKind.SYNTAX),
    ("one statement at a time", ErrorKind.SYNTAX),
    ("should come after", ErrorKind.SYNTAX),
    ("clause is required", ErrorKind.SYNTAX),
    ("does not match any column", ErrorKind.SYNTAX),
    ("term out of range", ErrorKind.SYNTAX),
    ("mismatch", ErrorKind.TYPE),
    ("integer overflow", ErrorKind.TYPE),
    ("malformed json", ErrorKind.TYPE),
    ("unable to open database", ErrorKind.DATABASE),
    ("not a database", ErrorKind.DATABASE),
    ("malformed", ErrorKind.DATABASE),
    ("disk i/o", ErrorKind.DATABASE),
    ("vtable constructor failed", ErrorKind.VIRTUAL_TABLE),
    ("no such module", ErrorKind.VIRTUAL_TABLE),
)


def confine(limits: Limits) -> None:
    """Memory for results and SQLite's heap; nothing is written, and little is open at a time."""
    limit_process(memory_mb=limits.memory_mb, file_bytes=0, open_files=64)
    with sqlite3.connect(":memory:") as connection:  # the limit holds for the whole process
        connection.execute(f"PRAGMA hard_heap_limit={limits.memory_mb << 19}")
    connection.close()


def open_engine(url: str, limits: Limits, alive: Callable[[bool], None]) -> SQLite:
    """The file behind `sqlite:///PATH`. Nothing is opened before the first statement."""
    return SQLite(str(file_of(url)), limits, alive)


def open_backwards(url: str, limits: Limits, alive: Callable[[bool], None]) -> SQLite:
    """The same file, where rows that nothing orders come in the other direction."""
    return SQLite(str(file_of(url)), limits, alive, backwards=True)


class SQLite:
    """One database file: opened read-only, kept open until the file changes."""

    def __init__(
        self,
        path: str,
        limits: Limits,
        alive: Callable[[bool], None] = lambda _: None,
        *,
        backwards: bool = False,
    ) -> None:
        self._backwards = backwards
        self._path = path
        self._limits = limits
        self._alive = alive
        self._source = Source.at(path)
        self._connection: sqlite3.Connection | None = None
        self._begin(Budget(limits.timeout_s))

    def state(self) -> Source:
        """The file as it is now; a connection to an earlier one is closed."""
        source = Source.at(self._path)
        if source != self._source:
            self.close()
            self._source = source
        return source

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def run(self, sql: str, budget: Budget) -> Ran:
        """Execute a statement; whatever goes wrong is in the answer."""
        self._begin(budget)
        try:
            connection = self._connection
            if connection is None:
                self._alive(False)
                connection = self._connection = self._open()
                self._begin_anew(budget)
            try:
                return self._fetch(connection, sql)
            except sqlite3.OperationalError as error:
                if "decode" not in str(error).lower():
                    raise
                connection.text_factory = (
                    _tolerant_text  # some databases hold text that is not UTF-8
                )
                # With all its limits anew, or the outcome would depend on what ran on this connection before.
                self._begin_anew(budget)
                return self._fetch(connection, sql)
        except MemoryError:
            return Ran(outcome=Outcome.TOO_LARGE, detail="memory")
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            return self._refusal(error)

    def _begin(self, budget: Budget) -> None:
        self._deadline = time.monotonic() + budget.timeout_s
        self._ticks = 0
        self._ticks_allowed = (
            1 << 62 if budget.operations is None else -(-budget.operations // _TICK)
        )

    def _begin_anew(self, budget: Budget) -> None:
        self._begin(budget)
        self._alive(True)

    def _tick(self) -> bool:
        """Called by SQLite every so many instructions; true stops the statement."""
        self._ticks += 1
        return self._ticks >= self._ticks_allowed or time.monotonic() > self._deadline

    def _fetch(self, connection: sqlite3.Connection, sql: str) -> Ran:
        cursor = connection.execute(sql)
        try:
            columns = tuple([column[0] for column in cursor.description or ()])
            rows: list[tuple[Any, ...]] = []
            size = 0
            wanted = 64
            while True:
                chunk = cursor.fetchmany(wanted)
                rows += chunk
                size += sum(map(getsizeof, chain.from_iterable(chunk)))
                size += len(chunk) * (_ROW_BYTES + _POINTER_BYTES * len(columns))
                if len(rows) > self._limits.max_rows:
                    return Ran(outcome=Outcome.TOO_LARGE, detail="rows")
                if size > self._limits.max_bytes:
                    return Ran(outcome=Outcome.TOO_LARGE, detail="bytes")
                if len(chunk) < wanted:
                    break
                wanted = 512
            return Ran(columns, rows, size=size, operations=(self._ticks + 1) * _TICK)
        finally:
            cursor.close()

    def _open(self) -> sqlite3.Connection:
        if self._source.abandoned:
            raise sqlite3.OperationalError("unable to open database file: its log has no index")
        # No statement is kept: one that ran before would begin with its count of instructions.
        connection = sqlite3.connect(
            self._source.uri, uri=True, isolation_level=None, cached_statements=0
        )
        for limit, value in _LIMITS.items():
            connection.setlimit(limit, value)
        for pragma in (
            "query_only=1",
            "trusted_schema=0",
            "cell_size_check=1",
            "temp_store=MEMORY",
            "mmap_size=0",
            f"reverse_unordered_selects={self._backwards:d}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        connection.set_progress_handler(self._tick, _TICK)
        _prepare_json(connection)
        connection.set_authorizer(_authorize)
        return connection

    def _refusal(self, error: Exception) -> Ran:
        code = getattr(error, "sqlite_errorcode", None)
        message = str(error).lower()
        if code == sqlite3.SQLITE_INTERRUPT:
            counted = self._ticks >= self._ticks_allowed
            return Ran(outcome=Outcome.TIMEOUT, detail="operations" if counted else "wall")
        if code == sqlite3.SQLITE_NOMEM:
            return Ran(outcome=Outcome.TOO_LARGE, detail="memory")
        if code == sqlite3.SQLITE_TOOBIG or "too big" in message:
            return Ran(outcome=Outcome.TOO_LARGE, detail="value")
        if code in (sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY) or "not authorized" in message:
            return Ran(outcome=Outcome.DENIED, detail="authorizer")
        if message.removeprefix("no such function: ") in _FORBIDDEN_FUNCTIONS:
            return Ran(outcome=Outcome.DENIED, detail="function")
        kind = next((kind for part, kind in _MESSAGES if part in message), ErrorKind.OTHER)
        return Ran(outcome=Outcome.ERROR, detail=kind)


@dataclass(frozen=True, slots=True)
class Source:
    """A database file as it was at one moment. A file that changed, or got a log beside it, is another source."""

    path: str
    state: tuple[tuple[int, int, int, int] | None, ...]

    @classmethod
    def at(cls, path: str) -> Self:
        return cls(path, tuple(_state(path + suffix) for suffix in ("", *_LOGS)))

    @property
    def uri(self) -> str:
        # A log beside the file holds data that an immutable connection would not see.
        has_log = any(log is not None and log[1] > 0 for log in self.state[1:])
        path = "/" + os.path.abspath(self.path).lstrip("/")  # two slashes would name a host
        return f"file://{quote(os.fsencode(path))}?mode=ro{'' if has_log else '&immutable=1'}"

    @property
    def abandoned(self) -> bool:
        """Is there a write-ahead log without its index? Opening the file would make one, even for reading."""
        log = self.state[1]
        return log is not None and log[1] > 0 and not os.path.exists(f"{self.path}-shm")


def _prepare_json(connection: sqlite3.Connection) -> None:
    """Let json_each and json_tree be read: SQLite sets them up by statements that the authorizer would refuse.

    What goes wrong here is met again, and answered, by the statement itself.
    """
    with suppress(sqlite3.Error):
        (shadowed,) = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE lower(name) IN ('json_each', 'json_tree')"
        ).fetchone()
        if not shadowed:
            connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')").close()


def _state(path: str) -> tuple[int, int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:  # what is wrong with a database file is for SQLite to say
        return None
    # a time of change cannot be set back, as that of writing can
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action in _ALLOWED_ACTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and str(second).lower() not in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _tolerant_text(raw: bytes) -> str:
    """Bytes that are not UTF-8 become lone surrogates, so different bytes stay different."""
    return raw.decode("utf-8", "surrogateescape")

"""The process that runs SQL nobody trusts: one JSON message a line in, one answer a line out.

Layers, outermost last: SQLite's own limits; an authorizer that allows reading and nothing else, set before the first
statement is prepared; read-only, query-only connections to quoted `file:` URIs; a progress handler that keeps the
time limit; caps on rows and bytes while rows are fetched; a heap limit; process limits (address space, no file can
grow, few handles, no core dump). One SQLite instruction can run for minutes without a callback (`instr` on long
blobs), so the parent kills this process when an answer is overdue; an alarm does it when the parent is gone.

Messages are JSON, so nothing that comes back can run code in the parent. Gold and candidate are compared here: rows
travel only for `run`. Only the standard library and this package's light modules are loaded.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from exspin.records import Outcome
from exspin.sql.compare import Mismatch, Rule, compare
from exspin.sql.ties import broken_ties

_OPEN_CONNECTIONS = 16
_KEPT_GOLD_BYTES = 32_000_000
_CELL_BYTES = 40  # what a Python value costs beside its text
_OPS_BETWEEN_CHECKS = 20_000
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


class ErrorKind(StrEnum):
    """Why the engine refused a statement: the `detail` of the outcome `error`."""

    NO_SUCH_TABLE = "no_such_table"
    NO_SUCH_COLUMN = "no_such_column"
    AMBIGUOUS_COLUMN = "ambiguous_column"
    NO_SUCH_FUNCTION = "no_such_function"
    WRONG_ARGUMENTS = "wrong_arguments"  # of a function, or a parameter left open
    MISUSE_OF_AGGREGATE = "misuse_of_aggregate"
    COLUMN_COUNT = "column_count"  # of the sides of a set operation, of a subquery, of VALUES
    SYNTAX = "syntax"
    TYPE = "type"  # a value that an operation cannot take
    TOO_COMPLEX = "too_complex"  # nesting, terms or length past the limits
    DATABASE = "database"  # the file cannot be opened or is damaged
    VIRTUAL_TABLE = "virtual_table"  # none but json_each and json_tree can be read
    OTHER = "other"


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


@dataclass(frozen=True, slots=True)
class Source:
    """A database file as it was at one moment. A file that changed, or got a log beside it, is another source."""

    path: str
    state: tuple[tuple[int, int, int] | None, ...]

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


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of one statement: `outcome` is None where it ran."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] | list[tuple[Any, ...]] = ()
    outcome: Outcome | None = None
    detail: str = ""
    size: int = 0  # estimated bytes of the rows


class Sandbox:
    """Runs one statement at a time against databases that it opens read-only and keeps open."""

    def __init__(
        self,
        timeout_s: float,
        max_rows: int,
        max_bytes: int,
        on_restart: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_restart` is called where a statement begins anew, with all its time before it."""
        self._on_restart = on_restart
        self.timeout_s = timeout_s
        self.max_rows = max_rows
        self.max_bytes = max_bytes
        self._deadline = 0.0
        self._connections: OrderedDict[tuple[Source, bool], sqlite3.Connection] = OrderedDict()

    def run(self, source: Source, sql: str, *, reverse: bool = False) -> Ran:
        """Execute a statement; whatever goes wrong is in the answer.

        With `reverse`, rows that nothing orders come in the other direction.
        """
        self._deadline = time.monotonic() + self.timeout_s
        try:
            connection = self._connect(source, reverse)
            try:
                return self._fetch(connection, sql)
            except sqlite3.OperationalError as error:
                if "decode" not in str(error).lower():
                    raise
                connection.text_factory = (
                    _tolerant_text  # some databases hold text that is not UTF-8
                )
                # With time of its own, or the outcome would depend on what ran on this connection before.
                self._deadline = time.monotonic() + self.timeout_s
                self._on_restart()
                return self._fetch(connection, sql)
        except MemoryError:
            return Ran(outcome=Outcome.TOO_LARGE, detail="memory")
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            return _refusal(error)

    def _fetch(self, connection: sqlite3.Connection, sql: str) -> Ran:
        cursor = connection.execute(sql)
        try:
            columns = tuple(column[0] for column in cursor.description or ())
            rows: list[tuple[Any, ...]] = []
            size = 0
            while chunk := cursor.fetchmany(512 if rows else 64):
                rows += chunk
                size += _bytes(chunk, len(columns))
                if len(rows) > self.max_rows:
                    return Ran(outcome=Outcome.TOO_LARGE, detail="rows")
                if size > self.max_bytes:
                    return Ran(outcome=Outcome.TOO_LARGE, detail="bytes")
            return Ran(columns, rows, size=size)
        finally:
            cursor.close()

    def _connect(self, source: Source, reverse: bool) -> sqlite3.Connection:
        key = (source, reverse)
        if connection := self._connections.get(key):
            self._connections.move_to_end(key)
            return connection
        while len(self._connections) >= _OPEN_CONNECTIONS:
            self._connections.popitem(last=False)[1].close()
        connection = self._connections[key] = self._open(source, reverse)
        return connection

    def _open(self, source: Source, reverse: bool) -> sqlite3.Connection:
        if source.abandoned:
            raise sqlite3.OperationalError("unable to open database file: its log has no index")
        connection = sqlite3.connect(
            source.uri, uri=True, isolation_level=None, cached_statements=16
        )
        for limit, value in _LIMITS.items():
            connection.setlimit(limit, value)
        for pragma in (
            "query_only=1",
            "trusted_schema=0",
            "cell_size_check=1",
            "temp_store=MEMORY",
            "mmap_size=0",
            f"reverse_unordered_selects={reverse:d}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        connection.set_progress_handler(self._overdue, _OPS_BETWEEN_CHECKS)
        _prepare_json(connection)
        connection.set_authorizer(_authorize)
        return connection

    def _overdue(self) -> bool:
        return time.monotonic() > self._deadline


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


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:  # what is wrong with a database file is for SQLite to say
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action in _ALLOWED_ACTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and str(second).lower() not in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _tolerant_text(raw: bytes) -> str:
    """Bytes that are not UTF-8 become lone surrogates, so different bytes stay different."""
    return raw.decode("utf-8", "surrogateescape")


def _bytes(rows: list[tuple[Any, ...]], width: int) -> int:
    texts = sum(
        len(cell) for row in rows for cell in row if type(cell) is str or type(cell) is bytes
    )
    return texts + len(rows) * width * _CELL_BYTES


def _refusal(error: Exception) -> Ran:
    code = getattr(error, "sqlite_errorcode", None)
    message = str(error).lower()
    if code == sqlite3.SQLITE_INTERRUPT:
        return Ran(outcome=Outcome.TIMEOUT, detail="progress")
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


class Worker:
    """Answers messages. Gold results are kept, newest first, so every gold runs once while it is needed."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._gold: OrderedDict[tuple[Source, str], Ran] = OrderedDict()
        self._gold_bytes = 0

    def judge(self, path: str, gold_sql: str, rule: Rule, candidates: Iterable[str]) -> None:
        """One answer for the gold, then one for each candidate; none for them if the gold is unusable."""
        source = Source.at(path)
        gold = self._run_gold(source, gold_sql)
        _answer([gold.outcome or "", gold.detail])
        if gold.outcome is not None:
            return
        for sql in candidates:
            self._set_alarm()
            ran = self.sandbox.run(source, sql)
            if ran.outcome is not None:
                _answer([ran.outcome, ran.detail])
                continue
            _answer(["ran"])
            try:
                widths = (len(gold.columns), len(ran.columns))
                mismatch = compare(gold.rows, ran.rows, widths, rule)
            except MemoryError:
                _answer([Outcome.TOO_LARGE, "memory"])
                continue
            _answer([Outcome.MISMATCH, mismatch] if mismatch else [Outcome.MATCH, ""])

    def run(self, path: str, sql: str) -> None:
        """Execute one statement and send its rows."""
        self._set_alarm()
        ran = self.sandbox.run(Source.at(path), sql)
        _answer(["ran"])
        try:
            rows = [[_plain(cell) for cell in row] for row in ran.rows]
            data = _encoded([ran.outcome or "", ran.detail, ran.columns, rows])
            if len(data) > self.sandbox.max_bytes:  # control characters take six times their length
                data = _encoded([Outcome.TOO_LARGE, "bytes", [], []])
            _send(data)
        except MemoryError:
            _answer([Outcome.TOO_LARGE, "memory", [], []])

    def probe(self, path: str, sql: str, rule: Rule) -> None:
        """Run a gold twice, the second time with rows that nothing orders reversed, and say how the results differ.

        Answers `[outcome, detail, rows, CPU seconds]`; if it ran also `[how, repeats, ties]`: how the second result
        differs, or what stopped it ("": it does not); whether a plain run gives the first result again; how results
        differ when the ties of its ORDER BY are broken up and down.
        """
        source = Source.at(path)
        self._set_alarm()
        began = time.process_time()
        first = self.sandbox.run(source, sql)
        seconds = time.process_time() - began
        _answer([first.outcome or "", first.detail, len(first.rows), seconds])
        if first.outcome is not None:
            return
        how = self._differs(source, sql, rule, first, reverse=True)
        repeats = not how or not self._differs(source, sql, rule, first)
        ties = ""
        if not how and (both := broken_ties(sql, len(first.columns))):
            upwards = self._run_again(source, both[0])
            if upwards.outcome is None:
                ties = self._differs(source, both[1], rule, upwards)
        _answer([how, repeats, ties if ties in list(Mismatch) else ""])

    def _differs(
        self, source: Source, sql: str, rule: Rule, first: Ran, *, reverse: bool = False
    ) -> str:
        ran = self._run_again(source, sql, reverse=reverse)
        if ran.outcome is not None:
            return ran.outcome
        try:
            return compare(first.rows, ran.rows, (len(first.columns), len(ran.columns)), rule) or ""
        except MemoryError:
            return Outcome.TOO_LARGE

    def _run_again(self, source: Source, sql: str, *, reverse: bool = False) -> Ran:
        self._set_alarm()
        ran = self.sandbox.run(source, sql, reverse=reverse)
        _answer(["ran"])
        return ran

    def _run_gold(self, source: Source, sql: str) -> Ran:
        key = (source, sql)
        if ran := self._gold.get(key):
            self._gold.move_to_end(key)
            return ran
        self._set_alarm()
        ran = self.sandbox.run(source, sql)
        if ran.outcome is None:
            self._gold[key] = ran
            self._gold_bytes += ran.size
            while self._gold_bytes > _KEPT_GOLD_BYTES:
                self._gold_bytes -= self._gold.popitem(last=False)[1].size
        return ran

    def _set_alarm(self) -> None:
        """End this process long after the parent should have done so."""
        signal.setitimer(signal.ITIMER_REAL, 6 * self.sandbox.timeout_s + 60)


def _plain(cell: Any) -> Any:
    """A cell as JSON can carry it: blobs in hex under a key, broken text mended."""
    if isinstance(cell, bytes):
        return {"blob": cell.hex()}
    if isinstance(cell, str) and not cell.isascii():
        return cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return cell


def _answer(message: list[Any]) -> None:
    """Send `[outcome, detail, …]`, or a sign of life: `["ran"]` after a statement, `[]` where one begins anew."""
    _send(_encoded(message))


def _encoded(message: list[Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _send(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


def _limit_process(memory_mb: int) -> None:
    statm = Path("/proc/self/statm")
    present = (
        int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 1 << 28
    )
    for limit, value in (
        (resource.RLIMIT_AS, present + (memory_mb << 20)),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))


def main() -> None:
    """Serve until standard input ends. The first message holds the limits."""
    limits = json.loads(sys.stdin.buffer.readline())
    _limit_process(limits["memory_mb"])
    with sqlite3.connect(":memory:") as connection:  # the limit holds for the whole process
        connection.execute(f"PRAGMA hard_heap_limit={limits['memory_mb'] << 19}")
    connection.close()
    sandbox = Sandbox(
        limits["timeout_s"], limits["max_rows"], limits["max_bytes"], lambda: _answer([])
    )
    worker = Worker(sandbox)
    _answer(["ready"])
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "run" in message:
            worker.run(message["path"], message["run"])
        elif "probe" in message:
            for gold, rule in message["probe"]:
                worker.probe(message["path"], gold, Rule(*rule))
        else:
            for gold, rule, candidates in message["tasks"]:
                worker.judge(message["path"], gold, Rule(*rule), candidates)
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()

"""PostgreSQL: one statement at a time, in a read-only transaction that is always rolled back.

A statement goes to the server in the extended protocol, which takes exactly one, and its rows arrive in chunks, so that
one time limit of the server covers all of it and the caps stop it while rows arrive. After it: ROLLBACK, which undoes
settings, roles, large objects and notifications, and DISCARD ALL, which drops advisory locks, temporary tables, plans
and what is left of settings. While a statement runs the server looks every quarter second whether we are still there
(from PostgreSQL 14 on), so that nothing goes on when this process was killed.

Permissions and the read-only transaction protect the data. The list of functions below is one more layer: they reach
other sessions or files, and the reader role may be allowed some of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from select import select
from typing import Any

from exspin.errors import DatabaseError, MissingExtra
from exspin.records import Outcome
from exspin.sql.engines import Budget, ErrorKind, Limits, Ran
from exspin.sql.engines.confine import limit_process
from exspin.sql.engines.login import (
    CONNECT_S,
    Login,
    Lost,
    alone,
    parse_login,
    refuse_or_warn,
)
from exspin.sql.engines.server import ServerEngine, Session, hung_up_after, shut_down
from exspin.sql.engines.values import plain_rows, row_bytes

if find_spec("psycopg") is None:
    raise MissingExtra("PostgreSQL", "psycopg", "server")

import psycopg
from psycopg.adapt import AdaptersMap, Loader, Transformer
from psycopg.postgres import types as known_types
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from exspin.sql.engines.postgresql_rights import more_than_reading, reader_sql  # isort: skip  (needs the driver)

DRIVER = "postgresql+psycopg"
_CHUNK_ROWS = 256
_CHECK_MS = 250  # how often the server looks whether we are there
_COPIES = (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH)
_WITH_ROWS = (ExecStatus.TUPLES_CHUNK, ExecStatus.SINGLE_TUPLE, ExecStatus.TUPLES_OK)
_QUICK_S = 1  # to cancel or end a session from beside

_FORBIDDEN = re.compile(
    r"""\b( pg_(?:terminate|cancel)_backend | pg_(?:try_)?advisory_\w+ | pg_read_(?:binary_)?file | pg_ls_\w+ | pg_stat_file
    | pg_file_\w+ | pg_(?:reload_conf|rotate_logfile|switch_wal|promote|create_restore_point|log_backend_memory_contexts)
    | pg_logical_\w+ | pg_replication_\w+ | pg_(?:start|stop)_backup | pg_backup_(?:start|stop)
    | lo_\w+ | lowrite | dblink\w* | (?:query|table|schema|database|cursor)_to_xml\w* )"?\s*\(""",
    re.IGNORECASE | re.VERBOSE,
)

# What the server calls it (https://www.postgresql.org/docs/current/errcodes-appendix.html), longest beginning first.
_STATES: dict[str, tuple[Outcome, str]] = {
    "42P01": (Outcome.ERROR, ErrorKind.NO_SUCH_TABLE),
    "3F000": (Outcome.ERROR, ErrorKind.NO_SUCH_TABLE),
    "42703": (Outcome.ERROR, ErrorKind.NO_SUCH_COLUMN),
    "42702": (Outcome.ERROR, ErrorKind.AMBIGUOUS_COLUMN),
    "42712": (Outcome.ERROR, ErrorKind.AMBIGUOUS_COLUMN),  # one name for two tables
    "42883": (Outcome.ERROR, ErrorKind.NO_SUCH_FUNCTION),
    "42725": (Outcome.ERROR, ErrorKind.WRONG_ARGUMENTS),
    "42P02": (Outcome.ERROR, ErrorKind.WRONG_ARGUMENTS),  # an open parameter
    "08P01": (Outcome.ERROR, ErrorKind.WRONG_ARGUMENTS),  # the same, found later
    "42803": (Outcome.ERROR, ErrorKind.MISUSE_OF_AGGREGATE),
    "42P20": (Outcome.ERROR, ErrorKind.MISUSE_OF_AGGREGATE),
    "42601": (Outcome.ERROR, ErrorKind.SYNTAX),
    "42602": (Outcome.ERROR, ErrorKind.SYNTAX),
    "42622": (Outcome.ERROR, ErrorKind.SYNTAX),
    "42P10": (Outcome.ERROR, ErrorKind.SYNTAX),  # ORDER BY 7
    "22021": (Outcome.ERROR, ErrorKind.SYNTAX),
    "42804": (Outcome.ERROR, ErrorKind.TYPE),
    "42846": (Outcome.ERROR, ErrorKind.TYPE),
    "42P18": (Outcome.ERROR, ErrorKind.TYPE),
    "42P22": (Outcome.ERROR, ErrorKind.TYPE),
    "22": (Outcome.ERROR, ErrorKind.TYPE),
    "54": (Outcome.ERROR, ErrorKind.TOO_COMPLEX),
    "25006": (Outcome.DENIED, "read_only"),
    "42501": (Outcome.DENIED, "privilege"),
    "57014": (Outcome.TIMEOUT, "wall"),
    "53200": (Outcome.TOO_LARGE, "memory"),
    "53400": (Outcome.TOO_LARGE, "memory"),  # temp_file_limit of the role
    "55P03": (Outcome.INFRA, "lock"),  # somebody changes the table just now
    "08": (Outcome.INFRA, "connection_lost"),
    "53": (Outcome.INFRA, "server_resources"),
    "57P": (Outcome.INFRA, "connection_lost"),
    "58": (Outcome.INFRA, "server_failed"),
    "40": (Outcome.INFRA, "conflict"),
}
_COLUMN_COUNTS = ("transformSetOperationTree", "transformSubLink", "transformValuesClause")

# Words of a connection that may succeed later; what else the server answers is for the user to mend.
_TRANSIENT = re.compile(
    r"too many (?:clients|connections)|connection slots|starting up|shutting down|recovery|refused|time.?out|timed out|"
    r"reset by peer|closed the connection|could not receive|unreachable|no route",
    re.IGNORECASE,
)
_OLD_SERVER = re.compile(r"client_connection_check_interval")


def confine(limits: Limits) -> None:
    """Memory for results; no file can grow."""
    limit_process(memory_mb=limits.memory_mb, file_bytes=0, open_files=64)


def open_engine(url: str, limits: Limits, alive: Callable[[bool], None]) -> ServerEngine:
    """The database behind `postgresql://…`."""
    login = parse_login(url, DRIVER)

    def log_in() -> Session:
        return PostgreSQLSession(
            connect(login, limits, adapters=_adapters()), login, limits.timeout_s
        )

    return ServerEngine(limits, alive, log_in, forbidden)


def forbidden(sql: str) -> str | None:
    """The rule that keeps a statement from being sent, if any."""
    return "function" if _FORBIDDEN.search(sql) else None


def connect(
    login: Login, limits: Limits, adapters: AdaptersMap | None = None
) -> psycopg.Connection[Any]:
    """A read-only connection. Raises `DatabaseError` where the user has to mend something, else `Lost`."""
    try:
        return _connected(login, limits, adapters)
    except (DatabaseError, Lost) as error:
        failure = error
    raise alone(failure)


def _connected(
    login: Login, limits: Limits, adapters: AdaptersMap | None
) -> psycopg.Connection[Any]:
    for check in (True, False):
        arguments = {
            "connect_timeout": CONNECT_S,
            "application_name": "exspin",
            **login.arguments,
            "client_encoding": "utf8",
            "options": f"{login.arguments.get('options', '')} {_options(limits, check)}".strip(),
        }
        context = _Context(adapters) if adapters is not None else None
        try:
            connection = psycopg.connect(
                **arguments, autocommit=True, prepare_threshold=None, context=context
            )
        except psycopg.Error as error:
            if check and _OLD_SERVER.search(str(error)):
                continue  # before PostgreSQL 14
            if _TRANSIENT.search(str(error)):
                raise Lost(_why(str(error))) from None
            raise login.refused(error) from None
        except ValueError as error:
            raise login.refused(error) from None
        break
    try:
        with hung_up_after(CONNECT_S, lambda: _hang_up(connection)):
            if why := more_than_reading(connection):
                cure = reader_sql(connection, login)
                refuse_or_warn(login, why, cure, allowed=limits.allow_privileged)
    except psycopg.Error as error:
        connection.close()
        raise Lost(f"connection_lost: {login.tell(error)}") from None
    except DatabaseError:
        connection.close()
        raise
    return connection


def _options(limits: Limits, check: bool) -> str:
    """Settings of the session. RESET ALL goes back to these."""
    limit = round(limits.timeout_s * 1000)
    settings = {
        "default_transaction_read_only": "on",
        "statement_timeout": limit,
        "lock_timeout": max(1, limit // 2),
        "idle_in_transaction_session_timeout": 4 * limit + 10_000,
        "timezone": "UTC",
        "datestyle": "ISO",
        "intervalstyle": "postgres",
        "bytea_output": "hex",
        "extra_float_digits": 1,
        "synchronize_seqscans": "off",
        "max_parallel_workers_per_gather": 0,
        **({"client_connection_check_interval": _CHECK_MS} if check else {}),
    }
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def _why(message: str) -> str:
    crowded = re.search(r"too many|connection slots", message, re.IGNORECASE)
    return "too_many_connections" if crowded else "no_connection"


def _hang_up(connection: psycopg.Connection[Any]) -> None:
    try:
        descriptor = os.dup(connection.pgconn.socket)
    except (psycopg.Error, OSError):
        return  # it is closed already
    shut_down(descriptor)


class _NoRows(Exception):
    """What ran was no query: comments end elsewhere for the server than for the gate (`/* /* */`, a carriage return)."""


class PostgreSQLSession(Session):
    """One connection to a server."""

    def __init__(self, connection: psycopg.Connection[Any], login: Login, usual_s: float) -> None:
        self._connection = connection
        self._login = login
        self._usual_s = usual_s  # the time limit of the session
        self._pid = connection.info.backend_pid

    def begin(self, budget: Budget) -> None:
        begin = "BEGIN READ ONLY"
        if budget.timeout_s != self._usual_s:
            begin += f"; SET LOCAL statement_timeout = {round(budget.timeout_s * 1000)}"
        try:
            self._connection.execute(begin)
        except psycopg.Error as error:
            raise Lost("connection_lost") from error

    def run(self, sql: str, limits: Limits) -> Ran:
        try:
            return self._fetch(sql, limits)
        except MemoryError:
            return Ran(outcome=Outcome.TOO_LARGE, detail="memory")
        except _NoRows:
            return Ran(outcome=Outcome.DENIED, detail="statement")
        except psycopg.Error as error:
            return self._refusal(error, sql)
        except (UnicodeError, ValueError, OverflowError):
            return Ran(outcome=Outcome.ERROR, detail=ErrorKind.TYPE)

    def _fetch(self, sql: str, limits: Limits) -> Ran:
        # Not by a cursor: its `stream` does not tell the columns of a result without rows.
        transformer = Transformer(self._connection)
        columns: tuple[str, ...] | None = None
        rows: list[tuple[Any, ...]] = []
        size = 0
        for result in self._results(sql):
            transformer.set_pgresult(result, set_loaders=columns is None)
            if columns is None:
                names = [result.fname(place) or b"" for place in range(result.nfields)]
                columns = tuple([name.decode("utf-8", "replace") for name in names])
            chunk = plain_rows(transformer.load_rows(0, result.ntuples, tuple))
            rows += chunk
            size += row_bytes(chunk, len(columns))
            if len(rows) > limits.max_rows or size > limits.max_bytes:
                self._abandon()
                over = "rows" if len(rows) > limits.max_rows else "bytes"
                return Ran(outcome=Outcome.TOO_LARGE, detail=over)
        return Ran(columns or (), rows, size=size)

    def _results(self, sql: str) -> Iterator[PGresult]:
        """Send one statement and give its rows as they arrive, in chunks; the last one may be empty."""
        wire = self._connection.pgconn
        wire.send_query_params(sql.encode(), None)
        if psycopg.capabilities.has_stream_chunked():
            wire.set_chunked_rows_mode(_CHUNK_ROWS)
        else:
            wire.set_single_row_mode()
        while result := self._next():
            if result.status in _COPIES:  # the session is closed, since it takes nothing else now
                raise _NoRows
            if result.status not in _WITH_ROWS:
                self._take_in()
                if result.status != ExecStatus.FATAL_ERROR:
                    raise _NoRows
                raise psycopg.errors.error_from_result(result, encoding="utf-8")
            yield result

    def _next(self) -> PGresult | None:
        wire = self._connection.pgconn
        while wire.flush():
            select([wire.socket], [wire.socket], [])
            wire.consume_input()
        while wire.is_busy():  # the thread sleeps here, where the watchdog can act
            select([wire.socket], [], [])
            wire.consume_input()
        return wire.get_result()

    def _abandon(self) -> None:
        """Stop the statement whose rows are too many; `reset` tells whether that went well."""
        self.cancel()
        self._take_in()

    def _take_in(self) -> None:
        """Read what the server still has to say of a statement, so that it takes the next one."""
        while self._next() is not None:
            pass

    def _refusal(self, error: psycopg.Error, sql: str) -> Ran:
        state = error.sqlstate
        if state is None:
            if "memory" in str(error).lower():  # ours: a result that does not fit
                return Ran(outcome=Outcome.TOO_LARGE, detail="memory")
            if isinstance(error, psycopg.OperationalError):
                return Ran(outcome=Outcome.INFRA, detail="connection_lost")
            return Ran(outcome=Outcome.ERROR, detail=ErrorKind.TYPE)
        outcome, detail = next(
            (_STATES[state[:length]] for length in (5, 3, 2) if state[:length] in _STATES),
            (Outcome.ERROR, ErrorKind.OTHER),
        )
        # The server's own words may be in any language; the names of its functions are not.
        where = error.diag.source_function
        if state == "42601" and where in _COLUMN_COUNTS:
            detail = ErrorKind.COLUMN_COUNT
        elif state == "42P01" and where == "errorMissingRTE":  # x.name, and no x in FROM
            detail = ErrorKind.NO_SUCH_COLUMN
        elif state == "42883":
            detail = self._unknown_function(sql, error.diag.statement_position)
        return Ran(outcome=outcome, detail=detail)

    def _unknown_function(self, sql: str, position: str | None) -> ErrorKind:
        """The server says the same of a name it does not know and of arguments that do not fit."""
        place = int(position) - 1 if position else 0
        name = re.match(r'(?:"?\w+"?\.)?"?(\w+)"?\s*\(', sql[place:])
        if name is None:
            return ErrorKind.TYPE  # an operator between values that it cannot take
        try:
            self._connection.execute("ROLLBACK")
            known = self._connection.execute(
                "SELECT 1 FROM pg_catalog.pg_proc WHERE proname = pg_catalog.lower(%s)", [name[1]]
            ).fetchone()
        except psycopg.Error:
            known = None  # `reset` will meet it again
        return ErrorKind.WRONG_ARGUMENTS if known else ErrorKind.NO_SUCH_FUNCTION

    def reset(self) -> None:
        try:
            self._connection.execute("ROLLBACK")
            self._connection.execute("DISCARD ALL")
        except psycopg.Error as error:
            raise Lost("connection_lost") from error

    def cancel(self) -> None:
        try:
            self._connection.cancel_safe(timeout=_QUICK_S)
        except psycopg.Error:
            return  # the next step is harder

    def terminate(self) -> None:
        arguments = {**self._login.arguments, "connect_timeout": _QUICK_S + 1}
        try:
            with psycopg.connect(**arguments, autocommit=True) as beside:
                beside.execute("SELECT pg_catalog.pg_terminate_backend(%s)", [self._pid])
        except psycopg.Error:
            return  # no connection left for us; the next step needs none

    def hang_up(self) -> None:
        _hang_up(self._connection)

    def close(self) -> None:
        self._connection.close()


class _Context:
    """How values are read, for psycopg's `context`."""

    def __init__(self, adapters: AdaptersMap) -> None:
        self.adapters = adapters
        self.connection = None


class _Text(Loader):
    """The server's own text: dates have no limits there as Python's have."""

    def load(self, data: Any) -> str:
        return bytes(data).decode("utf-8", "surrogateescape")


class _UTC(Loader):
    """A moment with its zone; sessions are in UTC, so the text ends in +00."""

    def load(self, data: Any) -> str:
        text = bytes(data).decode("ascii")
        return f"{text}:00" if text.endswith("+00") else text


def _adapters() -> AdaptersMap:
    adapters = AdaptersMap(psycopg.adapters)
    for name in ("date", "time", "timetz", "timestamp", "json", "jsonb", "uuid", "inet", "cidr"):
        adapters.register_loader(name, _Text)
    adapters.register_loader("timestamptz", _UTC)
    for kind in known_types:
        if kind.name.endswith("range"):
            adapters.register_loader(kind.name, _Text)
    return adapters

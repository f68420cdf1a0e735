"""MySQL and MariaDB: one statement at a time, in a read-only transaction, on a connection that is reset after it.

Rows arrive unbuffered, so that the caps stop them. The server keeps the time limit (`max_statement_time` of MariaDB,
`max_execution_time` of MySQL). COM_RESET_CONNECTION afterwards rolls back, drops temporary tables, user variables and named
locks and puts the session's settings back to the server's; ours are set again. The protocol takes one statement a
message, LOAD DATA LOCAL is off, and a cell is no longer than the server's `max_allowed_packet`.

MySQL does not notice that its client is gone while it computes. What this process cannot cancel any more ends at the
server's own limit; hints that would lift that limit are refused, and so are comments that the server executes.

Permissions and the read-only transaction protect the data; `_FORBIDDEN` is one more layer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, cast

from exspin.errors import DatabaseError, MissingExtra
from exspin.records import Outcome
from exspin.sql.engines import Budget, ErrorKind, Limits, Ran
from exspin.sql.engines.confine import limit_process
from exspin.sql.engines.login import (
    CONNECT_S,
    READER,
    Login,
    Lost,
    alone,
    parse_login,
    refuse_or_warn,
)
from exspin.sql.engines.server import ServerEngine, Session, shut_down
from exspin.sql.engines.values import plain_rows, row_bytes, trimmed

if find_spec("pymysql") is None:
    raise MissingExtra("MySQL", "pymysql", "server")

import pymysql
from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions
from pymysql.cursors import SSCursor

DRIVER = "mysql+pymysql"
_CHUNK_ROWS = 256
_QUICK_S = 1
_RESET_CONNECTION = 0x1F  # the protocol's COM_RESET_CONNECTION, which the driver has no name for

# Text in which words are not code: literals, and comments that are not executed.
_NO_CODE = re.compile(
    r"""'(?:[^'\\]|\\.|'')*(?:'|\Z) | "(?:[^"\\]|\\.|"")*(?:"|\Z) | `[^`]*(?:`|\Z) | (?:--[\s]|\#)[^\n]* | /\*(?!M?!|\+).*?(?:\*/|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_FORBIDDEN = (
    ("executable_comment", re.compile(r"/\*M?!")),
    ("hint", re.compile(r"/\*\+.*?(?:MAX_EXECUTION_TIME|SET_VAR|RESOURCE_GROUP)", re.I | re.S)),
    ("file", re.compile(r"\bINTO\s+(?:OUTFILE|DUMPFILE)\b|\bLOAD_FILE\s*\(", re.IGNORECASE)),
    (
        "lock",
        re.compile(
            r"\bFOR\s+(?:UPDATE|SHARE)\b|\bLOCK\s+IN\s+SHARE\b|\b(?:GET_LOCK|RELEASE_LOCK|RELEASE_ALL_LOCKS"
            r"|IS_FREE_LOCK|IS_USED_LOCK|MASTER_POS_WAIT|MASTER_GTID_WAIT|SOURCE_POS_WAIT|WAIT_FOR_EXECUTED_GTID_SET)\s*\(",
            re.IGNORECASE,
        ),
    ),
    ("write", re.compile(r"\bINTO\s+@", re.IGNORECASE)),
    ("function", re.compile(r"\b(?:NEXTVAL|SETVAL|SYS_EXEC|SYS_EVAL)\s*\(", re.IGNORECASE)),
)

# https://mariadb.com/docs/server/reference/error-codes; numbers past 1900 differ between MariaDB (1900s, 4000s) and MySQL (3000s).
_CODES: dict[int, tuple[Outcome, str]] = {
    **dict.fromkeys((1146, 1051, 1049), (Outcome.ERROR, ErrorKind.NO_SUCH_TABLE)),
    **dict.fromkeys((1054, 1109), (Outcome.ERROR, ErrorKind.NO_SUCH_COLUMN)),
    **dict.fromkeys((1052, 1066), (Outcome.ERROR, ErrorKind.AMBIGUOUS_COLUMN)),
    **dict.fromkeys((1305, 1128, 1630, 1370), (Outcome.ERROR, ErrorKind.NO_SUCH_FUNCTION)),
    **dict.fromkeys((1582, 1318, 1583, 1584), (Outcome.ERROR, ErrorKind.WRONG_ARGUMENTS)),
    **dict.fromkeys(
        (1111, 1055, 1140, 1056, 3593, 4015), (Outcome.ERROR, ErrorKind.MISUSE_OF_AGGREGATE)
    ),
    **dict.fromkeys((1222, 1241, 1136), (Outcome.ERROR, ErrorKind.COLUMN_COUNT)),
    **dict.fromkeys((1064, 1149, 1065, 1248, 1221, 1327), (Outcome.ERROR, ErrorKind.SYNTAX)),
    **dict.fromkeys(
        (1690, 1292, 1365, 1366, 1411, 1267, 1271, 1270, 1139, 1300, 3140, 3141, 4038, 3854, 4079),
        (Outcome.ERROR, ErrorKind.TYPE),
    ),
    **dict.fromkeys(
        (1436, 1116, 1117, 1390, 1473, 4024, 1153, 1059), (Outcome.ERROR, ErrorKind.TOO_COMPLEX)
    ),
    **dict.fromkeys((1142, 1143, 1044, 1045, 1227, 1095, 1290), (Outcome.DENIED, "privilege")),
    1792: (Outcome.DENIED, "read_only"),
    **dict.fromkeys((1969, 3024, 1317), (Outcome.TIMEOUT, "wall")),
    **dict.fromkeys((1037, 1038, 1041, 1114, 1206), (Outcome.TOO_LARGE, "memory")),
    **dict.fromkeys((1205, 1213), (Outcome.INFRA, "lock")),
    **dict.fromkeys((1021, 1030, 1026, 3), (Outcome.INFRA, "server_resources")),
    **dict.fromkeys(
        (0, 2006, 2013, 2014, 2027, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1927),
        (Outcome.INFRA, "connection_lost"),
    ),
}
_CROWDED = (1040, 1203, 1226)  # too many connections, of all or of this user
_TRANSIENT = (*_CROWDED, 1053, 1129, 1158, 1159, 1160, 1161, 2006, 2013)
_NOBODY_THERE = (2002, 2003)  # refused, unreachable, or no such host

# What a reader may have; all else is more than reading.
_READING = frozenset({"USAGE", "SELECT", "SHOW VIEW", "SHOW DATABASES", "EXECUTE"})
_COLUMNS = re.compile(r"\([^)]*\)")  # of a right to some of them
_GRANT = re.compile(r"GRANT (?P<what>.+?) ON (?P<where>.+?) TO (?P<rest>.*)", re.DOTALL)
_ROLE_GRANT = re.compile(r"GRANT (?P<role>(?:`[^`]+`|\S+?)(?:@\S+?)?) TO ")


def confine(limits: Limits) -> None:
    """Memory for results; no file can grow."""
    limit_process(memory_mb=limits.memory_mb, file_bytes=0, open_files=64)


def open_engine(url: str, limits: Limits, alive: Callable[[bool], None]) -> ServerEngine:
    """The database behind `mysql://…`."""
    login = parse_login(url, DRIVER)

    def log_in() -> Session:
        return MySQLSession(connect(login, limits), login, limits)

    return ServerEngine(limits, alive, log_in, forbidden)


def forbidden(sql: str) -> str | None:
    """The rule that keeps a statement from being sent, if any."""
    code = _NO_CODE.sub(lambda found: " " if found[0][0] in "-#/" else " '' ", sql)
    return next((name for name, pattern in _FORBIDDEN if pattern.search(code)), None)


def connect(login: Login, limits: Limits) -> pymysql.Connection[Any]:
    """A connection for reading. Raises `DatabaseError` where the user has to mend something, else `Lost`."""
    try:
        connection = _connected(login, CONNECT_S)
        try:
            if why := more_than_reading(connection):
                refuse_or_warn(login, why, reader_sql(login), allowed=limits.allow_privileged)
            begin_session(connection, limits.timeout_s)
            _wait_at_most(connection, limits.timeout_s + CONNECT_S)
        except BaseException:
            connection.close()
            raise
        return connection
    except pymysql.Error:
        failure: DatabaseError | Lost = Lost("connection_lost")
    except (DatabaseError, Lost) as error:
        failure = error
    raise alone(failure)


def _connected(login: Login, timeout_s: int) -> pymysql.Connection[Any]:
    arguments = {
        "charset": "utf8mb4",
        **login.arguments,
        "connect_timeout": timeout_s,
        "read_timeout": timeout_s,  # the server may take the connection and then say nothing
        "local_infile": False,
        "init_command": None,
        "autocommit": True,
        "conv": _CONVERSIONS,
    }
    arguments.pop("client_flag", None)  # several statements a message, say
    try:
        return pymysql.connect(**arguments)
    except pymysql.Error as error:
        code = error.args[0] if error.args else 0
        if code in _CROWDED:
            raise Lost("too_many_connections") from None
        unknown_host = code in _NOBODY_THERE and "Errno -" in str(error)  # of getaddrinfo
        if code in _TRANSIENT or (code in _NOBODY_THERE and not unknown_host):
            raise Lost("no_connection") from None
        raise login.refused(error) from None
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        raise login.refused(error) from None


def _wait_at_most(connection: pymysql.Connection[Any], wait_s: float | None) -> None:
    """How long an answer of the server is waited for; None: for ever."""
    cast(Any, connection)._read_timeout = wait_s


def begin_session(connection: pymysql.Connection[Any], timeout_s: float) -> None:
    """Set the session's limits; a reset connection has lost them."""
    limit = (
        f"max_statement_time={timeout_s:.3f}"
        if _is_mariadb(connection)
        else f"max_execution_time={max(1, round(timeout_s * 1000))}"
    )
    lock_s = max(1, round(timeout_s / 2))
    _execute(
        connection,
        f"SET SESSION {limit}, lock_wait_timeout={lock_s}, innodb_lock_wait_timeout={lock_s}, time_zone='+00:00', "
        "net_write_timeout=10",
    )


def more_than_reading(connection: pymysql.Connection[Any]) -> list[str]:
    """What the login may do beside reading, in words; nothing for a proper reader."""
    why: list[str] = []
    roles: list[str] = []
    for (line,) in _execute(connection, "SHOW GRANTS FOR CURRENT_USER()"):
        why += _beyond_reading(line)
        if role := _ROLE_GRANT.match(line):
            roles.append(role["role"])
    if roles and _is_mariadb(connection):
        ((before,),) = _execute(connection, "SELECT CURRENT_ROLE()")
        # A role's rights, with those of its own roles, are shown to who acts as it.
        for name in roles:
            _execute(connection, f"SET ROLE {name}")
            for (line,) in _execute(connection, "SHOW GRANTS FOR CURRENT_ROLE()"):
                why += _beyond_reading(line)
        _execute(connection, f"SET ROLE {_quoted(before) if before else 'NONE'}")
    elif roles:
        for (line,) in _execute(
            connection, f"SHOW GRANTS FOR CURRENT_USER() USING {', '.join(roles)}"
        ):
            why += _beyond_reading(line)
    return list(dict.fromkeys(why))


def _beyond_reading(line: str) -> list[str]:
    """What one line of SHOW GRANTS allows beside reading."""
    grant = _GRANT.match(line)
    if grant is None:
        return []
    rights = {right.strip() for right in _COLUMNS.sub("", grant["what"]).split(",")}
    more = sorted(rights - _READING)
    if "GRANT OPTION" in grant["rest"]:
        more.append("GRANT OPTION")
    if not more:
        return []
    return [f"{', '.join(more[:4])}{', …' if len(more) > 4 else ''} on {grant['where']}"]


def _is_mariadb(connection: pymysql.Connection[Any]) -> bool:
    return "MariaDB" in cast(Any, connection).get_server_info()


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def reader_sql(login: Login) -> list[str]:
    """The statements, for an administrator to run, that make a user who can only read this database."""
    return [
        f"CREATE USER '{READER}'@'%' IDENTIFIED BY 'choose one';",
        f"GRANT SELECT, SHOW VIEW ON {_quoted(login.database)}.* TO '{READER}'@'%';",
    ]


class MySQLSession(Session):
    """One connection to a server."""

    def __init__(self, connection: pymysql.Connection[Any], login: Login, limits: Limits) -> None:
        self._connection = cast(
            Any, connection
        )  # its stubs know neither the socket nor the protocol
        _wait_at_most(connection, None)  # the watchdog looks at the clock
        self._login = login
        self._limit_s = limits.timeout_s  # of the session as it is now
        self._usual_s = limits.timeout_s
        self._id: int = self._connection.thread_id()
        self._spent = False

    def begin(self, budget: Budget) -> None:
        try:
            if budget.timeout_s != self._limit_s:
                begin_session(self._connection, budget.timeout_s)
                self._limit_s = budget.timeout_s
            _execute(self._connection, "START TRANSACTION READ ONLY")
        except (pymysql.Error, OSError) as error:
            raise Lost("connection_lost") from error

    def run(self, sql: str, limits: Limits) -> Ran:
        try:
            return self._fetch(sql, limits)
        except MemoryError:
            return Ran(outcome=Outcome.TOO_LARGE, detail="memory")
        except (pymysql.Error, OSError) as error:
            self._forget_rows()
            code = error.args[0] if isinstance(error, pymysql.Error) and error.args else 0
            outcome, detail = _CODES.get(code, (Outcome.ERROR, ErrorKind.OTHER))
            return Ran(outcome=outcome, detail=detail)
        except (UnicodeError, ValueError, OverflowError):
            return Ran(outcome=Outcome.ERROR, detail=ErrorKind.TYPE)

    def _fetch(self, sql: str, limits: Limits) -> Ran:
        cursor = SSCursor(self._connection)
        cursor.execute(sql)
        if cursor.description is None:  # as after INTO @x: no rows are not an empty result
            return Ran(outcome=Outcome.DENIED, detail="statement")
        columns = tuple([column[0] for column in cursor.description])
        rows: list[tuple[Any, ...]] = []
        size = 0
        while chunk := plain_rows(cursor.fetchmany(_CHUNK_ROWS)):
            rows += chunk
            size += row_bytes(chunk, len(columns))
            if len(rows) > limits.max_rows or size > limits.max_bytes:
                self.cancel()
                self._forget_rows()
                self._spent = True  # more rows are on their way, and reading them costs more than a new session
                over = "rows" if len(rows) > limits.max_rows else "bytes"
                return Ran(outcome=Outcome.TOO_LARGE, detail=over)
        cursor.close()
        return Ran(columns, rows, size=size)

    def reset(self) -> None:
        if self._spent:
            raise Lost("given_up")
        try:
            self._connection._execute_command(_RESET_CONNECTION, b"")
            self._connection._read_ok_packet()
            begin_session(self._connection, self._usual_s)
            self._limit_s = self._usual_s
        except (pymysql.Error, OSError) as error:
            raise Lost("connection_lost") from error

    def cancel(self) -> None:
        self._kill("QUERY")

    def terminate(self) -> None:
        self._kill("CONNECTION")

    def _kill(self, what: str) -> None:
        try:
            with _connected(self._login, _QUICK_S) as beside:
                _execute(beside, f"KILL {what} {self._id:d}")
        except (pymysql.Error, OSError, Lost, DatabaseError):
            return  # it is over, or no connection is left for us; the next step is harder

    def hang_up(self) -> None:
        try:
            descriptor = os.dup(self._connection._sock.fileno())
        except (AttributeError, OSError):
            return  # it is closed already
        shut_down(descriptor)

    def close(self) -> None:
        """Without a farewell, for which the server may not listen."""
        self._forget_rows()
        self._connection._force_close()

    def _forget_rows(self) -> None:
        """Keep the driver from reading, on its way out, what is left of a result."""
        if (result := self._connection._result) is not None:
            result.unbuffered_active = False


def _execute(connection: pymysql.Connection[Any], sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def _bits(value: bytes) -> int:
    return int.from_bytes(value, "big")


# Dates and times stay the server's text, since Python has neither 0000-00-00 nor 838:59:59.
_CONVERSIONS = {
    **conversions,
    FIELD_TYPE.BIT: _bits,
    FIELD_TYPE.DATE: str,
    FIELD_TYPE.DATETIME: trimmed,
    FIELD_TYPE.TIMESTAMP: trimmed,
    FIELD_TYPE.TIME: trimmed,
}

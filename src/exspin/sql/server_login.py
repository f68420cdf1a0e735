"""Log in to a server from the parent process: to read its schema, to know it again, to say early that a login will not do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from exspin.errors import DatabaseError
from exspin.records import Database
from exspin.sql.engines import Limits
from exspin.sql.engines.login import Login, Lost, alone, cannot_reach, parse_login

from sqlalchemy import Connection, create_engine  # isort: skip  (an extra: `login` says so first)
from sqlalchemy.exc import SQLAlchemyError  # isort: skip
from sqlalchemy.pool import NullPool  # isort: skip

T = TypeVar("T")

_STATEMENT_S = 10.0


def ask_server(
    database: Database, what: str, work: Callable[[Connection], T], *, allow_privileged: bool
) -> T:
    """What `work` finds over a read-only connection of its own.

    Raises `DatabaseError` when the server refuses the login, the login may write, or `what` cannot be read; no error of a
    driver is behind it, since those know the password.
    """
    login, connect = login_and_connect(database)
    limits = parent_limits(allow_privileged)
    engine = create_engine(
        f"{login.driver}://",
        creator=lambda: connect(login, limits),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
    )
    try:
        with engine.connect() as connection:
            return work(connection)
    except Lost as lost:
        failure = cannot_reach(login, lost)
    except DatabaseError as error:
        failure = error
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        failure = DatabaseError(f"{login.shown}: {what} cannot be read ({login.tell(cause)})")
    finally:
        engine.dispose()
    raise alone(failure)


def check_login(database: Database, *, allow_privileged: bool = False) -> None:
    """May the login of this server do no more than read? A server that does not answer now is left to the statements.

    Raises `DatabaseError` for a server that refuses us, and for a login that may write: its message holds the SQL that
    makes a proper one. With `allow_privileged` that is a warning in the log. Raises `MissingExtra` where a driver is not
    installed.
    """
    login, connect = login_and_connect(database)
    with suppress(Lost):
        connect(login, parent_limits(allow_privileged)).close()


def parent_limits(allow_privileged: bool) -> Limits:
    """Limits of the statements that we write ourselves."""
    return Limits(timeout_s=_STATEMENT_S, allow_privileged=allow_privileged)


def login_and_connect(database: Database) -> tuple[Login, Callable[[Login, Limits], Any]]:
    """The login of a server's URL, and what makes a connection of its driver from it."""
    if database.kind == "postgresql":
        from exspin.sql.engines import postgresql

        return parse_login(database.url, postgresql.DRIVER), postgresql.connect
    from exspin.sql.engines import mysql

    return parse_login(database.url, mysql.DRIVER), mysql.connect

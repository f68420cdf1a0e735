"""From a server's URL to a login that can only read, with words for what goes wrong that never hold the password.

SQLAlchemy takes the URL apart, so `?sslmode=require` and the like mean what its users know; which driver is used is ours
to say. Errors of drivers are told in one line and never chained: a traceback would show what the driver was given.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote, quote_plus

from exspin.errors import DatabaseError, MissingExtra
from exspin.urls import without_password

if find_spec("sqlalchemy") is None:
    raise MissingExtra("a database server", "sqlalchemy", "server")

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger("exspin")
_warned: set[str] = set()  # logins that this process has warned of

READER = "exspin_reader"  # the name of the role in the SQL that we print
CONNECT_S = 10  # how long one attempt to connect may take
_HIDDEN = "***"
# An @ behind another, or behind what would end the host: a part of the password would be taken for the host.
_UNESCAPED = re.compile(r"://[^@]*[/?#@][^@]*@|://[^@]*@.*@", re.DOTALL)


class Lost(Exception):
    """The server cannot be reached now, or dropped us: nobody's SQL is to blame, and it may be well again soon."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True)
class Login:
    """Where to connect, as what. `arguments` are the driver's and hold the password."""

    driver: str  # SQLAlchemy's name of dialect and driver
    shown: str  # the URL without its password
    user: str
    database: str
    arguments: dict[str, Any] = field(repr=False)
    password: str = field(repr=False, default="")

    def refused(self, error: Exception) -> DatabaseError:
        """The driver's complaint as an error for the user."""
        return DatabaseError(f"{self.shown}: cannot be opened ({self.tell(error)})")

    def tell(self, error: Exception) -> str:
        """What a driver said, in one line without the password."""
        text = str(error.args[-1]) if error.args else type(error).__name__
        line = " ".join(text.split())
        for secret in (self.password, quote(self.password, safe=""), quote_plus(self.password)):
            if secret:
                line = line.replace(secret, _HIDDEN)
        return line


def parse_login(url: str, driver: str) -> Login:
    """Take a server's URL apart. `driver` is SQLAlchemy's name of dialect and driver. Raises `DatabaseError`."""
    shown = without_password(url)
    try:
        if _UNESCAPED.search(url):
            raise ValueError
        parsed = make_url(url).set(drivername=driver)
        _, arguments = parsed.get_dialect()().create_connect_args(parsed)
    except (SQLAlchemyError, ValueError, TypeError):
        raise DatabaseError(
            f"{shown}: cannot be read as a URL; write {driver.partition('+')[0]}://USER:PASSWORD@HOST:PORT/DATABASE and "
            "escape '@', ':', '/', '?', '#' and '%' in the password (%40, %3A, %2F, %3F, %23, %25)"
        ) from None
    if not parsed.database:
        raise DatabaseError(f"{shown}: names no database; write it behind the host, as in /mydata")
    secret = next(
        (str(arguments[name]) for name in ("password", "passwd") if arguments.get(name)), ""
    )
    return Login(driver, shown, parsed.username or "", parsed.database, dict(arguments), secret)


def cannot_reach(login: Login, lost: Lost) -> DatabaseError:
    """For work that cannot go on without the server."""
    return DatabaseError(
        f"{login.shown}: the server cannot be reached now ({lost.detail}); start it or try again later"
    )


def refuse_or_warn(login: Login, why: Sequence[str], cure: Sequence[str], *, allowed: bool) -> None:
    """For a login that may do more than read: raise `DatabaseError`, or warn where the user allowed it."""
    if not allowed:
        raise DatabaseError(
            f"{_may_do_more(login, why)}. SQL that a model wrote needs a login of its own: {' '.join(cure)} Then use "
            f"{READER!r} in the URL, or go on with this login at your own risk: allow_privileged=True, --allow-privileged"
        )
    if login.shown not in _warned:
        _warned.add(login.shown)
        log.warning("%s, and SQL that a model wrote runs with it", _may_do_more(login, why))


def _may_do_more(login: Login, why: Sequence[str]) -> str:
    return f"{login.shown}: the login {login.user!r} may do more than read ({'; '.join(why)})"


def alone(error: DatabaseError | Lost) -> DatabaseError | Lost:
    """The error without the driver's error behind it and without the frames in which the password was at hand."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)

"""Where a database is, as people write it: `sqlite:///FILE`, `duckdb:///FILE`, `postgresql://…`, `mysql://…`, a plain path.

A plain path is SQLite. Files are seen from a folder, the one of the `databases.yaml` that names them. `$NAME` is filled in from
the environment, so that a password need not stand in a file; in the user and password of a server it is percent-encoded
as a URL wants it. A message never shows a server's URL, since the password is in it.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from exspin.data.databases import check_sqlite
from exspin.environment import NotSet, expand, has_names
from exspin.errors import DatabaseError, DataError
from exspin.records import Database

FILES = ("sqlite", "duckdb")
SERVERS = (
    "postgresql",
    "mysql",
    "postgres",
    "mariadb",
)  # the last two are other names of the first

_SCHEME = re.compile(r"([A-Za-z][\w.+-]*):(//.*)", re.DOTALL)
_IN_LOGIN = re.compile(
    r"\A//[^:@/?#]*:([^@]*)@"
)  # whatever stands there, also what a URL may not hold
_IN_QUERY = re.compile(r"[?&]\w*(?:password|passwd|pwd)=([^&#]*)", re.IGNORECASE)
_USER = re.compile(r"(//)([^/?#]*)(@.*)", re.DOTALL)  # up to the last @ before the path


def open_url(db_id: str, url: str, folder: Path, where: str) -> Database:
    """The database a URL names, checked as far as it can be without connecting.

    `where` begins every message. Raises `DataError` for the URL, `DatabaseError` for a file that is not there or no database.
    """
    scheme, rest = split_scheme(url, where)
    try:
        if scheme not in FILES:
            return Database(db_id, f"{scheme}:{_filled(rest)}")
        path = expand(rest)
    except NotSet as error:
        raise DataError(f"{where}: the URL {error}; set it, or write the value") from error
    file = (folder / path).absolute()
    if not file.exists():
        raise DatabaseError(f"{where}: {file} does not exist; correct the URL")
    if scheme == "sqlite":
        check_sqlite(file, cure=f"correct the URL in {where}, or fetch the file again")
        return Database.sqlite(db_id, file)
    return Database(db_id, f"{scheme}:///{file}")


def split_scheme(url: str, where: str) -> tuple[str, str]:
    """The scheme and what follows: a path for a file, "//…" for a server. Raises `DataError` with the known schemes."""
    if not (match := _SCHEME.fullmatch(url)):
        scheme, path = "sqlite", url
    else:
        scheme, path = match[1].lower(), match[2]
        is_server = scheme.partition("+")[0] in SERVERS  # a driver may follow: mysql+pymysql
        if scheme not in FILES and not is_server:
            raise DataError(
                f"{where}: unknown scheme {match[1]!r}; known: sqlite:///FILE, duckdb:///FILE, postgresql://…, mysql://… or a plain path, which is SQLite"
            )
        if is_server:
            return scheme, path
        if not path.startswith("///"):
            raise DataError(
                f"{where}: {url!r} names a host; three slashes come before a file, as in {scheme}:///FILE"
            )
        path = path.removeprefix("///")
    if not path.strip() or path == ":memory:" or "\0" in path:
        raise DataError(f"{where}: {url!r} names no file; write {scheme}:///FILE")
    return scheme, path


def holds_password(url: str, where: str) -> bool:
    """Does the URL spell a password out, instead of naming a variable for it?"""
    scheme, rest = split_scheme(url, where)
    if scheme in FILES:
        return False
    found = [match[1] for pattern in (_IN_LOGIN, _IN_QUERY) for match in pattern.finditer(rest)]
    return any(password and not has_names(password) for password in found)


def name_of(url: str, where: str) -> str:
    """A short name for the database: that of its file, or of the database on the server."""
    scheme, rest = split_scheme(url, where)
    if scheme in FILES:
        return Path(rest).stem
    return unquote(urlsplit(f"{scheme}:{rest}").path.strip("/")) or scheme


def _filled(rest: str) -> str:
    if not (user := _USER.fullmatch(rest)):
        return expand(rest)
    return f"{user[1]}{expand(user[2], lambda value: quote(value, safe=''))}{expand(user[3])}"

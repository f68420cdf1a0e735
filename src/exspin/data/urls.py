"""The databases that a `databases.yaml` or a command names: `$NAME` filled in, files checked, servers not asked.

Files are seen from a folder, the one of the `databases.yaml`. `$NAME` is filled in from the environment, so that a password
need not stand in a file; in the user and password of a server it is percent-encoded as a URL wants it. How a URL is
written is said in `exspin.urls`.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from exspin import urls
from exspin.data.databases import check_duckdb, check_sqlite
from exspin.environment import NotSet, expand, without_names
from exspin.errors import DatabaseError, DataError
from exspin.records import Database

_USER = re.compile(r"(//)([^/?#]*)(@.*)", re.DOTALL)  # up to the last @ before the path


def open_url(db_id: str, url: str, folder: Path, where: str) -> Database:
    """The database a URL names, checked as far as it can be without connecting.

    `where` begins every message. Raises `DataError` for the URL, `DatabaseError` for a file that is not there or no database.
    """
    scheme, rest = split_url(url, where)
    try:
        if scheme not in urls.FILES:
            return Database(db_id, f"{scheme}:{_filled(rest)}")
        path = expand(rest)
    except NotSet as error:
        raise DataError(f"{where}: the URL {error}; set it, or write the value") from error
    file = (folder / path).absolute()
    if not file.exists():
        raise DatabaseError(f"{where}: {file} does not exist; correct the URL")
    check = check_sqlite if scheme == "sqlite" else check_duckdb
    check(file, cure=f"correct the URL in {where}, or fetch the file again")
    return Database(db_id, urls.file_url(scheme, file))


def split_url(url: str, where: str) -> tuple[str, str]:
    """`exspin.urls.split`; raises `DataError`."""
    try:
        return urls.split(url)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def holds_password(url: str) -> bool:
    """Does the URL spell a password out, or a part of one, instead of naming a variable for it?"""
    return any(without_names(password) for password in urls.passwords(url))


def _filled(rest: str) -> str:
    if not (user := _USER.fullmatch(rest)):
        return expand(rest)
    return f"{user[1]}{expand(user[2], lambda value: quote(value, safe=''))}{expand(user[3])}"

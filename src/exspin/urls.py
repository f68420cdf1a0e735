"""Where a database is, as people write it: `sqlite:///FILE`, `duckdb:///FILE`, `postgresql://…`, `mysql://…`, a plain path.

A plain path is SQLite. The path of a file stands byte for byte, without escapes. The password of a server may hold any
character, escaped or not: it is whatever stands between the user's name and the last @, or in the query. This is the one
place that takes such a text apart; it looks at no file, no server and no environment, and what it says of a text never
shows a server's URL, since the password is in it.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

FILES = ("sqlite", "duckdb")
SERVERS = ("postgresql", "mysql")
KINDS = (*FILES, *SERVERS)

_OTHER_NAMES = {"postgres": "postgresql", "mariadb": "mysql"}
_WRITTEN = (
    "sqlite:///FILE, duckdb:///FILE, postgresql://…, mysql://… or a plain path, which is SQLite"
)
_SCHEME = re.compile(r"([A-Za-z][\w.+-]*):(//.*)", re.DOTALL)
_LOGIN_ALONE = re.compile(r"[^/\s]*:[^/]*@", re.DOTALL)
_PASSWORDS = (
    re.compile(r"(?<=://)([^:@/?#]*:)(.*)(?=@)", re.DOTALL),
    re.compile(r"([?&]\w*(?:password|passwd|pwd)=)([^&#]*)", re.IGNORECASE),
)


def split(text: str) -> tuple[str, str]:
    """The scheme and what follows: the path of a file, "//…" of a server.

    Raises `ValueError` with words for the user.
    """
    if not (match := _SCHEME.fullmatch(text)):
        if _LOGIN_ALONE.match(text):
            raise ValueError(
                "user and password without a scheme; write postgresql://… or mysql://…"
            )
        scheme, path = "sqlite", text
    else:
        scheme, path = match[1].lower(), match[2]
        if kind_of(text) in SERVERS:
            return scheme, path
        if scheme not in FILES:
            raise ValueError(f"unknown scheme {match[1]!r}; known: {_WRITTEN}")
        if not path.startswith("///"):
            raise ValueError(
                f"{text!r} names a host; three slashes come before a file, as in {scheme}:///FILE"
            )
        path = path.removeprefix("///")
    if not path.strip() or path == ":memory:" or "\0" in path:
        raise ValueError(f"{text!r} names no file; write {scheme}:///FILE")
    return scheme, path


def kind_of(url: str) -> str:
    """The engine: what a URL begins with, a driver's name (`postgresql+psycopg`) aside."""
    scheme = url.partition(":")[0].partition("+")[0].lower()
    return _OTHER_NAMES.get(scheme, scheme)


def file_url(kind: str, path: Path) -> str:
    """The URL of a file."""
    return f"{kind}:///{path.absolute()}"


def file_of(url: str) -> Path:
    """The file behind a URL that `file_url` made."""
    return Path(url.partition(":///")[2])


def name_of(url: str) -> str:
    """A short name for a database: that of its file, or of the database on the server. Raises as `split` does."""
    scheme, rest = split(url)
    if scheme in FILES:
        return Path(rest).stem
    path = without_password(url).partition("://")[2].partition("/")[2]
    return unquote(re.split("[?#]", path)[0].strip("/")) or scheme


def without_password(url: str) -> str:
    """A database URL as it may be shown: `***` in the place of a password. A file's URL stays as it is."""
    if "://" not in url or kind_of(url) in FILES:
        return url
    for pattern in _PASSWORDS:
        url = pattern.sub(r"\1***", url)
    return url


def drop_password(url: str) -> str:
    """The URL with no password in it: what may be written where it will be read again. A file's URL stays as it is."""
    if kind_of(url) not in SERVERS:
        return url
    in_login, in_query = _PASSWORDS
    url = in_login.sub(lambda match: match[1].removesuffix(":"), url)
    url = in_query.sub(lambda match: match[1][0], url)  # the mark before the name stays
    return re.sub(r"[?&]+$", "", re.sub(r"([?&])&+", r"\1", url))


def passwords(url: str) -> list[str]:
    """The texts that stand where passwords do."""
    if kind_of(url) not in SERVERS:
        return []
    return [match[2] for pattern in _PASSWORDS for match in pattern.finditer(url) if match[2]]

"""The SQLite files of a data folder: found by name without leaving the folder, checked once, never changed.

A database whose folder is not there is *missing*: its questions are counted. A folder that is there without a sound
database in it is an error, since somebody meant it to be used.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from exspin.data.rows import Row, what_it_is
from exspin.errors import DatabaseError, DataError
from exspin.records import Database
from exspin.sql.schema import open_read_only, unfinished_log

MAGIC = b"SQLite format 3\0"
DUCKDB_MAGIC = b"DUCK"  # behind a checksum of eight bytes
_SAFE_NAME = re.compile(r"\w[\w .\-]*")  # one path component that is neither hidden nor a way up
_LONGEST_NAME = 200  # bytes; most file systems end at 255


def safe_db_id(row: Row) -> str:
    """The row's `db_id`, proven to be a plain folder name. Raises `DataError` with the row's line."""
    db_id = row.text("db_id")
    if not _SAFE_NAME.fullmatch(db_id) or len(db_id.encode()) > _LONGEST_NAME:
        raise DataError(
            f"{row.where}: db_id {db_id[:60]!r} cannot be a folder name; use letters, digits, '_', '-' and '.'"
        )
    return db_id


def find_databases(root: Path, rows: Iterable[Row]) -> tuple[dict[str, Database], dict[str, int]]:
    """Every database the rows ask for, checked, and the missing ones with their number of questions.

    Raises `DataError` for a `db_id` that differs from a folder in case only, `DatabaseError` for a file that is there
    and cannot be used.
    """
    first: dict[str, Row] = {}
    counts: Counter[str] = Counter()
    for row in rows:
        db_id = safe_db_id(row)
        first.setdefault(db_id, row)
        counts[db_id] += 1
    try:
        folders = set(os.listdir(root))
    except FileNotFoundError:
        folders = set()
    except OSError as error:
        raise DatabaseError(f"{root}: cannot be read ({error.strerror})") from error
    lowered = {name.lower(): name for name in folders}
    found: dict[str, Database] = {}
    missing: dict[str, int] = {}
    for db_id, row in first.items():
        if db_id in folders:
            path = root / db_id / f"{db_id}.sqlite"
            stay_inside(root, path)
            check_sqlite(path)
            found[db_id] = Database.sqlite(db_id, path)
        elif db_id.lower() in lowered:
            raise DataError(
                f"{row.where}: db_id {db_id!r} and the folder {lowered[db_id.lower()]!r} in {root} "
                "differ in upper and lower case; make them the same"
            )
        else:
            missing[db_id] = counts[db_id]
    return found, missing


def check_sqlite(path: Path, cure: str = "") -> None:
    """Raise `DatabaseError` unless the file is a whole SQLite database with tables. Reads the header and the schema.

    `cure` is what to do about a file that is none, in words for the user.
    """
    cure = cure or f"fetch it again, or remove the folder {path.parent} to leave its questions out"
    size, head = _beginning(path, cure)
    if not head.startswith(MAGIC):
        raise DatabaseError(f"{path}: {what_it_is(head) or 'is not an SQLite database'}; {cure}")
    if size < (expected := _size_by_header(head)):
        raise DatabaseError(
            f"{path}: is cut off ({size:,} of {max(expected, 512):,} bytes); {cure}"
        )
    if log := unfinished_log(path):
        raise DatabaseError(
            f"{path}: holds changes that are not finished ({log.name} beside it); "
            'open it once with sqlite3 and run "PRAGMA journal_mode = DELETE"'
        )
    try:
        with closing(open_read_only(path)) as connection:
            (tables,) = connection.execute(
                "SELECT count(*) FROM sqlite_master WHERE type IN ('table', 'view')"
            ).fetchone()
    except sqlite3.Error as error:
        raise DatabaseError(f"{path}: is damaged ({error}); {cure}") from error
    if not tables:
        raise DatabaseError(f"{path}: holds no tables; {cure}")


def check_duckdb(path: Path, cure: str) -> None:
    """Raise `DatabaseError` unless the file begins as DuckDB's do; what is in it, its engine says. `cure` as above."""
    _, head = _beginning(path, cure)
    if head[8:12] != DUCKDB_MAGIC:
        raise DatabaseError(f"{path}: {what_it_is(head) or 'is not a DuckDB database'}; {cure}")


def _beginning(path: Path, cure: str) -> tuple[int, bytes]:
    """Size and first bytes of a file that must be there."""
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist though its folder does"
            raise DatabaseError(f"{path}: {what}; {cure}")
        with path.open("rb") as file:
            return path.stat().st_size, file.read(100)
    except OSError as error:
        raise DatabaseError(f"{path}: cannot be read ({error.strerror})") from error


def _size_by_header(head: bytes) -> int:
    """The size in bytes a header promises (https://sqlite.org/fileformat.html, 1.3); 100 where it promises none."""
    if len(head) < 100:
        return 512  # the smallest page
    page = int.from_bytes(head[16:18], "big")
    pages = int.from_bytes(head[28:32], "big")
    in_header = head[24:28] == head[92:96]  # else an old SQLite wrote last and the count is stale
    return (65_536 if page == 1 else page) * (pages if in_header else 1)


def stay_inside(root: Path, path: Path) -> None:
    """Raise `DatabaseError` where a link leads out of the folder."""
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:  # RuntimeError: links that go in a circle
        raise DatabaseError(f"{path}: the link cannot be followed ({error})") from error
    if not inside:
        raise DatabaseError(
            f"{path}: is a link to {path.resolve()}, outside {root}; copy the file in its place"
        )

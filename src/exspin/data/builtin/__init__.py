"""The built-in example: questions and SQL sources shipped with the package, built to SQLite on first use.

`databases/NAME.sql` is the readable source. The SQLite file made from it lies in a cache directory under the source's
digest and is byte-identical every time, so a run may name it by its digest. Sources hold CREATE and INSERT only: no
transaction, no pragma.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from exspin.data.databases import safe_db_id
from exspin.data.rows import Row, read_lines
from exspin.data.splits import Split
from exspin.errors import DatabaseError, DataError
from exspin.ledger import digest_bytes
from exspin.records import Database, Example

SPLITS = ("train", "dev", "test", "test-hand", "test-unseen")
HERE = Path(__file__).parent
SOURCES = HERE / "databases"
EXAMPLES = HERE / "examples"

# The header says which version of SQLite wrote the file last (bytes 96–99) and after how many changes (24–27, repeated
# in 92–95); both differ between machines, so they get constants. A later change of the file changes 24–27 again, which
# is how a cached file is known to be as it was built.
CHANGES = (1).to_bytes(4, "big")
SQLITE_VERSION = (3_037_000).to_bytes(4, "big")


def load_builtin(split: str, cache: Path | None = None) -> Split:
    """Load a split of the built-in example, building its databases where they are not in the cache yet."""
    rows = read_lines(EXAMPLES / f"{split}.jsonl")
    examples = tuple(_example(index, row) for index, row in enumerate(rows))
    directory = cache or default_cache_directory(os.environ)
    names = dict.fromkeys(e.db_id for e in examples)
    databases = {name: Database.sqlite(name, build(name, directory)) for name in names}
    return Split("builtin", split, examples, databases, {})


def default_cache_directory(environment: Mapping[str, str]) -> Path:
    """`$XDG_CACHE_HOME/exspin/builtin`, or below `~/.cache`."""
    root = environment.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(root):  # relative paths are to be ignored, says the XDG specification
        root = os.path.join(environment.get("HOME") or os.path.expanduser("~"), ".cache")
    return Path(root) / "exspin" / "builtin"


def build(db_id: str, directory: Path, sources: Path = SOURCES) -> Path:
    """Make `directory/DIGEST/DB_ID.sqlite` from its source unless it is there and whole; give its path.

    Two processes may do this at once: each builds a file of its own and renames it into place.
    Raises `DatabaseError` when the source is not there or does not run, or the directory cannot be written.
    """
    source = sources / f"{db_id}.sql"
    try:
        script = source.read_bytes()
    except OSError as error:
        raise DatabaseError(f"{source}: cannot be read ({error.strerror})") from error
    path = directory / digest_bytes(script)[:16] / f"{db_id}.sqlite"
    if _is_as_built(path):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{db_id}-", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            _run_script(temporary, script.decode())
            _fix_header(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DatabaseError(
            f"{directory}: the built-in databases cannot be written there ({error.strerror}); "
            "set XDG_CACHE_HOME to a directory that can be written"
        ) from error
    except sqlite3.Error as error:
        raise DatabaseError(f"{source}: does not build ({error})") from error
    return path


def _run_script(path: Path, script: str) -> None:
    """Everything that decides the bytes is set here: page size, encoding, one transaction, no journal."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(
            "PRAGMA page_size = 4096; PRAGMA auto_vacuum = 0; PRAGMA encoding = 'UTF-8';"
            "PRAGMA journal_mode = OFF; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON;"
            "BEGIN;\n" + script + "\n;COMMIT;"
        )


def _fix_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(24)
        file.write(CHANGES)
        file.seek(92)
        file.write(CHANGES + SQLITE_VERSION)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o644)  # mkstemp made it private to this user


def _is_as_built(path: Path) -> bool:
    """Whether the file is whole and nobody has written to it since it was built."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(100)
    except OSError:
        return False
    return (
        head[24:28] + head[92:100] == CHANGES + CHANGES + SQLITE_VERSION
        and size == int.from_bytes(head[28:32], "big") * 4096
    )


def _example(index: int, row: Row) -> Example:
    handwritten = row.values.get("handwritten", False)
    if not isinstance(handwritten, bool):
        raise DataError(f"{row.where}: 'handwritten' is {handwritten!r}, expected true or false")
    return Example(
        example_id=row.text("example_id"),
        index=index,
        db_id=safe_db_id(row),
        question=row.text("question"),
        query=row.text("query"),
        evidence=row.text("evidence") if row.values.get("evidence") else "",
        hardness=row.text("hardness") if row.values.get("hardness") else "",
        handwritten=handwritten,
    )

"""Write perturbed copies of a database nobody trusts: what the building process does.

The original's CREATE statements run again in the copy under an authorizer that lets them create tables, indexes and
views and nothing else: no trigger is carried over, no view is executed, no module is loaded. A copy is written to a
temporary file, its foreign keys are checked, and it is renamed into place. The parent (the package itself) ends this process
when it takes too long; process limits bound memory and file size. Standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from exspin.ledger import digest_file, sync_directory
from exspin.sql.copies.mentions import Mentions
from exspin.sql.copies.perturb import Perturber
from exspin.sql.copies.source import Refused, Row, Source, Table, read_source
from exspin.sql.engines.confine import limit_process
from exspin.sql.schema import always_quoted, open_read_only

_FILE_BYTES = 128_000_000
_CREATES = frozenset(
    {
        sqlite3.SQLITE_CREATE_TABLE,
        sqlite3.SQLITE_CREATE_INDEX,
        sqlite3.SQLITE_CREATE_VIEW,
        sqlite3.SQLITE_INSERT,
        sqlite3.SQLITE_UPDATE,
        sqlite3.SQLITE_DELETE,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_REINDEX,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_TRANSACTION,
    }
)
_FORBIDDEN_FUNCTIONS = frozenset({"load_extension", "readfile", "writefile", "edit"})


def write_copy(original: Path, source: Source, rows: dict[str, list[Row]], target: Path) -> None:
    """Make the copy at `target`, whole or not at all. Raises `Refused` where it cannot be as the original is."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with closing(open_read_only(original)) as connection:
            statements = connection.execute(
                "SELECT type, sql FROM sqlite_master WHERE sql IS NOT NULL AND type <> 'trigger' "
                "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type = 'view', type = 'index', rowid"
            ).fetchall()
        with closing(sqlite3.connect(temporary, isolation_level=None)) as copy:
            copy.execute("PRAGMA journal_mode = OFF")
            copy.execute("PRAGMA synchronous = OFF")
            copy.execute("PRAGMA trusted_schema = 0")
            copy.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            copy.set_authorizer(_authorize)
            copy.execute("BEGIN")
            for kind, sql in statements:
                if not sql.upper().lstrip().startswith("CREATE "):
                    raise Refused(f"its schema holds a statement that is no CREATE ({kind})")
                copy.execute(sql)
            for table in source.tables:
                _insert(copy, table, rows[table.name])
            copy.execute("COMMIT")
            copy.set_authorizer(None)
            _mend(copy, source)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
        sync_directory(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action == sqlite3.SQLITE_FUNCTION and str(second).lower() in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _CREATES else sqlite3.SQLITE_DENY


def _insert(copy: sqlite3.Connection, table: Table, rows: Sequence[Row]) -> None:
    names = ", ".join(map(always_quoted, table.columns))
    marks = ", ".join("?" * len(table.columns))
    sql = f"INSERT INTO main.{always_quoted(table.name)} ({names}) VALUES ({marks})"
    for row in rows:
        # What a CHECK, a STRICT type or a key over an expression refuses is left out.
        with suppress(sqlite3.IntegrityError):
            copy.execute(sql, row)


def _mend(copy: sqlite3.Connection, source: Source) -> None:
    """Take out rows that break a foreign key which the original keeps, until none does."""
    kept = {
        (link.child, link.number)
        for link in source.links
        if link.number is not None and link.held == 1.0
    }
    for _ in range(1 + len(source.tables)):
        bad = [found for table in source.tables for found in _violations(copy, table.name, kept)]
        if not bad:
            return
        copy.execute("BEGIN")
        for table, rowid in dict.fromkeys(bad):
            if rowid is None:
                raise Refused(f"references of table {table!r}, which has no rowid, cannot be kept")
            copy.execute(f"DELETE FROM main.{always_quoted(table)} WHERE rowid = ?", (rowid,))
        copy.execute("COMMIT")
    raise Refused("its foreign keys cannot be kept")


def _violations(
    copy: sqlite3.Connection, table: str, kept: set[tuple[str, int]]
) -> list[tuple[str, int | None]]:
    """Table and rowid of each row that breaks one of these foreign keys."""
    if not any(child == table for child, _ in kept):
        return []
    try:
        found = copy.execute("SELECT * FROM pragma_foreign_key_check(?)", (table,)).fetchall()
    except sqlite3.OperationalError as error:
        if "foreign key mismatch" in str(error):  # its parent has no such key: it holds nowhere
            return []
        raise
    return [(table, rowid) for _, rowid, _, number in found if (table, number) in kept]


def main() -> None:
    """Build the copies that one message on standard input asks for; answer with a line for each, in JSON."""
    message = json.loads(sys.stdin.buffer.readline())
    limit_process(
        memory_mb=message["memory_mb"],
        file_bytes=_FILE_BYTES,
        open_files=64,
        cpu_s=message["cpu_s"],
    )
    try:
        original, folder = Path(message["original"]), Path(message["folder"])
        mentions = Mentions.from_json(message["mentions"])
        source = read_source(original, mentions, strict=message["strict"])
        perturber = Perturber(source)
        for number in message["numbers"]:
            target = folder / f"{number:04d}.sqlite"
            write_copy(original, source, perturber.copy(message["seed"], number), target)
            answer = {"number": number, "sha256": digest_file(target)}
            _say({**answer, "tables": [table.name for table in source.tables]})
    except Refused as refused:
        _say({"refused": str(refused)})
    except OSError as error:
        if error.errno == errno.EFBIG:
            _say({"refused": f"a copy would be larger than {_FILE_BYTES:,} bytes"})
        else:
            _say({"unwritable": [error.errno, error.strerror]})
    except MemoryError:
        _say({"refused": "it takes more memory than it may"})
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
        _say({"refused": f"{type(error).__name__}: {error}"[:300]})


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

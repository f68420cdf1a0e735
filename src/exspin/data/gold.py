"""A gold file in Spider's format, `SQL<TAB>db_id` a line, as a split without questions: all that scoring needs.

BIRD's files and those of the test-suite evaluator have the same form. Databases are looked for as `DIR/ID/ID.sqlite`, as
the releases keep them, and as `DIR/ID.sqlite`, as `exspin data export` writes them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from exspin.data.databases import check_sqlite, find_databases, safe_db_id
from exspin.data.rows import Row, read_text
from exspin.data.splits import Split
from exspin.errors import DataError
from exspin.records import Database, Example

_STATEMENT = re.compile(r"\s*(?:SELECT|WITH)\b", re.IGNORECASE)

# Rows → the databases they ask for, by db_id, and those that are not there with their number of rows.
Find = Callable[[Sequence[Row]], tuple[dict[str, Database], dict[str, int]]]


def read_gold(path: Path, find: Find, where: str) -> Split:
    """The rows of a gold file in order, blank lines at the end aside; `example_id` is "gold/LINE", 0-based.

    `find` looks for their databases, `where` says in which place. Raises `DataError` with file and line, `DatabaseError`
    for a database file that is there and cannot be used. Databases that are not there are in `Split.missing`.
    """
    lines = read_text(path, "SQL, a tab and the db_id on each line").rstrip().split("\n")
    rows = [_row(path, number, line) for number, line in enumerate(lines, 1)]
    examples = tuple(
        Example(f"gold/{index}", index, row.text("db_id"), "", row.text("query"))
        for index, row in enumerate(rows)
    )
    found, missing = find(rows)
    if not found:
        raise DataError(
            f"{where}: holds none of the {len(missing)} databases of {path}; "
            "give their folder, with ID/ID.sqlite or ID.sqlite in it"
        )
    return Split(f"gold:{path}", path.name, examples, found, missing)


def in_folders(
    folders: Sequence[Path], rows: Sequence[Row]
) -> tuple[dict[str, Database], dict[str, int]]:
    """Look in each folder for what those before it do not hold."""
    found: dict[str, Database] = {}
    missing = dict(Counter(row.text("db_id") for row in rows))
    for folder in folders:
        if not folder.is_dir():
            what = "is a file" if folder.is_file() else "no such folder"
            raise DataError(
                f"{folder}: {what}; give the folder that holds ID/ID.sqlite or ID.sqlite"
            )
        here, missing = _in_folder(folder, [row for row in rows if row.text("db_id") in missing])
        found |= here
    return found, missing


def among(
    databases: Mapping[str, Database], rows: Sequence[Row]
) -> tuple[dict[str, Database], dict[str, int]]:
    """Take them from those that are known."""
    wanted = Counter(row.text("db_id") for row in rows)
    found = {name: databases[name] for name in wanted if name in databases}
    return found, {name: count for name, count in wanted.items() if name not in found}


def _in_folder(folder: Path, rows: Sequence[Row]) -> tuple[dict[str, Database], dict[str, int]]:
    found: dict[str, Database] = {}
    nested = []
    for row in rows:
        db_id = safe_db_id(row)
        flat = folder / f"{db_id}.sqlite"
        if db_id in found:
            continue
        if flat.is_file():
            check_sqlite(flat)
            found[db_id] = Database.sqlite(db_id, flat)
        else:
            nested.append(row)
    deeper, missing = find_databases(folder, nested)
    return {**found, **deeper}, missing


def _row(path: Path, number: int, line: str) -> Row:
    sql, tab, db_id = line.removesuffix("\r").rpartition("\t")
    if not tab:
        what = "no tab in the line" if line.strip() else "the line is blank"
        raise DataError(
            f"{path}:{number}: {what}; gold has SQL, a tab and the db_id on each line, and one line a prediction"
        )
    if _STATEMENT.match(db_id) and not _STATEMENT.match(sql):
        raise DataError(
            f"{path}:{number}: SQL stands behind the tab; put it first, then a tab and the db_id"
        )
    return Row(path, number, {"query": sql.strip(), "db_id": db_id.strip()})

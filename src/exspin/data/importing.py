"""Make a `pairs:` folder from a table of questions and queries on one database.

The table is CSV, TSV or JSON Lines with the columns `question` and `query` (or `sql`), and `evidence` where there is any. Every
row is checked before anything is written. A tenth each becomes `dev` and `test`, and no question or query stands in two
splits. No query is run: whether gold works is the audit's question.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exspin.data.databases import safe_db_id
from exspin.data.divide import divide, same_question, same_sql
from exspin.data.export import make_empty, take_back, write_urls
from exspin.data.pairs import DATABASES
from exspin.data.rows import Row, read_lines, read_text
from exspin.data.urls import holds_password, open_url, split_url
from exspin.environment import has_names
from exspin.errors import DatabaseError, DataError, RunError
from exspin.ledger import unwritable, write_jsonl
from exspin.sql.extract import gate
from exspin.sql.schema import read_schema
from exspin.urls import FILES, file_url, name_of

SPLITS = ("train", "dev", "test")
SHARES = (0.1, 0.1)  # of dev and test

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_OTHER_NAMES = {"sql": "query"}
_FIELDS = ("question", "query", "evidence")


@dataclass(frozen=True)
class Import:
    """What was written."""

    directory: Path
    db_id: str
    splits: dict[str, int]  # questions in each
    duplicates: int  # rows that said the same as one before and were left out
    ignored: tuple[str, ...]  # columns that mean nothing here

    def to_json(self) -> dict[str, Any]:
        return {
            "directory": str(self.directory),
            "db_id": self.db_id,
            "questions": sum(self.splits.values()),
            "splits": self.splits,
            "duplicates": self.duplicates,
            "ignored": list(self.ignored),
        }


def import_pairs(
    db: str, pairs: Path, directory: Path, *, allow_privileged: bool = False
) -> Import:
    """Write `train.jsonl`, `dev.jsonl`, `test.jsonl` and `databases.yaml` into a new or empty directory.

    `db` is a URL, or the path of an SQLite file; `$NAME` in it is kept as it stands and filled in whenever it is read. A
    server is asked for its tables: one that cannot be reached is an error, and so is a login that may do more than read,
    which `allow_privileged` makes a warning. Raises `DataError` for the table (the first bad row, and how many more), the URL or too few rows, `DatabaseError` for the
    database, `RunError` where the directory holds anything or cannot be written; nothing is left there then.
    """
    db_id = _check_database(db, allow_privileged)
    rows = list(_read(pairs))
    examples = _check(pairs, rows)
    distinct = list(
        {(same_question(q), same_sql(s), e): (q, s, e) for q, s, e in examples[::-1]}.values()
    )[::-1]
    parts = divide([(question, query) for question, query, _ in distinct], SHARES)
    counts = {name: parts.count(number) for number, name in enumerate(SPLITS)}
    if not all(counts.values()):
        raise DataError(
            f"{pairs}: {len(distinct)} rows cannot be divided into train, dev and test that share neither question nor query; "
            "give at least three rows that differ in both"
        )
    made = make_empty(directory)
    files = [directory / f"{name}.jsonl" for name in SPLITS]
    try:
        for number, file in enumerate(files):
            write_jsonl(
                file,
                (
                    {"question": q, "query": s, "db_id": db_id, **({"evidence": e} if e else {})}
                    for (q, s, e), part in zip(distinct, parts, strict=True)
                    if part == number
                ),
            )
        write_urls(directory / DATABASES, {db_id: _kept_url(db)})
    except (OSError, RunError) as error:
        take_back(directory, [*files, directory / DATABASES], made)
        raise error if isinstance(error, RunError) else unwritable(directory, error) from error
    ignored = dict.fromkeys(name for row in rows for name in row.values if name not in _FIELDS)
    return Import(directory, db_id, counts, len(examples) - len(distinct), tuple(ignored))


def _check_database(db: str, allow_privileged: bool) -> str:
    """The db_id of a database that can be used."""
    split_url(db, "--db")
    if holds_password(db):
        raise DataError(
            "--db: the URL holds a password, which would be written into databases.yaml; write $NAME in its place and set NAME "
            "in the environment"
        )
    db_id = re.sub(r"[^\w .\-]", "_", name_of(db)).lstrip(" .-") or "database"
    safe_db_id(Row(Path("--db"), 1, {"db_id": db_id}))
    database = open_url(db_id, db, Path.cwd(), "--db")
    if not read_schema(database, sample_values=0, allow_privileged=allow_privileged).tables:
        raise DatabaseError(
            f"{database.place}: holds no tables that can be read; correct --db, or grant the login SELECT on them"
        )
    return db_id


def _kept_url(db: str) -> str:
    """The URL as `databases.yaml` has it: a file by its whole path, anything else as it was given."""
    scheme, rest = split_url(db, "--db")
    if scheme not in FILES or has_names(rest):
        return db
    return file_url(scheme, Path(rest))


def _check(path: Path, rows: list[Row]) -> list[tuple[str, str, str]]:
    """Question, query and evidence of every row. Raises `DataError` for the first bad one, with the number of others."""
    examples, wrong = [], []
    for row in rows:
        try:
            examples.append(_checked(row))
        except DataError as error:
            wrong.append(error)
    if not rows:
        raise DataError(f"{path}: holds no rows; give questions with their queries")
    if wrong:
        more = f" ({len(wrong) - 1} more of {len(rows)} rows are wrong)" if wrong[1:] else ""
        raise DataError(f"{wrong[0]}{more}") from wrong[0]
    databases = {str(row.values["db_id"]): row for row in rows if row.values.get("db_id")}
    if len(databases) > 1:
        where = list(databases.values())[1].where
        raise DataError(
            f"{where}: a second db_id {list(databases)[1]!r}; import the questions of one database at a time"
        )
    return examples


def _checked(row: Row) -> tuple[str, str, str]:
    question, query = row.text("question").strip(), row.text("query").strip()
    found = gate(query)
    if found.outcome is not None:
        raise DataError(
            f"{row.where}: 'query' is not one statement that reads ({found.outcome}, {found.detail}); give one SELECT"
        )
    return question, query, row.optional_text("evidence").strip()


def _read(path: Path) -> Iterator[Row]:
    """The rows of the table under the names of `_FIELDS`."""
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        rows: Iterator[Row] = iter(read_lines(path))
    elif suffix in _DELIMITERS:
        rows = _read_table(path, _DELIMITERS[suffix])
    else:
        raise DataError(f"{path}: unknown kind {path.suffix!r}; give a .csv, .tsv or .jsonl file")
    for row in rows:
        values: dict[str, Any] = {}
        for name, value in row.values.items():
            plain = " ".join(name.split()).lower()
            known = _OTHER_NAMES.get(plain, plain)
            if known in values:
                raise DataError(f"{row.where}: two fields for {known!r}; keep one")
            values[known] = value
        yield Row(row.path, row.line, values)


def _read_table(path: Path, delimiter: str) -> Iterator[Row]:
    """The records of a CSV or TSV file, each with the line it begins on."""
    text = read_text(path, "a table")
    names: list[str] = []
    for line, cells in _records(path, text, delimiter):
        if not names:
            names = [name.strip() for name in cells]
            known = {_OTHER_NAMES.get(name.lower(), name.lower()) for name in names}
            if absent := [name for name in ("question", "query") if name not in known]:
                raise DataError(
                    f"{path}:{line}: the first line must name the columns question and query; {' and '.join(absent)} is not among "
                    f"{', '.join(names)[:80]}"
                )
            continue
        if len(cells) != len(names):
            raise DataError(
                f"{path}:{line}: {len(cells)} cells under {len(names)} names; put text with {delimiter!r} in it in quotes"
            )
        yield Row(path, line, dict(zip(names, cells, strict=True)))


def _records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, with the line each begins on."""
    # not splitlines: a line separator of Unicode within a cell is text
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{path}:{line}: {error}; check the quotes of this row") from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield line, cells
        line = reader.line_num + 1

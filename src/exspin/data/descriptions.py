"""What people wrote about columns, beside a database: BIRD's `database_description/TABLE.csv`.

A row names a column and says in words what it is (`column_name`, `column_description`), how it is stored (`data_format`)
and what its values mean (`value_description`). The files are written by hand and it shows: other encodings, stray
quotes, columns that do not exist. They are help, not data, so nothing in them stops a run: what cannot be used is left
out, row by row, and counted with the first place it was met.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exspin.data.databases import stay_inside
from exspin.data.rows import what_it_is
from exspin.records import Database
from exspin.sql.schema import Schema, one_line, read_schema

COMMENT_LENGTH = 160  # characters a prompt shows of a column's description; "..." marks the cut
VALUES_LENGTH = 240  # and of the meaning of its values
LARGEST_FILE = 1_000_000  # bytes

_COLUMN = "original_column_name"
_EDGE = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Description:
    """What is written about one column; "" where nothing is."""

    comment: str
    values: str
    type: str


# (table, column), both as the database spells them, or folded where it was not asked
Descriptions = Mapping[tuple[str, str], Description]


@dataclass(frozen=True)
class Problem:
    """Something in a description that cannot be used as it stands. Equal `what` are counted together."""

    what: str
    where: str  # file, or file:line, with what was found there


def described(schema: Schema, descriptions: Descriptions) -> Schema:
    """The schema with descriptions as comments; they go before comments in the CREATE TABLE text, types do not."""
    if not descriptions:
        return schema
    nothing = Description("", "", "")
    tables = []
    for table in schema.tables:
        columns = []
        for column in table.columns:
            folded = descriptions.get((_plain(table.name), _plain(column.name)), nothing)
            found = descriptions.get((table.name, column.name), folded)
            columns.append(
                replace(
                    column,
                    comment=found.comment or column.comment,
                    values=found.values,
                    type=column.type or found.type,
                )
            )
        tables.append(replace(table, columns=tuple(columns)))
    return replace(schema, tables=tuple(tables))


def read_descriptions(folder: Path, schema: Schema | None) -> tuple[Descriptions, list[Problem]]:
    """Read the CSV files of a folder, one for each table, for the columns the schema has. Hidden files are passed over.

    Without a schema, of a server that is not to be asked, every row is taken: what fits no column is met when prompts are
    written, and passed over.
    """
    tables = {_plain(table.name): table for table in schema.tables} if schema else {}
    found: dict[tuple[str, str], Description] = {}
    problems: list[Problem] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() != ".csv":
            continue
        table = tables.get(_plain(path.stem))
        if table is None and schema is not None:
            problems.append(
                Problem("description files are for no table of their database", f"{path}")
            )
            continue
        table_name = table.name if table else _plain(path.stem)
        columns = {_plain(column.name): column.name for column in table.columns} if table else None
        for line, row in _rows(path, problems):
            where = f"{path}:{line} ({one_line(row[_COLUMN], 40)!r})"
            plain = _plain(row[_COLUMN])
            name = plain if columns is None else columns.get(plain)
            if not name:
                problems.append(Problem("rows name no column of their table", where))
            elif (table_name, name) in found:
                problems.append(Problem("rows describe a column that has its description", where))
            else:
                found[table_name, name] = _description(name, row)
    return found, problems


def read_all_descriptions(
    root: Path, folders: Mapping[str, Path], databases: Mapping[str, Database]
) -> tuple[dict[str, Descriptions], list[Problem]]:
    """The same for the databases whose folder is there, by db_id. Raises `DatabaseError` for one that a link leads out of
    `root`. Servers are not asked.
    """
    found: dict[str, Descriptions] = {}
    problems: list[Problem] = []
    for name, folder in folders.items():
        if folder.is_dir():
            stay_inside(root, folder)
            database = databases[name]
            schema = read_schema(database, sample_values=0) if database.is_file else None
            found[name], more = read_descriptions(folder, schema)
            problems += more
    return found, problems


def write_descriptions(folder: Path, descriptions: Descriptions) -> None:
    """Files that `read_descriptions` reads the same descriptions from. Raises `OSError`."""
    folder.mkdir(parents=True)
    for table in dict.fromkeys(table for table, _ in descriptions):
        with (folder / f"{table}.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow((_COLUMN, "column_description", "data_format", "value_description"))
            rows.writerows(
                (column, text.comment, text.type, text.values)
                for (name, column), text in descriptions.items()
                if name == table
            )


def summarise(problems: Sequence[Problem]) -> Iterator[str]:
    """One line for each kind of problem: how many, and where the first is."""
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for problem in problems:
        first.setdefault(problem.what, problem.where)
        counts[problem.what] = counts.get(problem.what, 0) + 1
    for what, count in counts.items():
        yield f"{count} {what}; the first: {first[what]}"


def _rows(path: Path, problems: list[Problem]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of one file with the line each begins on, under the names of the header."""
    text = _text(path, problems)
    records = _records(path, list(io.StringIO(text, newline="")), problems)
    _, header = next(records, (0, []))
    names = [" ".join(name.split()).lower() for name in header]
    if _COLUMN not in names:
        if text:
            problems.append(Problem(f"description files have no column {_COLUMN}", f"{path}"))
        return
    for line, cells in records:
        if len(cells) > len(names):
            # nobody can tell which of the commas was meant
            problems.append(
                Problem(f"rows have more cells than the header's {len(names)}", f"{path}:{line}")
            )
            continue
        row = dict.fromkeys(
            (*names, "column_name", "column_description", "data_format", "value_description"), ""
        )
        yield line, row | dict(zip(names, cells, strict=False))


def _text(path: Path, problems: list[Problem]) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except OSError as error:
        problems.append(Problem("description files cannot be read", f"{path} ({error.strerror})"))
        return ""
    wrong = what_it_is(raw[:64]) or (
        f"is larger than {LARGEST_FILE:,} bytes" if len(raw) > LARGEST_FILE else ""
    )
    if wrong or b"\0" in raw:
        problems.append(
            Problem("description files are no text", f"{path} ({wrong or 'holds zero bytes'})")
        )
        return ""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problems.append(
            Problem(
                "description files are not UTF-8 and were read as Windows-1252", f"{path}:{line}"
            )
        )
        # five bytes mean nothing in Windows-1252; Latin-1 has a (control) character for each
        return "".join(
            byte.decode("cp1252", "ignore") or byte.decode("latin-1")
            for byte in (raw[i : i + 1] for i in range(len(raw)))
        )


def _records(
    path: Path, lines: Sequence[str], problems: list[Problem]
) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, with the line each begins on.

    Python's reader is lenient with quotes inside a cell, which is what these files need; but a quote that is opened
    and not closed would swallow the lines after it. So a record of several lines must also pass its strict reading.
    """
    start = 0
    while start < len(lines):
        reader = csv.reader(lines[i] for i in range(start, len(lines)))
        try:
            cells = next(reader)
            if reader.line_num > 1:
                next(csv.reader(lines[start : start + reader.line_num], strict=True))
        except csv.Error as error:
            problems.append(Problem("rows have a stray quote", f"{path}:{start + 1} ({error})"))
            start += 1
            continue
        if any(cell.strip() for cell in cells):
            yield start + 1, cells
        start += reader.line_num


def _description(column: str, row: Mapping[str, str]) -> Description:
    name, text = one_line(row["column_name"]), one_line(row["column_description"])
    parts = []
    # "CDSCode, CDSCode, CDSCode" says nothing and costs tokens in every prompt
    if _bare(name) not in ("", _bare(column)) and _bare(name) not in _bare(text):
        parts.append(name)
    if _bare(text) not in ("", _bare(column)):
        parts.append(text)
    values = one_line(row["value_description"], VALUES_LENGTH)
    return Description(
        one_line(": ".join(parts), COMMENT_LENGTH),
        values if _bare(values) else "",
        one_line(row["data_format"], 40).lower(),
    )


def _plain(name: str) -> str:
    """A name without what people get wrong about it: case and space."""
    return " ".join(name.split()).casefold()


def _bare(text: str) -> str:
    return _EDGE.sub("", text.casefold())

"""Read a file of predictions: one for each row of a split, whatever tool wrote it.

- text: one SQL a line, in the order of the split; a blank line is an empty prediction, a tab and the db_id may follow
- JSONL: one object a line; CSV or TSV with a header (told by `.csv`, `.tsv`; commas, semicolons or tabs). The SQL is in
  the field that is named, or in the only one called query, sql, prediction or predicted_sql; a field `index` (0-based)
  puts rows in order; a field `db_id` must agree with the split. An empty field, null or NaN is an empty prediction.

Everything that does not fit is a `DataError` with file and line: a score of shifted predictions looks like a bad model.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exspin.data.rows import what_it_is
from exspin.errors import DataError
from exspin.records import Example

SQL_NAMES = ("query", "sql", "prediction", "predicted_sql")
_NO_VALUE = ("", "nan", "null", "none", "<na>")  # as tables write a value that is not there
_DB_ID = re.compile(r"[\w.\- ]{1,64}")


@dataclass(frozen=True, slots=True)
class Predictions:
    """One text for each row of the split. `one_a_line`: from a file that can hold neither tabs nor line ends apart."""

    texts: list[str]
    one_a_line: bool


def read_predictions(
    path: Path, examples: Sequence[Example], sql_column: str | None = None
) -> list[str]:
    """One prediction for each example, in order. Raises `DataError` naming the file and the line."""
    return read_file(path, examples, sql_column).texts


def read_file(
    path: Path, examples: Sequence[Example], sql_column: str | None = None
) -> Predictions:
    """The same, with what kind of file it was."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); give a file of predictions"
        ) from error
    # Bytes that are no UTF-8 become lone surrogates: the prediction is wrong, the file is not.
    text = raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    if wrong := _other_format(raw, text):
        raise DataError(f"{path}: {wrong}; {_FORMS}")
    if path.suffix.lower() in (".csv", ".tsv"):
        return Predictions(
            _placed(path, _csv_rows(path, text, sql_column, len(examples)), examples), False
        )
    if path.suffix == ".jsonl" or _is_json_object(text.lstrip().partition("\n")[0]):
        return Predictions(_placed(path, _json_rows(path, text, sql_column), examples), False)
    if sql_column is not None:
        raise DataError(
            f"{path}: has no columns, so none is {sql_column!r}; columns are read from .csv, .tsv and JSONL"
        )
    return Predictions(_from_lines(path, text, examples), True)


def _other_format(raw: bytes, text: str) -> str:
    """What the file is, where it is no text with something on each line; "" where it may be."""
    if raw and (known := what_it_is(raw[:64])):
        return known
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or 3 * raw[:64].count(0) > len(raw[:64]):
        return "is UTF-16 or binary, not UTF-8 text; save it as UTF-8"
    start = text.lstrip()
    if not start.startswith(("[", "{")) or _is_json_object(start.partition("\n")[0]):
        return ""
    try:
        value = json.loads(start)
    except (ValueError, RecursionError):
        return ""
    kind, command = ("array", ".[]") if isinstance(value, list) else ("object", "to_entries[]")
    return f"is one JSON {kind} of {len(value)} items (`jq -c '{command}'` makes a line of each)"


def _is_json_object(line: str) -> bool:
    """SQL that a model wrote can begin with a brace too."""
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


# --- one SQL a line ---------------------------------------------------------------------------------------------------


def _from_lines(path: Path, text: str, examples: Sequence[Example]) -> list[str]:
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    while len(lines) > len(examples) and not lines[-1].strip():
        lines.pop()
    if not text.strip() and len(examples) != 1:
        lines = []
    full = sum(bool(line.strip()) for line in lines)
    _check_count(
        path,
        len(lines),
        len(examples),
        f"{len(lines) - full} of its lines are blank: take those out that stand for no row"
        if full < len(lines)
        else "a statement on several lines goes on one"
        if full > len(examples)
        else "",
    )
    tails = [line.rpartition("\t")[2].strip() if "\t" in line else "" for line in lines]
    written = sum(bool(line.strip()) for line in lines)
    # SQL may have tabs for spaces: then there are several, or what follows the last is no database of the split.
    known = {example.db_id for example in examples}
    named = sum(
        tail in known or (line.count("\t") == 1 and bool(_DB_ID.fullmatch(tail)))
        for line, tail in zip(lines, tails, strict=True)
    )
    if 2 * named <= written:
        return lines
    for number, (line, tail, example) in enumerate(zip(lines, tails, examples, strict=True), 1):
        if line.strip() and not tail:
            raise DataError(
                f"{path}:{number}: no tab and db_id in the line, though other lines have them; give all lines one, or none"
            )
        if line.strip() and tail != example.db_id:
            raise DataError(
                f"{path}:{number}: the line ends in {tail[:80]!r}, but row {number} of the split is about database "
                f"{example.db_id!r}; predictions must be in the order of the split"
            )
    return [line.rpartition("\t")[0] for line in lines]


# --- rows with named fields -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """A prediction as it stands in the file; None where the file says nothing of index or database."""

    line: int  # 1-based, where the row begins
    sql: str
    index: Any = None
    db_id: str | None = None


def _placed(path: Path, rows: Iterable[_Row], examples: Sequence[Example]) -> list[str]:
    """The predictions in the order of the split."""
    found: dict[int, _Row] = {}
    for place, row in enumerate(rows):
        index = place if row.index is None else row.index
        if type(index) is not int or index in found:
            raise DataError(
                f"{path}:{row.line}: index {index!r} is not a number or occurs twice; number rows from 0"
            )
        found[index] = row
    _check_count(path, len(found), len(examples))
    if missing := sorted(set(range(len(examples))) - found.keys()):
        raise DataError(
            f"{path}: no prediction has index {missing[0]}; number rows from 0 to {len(examples) - 1}"
        )
    for index, example in enumerate(examples):
        row = found[index]
        if row.db_id is not None and row.db_id != example.db_id:
            raise DataError(
                f"{path}:{row.line}: db_id is {row.db_id[:80]!r}, but row {index + 1} of the split is about database "
                f"{example.db_id!r}; put the rows in the order of the split, or give each its index"
            )
    return [found[index].sql for index in range(len(examples))]


def _json_rows(path: Path, text: str, sql_column: str | None) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise DataError(
                f"{path}:{number}: not JSON ({why}); give one object a line, whole"
            ) from error
        if not isinstance(row, dict):
            raise DataError(
                f"{path}:{number}: {type(row).__name__}, not an object in braces; {_WANTED}"
            )
        if row and all(key.isdecimal() for key in row):
            raise DataError(
                f"{path}:{number}: answers by their number in one object, as BIRD's scripts write them; {_FORMS}"
            )
        name = _sql_name(f"{path}:{number}", list(row), sql_column)
        sql = row[name]
        if sql is None or (isinstance(sql, float) and math.isnan(sql)):
            sql = ""
        if not isinstance(sql, str):
            raise DataError(f"{path}:{number}: {name!r} is {str(sql)[:40]}; {_WANTED}")
        db_id = row.get("db_id")
        yield _Row(number, sql, row.get("index"), None if db_id is None else str(db_id))


def _csv_rows(path: Path, text: str, sql_column: str | None, count: int) -> list[_Row]:
    header_line = text.partition("\n")[0]
    marks = [mark for mark in ("\t", ";", ",") if mark in header_line]
    delimiter = max(marks, key=header_line.count, default=",")
    before = csv.field_size_limit(max(len(text), 1))  # a field may be as long as the file
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        rows = list(_csv_records(path, reader, header, delimiter, sql_column))
    except csv.Error as error:
        raise DataError(
            f"{path}:{reader.line_num}: not CSV ({error}); put fields in quotes, and quotes in them twice"
        ) from error
    finally:
        csv.field_size_limit(before)
    while len(header) == 1 and len(rows) > count and not rows[-1].sql:
        rows.pop()  # blank lines at the end, which one column alone cannot tell from empty fields
    return rows


def _csv_records(
    path: Path,
    reader: Any,  # of the csv module, past its header
    header: Sequence[str],
    delimiter: str,
    sql_column: str | None,
) -> Iterator[_Row]:
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise DataError(f"{path}:1: two columns are called {twice!r}; name each once")
    sql_at = header.index(_sql_name(f"{path}:1", header, sql_column))
    lowered = [name.lower() for name in header]
    index_at = lowered.index("index") if "index" in lowered else None
    db_at = lowered.index("db_id") if "db_id" in lowered else None
    line = reader.line_num + 1
    for fields in reader:
        begins, line = line, reader.line_num + 1
        if not fields and len(header) > 1:
            continue  # a blank line between rows
        fields = fields or [""]
        if len(fields) != len(header):
            raise DataError(
                f"{path}:{begins}: {len(fields)} fields where the header has {len(header)}; "
                f"put fields that hold {delimiter!r} or line ends in quotes"
            )
        sql = fields[sql_at]
        yield _Row(
            begins,
            "" if sql.strip().lower() in _NO_VALUE else sql,
            None if index_at is None else _number(fields[index_at]),
            None if db_at is None else fields[db_at].strip(),
        )


def _number(text: str) -> int | str:
    """An index as tables write it; pandas makes `3.0` of a column with a gap."""
    plain = text.strip().removesuffix(".0")
    return int(plain) if plain.isascii() and plain.isdigit() and len(plain) < 19 else text


def _sql_name(where: str, names: Sequence[str], wanted: str | None) -> str:
    """The field that holds the SQL. Two that could: one is likely to be gold, so neither is taken unasked."""
    if wanted is not None:
        if wanted in names:
            return wanted
        raise DataError(
            f"{where}: no field {wanted!r}; the row has {', '.join(map(repr, names[:20])) or 'none'}"
        )
    found = [name for name in names if name.lower() in SQL_NAMES]
    if len(found) > 1:
        raise DataError(
            f"{where}: {' and '.join(map(repr, found))} could hold the prediction; say which with --sql-column"
        )
    if not found:
        raise DataError(f"{where}: {_WANTED}; found {', '.join(map(repr, names[:20])) or 'none'}")
    return found[0]


_WANTED = f"expected the SQL under {', '.join(SQL_NAMES[:-1])} or {SQL_NAMES[-1]}, or name its field with --sql-column"


_FORMS = "give one SQL a line, JSONL (one object a line) or CSV"


def _check_count(path: Path, found: int, wanted: int, hint: str = "") -> None:
    if found != wanted:
        raise DataError(
            f"{path}: {found} prediction{'s' if found != 1 else ''} for {wanted} rows of the split; give one a row "
            f"({hint or 'an empty line is an empty prediction'})"
        )

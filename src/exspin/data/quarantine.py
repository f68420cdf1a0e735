"""Rows that must not be trusted: a file that `exspin audit` writes, that a person can edit, and that loading honours.

JSONL, one row a line: `example_id` and `reason`; `db_id` and `query` are compared with the split where they are given,
so that a file of another release, or of a gold that was mended since, is an error and not a silent choice of rows.
Lines about rows of other splits are passed over: one file serves all splits of a SPEC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from exspin.data.rows import Row, read_lines
from exspin.data.splits import Split
from exspin.errors import DataError


def read_quarantine(path: Path) -> Mapping[str, Row]:
    """The lines of a quarantine file by example_id; an empty file quarantines nothing.

    Raises `DataError` with file and line.
    """
    try:
        if not path.read_bytes().strip():
            return {}
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); `exspin audit -o DIR` writes one"
        ) from error
    found: dict[str, Row] = {}
    for row in read_lines(path):
        name = row.text("example_id")
        row.text("reason")
        if name in found:
            raise DataError(f"{row.where}: {name!r} stands twice in the file; keep one line")
        found[name] = row
    return found


def with_quarantine(split: Split, lines: Mapping[str, Row]) -> Split:
    """The split with the rows that the file names marked. Raises `DataError` where a line is about another row."""
    marked: dict[str, str] = {}
    for example in split.examples:
        row = lines.get(example.example_id)
        if row is None:
            continue
        for name, value in (("db_id", example.db_id), ("query", example.query)):
            if name in row.values and row.text(name) != value:
                raise DataError(
                    f"{row.where}: {name} of {example.example_id!r} is {row.text(name)[:60]!r} here and {value[:60]!r} "
                    f"in {split.spec}; the data changed since the audit: run it again"
                )
        marked[example.example_id] = row.text("reason")
    return replace(split, quarantined=marked)

"""Rows of an example file (a JSON array, or JSON Lines), each with the line it begins on.

Stricter than `json.load`: no NaN, no key twice, nothing that is not text in disguise (pickle, gzip, a Git LFS
pointer), nothing past a stated length, so that a mistake is met here, with file and line, and not in the middle of a run.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from exspin.errors import DataError

LONGEST_LINE = 10_000_000  # bytes of one line of JSON Lines
LONGEST_TEXT = 1_000_000  # characters of one field


@dataclass(frozen=True)
class Row:
    """One example as it stands in the file."""

    path: Path
    line: int  # 1-based
    values: dict[str, Any]

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"

    def text(self, field: str) -> str:
        """A field that must be there and hold text."""
        if field not in self.values:
            raise DataError(
                f"{self.where}: field {field!r} is missing; the row has {', '.join(self.values) or 'no fields'}"
            )
        value = self._checked(field)
        if not value.strip():
            raise DataError(f"{self.where}: {field!r} is empty; fill it in or remove the row")
        return value

    def optional_text(self, field: str) -> str:
        """A field that may be absent, null or empty: all of them are ""."""
        return "" if self.values.get(field) is None else self._checked(field)

    def _checked(self, field: str) -> str:
        value = self.values[field]
        if not isinstance(value, str):
            raise DataError(f"{self.where}: {field!r} is {json.dumps(value)[:40]}, expected text")
        if len(value) > LONGEST_TEXT:
            raise DataError(
                f"{self.where}: {field!r} has {len(value):,} characters, more than {LONGEST_TEXT:,}; shorten it or remove the row"
            )
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise DataError(
                    f"{self.where}: {field!r} holds half a surrogate pair, which is no character; correct the text"
                ) from error
        return value


def read_array(path: Path) -> list[Row]:
    """Read a file that is one JSON array of objects."""
    text = read_text(path)
    position = _skip_space(text, 0)
    if text[position] != "[":
        raise DataError(
            f"{path}:{_line(text, position)}: expected a JSON array of examples, so '['"
        )
    rows = list(_array_items(path, text, position + 1))
    if not rows:
        raise DataError(f"{path}: holds no examples; give a file with at least one")
    return rows


def read_lines(path: Path) -> list[Row]:
    """Read a file with one JSON object a line; blank lines are skipped. No more than one line is in memory beside the rows."""
    rows: list[Row] = []
    try:
        with path.open("rb") as file:
            if wrong := what_it_is(file.read(64)):
                raise DataError(f"{path}: {wrong}; expected JSON")
            file.seek(0)
            for number in itertools.count(1):
                raw = file.readline(LONGEST_LINE + 1)
                if len(raw) > LONGEST_LINE:
                    raise DataError(
                        f"{path}:{number}: the line is longer than {LONGEST_LINE:,} bytes; give one example a line"
                    )
                if not raw:
                    break
                line = _decoded(path, raw, number).strip()
                if line.startswith("["):
                    raise DataError(
                        f"{path}:{number}: a JSON array; expected JSON Lines, one example in braces a line"
                    )
                if line:
                    rows.append(Row(path, number, _object_alone(path, line, number)))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if not rows:
        raise DataError(f"{path}: holds no examples; give a file with at least one")
    return rows


def _decoded(path: Path, raw: bytes, line: int) -> str:
    """One line, or a whole file, as text; `line` is the number of its first line."""
    try:
        return raw.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line += raw.count(b"\n", 0, error.start)
        raise DataError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from error


def _object_alone(path: Path, text: str, line: int) -> dict[str, Any]:
    """The object that is all of a line."""
    values, end = _object_at(path, text, 0, line)
    if text[end:].strip():
        raise DataError(f"{path}:{line}: more text after the example; give one example a line")
    return values


def what_it_is(head: bytes) -> str:
    """What the first bytes of a file say it is, where that is not what was wanted; "" for anything else."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if not head:
        return "is empty (0 bytes)"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself (git lfs pull fetches it)"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "is a web page, as a failed download leaves it"
    if head.startswith(b"SQLite format 3\0"):
        return "is an SQLite database"
    if head.startswith(b"PK\x03\x04"):
        return "is a ZIP archive (or a workbook, to be saved as CSV); unpack it"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        return "is a compressed file; unpack it"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "is a Python pickle, which is never read here"
    return ""


def read_text(path: Path, wanted: str = "JSON") -> str:
    """The text of a file that is UTF-8 and not empty. Raises `DataError` that says what it is instead of `wanted`."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); give a file with {wanted}"
        ) from error
    if wrong := what_it_is(raw[:64]):
        raise DataError(f"{path}: {wrong}; expected {wanted}")
    text = _decoded(path, raw, 1)
    if not text.strip():
        raise DataError(f"{path}: holds no examples; give a file with at least one")
    return text


def _array_items(path: Path, text: str, position: int) -> Iterator[Row]:
    """The objects of an array one by one, so that each is known by its place."""
    line, counted = 1, 0
    position = _skip_space(text, position)
    if text[position : position + 1] == "]":
        _nothing_after(path, text, position + 1)
        return
    while True:
        line += text.count("\n", counted, position)
        counted = position
        values, position = _object_at(path, text, position, line)
        yield Row(path, line, values)
        position = _skip_space(text, position)
        mark = text[position : position + 1]
        if mark == "]":
            _nothing_after(path, text, position + 1)
            return
        if mark != ",":
            raise DataError(
                f"{path}:{_line(text, position)}: expected ',' or ']' after an example"
                + ("; the file is cut off" if not mark else "")
            )
        position = _skip_space(text, position + 1)


def _object_at(path: Path, text: str, position: int, line: int) -> tuple[dict[str, Any], int]:
    try:
        value, end = _DECODER.raw_decode(text, _skip_space(text, position))
    except json.JSONDecodeError as error:
        bad_line = line + text.count("\n", position, error.pos)
        cut = "; it is cut off here" if error.pos >= len(text.rstrip()) else ""
        raise DataError(f"{path}:{bad_line}: not JSON ({error.msg}){cut}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{line}: {_first_line(error)}") from error
    if not isinstance(value, dict):
        raise DataError(
            f"{path}:{line}: expected an example in braces, found {type(value).__name__}"
        )
    return value, end


def _first_line(error: ValueError | RecursionError) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _nothing_after(path: Path, text: str, position: int) -> None:
    end = _skip_space(text, position)
    if end < len(text):
        raise DataError(f"{path}:{_line(text, end)}: more text after the end of the array")


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} stands twice in one object; keep one")
    return values


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; use null or a number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)

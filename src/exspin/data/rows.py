"""Rows of an example file (a JSON array, or JSON Lines), each with the line it begins on.

Stricter than `json.load`: no NaN, no key twice, nothing that is not text in disguise (pickle, gzip, a Git LFS
pointer), so that a mistake is met here, with file and line, and not in the middle of a run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from exspin.errors import DataError


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
        value = self.values[field]
        if not isinstance(value, str):
            raise DataError(f"{self.where}: {field!r} is {json.dumps(value)[:40]}, expected text")
        if not value.strip():
            raise DataError(f"{self.where}: {field!r} is empty; fill it in or remove the row")
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
    """Read a file with one JSON object a line; blank lines are skipped."""
    rows = [
        Row(path, number, _object_at(path, line, 0, number)[0])
        for number, line in enumerate(read_text(path).split("\n"), 1)
        if line.strip()
    ]
    if not rows:
        raise DataError(f"{path}: holds no examples; give a file with at least one")
    return rows


def what_it_is(head: bytes) -> str:
    """What the first bytes of a file say it is, where that is not what was wanted; "" for anything else."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if not head:
        return "is empty (0 bytes)"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself (git lfs pull fetches it)"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "is a web page, as a failed download leaves it"
    if head.startswith((b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        return "is a compressed file; unpack it"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "is a Python pickle, which is never read here"
    return ""


def read_text(path: Path, wanted: str = "JSON") -> str:
    """The text of a file that is UTF-8 and not empty. Raises `DataError` that says what it is instead of `wanted`."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if wrong := what_it_is(raw[:64]):
        raise DataError(f"{path}: {wrong}; expected {wanted}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from error
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
        cut = "; the file is cut off" if error.pos >= len(text.rstrip()) else ""
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

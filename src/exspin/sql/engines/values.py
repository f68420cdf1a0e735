"""Turn what drivers return into the five types that results are compared in: None, int, float, str and bytes.

One rule for all engines (docs/engines.md has the table): a Boolean is 0 or 1; an exact decimal is an int where it is
whole, else a float; dates and times are ISO text with a space before the time and no zeros at the end of a fraction;
a time with a zone is UTC; a span of time is `H:MM:SS`, a month counting thirty days; lists and records are JSON;
everything else is its text. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

CELL_BYTES = 40  # what a Python value costs beside its text
_AS_THEY_ARE = frozenset({type(None), int, float, str, bytes})
_LARGEST_WHOLE = Decimal(10) ** 40  # past every engine's integers; a float holds the rest
_LARGEST_FLOAT = Decimal("1.7e308")


def plain_rows(rows: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """The rows with every cell turned into a comparable value."""
    return [
        tuple(row)
        if _AS_THEY_ARE.issuperset(map(type, row))
        else tuple([cell if type(cell) in _AS_THEY_ARE else plain(cell) for cell in row])
        for row in rows
    ]


def plain(value: Any) -> Any:
    """One value as None, int, float, str or bytes."""
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        return trimmed(moment.isoformat(" ", "microseconds" if value.microsecond else "seconds"))
    if isinstance(value, time):
        return trimmed(value.isoformat())
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return span(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, list | tuple | dict):
        return json.dumps(_jsonable(value), ensure_ascii=False, separators=(",", ":"))
    return str(value)


def trimmed(text: str) -> str:
    """A time of day, or what ends in one, without zeros at the end of its fraction."""
    clock, dot, fraction = text.partition(".")
    if not dot:
        return text
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
    zone = fraction[len(digits) :]
    digits = digits.rstrip("0")
    return f"{clock}.{digits}{zone}" if digits else clock + zone


def span(value: timedelta) -> str:
    """`H:MM:SS` with as many hours as it takes, as MySQL writes its TIME: a day is 24:00:00."""
    sign = "-" if value < timedelta(0) else ""
    value = abs(value)
    minutes, seconds = divmod(value.days * 86_400 + value.seconds, 60)
    fraction = f".{value.microseconds:06}".rstrip("0").rstrip(".") if value.microseconds else ""
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{fraction}"


def row_bytes(rows: Sequence[tuple[Any, ...]], width: int) -> int:
    """About what the rows take in memory."""
    texts = sum(
        len(cell) for row in rows for cell in row if type(cell) is str or type(cell) is bytes
    )
    return texts + len(rows) * width * CELL_BYTES


def _number(value: Decimal) -> int | float | str:
    if not value.is_finite():
        return float(value) if not value.is_snan() else float("nan")
    if abs(value) > _LARGEST_FLOAT:
        return str(value)
    if abs(value) < _LARGEST_WHOLE and value == value.to_integral_value():
        return int(value)
    return float(value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {str(plain(key)): _jsonable(item) for key, item in value.items()}
    cell = plain(value)
    return cell.hex() if isinstance(cell, bytes) else cell

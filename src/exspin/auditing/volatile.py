"""Functions in a gold query that give something else another time: chance, the clock, the engine itself.

Read from tokens, so that it works for any text and every engine's names; a string or a quoted name is never a function.
"""

from __future__ import annotations

from typing import Literal

from exspin.sql.tokens import Token, significant

Volatile = Literal["random", "clock", "engine", ""]

_RANDOM = frozenset(
    [
        "RANDOM",
        "RANDOMBLOB",
        "RANDOM_NORMAL",
        "RAND",
        "UUID",
        "UUID_SHORT",
        "NEWID",
        "GEN_RANDOM_UUID",
    ]
)
_CLOCK_WORDS = frozenset(
    [
        "CURRENT_DATE",
        "CURRENT_TIME",
        "CURRENT_TIMESTAMP",
        "LOCALTIME",
        "LOCALTIMESTAMP",
        "UTC_DATE",
        "UTC_TIMESTAMP",
    ]
)
_CLOCK_LIST = """
    NOW CURDATE CURTIME SYSDATE GETDATE TODAY LOCALTIME UTC_DATE UTC_TIME UTC_TIMESTAMP CLOCK_TIMESTAMP
    STATEMENT_TIMESTAMP TRANSACTION_TIMESTAMP TIMEOFDAY GET_CURRENT_TIMESTAMP
"""
_CLOCK = frozenset(_CLOCK_LIST.split())
# These read the clock where they are told 'now', or nothing: how many arguments leave the moment open.
_DATES = {
    "DATE": 0,
    "TIME": 0,
    "DATETIME": 0,
    "JULIANDAY": 0,
    "UNIXEPOCH": 0,
    "TIMEDIFF": 0,
    "STRFTIME": 1,
    "UNIX_TIMESTAMP": 0,
}
_NOW = frozenset({"'now'", '"now"'})  # SQLite reads a name that is no column as text
_ENGINE = frozenset(
    {
        *("SQLITE_VERSION", "SQLITE_SOURCE_ID", "CHANGES", "TOTAL_CHANGES", "LAST_INSERT_ROWID"),
        *("VERSION", "CONNECTION_ID", "LAST_INSERT_ID", "PG_BACKEND_PID", "FOUND_ROWS"),
    }
)


def volatile(sql: str) -> Volatile:
    """What the query's result depends on beside the data; the first of chance, clock and engine that is in it."""
    found = list(significant(sql))
    kinds = {_kind(found, place) for place, token in enumerate(found) if token.keyword}
    order: tuple[Volatile, ...] = ("random", "clock", "engine")
    return next((kind for kind in order if kind in kinds), "")


def _kind(found: list[Token], place: int) -> Volatile:
    word = found[place].keyword
    called = place + 1 < len(found) and found[place + 1].text == "("
    is_column = place > 0 and found[place - 1].text == "."
    if word in _CLOCK_WORDS and not is_column:
        return "clock"
    if not called or is_column:
        return ""
    if word in _RANDOM:
        return "random"
    if word in _ENGINE:
        return "engine"
    if word in _CLOCK:
        return "clock"
    if word in _DATES:
        arguments = _arguments(found, place + 1)
        if len(arguments) <= _DATES[word] or not _NOW.isdisjoint(map(str.lower, arguments)):
            return "clock"
    return ""


def _arguments(found: list[Token], opening: int) -> list[str]:
    """The texts of a call's arguments, each without its spaces."""
    depth = found[opening].depth
    arguments: list[str] = []
    for token in found[opening + 1 :]:
        if token.depth <= depth:
            break
        if token.text == "," and token.depth == depth + 1:
            arguments.append("")
        elif arguments:
            arguments[-1] += token.text
        else:
            arguments = [token.text]
    return arguments

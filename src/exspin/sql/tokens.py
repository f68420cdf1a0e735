"""Cut SQL text into tokens, as SQLite's own tokenizer does, without ever failing.

A parser refuses half of what models write; the questions asked here (where does the statement end, is there an
outermost ORDER BY, which words are keywords) need only tokens and nesting depth. Linear in the length of the text.
It checks no grammar. `$tag$ … $tag$` and `E'…'`, which SQLite refuses, are strings as in PostgreSQL and DuckDB. Standard library only: the worker process loads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\n\f\r\ufeff]+)
    | (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    | (?P<string>[xX]?'[^']*(?:''[^']*)*(?:'|\Z)
        |[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)
        |(?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$).*?(?:(?P=dollar)|\Z))
    | (?P<name>"[^"]*(?:""[^"]*)*(?:"|\Z)|`[^`]*(?:``[^`]*)*(?:`|\Z)|\[[^\]]*(?:\]|\Z))
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<word>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)
    | (?P<symbol>\|\||<=|>=|<>|!=|==|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ORDER = re.compile("order", re.IGNORECASE)
_ORDER_BY = re.compile(r"(?<![\w$])order[ \t\n\f\r]+by(?![\w$])", re.IGNORECASE)
_NESTS_OR_QUOTES = re.compile(r"""[('"`\[$]|--|/\*""")


class Token(NamedTuple):
    """`kind` is space, comment, string, name (quoted), number, word or symbol; `depth` counts open parentheses."""

    kind: str
    text: str
    start: int
    depth: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def keyword(self) -> str:
        """The word in upper case; "" for anything but a bare word."""
        return self.text.upper() if self.kind == "word" else ""


def tokens(sql: str, start: int = 0) -> Iterator[Token]:
    """Every token of the text from `start` on; joined, they are the text again."""
    depth = 0
    for match in _TOKEN.finditer(sql, start):
        kind, text = str(match.lastgroup), match.group()
        if text == ")" and kind == "symbol":
            depth -= 1
        yield Token(kind, text, match.start(), depth)
        if text == "(" and kind == "symbol":
            depth += 1


def significant(sql: str, start: int = 0) -> Iterator[Token]:
    """The tokens that mean something: no white space, no comments."""
    return (token for token in tokens(sql, start) if token.kind not in ("space", "comment"))


def outer_depth(found: Sequence[Token]) -> int:
    """How many parentheses stand around the whole statement, given its `significant` tokens. SQLite allows none."""
    begin, end = 0, len(found)
    while end and found[end - 1].text == ";":
        end -= 1
    while begin < end and found[begin].text == "(":
        begin += 1
    closing = end
    while closing > begin and found[closing - 1].text == ")":
        closing -= 1
    shallowest = min((token.depth for token in found[begin:closing]), default=0)
    return max(0, min(begin, end - closing, shallowest))


def has_outer_order_by(sql: str) -> bool:
    """Is there an ORDER BY of the outermost SELECT, that is outside all parentheses but those around the whole?

    Subqueries, common table expressions and windows are all inside parentheses, so depth decides it.
    """
    if not _ORDER.search(sql):
        return False
    if not _NESTS_OR_QUOTES.search(sql):  # the common case, without cutting it into tokens
        return _ORDER_BY.search(sql) is not None
    found = list(significant(sql))
    outer = outer_depth(found)
    previous = ""
    for token in found:
        if previous == "ORDER" and token.keyword == "BY":
            return True
        previous = token.keyword if token.depth == outer else ""
    return False

"""Take the one statement out of what a model wrote, and say whether it is a query at all.

The rule of `extract_sql`, in order; the first that applies wins:

1. text that begins with a statement is that statement;
2. what comes before the first `</think>` is dropped (all of it, if `<think>` is never closed), then rule 1 again,
   also after a label such as `SQL:`;
3. of several ``` fences the **last** one with a statement in it (models draft first), closed or not; those tagged
   `sql` come before the others;
4. after a label anywhere; 5. the first line that begins with a query; 6. the first SELECT of the text.

From there the statement runs to the first `;`, closing fence or chat marker outside literals, quoted names and
comments, to a blank line that is followed by prose, or to a line that begins with a label of our own prompts
(`question:`). A later statement that would write is kept, so that the gate sees it; a sentence that only begins like
one ("Drop table aliases where possible.") is dropped. Text without any query comes back stripped, text past
`MAX_SQL_CHARS` as it is; the gate decides what to call it. The time taken is linear in the length of the text.

The gate only gives good names to things: what protects the database is the worker's authorizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from exspin.records import Outcome
from exspin.sql.tokens import Token, tokens

MAX_SQL_CHARS = 100_000

# What may stand before the first word of a query, piece by piece.
_LEAD = re.compile(r"\s++|--[^\n]*\n|/\*|\(")
_QUERY = re.compile(
    r"""SELECT\b|VALUES\s*\(
    |WITH\s+(?:RECURSIVE\s+)?["`\[]?\w+["`\]]?\s*(?:\([^()]*\)\s*)?AS\s*(?:NOT\s+)?(?:MATERIALIZED\s*)?\(""",
    re.IGNORECASE | re.VERBOSE,
)
# One query and nothing that could end it or hide an end, but for a last `;`: the common case, without cutting it into
# tokens. A last `;` counts only where no quote is open.
_SIMPLE = re.compile(
    r"[ \t\n\f\r]*(?:SELECT|WITH)[ \t\n\f\r](?:[^;\x00/-]+|/(?!\*)|-(?!-))*+\Z", re.IGNORECASE
)
_THINK = re.compile(r"\A<think>.*?(?:</think>|\Z)|\A.*?</think>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(
    r"```[ \t]*(?:([\w+-]*)[ \t]*\n|(sql\w*)\b)?(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE
)
_LABEL = re.compile(r"\b(?:sql|sqlite|query|answer)\b[ \t*_`\"]*:[ \t*_`\"]*", re.IGNORECASE)
_PROMPT_LABEL = re.compile(r"(?:question|evidence|sql)[ \t]*:(?!:)", re.IGNORECASE)
_LINE = re.compile(r"^[ \t>*-]*", re.MULTILINE)
_SELECT = re.compile(r"\bSELECT\b")
_CHAT_MARKER = re.compile(r"</s>|<\|\w+\|>|\[/?INST\]|</?(?:sql|answer|code)>", re.IGNORECASE)
_PROSE_AFTER = re.compile(r"[A-Z][\w']*[,:]?[ \t]+(?:\w[\w'`]*[ \t,]+){2}|[*#>-]+[ \t]|[A-Z]\w+:")
# One or more sentences on a line of their own: no SQL ends in a word and a full stop.
_SENTENCE = re.compile(r"[A-Z][a-z]+[ \t][\w'`,.() \t-]*[a-z)`][.!][ \t]*(?:\n|\Z)")

# A paragraph that begins with one of these goes on with the statement.
_CONTINUES = (
    "FROM WHERE GROUP ORDER HAVING LIMIT OFFSET UNION INTERSECT EXCEPT SELECT AND OR ON USING JOIN INNER LEFT RIGHT FULL "
    "CROSS NATURAL OUTER AS WINDOW THEN ELSE WHEN END IN IS NOT LIKE BETWEEN DESC ASC VALUES WITH"
)
_CONTINUING = frozenset(_CONTINUES.split())

# First words of statements that would write or leave the sandbox. After a `;` the same words may as well begin a
# sentence ("Replace the name …"), so there the next word decides too.
_DEFINED = (
    "TABLE VIEW INDEX TRIGGER UNIQUE TEMP TEMPORARY VIRTUAL DATABASE SCHEMA USER ROLE FUNCTION OR EXTENSION "
    "MATERIALIZED"
)
_WRITES = {
    "INSERT": "INTO OR",
    "REPLACE": "INTO",
    "MERGE": "INTO",
    "DELETE": "FROM",
    "CREATE": _DEFINED,
    "DROP": _DEFINED,
    "ALTER": _DEFINED,
    "TRUNCATE": "TABLE",
    "LOAD": "DATA",
    "EXPORT": "DATABASE",
    "IMPORT": "DATABASE",
}
_WRITES_ALONE = ("ATTACH", "DETACH", "VACUUM", "REINDEX")
_WRITES_IF_FIRST = ("GRANT", "REVOKE", "COPY", "INSTALL", "CALL", "KILL", "DO", "SET")
_QUERIES = ("SELECT", "WITH", "VALUES")
_NOT_QUERY = re.compile(
    r"""EXPLAIN\s+(?:QUERY\s+PLAN\s+)?(?:SELECT|WITH)\b | PRAGMA\s+\w+ | (?:SAVEPOINT|RELEASE)\s+\w+\s*(?:;|\Z)
    | (?:BEGIN|COMMIT|END|ROLLBACK)(?:\s+(?:TRANSACTION|DEFERRED|IMMEDIATE|EXCLUSIVE))?\s*(?:;|\Z)""",
    re.IGNORECASE | re.VERBOSE,
)


def extract_sql(text: str) -> str:
    """The one statement in a model's text, without a closing `;`. Never raises."""
    if len(text) > MAX_SQL_CHARS:
        return text
    plain = text.strip().lstrip("\ufeff")
    answer = plain if _Beginnings(plain).query(0) else _THINK.sub("", plain).strip()
    label = _LABEL.match(answer)
    for begin in (0, label.end() if label else 0):
        if _Beginnings(answer).query(begin):
            return _statement(answer, begin)
    if _is_other_statement(answer):
        return answer
    fences = list(_FENCE.finditer(answer))
    fences.sort(key=lambda match: (match[1] or match[2] or "").lower().startswith("sql"))
    for block in [*(str(match[3]).strip() for match in reversed(fences)), answer]:
        if _is_other_statement(block):
            return block
        start = _query_start(block)
        if start is not None:
            return _statement(block, start)
    return answer


class _Beginnings:
    """Says of places in a text whether a query begins there, and looks at no part of the text twice."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._seen: set[int] = set()  # places from which no query follows
        self._comment = (0, 0)  # where the search for the end of a comment began, and that end

    def query(self, place: int) -> bool:
        """Does a query begin here, behind white space, comments and parentheses?"""
        while place not in self._seen:
            self._seen.add(place)
            lead = _LEAD.match(self._text, place)
            if lead is None:
                return _QUERY.match(self._text, place) is not None
            place = lead.end()
            if lead[0] == "/*":
                begin, end = self._comment
                if not begin <= place <= end - 2:
                    found = self._text.find("*/", place)
                    end = found + 2 if found >= 0 else len(self._text)
                    self._comment = (place, end)
                place = end
        return False


def _query_start(text: str) -> int | None:
    beginnings = _Beginnings(text)
    for anchors in (re.finditer(r"\A", text), _LABEL.finditer(text), _LINE.finditer(text)):
        for anchor in anchors:
            if beginnings.query(anchor.end()):
                return anchor.end()
    found = _SELECT.search(text) or re.search(r"\bselect\b", text, re.IGNORECASE)
    return found.start() if found else None


def _statement(text: str, start: int) -> str:
    """From `start` to the end of the statement."""
    if text[:start].endswith("`"):  # inline code: it ends at the next backtick
        text = text[:start] + text[start:].partition("`")[0]
    previous: Token | None = None
    gap: int | None = None  # a blank line that seems to be followed by prose; the next word tells
    for token in tokens(text, start):
        if token.kind == "space":
            if "\n" in token.text and _PROMPT_LABEL.match(text, token.end):
                return text[start : token.start].strip()
            if gap is None and token.text.count("\n") > 1 and _may_end(text, token, previous):
                gap = token.start
            continue
        if token.kind == "comment":
            continue
        if gap is not None and token.keyword not in _CONTINUING:
            return text[start:gap].strip()
        gap = None
        if token.kind == "symbol" and token.text == ";":
            if _later_write(text, token.end):
                return text[start:].strip()
            return text[start : token.start].strip()
        if token.text[0] == "`" and text.startswith("```", token.start):
            return text[start : token.start].strip()
        if token.text[0] in "<[" and _CHAT_MARKER.match(text, token.start):
            return text[start : token.start].strip()
        previous = token
    return text[start:].strip()


def _may_end(text: str, gap: Token, previous: Token | None) -> bool:
    """Can the statement end before this gap, and does what follows look like prose?"""
    if gap.depth > 0 or previous is None:
        return False
    if previous.kind == "symbol" and previous.text not in ")*":
        return False
    return _PROSE_AFTER.match(text, gap.end) is not None


@dataclass(frozen=True, slots=True)
class Gate:
    """What the gate lets through: `outcome` is None for one query, whose text is `sql`."""

    sql: str
    outcome: Outcome | None = None
    detail: str = ""


def gate(text: str, *, first_only: bool = False) -> Gate:
    """Is the text exactly one statement that reads? With `first_only`, statements after the first are dropped
    instead of refused (the test-suite evaluator does so), unless one of them would write.
    """
    if len(text) > MAX_SQL_CHARS:
        return Gate(text, Outcome.ERROR, "too_complex")
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: no engine can be given this text
        return Gate(text, Outcome.ERROR, "syntax")
    simple = text.rstrip(" \t\n\f\r")
    if simple.endswith(";") and not any(simple.count(mark) % 2 for mark in "'\"`"):
        simple = simple[:-1] if "[" not in simple else simple
    if _SIMPLE.match(simple):
        return Gate(simple.strip())
    statements = list(_split(text))
    if not statements:
        return Gate(text, Outcome.NOT_A_QUERY, "empty")
    (sql, first), *later = statements
    if any(_writes(words, sure=False) for _, words in later):
        return Gate(text, Outcome.DENIED, "several_statements")
    if _writes(first, sure=True):
        return Gate(sql, Outcome.DENIED, "write")
    if first[0] not in _QUERIES:
        return Gate(sql, Outcome.NOT_A_QUERY, "no_select")
    if later and not first_only:
        return Gate(text, Outcome.NOT_A_QUERY, "several_statements")
    if "\x00" in sql:
        return Gate(sql, Outcome.ERROR, "syntax")
    return Gate(sql)


def _split(text: str, start: int = 0) -> Iterator[tuple[str, list[str]]]:
    """The non-empty statements of a text, each with its first words (at most three tokens)."""
    words: list[str] = []
    begin = start
    for token in tokens(text, start):
        if token.kind == "symbol" and token.text == ";":
            if words:
                yield text[begin : token.start].strip(), words
            words, begin = [], token.end
        elif token.kind not in ("space", "comment") and len(words) < 3 and token.text != "(":
            words.append(token.keyword or token.text)
    if words:
        yield text[begin:].strip(), words


def _writes(words: list[str], *, sure: bool) -> bool:
    """Does a statement with these first words write? `sure`: it is a statement for certain, not a sentence."""
    first, second, third = [*words, "", ""][:3]
    if first in _WRITES:
        return sure or second in _WRITES[first].split()
    if first == "UPDATE":
        return sure or third == "SET"
    if first == "PRAGMA":
        return third in ("=", ".")
    return first in _WRITES_ALONE or (sure and first in _WRITES_IF_FIRST)


def _later_write(text: str, start: int) -> bool:
    """Is there a write behind a complete statement? What only reads like one is never executed either way."""
    return any(
        _writes(words, sure=False) and not _SENTENCE.match(later)
        for later, words in _split(text, start)
    )


def _is_other_statement(text: str) -> bool:
    """Does the text begin with SQL that is no query? Such text is the model's answer as it stands."""
    words = next((words for _, words in _split(text[:2000])), None)
    if words is None:
        return bool(text)  # nothing but comments
    return _writes(words, sure=False) or bool(_NOT_QUERY.match(text))

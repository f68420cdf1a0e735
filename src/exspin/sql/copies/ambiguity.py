"""Statements that mean the same and may still answer otherwise: what a query leaves open, made visible.

SQL leaves open which of equal rows come first, so `ORDER BY age LIMIT 1` has several right answers where two rows share
the least age, and `SELECT name … GROUP BY country` has any name of each country. `variants` rewrites a statement so that
an engine decides otherwise: every table is read from its end, and every ORDER BY breaks ties by the result's columns, up
or down. Where a variant's result differs, the statement has no single right answer on that database. Works on tokens; a
variant may fail to run where the text is unusual (an alias of rowid, tables without one), and then says nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from exspin.sql.copies.mentions import unquoted
from exspin.sql.ties import end_of_order, further_terms, is_order_by
from exspin.sql.tokens import Token, significant

_AFTER_FROM = "WHERE GROUP HAVING ORDER LIMIT UNION INTERSECT EXCEPT WINDOW"
_AFTER_TABLE = f"ON USING JOIN INNER LEFT RIGHT FULL CROSS NATURAL OUTER INDEXED NOT {_AFTER_FROM}"
_ENDS_FROM = frozenset(["SELECT", *_AFTER_FROM.split()])
_NO_ALIAS = frozenset(_AFTER_TABLE.split())

Edit = tuple[int, int, str]  # from, to, what stands there instead


def variants(sql: str, tables: Collection[str]) -> list[str]:
    """Up to three rewritings of a statement, none equal to it. `tables`: names of tables that may be read backwards."""
    found = list(significant(sql))
    known = {name.lower() for name in tables}
    edits = [_backwards(found, known), _ties(found, ""), _ties(found, " DESC")]
    texts = [_edited(sql, each) for each in edits if each]
    return [text for text in dict.fromkeys(texts) if text != sql]


def _backwards(found: Sequence[Token], known: Collection[str]) -> list[Edit]:
    """Every table is replaced by its rows in reverse, under the name it had."""
    edits: list[Edit] = []
    inside: dict[int, bool] = {}
    for place, token in enumerate(found):
        if token.keyword in ("FROM", "JOIN"):
            inside[token.depth] = True
        elif token.keyword in _ENDS_FROM or token.text == "(":
            inside[token.depth + (token.text == "(")] = False
            continue
        elif not (token.text == "," and inside.get(token.depth)):
            continue
        if place + 1 >= len(found):
            break
        table = found[place + 1]
        after = found[place + 2] if place + 2 < len(found) else None
        name = table.text if table.kind == "word" else unquoted(table.text)
        if table.kind not in ("word", "name") or name.lower() not in known:
            continue
        if after is not None and after.text in (".", "("):
            continue
        # LIMIT keeps SQLite from dropping the inner ORDER BY.
        reversed_ = f"(SELECT * FROM {table.text} ORDER BY rowid DESC LIMIT -1)"
        has_alias = after is not None and (
            after.keyword == "AS"
            or after.kind == "name"
            or (after.kind == "word" and after.keyword not in _NO_ALIAS)
        )
        alias = "" if has_alias else f" AS {table.text}"
        edits.append((table.start, table.end, reversed_ + alias))
    return edits


def _ties(found: Sequence[Token], direction: str) -> list[Edit]:
    """Every ORDER BY of a SELECT goes on with the columns of its result."""
    edits: list[Edit] = []
    selects: dict[int, bool] = {0: True}  # depth: do these parentheses hold a SELECT?
    widths: dict[int, int] = {}  # depth: columns of the SELECT's result; 1 where a * hides them
    listing: dict[int, bool] = {}
    for place, token in enumerate(found):
        depth = token.depth
        if token.text == "(":
            following = found[place + 1].keyword if place + 1 < len(found) else ""
            selects[depth + 1] = following in ("SELECT", "WITH", "VALUES")
            listing[depth + 1] = False
        elif token.keyword == "SELECT":
            widths[depth], listing[depth] = 1, True
        elif token.keyword == "FROM":
            listing[depth] = False
        elif token.text == "," and listing.get(depth):
            widths[depth] += 1
        elif token.text == "*" and listing.get(depth) and _is_star(found, place):
            widths[depth], listing[depth] = 1, False
        elif selects.get(depth) and is_order_by(found, place):
            end = end_of_order(found, place)
            edits.append((end, end, further_terms(min(widths.get(depth, 1), 9), direction)))
    return edits


def _is_star(found: Sequence[Token], place: int) -> bool:
    """`*` or `t.*` as a column of the result, not a multiplication."""
    before = found[place - 1]
    return before.text in (",", ".") or before.keyword in ("SELECT", "DISTINCT", "ALL")


def _edited(sql: str, edits: Sequence[Edit]) -> str:
    parts, done = [], 0
    for start, end, text in sorted(edits):
        parts += [sql[done:start], text]
        done = end
    return "".join([*parts, sql[done:]])

"""Does an ORDER BY leave open which rows come, or in which order? Two spellings of the query that break ties both ways.

Reversing unordered rows does not show it: SQLite reverses nothing where there is an ORDER BY. Rows that tie on its terms
and have the same columns can change places unseen; any others come in another order, or across a LIMIT, when all
columns are appended as further terms, once ascending and once descending. Ties inside subqueries are not looked at.
Standard library only: the worker process loads it.
"""

from __future__ import annotations

from collections.abc import Sequence

from exspin.sql.tokens import Token, outer_depth, significant

_ENDS = frozenset({"LIMIT", "UNION", "INTERSECT", "EXCEPT"})
_ENDS_ELSEWHERE = frozenset(
    {"OFFSET", "FETCH"}
)  # of other engines; a column of SQLite may be called so


def broken_ties(sql: str, width: int) -> tuple[str, str] | None:
    """The query with ties broken by its own `width` columns, upwards and downwards; None without an outermost ORDER BY."""
    found = list(significant(sql))
    outer = outer_depth(found)
    place = next(
        (p for p, t in enumerate(found) if t.depth == outer and is_order_by(found, p)), None
    )
    if place is None:
        return None
    end = end_of_order(found, place)
    up, down = (further_terms(width, way) for way in (" ASC", " DESC"))
    return sql[:end] + up + " " + sql[end:], sql[:end] + down + " " + sql[end:]


def is_order_by(tokens: Sequence[Token], place: int) -> bool:
    """Is the token at this place the BY of an ORDER BY?"""
    return tokens[place].keyword == "BY" and place > 0 and tokens[place - 1].keyword == "ORDER"


def end_of_order(tokens: Sequence[Token], by: int) -> int:
    """Where in the text the terms of an ORDER BY end, whose BY is at this place. Not behind a comment, which would swallow
    what is added.
    """
    depth, last = tokens[by].depth, tokens[by]
    for token in tokens[by + 1 :]:
        words = _ENDS if last is tokens[by] or last.text in (",", ".") else _ENDS | _ENDS_ELSEWHERE
        ends = token.depth == depth and (token.keyword in words or token.text == ";")
        if token.depth < depth or ends:
            break
        last = token
    return last.end


def further_terms(width: int, direction: str) -> str:
    """Terms that order by the first columns of the result, to be added to an ORDER BY."""
    return "".join(f", {column}{direction}" for column in range(1, width + 1))

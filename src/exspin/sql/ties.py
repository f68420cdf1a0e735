"""Does an ORDER BY leave open which rows come, or in which order? Two spellings of the query that break ties both ways.

Reversing unordered rows does not show it: SQLite reverses nothing where there is an ORDER BY. Rows that tie on its terms
and have the same columns can change places unseen; any others come in another order, or across a LIMIT, when all
columns are appended as further terms, once ascending and once descending. Ties inside subqueries are not looked at.
Standard library only: the worker process loads it.
"""

from __future__ import annotations

from exspin.sql.tokens import significant

_ENDS = ("LIMIT", "OFFSET")


def broken_ties(sql: str, width: int) -> tuple[str, str] | None:
    """The query with ties broken by its own `width` columns, upwards and downwards; None without an outermost ORDER BY."""
    ordered = False
    previous = ""
    end = len(sql)
    for token in significant(sql):
        if token.depth:
            previous = ""
            continue
        if ordered and (token.keyword in _ENDS or token.text == ";"):
            end = token.start
            break
        ordered = ordered or (previous == "ORDER" and token.keyword == "BY")
        previous = token.keyword
        last = token.end
    if not ordered:
        return None
    end = min(end, last)  # not behind a comment, which would swallow what is added
    up, down = (
        "".join(f", {column} {way}" for column in range(1, width + 1)) for way in ("ASC", "DESC")
    )
    return sql[:end] + up + " " + sql[end:], sql[:end] + down + " " + sql[end:]

"""How hard a query is by Spider's rule, and its skeleton: the shape without names and values.

Spider counts components of the outermost query (of the first one, in a set operation): clauses, joins, OR and LIKE in
one count; nested queries in conditions and set operations in another; several aggregates, columns, conditions or
group keys in a third. The rule reads Spider's own parse of the query; here the same is counted on sqlglot's tree.
`skeleton` needs no parser, so it is defined for any text.
"""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from exspin.sql.tokens import significant

Hardness = Literal["easy", "medium", "hard", "extra", ""]

_MAX_CHARS = 20_000  # nobody writes longer queries; the parser's time and stack are not bounded
_MAX_DEPTH = 60
_AGGREGATES = (exp.Max, exp.Min, exp.Count, exp.Sum, exp.Avg)


def hardness(sql: str) -> Hardness:
    """Spider's class of a query; "" where it cannot be parsed."""
    if (
        len(sql) > _MAX_CHARS
        or max((token.depth for token in significant(sql)), default=0) > _MAX_DEPTH
    ):
        return ""
    try:
        tree = sqlglot.parse_one(sql, dialect="sqlite")
        return _class(*_counts(tree)) if isinstance(tree, exp.Query) else ""
    except (SqlglotError, RecursionError):
        return ""


def _class(components: int, nested: int, others: int) -> Hardness:
    """The table of Spider's evaluation script."""
    if components <= 1 and others == 0 and nested == 0:
        return "easy"
    if nested == 0 and ((others <= 2 and components <= 1) or (components <= 2 and others < 2)):
        return "medium"
    if nested == 0 and ((others > 2 and components <= 2) or (2 < components <= 3 and others <= 2)):
        return "hard"
    if components <= 1 and others == 0 and nested <= 1:
        return "hard"
    return "extra"


def _counts(tree: exp.Query) -> tuple[int, int, int]:
    select, in_set_operation = _first_select(tree)
    where, having, group = (select.args.get(name) for name in ("where", "having", "group"))
    # A trailing ORDER BY or LIMIT belongs to the last query of a set operation, not to the first.
    order, limit = select.args.get("order"), select.args.get("limit")
    joins = select.args.get("joins") or []
    where_tests, where_ors = _tests(where.this if where else None)
    having_tests, having_ors = _tests(having.this if having else None)
    joined = [_tests(join.args.get("on")) for join in joins]
    tests = [*chain.from_iterable(tests for tests, _ in joined), *where_tests, *having_tests]
    keys = group.expressions if group else []
    order_terms = [term.this for term in order.expressions] if order else []

    components = sum(map(bool, (where, group, order, limit))) + len(joins)
    components += where_ors + having_ors + sum(ors for _, ors in joined)
    components += sum(
        isinstance(test.this if _is_negated(test) else test, exp.Like) for test in tests
    )

    nested = in_set_operation + sum(_has_query(test) for test in tests)

    # Spider's script counts a negated condition and the links between HAVING conditions as aggregates.
    aggregates = sum(_is_aggregate(column) for column in select.expressions)
    aggregates += sum(_is_negated(test) for test in (*where_tests, *having_tests))
    aggregates += max(0, len(having_tests) - 1)
    aggregates += sum(_is_aggregate(key) for key in keys)
    aggregates += sum(_is_aggregate(side) for term in order_terms for side in _sides(term))
    others = (
        (aggregates > 1) + (len(select.expressions) > 1) + (len(where_tests) > 1) + (len(keys) > 1)
    )
    return components, nested, others


def _first_select(tree: exp.Query) -> tuple[exp.Select, bool]:
    found: exp.Expr = tree
    in_set_operation = False
    while not isinstance(found, exp.Select):
        in_set_operation = in_set_operation or isinstance(found, exp.SetOperation)
        found = found.this
    return found, in_set_operation


def _tests(condition: exp.Expr | None) -> tuple[list[exp.Expr], int]:
    """The single conditions that AND and OR join, and the number of ORs. No recursion: chains can be long."""
    tests: list[exp.Expr] = []
    ors = 0
    waiting = [condition] if condition is not None else []
    while waiting:
        part = waiting.pop()
        if isinstance(part, exp.And | exp.Or):
            ors += isinstance(part, exp.Or)
            waiting += [part.left, part.right]
        elif isinstance(part, exp.Paren):
            waiting.append(part.this)
        else:
            tests.append(part)
    return tests, ors


def _has_query(test: exp.Expr) -> bool:
    return test.find(exp.Query) is not None


def _is_negated(test: exp.Expr) -> bool:
    return isinstance(test, exp.Not)


def _is_aggregate(column: exp.Expr) -> bool:
    return isinstance(column.unalias(), _AGGREGATES)


def _sides(term: exp.Expr) -> tuple[exp.Expr, ...]:
    return (term.left, term.right) if isinstance(term, exp.Binary) else (term,)


_KEYWORD_LIST = (
    "SELECT DISTINCT ALL FROM WHERE GROUP BY ORDER HAVING LIMIT OFFSET UNION INTERSECT EXCEPT AND OR NOT IN IS NULL LIKE "
    "GLOB BETWEEN EXISTS ON USING JOIN INNER LEFT RIGHT FULL CROSS NATURAL OUTER CASE WHEN THEN ELSE END CAST "
    "WITH RECURSIVE OVER PARTITION WINDOW VALUES DESC ASC COLLATE ESCAPE"
)
_KEYWORDS = frozenset(_KEYWORD_LIST.split())


_SPELLINGS = {"<>": "!=", "==": "="}


def skeleton(sql: str) -> str:
    """The query with names as `_` and literals as `?`, in one spelling; keywords and functions stay, aliases go."""
    parts: list[str] = []
    found = list(significant(sql))
    for token, following in zip_longest(found, found[1:]):
        calls = following is not None and following.text == "("
        if token.keyword in _KEYWORDS or (token.keyword and calls):
            part = token.keyword
        elif token.kind in ("word", "name"):
            part = "_"
        elif token.kind in ("string", "number"):
            part = "?"
        else:
            part = _SPELLINGS.get(token.text, token.text)
        is_alias = part == "_" and bool(parts) and parts[-1] in ("_", ")", "?", "END")
        if not (is_alias or token.keyword == "AS" or part in (".", ";")):
            parts.append(part)
    return " ".join(parts)

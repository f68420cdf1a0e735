"""The words of a query, what may follow them, and how much of a thing is enough."""

from __future__ import annotations

from dataclasses import dataclass

from exspin.sql.guide.scopes import Select

DEPTH = 3  # queries inside each other
NESTED_FUNCTIONS = 2
CONDITIONS = 8  # in one query
LIST = 20  # values in parentheses
NUMBER = 12  # characters of one
ALIAS = 30  # characters
LITERAL = 80  # characters of a string


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


AGGREGATES = words("count sum avg min max")
ARGUMENTS = dict.fromkeys(AGGREGATES | words("abs julianday length lower upper"), 1)
ARGUMENTS |= {"round": 2, "strftime": 2, "substr": 3, "coalesce": 3}  # at most
LEAST_ARGUMENTS = {"strftime": 2, "substr": 2, "coalesce": 2}
FUNCTIONS = frozenset(ARGUMENTS)
COMPARE_BY_WORD = words("in not like between is")
JOINS = words("join inner left")
SETS = words("union intersect except")
CLAUSES = {
    "where": words("from on"),
    "group": words("from on where"),
    "having": words("group"),
    "order": words("from on where group having"),
    "limit": words("from on where group having order"),
}  # clause → those it may follow
FORCED = {
    "group": words("by"),
    "order": words("by"),
    "inner": words("join"),
    "outer": words("join"),
    "left": words("join outer"),
    "union": words("select all"),
    "intersect": words("select"),
    "except": words("select"),
    "all": words("select"),
    "nulls": words("first last"),
    "is": words("not null"),
    "is not": words("null"),
    "not": words("in like between"),
}  # what must come after these words
COMPARISONS = words("= == < > <= >= <> !=")
JOINED_BY = words("= ==")
ARITHMETIC = words("+ - * /")


@dataclass(slots=True, eq=False)
class Paren:
    """An open parenthesis inside `select`; `after` is a function, in, exists, or "" for a group."""

    select: Select
    after: str
    side: str
    between: bool
    query: bool = False
    commas: int = 0

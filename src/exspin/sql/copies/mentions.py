"""What golds mention: literals with their columns, joined columns, columns that are ordered by. Read from tokens alone.

Copies of a database are made around this (see `perturb.py`): a copy in which no row satisfies `age > 30` says nothing
about a query that asks for it. What is not understood is left out; nothing here can fail. A column is given with the
tables it may belong to, by alias where it has one, else all tables of its statement; names are in lower case.
Standard library only: the process that builds copies loads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from exspin.sql.tokens import Token, significant

Value = int | float | str

_COMPARISONS = frozenset({"=", "==", "<>", "!=", "<", ">", "<=", ">="})
# A word that cannot be a column or an alias where one is looked for.
_WORD_LIST = """
    AND AS ASC BETWEEN BY CASE CROSS DESC DISTINCT ELSE END EXCEPT EXISTS FROM FULL GROUP HAVING IN INNER INTERSECT IS
    JOIN LEFT LIKE LIMIT NATURAL NOT NULL OFFSET ON OR ORDER OUTER RIGHT SELECT SET THEN UNION USING WHEN WHERE
"""
_WORDS = frozenset(_WORD_LIST.split())
_ENDS_FROM = frozenset(
    {"WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "UNION", "INTERSECT", "EXCEPT", "SELECT"}
)
_LONGEST_LITERAL = 200


@dataclass(frozen=True, slots=True, order=True)
class ColumnName:
    """`tables` are those it may belong to; none: any."""

    tables: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Condition:
    """A column compared with a literal. `operator` is a comparison or LIKE; BETWEEN and IN are taken apart."""

    column: ColumnName
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class Mentions:
    """What a database's golds say, without order and without repetition."""

    conditions: tuple[tuple[Condition, ...], ...] = ()  # of one gold each
    joins: tuple[tuple[ColumnName, ColumnName], ...] = ()
    ordered: tuple[ColumnName, ...] = ()  # in ORDER BY, MIN or MAX

    def to_json(self) -> list[Any]:
        def column(name: ColumnName) -> list[Any]:
            return [list(name.tables), name.name]

        return [
            [[[column(c.column), c.operator, c.value] for c in group] for group in self.conditions],
            [[column(a), column(b)] for a, b in self.joins],
            [column(name) for name in self.ordered],
        ]

    @classmethod
    def from_json(cls, value: list[Any]) -> Self:
        def column(pair: list[Any]) -> ColumnName:
            return ColumnName(tuple(pair[0]), pair[1])

        conditions, joins, ordered = value
        return cls(
            tuple(tuple(Condition(column(c), op, v) for c, op, v in group) for group in conditions),
            tuple((column(a), column(b)) for a, b in joins),
            tuple(map(column, ordered)),
        )


def read_mentions(golds: Iterable[str]) -> Mentions:
    """What these statements mention. The order of the statements makes no difference."""
    conditions: set[tuple[Condition, ...]] = set()
    joins: set[tuple[ColumnName, ColumnName]] = set()
    ordered: set[ColumnName] = set()
    for gold in golds:
        statement = _Statement(gold)
        statement.read()
        if statement.conditions:
            conditions.add(tuple(dict.fromkeys(statement.conditions)))
        joins.update(statement.joins)
        ordered.update(statement.ordered)
    return Mentions(
        tuple(sorted(conditions, key=repr)), tuple(sorted(joins)), tuple(sorted(ordered))
    )


class _Statement:
    """One pass over the tokens of a statement; `read` fills the three lists."""

    def __init__(self, sql: str) -> None:
        self.tokens = list(_joined_operators(significant(sql)))
        self.conditions: list[Condition] = []
        self.joins: list[tuple[ColumnName, ColumnName]] = []
        self.ordered: list[ColumnName] = []
        self._aliases: dict[str, set[str]] = {}
        self._tables: list[str] = []
        self._read_tables()

    def read(self) -> None:
        for place, token in enumerate(self.tokens):
            if token.text in _COMPARISONS:
                self._comparison(place)
            elif token.keyword in ("LIKE", "BETWEEN", "IN"):
                self._predicate(place)
            elif token.keyword == "BY" and self._word(place - 1) == "ORDER":
                self._order_by(place + 1, token.depth)
            elif token.keyword in ("MIN", "MAX") and self._text(place + 1) == "(":
                self._order_by(place + 2, self.tokens[place + 1].depth + 1)

    # --- tables and aliases

    def _read_tables(self) -> None:
        """Every table named after FROM, JOIN or a comma between them, with its alias."""
        inside: dict[int, bool] = {}  # depth: are we in a FROM clause?
        for place, token in enumerate(self.tokens):
            word = token.keyword
            if word in ("FROM", "JOIN"):
                inside[token.depth] = True
            elif word in _ENDS_FROM or token.text == ")":
                inside[token.depth + (token.text == ")")] = False
                continue
            elif not (token.text == "," and inside.get(token.depth)):
                continue
            table = self._name(place + 1)
            if table is None:
                continue
            after = place + 2
            if self._word(after) == "AS":
                after += 1
            alias = self._name(after) or table
            self._aliases.setdefault(alias, set()).add(table)
            self._aliases.setdefault(table, set()).add(table)
            self._tables.append(table)

    # --- what is compared

    def _comparison(self, place: int) -> None:
        operator = {"==": "=", "<>": "!="}.get(self.tokens[place].text, self.tokens[place].text)
        left = self._column_before(place)
        if left is None:
            return
        value, _ = self._literal(place + 1)
        if value is not None:
            self.conditions.append(Condition(left, operator, value))
        elif operator == "=" and (right := self._column_at(place + 1)):
            self.joins.append((min(left, right), max(left, right)))

    def _predicate(self, place: int) -> None:
        left = self._column_before(place - (self._word(place - 1) == "NOT"))
        if left is None:
            return
        match self.tokens[place].keyword:
            case "LIKE":
                value, _ = self._literal(place + 1)
                if value is not None:
                    self.conditions.append(Condition(left, "LIKE", value))
            case "BETWEEN":
                low, after = self._literal(place + 1)
                high, _ = self._literal(after + 1)
                if low is not None and high is not None and self._word(after) == "AND":
                    self.conditions += [Condition(left, ">=", low), Condition(left, "<=", high)]
            case "IN" if self._text(place + 1) == "(":
                if self._word(place + 2) == "SELECT":
                    start = place + 3 + (self._word(place + 3) == "DISTINCT")
                    if right := self._column_at(start):
                        self.joins.append((min(left, right), max(left, right)))
                    return
                at = place + 2
                while (found := self._literal(at))[0] is not None:
                    self.conditions.append(Condition(left, "=", found[0]))
                    at = found[1] + (self._text(found[1]) == ",")

    def _order_by(self, place: int, depth: int) -> None:
        while place < len(self.tokens) and self.tokens[place].depth >= depth:
            if self._word(place) in ("LIMIT", "FROM"):
                return
            if (column := self._column_at(place)) and self._text(place + 1) != "(":
                self.ordered.append(column)
                if self._text(place + 1) == ".":
                    place += 2
            place += 1

    # --- reading single things

    def _text(self, place: int) -> str:
        return self.tokens[place].text if 0 <= place < len(self.tokens) else ""

    def _word(self, place: int) -> str:
        return self.tokens[place].keyword if 0 <= place < len(self.tokens) else ""

    def _name(self, place: int) -> str | None:
        """The name at this place in lower case, without its quotes."""
        if not 0 <= place < len(self.tokens):
            return None
        token = self.tokens[place]
        if token.kind == "word" and token.keyword not in _WORDS:
            return token.text.lower()
        return unquoted(token.text).lower() if token.kind in ("name", "string") else None

    def _column_at(self, place: int) -> ColumnName | None:
        """The column that begins here: `a` or `t.a`."""
        first = self._name(place)
        if first is None or self.tokens[place].kind == "string":
            return None
        if self._text(place + 1) == ".":
            last = self._name(place + 2)
            return None if last is None else self._resolved(first, last)
        return self._resolved(None, first)

    def _column_before(self, place: int) -> ColumnName | None:
        """The column that ends just before this place; of `max(a)` it is a."""
        end = place - 1
        if self._text(end) == ")":
            end -= 1
        last = self._name(end)
        if last is None or self.tokens[end].kind == "string":
            return None
        if self._text(end - 1) == ".":
            return self._resolved(self._name(end - 2), last)
        return self._resolved(None, last)

    def _resolved(self, qualifier: str | None, name: str) -> ColumnName:
        tables = self._aliases.get(qualifier or "", set()) if qualifier else set(self._tables)
        return ColumnName(tuple(sorted(tables)), name)

    def _literal(self, place: int) -> tuple[Value | None, int]:
        """The literal that begins here (None: there is none), and the place behind it.

        Text in double quotes is a literal where SQLite finds no such column, and golds use that.
        """
        sign = self._text(place) if self._text(place) in ("-", "+") else ""
        place += bool(sign)
        if place >= len(self.tokens):
            return None, place
        token = self.tokens[place]
        if token.kind == "number":
            number = number_of(token.text)
            return (None if number is None else -number if sign == "-" else number), place + 1
        quoted = token.kind == "string" or (token.kind == "name" and token.text[0] == '"')
        if quoted and not sign and self._text(place + 1) != "." and token.text[0] in "'\"":
            text = unquoted(token.text)
            return (text if len(text) <= _LONGEST_LITERAL else None), place + 1
        return None, place


def _joined_operators(found: Iterator[Token]) -> Iterator[Token]:
    """Golds are written by people: `> =` is meant as `>=`."""
    last: Token | None = None
    for token in found:
        if last is not None and token.text == "=" and last.text in ("<", ">", "!"):
            last = Token("symbol", last.text + "=", last.start, last.depth)
            continue
        if last is not None:
            yield last
        last = token
    if last is not None:
        yield last


def unquoted(text: str) -> str:
    """A quoted name or string without its quotes."""
    mark = "]" if text[0] == "[" else text[0]
    return text[1:-1].replace(mark * 2, mark)


def number_of(text: str) -> int | float | None:
    """The number a text spells, if it spells one that SQLite would keep as it is."""
    try:
        whole = int(text)
    except ValueError:
        pass
    else:
        return whole if -(2**63) <= whole < 2**63 else None
    try:
        real = float(text)
    except ValueError:
        return None
    return real if abs(real) < 1e300 else None

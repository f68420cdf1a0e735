"""How many of the values that gold queries compare columns with are among the hints: the recall of value retrieval.

A literal counts when the database holds it, in this spelling or in another case or padding ("Aberdeen" where "Aberdeen "
is stored); what must be among the hints is a stored spelling. Whether the database holds it is asked of the index, so
values that the index leaves out (longer than 256 characters, unprintable, past its limits) count neither way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from exspin.hints.folding import fold, words
from exspin.hints.values import VALUES_SHOWN, Values, open_values
from exspin.records import Database, Example
from exspin.sql.tokens import significant

_MAX_CHARS = 20_000  # as for hardness: the parser's time and stack are not bounded
_MAX_DEPTH = 60
_SPELLINGS = 256
_COMPARES = (
    exp.EQ,
    exp.NEQ,
    exp.In,
    exp.Like,
    exp.ILike,
    exp.Is,
    exp.Between,
    exp.GT,
    exp.GTE,
    exp.LT,
    exp.LTE,
)
_DIALECTS = {"sqlite": "sqlite", "duckdb": "duckdb", "postgresql": "postgres", "mysql": "mysql"}


@dataclass(frozen=True)
class Missed:
    """One literal of a gold whose stored spelling is not among the hints."""

    example_id: str
    literal: str
    stored: tuple[str, ...]


@dataclass(frozen=True)
class ValueRecall:
    """What value retrieval finds of the golds' literals, and what it shows for it."""

    n: int  # examples whose database is there
    golds: int  # of them with a literal that the database holds
    found: int  # of these, all such literals are among the hints
    literals: int
    literals_found: int
    in_column: int  # of these literals, under the column that the gold compares it with, as far as names tell
    shown: float  # values of one prompt, on average over all examples
    unparsed: int  # golds that nobody can take apart
    missed: tuple[Missed, ...] = field(repr=False)

    @property
    def recall(self) -> float | None:
        """The share of golds; None where no gold has such a literal."""
        return self.found / self.golds if self.golds else None


@dataclass(frozen=True, slots=True)
class Literal:
    """A text that a gold compares with a column; `column` is the column's name, "" where an expression hides it."""

    text: str
    column: str


def value_recall(
    examples: Iterable[Example],
    databases: Mapping[str, Database],
    *,
    cache: Path | None = None,
    limit: int = VALUES_SHOWN,
    values_of: Callable[[Database], Values] | None = None,
) -> ValueRecall:
    """Look up every example's question (and evidence) and compare with its gold. Missing databases leave the count.

    `values_of` gives the opened values of a database, where the caller keeps them open. Raises what `open_values` does.
    """
    opened: dict[str, Values] = {}
    n = golds = found = literals = literals_found = in_column = shown = unparsed = 0
    missed: list[Missed] = []
    for example in examples:
        database = databases.get(example.db_id)
        if database is None:
            continue
        if example.db_id not in opened:
            opened[example.db_id] = (
                values_of(database) if values_of else open_values(database, cache)
            )
        values = opened[example.db_id]
        hints = values.find(f"{example.question}\n{example.evidence}".rstrip(), limit)
        n += 1
        shown += len(hints)
        read = literals_of(
            example.query,
            {c.column.lower() for c in values.index.columns},
            _DIALECTS.get(database.kind, "sqlite"),
        )
        if read is None:
            unparsed += 1
            continue
        all_found, held = True, False
        for literal in read:
            stored = stored_spellings(values, literal.text)
            if not stored:
                continue
            held = True
            literals += 1
            here = [hint for hint in hints if hint.value in stored]
            if here:
                literals_found += 1
                in_column += any(
                    not literal.column or hint.column.lower() == literal.column.lower()
                    for hint in here
                )
            else:
                all_found = False
                missed.append(Missed(example.example_id, literal.text, stored))
        golds += held
        found += held and all_found
    return ValueRecall(
        n,
        golds,
        found,
        literals,
        literals_found,
        in_column,
        shown / n if n else 0.0,
        unparsed,
        tuple(missed),
    )


def stored_spellings(values: Values, literal: str) -> tuple[str, ...]:
    """How the database spells a literal: exactly so if it does anywhere, else in other cases and paddings."""
    key = "".join(map(fold, words(literal)))
    if not key:
        return ()
    texts = {
        values.index.text(value)
        for _, found in values.index.with_keys([key], _SPELLINGS)
        for value in found
    }
    if literal in texts:
        return (literal,)
    plain = literal.strip().casefold()
    return tuple(sorted(text for text in texts if text.strip().casefold() == plain))


def literals_of(sql: str, columns: set[str], dialect: str = "sqlite") -> list[Literal] | None:
    """The distinct texts that a query compares with columns; None where it cannot be parsed.

    SQLite reads "text" as a string where no column (`columns`, in small letters) has that name, and golds rely on it.
    """
    depth = max((token.depth for token in significant(sql)), default=0)
    if len(sql) > _MAX_CHARS or depth > _MAX_DEPTH:
        return None
    try:
        tree = sqlglot.parse_one(sql, dialect=dialect)
        return list(dict.fromkeys(_read(tree, columns)))
    except (SqlglotError, RecursionError):
        return None


def _read(tree: exp.Expr, columns: set[str]) -> Iterator[Literal]:
    for node in tree.find_all(exp.Literal, exp.Column):
        text = _text(node, columns)
        compared = node.parent
        while isinstance(compared, exp.Paren | exp.Tuple):
            compared = compared.parent
        if text is None or not isinstance(compared, _COMPARES):
            continue
        sides = [
            column
            for side in compared.iter_expressions()
            if not isinstance(side, exp.Query | exp.Subquery)
            for column in side.find_all(exp.Column)
            if _text(column, columns) is None
        ]
        if sides:
            direct = sides[0].parent is compared
            yield Literal(text, sides[0].name if direct else "")


def _text(node: exp.Expr, columns: set[str]) -> str | None:
    if isinstance(node, exp.Literal):
        return node.this if node.is_string else None
    name = node.this if isinstance(node, exp.Column) else None
    if isinstance(name, exp.Identifier) and name.args.get("quoted") and not node.args.get("table"):
        return name.this if name.this.lower() not in columns else None
    return None

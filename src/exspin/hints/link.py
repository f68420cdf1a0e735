"""Schema linking: which tables and columns a question needs, as probabilities, and what is kept of them.

A *linker* gives every table and column of a schema the probability that the gold query uses it; a *selection* is what a
prompt then shows. A selection never loses the joins: the key columns between two tables that are kept stay, beside the k2
columns of a table. Nothing here knows how the probabilities come about (`lexical.py`, `learned.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from exspin.sql.schema import Schema, Table

if TYPE_CHECKING:
    from exspin.hints.values import Values

Item = tuple[str, str]  # table, column
_Named = TypeVar("_Named", str, Item)


@dataclass(frozen=True, slots=True)
class LinkScores:
    """Probabilities, 0 to 1, that the gold query uses an item. Names are those of the schema, all of them."""

    tables: Mapping[str, float]
    columns: Mapping[Item, float]


@dataclass(frozen=True, slots=True)
class Selection:
    """The tables that are kept, and the columns of each, best first. A table may be kept without columns."""

    tables: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]  # a key for each of `tables`, in their order

    def __contains__(self, item: str | Item) -> bool:
        """Is this table, or this (table, column), kept?"""
        if isinstance(item, str):
            return item in self.columns
        return item[1] in self.columns.get(item[0], ())


class Linker(Protocol):
    """Whoever can say what of a schema a question needs."""

    @property
    def name(self) -> str: ...

    def score(
        self, question: str, schema: Schema, *, evidence: str = "", values: Values | None = None
    ) -> LinkScores:
        """Score every table and column. `values`: the database's cells, for those that the question mentions."""
        ...


def keep_top(scores: LinkScores, schema: Schema, k1: int, k2: int) -> Selection:
    """The k1 best tables with the k2 best columns of each, and the keys that join these tables.

    At equal scores the schema's order decides. A larger k1 or k2 keeps all that a smaller one keeps. Raises `ValueError`
    where k1 or k2 is below 1.
    """
    if k1 < 1 or k2 < 1:
        raise ValueError(f"k1 {k1}, k2 {k2}: a selection keeps at least one table and one column")
    tables = _best((t.name for t in schema.tables), scores.tables)[:k1]
    by_name = {table.name: table for table in schema.tables}
    kept = {name: set(_best_columns(by_name[name], scores)[:k2]) for name in tables}
    return _with_keys(kept, scores, schema)


def keep_mass(scores: LinkScores, schema: Schema, mass: float = 0.99) -> Selection:
    """As many items as the question needs: the fewest tables, and the fewest columns of the whole schema, that hold this
    share of the probability of all; with the tables of these columns, and the keys that join the tables.

    The probability of what is left out bounds, where the scores are calibrated, the risk that something is missing. A
    table whose columns are all left out keeps its best one. Where nothing has a probability everything is kept. Raises
    `ValueError` where `mass` is not above 0 and at most 1.
    """
    if not 0 < mass <= 1:
        raise ValueError(f"mass {mass}: is a share of the probability, above 0 and at most 1")
    tables = _holding((t.name for t in schema.tables), scores.tables, mass)
    items = [(table.name, column.name) for table in schema.tables for column in table.columns]
    columns = _holding(items, scores.columns, mass)
    kept: dict[str, set[str]] = {name: set() for name in tables}
    for table, column in columns:
        kept.setdefault(table, set()).add(column)
    by_name = {table.name: table for table in schema.tables}
    for name, chosen in kept.items():
        if not chosen:
            chosen.update(_best_columns(by_name[name], scores)[:1])
    return _with_keys(kept, scores, schema)


def keep_all(schema: Schema) -> Selection:
    """Everything, in the schema's order."""
    return Selection(
        tuple(table.name for table in schema.tables),
        {table.name: tuple(column.name for column in table.columns) for table in schema.tables},
    )


def joins(schema: Schema) -> tuple[tuple[Item, Item], ...]:
    """The pairs of columns that join tables: foreign keys; and, between two tables without one, columns of one name of
    which one is a primary key by itself (a bare "id" says nothing)."""
    found = [
        ((key.child_table, key.child_column), (key.parent_table, key.parent_column))
        for key in schema.foreign_keys
    ]
    joined = {frozenset((child[0], parent[0])) for child, parent in found}
    named: dict[str, list[Item]] = {}
    for table in schema.tables:
        for column in table.columns:
            named.setdefault(column.name.casefold(), []).append((table.name, column.name))
    for table in schema.tables:
        if len(table.primary_key) != 1 or table.primary_key[0].casefold() == "id":
            continue
        key = (table.name, table.primary_key[0])
        for other in named[key[1].casefold()]:
            if frozenset((other[0], key[0])) not in joined and other[0] != key[0]:
                found.append((other, key))
    return tuple(found)


def _best(names: Iterable[str], scores: Mapping[str, float]) -> list[str]:
    return sorted(names, key=lambda name: -_score(scores.get(name)))  # stable: ties as they come


def _best_columns(table: Table, scores: LinkScores) -> list[str]:
    given = {c.name: scores.columns.get((table.name, c.name), 0.0) for c in table.columns}
    return _best(given, given)


def _score(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else 0.0


def _holding(items: Iterable[_Named], scores: Mapping[_Named, float], mass: float) -> list[_Named]:
    """The fewest items, best first, that hold this share of the probability of all."""
    ordered = sorted(items, key=lambda item: -_score(scores.get(item)))
    given = [_score(scores.get(item)) for item in ordered]
    total = math.fsum(given)
    if total <= 0:
        return ordered
    left = total
    for count, value in enumerate(given):
        # what is left, not what is held: near mass 1 a sum of many small numbers never gets there
        if left <= (1 - mass) * total:
            return ordered[:count]
        left -= value
    return ordered


def _with_keys(kept: dict[str, set[str]], scores: LinkScores, schema: Schema) -> Selection:
    """Add the keys between the kept tables, and put all in order, best first."""
    for child, parent in joins(schema):
        if child[0] in kept and parent[0] in kept:
            kept[child[0]].add(child[1])
            kept[parent[0]].add(parent[1])
    by_name = {table.name: table for table in schema.tables}
    tables = _best((t.name for t in schema.tables if t.name in kept), scores.tables)
    return Selection(
        tuple(tables),
        {
            name: tuple(c for c in _best_columns(by_name[name], scores) if c in kept[name])
            for name in tables
        },
    )

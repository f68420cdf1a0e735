"""What a gold query uses of its schema: the labels that a linker learns from, and the oracle selection of training prompts."""

from __future__ import annotations

from dataclasses import dataclass

from exspin.hints.link import Item, Selection
from exspin.records import Example
from exspin.sql.schema import Schema


@dataclass(frozen=True, slots=True)
class Used:
    """The tables and columns of a schema that a query uses, as the schema spells them."""

    tables: frozenset[str]
    columns: frozenset[Item]


def used_items(sql: str, schema: Schema, dialect: str = "sqlite") -> Used | None:
    """Everything a query uses; None where it cannot be parsed or names what the schema has not."""
    raise NotImplementedError


def gold_selection(
    example: Example,
    schema: Schema,
    k1: int,
    k2: int,
    *,
    seed: int = 0,
    dialect: str = "sqlite",
) -> Selection | None:
    """What the gold uses, filled up with random others to k1 tables and k2 columns a table, in random order. For training
    prompts only. The same for the same seed and `example_id`. None where the gold cannot be read."""
    raise NotImplementedError

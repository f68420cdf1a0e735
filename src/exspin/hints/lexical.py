"""The linker that learns nothing: how much of an item's name stands in the question. The bar that a learned one must pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exspin.hints.folding import fold, words
from exspin.hints.link import Linker, LinkScores
from exspin.sql.schema import Schema

if TYPE_CHECKING:
    from exspin.hints.values import Values


@dataclass(frozen=True, slots=True)
class LexicalLinker:
    """Scores are shares of words, no calibrated probabilities: good for `keep_top`, and `keep_mass` keeps nearly all."""

    name: str = "lexical"

    def score(
        self, question: str, schema: Schema, *, evidence: str = "", values: Values | None = None
    ) -> LinkScores:
        asked = frozenset(map(fold, words(f"{question}\n{evidence}")))
        hits = values.hits(f"{question}\n{evidence}") if values else {}
        columns: dict[tuple[str, str], float] = {}
        tables: dict[str, float] = {}
        for table in schema.tables:
            own = _overlap(table.name, asked)
            for column in table.columns:
                item = table.name, column.name
                columns[item] = max(
                    0.05 + 0.75 * _overlap(column.name, asked) + 0.2 * own, hits.get(item, 0.0)
                )
            of_columns = sorted((columns[table.name, c.name] for c in table.columns), reverse=True)
            tables[table.name] = 0.05 + 0.6 * own + 0.35 * sum(of_columns[:2]) / 2
        return LinkScores(tables, columns)


def lexical() -> Linker:
    """The linker by shared words."""
    return LexicalLinker()


def _overlap(name: str, asked: frozenset[str]) -> float:
    parts = [fold(word) for word in words(name)]
    return sum(part in asked for part in parts) / len(parts) if parts else 0.0

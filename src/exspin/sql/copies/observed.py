"""What the rows of a table show to be meant, beyond what its schema says: unique columns, and what determines what.

A copy keeps these, since people ask with them in mind: `GROUP BY name` and `GROUP BY id` are the same question where no
two singers share a name. A dependency counts only with so many rows behind it that it is no accident. Standard library
only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from exspin.sql.copies.source import Link, Row, Table
from exspin.sql.copies.values import Sampler

MOST_COMPARED = 60  # columns of a table; in wider ones no dependencies are looked for
_CHANCE = 0.01  # a dependency more likely than this to be an accident is no dependency


@dataclass
class Column:
    sampler: Sampler
    determined_by: int | None = None
    values: dict[Any, Any] = field(
        default_factory=dict
    )  # of the column that determines it → its own


@dataclass
class Model:
    """What is known of a table, the same for all copies."""

    table: Table
    columns: list[Column]
    order: list[int]  # determining columns before determined ones
    uniques: list[tuple[int, ...]]  # declared keys and observed ones
    links: list[Link]
    plans: list[dict[int, list[tuple[str, Any]]]]  # conditions of one gold on this table
    repeated: float  # share of the rows that are there before

    def names(self, row: Row) -> bool:
        """Does this row hold a literal of a gold?"""
        return any(
            value in column.sampler.literals
            for value, column in zip(row, self.columns, strict=True)
        )


def invented(name: str, declared: str) -> list[Any]:
    """Values for a column of a table that has no rows to learn from."""
    kind = declared.upper()
    if "INT" in kind or "BOOL" in kind:
        return list(range(1, 21))
    if any(part in kind for part in ("REAL", "FLOA", "DOUB", "NUM", "DEC")):
        return [number + 0.5 for number in range(1, 21)]
    if "DATE" in kind or "TIME" in kind:
        return [f"20{number:02d}-0{number % 9 + 1}-1{number % 9}" for number in range(1, 21)]
    return [f"{name} {number}" for number in range(1, 21)]


def stays_unique(values: Sequence[Any], name: str, *, ordered: bool, referred: bool) -> bool:
    """Is it meant that no two rows share a value of this column?"""
    present = [value for value in values if value is not None]
    if len(present) < 3 or len(set(map(repr, present))) < len(present):
        return False
    if all(isinstance(value, str) for value in present):
        return True
    return ordered or referred or name.lower() == "id" or name.lower().endswith(("_id", "code"))


def find_dependencies(table: Table, columns: list[Column], fixed: set[int]) -> list[int]:
    """Set what determines what; gives the columns in an order in which determining ones come first.

    A → B where equal values of A go with equal values of B, in so many rows that it is no accident.
    """
    rows = table.rows
    places = range(len(columns))
    cells = [[repr(row[place]) for row in rows] for place in places]
    distinct = [len(set(column)) for column in cells]
    order = sorted(places, key=lambda place: (-distinct[place], place))
    rank = {place: position for position, place in enumerate(order)}
    fixed_first = sorted(order, key=lambda place: (place not in fixed, rank[place]))
    if len(columns) > MOST_COMPARED:
        return fixed_first
    for b in order:
        if b in fixed or distinct[b] < 2:
            continue
        agreement = sum(share * share for share in Counter(cells[b]).values()) / len(rows) ** 2
        best: tuple[int, int] | None = None
        for a in places:
            # Each may determine the other: then the one with more values, or the first, leads.
            if a == b or not 2 <= distinct[a] < len(rows) or (a not in fixed and rank[a] > rank[b]):
                continue
            if agreement ** (len(rows) - distinct[a]) > _CHANCE:
                continue
            values: dict[str, str] = {}
            if any(values.setdefault(x, y) != y for x, y in zip(cells[a], cells[b], strict=True)):
                continue
            if best is None or distinct[a] < best[0]:
                best = (distinct[a], a)
        if best is not None:
            columns[b].determined_by = best[1]
            columns[b].values = {row[best[1]]: row[b] for row in rows}
    return fixed_first

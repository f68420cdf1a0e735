"""Rows of a perturbed copy: those of the original, some kept, some with other values, some new.

A copy keeps what the schema demands (keys, foreign keys, NOT NULL) and what the data shows to be meant: a text column
whose values are all different stays so, a column that another one determines stays determined (with enough rows to
tell), a reference that held everywhere holds. All else changes: which rows there are and how many, how values are
distributed and combined, who refers to whom, which value is the most frequent and the largest. Kept rows take along
the rows they refer to, so joins that golds make find partners; rows that golds name are kept more often, and new rows
are made that satisfy the conditions of a gold. Standard library only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from exspin.sql.copies.mentions import ColumnName, Condition
from exspin.sql.copies.observed import Column, Model, find_dependencies, invented, stays_unique
from exspin.sql.copies.rowmaker import RowMaker
from exspin.sql.copies.source import Link, Row, Source, Table, key_of
from exspin.sql.copies.values import Dice, Sampler

_PASSES = 8  # along references from kept rows to the rows they need
_LEAST_ROWS = 12  # a copy's tables vary around the original's size, or around this


class Perturber:
    """Makes copies of one source; `copy` depends on the seed and the number alone."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.by_name = {table.name: table for table in source.tables}
        self.models = {table.name: self._model(table) for table in source.tables}
        self.order = self._parents_first()
        self._indices: dict[tuple[str, tuple[int, ...]], dict[tuple[str, ...] | None, int]] = {}

    # --- what is known of the tables

    def _model(self, table: Table) -> Model:
        mentions = self.source.mentions
        links = [link for link in self.source.links if link.child == table.name]
        linked = {place for link in links for place in link.columns}
        conditions: defaultdict[int, list[tuple[str, Any]]] = defaultdict(list)
        plans = []
        for group in mentions.conditions:
            plan = self._on_table(table, group)
            for place, found in plan.items():
                conditions[place] += [item for item in found if item not in conditions[place]]
            if plan and plan not in plans:
                plans.append(plan)
        # A literal that a reference is compared with names rows of this table as well.
        for link in self.source.links:
            if link.parent == table.name and len(link.columns) == 1:
                child = self.by_name[link.child]
                for group in mentions.conditions:
                    named = self._on_table(child, group).get(link.columns[0], [])
                    conditions[link.parent_columns[0]] += [c for c in named if c[0] == "="]
        ordered = (
            set() if self.source.strict else {self._place(table, name) for name in mentions.ordered}
        )
        single = {key[0] for key in table.keys if len(key) == 1}
        referred = {
            link.parent_columns[0]
            for link in self.source.links
            if link.parent == table.name and len(link.parent_columns) == 1
        }
        columns, observed = [], set()
        for place, name in enumerate(table.columns):
            values: list[Any] = [row[place] for row in table.rows]
            if place not in linked and stays_unique(
                values, name, ordered=place in ordered, referred=place in referred
            ):
                observed.add(place)
            unique = place in observed or place in single
            sampler = Sampler(
                values if table.rows else invented(name, table.types[place]),
                conditions[place],
                unique=unique,
                strict=self.source.strict,
                nullable=not table.not_null[place],
            )
            columns.append(Column(sampler))
        uniques = [*table.keys, *((place,) for place in sorted(observed - single))]
        fixed = linked | single | observed
        order = find_dependencies(table, columns, fixed)
        repeated = 1 - len(set(table.rows)) / len(table.rows) if table.rows else 0.0
        return Model(table, columns, order, uniques, links, plans, repeated)

    def _on_table(
        self, table: Table, group: Sequence[Condition]
    ) -> dict[int, list[tuple[str, Any]]]:
        found: defaultdict[int, list[tuple[str, Any]]] = defaultdict(list)
        for condition in group:
            place = self._place(table, condition.column)
            if place is not None:
                found[place].append((condition.operator, condition.value))
        return dict(found)

    @staticmethod
    def _place(table: Table, name: ColumnName) -> int | None:
        if name.tables and table.name.lower() not in name.tables:
            return None
        return table.place(name.name)

    def _parents_first(self) -> list[str]:
        """Tables after the ones they refer to, as far as there is no circle."""
        order: list[str] = []
        under_way: set[str] = set()

        def visit(name: str) -> None:
            # Depth is bounded by the number of tables, which the reader bounds.
            if name in under_way:
                return
            under_way.add(name)
            for link in self.models[name].links:
                visit(link.parent)
            order.append(name)

        for table in self.source.tables:
            visit(table.name)
        return order

    # --- one copy

    def copy(self, seed: int, number: int) -> dict[str, list[Row]]:
        """The rows of every table, in the order they are to be inserted."""
        dice = Dice("copy", seed, number, *self.by_name)
        sizes = self._sizes(dice, seed, number)
        kept = self._kept(dice, sizes)
        made: dict[str, list[Row]] = {}
        for name in self.order:
            builder = RowMaker(
                self.models[name], self.models, kept, made, Dice("table", seed, number, name)
            )
            made[name] = builder.build(sizes[name])
        return made

    def _sizes(self, dice: Dice, seed: int, number: int) -> dict[str, int]:
        """Rows each table is to have: about as many as the original, in some copies few in one table, or none."""
        sizes = {}
        for table in self.source.tables:
            factor = Dice("size", seed, number, table.name).between(0.5, 1.5)
            sizes[table.name] = max(2, round(factor * max(len(table.rows), _LEAST_ROWS)))
        filled = [table.name for table in self.source.tables if table.rows]
        parents = {link.parent for link in self.source.links if link.parent != link.child}
        leaves = [name for name in filled if name not in parents]
        if number % 4 == 2 and len(filled) > 1:
            sizes[dice.pick(filled)] = 1 + dice.below(3)
        if number % 10 == 7 and len(filled) > 2 and leaves:
            sizes[dice.pick(leaves)] = 0
        return sizes

    def _kept(self, dice: Dice, sizes: dict[str, int]) -> dict[str, list[Row]]:
        """Rows taken over as they are: some of each table, and those they refer to."""
        chosen: dict[str, set[int]] = {}
        for name in self.order:
            model = self.models[name]
            count = len(model.table.rows)
            share = min(dice.between(0.15, 0.65), 0.7 * sizes[name] / count) if count else 0.0
            chosen[name] = {
                place
                for place in range(count)
                if dice.roll() < share * (1.6 if model.names(model.table.rows[place]) else 1.0)
            }
            if count and sizes[name] and not chosen[name]:
                chosen[name] = {dice.below(count)}
        # Children come last in `order`, so one pass from the end reaches all parents; circles take more. What they
        # still lack then is taken out of the copy at its end.
        for _ in range(_PASSES):
            before = sum(map(len, chosen.values()))
            for name in reversed(self.order):
                rows = self.models[name].table.rows
                for link in self.models[name].links:
                    index = self._index(link)
                    keys = [key_of(rows[place], link.columns) for place in chosen[name]]
                    chosen[link.parent].update(index[key] for key in keys if key in index)
            if sum(map(len, chosen.values())) == before:
                break
        return {
            name: [self.models[name].table.rows[place] for place in sorted(places)]
            for name, places in chosen.items()
        }

    def _index(self, link: Link) -> dict[tuple[str, ...] | None, int]:
        """Where the parent's rows are, by what refers to them."""
        index = self._indices.get((link.parent, link.parent_columns))
        if index is None:
            index = self._indices[link.parent, link.parent_columns] = {}
            for place, row in enumerate(self.by_name[link.parent].rows):
                if (key := key_of(row, link.parent_columns)) is not None:
                    index.setdefault(key, place)
        return index

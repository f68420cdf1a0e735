"""Make the rows of one table of a perturbed copy: kept ones, and new ones modelled on them.

A new row takes its references from rows the parent has in the copy, the rest from a row of the original and from its
columns' samplers (`values.py`). Some are made so that they satisfy the conditions of a gold; where a gold names several
values of a column, a row may get a sibling that takes another. Standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exspin.sql.copies.observed import Model
from exspin.sql.copies.source import Link, Row
from exspin.sql.copies.values import Dice, Weighted, holds

_KEPT_CELL_SHARE = 0.35  # of the cells of a new row: those of the row it is modelled on
_TRIES = 25  # for one row
_PLANNED_SHARE = (0.0, 0.9)  # of the new rows are made for golds, at most: from, to
_WANTED_SHARE = 0.8  # of the conditions of a gold hold in a row made for it
_ALONE = 0.15  # of the rows that could be referred to are not
_NAMED_WEIGHT = 3.0  # how much likelier a row that a gold names is to be referred to
_SIBLING_SHARE = 0.5  # of the rows made for a gold with alternatives get a sibling
_LEAST_HELD = 0.5  # of references that do not all hold in the original, so many of the new ones do


class RowMaker:
    """Builds one table of one copy."""

    def __init__(
        self,
        model: Model,
        models: dict[str, Model],
        kept: dict[str, list[Row]],
        made: dict[str, list[Row]],
        dice: Dice,
    ) -> None:
        self.model = model
        self.dice = dice
        self.rows: list[Row] = []
        self.seen: list[set[Any]] = [set() for _ in model.uniques]
        self.values: list[dict[Any, Any]] = [dict(column.values) for column in model.columns]
        for column in model.columns:
            column.sampler.begin(dice)
        self.named: set[tuple[int, Any]] = set()  # values that may occur once and do
        for row in kept[model.table.name]:
            self._accept(row)  # the original satisfies its keys
        self.parents = [
            (
                link,
                _Partners(
                    link, made.get(link.parent, kept[link.parent]), models[link.parent], dice
                ),
            )
            for link in model.links
        ]
        self.single = {
            key[0]: seen
            for key, seen in zip(model.uniques, self.seen, strict=True)
            if len(key) == 1
        }

    def build(self, size: int) -> list[Row]:
        """About `size` rows in random order: at least a few new ones, unless there are to be none."""
        if size == 0:
            return self.rows  # what others refer to
        new = max(size - len(self.rows), (size + 3) // 4)
        plans = self.dice.shuffled(self.model.plans)
        planned = round(self.dice.between(*_PLANNED_SHARE) * new)
        for number in range(new):
            plan = plans[number % len(plans)] if plans and number < planned else {}
            if self.rows and self.dice.roll() < self.model.repeated:
                self._accept(self.dice.pick(self.rows))
                continue
            for _ in range(_TRIES):
                row = self._new_row(plan)
                if row is not None and self._accept(row):
                    if any(len(found) > 1 for found in plan.values()):
                        self._add_sibling(row, plan)
                    break
        return self.dice.shuffled(self.rows)

    def _accept(self, row: Row) -> bool:
        named = {
            (place, row[place])
            for place, column in enumerate(self.model.columns)
            if row[place] in column.sampler.single
        }
        if not named.isdisjoint(self.named):
            return False
        keys = []
        for places, seen in zip(self.model.uniques, self.seen, strict=True):
            key = tuple([row[place] for place in places])
            if None not in key and key in seen:
                return False
            keys.append(key)
        for key, seen in zip(keys, self.seen, strict=True):
            seen.add(key)
        self.named |= named
        self.rows.append(row)
        return True

    def _new_row(self, plan: dict[int, list[tuple[str, Any]]]) -> Row | None:
        dice, model = self.dice, self.model
        width = len(model.table.columns)
        template = dice.pick(model.table.rows) if model.table.rows else None
        row: list[Any] = [None] * width
        filled: set[int] = set()
        for link, partners in self.parents:
            if filled.intersection(link.columns):
                continue
            wanted = plan.get(link.columns[0]) if len(link.columns) == 1 else None
            taken = [self.single.get(column) for column in link.columns]
            values = partners.pick(template, dice, taken, wanted)
            if values is None:
                return None
            for place, value in zip(link.columns, values, strict=True):
                row[place] = value
            filled.update(link.columns)
        for place in model.order:
            if place in filled:
                continue
            row[place] = self._cell(place, row, template, plan.get(place))
        if any(v is None and n for v, n in zip(row, model.table.not_null, strict=True)):
            return None
        return tuple(row)

    def _add_sibling(self, row: Row, plan: dict[int, list[tuple[str, Any]]]) -> None:
        """A row that differs where a gold names several values: one concert in 2014, one in 2015, in one stadium."""
        if self.dice.roll() > _SIBLING_SHARE:
            return
        for _ in range(_TRIES):
            other = list(row)
            for place in {*plan, *self.single, *(key[-1] for key in self.model.uniques)}:
                linked = any(place in link.columns for link in self.model.links)
                if place in plan and not linked:
                    value = self.model.columns[place].sampler.satisfying(plan[place], self.dice)
                    other[place] = row[place] if value is None else value
                elif place in self.single and not linked:
                    other[place] = self._cell(place, other, row, None)
                elif linked:
                    for link, partners in self.parents:
                        if link.columns == (place,):
                            found = partners.pick(row, self.dice, [None], plan.get(place))
                            other[place] = found[0] if found else row[place]
                            break
                else:
                    other[place] = self.model.columns[place].sampler.draw(self.dice)
            if self._accept(tuple(other)):
                return

    def _cell(
        self, place: int, row: list[Any], template: Row | None, wanted: list[tuple[str, Any]] | None
    ) -> Any:
        dice, column = self.dice, self.model.columns[place]
        sampler = column.sampler
        if wanted and dice.roll() < _WANTED_SHARE:
            value = sampler.satisfying(wanted, dice)
            if value is not None and (value,) not in self.single.get(place, ()):
                return value
        if place in self.single:
            if template is not None and template[place] is None:
                return None
            return sampler.fresh(dice, self.single[place])
        if column.determined_by is not None:
            determinant = row[column.determined_by]
            known = self.values[place]
            if determinant not in known:
                known[determinant] = sampler.draw(dice)
            return known[determinant]
        if template is not None and dice.roll() < _KEPT_CELL_SHARE:
            return template[place]
        return sampler.draw(dice)


class _Partners:
    """Rows of the parent that new rows refer to: some often, some never."""

    def __init__(self, link: Link, rows: Sequence[Row], model: Model, dice: Dice) -> None:
        self.link = link
        found: dict[tuple[Any, ...], bool] = {}
        for row in rows:
            key = tuple([row[place] for place in link.parent_columns])
            found[key] = found.get(key, False) or model.names(row)
        self.keys = [key for key in found if None not in key]
        weights = [
            0.0
            if len(self.keys) > 3 and dice.roll() < _ALONE
            else (0.2 + 4 * dice.roll() ** 3) * (_NAMED_WEIGHT if found[key] else 1.0)
            for key in self.keys
        ]
        self.weighted = Weighted(self.keys, weights) if sum(weights) else None

    def pick(
        self,
        template: Row | None,
        dice: Dice,
        taken: Sequence[set[Any] | None],
        wanted: list[tuple[str, Any]] | None,
    ) -> tuple[Any, ...] | None:
        """Values for the link's columns; None where there is no partner left."""
        if wanted and dice.roll() < _WANTED_SHARE:
            fitting = [k for k in self.keys if any(holds(k[0], op, v) for op, v in wanted)]
            if fitting:
                return dice.pick(fitting)
        if template is not None:
            own = tuple(template[place] for place in self.link.columns)
            if None in own:
                return own
            if self.link.held < 1.0 and dice.roll() > max(self.link.held, _LEAST_HELD):
                return own
        if self.weighted is None:
            return None
        for _ in range(_TRIES):
            key: tuple[Any, ...] = self.weighted.pick(dice)
            if not any(t is not None and (v,) in t for v, t in zip(key, taken, strict=True)):
                return key
        return None

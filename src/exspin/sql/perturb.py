"""Rows of a perturbed copy: those of the original, some kept, some with other values, some new.

A copy keeps what the schema demands (keys, foreign keys, NOT NULL) and what the data shows to be meant: a text column
whose values are all different stays so, a column that another one determines stays determined (with enough rows to
tell), a reference that held everywhere holds. All else changes: which rows there are and how many, how values are
distributed and combined, who refers to whom, which value is the most frequent and the largest. Kept rows take along
the rows they refer to, so joins that golds make find partners; rows that golds name are kept more often, and new rows
are made that satisfy the conditions of a gold. Standard library only.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from exspin.sql.mentions import ColumnName, Condition, Mentions
from exspin.sql.values import Dice, Sampler, Weighted, holds

Row = tuple[Any, ...]

_KEPT_CELL_SHARE = 0.35  # of the cells of a new row: those of the row it is modelled on
_CHANCE = 0.01  # a dependency more likely than this to be an accident is no dependency
_TRIES = 25  # for one row
_WANTED_SHARE = 0.8  # of the conditions of a gold hold in a row made for it
_ALONE = 0.15  # of the rows that could be referred to are not
_NAMED_WEIGHT = 3.0  # how much likelier a row that a gold names is to be referred to
_SIBLING_SHARE = (
    0.5  # of the rows made for a gold with alternatives get a sibling that takes another
)
_LEAST_HELD = 0.5  # of references that do not all hold in the original, so many of the new ones do
_PASSES = 8  # along references from kept rows to the rows they need
_LEAST_ROWS = 12  # a copy's tables vary around the original's size, or around this


@dataclass(frozen=True)
class Table:
    """One table of the original. `columns` are those that are written: no generated ones."""

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]  # as declared
    not_null: tuple[bool, ...]
    keys: tuple[tuple[int, ...], ...]  # declared: PRIMARY KEY, UNIQUE; places in `columns`
    rows: tuple[Row, ...]  # all, or a sample of a large table

    def place(self, column: str) -> int | None:
        wanted = column.lower()
        return next((i for i, name in enumerate(self.columns) if name.lower() == wanted), None)


@dataclass(frozen=True)
class Link:
    """Columns of `child` whose values are found in `parent`: a declared foreign key, or a join that golds make."""

    child: str
    columns: tuple[int, ...]
    parent: str
    parent_columns: tuple[int, ...]
    held: float  # share of the child's values that the parent has; 1.0: the copy must keep it


@dataclass(frozen=True)
class Source:
    """A database as far as a copy needs it."""

    tables: tuple[Table, ...]
    links: tuple[Link, ...]
    mentions: Mentions
    strict: bool = False  # only what the schema demands is kept: see `values.Sampler`


def key_of(row: Row, places: Sequence[int]) -> tuple[str, ...] | None:
    """What a reference compares; columns of text and of numbers may refer to each other. None where one is NULL."""
    found = []
    for place in places:
        value = row[place]
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        found.append(str(value))
    return tuple(found)


@dataclass
class _Column:
    sampler: Sampler
    determined_by: int | None = None
    values: dict[Any, Any] = field(
        default_factory=dict
    )  # of the column that determines it → its own


@dataclass
class _Model:
    """What is known of a table, the same for all copies."""

    table: Table
    columns: list[_Column]
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


class Perturber:
    """Makes copies of one source; `copy` depends on the seed and the number alone."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.by_name = {table.name: table for table in source.tables}
        self.models = {table.name: self._model(table) for table in source.tables}
        self.order = self._parents_first()
        self._indices: dict[tuple[str, tuple[int, ...]], dict[tuple[str, ...] | None, int]] = {}

    # --- what is known of the tables

    def _model(self, table: Table) -> _Model:
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
                    found = self._on_table(child, group).get(link.columns[0], [])
                    conditions[link.parent_columns[0]] += [c for c in found if c[0] == "="]
        ordered = {
            place
            for name in mentions.ordered
            if (place := self._place(table, name)) is not None and not self.source.strict
        }
        single = {key[0] for key in table.keys if len(key) == 1}
        referred = {
            link.parent_columns[0]
            for link in self.source.links
            if link.parent == table.name and len(link.parent_columns) == 1
        }
        columns, observed = [], set()
        for place, name in enumerate(table.columns):
            values = [row[place] for row in table.rows]
            if place not in linked and _stays_unique(
                values, name, ordered=place in ordered, referred=place in referred
            ):
                observed.add(place)
            unique = place in observed or place in single
            sampler = Sampler(
                values if table.rows else _invented(name, table.types[place]),
                conditions[place],
                unique=unique,
                strict=self.source.strict,
                nullable=not table.not_null[place],
            )
            columns.append(_Column(sampler))
        uniques = [*table.keys, *((place,) for place in sorted(observed - single))]
        fixed = linked | single | observed
        order = _find_dependencies(table, columns, fixed)
        repeated = 1 - len(set(table.rows)) / len(table.rows) if table.rows else 0.0
        return _Model(table, columns, order, uniques, links, plans, repeated)

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
            builder = _Builder(
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
            share = min(dice.between(0.3, 0.7), 0.7 * sizes[name] / count) if count else 0.0
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


class _Builder:
    """Builds one table of one copy."""

    def __init__(
        self,
        model: _Model,
        models: dict[str, _Model],
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
        for number in range(new):
            plan = plans[number % len(plans)] if plans and number < 2 * len(plans) else {}
            if number and plans and number >= new - new // 3:
                plan = {}  # the last third is free of plans, however many golds there are
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
            return sampler.fresh(dice, {key[0] for key in self.single[place]})
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

    def __init__(self, link: Link, rows: Sequence[Row], model: _Model, dice: Dice) -> None:
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


def _invented(name: str, declared: str) -> list[Any]:
    """Values for a column of a table that has no rows to learn from."""
    kind = declared.upper()
    if "INT" in kind or "BOOL" in kind:
        return list(range(1, 21))
    if any(part in kind for part in ("REAL", "FLOA", "DOUB", "NUM", "DEC")):
        return [number + 0.5 for number in range(1, 21)]
    if "DATE" in kind or "TIME" in kind:
        return [f"20{number:02d}-0{number % 9 + 1}-1{number % 9}" for number in range(1, 21)]
    return [f"{name} {number}" for number in range(1, 21)]


def _stays_unique(values: Sequence[Any], name: str, *, ordered: bool, referred: bool) -> bool:
    """Is it meant that no two rows share a value of this column?"""
    present = [value for value in values if value is not None]
    if len(present) < 3 or len(set(map(repr, present))) < len(present):
        return False
    if all(isinstance(value, str) for value in present):
        return True
    return ordered or referred or name.lower() == "id" or name.lower().endswith(("_id", "code"))


def _find_dependencies(table: Table, columns: list[_Column], fixed: set[int]) -> list[int]:
    """Set what determines what; gives the columns in an order in which determining ones come first.

    A → B where equal values of A go with equal values of B, in so many rows that it is no accident.
    """
    rows = table.rows
    places = range(len(columns))
    distinct = [len({repr(row[place]) for row in rows}) for place in places]
    order = sorted(places, key=lambda place: (-distinct[place], place))
    rank = {place: position for position, place in enumerate(order)}
    linked_first = sorted(order, key=lambda place: (place not in fixed, rank[place]))
    for b in order:
        if b in fixed or not 2 <= distinct[b]:
            continue
        shares = Counter(repr(row[b]) for row in rows).values()
        agreement = sum(share * share for share in shares) / len(rows) ** 2
        best: tuple[int, int] | None = None
        for a in places:
            if a == b or not 2 <= distinct[a] < len(rows):
                continue
            # B itself may determine A: then the one with more values, or the first, leads.
            if a not in fixed and rank[a] > rank[b]:
                continue
            values: dict[str, str] = {}
            if any(values.setdefault(repr(row[a]), repr(row[b])) != repr(row[b]) for row in rows):
                continue
            if agreement ** (len(rows) - distinct[a]) > _CHANCE:
                continue
            if best is None or distinct[a] < best[0]:
                best = (distinct[a], a)
        if best is not None:
            columns[b].determined_by = best[1]
            columns[b].values = {row[best[1]]: row[b] for row in rows}
    return linked_first

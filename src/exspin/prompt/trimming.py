"""What is left out of a prompt that is too long, and in which order; and what of a schema is shown then.

Steps are named in `Prompt.trimmed` as they are taken. The order is that of `KINDS`: first what the question has of its own
and can do without, then the schema's words, then the cells that the question mentions, at last the schema itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from exspin.records import Hints
from exspin.sql.schema import Column, ForeignKey, Schema, Table

KINDS = ("shots", "links", "values", "samples", "comments", "matches", "columns", "tables")


@dataclass(frozen=True)
class Step:
    """One thing to leave out. `kind` is one of `KINDS`."""

    kind: str
    left: int = 0  # shots, samples, matches: how many stay
    table: str = ""
    column: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "shots" | "samples" | "matches":
                return f"{self.kind}: {self.left} left"
            case "columns":
                return f"columns: {self.table}.{self.column}"
            case "tables":
                return f"tables: {self.table}"
            case _:
                return f"{self.kind}: all"


@dataclass(frozen=True)
class View:
    """What of a schema is shown after some steps."""

    db_id: str
    values: bool  # what values mean
    samples: int
    comments: bool
    tables: tuple[tuple[Table, tuple[Column, ...]], ...]
    foreign_keys: tuple[ForeignKey, ...]
    keys: Mapping[str, frozenset[str]]  # table → columns that are part of a key


def key_columns(schema: Schema) -> dict[str, frozenset[str]]:
    """By table, the columns that are part of a primary or a foreign key."""
    keys = {table.name: set(table.primary_key) for table in schema.tables}
    for key in schema.foreign_keys:
        keys[key.child_table].add(key.child_column)
        keys[key.parent_table].add(key.parent_column)
    return {name: frozenset(columns) for name, columns in keys.items()}


def schema_steps(
    schema: Schema, samples: int, keys: Mapping[str, frozenset[str]]
) -> tuple[Step, ...]:
    """Everything of a schema that can be left out, in order; after all steps none is left.

    Columns go from the end of the table that is widest at the time, tables from the end.
    """
    steps = []
    if any(c.values for t in schema.tables for c in t.columns):
        steps.append(Step("values"))
    shown = max((len(c.samples) for t in schema.tables for c in t.columns), default=0)
    if min(shown, samples) > 1:
        steps.append(Step("samples", left=1))
    if min(shown, samples) > 0:
        steps.append(Step("samples", left=0))
    if any(t.comment or any(c.comment for c in t.columns) for t in schema.tables):
        steps.append(Step("comments"))
    widths = {table.name: len(table.columns) for table in schema.tables}
    spare = {
        table.name: [c.name for c in table.columns if c.name not in keys[table.name]]
        for table in schema.tables
    }
    order = [table.name for table in schema.tables]
    while candidates := [name for name in reversed(order) if spare[name]]:
        widest = max(candidates, key=widths.__getitem__)  # of equally wide ones the last
        steps.append(Step("columns", table=widest, column=spare[widest].pop()))
        widths[widest] -= 1
    steps.extend(Step("tables", table=name) for name in reversed(order))
    return tuple(steps)


def all_steps(hints: Hints, of_schema: Sequence[Step]) -> tuple[Step, ...]:
    """The steps of one prompt: those of what its question has of its own, among the schema's.

    Shots go from the least similar one, values from the least sure one.
    """
    steps = [Step("shots", left=n) for n in reversed(range(len(hints.shots)))]
    if hints.links:
        steps.append(Step("links"))
    steps += [step for step in of_schema if step.kind not in ("columns", "tables")]
    steps += [Step("matches", left=n) for n in reversed(range(len(hints.values)))]
    steps += [step for step in of_schema if step.kind in ("columns", "tables")]
    return tuple(steps)


def view_of(
    schema: Schema, samples: int, keys: Mapping[str, frozenset[str]], steps: Sequence[Step]
) -> View:
    """What of a schema is shown after these of its steps; `samples` values a column before any."""
    values = comments = True
    gone_columns = set()
    gone_tables = set()
    for step in steps:
        match step.kind:
            case "values":
                values = False
            case "samples":
                samples = step.left
            case "comments":
                comments = False
            case "columns":
                gone_columns.add((step.table, step.column))
            case _:
                gone_tables.add(step.table)
    return View(
        db_id=schema.db_id,
        values=values,
        samples=samples,
        comments=comments,
        tables=tuple(
            (table, tuple(c for c in table.columns if (table.name, c.name) not in gone_columns))
            for table in schema.tables
            if table.name not in gone_tables
        ),
        foreign_keys=tuple(
            key
            for key in schema.foreign_keys
            if key.child_table not in gone_tables and key.parent_table not in gone_tables
        ),
        keys=keys,
    )


def hints_after(hints: Hints, steps: Sequence[Step]) -> Hints:
    """What is left of the question's own hints after these steps."""
    for step in steps:
        match step.kind:
            case "shots":
                hints = replace(hints, shots=hints.shots[: step.left])
            case "links":
                hints = replace(hints, links=())
            case "matches":
                hints = replace(hints, values=hints.values[: step.left])
    return hints


def linked_part(schema: Schema, links: Sequence[tuple[str, tuple[str, ...]]]) -> Schema:
    """The part of a schema that a linker chose, in the linker's order: trimming takes from the end. Names that are not
    there are passed over; of a key of several columns all are there, or it is none."""
    by_name = {table.name: table for table in schema.tables}
    tables = []
    for name, columns in dict(links).items():
        if (table := by_name.get(name)) is None:
            continue
        of_table = {column.name: column for column in table.columns}
        kept = tuple(of_table[c] for c in dict.fromkeys(columns) if c in of_table)
        whole = all(column in columns for column in table.primary_key)
        tables.append(replace(table, columns=kept, primary_key=table.primary_key if whole else ()))
    shown = {(table.name, column.name) for table in tables for column in table.columns}
    return Schema(
        schema.db_id,
        tuple(tables),
        tuple(
            key
            for key in schema.foreign_keys
            if {(key.child_table, key.child_column), (key.parent_table, key.parent_column)} <= shown
        ),
    )

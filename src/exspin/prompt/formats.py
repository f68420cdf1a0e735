"""A schema as text, in one of three formats. Each ends with an empty line; a schema without tables is no text at all.

`compact` has a line for each table and costs the fewest tokens. `ddl` is what a database prints of itself, which models
have seen most of. `m-schema` follows XiYan-SQL's M-Schema. Names stand exactly as SQL spells them, in all three.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from exspin.prompt.trimming import View
from exspin.sql.schema import Column, Table, one_line, quote_name

_LENGTH = re.compile(r"\s*\([^)]*\)")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def schema_text(view: View, style: str) -> str:
    """What is shown of a schema, in the format `style`."""
    return _FORMATS[style](view) if view.tables else ""


def name_text(name: str) -> str:
    """A name as SQL spells it, on one line."""
    return quote_name(CONTROL.sub(" ", name))


# --- compact ----------------------------------------------------------------------------------------------------------


def _compact(view: View) -> str:
    lines = [_table_line(table, columns, view) for table, columns in view.tables]
    if view.foreign_keys:
        pairs = (
            f"{name_text(key.child_table)}.{name_text(key.child_column)}"
            f" = {name_text(key.parent_table)}.{name_text(key.parent_column)}"
            for key in view.foreign_keys
        )
        lines.append(f"foreign keys: {', '.join(pairs)}")
    return "".join(f"{line}\n" for line in lines) + "\n"


def _table_line(table: Table, columns: Sequence[Column], view: View) -> str:
    items = [_column_text(column, table, view) for column in columns]
    if len(table.primary_key) > 1:
        items.append(f"primary key ({', '.join(map(name_text, table.primary_key))})")
    kind = "view" if table.view else "table"
    listed = f" ({', '.join(items)})" if items else ""
    comment = f" -- {table.comment}" if view.comments and table.comment else ""
    return f"{kind} {name_text(table.name)}{listed}{comment}"


def _column_text(column: Column, table: Table, view: View) -> str:
    text = name_text(column.name)
    # varchar(20) says no more than varchar
    if type_name := one_line(_LENGTH.sub("", column.type).lower(), 40):
        text += f" {type_name}"
    if table.primary_key == (column.name,):
        text += " primary key"
    if notes := _notes(column, view):
        text += f" ({'; '.join(notes)})"
    if samples := _samples(column, table, view):
        text += f": {' | '.join(samples)}"
    return text


def _notes(column: Column, view: View) -> list[str]:
    """What is said of a column: its comment, and what its values mean."""
    notes = [column.comment] if view.comments and column.comment else []
    if view.values and column.values:
        notes.append(f"values: {column.values}")
    return notes


def _samples(column: Column, table: Table, view: View) -> tuple[str, ...]:
    samples = column.samples[: view.samples]
    # the numbers of a key are arbitrary and cost tokens
    arbitrary = column.name in view.keys[table.name] and all(map(_NUMBER.fullmatch, samples))
    return () if arbitrary else samples


# --- ddl --------------------------------------------------------------------------------------------------------------


def _ddl(view: View) -> str:
    return "".join(_create(table, columns, view) for table, columns in view.tables) + "\n"


def _create(table: Table, columns: Sequence[Column], view: View) -> str:
    items = []  # (definition, what is said of it)
    for column in columns:
        definition = name_text(column.name)
        if type_name := one_line(column.type, 40):
            definition += f" {type_name}"
        if table.primary_key == (column.name,):
            definition += " PRIMARY KEY"
        notes = _notes(column, view)
        if samples := _samples(column, table, view):
            notes.append(f"such as {' | '.join(samples)}")
        items.append((definition, "; ".join(notes)))
    if len(table.primary_key) > 1:
        items.append((f"PRIMARY KEY ({', '.join(map(name_text, table.primary_key))})", ""))
    items += [
        (
            f"FOREIGN KEY ({name_text(key.child_column)}) "
            f"REFERENCES {name_text(key.parent_table)} ({name_text(key.parent_column)})",
            "",
        )
        for key in view.foreign_keys
        if key.child_table == table.name
    ]
    lines = [
        f"  {definition}{',' if place < len(items) else ''}{f' -- {note}' if note else ''}\n"
        for place, (definition, note) in enumerate(items, 1)
    ]
    kind = "VIEW" if table.view else "TABLE"
    comment = f" -- {table.comment}" if view.comments and table.comment else ""
    return f"CREATE {kind} {name_text(table.name)} (\n{''.join(lines)});{comment}\n"


# --- m-schema ---------------------------------------------------------------------------------------------------------


def _m_schema(view: View) -> str:
    text = f"【DB_ID】 {one_line(view.db_id)}\n【Schema】\n"
    for table, columns in view.tables:
        comment = f", {table.comment}" if view.comments and table.comment else ""
        kind = "View" if table.view else "Table"
        text += f"# {kind}: {name_text(table.name)}{comment}\n[\n"
        text += ",\n".join(_m_column(column, table, view) for column in columns)
        text += "\n]\n" if columns else "]\n"
    if view.foreign_keys:
        text += "【Foreign keys】\n"
    for key in view.foreign_keys:
        text += (
            f"{name_text(key.child_table)}.{name_text(key.child_column)}"
            f"={name_text(key.parent_table)}.{name_text(key.parent_column)}\n"
        )
    return text + "\n"


def _m_column(column: Column, table: Table, view: View) -> str:
    type_name = one_line(_LENGTH.sub("", column.type).upper(), 40)
    parts = [f"{name_text(column.name)}:{type_name}".rstrip(":")]
    if column.name in table.primary_key:
        parts.append("Primary Key")
    parts += _notes(column, view)
    if samples := _samples(column, table, view):
        parts.append(f"Examples: [{', '.join(samples)}]")
    return f"({', '.join(parts)})"


_FORMATS: Mapping[str, Callable[[View], str]] = {
    "compact": _compact,
    "ddl": _ddl,
    "m-schema": _m_schema,
}

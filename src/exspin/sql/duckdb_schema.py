"""The schema of a DuckDB file, from its own catalog; see `schema.py` for what a schema is and how it is bounded.

The file is opened as for statements: read-only, with everything outside it locked away. Tables of the schema `main` come in
the order of their making. Generated columns are not sampled, nor are views.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from exspin.errors import DatabaseError
from exspin.records import Database
from exspin.sql.engines.duckdb import Failure, open_read_only
from exspin.sql.engines.watchdog import Watchdog
from exspin.sql.schema import (
    COMMENT_LENGTH,
    SAMPLED_ROWS,
    Column,
    ForeignKey,
    Schema,
    Table,
    always_quoted,
    first_values,
    one_line,
    spelled,
)

_MEMORY_MB = 256
_CATALOG_S = 30.0
_TABLE_S = 2.0  # for the values of one table
_OURS = "database_name = current_database() AND schema_name = 'main' AND NOT internal"


def read_duckdb_schema(database: Database, sample_values: int) -> Schema:
    """Raises `DatabaseError` when the file cannot be opened or its schema cannot be read."""
    path = database.path
    try:
        with (
            closing(open_read_only(path, _MEMORY_MB)) as connection,
            closing(Watchdog()) as watchdog,
        ):
            return _Reader(connection, watchdog, sample_values).schema(database.db_id)
    except Failure as error:
        raise DatabaseError(
            f"{path}: the schema cannot be read ({one_line(str(error), 200)})"
        ) from error


@dataclass(frozen=True)
class _Reader:
    connection: Any
    watchdog: Watchdog
    wanted: int  # values a column

    def schema(self, db_id: str) -> Schema:
        tables = self._rows(f"FROM duckdb_tables() WHERE {_OURS} AND NOT temporary")
        views = self._rows(f"FROM duckdb_views() WHERE {_OURS} AND NOT temporary")
        columns: dict[str, list[dict[str, Any]]] = {}
        for row in self._rows(f"FROM duckdb_columns() WHERE {_OURS} ORDER BY column_index"):
            columns.setdefault(row["table_name"], []).append(row)
        constraints = self._rows(
            "FROM duckdb_constraints() WHERE database_name = current_database() AND schema_name = 'main'"
        )
        keys = {
            row["table_name"]: tuple(row["constraint_column_names"])
            for row in constraints
            if row["constraint_type"] == "PRIMARY KEY"
        }
        found = [(row["table_oid"], row["table_name"], row["comment"], False) for row in tables]
        found += [(row["view_oid"], row["view_name"], row["comment"], True) for row in views]
        read = tuple(
            self._table(name, comment, columns[name], keys.get(name, ()), view)
            for _, name, comment, view in sorted(found, key=lambda row: row[0])
            if name in columns  # not a view on a table that is gone
        )
        return Schema(db_id, read, tuple(_foreign_keys(constraints, read)))

    def _table(
        self,
        name: str,
        comment: str | None,
        columns: list[dict[str, Any]],
        key: tuple[str, ...],
        view: bool,
    ) -> Table:
        sampled = [row["column_name"] for row in columns if not row.get("is_generated")]
        samples = {} if view or not self.wanted else self._sample(name, sampled)
        return Table(
            name=name,
            comment=one_line(comment or "", COMMENT_LENGTH),
            columns=tuple(
                Column(
                    name=row["column_name"],
                    type=row["data_type"],
                    comment=one_line(row["comment"] or "", COMMENT_LENGTH),
                    primary_key=row["column_name"] in key,
                    nullable=bool(row["is_nullable"]),
                    samples=tuple(samples.get(row["column_name"], ())),
                )
                for row in columns
            ),
            primary_key=key,
            view=view,
        )

    def _sample(self, table: str, columns: list[str]) -> dict[str, list[str]]:
        cells = ", ".join(
            f"CASE WHEN typeof({name}) = 'BLOB' THEN NULL ELSE left(CAST({name} AS VARCHAR), 200) END"
            for name in map(always_quoted, columns)
        )
        query = f"SELECT {cells} FROM main.{always_quoted(table)} LIMIT {SAMPLED_ROWS}"
        try:
            with self.watchdog.watching([(_TABLE_S, self.connection.interrupt)]):
                rows = self.connection.execute(query).fetchall()
        except Failure:
            return {}  # past the limits, or damaged: the table is listed without values
        return first_values(columns, rows, self.wanted)

    def _rows(self, query: str) -> list[dict[str, Any]]:
        with self.watchdog.watching([(_CATALOG_S, self.connection.interrupt)]):
            result = self.connection.execute(query)
            names = [column[0] for column in result.description]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _foreign_keys(
    constraints: Iterable[dict[str, Any]], tables: tuple[Table, ...]
) -> Iterator[ForeignKey]:
    by_name = {table.name.lower(): table for table in tables}
    seen = set()
    for row in constraints:
        child = by_name.get(row["table_name"].lower())
        parent = by_name.get((row["referenced_table"] or "").lower())
        if row["constraint_type"] != "FOREIGN KEY" or child is None or parent is None:
            continue
        pairs = zip(row["constraint_column_names"], row["referenced_column_names"], strict=False)
        for child_column, parent_column in pairs:
            here, there = spelled(child, child_column), spelled(parent, parent_column)
            if here is not None and there is not None:
                key = ForeignKey(child.name, here, parent.name, there)
                if key not in seen:
                    seen.add(key)
                    yield key

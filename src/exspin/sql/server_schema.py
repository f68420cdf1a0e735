"""The schema of a PostgreSQL or MySQL database, by SQLAlchemy's inspection; see `schema.py` for what a schema is.

Only what the login may read is listed, in order of name: of PostgreSQL the first schema of the search path, of MySQL the
database of the URL. Partitions are left out, since queries name the whole. Views are listed and not sampled; nor are
foreign tables and columns that are computed when read. The server's time limit holds for every statement, and a table
whose values take longer is listed without.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from exspin.records import Database
from exspin.sql.schema import (
    COMMENT_LENGTH,
    SAMPLED_ROWS,
    Column,
    ForeignKey,
    Schema,
    Table,
    first_values,
    one_line,
    spelled,
)
from exspin.sql.server_login import ask_server

from sqlalchemy import Connection, inspect  # isort: skip  (an extra: `server_login` says so first)
from sqlalchemy.engine.interfaces import ReflectedColumn  # isort: skip
from sqlalchemy.engine.reflection import ObjectKind, ObjectScope  # isort: skip
from sqlalchemy.exc import SAWarning, SQLAlchemyError  # isort: skip

log = logging.getLogger("exspin")

TABLES = 2_000  # of a schema; what comes later in order of name is left out, aloud
_READABLE = """SELECT c.relname FROM pg_catalog.pg_class c
    WHERE c.relnamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident(pg_catalog.current_schema()))
    AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
    AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT')"""
_COLLATION = re.compile(r"\s+(?:CHARACTER SET|COLLATE)\s+\S+")
_NOT_TEXT = re.compile(r"BYTEA|BLOB|BINARY|BIT\b|GEOMETRY|POINT|POLYGON", re.IGNORECASE)
_Listed = Mapping[tuple[str | None, str], Any]


def read_server_schema(database: Database, sample_values: int, allow_privileged: bool) -> Schema:
    """Raises `DatabaseError` when the server refuses the login, the login may write, or the schema cannot be read."""

    def work(connection: Connection) -> Schema:
        return _Reader(connection, database.kind, sample_values).schema(database.db_id)

    return ask_server(database, "the schema", work, allow_privileged=allow_privileged)


@dataclass(frozen=True)
class _Reader:
    connection: Connection
    kind: str
    wanted: int  # values a column

    def schema(self, db_id: str) -> Schema:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", SAWarning
            )  # types of extensions, which it does not know
            inspector = inspect(self.connection)
            name = inspector.default_schema_name
            views = {*inspector.get_view_names(), *self._materialized(inspector)}
            names = sorted(self._readable({*inspector.get_table_names(), *views}))
            if len(names) > TABLES:
                log.warning("%s: %d tables; the first %d are read", db_id, len(names), TABLES)
                names = names[:TABLES]
            about: dict[str, Any] = {
                "filter_names": names,
                "kind": ObjectKind.ANY,
                "scope": ObjectScope.DEFAULT,
            }
            columns: _Listed = inspector.get_multi_columns(**about)
            keys: _Listed = inspector.get_multi_pk_constraint(**about)
            comments: _Listed = inspector.get_multi_table_comment(**about)
            references: _Listed = inspector.get_multi_foreign_keys(**about)
        tables = tuple(
            self._table(
                table,
                columns[None, table],
                (keys.get((None, table)) or {}).get("constrained_columns") or (),
                (comments.get((None, table)) or {}).get("text") or "",
                table in views,
            )
            for table in names
            if columns.get((None, table))
        )
        return Schema(db_id, tables, tuple(_foreign_keys(references, tables, name)))

    def _materialized(self, inspector: Any) -> list[str]:
        return inspector.get_materialized_view_names() if self.kind == "postgresql" else []

    def _readable(self, names: set[str]) -> set[str]:
        if self.kind != "postgresql":
            return names  # MySQL shows no others
        return names & {row[0] for row in self.connection.exec_driver_sql(_READABLE)}

    def _table(
        self,
        name: str,
        columns: list[ReflectedColumn],
        key: Iterable[str],
        comment: str,
        view: bool,
    ) -> Table:
        types = {column["name"]: self._type(column) for column in columns}
        sampled = [
            column["name"]
            for column in columns
            if not _NOT_TEXT.match(types[column["name"]]) and _stored(column)
        ]
        samples = {} if view or not self.wanted else self._sample(name, sampled)
        key = tuple(key)
        return Table(
            name=name,
            comment=one_line(comment, COMMENT_LENGTH),
            columns=tuple(
                Column(
                    name=column["name"],
                    type=types[column["name"]],
                    comment=one_line(column.get("comment") or "", COMMENT_LENGTH),
                    primary_key=column["name"] in key,
                    nullable=column["nullable"] and column["name"] not in key,
                    samples=tuple(samples.get(column["name"], ())),
                )
                for column in columns
            ),
            primary_key=key,
            view=view,
        )

    def _type(self, column: ReflectedColumn) -> str:
        """The type as the database spells it; "" for one that SQLAlchemy does not know."""
        try:
            spelled_out = column["type"].compile(self.connection.dialect)
        except SQLAlchemyError:
            return ""
        return "" if spelled_out == "NULL" else _COLLATION.sub("", spelled_out)

    def _sample(self, table: str, columns: list[str]) -> dict[str, list[str]]:
        if not columns:
            return {}
        # It doubles "%", as the driver wants it.
        quote = self.connection.dialect.identifier_preparer.quote_identifier
        text = "TEXT" if self.kind == "postgresql" else "CHAR"
        cells = ", ".join(f"LEFT(CAST({quote(name)} AS {text}), 200)" for name in columns)
        query = f"SELECT {cells} FROM {quote(table)} LIMIT {SAMPLED_ROWS}"
        try:
            rows = self.connection.exec_driver_sql(query).fetchall()
        except SQLAlchemyError:
            return {}  # past the limits, or not ours to read: the table is listed without values
        return first_values(columns, rows, self.wanted)


def _stored(column: ReflectedColumn) -> bool:
    """Is the column's value kept, not computed when it is read?"""
    computed = column.get("computed")
    return computed is None or bool(computed.get("persisted", True))


def _foreign_keys(
    references: _Listed, tables: tuple[Table, ...], schema: str | None
) -> Iterator[ForeignKey]:
    by_name = {table.name.lower(): table for table in tables}
    seen = set()
    for table in tables:
        for reference in references.get((None, table.name)) or ():
            parent = by_name.get(reference["referred_table"].lower())
            if parent is None or reference.get("referred_schema") not in (None, schema):
                continue
            pairs = zip(
                reference["constrained_columns"], reference["referred_columns"], strict=False
            )
            for child_column, parent_column in pairs:
                here, there = spelled(table, child_column), spelled(parent, parent_column)
                key = ForeignKey(table.name, here or "", parent.name, there or "")
                if here and there and key not in seen:
                    seen.add(key)
                    yield key

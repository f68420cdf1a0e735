"""What a server can cheaply tell of its rows, as one digest: whether a database is still the one that a run began with.

Others may write to a server at any time, and reading all of it may take hours. So of each table that the login may read:
how many rows there are, up to a hundred thousand; the content of all of them, up to twenty thousand; of a larger table
with a primary key, that of as many with the lowest keys, and of the thousand with the highest, where new rows usually
are. The server digests them itself. Without a key nothing says which rows come first, and they would be others the next
time: there only the number counts. Not seen are changes in the middle of a large table; views are other tables' rows and
passed over. What takes longer than a statement may is noted as unread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exspin.ledger import digest_json
from exspin.records import Database
from exspin.sql.schema import Schema, Table
from exspin.sql.server_login import ask_server

from sqlalchemy import Connection  # isort: skip  (an extra: `server_login` says so first)
from sqlalchemy.exc import SQLAlchemyError  # isort: skip

COUNTED = 100_000  # rows of a table
READ = 20_000
LATEST = 1_000


def digest_rows(database: Database, schema: Schema) -> str:
    """Raises `DatabaseError` where the server refuses the login or cannot be reached. The login may do more than read:
    whether it may be used is settled elsewhere.
    """

    def work(connection: Connection) -> str:
        tables = [table for table in schema.tables if not table.view]
        return digest_json([[t.name, *_told(connection, database.kind, t)] for t in tables])

    return ask_server(database, "the rows", work, allow_privileged=True)


def _told(connection: Connection, kind: str, table: Table) -> Iterator[str]:
    quote = (
        connection.dialect.identifier_preparer.quote_identifier
    )  # doubles "%", as drivers want it
    source = quote(table.name)
    columns = [quote(column.name) for column in table.columns]
    digest, listed = _digest(kind, columns), ", ".join(columns)

    def ask(what: str, part: str) -> str:
        try:
            found = connection.exec_driver_sql(f"SELECT {what} FROM ({part}) AS part").scalar()
        except SQLAlchemyError:
            return "unread"
        return str(found)

    count = ask("count(*)", f"SELECT 1 FROM {source} LIMIT {COUNTED + 1}")
    yield count
    if count.isdigit() and int(count) <= READ:
        yield ask(digest, f"SELECT {listed} FROM {source} LIMIT {READ}")
    elif table.primary_key:
        for direction, rows in (("ASC", READ), ("DESC", LATEST)):
            order = ", ".join(f"{quote(name)} {direction}" for name in table.primary_key)
            yield ask(digest, f"SELECT {listed} FROM {source} ORDER BY {order} LIMIT {rows}")


def _digest(kind: str, columns: Sequence[str]) -> str:
    """An expression over rows that does not depend on their order."""
    if kind == "postgresql":
        return f"sum(pg_catalog.hashtextextended(ROW({', '.join(columns)})::text, 0)::numeric)"
    return f"SUM(CRC32(CONCAT_WS(',', {', '.join(f'QUOTE({column})' for column in columns)})))"

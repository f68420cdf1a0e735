"""What a server tells of its rows: the same while nothing changes, something else after most changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from exspin.errors import DatabaseError
from exspin.records import Database
from exspin.sql.schema import read_schema

TYPES = {
    "postgresql": '(id INTEGER PRIMARY KEY, t TEXT, f DOUBLE PRECISION, b BYTEA, d DATE, "odd % ""name" TEXT)',
    "mysql": "(id INTEGER PRIMARY KEY, t TEXT, f DOUBLE, b BLOB, d DATE, `odd % name` TEXT)",
}
BYTES = {"postgresql": "'\\x{}'", "mysql": "X'{}'"}


@pytest.fixture
def table(server_stage: Any) -> Iterator[Any]:
    """A table of every kind of value and, apart, one of 25,000 rows."""
    server_stage.admin(f"CREATE TABLE kinds {TYPES[server_stage.kind]}")
    server_stage.admin("CREATE TABLE long_one (id INTEGER PRIMARY KEY, x INTEGER)")
    blob = BYTES[server_stage.kind].format("00ff")
    server_stage.admin(f"INSERT INTO kinds VALUES (1, 'a', 0.5, {blob}, '2020-01-02', 'x'), (2, NULL, NULL, NULL, NULL, NULL)")  # fmt: skip
    for start in range(0, 25_000, 5_000):
        rows = ", ".join(f"({n}, {n % 7})" for n in range(start, start + 5_000))
        server_stage.admin(f"INSERT INTO long_one VALUES {rows}")
    if server_stage.kind == "postgresql":
        user = server_stage.database.url.partition("://")[2].partition(":")[0]
        server_stage.admin(f"GRANT SELECT ON kinds, long_one TO {user}")
    yield server_stage
    server_stage.admin("DROP TABLE kinds")
    server_stage.admin("DROP TABLE long_one")


@pytest.fixture
def told(table: Any) -> Callable[[], str]:
    from exspin.sql.server_rows import digest_rows

    schema = read_schema(table.database, 0)
    return lambda: digest_rows(table.database, schema)


def test_what_is_seen(table: Any, told: Callable[[], str]) -> None:
    before = told()
    assert told() == before
    blob = BYTES[table.kind].format("00fe")
    odd = '"odd % ""name"' if table.kind == "postgresql" else "`odd % name`"
    changes = [
        ("UPDATE kinds SET t = 'b' WHERE id = 1", "UPDATE kinds SET t = 'a' WHERE id = 1"),
        ("UPDATE kinds SET f = 0.50001 WHERE id = 1", "UPDATE kinds SET f = 0.5 WHERE id = 1"),
        (f"UPDATE kinds SET b = {blob} WHERE id = 1", f"UPDATE kinds SET b = {blob.replace('fe', 'ff')} WHERE id = 1"),
        ("UPDATE kinds SET t = '' WHERE id = 2", "UPDATE kinds SET t = NULL WHERE id = 2"),
        (f"UPDATE kinds SET {odd} = 'y' WHERE id = 1", f"UPDATE kinds SET {odd} = 'x' WHERE id = 1"),
        ("INSERT INTO kinds (id) VALUES (3)", "DELETE FROM kinds WHERE id = 3"),
        ("INSERT INTO long_one VALUES (30000, 1)", "DELETE FROM long_one WHERE id = 30000"),
        # moves the row to the end of PostgreSQL's file, and back is not where it was
        ("UPDATE long_one SET x = 99 WHERE id = 5", "UPDATE long_one SET x = 5 WHERE id = 5"),
        ("UPDATE long_one SET x = 99 WHERE id = 24999", f"UPDATE long_one SET x = {24999 % 7} WHERE id = 24999"),
    ]  # fmt: skip
    for change, back in changes:
        table.admin(change)
        assert told() != before, change
        table.admin(back)
        assert told() == before, back


def test_of_a_large_table_without_a_key_only_the_number_counts(
    table: Any, told: Callable[[], str]
) -> None:
    """Nothing orders its rows: which come first is chance, and a run would be refused for it."""
    from exspin.sql.server_rows import digest_rows

    user = table.database.url.partition("://")[2].partition(":")[0]
    table.admin("CREATE TABLE loose AS SELECT id, x FROM long_one")
    try:
        if table.kind == "postgresql":
            table.admin(f"GRANT SELECT ON loose TO {user}")
        schema = read_schema(table.database, 0)
        before = digest_rows(table.database, schema)
        table.admin("UPDATE loose SET x = 99 WHERE id = 5")
        assert digest_rows(table.database, schema) == before
        table.admin("DELETE FROM loose WHERE id = 5")
        assert digest_rows(table.database, schema) != before
    finally:
        table.admin("DROP TABLE loose")


def test_a_table_that_cannot_be_read_is_no_error(table: Any, told: Callable[[], str]) -> None:
    before = told()
    table.admin("ALTER TABLE kinds RENAME TO others")
    try:
        assert told() != before
    finally:
        table.admin("ALTER TABLE others RENAME TO kinds")
    assert told() == before


def test_a_server_that_is_not_there(server_stage: Any) -> None:
    from exspin.sql.server_rows import digest_rows

    schema = read_schema(server_stage.database, 0)
    url = server_stage.url().replace(":5432", ":1").replace(":3306", ":1")
    with pytest.raises(DatabaseError, match="cannot be reached now") as error:
        digest_rows(Database("stage", url), schema)
    assert "Pass" not in str(error.value) and error.value.__context__ is None

"""The distinct values of every engine: read as stored, bounded, and known again when they changed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from exspin.errors import DatabaseError
from exspin.hints.values import open_values
from exspin.records import Database
from exspin.sql.distinct import LONGEST, Unread, open_reader

Stage = Any  # of conftest.py
NAME = f"exspin_test_{os.getpid()}"  # the role that reads
ODD = 'odd " ` table'


def write(stage: Stage, *statements: str) -> None:
    """Statements of the owner, on any engine."""
    if stage.kind == "sqlite":
        with closing(sqlite3.connect(stage.database.path)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()
    elif stage.kind == "duckdb":
        import duckdb

        with closing(duckdb.connect(str(stage.database.path))) as connection:
            for statement in statements:
                connection.execute(statement)
    else:
        for statement in statements:
            stage.admin(statement)


def quoted(stage: Stage, name: str) -> str:
    mark = "`" if stage.kind == "mysql" else '"'
    return mark + name.replace(mark, mark * 2) + mark


@pytest.fixture
def odd(stage: Stage) -> Iterator[Stage]:
    """A table of everything that may go wrong, an empty one and a view; dropped afterwards."""
    table, bytes_type = quoted(stage, ODD), "BLOB" if stage.kind != "postgresql" else "BYTEA"
    write(
        stage,
        f"CREATE TABLE {table} ({quoted(stage, 'a b')} VARCHAR(400), n INTEGER, d DECIMAL(10, 2), picture {bytes_type})",
        f"INSERT INTO {table} VALUES ('Aberdeen', 1, 1.50, NULL), ('Aberdeen ', 2, 2.25, NULL), ('aberdeen', 1, 1.50, NULL)",
        f"INSERT INTO {table} VALUES ('é 名', NULL, NULL, NULL), (NULL, NULL, NULL, NULL), ('{'x' * 300}', 7, 0, NULL)",
        f"INSERT INTO {table} VALUES ('it''s', 1, 1.50, NULL)",
        "CREATE TABLE hollow (id INTEGER, name VARCHAR(10))",
        "CREATE VIEW seen AS SELECT name FROM singer",
    )  # fmt: skip
    if stage.kind == "postgresql":
        write(stage, f"GRANT SELECT ON {table}, hollow, seen TO {NAME}")
    yield stage
    write(stage, "DROP VIEW seen", f"DROP TABLE {table}", "DROP TABLE hollow")


def read(database: Database, table: str, column: str, limit: int = 100) -> list[str]:
    with open_reader(database) as reader:
        return sorted(reader.distinct_values(table, column, limit))


def test_values_come_as_they_are_stored(odd: Stage) -> None:
    """Spaces at the end and case count, whatever the collation; NULL does not; long text is cut and still too long."""
    found = read(odd.database, ODD, "a b")
    assert {"Aberdeen", "Aberdeen ", "aberdeen", "it's", "é 名"} < set(found) and len(found) == 6
    (long,) = (value for value in found if value.startswith("xx"))
    assert LONGEST < len(long) <= 300
    assert read(odd.database, ODD, "n") == ["1", "2", "7"]
    assert sorted(map(float, read(odd.database, ODD, "d"))) == [0, 1.5, 2.25]
    assert read(odd.database, "hollow", "name") == []


def test_columns_are_those_of_tables_that_hold_text(odd: Stage) -> None:
    with open_reader(odd.database) as reader:
        columns = reader.columns()
    assert {(ODD, "a b"), (ODD, "n"), ("hollow", "id"), ("singer", "name")} <= set(columns)
    assert not {table for table, _ in columns} & {"seen"}
    if odd.kind != "sqlite":  # whose columns have no types: blobs are passed over one by one
        assert (ODD, "picture") not in columns


def test_a_column_is_read_to_its_limit_and_no_further(stage: Stage) -> None:
    with open_reader(stage.database) as reader:
        values = list(reader.distinct_values("many", "x", 100))
        assert len(values) == 101 and len(set(values)) == 101  # one more says that there are more
        assert len(list(reader.distinct_values("many", "x", 10_000))) == 5000
        assert len(list(reader.distinct_values("singer", "name", 10))) == 3  # and it goes on


def test_what_cannot_be_read_is_said_and_the_rest_goes_on(stage: Stage) -> None:
    with open_reader(stage.database) as reader:
        with pytest.raises(Unread, match=r"\w"):
            list(reader.distinct_values("gone", "x", 10))
        assert len(list(reader.distinct_values("singer", "name", 10))) == 3


def test_a_column_that_takes_too_long_is_left(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stage.kind == "sqlite":
        monkeypatch.setattr("exspin.sql.distinct.COLUMN_WORK", 10_000)
    elif stage.kind == "duckdb":
        monkeypatch.setattr("exspin.sql.duckdb_distinct.DATABASE_S", 0.0)
    else:
        monkeypatch.setattr("exspin.sql.server_distinct.DATABASE_S", 0.0)
    with open_reader(stage.database) as reader, pytest.raises(Unread, match="more than"):
        list(reader.distinct_values("many", "x", 10_000))


def test_the_digest_tells_states_apart(
    stage: Stage, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    def digest() -> str:
        with open_reader(stage.database) as reader:
            return reader.digest()

    before = digest()
    assert digest() == before
    write(stage, "UPDATE singer SET name = 'Ida' WHERE id = 1")
    try:
        assert eventually(lambda: digest() != before)
    finally:
        write(stage, "UPDATE singer SET name = 'Ada' WHERE id = 1")


def test_questions_find_values_of_every_engine(odd: Stage, tmp_path: Path) -> None:
    values = open_values(odd.database, tmp_path)
    (hint,) = values.find("Which concerts did “Ada” give?")
    assert (hint.table, hint.column, hint.value) == ("singer", "name", "Ada")
    (left,) = values.left_out
    assert (left.table, left.column, left.long) == (ODD, "a b", 1)
    write(odd, "UPDATE singer SET name = 'Zoe' WHERE id = 1")
    try:
        again = open_values(odd.database, tmp_path)
        assert again.find("Which concerts did “Ada” give?") == ()
        assert again.find("Which concerts did “Zoe” give?")[0].value == "Zoe"
    finally:
        write(odd, "UPDATE singer SET name = 'Ada' WHERE id = 1")


def test_a_login_that_may_write_is_refused(server_stage: Stage) -> None:
    url: Any = server_stage.url("root" if server_stage.kind == "mysql" else "postgres", "")
    owner = Database("stage", url)
    with pytest.raises(DatabaseError, match="may do more than read"):
        open_reader(owner)
    with open_reader(owner, allow_privileged=True) as reader:
        assert len(list(reader.distinct_values("singer", "name", 10))) == 3


def test_a_server_that_is_not_there_is_an_error_without_the_password(server_stage: Stage) -> None:
    url = server_stage.database.url.replace(":5432", ":1").replace(":3306", ":1")
    with pytest.raises(DatabaseError) as told:
        open_reader(Database("stage", url))
    assert "Pass" not in str(told.value)


def test_reading_leaves_the_database_as_it_was(stage: Stage, tmp_path: Path) -> None:
    before = stage.contents()
    open_values(stage.database, tmp_path)
    assert stage.contents() == before

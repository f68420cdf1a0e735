"""Schemas of DuckDB files and of servers, read from the real thing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from exspin.errors import DatabaseError
from exspin.records import Database
from exspin.sql.schema import Column, ForeignKey, Schema, Table, read_schema

DDL = {
    "duckdb": """
        CREATE TABLE zoo (id INTEGER PRIMARY KEY, "full name" VARCHAR NOT NULL, opened DATE, area DECIMAL(8,2), logo BLOB);
        CREATE TABLE animal (zoo_id INTEGER REFERENCES zoo (id), no INTEGER, "100%" DOUBLE, twice INTEGER AS (no * 2), PRIMARY KEY (no, zoo_id));
        COMMENT ON TABLE zoo IS 'where animals live';
        COMMENT ON COLUMN zoo.area IS 'in hectares';
        CREATE VIEW old AS SELECT id, opened FROM zoo""",
    "postgresql": """
        CREATE TABLE zoo (id INTEGER PRIMARY KEY, "full name" VARCHAR(80) NOT NULL, opened DATE, area NUMERIC(8,2), logo BYTEA);
        CREATE TABLE animal (zoo_id INTEGER REFERENCES zoo (id), no INTEGER, "100%" FLOAT8, twice INTEGER GENERATED ALWAYS AS (no * 2) STORED, PRIMARY KEY (no, zoo_id));
        COMMENT ON TABLE zoo IS 'where animals live';
        COMMENT ON COLUMN zoo.area IS 'in hectares';
        CREATE VIEW old AS SELECT id, opened FROM zoo""",
    "mysql": """
        CREATE TABLE zoo (id INTEGER PRIMARY KEY, `full name` VARCHAR(80) NOT NULL, opened DATE, area DECIMAL(8,2) COMMENT 'in hectares', logo BLOB) COMMENT 'where animals live';
        CREATE TABLE animal (zoo_id INTEGER, no INTEGER, `100%` DOUBLE, twice INTEGER GENERATED ALWAYS AS (no * 2) VIRTUAL, PRIMARY KEY (no, zoo_id), FOREIGN KEY (zoo_id) REFERENCES zoo (id));
        CREATE VIEW old AS SELECT id, opened FROM zoo""",
}  # fmt: skip
ROWS = """
    INSERT INTO zoo VALUES (1, 'Tierpark', '1955-07-02', 160.00, NULL), (2, 'Zoo  am
    Meer', '1913-11-08', 1.25, NULL), (3, 'A name that is rather longer than a prompt can show', NULL, NULL, NULL);
    INSERT INTO animal (zoo_id, no, "100%") VALUES (1, 7, 0.5), (2, 8, NULL)"""


@pytest.fixture(params=["duckdb", "postgresql", "mysql"])
def zoo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    kind = request.param
    steps = [*DDL[kind].split(";\n"), *ROWS.split(";\n")]
    if kind == "duckdb":
        duckdb = pytest.importorskip("duckdb")
        path = tmp_path / "zoo.duckdb"
        with closing(duckdb.connect(str(path))) as connection:
            for step in steps:
                connection.execute(step)
        yield Database("zoo", f"duckdb:///{path}")
        return
    stage = request.getfixturevalue(f"{kind}_stage")
    user = stage.database.url.partition("//")[2].partition(":")[0]
    try:
        for step in steps:
            stage.admin(step.replace('"', "`") if kind == "mysql" else step)
        if kind == "postgresql":
            stage.admin(f"GRANT SELECT ON zoo, animal, old TO {user}")
        yield Database("zoo", stage.database.url)
    finally:
        stage.admin("DROP VIEW IF EXISTS old")
        stage.admin(
            "DROP TABLE IF EXISTS animal, zoo" + (" CASCADE" if kind == "postgresql" else "")
        )


def of_the_zoo(schema: Schema) -> dict[str, Table]:
    return {table.name: table for table in schema.tables if table.name in ("zoo", "animal", "old")}


def test_everything_a_prompt_shows_is_read(zoo: Database) -> None:
    schema = read_schema(zoo)
    tables = of_the_zoo(schema)
    assert schema.db_id == "zoo" and set(tables) == {"zoo", "animal", "old"}
    types = {
        "duckdb": ("INTEGER", "VARCHAR", "DATE", "DECIMAL(8,2)", "BLOB"),
        "postgresql": ("INTEGER", "VARCHAR(80)", "DATE", "NUMERIC(8, 2)", "BYTEA"),
        "mysql": ("INTEGER(11)", "VARCHAR(80)", "DATE", "DECIMAL(8, 2)", "BLOB"),
    }[zoo.kind]
    assert tables["zoo"] == Table(
        name="zoo",
        comment="where animals live",
        columns=(
            Column("id", types[0], "", primary_key=True, nullable=False, samples=("1", "2")),
            Column("full name", types[1], "", False, False, ("Tierpark", "Zoo am Meer")),
            Column("opened", types[2], "", False, True, ("1955-07-02", "1913-11-08")),
            Column("area", types[3], "in hectares", False, True, ("160.00", "1.25")),
            Column("logo", types[4], "", False, True, ()),
        ),
        primary_key=("id",),
    )
    animal = tables["animal"]
    assert animal.primary_key == ("no", "zoo_id")
    assert [column.name for column in animal.columns] == ["zoo_id", "no", "100%", "twice"]
    assert animal.columns[2].samples == ("0.5",)
    assert animal.columns[3].samples == (("14", "16") if zoo.kind == "postgresql" else ())
    assert ForeignKey("animal", "zoo_id", "zoo", "id") in schema.foreign_keys
    assert tables["old"].view
    assert [(c.name, c.samples) for c in tables["old"].columns] == [("id", ()), ("opened", ())]


def test_no_thread_is_left_when_it_is_read(zoo: Database) -> None:
    before = threading.active_count()
    read_schema(zoo)
    assert threading.active_count() == before


def test_values_are_as_many_as_asked_for(zoo: Database) -> None:
    names = {n: of_the_zoo(read_schema(zoo, n))["zoo"].columns[1].samples for n in (0, 1, 9)}
    assert names[0] == () and names[1] == ("Tierpark",)
    assert names[9] == ("Tierpark", "Zoo am Meer", "A name that is rather...")


def test_a_schema_reads_the_same_twice(zoo: Database) -> None:
    assert read_schema(zoo).digest == read_schema(zoo).digest


def test_tables_that_may_not_be_read_are_not_listed(postgresql_stage: Any) -> None:
    postgresql_stage.admin("CREATE TABLE secret (x INTEGER)")
    postgresql_stage.admin("CREATE TABLE parted (x INTEGER) PARTITION BY RANGE (x)")
    postgresql_stage.admin("CREATE TABLE part1 PARTITION OF parted FOR VALUES FROM (0) TO (9)")
    user = postgresql_stage.database.url.partition("//")[2].partition(":")[0]
    try:
        postgresql_stage.admin(f"GRANT SELECT ON parted, part1 TO {user}")
        names = [table.name for table in read_schema(postgresql_stage.database).tables]
        assert names == ["concert", "many", "parted", "singer"]
    finally:
        postgresql_stage.admin("DROP TABLE secret, parted")


def test_the_schema_of_the_search_path_is_read(postgresql_stage: Any) -> None:
    user = postgresql_stage.database.url.partition("//")[2].partition(":")[0]
    postgresql_stage.admin('CREATE SCHEMA "Other place"')
    try:
        postgresql_stage.admin('CREATE TABLE "Other place".shelf (id INTEGER PRIMARY KEY)')
        postgresql_stage.admin(f'GRANT USAGE ON SCHEMA "Other place" TO {user}')
        postgresql_stage.admin(f'GRANT SELECT ON ALL TABLES IN SCHEMA "Other place" TO {user}')
        option = "?options=-csearch_path%3D%22Other%5C%20place%22"
        schema = read_schema(Database("x", postgresql_stage.database.url + option))
        assert [table.name for table in schema.tables] == ["shelf"]
    finally:
        postgresql_stage.admin('DROP SCHEMA "Other place" CASCADE')


def test_a_view_that_never_ends_is_only_listed(postgresql_stage: Any, tmp_path: Path) -> None:
    endless = "CREATE VIEW endless AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) AS n FROM c"
    user = postgresql_stage.database.url.partition("//")[2].partition(":")[0]
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "endless.duckdb"
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute(endless)
    postgresql_stage.admin(endless)
    try:
        postgresql_stage.admin(f"GRANT SELECT ON endless TO {user}")
        for database in (Database("x", f"duckdb:///{path}"), postgresql_stage.database):
            begin = time.monotonic()
            table = next(t for t in read_schema(database).tables if t.name == "endless")
            assert [column.name for column in table.columns] == ["n"]
            assert time.monotonic() - begin < 10
    finally:
        postgresql_stage.admin("DROP VIEW endless")


@pytest.mark.parametrize("content", [None, b"", b"<html>404</html>", b"\0" * 5000])
def test_a_file_that_is_no_duckdb_database(tmp_path: Path, content: bytes | None) -> None:
    pytest.importorskip("duckdb")
    path = tmp_path / "broken.duckdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatabaseError, match=r"broken\.duckdb: the schema cannot be read"):
        read_schema(Database("x", f"duckdb:///{path}"))
    assert list(tmp_path.iterdir()) == ([] if content is None else [path])  # nothing is made

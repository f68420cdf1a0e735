"""What a gold uses, compared with what SQLite reads; and the oracle selection made of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from exspin.hints.labels import gold_selection, used_items
from exspin.records import Database, Example
from exspin.sql.schema import Schema, read_schema

SCRIPT = """
CREATE TABLE Singer (Singer_ID INTEGER PRIMARY KEY, Name TEXT, Age INT, "home town" TEXT);
CREATE TABLE concert (concert_id INTEGER PRIMARY KEY, Theme TEXT, Year INT);
CREATE TABLE singer_in_concert (concert_id INT REFERENCES concert, singer_id INT REFERENCES Singer, "order" INT);
CREATE VIEW grown AS SELECT Name, Age FROM Singer WHERE Age > 17;
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "music.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(SCRIPT)
    connection.close()
    return path


@pytest.fixture(scope="module")
def schema(database: Path) -> Schema:
    return read_schema(Database.sqlite("music", database))


@pytest.fixture
def connection(database: Path) -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(database)
    yield opened
    opened.close()


# Every name that these read is one that they write, so SQLite's own account of what it reads is the label.
AS_SQLITE_READS = """
SELECT name FROM SINGER
SELECT count(*) FROM singer
SELECT * FROM concert
SELECT T2.* FROM singer AS T1, concert AS T2 WHERE T1.age = T2.year
SELECT T1.name FROM singer AS T1 JOIN singer_in_concert AS T2 ON T1.singer_id = T2.singer_id
SELECT name FROM singer WHERE singer_id NOT IN (SELECT singer_id FROM singer_in_concert)
SELECT name FROM singer AS s WHERE EXISTS (SELECT 1 FROM singer_in_concert AS c WHERE c.singer_id = s.singer_id)
SELECT max(age) AS year FROM singer ORDER BY year
SELECT name FROM singer WHERE "home town" = "Paris"
SELECT [home town], `age` FROM "Singer" GROUP BY 1 HAVING count(*) > 1
SELECT name FROM singer WHERE age > (SELECT avg(age) FROM singer)
WITH old AS (SELECT name AS n, age FROM singer WHERE age > 60) SELECT n, age FROM old ORDER BY age
SELECT x.m FROM (SELECT max(year) AS m FROM concert) AS x
SELECT name FROM singer UNION SELECT theme FROM concert ORDER BY name
SELECT a.name FROM (singer AS a JOIN singer_in_concert AS b ON a.singer_id = b.singer_id)
SELECT concert_id, count(*) FROM singer_in_concert GROUP BY concert_id ORDER BY count(*) DESC LIMIT 1
SELECT rowid, theme FROM concert
SELECT CASE WHEN age > 30 THEN name ELSE 'young' END FROM singer
SELECT count(DISTINCT t."order") FROM singer_in_concert t
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i, year FROM n, concert
""".strip().splitlines()


@pytest.mark.parametrize("sql", AS_SQLITE_READS)
def test_what_a_query_uses_is_what_sqlite_reads(
    sql: str, schema: Schema, connection: sqlite3.Connection
) -> None:
    tables, columns = set(), set()

    def note(action: int, table: str | None, column: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_READ and table and table.lower() in known:
            tables.add(table.lower())
            if column and column != "ROWID":
                columns.add((table.lower(), column.lower()))
        return sqlite3.SQLITE_OK

    known = {table.name.lower() for table in schema.tables}
    connection.set_authorizer(note)
    connection.execute(sql)
    if "rowid" in sql:  # SQLite gives a row's number the name of the key
        columns.discard(("concert", "concert_id"))
    used = used_items(sql, schema)
    assert used is not None
    assert {name.lower() for name in used.tables} == tables
    assert {(a.lower(), b.lower()) for a, b in used.columns} == columns


def test_names_are_those_of_the_schema(schema: Schema) -> None:
    used = used_items('select SINGER.NAME from singer where "HOME TOWN" is null', schema)
    assert used is not None
    assert used.tables == {"Singer"}
    assert used.columns == {("Singer", "Name"), ("Singer", "home town")}


def test_a_star_inside_exists_uses_no_column(schema: Schema) -> None:
    sql = "SELECT count(*) FROM singer AS s WHERE EXISTS (SELECT * FROM concert WHERE year = s.age)"
    used = used_items(sql, schema)
    assert used is not None and used.columns == {("Singer", "Age"), ("concert", "Year")}


@pytest.mark.parametrize(
    "join", ["JOIN singer_in_concert USING (concert_id)", "NATURAL JOIN singer_in_concert"]
)
def test_a_column_that_joins_is_used_on_both_sides(join: str, schema: Schema) -> None:
    used = used_items(f"SELECT theme FROM concert {join}", schema)
    both = {("concert", "concert_id"), ("singer_in_concert", "concert_id")}
    assert used is not None and used.columns == {("concert", "Theme"), *both}


def test_a_view_is_a_table(schema: Schema) -> None:
    used = used_items("SELECT name FROM grown", schema)
    assert used is not None and used.tables == {"grown"} and used.columns == {("grown", "Name")}


def test_text_in_double_quotes_is_a_name_elsewhere(schema: Schema) -> None:
    assert used_items('SELECT name FROM singer WHERE name = "Bob"', schema, "postgres") is None
    used = used_items('SELECT "name" FROM "singer"', schema, "duckdb")
    assert used is not None and used.columns == {("Singer", "Name")}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT height FROM singer",
        "SELECT name FROM band",
        "SELECT T9.name FROM singer AS T1",
        "SELECT singer.name FROM singer AS T1",
        "SELECT name FROM",
        "DELETE FROM singer",
        "",
        "SELECT " + "(" * 200 + "1" + ")" * 200,
        "SELECT '" + "x" * 30_000 + "' FROM singer",
    ],
)
def test_what_cannot_be_resolved_has_no_labels(sql: str, schema: Schema) -> None:
    assert used_items(sql, schema) is None


# --- the selection of gold --------------------------------------------------------------------------------------------

GOLD = Example("made/1", 0, "music", "Who sings?", "SELECT theme FROM concert")


def test_gold_is_filled_up_with_others(schema: Schema) -> None:
    kept = gold_selection(GOLD, schema, 2, 2)
    assert kept is not None
    assert len(kept.tables) == 2 and "concert" in kept and ("concert", "Theme") in kept
    assert all(len(columns) >= 2 for columns in kept.columns.values())


def test_gold_that_uses_more_is_kept_whole(schema: Schema) -> None:
    sql = "SELECT name, age FROM singer JOIN singer_in_concert USING (singer_id) JOIN concert USING (concert_id)"
    kept = gold_selection(Example("made/2", 0, "music", "", sql), schema, 1, 1)
    used = used_items(sql, schema)
    assert kept is not None and used is not None
    assert set(kept.tables) == used.tables
    assert all(item in kept for item in used.columns)


def test_the_choice_depends_on_the_seed_and_the_example_alone(schema: Schema) -> None:
    def orders(**change: int) -> set[str]:
        return {
            str(
                gold_selection(
                    Example(f"made/{i}", 0, "music", "", GOLD.query), schema, 3, 3, **change
                )
            )
            for i in range(20)
        }

    assert orders() == orders()
    assert orders(seed=1) != orders()
    assert len(orders()) > 5
    firsts = {text.partition("'")[2].partition("'")[0] for text in orders()}
    assert len(firsts) > 1  # gold does not always come first


def test_a_gold_that_cannot_be_read_selects_nothing(schema: Schema) -> None:
    assert (
        gold_selection(Example("made/3", 0, "music", "", "SELECT x FROM y"), schema, 2, 2) is None
    )

"""Schema reading: what stands in the file is read as it is spelled, and a hostile file cannot stop it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exspin.data import load
from exspin.errors import DatabaseError
from exspin.records import Database
from exspin.sql.schema import (
    Column,
    ForeignKey,
    Schema,
    Table,
    one_line,
    quote_name,
    read_comments,
    read_schema,
)


def read(tmp_path: Path, script: str, sample_values: int = 2) -> Schema:
    path = tmp_path / "db.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    before = path.read_bytes()
    schema = read_schema(Database.sqlite("db", path), sample_values)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["db.sqlite"]
    return schema


def test_a_small_schema_in_full(tmp_path: Path) -> None:
    schema = read(
        tmp_path,
        """CREATE TABLE singer ( -- who sings
             singer_id INTEGER PRIMARY KEY,
             name VARCHAR(30) NOT NULL -- on stage
           );
           INSERT INTO singer VALUES (7, 'Joe Sharp'), (8, 'Timbaland'), (9, 'Joe Sharp');""",
    )
    assert schema == Schema(
        "db",
        (
            Table(
                "singer",
                "who sings",
                (
                    Column("singer_id", "INTEGER", "", True, False, ("7", "8")),
                    Column(
                        "name", "VARCHAR(30)", "on stage", False, False, ("Joe Sharp", "Timbaland")
                    ),
                ),
                ("singer_id",),
            ),
        ),
        (),
    )


def test_foreign_keys_resolve_and_keep_the_order_and_spelling_of_the_tables(tmp_path: Path) -> None:
    schema = read(
        tmp_path,
        """CREATE TABLE Parent (Id INTEGER PRIMARY KEY, boss REFERENCES parent);
           CREATE TABLE pair (b INT, a INT, PRIMARY KEY (a, b));
           CREATE TABLE child (
             P int REFERENCES PARENT(ID), x int, y int,
             gone int REFERENCES nowhere(id), lost int REFERENCES Parent(absent),
             FOREIGN KEY (X, Y) REFERENCES pair
           );""",
    )
    assert schema.tables[1].primary_key == ("a", "b")
    assert schema.foreign_keys == (
        ForeignKey("Parent", "boss", "Parent", "Id"),
        ForeignKey("child", "P", "Parent", "Id"),
        ForeignKey("child", "x", "pair", "a"),
        ForeignKey("child", "y", "pair", "b"),
    )


def test_samples_are_distinct_short_printable_and_in_row_order(tmp_path: Path) -> None:
    schema = read(
        tmp_path,
        """CREATE TABLE t (a, b, c, d, e);
           CREATE INDEX by_a ON t (a);
           INSERT INTO t VALUES
             ('z', NULL, x'00ff', 'two' || char(10) || 'lines' || char(27) || '[31m', ''),
             ('z', 1.5, x'00', 'a value of many more letters than fit', ' '),
             ('a', -3, NULL, '', NULL);""",
    )
    samples = [column.samples for column in schema.tables[0].columns]
    assert samples == [
        ("z", "a"),
        ("1.5", "-3"),
        (),
        ("two lines [31m", "a value of many more l..."),
        (),
    ]
    assert all(len(value) <= 25 for column in samples for value in column)


def test_row_order_does_not_depend_on_indexes(tmp_path: Path) -> None:
    # without NOT INDEXED, SQLite reads a table of one column from its index
    schema = read(
        tmp_path,
        "CREATE TABLE t (a); CREATE INDEX i ON t (a); INSERT INTO t VALUES ('z'), ('m'), ('a');",
    )
    assert schema.tables[0].columns[0].samples == ("z", "m")


def test_text_that_is_not_utf_8_is_read_without_the_bad_bytes(tmp_path: Path) -> None:
    schema = read(tmp_path, "CREATE TABLE t (a); INSERT INTO t VALUES (CAST(x'4a6fff65' AS TEXT));")
    assert schema.tables[0].columns[0].samples == ("Joe",)


def test_how_many_samples_is_asked_for(tmp_path: Path) -> None:
    schema = read(tmp_path, "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), (3);", 3)
    assert schema.tables[0].columns[0].samples == ("1", "2", "3")
    assert (
        read_schema(Database.sqlite("db", tmp_path / "db.sqlite"), 0).tables[0].columns[0].samples
        == ()
    )


ODD = ["order", "two words", 'a "quote"', "it's", "naïve", "1st", "[x]", "`y`", "a.b", "x;--", "%s"]


def test_odd_names_are_read_as_they_are(tmp_path: Path) -> None:
    columns = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}" TEXT' for name in ODD)
    tables = "".join(
        f'CREATE TABLE "{name.replace(chr(34), chr(34) * 2)}" ({columns});' for name in ODD
    )
    schema = read(tmp_path, tables)
    assert [table.name for table in schema.tables] == ODD
    assert all([column.name for column in table.columns] == ODD for table in schema.tables)


def test_views_are_listed_unsampled_and_broken_ones_left_out(tmp_path: Path) -> None:
    schema = read(
        tmp_path,
        """CREATE TABLE t (a); INSERT INTO t VALUES (1);
           CREATE VIEW good AS SELECT a AS b FROM t;
           CREATE VIEW bad AS SELECT a FROM nowhere;""",
    )
    assert [(table.name, table.view) for table in schema.tables] == [("t", False), ("good", True)]
    assert schema.tables[1].columns == (Column("b", "", "", False, True, ()),)


def test_virtual_tables_show_no_inner_tables_and_no_values(tmp_path: Path) -> None:
    schema = read(
        tmp_path, "CREATE VIRTUAL TABLE doc USING fts5(title); INSERT INTO doc VALUES ('x');"
    )
    assert [(t.name, [c.name for c in t.columns]) for t in schema.tables] == [("doc", ["title"])]
    assert schema.tables[0].columns[0].samples == ()


def test_generated_columns_are_read_and_only_stored_ones_are_sampled(tmp_path: Path) -> None:
    # computing `endless` is one instruction of many minutes, which no limit inside SQLite ends
    schema = read(
        tmp_path,
        """CREATE TABLE fine (a int, fast int AS (a + 1), kept int AS (a + 2) STORED);
           INSERT INTO fine VALUES (1);
           CREATE TABLE hostile (a int);
           INSERT INTO hostile VALUES (1);
           ALTER TABLE hostile ADD COLUMN
             endless AS (instr(zeroblob(20000000), zeroblob(10000000)||x'01'));""",
    )
    assert [column.samples for column in schema.tables[0].columns] == [("1",), (), ("3",)]
    assert [column.name for column in schema.tables[1].columns] == ["a", "endless"]
    assert [column.samples for column in schema.tables[1].columns] == [("1",), ()]


def test_a_row_past_the_limits_shows_no_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exspin.sql.schema.CELL_LIMIT", 2_000)
    schema = read(
        tmp_path,
        """CREATE TABLE hostile (a int, huge text);
           INSERT INTO hostile VALUES (1, hex(zeroblob(5000)));""",
    )
    assert [column.samples for column in schema.tables[0].columns] == [(), ()]


DOUBLING = [
    # each view stands for two of the one before it
    "CREATE TABLE t (a, {columns}); CREATE VIEW v0 AS SELECT * FROM t;"
    + "".join(
        f'CREATE VIEW v{i} AS SELECT x.* FROM {"main." * (i % 2)}v{i - 1} x, "V{i - 1}" y;'
        for i in range(1, 31)
    ),
    # the same within one view
    "CREATE TABLE t (a, {columns}); CREATE VIEW v AS WITH c0 AS (SELECT * FROM t)"
    + "".join(
        f", c{i} (a) AS NOT MATERIALIZED (SELECT x.a FROM c{i - 1} x, c{i - 1})"
        for i in range(1, 31)
    )
    + " SELECT a FROM c30;",
]


@pytest.mark.parametrize("script", DOUBLING, ids=["views", "expressions"])
def test_views_that_double_again_and_again_are_left_out(script: str, tmp_path: Path) -> None:
    # not stopped, this fills the memory
    columns = ", ".join(f"c{i}" for i in range(1500))
    schema = read(tmp_path, script.replace("{columns}", columns))
    views = [table.name for table in schema.tables if table.view]
    assert views == ([f"v{i}" for i in range(7)] if "v30" in script else [])


def test_views_on_views_with_table_expressions_are_read(tmp_path: Path) -> None:
    schema = read(
        tmp_path,
        """CREATE TABLE t (a, b);
           CREATE VIEW v AS WITH x AS (SELECT a, b FROM t), y (c, d) AS (SELECT x.a, x.b FROM x)
             SELECT x.a, y.d FROM x JOIN y ON x.a = y.c;
           CREATE VIEW w AS SELECT one.a, two.d FROM v AS one JOIN main.v AS two ON one.a = two.a;""",
    )
    assert [[column.name for column in table.columns] for table in schema.tables] == [
        ["a", "b"],
        ["a", "d"],
        ["a", "d"],
    ]


@pytest.mark.parametrize("folder", [b"latin-\xfc", b"a%?#b"])
def test_a_folder_may_have_any_name(folder: bytes, tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(folder)
    place.mkdir()
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (a)")
        (place / "db.sqlite").write_bytes(connection.serialize())
    for path in (place / "db.sqlite", Path("/" + str(place / "db.sqlite"))):
        assert [t.name for t in read_schema(Database.sqlite("db", path)).tables] == ["t"]


def test_the_search_for_values_ends_after_a_thousand_rows(tmp_path: Path) -> None:
    schema = read(
        tmp_path,
        """CREATE TABLE t (a, b);
           WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
           INSERT INTO t SELECT 'x', CASE WHEN i > 2000 THEN i END FROM n;""",
    )
    assert [column.samples for column in schema.tables[0].columns] == [("x",), ()]


def test_the_digest_follows_everything_a_prompt_can_show(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = read(tmp_path / "a", "CREATE TABLE t (a); INSERT INTO t VALUES (1);")
    two = read(tmp_path / "b", "CREATE TABLE t (a); INSERT INTO t VALUES (2);")
    assert one.digest != two.digest
    assert one.digest == read_schema(Database.sqlite("db", tmp_path / "a/db.sqlite")).digest


def test_a_missing_or_damaged_file_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match=r"absent\.sqlite: the schema cannot be read"):
        read_schema(Database.sqlite("x", tmp_path / "absent.sqlite"))
    assert not list(tmp_path.iterdir())
    (tmp_path / "text.sqlite").write_text("no database" * 100)
    with pytest.raises(DatabaseError, match="not a database"):
        read_schema(Database.sqlite("x", tmp_path / "text.sqlite"))


@pytest.mark.parametrize(
    ("ddl", "table", "columns"),
    [
        ("CREATE TABLE t (a int, -- first\n b int -- second\n)", "", {"a": "first", "b": "second"}),
        ("CREATE TABLE t -- why\n (a int)", "why", {}),
        ("CREATE TABLE t ( -- why\n a int /* inline */, b int)", "why", {"a": "inline"}),
        ("CREATE TABLE t (a int) -- after", "after", {}),
        # commented-out lines belong to nobody
        ("CREATE TABLE t (\n -- old int,\n a int\n -- more\n)", "", {}),
        # neither commas in types and checks nor comment marks in text and names start anything
        (
            "CREATE TABLE t (a numeric(8,2) CHECK (a IN (1,2)), -- money\n"
            "b text DEFAULT '--no, (', -- text\n \"c--,\" int -- odd\n)",
            "",
            {"a": "money", "b": "text", "c--,": "odd"},
        ),
        (
            "CREATE TABLE t (`A b` int, -- back\n [c d] int -- square\n)",
            "",
            {"a b": "back", "c d": "square"},
        ),
        ("CREATE TABLE t (a int, -- one\tline \x07 only\n b int)", "", {"a": "one line only"}),
        ("", "", {}),
    ],
)
def test_comments_go_to_the_column_whose_line_they_end(
    ddl: str, table: str, columns: dict[str, str]
) -> None:
    assert read_comments(ddl) == (table, columns)


@given(st.text(alphabet="abc(),-\n/*'\"`[] ", max_size=60))
def test_no_text_stops_the_comment_reader(ddl: str) -> None:
    table, columns = read_comments(ddl)
    assert all("\n" not in text for text in (table, *columns.values()))


@given(st.text(), st.integers(3, 30))
def test_one_line_is_one_line(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert line == "" or line.isprintable()


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
KEYWORDS = """abort action add after all alter always analyze and as asc attach autoincrement before begin between by
cascade case cast check collate column commit conflict constraint create cross current current_date current_time
current_timestamp database default deferrable deferred delete desc detach distinct do drop each else end escape except
exclude exclusive exists explain fail false filter first following for foreign from full generated glob group groups
having if ignore immediate in index indexed initially inner insert instead intersect into is isnull join key last left
like limit match materialized name natural no not nothing notnull null nulls of offset on or order others outer over
partition plan pragma preceding primary query raise range recursive references regexp reindex release rename replace
restrict returning right rollback row rows savepoint select set table temp temporary then ties to transaction trigger
true type unbounded union unique update using vacuum value values view virtual when where window with without"""


@pytest.mark.parametrize("name", KEYWORDS.split() + ODD + ["a$b", "ünïcode", "_x", "x1"])
def test_a_quoted_name_names_the_column_in_sql(name: str) -> None:
    assert_names_the_column(name)


@given(names)
def test_any_name_can_be_spelled(name: str) -> None:
    assert_names_the_column(name)


def assert_names_the_column(name: str) -> None:
    always = '"' + name.replace('"', '""') + '"'
    spelled = quote_name(name)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE {always} ({always} TEXT)")
        connection.execute(f"INSERT INTO {always} VALUES ('value')")
        query = f"SELECT {spelled} FROM {spelled} WHERE {spelled}.{spelled} = 'value' ORDER BY {spelled}"
        assert connection.execute(query).fetchall() == [("value",)]


def test_plain_names_stay_plain() -> None:
    assert [quote_name(n) for n in ("name", "Age", "key", "order", "two words", "1st")] == [
        "name",
        "Age",
        "key",
        '"order"',
        '"two words"',
        '"1st"',
    ]


def test_every_spider_database_can_be_read(exspin_data: Path) -> None:
    databases = load(f"spider:{exspin_data}/spider", "dev").databases
    schemas = {name: read_schema(database) for name, database in databases.items()}
    assert [table.name for table in schemas["concert_singer"].tables] == [
        "stadium",
        "singer",
        "concert",
        "singer_in_concert",
    ]
    assert ForeignKey("concert", "Stadium_ID", "stadium", "Stadium_ID") in (
        schemas["concert_singer"].foreign_keys
    )
    assert all(schema.tables for schema in schemas.values())

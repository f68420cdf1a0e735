"""Perturbed copies: what stays as it was, what differs, how the same comes out again, and what is refused."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exspin.errors import ConfigError, RunError
from exspin.ledger import digest_file
from exspin.records import Database
from exspin.sql import copies as copies_module
from exspin.sql.copies import CopySet, make_copies
from exspin.sql.copies.mentions import read_mentions
from exspin.sql.copies.perturb import Perturber
from exspin.sql.copies.source import MAX_ROWS, MOST_ROWS, read_source

STAGE = """
CREATE TABLE stadium (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, capacity INTEGER CHECK (capacity > 0));
CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, country TEXT, age INTEGER, height REAL);
CREATE TABLE concert (id INTEGER PRIMARY KEY, title TEXT UNIQUE, year TEXT, held DATE,
                      stadium_id INTEGER NOT NULL REFERENCES stadium (id));
CREATE TABLE sang (concert_id INTEGER REFERENCES concert, singer_id INTEGER REFERENCES singer,
                   PRIMARY KEY (concert_id, singer_id));
CREATE TABLE fan (name TEXT, likes INTEGER REFERENCES singer (id));
CREATE INDEX by_age ON singer (age DESC);
CREATE VIEW grown AS SELECT name FROM singer WHERE age > 30;
INSERT INTO stadium VALUES (1, 'Ark', 'Rome', 900), (2, 'Bowl', 'Oslo', 4000), (3, 'Cup', 'Rome', 12000),
  (4, 'Dome', 'Bern', 300), (5, 'Egg', 'Oslo', 770);
INSERT INTO singer VALUES (1, 'Ada Lin', 'France', 36, 1.71), (2, 'Bo Ray', 'Peru', 29, 1.8), (3, 'Cy Fox', 'France', 51, 1.62),
  (4, 'Di Ames', 'Chile', 31, NULL), (5, 'Ed Moss', 'France', 44, 1.9), (6, 'Flo Park', NULL, 23, 1.55);
INSERT INTO concert VALUES (1, 'Auditions', '2014', '2014-03-01', 1), (2, 'Super', '2014', '2014-05-06', 2),
  (3, 'Home', '2015', '2015-01-01', 2), (4, 'Week 1', '2016', '2016-07-30', 1);
INSERT INTO sang VALUES (1, 1), (1, 2), (2, 3), (3, 1), (4, 5), (4, 6);
INSERT INTO fan VALUES ('Gus', 1), ('Gus', 1), ('Hal', 2), ('Ina', NULL), ('Gus', 1), ('Jo', 3);
"""
GOLDS = (
    "SELECT name FROM singer WHERE age > 30",
    "SELECT count(*) FROM singer WHERE country = 'France'",
    "SELECT T2.name FROM sang AS T1 JOIN singer AS T2 ON T1.singer_id = T2.id JOIN concert AS T3 ON T1.concert_id = T3.id"
    " WHERE T3.year = '2014' AND T2.country = 'France'",
    "SELECT title FROM concert WHERE title LIKE '%uper%'",
    "SELECT name FROM stadium ORDER BY capacity DESC LIMIT 1",
)
NUMBERS = 10


def written(folder: Path, script: str, name: str = "stage") -> Database:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(script)
    return Database.sqlite(name, path)


def made(
    database: Database, cache: Path, golds: Sequence[str] = (), count: int = NUMBERS, seed: int = 0
) -> CopySet:
    (found,) = make_copies(
        {database.db_id: database}, {database.db_id: golds}, count, cache, seed=seed
    ).values()
    return found


def rows(database: Database, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database.path)) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, tuple[Database, ...]]:
    folder = tmp_path_factory.mktemp("stage")
    database = written(folder, STAGE)
    found = made(database, folder / "cache", GOLDS)
    assert found.refused == ""
    return database, found.databases


Stage = tuple[Database, tuple[Database, ...]]

# --- what stays


def test_the_schema_is_the_originals(stage: Stage) -> None:
    original, copies = stage
    schema = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
    for copy in copies:
        assert rows(copy, schema) == rows(original, schema)


def test_every_constraint_holds(stage: Stage) -> None:
    for copy in stage[1]:
        assert rows(copy, "PRAGMA integrity_check") == [("ok",)]  # NOT NULL, UNIQUE and CHECK too
        assert rows(copy, "PRAGMA foreign_key_check") == []


def test_types_stay(stage: Stage) -> None:
    for copy in stage[1]:
        for column, kinds in (
            ("age", {"integer"}),
            ("height", {"real", "null"}),
            ("name", {"text"}),
        ):
            found = {kind for (kind,) in rows(copy, f"SELECT typeof({column}) FROM singer")}
            assert found <= kinds


def test_names_stay_different_and_what_repeats_goes_on_repeating(stage: Stage) -> None:
    repeated = 0
    for copy in stage[1]:
        assert rows(copy, "SELECT name FROM singer GROUP BY name HAVING count(*) > 1") == []
        repeated += len(rows(copy, "SELECT 1 FROM fan GROUP BY name, likes HAVING count(*) > 1"))
    assert repeated > 0  # rows of a table without a key, as in the original


def test_null_is_where_null_was(stage: Stage) -> None:
    never = "SELECT count(*) FROM concert WHERE title IS NULL OR year IS NULL OR held IS NULL"
    some = "SELECT count(*) FROM singer WHERE country IS NULL OR height IS NULL"
    assert all(rows(copy, never) == [(0,)] for copy in stage[1])
    assert sum(int(str(rows(copy, some)[0][0])) for copy in stage[1]) > 0


def test_a_largest_value_that_stood_alone_does_so_again(stage: Stage) -> None:
    tied = "SELECT count(*) FROM stadium WHERE capacity = (SELECT max(capacity) FROM stadium)"
    assert all(rows(copy, tied) in ([(1,)], [(0,)]) for copy in stage[1])


def test_numbers_that_golds_order_by_stay_different(stage: Stage) -> None:
    tied = "SELECT capacity FROM stadium GROUP BY capacity HAVING count(*) > 1"
    assert all(rows(copy, tied) == [] for copy in stage[1])


def test_values_are_such_as_could_have_been_there(stage: Stage) -> None:
    for copy in stage[1]:
        assert all(5 <= int(str(age)) <= 80 for (age,) in rows(copy, "SELECT age FROM singer"))
        for (held,) in rows(copy, "SELECT held FROM concert"):
            time.strptime(str(held), "%Y-%m-%d")


# --- what differs


def test_rows_and_their_number_differ(stage: Stage) -> None:
    original, copies = stage
    counts = [int(str(rows(copy, "SELECT count(*) FROM singer")[0][0])) for copy in copies]
    assert min(counts) < 10 < max(counts)
    contents = {str(rows(db, "SELECT * FROM singer ORDER BY 1")) for db in (original, *copies)}
    assert len(contents) == NUMBERS + 1


def test_golds_find_something_on_nearly_every_copy(stage: Stage) -> None:
    found = [bool(rows(copy, gold)) for copy in stage[1] for gold in GOLDS]
    assert sum(found) >= 0.85 * len(found)
    for gold in GOLDS:
        assert any(rows(copy, gold) for copy in stage[1]), gold


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT count(*) FROM singer WHERE age > 30", "SELECT count(*) FROM singer WHERE age >= 30"),
        ("SELECT count(*) FROM singer WHERE age > 30", "SELECT count(*) FROM singer WHERE age > 31"),
        ("SELECT DISTINCT city FROM stadium", "SELECT city FROM stadium"),
        ("SELECT s.id FROM singer s JOIN sang ON s.id = singer_id", "SELECT s.id FROM singer s LEFT JOIN sang ON s.id = singer_id"),
        ("SELECT count(*) FROM singer", "SELECT count(country) FROM singer"),
        ("SELECT name FROM stadium ORDER BY capacity DESC LIMIT 1", "SELECT name FROM stadium ORDER BY id LIMIT 1"),
        ("SELECT name FROM stadium ORDER BY capacity DESC LIMIT 1", "SELECT name FROM stadium WHERE capacity = 12000"),
        ("SELECT title FROM concert WHERE title LIKE '%uper%'", "SELECT title FROM concert WHERE title LIKE '%uper'"),
        ("SELECT title FROM concert WHERE title LIKE '%uper%'", "SELECT title FROM concert WHERE title LIKE '%upe%'"),
        ("SELECT id FROM concert WHERE year = '2014'", "SELECT id FROM concert WHERE held < '2015-01-01'"),
        ("SELECT max(age) FROM singer", "SELECT max(age) FROM singer WHERE country = 'France'"),
        ("SELECT city FROM stadium GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1", "SELECT 'Oslo'"),
    ],
)  # fmt: skip
def test_queries_that_differ_part_on_some_copy(one: str, other: str, stage: Stage) -> None:
    assert any(sorted(rows(c, one), key=str) != sorted(rows(c, other), key=str) for c in stage[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT count(*) FROM singer", "SELECT count(id) FROM singer"),
        ("SELECT name, count(*) FROM singer JOIN sang ON id = singer_id GROUP BY id", "SELECT name, count(*) FROM singer JOIN sang ON id = singer_id GROUP BY name"),
        ("SELECT name FROM singer WHERE id IN (SELECT singer_id FROM sang)", "SELECT DISTINCT name FROM singer JOIN sang ON id = singer_id"),
        ("SELECT count(*) FROM sang", "SELECT count(*) FROM sang JOIN concert ON concert_id = concert.id JOIN stadium ON stadium_id = stadium.id"),
        ("SELECT DISTINCT name FROM singer", "SELECT name FROM singer"),
    ],
)  # fmt: skip
def test_queries_that_mean_the_same_agree_on_every_copy(one: str, other: str, stage: Stage) -> None:
    for copy in stage[1]:
        assert sorted(rows(copy, one), key=str) == sorted(rows(copy, other), key=str)


def test_what_one_column_determines_stays_determined(tmp_path: Path) -> None:
    places = [("Rome", "Italy"), ("Bari", "Italy"), ("Oslo", "Norway")]
    values = ", ".join(f"({i}, '{places[i % 3][0]}', '{places[i % 3][1]}')" for i in range(30))
    script = f"CREATE TABLE t (id INTEGER PRIMARY KEY, city TEXT, land TEXT); INSERT INTO t VALUES {values}"
    for copy in made(written(tmp_path, script), tmp_path / "cache").databases:
        found = rows(copy, "SELECT city FROM t GROUP BY city HAVING count(DISTINCT land) > 1")
        assert found == []


def test_a_reference_that_never_held_holds_at_times(tmp_path: Path) -> None:
    """Spider's flight_2: codes with a space before them, so that every join is empty and every query matches."""
    script = """
    CREATE TABLE airport (code TEXT PRIMARY KEY);
    CREATE TABLE flight (no INTEGER PRIMARY KEY, origin TEXT REFERENCES airport (code));
    INSERT INTO airport VALUES ('APG'), ('CVO'), ('AHD');
    INSERT INTO flight VALUES (1, ' APG'), (2, ' CVO'), (3, ' APG'), (4, ' AHD');
    """
    found = made(written(tmp_path, script), tmp_path / "cache")
    join = "SELECT count(*) FROM flight JOIN airport ON origin = code"
    assert sum(int(str(rows(copy, join)[0][0])) for copy in found.databases) > 10


def test_who_is_named_once_is_there_at_most_once(tmp_path: Path) -> None:
    names = ["Kyle", *(f"Name {i}" for i in range(20)), "Name 3"]
    script = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT);"
    script += "".join(f"INSERT INTO t VALUES ({i}, '{name}');" for i, name in enumerate(names))
    golds = ["SELECT id FROM t WHERE name = 'Kyle'", "SELECT id FROM t WHERE name = 'Name 3'"]
    found = made(written(tmp_path, script), tmp_path / "cache", golds)
    assert max(len(rows(copy, golds[0])) for copy in found.databases) == 1
    assert max(len(rows(copy, golds[1])) for copy in found.databases) > 1  # there were two before


def test_an_intersection_of_golds_finds_something(tmp_path: Path) -> None:
    script = "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (id INTEGER PRIMARY KEY, p REFERENCES p (id), year INTEGER);"
    script += "".join(
        f"INSERT INTO p VALUES ({i}); INSERT INTO c VALUES ({i}, {i}, {1990 + i % 10});"
        for i in range(40)
    )
    gold = "SELECT p FROM c WHERE year = 1993 INTERSECT SELECT p FROM c WHERE year = 1997"
    original = written(tmp_path, script)
    found = made(original, tmp_path / "cache", [gold], 20)
    assert rows(original, gold) == []
    assert sum(bool(rows(copy, gold)) for copy in found.databases) >= 15


def test_some_are_never_referred_to(tmp_path: Path) -> None:
    script = "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (id INTEGER PRIMARY KEY, p REFERENCES p (id));"
    script += "INSERT INTO p VALUES (1), (2), (3), (4), (5);"
    script += "".join(f"INSERT INTO c VALUES ({i}, {1 + i % 5});" for i in range(400))
    found = made(written(tmp_path, script), tmp_path / "cache")
    alone = "SELECT id FROM p WHERE id NOT IN (SELECT p FROM c)"
    filled = [copy for copy in found.databases if len(rows(copy, "SELECT 1 FROM c")) > 100]
    assert sum(bool(rows(copy, alone)) for copy in filled) >= len(filled) / 2


# --- the same again


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    first = made(written(tmp_path / "a", STAGE), tmp_path / "one", GOLDS, 3)
    second = made(written(tmp_path / "b", STAGE), tmp_path / "two", tuple(reversed(GOLDS)), 5)
    digests = [[digest_file(d.path) for d in found.databases] for found in (first, second)]
    assert digests[1][:3] == digests[0]  # more copies are more of the same


@pytest.mark.parametrize("changed", ["seed", "literals", "content"])
def test_other_inputs_give_other_copies(changed: str, tmp_path: Path) -> None:
    database = written(tmp_path, STAGE)
    before = made(database, tmp_path / "cache", GOLDS, 1).databases[0].path
    if changed == "content":
        written(tmp_path, "UPDATE singer SET age = 37 WHERE id = 1")
    golds = GOLDS[1:] if changed == "literals" else GOLDS
    after = made(database, tmp_path / "cache", golds, 1, seed=int(changed == "seed"))
    assert after.databases[0].path.parent != before.parent


def test_copies_are_made_once_and_mended_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = written(tmp_path, STAGE)
    found = made(database, tmp_path / "cache", GOLDS, 2)
    digest = digest_file(found.databases[1].path)
    found.databases[1].path.write_bytes(b"half a file")
    assert made(database, tmp_path / "cache", GOLDS, 2) == found
    assert digest_file(found.databases[1].path) == digest
    monkeypatch.setattr(copies_module, "_BUILD", "raise SystemExit(3)")
    assert made(database, tmp_path / "cache", GOLDS, 2) == found  # no process was needed


def test_nothing_is_written_beside_the_original(tmp_path: Path) -> None:
    database = written(tmp_path / "data", STAGE)
    before = digest_file(database.path)
    made(database, tmp_path / "cache", GOLDS, 2)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["stage.sqlite"]
    assert digest_file(database.path) == before
    suffixes = {path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert suffixes == {".sqlite", ".json"}  # no temporary file is left


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
            st.one_of(st.none(), st.floats(allow_nan=False), st.text(max_size=5), st.binary(max_size=3)),
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4),
        ),
        max_size=15,
    )
)  # fmt: skip
def test_whatever_is_in_a_table_can_be_copied(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[object, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    database = written(folder, "CREATE TABLE t (a INTEGER, b, c TEXT NOT NULL)")
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", values)
    source = read_source(database.path, read_mentions(["SELECT a FROM t WHERE a > 3 AND b = 'x'"]))
    for number in range(3):
        found = Perturber(source).copy(0, number)["t"]
        assert found == Perturber(source).copy(0, number)["t"]
        assert all(len(row) == 3 and row[2] is not None for row in found)


# --- what is unusual


def test_a_table_without_rows_gets_some(tmp_path: Path) -> None:
    script = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, price REAL, day DATE)"
    golds = ["SELECT name FROM t WHERE price > 2.5 AND name = 'tea'"]
    found = made(written(tmp_path, script), tmp_path / "cache", golds)
    assert all(len(rows(copy, "SELECT * FROM t")) > 1 for copy in found.databases)
    assert any(rows(copy, golds[0]) for copy in found.databases)


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE t (a TEXT PRIMARY KEY, b INTEGER) WITHOUT ROWID; INSERT INTO t VALUES ('x', 1), ('y', 2), ('z', 1)",
        "CREATE TABLE t (a INTEGER, b INTEGER AS (a * 2) VIRTUAL, c INTEGER AS (a + 1) STORED); INSERT INTO t VALUES (1), (5), (9)",
        "CREATE TABLE t (a INTEGER NOT NULL, b TEXT) STRICT; INSERT INTO t VALUES (1, 'x'), (2, 'y')",
        "CREATE TABLE t (low INTEGER, high INTEGER, CHECK (low < high)); INSERT INTO t VALUES (1, 2), (3, 9), (4, 90)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, boss INTEGER REFERENCES t (id));"
        "INSERT INTO t VALUES (1, NULL), (2, 1), (3, 1), (4, 2), (5, 4)",
        "CREATE TABLE a (x INTEGER PRIMARY KEY, y INTEGER REFERENCES b (y)); CREATE TABLE b (y INTEGER PRIMARY KEY, x INTEGER REFERENCES a (x));"
        "INSERT INTO a VALUES (1, 1), (2, 2); INSERT INTO b VALUES (1, 2), (2, 1)",
        "CREATE TABLE p (a INTEGER, b TEXT, PRIMARY KEY (a, b)); CREATE TABLE c (a INTEGER, b TEXT, FOREIGN KEY (a, b) REFERENCES p);"
        "INSERT INTO p VALUES (1, 'x'), (1, 'y'), (2, 'x'); INSERT INTO c VALUES (1, 'y'), (2, 'x'), (2, 'x')",
        "CREATE TABLE t (a REFERENCES nowhere (b)); INSERT INTO t VALUES (1), (2)",
        "CREATE TABLE p (a); CREATE TABLE t (a REFERENCES p (a)); INSERT INTO p VALUES (1), (1), (2); INSERT INTO t VALUES (1), (2)",
        'CREATE TABLE "select" ("a b" TEXT, "c""d" INTEGER); INSERT INTO "select" VALUES (\'x\', 1), (\'y\', 2)',
        "CREATE TABLE t (a TEXT COLLATE NOCASE UNIQUE); INSERT INTO t VALUES ('a'), ('b'), ('cc'), ('dd')",
        "CREATE TABLE t (a TEXT); CREATE UNIQUE INDEX i ON t (lower(a)) WHERE a > 'b'; INSERT INTO t VALUES ('a'), ('A'), ('c')",
        "CREATE TABLE t (a REAL); INSERT INTO t VALUES (9e999), (-9e999), (1.5), (NULL)",
        "CREATE TABLE t (a INTEGER PRIMARY KEY); INSERT INTO t VALUES (9223372036854775807), (-9223372036854775808), (0)",
        "CREATE TABLE t (a TEXT); INSERT INTO t VALUES (CAST(x'ff41fe' AS TEXT)), ('b')",
    ],
)  # fmt: skip
def test_unusual_tables_are_copied(script: str, tmp_path: Path) -> None:
    original = written(tmp_path, script)
    found = made(original, tmp_path / "cache", ["SELECT a FROM t WHERE a > 1"])
    assert found.refused == ""
    violated = (
        len(rows(original, "PRAGMA foreign_key_check")) if "REFERENCES p (a)" not in script else 1
    )
    for copy in found.databases:
        assert rows(copy, "PRAGMA integrity_check") == [("ok",)]
        if not violated:
            assert rows(copy, "PRAGMA foreign_key_check") == []
    tables = [
        name
        for (name,) in rows(
            original, "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE TABLE%'"
        )
    ]
    for table in tables:
        sizes = [len(rows(copy, f'SELECT 1 FROM "{table}"')) for copy in found.databases]
        assert any(sizes), table


def test_a_large_table_is_sampled_over_its_length(tmp_path: Path) -> None:
    script = """
    CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER NOT NULL REFERENCES p (id), note TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
      INSERT INTO p SELECT i, 'name ' || i FROM n;
    INSERT INTO c SELECT id, 30001 - id, CASE id WHEN 12345 THEN 'here' ELSE 'x' END FROM p;
    """
    database = written(tmp_path, script)
    source = read_source(database.path, read_mentions(["SELECT id FROM c WHERE note = 'here'"]))
    read = {table.name: table.rows for table in source.tables}
    assert len(read["c"]) <= MAX_ROWS
    assert len(read["p"]) <= MOST_ROWS
    assert max(row[0] for row in read["c"]) > 29_000
    assert any(row[2] == "here" for row in read["c"])  # what golds name is looked for
    assert {row[1] for row in read["c"]} <= {row[0] for row in read["p"]}  # and what it refers to
    found = made(database, tmp_path / "cache", ["SELECT id FROM c WHERE note = 'here'"], 2)
    assert all(rows(copy, "PRAGMA foreign_key_check") == [] for copy in found.databases)


def test_triggers_do_not_fire_and_views_do_not_run(tmp_path: Path) -> None:
    views = "".join(
        f"CREATE VIEW v{i} AS SELECT * FROM v{i - 1} a, v{i - 1} b;" for i in range(1, 30)
    )
    script = f"""
    CREATE TABLE t (a TEXT); CREATE TABLE log (a TEXT); INSERT INTO t VALUES ('x'), ('y'), ('z');
    CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES ('fired'); END;
    CREATE VIEW v0 AS SELECT * FROM t; {views}
    CREATE VIEW broken AS SELECT * FROM gone;
    CREATE VIEW endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT * FROM n;
    """
    found = made(written(tmp_path, script), tmp_path / "cache", count=2)
    assert found.refused == ""
    for copy in found.databases:
        assert rows(copy, "SELECT count(*) FROM log WHERE a = 'fired'") == [(0,)]
        assert rows(copy, "SELECT count(*) FROM sqlite_master WHERE type = 'view'") == [(32,)]


# --- what is refused


def shadowed(folder: Path) -> Database:
    return written(folder, "CREATE TABLE t (a); CREATE VIRTUAL TABLE f USING fts5 (body)")


def broken(folder: Path) -> Database:
    database = written(folder, STAGE)
    data = bytearray(database.path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    database.path.write_bytes(bytes(data))
    return database


def collated(folder: Path) -> Database:
    database = written(folder, "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('x')")
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute("PRAGMA writable_schema = 1")
        connection.execute(
            "UPDATE sqlite_master SET sql = 'CREATE TABLE t (a TEXT COLLATE klingon UNIQUE)'"
        )
    return database


def crowded(folder: Path) -> Database:
    return written(folder, "".join(f"CREATE TABLE t{i} (a);" for i in range(301)))


def bulky(folder: Path) -> Database:
    values = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)"
    return written(
        folder, f"CREATE TABLE t (a); {values} INSERT INTO t SELECT zeroblob(1000000) FROM n"
    )


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (shadowed, "table 'f' is virtual"),
        (broken, "malformed"),
        (collated, ""),
        (crowded, "301 tables, more than 300"),
        (bulky, "more than 32,000,000 bytes"),
    ],
)
def test_what_cannot_be_copied_is_refused_with_the_reason(
    build: Callable[[Path], Database], why: str, tmp_path: Path
) -> None:
    found = made(build(tmp_path), tmp_path / "cache", count=2)
    assert found.databases == ()
    assert found.refused
    assert why in found.refused


@pytest.mark.parametrize("built", [False, True])
def test_a_database_with_a_log_that_is_not_in_the_file_is_refused_though_copies_lie_in_the_cache(
    built: bool, tmp_path: Path
) -> None:
    database = written(tmp_path, "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('x')")
    if built:
        assert made(database, tmp_path / "cache", count=1).refused == ""
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("INSERT INTO t VALUES ('y')")
        connection.commit()
        found = made(database, tmp_path / "cache", count=1)
        assert "-wal beside it holds changes" in found.refused and found.databases == ()


def test_a_statement_in_the_schema_that_is_no_create_is_not_run(tmp_path: Path) -> None:
    database = written(tmp_path, "CREATE TABLE t (a TEXT); CREATE VIEW v AS SELECT a FROM t")
    target = tmp_path / "stolen.sqlite"
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute("PRAGMA writable_schema = 1")
        connection.execute(
            "UPDATE sqlite_master SET sql = ? WHERE name = 'v'", (f"ATTACH '{target}' AS x",)
        )
    assert made(database, tmp_path / "cache", count=1).refused
    assert not target.exists()


def test_a_schema_that_computes_for_ever_is_given_up(tmp_path: Path) -> None:
    heavy = " + ".join(f"instr(hex(zeroblob(20000000)), a || '{i}')" for i in range(40))
    database = written(tmp_path, f"CREATE TABLE t (a TEXT, b AS ({heavy}) STORED)")
    start = time.monotonic()
    found = make_copies({"t": database}, {}, 2, tmp_path / "cache", build_s=1.0)["t"]
    assert found.refused == "not built within 1 s of processor time"
    assert time.monotonic() - start < 30
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_bug_of_the_builder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies_module, "_BUILD", "raise KeyError('odd')")
    found = made(written(tmp_path, STAGE), tmp_path / "cache", count=1)
    assert found.refused == "the building process ended with exit code 1 (KeyError: 'odd')"


def test_other_engines_are_named(tmp_path: Path) -> None:
    database = Database("shop", "postgresql://reader@host/shop")
    with pytest.raises(ConfigError, match=r"database 'shop' is on postgresql.*set copies to 0"):
        make_copies({"shop": database}, {}, 1, tmp_path)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(RunError, match="cache"):
        made(written(tmp_path, STAGE), tmp_path / "cache", count=1)


@pytest.mark.parametrize("name", ["a b", "ü?#%20", "x'y"])
def test_odd_paths(name: str, tmp_path: Path) -> None:
    database = written(tmp_path / name, STAGE)
    shutil.copy(database.path, tmp_path / name / f"{name}.sqlite")
    odd = Database.sqlite("odd", tmp_path / name / f"{name}.sqlite")
    assert len(made(odd, tmp_path / name / "cache", GOLDS, 2).databases) == 2

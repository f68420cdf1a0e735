"""The values of a question: what is found (`values.yaml`), what an index keeps, leaves out, notices and survives."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from exspin.data import load
from exspin.errors import DatabaseError, RunError
from exspin.hints import value_index
from exspin.hints.folding import dates, fold, words
from exspin.hints.literals import Literal, literals_of, value_recall
from exspin.hints.values import ValueHint, Values, open_values
from exspin.ledger import digest_json
from exspin.records import Database, Example
from exspin.sql import distinct
from exspin.sql.distinct import LONGEST, Unread

CASES = yaml.safe_load((Path(__file__).parent / "values.yaml").read_text("utf-8"))


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Values:
    folder = tmp_path_factory.mktemp("values")
    return open_values(make(folder / "music.sqlite", CASES["database"]), folder / "cache")


@pytest.fixture
def values(tmp_path: Path) -> Callable[[str], Values]:
    """The values of a database made by a script."""
    return lambda script: open_values(make(tmp_path / "db.sqlite", script), tmp_path / "cache")


def make(path: Path, script: str) -> Database:
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return Database.sqlite(path.stem, path)


def found(values: Values, question: str) -> list[tuple[str, str, str]]:
    return [(hint.table, hint.column, hint.value) for hint in values.find(question)]


# --- what a question finds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["question"])
def test_a_question_finds_the_values_it_mentions(opened: Values, case: dict[str, Any]) -> None:
    assert found(opened, case["question"]) == [tuple(value) for value in case["finds"]]


def test_hits_give_the_best_score_of_every_column(opened: Values) -> None:
    hits = opened.hits("Is France or Anna Lund a name?")
    assert hits[("singer", "country")] > 0.9
    assert hits[("singer", "name")] > 0.9
    assert hits[("airport list", "名前")] < 0.5  # "name" is a value there, but hardly meant


def test_no_more_than_the_limit_and_the_surest_first(values: Callable[[str], Values]) -> None:
    opened = values(
        "CREATE TABLE t (a TEXT, b TEXT); INSERT INTO t VALUES"
        " ('red', 'Blue Whale'), ('green', 'x'), ('brown', 'y'), ('pink', 'z');"
    )
    hints = opened.find("red, green, brown and pink Blue Whale", 2)
    assert [hint.value for hint in hints] == ["Blue Whale", "red"]
    assert hints[0] == ValueHint("t", "b", "Blue Whale", 0.97)
    assert len(opened.find("red, green, brown and pink Blue Whale")) == 5


def test_a_word_of_a_value_that_was_found_finds_nothing_else(
    values: Callable[[str], Values],
) -> None:
    opened = values(
        "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('New York'), ('York'), ('New');"
    )
    assert found(opened, "flights to New York") == [("t", "a", "New York")]
    assert found(opened, "flights to York") == [("t", "a", "York")]


def test_one_value_in_very_many_columns_does_not_fill_the_hints(
    values: Callable[[str], Values],
) -> None:
    columns = ", ".join(f"c{i}" for i in range(100))
    cells = ", ".join(["'Paris'"] * 99)
    opened = values(f"CREATE TABLE t ({columns}); INSERT INTO t VALUES ({cells}, 'Rome');")
    hints = found(opened, "from Paris to Rome")
    assert [value for _, _, value in hints] == ["Paris"] * 5 + ["Rome"]


# --- what is read, and what is left out -------------------------------------------------------------------------------


def test_odd_values_are_left_out_and_counted(values: Callable[[str], Values]) -> None:
    opened = values(
        "CREATE TABLE t (level); INSERT INTO t VALUES (NULL), (x'414243'), (CAST(x'ff41' AS TEXT)), ('two\nlines'), (''),"
        f" ('{'long ' * 60}'), (9223372036854775807), (9223372036854775808), (-1), (1e999), ('fine'), ('!!!');"
    )
    kept = {opened.index.text(value) for value in range(len(opened.index))}
    assert kept == {"9223372036854775807", "9.223372036854776e+18", "-1", "inf", "fine", "!!!"}
    (left,) = opened.left_out
    assert (left.values, left.long, left.odd, left.over) == (6, 1, 2, 0)
    assert str(left) == (
        f"t.level: 6 values kept; left out: 1 longer than {LONGEST} characters, 2 that do not print"
    )
    assert found(opened, "the id 9,223,372,036,854,775,807") == [
        ("t", "level", "9223372036854775807")
    ]
    assert found(opened, "those of level -1") == [("t", "level", "-1")]


HOSTILE = """
CREATE TABLE t (a TEXT, computed TEXT GENERATED ALWAYS AS (a || 'x') VIRTUAL, kept TEXT AS (a || 'y') STORED, b TEXT COLLATE NOCASE);
INSERT INTO t (a, b) VALUES ('Apple', 'Pear'), ('Apple', 'PEAR');
CREATE VIEW endless AS WITH RECURSIVE n(i) AS (SELECT 'Kiwi' UNION ALL SELECT i FROM n) SELECT i FROM n;
CREATE VIRTUAL TABLE words USING fts5(body);
INSERT INTO words VALUES ('Cherry');
CREATE TABLE vacant (a TEXT);
CREATE TABLE "select" ("from; --" TEXT, "a""b" TEXT);
INSERT INTO "select" VALUES ('Melon', 'Grape');
"""


def test_views_virtual_tables_and_computed_columns_are_not_read(
    values: Callable[[str], Values],
) -> None:
    opened = values(HOSTILE)
    assert [(c.table, c.column, c.values) for c in opened.index.columns] == [
        ("t", "a", 1),
        ("t", "kept", 1),
        ("t", "b", 2),
        ("vacant", "a", 0),
        ("select", "from; --", 1),
        ("select", 'a"b', 1),
    ]
    assert found(opened, "Kiwi, Cherry, Melon and Grape") == [
        ("select", "from; --", "Melon"),
        ("select", 'a"b', "Grape"),
    ]
    assert {v for _, _, v in found(opened, "a Pear please")} == {"Pear", "PEAR"}


def test_a_column_past_its_limit_is_cut_and_says_so(
    values: Callable[[str], Values], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(value_index, "COLUMN_VALUES", 3)
    monkeypatch.setattr(value_index, "DATABASE_VALUES", 5)
    opened = values(
        "CREATE TABLE t (a, b); WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10)"
        " INSERT INTO t SELECT 'a' || i, 'b' || i FROM n;"
    )
    assert [(c.values, c.over) for c in opened.left_out] == [(3, 7), (2, 8)]
    assert str(opened.left_out[0]) == "t.a: 3 values kept; left out: 7 past the limit"


def test_work_is_bounded_and_what_was_read_stays(
    values: Callable[[str], Values], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distinct, "COLUMN_WORK", 100_000)
    opened = values(
        "CREATE TABLE t (a, b); WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
        " INSERT INTO t SELECT 'value ' || i, 'x' FROM n;"
    )
    first, second = opened.left_out
    assert 1000 < first.values < 50_000
    assert (first.unread, second.unread) == ("more than 100,000 steps",) * 2
    assert found(opened, "has it value 17?")[0] == ("t", "a", "value 17")


def test_three_thousand_columns(tmp_path: Path) -> None:
    wide = ""
    for t in range(2):
        columns = ", ".join(f"c{t}_{c} TEXT" for c in range(1500))
        cells = ", ".join(f"'cell {t} {c}'" for c in range(1500))
        wide += f"CREATE TABLE t{t} ({columns}); INSERT INTO t{t} VALUES ({cells});"
    opened = open_values(make(tmp_path / "wide.sqlite", wide), tmp_path / "cache")
    assert len(opened.index.columns) == 3000
    assert found(opened, "where is cell 1 1499?")[0] == ("t1", "c1_1499", "cell 1 1499")


def test_a_database_without_tables(values: Callable[[str], Values]) -> None:
    opened = values("")
    assert found(opened, "anything") == []
    assert opened.hits("anything") == {}


def test_a_damaged_table_is_unread_and_the_rest_is_there(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    database = make(tmp_path / "db.sqlite", "CREATE TABLE t (a); INSERT INTO t VALUES ('Apple');")
    damage(database.path)
    (left,) = open_values(database, tmp_path / "cache").left_out
    assert (left.values, bool(left.unread)) == (0, True)


# --- the index on disk ------------------------------------------------------------------------------------------------

APPLE = "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('Apple');"
PLUM = "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('Plumb');"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The digests of the databases an index was built for."""
    made: list[str] = []
    build = value_index.build

    def counted(reader: Any, place: Path, digest: str, progress: Any) -> None:
        made.append(digest)
        build(reader, place, digest, progress)

    monkeypatch.setattr(value_index, "build", counted)
    return made


def test_built_once_and_again_when_the_database_changed(tmp_path: Path, builds: list[str]) -> None:
    database = make(tmp_path / "db.sqlite", APPLE)
    stat = database.path.stat()
    for _ in range(2):
        assert found(open_values(database, tmp_path / "c"), "an Apple") == [("t", "a", "Apple")]
    assert len(builds) == 1
    make(database.path, PLUM)  # as long, and as old by its date
    os.utime(database.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert database.path.stat().st_size == stat.st_size
    assert found(open_values(database, tmp_path / "c"), "an Apple") == []
    assert found(open_values(database, tmp_path / "c"), "a Plumb") == [("t", "a", "Plumb")]
    assert len(builds) == 2


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _older(path: Path) -> None:
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "version": 0}))


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("texts.bin", _flip),
        ("keys.npy", _cut),
        ("key_values.npy", _flip),
        ("postings.npy", Path.unlink),
        ("meta.json", _cut),
        ("meta.json", _older),
        ("meta.json", Path.unlink),
    ],
)
def test_a_damaged_or_older_index_is_made_again(
    tmp_path: Path, builds: list[str], name: str, harm: Callable[[Path], None]
) -> None:
    database = make(tmp_path / "db.sqlite", CASES["database"])
    open_values(database, tmp_path / "c")
    (path,) = (tmp_path / "c").glob(f"*/{name}")
    harm(path)
    opened = open_values(database, tmp_path / "c")
    assert found(opened, "in Aberdeen") == [("airport list", "City Name", "Aberdeen ")]
    assert len(builds) == 2


def test_what_a_killed_build_left_is_swept_and_the_index_is_made(tmp_path: Path) -> None:
    database = make(tmp_path / "db.sqlite", APPLE)
    open_values(database, tmp_path / "c")
    (place,) = (path for path in (tmp_path / "c").iterdir() if path.is_dir())
    place.rename(place.with_name(place.name + ".building"))
    assert found(open_values(database, tmp_path / "c"), "an Apple") == [("t", "a", "Apple")]
    assert [path for path in (tmp_path / "c").iterdir() if path.is_dir()] == [place]


def _open_in_process(path: str, cache: str) -> int:
    return len(open_values(Database.sqlite("db", Path(path)), Path(cache)).index)


def test_processes_that_build_at_once_all_get_it(tmp_path: Path) -> None:
    database = make(tmp_path / "db.sqlite", CASES["database"])
    expected = _open_in_process(str(database.path), str(tmp_path / "alone"))
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        job = (str(database.path), str(tmp_path / "c"))
        assert pool.starmap(_open_in_process, [job] * 3) == [expected] * 3
    assert len([path for path in (tmp_path / "c").iterdir() if path.is_dir()]) == 1


def test_another_folding_needs_another_version(opened: Values) -> None:
    """Indexes made before hold hashes of the old one. When this fails, raise VERSION and write the new pair here."""
    texts = [opened.index.text(value) for value in range(len(opened.index))]
    keys = [[[fold(word) for word in words(text)], [*dates(text)]] for text in texts]
    assert (value_index.VERSION, digest_json(keys)[:12]) == (1, "6802dfa39d46")


def test_who_comes_second_waits_for_the_first(tmp_path: Path, builds: list[str]) -> None:
    database = make(tmp_path / "db.sqlite", APPLE)
    open_values(database, tmp_path / "c")
    (place,) = (path for path in (tmp_path / "c").iterdir() if path.is_dir())
    place.rename(tmp_path / "ready")
    with place.with_suffix(".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a process does that builds
        second = threading.Thread(target=open_values, args=(database, tmp_path / "c"))
        second.start()
        second.join(0.3)
        assert second.is_alive()
        (tmp_path / "ready").rename(place)
    second.join()
    assert len(builds) == 1


def test_a_build_that_fails_leaves_no_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = make(tmp_path / "db.sqlite", APPLE)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(value_index.np, "save", full)
        with pytest.raises(RunError, match="the disk is full"):
            open_values(database, tmp_path / "c")
    assert not [path for path in (tmp_path / "c").iterdir() if path.is_dir()]
    assert len(open_values(database, tmp_path / "c").index) == 1


def test_a_database_that_is_not_there_or_not_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match=r"gone\.sqlite: cannot be read"):
        open_values(Database.sqlite("gone", tmp_path / "gone.sqlite"), tmp_path / "c")
    (tmp_path / "text.sqlite").write_text("not a database, " * 100)
    with pytest.raises(DatabaseError, match=r"text\.sqlite"):
        open_values(Database.sqlite("text", tmp_path / "text.sqlite"), tmp_path / "c")


def test_large_arrays_are_mapped_and_find_the_same(
    values: Callable[[str], Values], opened: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(value_index, "_MAPPED", 0)
    monkeypatch.setattr(value_index, "_CHUNK", 2)
    mapped = values(CASES["database"])
    for case in CASES["cases"]:
        assert mapped.find(case["question"]) == opened.find(case["question"])


def test_folded_words_that_are_forgotten_change_nothing(
    values: Callable[[str], Values], opened: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(value_index, "_MEMO", 1)
    forgetful = values(CASES["database"])
    assert forgetful.find("rise of the blue beetle") == opened.find("rise of the blue beetle")


def test_threads_share_an_open_index(opened: Values) -> None:
    wrong: list[object] = []

    def ask() -> None:
        for case in CASES["cases"]:
            if found(opened, case["question"]) != [tuple(v) for v in case["finds"]]:
                wrong.append(case)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


class Shelf:
    """A reader of no engine: what another one has to have."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def digest(self) -> str:
        return "third edition"

    def columns(self) -> tuple[tuple[str, str], ...]:
        return (("book", "title"), ("book", "shelf"))

    def distinct_values(self, table: str, column: str, limit: int) -> Iterator[str]:
        yield from {"title": ["War and Peace", "Emma"], "shelf": ["B-12"]}[column][:limit]
        if column == "shelf":
            raise Unread("the lamp went out")


def test_any_engine_can_be_read(tmp_path: Path) -> None:
    library = Database("library", "paper:///catalogue")
    opened = open_values(library, tmp_path, reader=Shelf())
    assert found(opened, "who wrote war and peace, on b-12?") == [
        ("book", "title", "War and Peace"),
        ("book", "shelf", "B-12"),
    ]
    assert [c.unread for c in opened.left_out] == ["the lamp went out"]
    with pytest.raises(DatabaseError, match="paper database cannot be read"):
        open_values(library, tmp_path)


# --- recall -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "literals"),
    [
        ("SELECT a FROM t WHERE b = 'x' AND c != \"y\"", [("x", "b"), ("y", "c")]),
        ("SELECT a FROM t WHERE t.b IN ('x', 'y')", [("x", "b"), ("y", "b")]),
        ("SELECT a FROM t WHERE 'x' = b OR b LIKE '%x%'", [("x", "b"), ("%x%", "b")]),
        ("SELECT a FROM t WHERE lower(b) = 'x'", [("x", "")]),
        ('SELECT a FROM t WHERE b = "a"', []),  # a column
        ("SELECT 'x', a FROM t WHERE b = 3 LIMIT 5", []),
        ("SELECT a FROM t WHERE b = (SELECT c FROM t WHERE a = 'x')", [("x", "a")]),
        ("SELECT FROM WHERE", None),
        ("SELECT " + "(" * 100 + "1" + ")" * 100, None),
    ],
)
def test_the_literals_of_a_gold(sql: str, literals: list[tuple[str, str]] | None) -> None:
    expected = None if literals is None else [Literal(*literal) for literal in literals]
    assert literals_of(sql, {"a", "b", "c"}) == expected


def test_recall_counts_golds_whose_literals_are_stored(tmp_path: Path) -> None:
    database = make(tmp_path / "music.sqlite", CASES["database"])
    asked = [
        ("Singers from France?", "SELECT name FROM singer WHERE country = 'france'"),  # found
        ("Singers of Gaul?", "SELECT name FROM singer WHERE country = 'France'"),  # missed
        ("Singers from Spain?", "SELECT name FROM singer WHERE country = 'Spain'"),  # not stored
        ("All singers?", "SELECT name FROM singer"),
        ("Broken?", "SELECT FROM"),
    ]
    examples = [Example(f"e{i}", i, "music", q, sql) for i, (q, sql) in enumerate(asked)]
    examples.append(Example("lost", 9, "lost", "France?", asked[0][1]))
    recall = value_recall(examples, {"music": database}, cache=tmp_path / "c")
    assert (recall.n, recall.golds, recall.found, recall.recall) == (5, 2, 1, 0.5)
    assert (recall.literals, recall.literals_found, recall.in_column) == (2, 1, 1)
    assert (recall.unparsed, recall.shown) == (1, 0.2)
    assert [(m.example_id, m.literal, m.stored) for m in recall.missed] == [
        ("e1", "France", ("France",))
    ]
    assert value_recall([], {}).recall is None


def test_values_of_spider_dev(exspin_data: Path, tmp_path: Path) -> None:
    split = load(f"spider:{exspin_data / 'spider'}", "dev")
    recall = value_recall(split.examples, split.databases, cache=tmp_path)
    assert recall.unparsed == 0
    assert recall.golds > 300
    assert recall.recall is not None
    assert recall.recall >= 0.97
    assert recall.shown <= 8

"""The built-in databases are built once, whole, and the same every time."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from exspin.data import load
from exspin.data.builtin import CHANGES, SOURCES, SQLITE_VERSION, build, default_cache_directory
from exspin.errors import DatabaseError, DataError
from exspin.ledger import digest_file
from exspin.records import Example
from exspin.sql.schema import open_read_only

SCRIPT = """
-- A shop.
CREATE TABLE item ( -- what is sold
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL, -- as printed; "in full"
  price REAL
);
CREATE INDEX by_name ON item (name);
INSERT INTO item VALUES (1, 'tea; green', 4.5), (2, 'café', NULL);
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "shop.sql").write_text(SCRIPT)
    return folder


def test_two_builds_are_equal_to_the_byte(tmp_path: Path, sources: Path) -> None:
    first = build("shop", tmp_path / "one", sources)
    second = build("shop", tmp_path / "two", sources)
    assert first.read_bytes() == second.read_bytes()
    assert first.parent.name == second.parent.name  # the digest of the source
    header = first.read_bytes()[:100]  # says nothing of the SQLite that wrote it
    assert header[24:28] == header[92:96] == CHANGES
    assert header[96:100] == SQLITE_VERSION


def test_the_result_is_a_sound_database_and_nothing_else_is_left(
    tmp_path: Path, sources: Path
) -> None:
    path = build("shop", tmp_path / "cache", sources)
    with closing(open_read_only(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*), max(name) FROM item").fetchone() == (
            2,
            "tea; green",
        )
    assert [p.name for p in path.parent.iterdir()] == ["shop.sqlite"]


def test_a_built_file_is_used_again(tmp_path: Path, sources: Path) -> None:
    path = build("shop", tmp_path, sources)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert build("shop", tmp_path, sources) == path
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_a_changed_source_gets_a_place_of_its_own(tmp_path: Path, sources: Path) -> None:
    old = build("shop", tmp_path, sources)
    (sources / "shop.sql").write_text(SCRIPT + "INSERT INTO item VALUES (3, 'rice', 1);")
    assert build("shop", tmp_path, sources) != old


@pytest.mark.parametrize("damage", ["written to", "cut off", "emptied"])
def test_a_cached_file_that_was_changed_is_built_again(
    tmp_path: Path, sources: Path, damage: str
) -> None:
    path = build("shop", tmp_path, sources)
    whole = digest_file(path)
    match damage:
        case "written to":
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("DELETE FROM item")
                connection.commit()
        case "cut off":
            path.write_bytes(path.read_bytes()[:-1])
        case _:
            path.write_bytes(b"")
    assert digest_file(path) != whole
    assert digest_file(build("shop", tmp_path, sources)) == whole


def test_builds_at_the_same_time_do_not_disturb_each_other(tmp_path: Path, sources: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: build("shop", tmp_path, sources), range(16)))
    assert len(set(paths)) == 1
    assert [p.name for p in paths[0].parent.iterdir()] == ["shop.sqlite"]


def test_a_source_that_does_not_run_leaves_nothing(tmp_path: Path, sources: Path) -> None:
    (sources / "shop.sql").write_text("CREATE TABLE t (x); INSERT INTO u VALUES (1);")
    with pytest.raises(DatabaseError, match=r"shop\.sql: does not build \(no such table: u\)"):
        build("shop", tmp_path / "cache", sources)
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_a_cache_that_cannot_be_written_names_the_cure(tmp_path: Path, sources: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseError, match="set XDG_CACHE_HOME"):
        build("shop", tmp_path / "file" / "cache", sources)


def test_the_default_cache_follows_xdg() -> None:
    assert default_cache_directory({"XDG_CACHE_HOME": "/c"}) == Path("/c/exspin/builtin")
    assert default_cache_directory({"XDG_CACHE_HOME": "rel", "HOME": "/h"}) == Path(
        "/h/.cache/exspin/builtin"
    )


@pytest.mark.parametrize("source", sorted(SOURCES.glob("*.sql")), ids=lambda p: p.stem)
def test_every_shipped_database_builds_the_same_and_keeps_its_keys(
    tmp_path: Path, source: Path
) -> None:
    path = build(source.stem, tmp_path / "one")
    assert path.read_bytes() == build(source.stem, tmp_path / "two").read_bytes()
    with closing(open_read_only(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_split_is_read_with_its_databases_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Example("builtin/dev/0", 0, "campus", "How many?", "SELECT 1", "", "easy", True)
    (tmp_path / "dev.jsonl").write_text(json.dumps(row.to_json()) + "\n")
    monkeypatch.setattr("exspin.data.builtin.EXAMPLES", tmp_path)
    split = load("builtin", "dev", cache=tmp_path / "cache")
    assert split.examples == (row,)
    assert split.databases["campus"].path.is_relative_to(tmp_path / "cache")
    (tmp_path / "dev.jsonl").write_text(json.dumps(row.to_json() | {"handwritten": "yes"}))
    with pytest.raises(DataError, match=r"dev\.jsonl:1: 'handwritten' is 'yes'"):
        load("builtin", "dev", cache=tmp_path / "cache")

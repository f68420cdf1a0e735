"""A split as files: what is in them, beside what, and that a failure leaves nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from exspin.data import load
from exspin.data.export import export
from exspin.errors import DataError, RunError


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_questions_with_gold_and_their_databases(small_spider: Path, tmp_path: Path) -> None:
    written = export(f"spider:{small_spider}", "dev", tmp_path / "out")
    assert (written.questions, written.databases, written.missing) == (12, 1, 1)
    assert rows(tmp_path / "out" / "dev.jsonl")[3] == {
        "index": 3,
        "example_id": "spider/dev/3",
        "db_id": "farm",
        "question": "Names of the dogs",
        "query": "SELECT name FROM pet WHERE kind = 'dog'",
        "evidence": "",
        "hardness": "easy",
        "handwritten": False,
    }
    files = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*"))
    assert files == ["databases/farm.sqlite", "dev.jsonl"]


def test_every_gold_of_the_export_runs_on_the_database_beside_it(tmp_path: Path) -> None:
    export("builtin", "test-unseen", tmp_path / "out")
    for row in rows(tmp_path / "out" / "test-unseen.jsonl")[:40]:
        path = tmp_path / "out" / "databases" / f"{row['db_id']}.sqlite"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(str(row["query"])).fetchall()


def test_several_splits_each_have_their_file(small_spider: Path, tmp_path: Path) -> None:
    written = export(f"spider:{small_spider}", "heldout, dev", tmp_path / "out")
    assert [file.name for file in written.files] == ["heldout.jsonl", "dev.jsonl"]
    assert [row["index"] for row in rows(written.files[1])] == list(range(12))
    assert written.questions == 18 and written.databases == 2


def test_an_empty_directory_will_do_and_a_used_one_will_not(
    small_spider: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    export(f"spider:{small_spider}", "dev", tmp_path / "out")
    with pytest.raises(RunError, match="not empty"):
        export(f"spider:{small_spider}", "heldout", tmp_path / "out")


def test_splits_that_overlap_are_refused_before_anything_is_written(
    small_spider: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="'train' and 'heldout' share spider/train/12"):
        export(f"spider:{small_spider}", "train,heldout", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("there", [True, False])
def test_a_failure_leaves_the_place_as_it_was(
    small_spider: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    if there:
        (tmp_path / "out").mkdir()

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fails)
    with pytest.raises(RunError, match="the disk is full"):
        export(f"spider:{small_spider}", "dev", tmp_path / "out")
    assert (tmp_path / "out").exists() is there
    assert not list((tmp_path / "out").glob("*"))


def test_joined_splits_count_on(small_spider: Path) -> None:
    both = load(f"spider:{small_spider}", "dev,heldout")
    assert both.name == "dev,heldout"
    assert [e.index for e in both.examples] == list(range(18))
    assert both.missing == {"lost": 6} and set(both.databases) == {"farm", "aircraft"}


def test_a_database_on_a_server_cannot_be_copied(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "test.jsonl").write_text('{"question": "?", "query": "SELECT 1", "db_id": "a"}')
    (folder / "databases.yaml").write_text("a: postgresql://me@host/db")
    with pytest.raises(DataError, match="'a' is not an SQLite file and cannot be copied"):
        export(f"pairs:{folder}", "test", tmp_path / "out")
    assert not (tmp_path / "out").exists()

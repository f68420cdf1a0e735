"""A split as files: what is in them, beside what, and that a failure leaves nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from exspin.cli import app
from exspin.data import load, roles, with_hardness
from exspin.data.export import export
from exspin.errors import DataError, RunError
from exspin.sql.schema import read_schema


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
    assert files == ["databases.yaml", "databases/farm.sqlite", "dev.jsonl"]


def test_every_gold_of_the_export_runs_on_the_database_beside_it(tmp_path: Path) -> None:
    export("builtin", "test-unseen", tmp_path / "out")
    found = 0
    for row in rows(tmp_path / "out" / "test-unseen.jsonl")[:40]:
        path = tmp_path / "out" / "databases" / f"{row['db_id']}.sqlite"
        with closing(sqlite3.connect(path)) as connection:
            found += bool(connection.execute(str(row["query"])).fetchall())
    assert found >= 38  # 95 % of the golds return rows


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


def test_the_folder_is_a_data_set_again(small_spider: Path, tmp_path: Path) -> None:
    """Under its own names, with the databases that are there and those that are not."""
    export(f"spider:{small_spider}", "dev,heldout,fit", tmp_path / "out")
    for name in ("dev", "heldout", "fit"):
        before = with_hardness(load(f"spider:{small_spider}", name))
        after = load(f"pairs:{tmp_path / 'out'}", name)
        assert [replace(e, example_id="") for e in after.examples] == [
            replace(e, example_id="") for e in before.examples
        ]
        assert set(after.databases) == set(before.databases)
        assert after.missing == before.missing
        assert not [line for line in after.warnings if "passed over" in line]
    assert roles(f"pairs:{tmp_path / 'out'}").train == "train"  # dev is there, and chooses


def test_splits_of_other_names_load_again(tmp_path: Path) -> None:
    export("builtin", "test-unseen", tmp_path / "out")
    shutil.move(tmp_path / "out", tmp_path / "moved")
    after = load(f"pairs:{tmp_path / 'moved'}", "test-unseen")
    assert len(after.examples) == len(load("builtin", "test-unseen").examples)
    assert all(db.path.is_relative_to(tmp_path / "moved") for db in after.databases.values())


def test_descriptions_of_columns_go_along(small_bird: Path, tmp_path: Path) -> None:
    before = load(f"bird:{small_bird}", "dev")
    assert len(before.descriptions["delta"]) > 3
    export(f"bird:{small_bird}", "dev", tmp_path / "out")
    after = load(f"pairs:{tmp_path / 'out'}", "dev")
    assert after.descriptions == before.descriptions
    assert [(e.evidence, e.hardness) for e in after.examples] == [
        (e.evidence, e.hardness) for e in before.examples
    ]
    assert after.missing == {"lost": 4}


def test_a_duckdb_file_is_copied_with_its_log(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    place = own(tmp_path, "duckdb:///a.duckdb")
    with closing(duckdb.connect(str(place / "a.duckdb"))) as connection:
        connection.execute("CREATE TABLE t (x INTEGER)")
    (place / "a.duckdb.wal").write_bytes(b"")
    written = export(f"pairs:{place}", "test", tmp_path / "out")
    assert (written.databases, written.servers) == (1, ())
    copies = sorted(path.name for path in (tmp_path / "out" / "databases").iterdir())
    assert copies == ["a.duckdb", "a.duckdb.wal"]
    (database,) = load(f"pairs:{tmp_path / 'out'}", "test").databases.values()
    assert database.path == tmp_path / "out" / "databases" / "a.duckdb"
    assert [table.name for table in read_schema(database).tables] == ["t"]


@pytest.mark.parametrize(
    ("url", "kept", "dropped"),
    [
        ("postgresql://me@host/db", "postgresql://me@host/db", ()),
        ("postgresql://me:$PW@host/db", "postgresql://me:$PW@host/db", ()),
        ("postgresql://me:secret@host/db?x=1", "postgresql://me@host/db?x=1", ("a",)),
        ("mysql://me:$PW-secret@host/db", "mysql://me@host/db", ("a",)),
        ("mysql://host/db?user=me&password=secret", "mysql://host/db?user=me", ("a",)),
        ("mysql://host/db?password=secret&user=me", "mysql://host/db?user=me", ("a",)),
    ],
)
def test_a_database_on_a_server_is_named_without_its_password(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    kept: str,
    dropped: tuple[str, ...],
) -> None:
    monkeypatch.setenv("PW", "hidden")
    written = export(f"pairs:{own(tmp_path, url)}", "test", tmp_path / "out")
    assert (written.servers, written.without_password) == (("a",), dropped)
    assert yaml.safe_load((tmp_path / "out" / "databases.yaml").read_text()) == {"a": kept}
    assert not (tmp_path / "out" / "databases").exists()
    for file in (tmp_path / "out").iterdir():
        assert "secret" not in file.read_text() and "hidden" not in file.read_text()
    assert load(f"pairs:{tmp_path / 'out'}", "test").databases["a"].kind == url.partition(":")[0]


def test_what_is_said_of_a_server(tmp_path: Path) -> None:
    folder = own(tmp_path, "postgresql://me:secret@host/db")
    arguments = ["--data", f"pairs:{folder}", "--split", "test", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["data", "export", *arguments])
    assert result.exit_code == 0, result.output
    assert "a: on a server" in result.stderr and "a: the password was left out" in result.stderr
    assert "0 databases beside them" in result.stdout and "secret" not in result.output


def own(tmp_path: Path, url: str) -> Path:
    """One question of your own on a database `a`."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "test.jsonl").write_text('{"question": "?", "query": "SELECT 1", "db_id": "a"}')
    (folder / "databases.yaml").write_text(f"a: {url}")
    return folder

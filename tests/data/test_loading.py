"""SPECs, splits and their databases, on small releases made here and on Spider itself."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from exspin.data import load, parse_spec, remarks, roles, with_hardness
from exspin.data.spider import HELD_OUT
from exspin.errors import DatabaseError, DataError


def make_database(path: Path, script: str = "CREATE TABLE singer (id int, name text);") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def question(db_id: str, text: str = "How many?") -> dict[str, str]:
    return {"db_id": db_id, "question": text, "query": "SELECT count(*) FROM singer"}


def make_release(folder: Path, rows: list[dict[str, str]], databases: list[str]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dev.json").write_text(json.dumps(rows, indent=1))
    for name in databases:
        make_database(folder / "database" / name / f"{name}.sqlite")
    return f"spider:{folder}"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_split_holds_every_row_and_counts_missing_databases(tmp_path: Path) -> None:
    rows = [question("here"), question("gone"), question("here", "Which?"), question("gone")]
    split = load(make_release(tmp_path, rows, ["here"]), "dev")
    assert [e.index for e in split.examples] == [0, 1, 2, 3]
    assert [e.example_id for e in split.usable()] == ["spider/dev/0", "spider/dev/2"]
    assert list(split.databases) == ["here"]
    assert split.missing == {"gone": 2}
    (line,) = remarks(split)
    assert "1 of 2 databases missing: gone (2)" in line
    assert "2 of 4 questions" in line


def test_nothing_to_say_when_no_database_is_missing(tmp_path: Path) -> None:
    split = load(make_release(tmp_path, [question("here")], ["here"]), "dev")
    assert remarks(split) == ()


def test_held_out_databases_leave_the_training_questions(tmp_path: Path) -> None:
    rows = [question("pets"), question("music_4"), question("pets"), question("aircraft")]
    spec = make_release(tmp_path, rows, ["pets", "music_4", "aircraft"])
    os.rename(tmp_path / "dev.json", tmp_path / "train_spider.json")
    fit, heldout = load(spec, "fit"), load(spec, "heldout")
    # the id is the row of the file, so a question has one id in train and fit; the index is the row of the split
    assert [(e.example_id, e.index) for e in fit.examples] == [
        ("spider/train/0", 0),
        ("spider/train/2", 1),
    ]
    assert [e.db_id for e in heldout.examples] == ["music_4", "aircraft"]
    assert set(fit.databases) == {"pets"}


def test_spider_syn_asks_its_own_questions_of_the_sibling_databases(tmp_path: Path) -> None:
    make_release(tmp_path / "spider", [question("here")], ["here"])
    (tmp_path / "spider-syn").mkdir()
    row = {"db_id": "here", "SpiderQuestion": "a", "SpiderSynQuestion": "b", "query": "SELECT 1"}
    (tmp_path / "spider-syn" / "dev.json").write_text(json.dumps([row]))
    split = load(f"spider-syn:{tmp_path}/spider-syn", "dev")
    assert [e.question for e in split.examples] == ["b"]
    assert split.databases["here"].path == tmp_path / "spider/database/here/here.sqlite"


@pytest.mark.parametrize(
    ("spec", "split", "says"),
    [
        ("spidr:/x", "dev", "did you mean 'spider'? Known: builtin, spider, spider-syn"),
        ("spider", "dev", "spider:PATH"),
        ("spider:", "dev", "spider:PATH"),
        ("builtin:/x", "dev", "takes no path"),
        ("", "dev", "unknown kind ''"),
        ("spider:/no/such", "dev", "no such folder"),
        ("spider:/no/such", "devv", "did you mean 'dev'?"),
        ("builtin", "test-hnad", "did you mean 'test-hand'?"),
        ("spider-syn:/x", "train-others", "unknown split"),
    ],
)
def test_a_wrong_spec_or_split_gets_the_nearest_name(spec: str, split: str, says: str) -> None:
    with pytest.raises(DataError) as error:
        load(spec, split)
    assert says in str(error.value)


def test_roles_choose_on_training_data_and_keep_dev_for_the_test() -> None:
    assert roles("spider:x").dev == "heldout"
    assert roles("spider:x").tests == ("dev",)
    assert roles("builtin").tests == ("test", "test-hand", "test-unseen")
    for spec in ("builtin", "spider:x", "spider-syn:x"):
        named = roles(spec)
        assert {named.train, named.dev, *named.tests} <= set(parse_spec(spec).splits)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 36864\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist though its folder does"),
        (b"", "empty (0 bytes)"),
        (b"<!DOCTYPE html>\n<title>404</title>", "web page"),
        (LFS, "Git LFS pointer"),
        (b"PK\x03\x04....", "ZIP archive"),
        (b"hello, world\n" * 20, "not an SQLite database"),
        (b"SQLite format 3\0", "cut off"),
    ],
)
def test_a_database_file_that_is_none_is_called_by_its_name(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    spec = make_release(tmp_path, [question("good"), question("bad")], ["good"])
    path = tmp_path / "database/bad/bad.sqlite"
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    before = snapshot(tmp_path)
    with pytest.raises(DatabaseError, match=r"^[^\n]*$") as error:
        load(spec, "dev")
    assert str(error.value).startswith(f"{path}: ")
    assert says in str(error.value)
    assert snapshot(tmp_path) == before


def test_a_database_cut_off_in_the_middle_is_an_error(tmp_path: Path) -> None:
    spec = make_release(tmp_path, [question("good")], ["good"])
    path = tmp_path / "database/good/good.sqlite"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatabaseError, match=r"cut off \(8,191 of 8,192 bytes\)"):
        load(spec, "dev")


def test_a_damaged_schema_and_an_empty_one_are_errors(tmp_path: Path) -> None:
    spec = make_release(tmp_path, [question("good")], ["good"])
    path = tmp_path / "database/good/good.sqlite"
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * 300 + whole[400:])
    with pytest.raises(DatabaseError, match="is damaged"):
        load(spec, "dev")
    path.unlink()
    make_database(path, "CREATE TABLE t (x); DROP TABLE t;")
    with pytest.raises(DatabaseError, match="holds no tables"):
        load(spec, "dev")


def test_a_database_in_wal_mode_is_read_without_making_files(tmp_path: Path) -> None:
    spec = make_release(tmp_path, [question("good")], [])
    path = tmp_path / "database/good/good.sqlite"
    make_database(path, "PRAGMA journal_mode = WAL; CREATE TABLE t (x);")
    before = snapshot(tmp_path)
    load(spec, "dev")
    assert snapshot(tmp_path) == before
    path.with_name("good.sqlite-wal").write_bytes(b"unfinished")
    with pytest.raises(DatabaseError, match="not finished"):
        load(spec, "dev")


@pytest.mark.parametrize(
    "db_id",
    ["..", "../x", "/etc", "a/b", "a\\b", ".hidden", "a\0b", "a\nb", "x" * 201, "é" * 101, "a:b"],
)
def test_a_db_id_is_a_plain_name(tmp_path: Path, db_id: str) -> None:
    spec = make_release(tmp_path, [question("good"), question(db_id)], ["good"])
    with pytest.raises(DataError, match="cannot be a folder name") as error:
        load(spec, "dev")
    assert f"{tmp_path / 'dev.json'}:7: " in str(error.value)


@pytest.mark.parametrize("linked", ["folder", "file"])
def test_a_link_that_leaves_the_data_folder_is_refused(tmp_path: Path, linked: str) -> None:
    spec = make_release(tmp_path / "release", [question("good"), question("out")], ["good"])
    outside = tmp_path / "elsewhere" / "out.sqlite"
    make_database(outside)
    place = tmp_path / "release/database/out"
    if linked == "folder":
        place.symlink_to(outside.parent)
    else:
        place.mkdir()
        (place / "out.sqlite").symlink_to(outside)
    with pytest.raises(DatabaseError, match="outside"):
        load(spec, "dev")


def test_a_link_inside_the_data_folder_and_a_linked_release_are_fine(tmp_path: Path) -> None:
    make_release(tmp_path / "release", [question("good"), question("same")], ["good"])
    (tmp_path / "release/database/same").mkdir()
    (tmp_path / "release/database/same/same.sqlite").symlink_to("../good/good.sqlite")
    (tmp_path / "link").symlink_to("release")
    assert len(load(f"spider:{tmp_path}/link", "dev").databases) == 2


def test_a_db_id_in_the_wrong_case_is_an_error_not_a_missing_database(tmp_path: Path) -> None:
    spec = make_release(tmp_path, [question("good"), question("Good")], ["good"])
    with pytest.raises(DataError, match="differ in upper and lower case"):
        load(spec, "dev")


def test_a_release_without_any_database_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the 1 databases of dev"):
        load(make_release(tmp_path, [question("gone")], []), "dev")


def test_a_folder_with_an_odd_name_is_opened_all_the_same(tmp_path: Path) -> None:
    spec = make_release(tmp_path / "100% ?mode=rw#é", [question("a b")], ["a b"])
    assert list(load(spec, "dev").databases) == ["a b"]


def test_hardness_is_filled_in_where_it_is_not_given(tmp_path: Path) -> None:
    split = load(make_release(tmp_path, [question("here"), question("gone")], ["here"]), "dev")
    assert {e.hardness for e in split.examples} == {""}
    assert [e.hardness for e in with_hardness(split).examples] == ["easy", "easy"]


def test_spider_as_released(exspin_data: Path) -> None:
    spec = f"spider:{exspin_data}/spider"
    splits = {name: load(spec, name) for name in parse_spec(spec).splits}
    assert {name: len(split.examples) for name, split in splits.items()} == {
        "train": 7000,
        "train-others": 1659,
        "dev": 1034,
        "fit": 6523,
        "heldout": 477,
    }
    assert splits["dev"].missing == {"wta_1": 62}
    assert len(splits["dev"].usable()) == 972
    assert splits["train"].missing == {"baseball_1": 82, "soccer_1": 14}
    assert splits["heldout"].missing == {}
    counts = Counter(e.db_id for e in splits["heldout"].examples)
    assert set(counts) == HELD_OUT
    assert all(40 <= count <= 60 for count in counts.values())
    assert not set(splits["fit"].databases) & set(splits["heldout"].databases)


def test_spider_syn_as_released(exspin_data: Path) -> None:
    spec = f"spider-syn:{exspin_data}/spider-syn"
    split = load(spec, "dev")
    assert split.examples[0].question == "How many vocalists do we have?"
    assert len(split.usable()) == 972
    assert len(load(spec, "heldout").examples) == 477

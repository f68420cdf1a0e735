"""A gold file in Spider's format: rows, databases in both layouts, and what is refused with its line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from exspin.data import load, load_gold
from exspin.errors import DatabaseError, DataError
from exspin.scoring import score

GOLD = "SELECT count(*) FROM pet\tfarm\nSELECT name \tFROM pet\tfarm\r\nSELECT 1\tlost\n\n"


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    path = tmp_path / "gold.txt"
    path.write_bytes(GOLD.encode())
    return path


def test_rows_come_in_order_and_missing_databases_are_counted(
    gold: Path, small_spider: Path
) -> None:
    split = load_gold(gold, databases=small_spider / "database")
    assert [(e.example_id, e.index, e.db_id, e.query) for e in split.examples] == [
        ("gold/0", 0, "farm", "SELECT count(*) FROM pet"),
        ("gold/1", 1, "farm", "SELECT name \tFROM pet"),
        ("gold/2", 2, "lost", "SELECT 1"),
    ]
    assert set(split.databases) == {"farm"} and split.missing == {"lost": 1}


def test_databases_of_a_spec_and_beside_each_other(
    gold: Path, small_spider: Path, tmp_path: Path
) -> None:
    """`exspin data export` writes them without folders."""
    flat = tmp_path / "flat"
    flat.mkdir()
    shutil.copy(small_spider / "database" / "farm" / "farm.sqlite", flat)
    for split in (load_gold(gold, databases=flat), load_gold(gold, spec=f"spider:{small_spider}")):
        assert list(split.databases) == ["farm"] and split.missing == {"lost": 1}


def test_a_damaged_database_beside_the_others_is_refused(gold: Path, tmp_path: Path) -> None:
    (tmp_path / "farm.sqlite").write_text("no database")
    with pytest.raises(DatabaseError, match=r"farm\.sqlite: is not an SQLite database"):
        load_gold(gold, databases=tmp_path)


def test_the_built_in_databases_serve_too(tmp_path: Path) -> None:
    (example, *_) = load("builtin", "dev").examples
    path = tmp_path / "gold.sql"
    path.write_text(f"{example.query}\t{example.db_id}\nSELECT 1\tlost\nSELECT 2\tlost\n")
    split = load_gold(path, spec="builtin")
    assert list(split.databases) == [example.db_id] and split.missing == {"lost": 2}


def test_databases_of_own_pairs_are_those_the_file_names(
    gold: Path, small_spider: Path, tmp_path: Path
) -> None:
    """No split need be there, nor a database that no gold asks for; `lost` is not in the file."""
    folder = tmp_path / "own"
    folder.mkdir()
    farm = small_spider / "database" / "farm" / "farm.sqlite"
    (folder / "databases.yaml").write_text(f"farm: {farm}\nunused: gone.sqlite\n")
    split = load_gold(gold, spec=f"pairs:{folder}")
    assert list(split.databases) == ["farm"] and split.missing == {"lost": 1}


def test_databases_of_bird_are_found_in_all_its_folders(small_bird: Path, tmp_path: Path) -> None:
    gold = tmp_path / "gold.sql"
    gold.write_text("SELECT 1\tdelta\nSELECT 2\tbeta\nSELECT 3\tlost\n")
    split = load_gold(gold, spec=f"bird:{small_bird}")
    assert list(split.databases) == ["beta", "delta"] and split.missing == {"lost": 1}
    shutil.rmtree(small_bird / "train")  # a download that is not there
    assert load_gold(gold, spec=f"bird:{small_bird}").missing == {"beta": 1, "lost": 1}


def test_a_gold_file_is_scored_like_a_split(gold: Path, small_spider: Path, tmp_path: Path) -> None:
    (tmp_path / "p.sql").write_text("SELECT 4\nSELECT 4\nSELECT 1\n")
    found = score(load_gold(gold, databases=small_spider / "database"), tmp_path / "p.sql")
    assert (found.n, found.scored, found.gold_unusable, found.ex) == (3, 2, 1, 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"gold.txt: is empty .* expected SQL, a tab and the db_id"),
        ("SELECT 1\n", r"gold.txt:1: no tab in the line; gold has SQL, a tab and the db_id"),
        ("\tfarm\n", r"gold.txt:1: 'query' is empty"),
        ("SELECT 1\tfarm\nSELECT 1\t../farm\n", r"gold.txt:2: db_id '../farm' cannot be"),
        ("SELECT 1\tFarm\n", r"gold.txt:1: db_id 'Farm' and the folder 'farm' .* case"),
        ("SELECT 1\tfarm\n\nSELECT 1\tfarm\n", r":2: the line is blank; gold has SQL"),
        ("farm\tSELECT 1\n", r":1: SQL stands behind the tab; put it first"),
        ("SELECT 1\tlost\n", r"holds none of the 1 databases of .*gold.txt"),
    ],
)
def test_gold_that_cannot_be_used(
    text: str, message: str, small_spider: Path, tmp_path: Path
) -> None:
    path = tmp_path / "gold.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_gold(path, databases=small_spider / "database")


def test_places_that_do_not_hold_databases(gold: Path, small_spider: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder; give the folder that holds"):
        load_gold(gold, databases=tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"gold\.txt: is a file; give the folder that holds"):
        load_gold(gold, databases=gold)
    with pytest.raises(DataError, match=r"absent.txt: cannot be read \(.*\); give a file with SQL"):
        load_gold(tmp_path / "absent.txt", databases=small_spider / "database")
    with pytest.raises(DataError, match="give a folder of them or a SPEC"):
        load_gold(gold)
    (small_spider / "database" / "farm" / "farm.sqlite").write_text("<html>")
    with pytest.raises(DatabaseError, match="is a web page"):
        load_gold(gold, databases=small_spider / "database")


def test_spiders_own_gold_file_is_its_split(exspin_data: Path) -> None:
    """dev_gold.sql holds the 1,034 queries of dev.json in its order."""
    root = exspin_data / "spider"
    gold, dev = (
        load_gold(root / "dev_gold.sql", databases=root / "database"),
        load(f"spider:{root}", "dev"),
    )
    assert [e.db_id for e in gold.examples] == [e.db_id for e in dev.examples]
    assert gold.missing == dev.missing

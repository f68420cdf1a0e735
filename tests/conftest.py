"""Fixtures for all tests: where real data is, and a data set small enough to train on in a second."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is the machine's affair: under load any may pass the 200 ms that hypothesis allows.
settings.register_profile("exspin", deadline=None)
settings.load_profile("exspin")


@pytest.fixture(scope="session")
def exspin_data() -> Path:
    """The folder of real data sets; without `EXSPIN_DATA` the test skips, under `EXSPIN_REQUIRE_DATA=1` it fails."""
    place = os.environ.get("EXSPIN_DATA")
    if place:
        return Path(place)
    reason = "EXSPIN_DATA is not set: no real data sets here"
    if os.environ.get("EXSPIN_REQUIRE_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


PETS = """
CREATE TABLE pet (pet_id INTEGER PRIMARY KEY, name TEXT, kind TEXT, age INTEGER);
INSERT INTO pet VALUES (1, 'Ada', 'dog', 3), (2, 'Bo', 'cat', 5), (3, 'Cid', 'dog', 7), (4, 'Dot', NULL, 1);
"""
QUESTIONS = [
    ("How many pets are there?", "SELECT count(*) FROM pet"),
    ("Names of all pets", "SELECT name FROM pet"),
    ("What is the oldest age?", "SELECT max(age) FROM pet"),
    ("Names of the dogs", "SELECT name FROM pet WHERE kind = 'dog'"),
    ("Names by age", "SELECT name FROM pet ORDER BY age"),
    ("How many kinds are there?", "SELECT count(DISTINCT kind) FROM pet"),
]


@pytest.fixture
def small_spider(tmp_path: Path) -> Path:
    """A folder in Spider's layout: `pets` and `zoo` to learn from, `aircraft` held out, `farm` as dev, `lost` missing."""
    root = tmp_path / "spider"
    for name in ("pets", "zoo", "aircraft", "farm"):
        (root / "database" / name).mkdir(parents=True)
        connection = sqlite3.connect(root / "database" / name / f"{name}.sqlite")
        connection.executescript(PETS)
        connection.close()

    def rows(*names: str) -> str:
        return json.dumps(
            [{"db_id": n, "question": q, "query": sql} for n in names for q, sql in QUESTIONS],
            indent=1,
        )

    (root / "train_spider.json").write_text(rows("pets", "zoo", "aircraft"))
    (root / "train_others.json").write_text("[]")
    (root / "dev.json").write_text(rows("farm", "lost"))
    return root


@pytest.fixture
def damage() -> Callable[[Path], None]:
    """Overwrites the content of every table, as a bad disk does: the file opens, its schema can be read."""

    def overwrite(path: Path) -> None:
        connection = sqlite3.connect(path)
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        roots = [root for (root,) in connection.execute("SELECT rootpage FROM sqlite_master")]
        connection.close()
        with path.open("r+b") as file:
            for root in roots:
                file.seek((root - 1) * size)
                file.write(b"\xff" * size)

    return overwrite


# --- BIRD's layout ----------------------------------------------------------------------------------------------------

SCHOOLS = """
CREATE TABLE school (CDSCode INTEGER PRIMARY KEY, "Free Meal (K-12)" REAL, Status TEXT, A4 TEXT, untyped);
INSERT INTO school VALUES (1, 10.5, 'A', 'x', 1), (2, 20.5, 'C', 'y', 2), (3, NULL, 'A', 'z', 3);
CREATE TABLE "Area Code" (Code INTEGER PRIMARY KEY, Name TEXT);
INSERT INTO "Area Code" VALUES (7, 'North'), (8, 'Süd');
"""
SCHOOL_QUESTIONS = [
    ("How many schools are there?", "", "SELECT count(*) FROM school", "simple"),
    (
        "How many schools are active?",
        "active refers to Status = 'A'",
        "SELECT count(*) FROM school WHERE Status = 'A'",
        "moderate",
    ),
    (
        "Highest free meal count",
        "",
        "SELECT `Free Meal (K-12)` FROM school ORDER BY `Free Meal (K-12)` DESC LIMIT 1",
        "challenging",
    ),
    ("Names of areas", "", "SELECT Name FROM `Area Code`", "simple"),
]
# As BIRD's are: a mark of order, spaces after names, quotes in quotes, lines in cells, empty rows and cells.
SCHOOL_CSV = b"""\xef\xbb\xbforiginal_column_name ,column_name,column_description,data_format,value_description,,
CDSCode,CDSCode,CDSCode,integer,,,
Free Meal (K-12),Free Meal (K-12),"Free ""meals"" in kindergarten
to grade 12",real,,
status ,,,text,"A: active
C: closed",
A4,number of inhabitants,,text,
untyped,,,Integer,
,,,,
"""
AREA_CSV = "original_column_name,column_name,column_description,data_format,value_description\r\nName,,the “zone”,text,\r\n"
BIRD_DATABASES = ("alpha", "beta", "gamma")  # of train; `delta` is dev's, `lost` is nowhere


@pytest.fixture
def small_bird(tmp_path: Path) -> Path:
    """A folder in BIRD's layout as its archives unpack, with the usual dirt in the descriptions."""
    root = tmp_path / "bird"
    places = {f"train/train_databases/{name}": name for name in BIRD_DATABASES}
    for place, name in {**places, "dev_20240627/dev_databases/delta": "delta"}.items():
        descriptions = root / place / "database_description"
        descriptions.mkdir(parents=True)
        connection = sqlite3.connect(root / place / f"{name}.sqlite")
        connection.executescript(SCHOOLS)
        connection.close()
        (descriptions / "School.csv").write_bytes(SCHOOL_CSV)
        (descriptions / "Area Code.csv").write_bytes(AREA_CSV.encode("cp1252"))
        (descriptions / ".DS_Store").write_bytes(b"\0")

    def rows(*names: str, dev: bool = False) -> str:
        found = []
        for name in names:
            for question, evidence, query, difficulty in SCHOOL_QUESTIONS:
                row = {"db_id": name, "question": question, "evidence": evidence, "SQL": query}
                if dev:
                    row |= {"question_id": len(found), "difficulty": difficulty}
                found.append(row)
        return json.dumps(found, indent=1)

    (root / "train" / "train.json").write_text(rows(*BIRD_DATABASES))
    (root / "dev_20240627" / "dev.json").write_text(rows("delta", "lost", dev=True))
    return root

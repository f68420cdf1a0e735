"""Fixtures for all tests: where real data is, and a data set small enough to train on in a second."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest


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

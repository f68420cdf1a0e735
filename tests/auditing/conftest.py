"""A data set with one of each thing an audit looks for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

SHOP = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price REAL, kind TEXT);
INSERT INTO item VALUES (1, 'pen', 2, 'desk'), (2, 'cup', 2, 'kitchen'), (3, 'lamp', 9, 'desk'), (4, 'mat', 5, 'floor');
CREATE TABLE number (n INTEGER);
WITH RECURSIVE up(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < 900) INSERT INTO number SELECT n FROM up;
"""
# question, gold; the place in the file is the place in this list
TRAIN = [
    ("How many items are there?", "SELECT count(*) FROM item"),
    ("Names by price", "SELECT name FROM item ORDER BY price"),
    ("The cheapest item", "SELECT name FROM item ORDER BY price LIMIT 1"),
    ("Two items", "SELECT name FROM item LIMIT 2"),
    ("Any item", "SELECT name FROM item ORDER BY random() LIMIT 1"),
    ("What day is it?", "SELECT date('now')"),
    ("Items of no kind", "SELECT name FROM item WHERE kind IS NULL"),
    ("Names of shops", "SELECT name FROM shop"),
    ("Remove all items", "DELETE FROM item"),
    ("how many items are  there", "select COUNT(*)  from item;"),
    ("Two items!", "SELECT name FROM item WHERE id < 3"),
    ("Show the name and the price of every single item", "SELECT name, price FROM item"),
    ("Names by price and name", "SELECT name FROM item ORDER BY price DESC, name"),
]
DEV = [
    ("How many items are there", "SELECT count(*) FROM item"),
    ("Show the name and the price of every single item.", "SELECT price, name FROM item"),
    ("Show the name and the price of every single item please", "SELECT name FROM item"),
    ("Something quite different here", "SELECT kind FROM item"),
]


Rows = list[tuple[str, str, str]]  # db_id, question, gold
MakeRelease = Callable[..., Path]


@pytest.fixture
def make_release(tmp_path: Path) -> MakeRelease:
    """Write a folder in Spider's layout: the questions of `train` and `dev`, the database `shop` and its twin `shop2`."""

    def make(train: Rows | None = None, dev: Rows | None = None) -> Path:
        root = tmp_path / "spider"
        for name in ("shop", "shop2"):
            (root / "database" / name).mkdir(parents=True)
            connection = sqlite3.connect(root / "database" / name / f"{name}.sqlite")
            connection.executescript(SHOP)
            connection.close()
        for file, rows in (("train_spider.json", train), ("dev.json", dev)):
            if rows is not None:
                listed = [{"db_id": d, "question": q, "query": sql} for d, q, sql in rows]
                (root / file).write_text(json.dumps(listed))
        return root

    return make


@pytest.fixture
def release(make_release: MakeRelease) -> Path:
    train = [("shop", *row) for row in TRAIN]
    dev = [("shop", *DEV[0]), *(("shop2", *row) for row in DEV[1:]), ("gone", "?", "SELECT 1")]
    return make_release(train, dev)

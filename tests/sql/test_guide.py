"""What decoding may write under a schema: beginnings one by one, gold queries letter by letter, and a walk at random."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from exspin.data import Split, load
from exspin.records import Database
from exspin.sql.guide import Guide
from exspin.sql.schema import read_schema

TABLES = """
CREATE TABLE artist (id INTEGER, name TEXT, "Birth Year" INTEGER, "order" TEXT);
CREATE TABLE album (id INTEGER, artist_id INTEGER, title TEXT, price REAL, "group" TEXT);
CREATE TABLE shop (shop_id INTEGER, city TEXT, name TEXT);
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    path = tmp_path_factory.mktemp("guide") / "music.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(TABLES)
    connection.close()
    return Database.sqlite("music", path)


@pytest.fixture(scope="module")
def guide(database: Database) -> Guide:
    return Guide(read_schema(database, 0))


CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("guide.yaml").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case["text"]))
def test_beginnings(case: dict[str, Any], guide: Guide) -> None:
    text = case["text"]
    allowed, complete = guide.allows(text), guide.complete(text)
    assert (allowed, complete) == (case["is"] != "refused", case["is"] == "query")


def test_what_may_end_is_a_query_for_sqlite(database: Database) -> None:
    connection = sqlite3.connect(database.path)
    for case in CASES:
        if case["is"] == "query":
            assert connection.execute(f"EXPLAIN {case['text']}").fetchall(), case["text"]
    connection.close()


def test_no_answer_depends_on_what_was_asked_before(database: Database, guide: Guide) -> None:
    """`guide` has read every case in order, going on where an earlier text ended; a new one reads from the start."""
    for case in CASES:
        fresh = Guide(read_schema(database, 0))
        assert fresh.allows(case["text"]) == guide.allows(case["text"]), case["text"]


# --- gold ------------------------------------------------------------------------------------------------------------


def share_of_gold(split: Split) -> float:
    """Of the split's queries: those whose every beginning is allowed and that may end where they end."""
    guides: dict[str, Guide] = {}
    inside = 0
    examples = split.usable()
    for example in examples:
        if example.db_id not in guides:
            guides[example.db_id] = Guide(read_schema(split.databases[example.db_id], 0))
        guide, query = guides[example.db_id], example.query.strip().rstrip(";").strip()
        ends = range(1, len(query) + 1)
        inside += all(guide.allows(query[:end]) for end in ends) and guide.complete(query)
    return inside / len(examples)


@pytest.mark.parametrize(
    ("split", "least"),
    [("test-hand", 0.975), ("dev", 0.999), ("test-unseen", 0.999), ("test", 0.999)],
)
def test_gold_of_the_built_in_example_is_inside(split: str, least: float) -> None:
    assert share_of_gold(load("builtin", split)) >= least


def test_gold_of_spider_is_inside(exspin_data: Path) -> None:
    assert share_of_gold(load(f"spider:{exspin_data / 'spider'}", "dev")) >= 0.975


# --- a walk ----------------------------------------------------------------------------------------------------------

KEYWORDS = """FROM WHERE GROUP BY HAVING ORDER LIMIT AND OR NOT IN LIKE BETWEEN IS NULL AS JOIN LEFT INNER OUTER ON UNION
    INTERSECT EXCEPT ALL DISTINCT ASC DESC NULLS FIRST LAST EXISTS OFFSET SELECT CASE WITH"""
FUNCTIONS = "COUNT( SUM( AVG( MIN( MAX( ROUND( LENGTH( SUBSTR( ABS( COALESCE("
SYMBOLS = ", ( ) * = < >= != + - 'x' 3 1.5"
ALIASES = "T1 T2 T3 T4 T5 T6 a b c d e f g h i j k l m n o p q r s t u v w x y z"


def walk(guide: Guide, kinds: list[list[str]], choice: random.Random) -> tuple[str, str]:
    """A text of allowed pieces chosen at random, and how it ended: whole, dead (nothing may follow) or long."""
    text = "SELECT "
    for step in range(100):
        whole = guide.complete(text)
        if whole and choice.random() < 0.4:
            return text, "whole"
        # Keywords first after a while, or it would list columns for ever.
        order = sorted(
            kinds, key=lambda kind: choice.random() / (1 + 2 * (kind is kinds[0] and step > 15))
        )
        pieces: Iterable[str] = (p for kind in order for p in choice.sample(kind, len(kind)))
        piece = next((p for p in pieces if guide.allows(text + p)), None)
        if piece is None:
            return text, "whole" if whole else "dead"
        text += piece
    return text, "whole" if guide.complete(text) else "long"


def test_a_walk_over_what_is_allowed_ends_in_queries_that_sqlite_prepares() -> None:
    split = load("builtin", "dev")
    outcomes: Counter[str] = Counter()
    for db_id in ("library", "clinic", "league"):
        database = split.databases[db_id]
        schema = read_schema(database, 0)
        guide, connection = Guide(schema), sqlite3.connect(database.path)
        tables = [table.name for table in schema.tables]
        columns = sorted({column.name for table in schema.tables for column in table.columns})
        aliases = ALIASES.split()
        kinds = [
            [f"{word} " for word in KEYWORDS.split()],
            [f"{name} " for name in tables + columns],
            [f"{name}." for name in aliases + tables],
            [f"{name} " for name in aliases],
            FUNCTIONS.split(),
            [f"{symbol} " for symbol in SYMBOLS.split()],
        ]
        for seed in range(60):
            text, end = walk(guide, kinds, random.Random(seed))
            outcomes[end] += 1
            if end == "whole":
                connection.execute(f"EXPLAIN {text}")
        connection.close()
    assert outcomes["whole"] >= 120
    assert outcomes["dead"] <= 5, outcomes

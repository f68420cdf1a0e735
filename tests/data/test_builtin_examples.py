"""What the committed examples promise: sizes, mix, gold that runs, and no question near one of another split."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from exspin.data.builtin import EXAMPLES, SOURCES, SPLITS
from exspin.data.builtin.generate import (
    MIX,
    NEAR,
    NEAR_HAND,
    UNSEEN,
    Item,
    fold,
    generate,
    hand_items,
    masked_question,
    save,
)
from exspin.data.builtin.phrasebook import HERE
from exspin.data.builtin.phrasebook import build as open_source
from exspin.data.builtin.sqlstyle import mask
from exspin.data.splits import find_near_duplicates
from exspin.ledger import read_jsonl
from exspin.sql.hardness import hardness, skeleton

GENERATED = ("train", "dev", "test", "test-unseen")


@pytest.fixture(scope="module")
def items() -> list[Item]:
    """Every committed question."""
    return [
        Item(
            row["db_id"],
            split,
            "",
            "",
            row["question"],
            row["query"],
            row["hardness"],
            row["handwritten"],
        )
        for split in SPLITS
        for row in read_jsonl(EXAMPLES / f"{split}.jsonl")
    ]


@pytest.fixture(scope="module")
def databases() -> Iterator[dict[str, sqlite3.Connection]]:
    found = {path.stem: open_source(path) for path in SOURCES.glob("*.sql")}
    yield found
    for connection in found.values():
        connection.close()


def of(items: list[Item], *splits: str) -> list[Item]:
    return [item for item in items if item.split in splits]


def without_order(sql: str) -> str:
    """A query with its values masked and, where it is a plain one, its columns and conditions sorted."""
    text = mask(sql).lower().replace("between ? and ?", "between ?")
    plain = re.fullmatch(
        r"(select )([^()]*)( from \w+)(?: where ([^()]*?))?((?: order by .*)?)", text
    )
    if not plain:
        return text
    start, columns, source, where, rest = plain.groups()
    columns = ", ".join(sorted(columns.split(", ")))
    return start + columns + source + " and ".join(sorted((where or "").split(" and "))) + rest


def test_sizes(items: list[Item]) -> None:
    sizes = Counter(item.split for item in items)
    assert sizes["train"] >= 6_000
    assert sizes["dev"] >= 400
    assert sizes["test"] >= 1_500
    assert sizes["test-hand"] >= 250
    assert sizes["test-unseen"] >= 400
    assert {item.db_id for item in of(items, "test-unseen")} == {*UNSEEN}
    trained = {item.db_id for item in of(items, "train")}
    assert len(trained) >= 12 and trained.isdisjoint(UNSEEN)
    assert {item.db_id for item in of(items, "dev", "test", "test-hand")} == trained


@pytest.mark.parametrize("split", GENERATED)
def test_hardness_mix_is_near_spiders(items: list[Item], split: str) -> None:
    rows = of(items, split)
    mix = Counter(item.hardness for item in rows)
    for name, share in MIX.items():
        assert abs(mix[name] / len(rows) - share) < 0.03, name


def test_the_hardness_beside_a_query_is_its_hardness(items: list[Item]) -> None:
    for item in items[::40] + of(items, "test-hand"):
        assert item.hardness == hardness(item.query), item.query


def test_gold_runs_and_does_not_depend_on_the_order_of_rows(
    items: list[Item], databases: dict[str, sqlite3.Connection]
) -> None:
    empty: Counter[str] = Counter()
    for item in items:
        connection = databases[item.db_id]
        results = []
        for backwards in (0, 1):
            connection.execute(f"PRAGMA reverse_unordered_selects = {backwards}")
            rows = [
                tuple(float(f"{v:.6g}") if isinstance(v, float) else v for v in row)
                for row in connection.execute(item.query)
            ]
            ordered = "order by" in item.query.lower().rpartition(")")[2]
            results.append(rows if ordered else sorted(rows, key=repr))
        assert results[0] == results[1], item.query
        empty[item.split] += results[0] in ([], [(0,)], [(None,)])
    for split, count in empty.items():
        assert count / len(of(items, split)) <= 0.05, split


def test_one_line_of_sql_without_spaces_around(items: list[Item]) -> None:
    for item in items:
        for text in (item.question, item.query):
            assert text == " ".join(text.split()), text
        assert not item.query.endswith(";")
        assert not set("[]{}|") & set(item.question), item.question


def test_no_question_is_asked_twice(items: list[Item]) -> None:
    splits: dict[str, set[str]] = defaultdict(set)
    for item in items:
        splits[fold(item.question)].add(item.split)
    assert [text for text, found in splits.items() if len(found) > 1] == []
    within = Counter((item.db_id, fold(item.question)) for item in items)
    assert [key for key, count in within.items() if count > 1] == []


def test_no_question_is_another_splits_with_other_values(items: list[Item]) -> None:
    """Neither the words nor the SQL of train, dev and test may agree once values are masked."""
    words: dict[str, set[str]] = defaultdict(set)
    queries: dict[str, set[str]] = defaultdict(set)
    for item in items:
        words[masked_question(item)].add(item.split)
        if item.split in GENERATED:
            queries[f"{item.db_id}: {mask(item.query).lower()}"].add(item.split)
    assert [text for text, found in words.items() if len(found) > 1] == []
    assert [text for text, found in queries.items() if len(found) > 1] == []


@pytest.mark.parametrize("split", ("dev", "test", "test-unseen"))
def test_no_near_duplicate_crosses_a_split(items: list[Item], split: str) -> None:
    here = [item.question for item in of(items, split)]
    elsewhere = [item.question for item in items if item.split != split]
    assert find_near_duplicates(here, elsewhere, NEAR) == []


def test_handwritten_questions_are_like_no_other(items: list[Item]) -> None:
    hand = [item.question for item in of(items, "test-hand")]
    assert find_near_duplicates(hand, None, NEAR_HAND) == []
    others = [item.question for item in of(items, *GENERATED)]
    assert find_near_duplicates(hand, others, NEAR_HAND) == []
    assert {item.handwritten for item in of(items, "test-hand")} == {True}
    assert {item.handwritten for item in of(items, *GENERATED)} == {False}


def test_handwritten_queries_have_many_shapes(items: list[Item]) -> None:
    assert len({skeleton(item.query) for item in of(items, "test-hand")}) >= 150


def test_the_handwritten_split_is_what_lies_in_hand(items: list[Item]) -> None:
    names = {path.stem for path in (HERE / "hand").glob("*.jsonl")}
    sources = [item for name in sorted(names) for item in hand_items(HERE, name)]
    committed = of(items, "test-hand")
    assert [(i.question, i.query) for i in committed] == [(i.question, i.query) for i in sources]


def test_styles_vary_as_annotators_do(items: list[Item]) -> None:
    text = [item.query.lower() for item in of(items, "train")]
    for one, other in (
        ("count(*)", "_id)"),
        ("limit 1", "= (select max("),
        (" join ", " in (select "),
        (" <> ", " != "),
        (" between ", " >= "),
        (" as t1", " t1 join"),
        ("except", "not in"),
        ("intersect", "union"),
        ("like", "strftime"),
    ):
        assert sum(one in sql for sql in text) >= 5, one
        assert sum(other in sql for sql in text) >= 5, other
    assert 0.04 < sum(i.query.startswith("select") for i in of(items, "train")) / len(text) < 0.2


@pytest.mark.slow
def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    save(generate(), tmp_path)
    for split in SPLITS:
        new = (tmp_path / f"{split}.jsonl").read_bytes()
        assert new == (EXAMPLES / f"{split}.jsonl").read_bytes(), (
            f"{split}: sources changed; run python -m exspin.data.builtin.generate"
        )

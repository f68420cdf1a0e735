"""Solved questions like a question: what likeness is, what is never shown, and that a pool is the same everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from exspin.data import load
from exspin.data.splits import jaccard, word_trigrams
from exspin.errors import DataError
from exspin.hints.shots import ShotPool, Solved, masked, schema_words, skeleton
from exspin.records import Example
from exspin.sql.schema import Column, Schema, Table, read_schema


def schema(db_id: str, *names: str) -> Schema:
    columns = tuple(Column(name, "TEXT", "", False, True, ()) for name in names[1:])
    return Schema(db_id, (Table(names[0], "", columns, ()),), ())


SCHEMAS = {
    "zoo": schema("zoo", "animal", "animalName", "keeper_id"),
    "shop": schema("shop", "Product", "price", "date_of_sale"),
    "club": schema("club", "member", "age", "town"),
}


def example(number: int, db_id: str, question: str, query: str = "SELECT 1") -> Example:
    return Example(f"t/{number}", number, db_id, question, query)


def similar(pool: ShotPool, asked: Example, k: int = 1) -> list[str]:
    found = pool.similar(asked, schema_words(SCHEMAS[asked.db_id]), k)
    return [each.question for each in found]


@pytest.mark.parametrize(
    ("db_id", "question", "expected"),
    [
        ("zoo", "How many animals have the keeper ID 12?", "how many _ have the _ #"),
        ("zoo", "Which animal name is “Old Tom”?", "which _ is '"),
        ("shop", "What is the price of products sold by Acme Tools on 2014-01-05?",
         "what is the _ of _ sold by ' on #"),
        ("club", "Members of the club's town", "_ of the club s _"),
        ("club", "", ""),
        ("club", "Ages above 1,000.5 and 20", "_ above # and #"),
    ],
)  # fmt: skip
def test_what_belongs_to_a_database_is_masked(db_id: str, question: str, expected: str) -> None:
    assert " ".join(masked(question, schema_words(SCHEMAS[db_id]))) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT name FROM singer WHERE age > 20", "SELECT _ FROM _ WHERE _ > #"),
        ("select T1.a, b , c from t AS T1 join u on T1.x = u.y",
         "SELECT _ FROM _ JOIN _ ON _ = _"),
        ("SELECT count(*), max(`x y`) FROM \"t\" ORDER BY 1 DESC LIMIT 3;",
         "SELECT COUNT ( * ) , MAX ( _ ) FROM _ ORDER BY # DESC LIMIT #"),
        ("SELECT a FROM t WHERE b LIKE '%x%' -- note", "SELECT _ FROM _ WHERE _ LIKE #"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_skeleton_of_a_query(sql: str, expected: str) -> None:
    assert skeleton(sql) == expected


def test_the_most_similar_question_is_that_of_another_schema_said_alike() -> None:
    pool = ShotPool.make(
        [
            example(0, "shop", "What is the highest price?"),
            example(1, "shop", "How many products have a price above 5?", "SELECT count(*)"),
            example(2, "club", "List them"),
        ],
        SCHEMAS,
    )
    asked = example(9, "zoo", "How many animals have a keeper above 3?")
    assert similar(pool, asked)[0] == "How many products have a price above 5?"
    assert len(similar(pool, asked, 3)) == 2  # nothing in common with the third


def test_neither_the_question_nor_a_near_duplicate_nor_its_own_database() -> None:
    asked = example(0, "zoo", "How many animals does the zoo have in all of its parts?")
    near = "How many animals does the zoo have in all of its parts now?"
    pool = ShotPool.make(
        [
            asked,
            example(1, "shop", near),
            example(2, "zoo", "How many animals have a keeper?"),
            example(3, "club", "How many members does it have?"),
        ],
        SCHEMAS,
    )
    assert jaccard(word_trigrams(asked.question), word_trigrams(near)) > 0.5
    assert similar(pool, asked, 9) == ["How many members does it have?"]


def test_a_pool_of_one_database_gives_its_own_questions() -> None:
    pool = ShotPool.make(
        [example(n, "zoo", f"How many animals {verb}?") for n, verb in enumerate(("eat", "run"))],
        SCHEMAS,
    )
    asked = example(0, "zoo", "How many animals eat?")
    assert similar(pool, asked, 9) == ["How many animals run?"]


def test_equal_skeletons_come_after_others() -> None:
    pool = ShotPool.make(
        [
            example(0, "shop", "How many products cost 5?", "SELECT count(*) FROM a WHERE b = 5"),
            example(1, "shop", "How many products cost 7?", "SELECT count(*) FROM a WHERE b = 7"),
            example(2, "club", "How many members cost too much?", "SELECT count(*) FROM a"),
        ],
        SCHEMAS,
    )
    asked = example(9, "zoo", "How many animals cost 5?")
    found = similar(pool, asked, 3)
    assert found[1:] == ["How many members cost too much?", "How many products cost 7?"]


def test_the_same_pool_read_back_gives_the_same(tmp_path: Path) -> None:
    odd = example(1, "club", 'Names\n"like" \u2028 this \ud800?', "SELECT 'a\nb'")
    pool = ShotPool.make([example(0, "shop", "How many products?"), odd], SCHEMAS)
    pool.save(tmp_path / "shots.jsonl")
    back = ShotPool.load(tmp_path / "shots.jsonl")
    assert back.solved == pool.solved and back.digest == pool.digest
    assert ShotPool([]).digest != pool.digest
    (tmp_path / "shots.jsonl").write_text('{"question": "?"}\n')
    with pytest.raises(DataError, match=r"shots\.jsonl: cannot be read"):
        ShotPool.load(tmp_path / "shots.jsonl")
    with pytest.raises(DataError, match="use another checkpoint"):
        ShotPool.load(tmp_path / "gone.jsonl")


def test_nothing_to_show() -> None:
    asked = example(0, "zoo", "???")
    assert similar(ShotPool([]), asked) == []
    pool = ShotPool.make([example(1, "shop", "How many products?")], SCHEMAS)
    assert similar(pool, asked) == []
    assert similar(pool, example(0, "zoo", "How many animals?"), 0) == []
    # what is too long for a prompt is no example
    assert len(ShotPool.make([example(2, "shop", "a " * 5_000)], SCHEMAS)) == 0


def test_shots_of_spider_dev(exspin_data: Path) -> None:
    """Every question of dev has three, from the training split, none of them its near-duplicate."""
    train, dev = (load(f"spider:{exspin_data}/spider", name) for name in ("train", "dev"))
    schemas = {n: read_schema(d, 0) for n, d in {**train.databases, **dev.databases}.items()}
    pool = ShotPool.make(train.usable(), schemas)
    words = {name: schema_words(schemas[name]) for name in dev.databases}
    solved = {each.example_id for each in train.examples}
    for asked in dev.usable():
        shots = pool.similar(asked, words[asked.db_id], 3)
        assert len(shots) == 3 and {each.example_id for each in shots} <= solved
        for shot in shots:
            grams = word_trigrams(asked.question), word_trigrams(shot.question)
            assert jaccard(*grams) <= 0.5
    again = ShotPool(tuple(Solved(*_fields(each)) for each in pool.solved))
    assert again.similar(asked, words[asked.db_id], 3) == shots


def _fields(each: Solved) -> tuple[str, ...]:
    return each.example_id, each.db_id, each.question, each.query, each.masked

"""Repeated questions: which are found, which row of a pair is named, and that it does not take all pairs."""

from __future__ import annotations

import pytest

from exspin.auditing.repeats import find_repeats
from exspin.records import Example


def split(name: str, *rows: tuple[str, str, str]) -> tuple[str, list[Example]]:
    return name, [
        Example(f"{name}/{i}", i, db_id, question, sql)
        for i, (db_id, question, sql) in enumerate(rows)
    ]


LONG = "what are the names of all the singers who sang in a stadium built before the year 1990"


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        (("x", "How many?", "1"), ("x", "how  many", "1"), ("question+db", 1.0)),
        (("x", "How many?", "1"), ("y", "how many", "1"), ("question", 1.0)),
        (("x", LONG, "1"), ("y", LONG + " please", "1"), ("near", 0.9412)),  # 16 of 17 runs of three words
        (("x", LONG, "1"), ("y", "what singers are there", "1"), None),
        (("x", "How many pens?", "1"), ("x", "How many cups?", "1"), None),
    ],
)  # fmt: skip
def test_what_leaks_from_one_split_into_the_next(
    a: tuple[str, str, str], b: tuple[str, str, str], found: tuple[str, float] | None
) -> None:
    duplicates, leaks = find_repeats([split("train", a), split("dev", b)], 0.8)
    assert duplicates == []
    assert [(leak.kind, leak.similarity) for leak in leaks] == ([found] if found else [])
    assert all((leak.example_id, leak.of) == ("dev/0", "train/0") for leak in leaks)


def test_the_same_database_is_named_before_another() -> None:
    first = split("train", ("x", "How many?", "1"), ("y", "How many?", "1"))
    _, leaks = find_repeats([first, split("dev", ("y", "How many?", "1"))], 0.8)
    assert [(leak.of, leak.kind) for leak in leaks] == [("train/1", "question+db")]


def test_a_row_leaks_once_however_often_it_stands_before() -> None:
    first = split("train", *[("x", LONG + f" {i}", "1") for i in range(5)])
    _, leaks = find_repeats([first, split("dev", ("x", LONG, "1"))], 0.8)
    assert [leak.of for leak in leaks] == ["train/0"]


def test_every_split_is_held_against_all_before_it() -> None:
    row = ("x", "How many?", "1")
    splits = [split("a", row), split("b", ("x", "Who?", "1")), split("c", row)]
    _, leaks = find_repeats(splits, 0.8)
    assert [(leak.example_id, leak.of_split) for leak in leaks] == [("c/0", "a")]


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("SELECT 1", "select  1 ;", True),
        ("SELECT a FROM t", "SELECT A FROM T", True),
        ("SELECT 'a'", "SELECT 'A'", False),
        ("SELECT a", "SELECT b", False),
    ],
)
def test_a_duplicate_says_whether_the_golds_agree(one: str, two: str, same: bool) -> None:
    rows = split("dev", ("x", "How many?", one), ("x", "how many", two), ("y", "how many", one))
    duplicates, leaks = find_repeats([rows], 0.8)
    assert [(d.example_id, d.of, d.same_gold) for d in duplicates] == [("dev/1", "dev/0", same)]
    assert leaks == []


def test_near_duplicates_can_be_turned_off() -> None:
    splits = [split("train", ("x", LONG, "1")), split("dev", ("x", LONG + " please", "1"))]
    assert find_repeats(splits, 1.0) == ([], [])


def test_ten_thousand_equal_questions_make_no_hundred_million_pairs() -> None:
    """Equal questions are one key. All pairs of them would take minutes and gigabytes."""
    rows = [("x", "How many singers are there?", "1")] * 10_000
    duplicates, leaks = find_repeats([split("train", *rows), split("dev", *rows)], 0.8)
    assert len(duplicates) == 2 * 9_999
    assert len(leaks) == 10_000

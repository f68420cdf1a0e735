"""English mechanics of the generated questions."""

from __future__ import annotations

import random

import pytest

from exspin.data.builtin.grammar import wording


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("salary", "salaries"),
        ("day", "days"),
        ("area of medicine", "areas of medicine"),
        ("price per night", "prices per night"),
        ("address", "addresses"),
        ("status", "statuses"),
        ("branch", "branches"),
        ("contact person", "contact people"),
        ("pay", "pay"),
        ("years of experience", "years of experience"),
    ],
)
def test_plural(one: str, many: str) -> None:
    assert wording.plural(one) == many


def test_articles_and_verbs() -> None:
    assert wording.article("price") == "a price"
    assert wording.article("entry price") == "an entry price"
    assert wording.article("higher yearly pay") == "higher yearly pay"
    assert wording.is_or_are("years of experience") == "are"
    assert wording.is_or_are("yearly pay") == "is"


def test_lists() -> None:
    assert wording.listed(["a"]) == "a"
    assert wording.listed(["a", "b", "c"]) == "a, b and c"


def test_spoken_dates_name_the_same_day() -> None:
    spoken = {wording.spoken_date("2021-03-09", random.Random(n)) for n in range(50)}
    assert spoken == {"2021-03-09", "9 March 2021", "March 9, 2021"}
    assert wording.spoken_month("2021-03") == "March 2021"


@pytest.mark.parametrize(
    ("modifier", "neutral"),
    [
        ("hired after 2019", True),
        ("who joined last", True),
        ("who take Physics", False),
        ("with the most visits", True),
        ("whose years of service are above average", False),
    ],
)
def test_which_modifiers_follow_a_singular(modifier: str, neutral: bool) -> None:
    assert wording.is_neutral(modifier) is neutral


def test_a_clause_without_its_own_subject_can_stand_alone() -> None:
    assert wording.is_subject_clause("who joined last")
    assert not wording.is_subject_clause("that Ann worked on")
    assert not wording.is_subject_clause("that both Ann and Bo saw")


def test_relative_clauses_come_last() -> None:
    text = wording.chain(["who joined in 2019", "in cardiology"], random.Random(1))
    assert text in ("in cardiology who joined in 2019", "in cardiology and who joined in 2019")


def test_one_star_is_not_stars() -> None:
    assert wording.one_of_many("giving more than 1 stars") == "giving more than 1 star"
    assert wording.one_of_many("giving 11 stars") == "giving 11 stars"
    assert wording.one_of_many("weighing 0.1 kilograms") == "weighing 0.1 kilograms"


@pytest.mark.parametrize(
    ("sentence", "asks"),
    [
        ("which doctors joined last", True),
        ("list the doctors", False),
        ("for each ward, how many beds are there", True),
        ("for each ward, show the number of beds", False),
        ("in which ward is the average age highest", True),
        ("how many beds does each ward have? Show the name and the number", False),
        ("doctors hired in 2019: how many are there", True),
        ("doctors hired in 2019: names only", False),
    ],
)
def test_questions_end_with_a_question_mark(sentence: str, asks: bool) -> None:
    assert wording.is_question(sentence) is asks
    marks = {wording.finish(sentence, random.Random(n))[-1] for n in range(60)}
    assert ("?" in marks) == (asks or sentence.startswith("list"))  # "Can you list …?"


def test_frames_are_filled() -> None:
    text = wording.fill(
        "[Show|Give] the {cols} of {set}", {"cols": "name", "set": "x"}, random.Random(1)
    )
    assert text in ("Show the name of x", "Give the name of x")

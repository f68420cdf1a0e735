"""New values for a column."""

from __future__ import annotations

import pytest

from exspin.sql.copies.values import Dice, Sampler


def sampler(
    values: list[object], conditions: list[tuple[str, int | float | str]], *, unique: bool = False
) -> Sampler:
    return Sampler(values, conditions, unique=unique, strict=False, nullable=True)


@pytest.mark.parametrize(
    ("values", "condition", "named"),
    [
        (list(range(20)), (">", 30), {29, 30, 31}),
        ([1.25, 2.5, 3.75], ("<=", 2), {1.99, 2, 2.01}),
        (["2013", "2014", "2015"], (">=", 2014), {"2013", "2014", "2015"}),  # text, as the column is
        ([1, 0, 0, 1, 1, 0], ("=", 1), {1}),  # categories: 2 is none of them
        (["a", "b", "a", "b"], ("=", "a"), {"a"}),
        (["a", "a", "a"], ("=", "a"), {"a", "a 2"}),  # else nobody would miss the condition
        (["2020-01-01", "2020-05-05"], (">", "2020-02-02"), {"2020-02-02"}),
        (["Hey Jude", "Love"], ("LIKE", "%Hey%"), {"Hey Hey Jude", "Hey Jude Hey", "Hey Jude Hey Hey Jude", "He"}),
    ],
)  # fmt: skip
def test_what_a_gold_names_is_there_with_its_neighbours(
    values: list[object], condition: tuple[str, int | float | str], named: set[object]
) -> None:
    assert set(sampler(values, [condition]).mentioned) == named


def test_numbers_and_dates_are_new_and_near() -> None:
    dice = Dice("numbers")
    numbers = sampler(list(range(100, 200, 7)), [])
    drawn = [numbers.draw(dice) for _ in range(300)]
    assert all(isinstance(value, int) and 80 <= value <= 220 for value in drawn)
    assert len(set(drawn)) > 40
    days = sampler([f"2020-0{month}-1{month}" for month in range(1, 9)], [])
    assert all(
        str(days.draw(dice))[:2] == "20" and len(str(days.draw(dice))) == 10 for _ in range(99)
    )


def test_categories_stay_themselves_and_null_its_share() -> None:
    dice = Dice("categories")
    column = sampler(["red", "blue", "red", "blue", None, "red", None, None], [])
    drawn = [column.draw(dice) for _ in range(800)]
    assert set(drawn) == {"red", "blue", None}
    assert 0.28 < drawn.count(None) / 800 < 0.47  # 3 of 8, and five standard deviations


def test_a_fresh_value_was_not_seen() -> None:
    dice = Dice("fresh")
    for values in (
        ["Ada Lin", "Bo Ray", "Cy Fox"],
        [1, 2, 3],
        ["A1", "B2", "C3"],
        ["2020-01-01"],
        [],
    ):
        column = sampler(list(values), [], unique=True)
        seen: set[tuple[object, ...]] = {(value,) for value in values}
        for _ in range(10):
            value = column.fresh(dice, seen)
            assert value is not None and (value,) not in seen
            seen.add((value,))


def test_a_value_satisfies_as_many_conditions_as_it_can() -> None:
    between: list[tuple[str, int | float | str]] = [(">=", 10), ("<=", 20)]
    column = sampler([5, 25, 40], between)
    assert all(10 <= column.satisfying(between, Dice(i)) <= 20 for i in range(20))
    assert sampler(["a"], []).satisfying([("=", "z")], Dice(0)) is None

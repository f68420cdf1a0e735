"""Intervals and the paired test, against sums done by hand."""

from __future__ import annotations

import random

import pytest

from exspin.statistics import bootstrap_interval, paired_difference


def test_the_interval_is_about_two_standard_errors_wide_and_repeatable() -> None:
    """60 of 100: the standard error is sqrt(0.6·0.4/100) = 0.049, so 0.6 ± 0.096."""
    hits = [True] * 60 + [False] * 40
    low, high = bootstrap_interval(hits)
    assert low == pytest.approx(0.504, abs=0.011)
    assert high == pytest.approx(0.696, abs=0.011)
    assert bootstrap_interval(hits[::-1]) == (low, high)


def test_intervals_at_the_ends_and_of_nothing() -> None:
    """Five of five are no certainty: at a rate of 0.478 they come once in forty times, 0.478^5 = 0.025."""
    assert bootstrap_interval([True] * 5) == (pytest.approx(0.4782, abs=1e-4), 1.0)
    assert bootstrap_interval([False] * 5) == (0.0, pytest.approx(0.5218, abs=1e-4))
    low, high = bootstrap_interval([False] * 1000)
    assert (low, high) == (0.0, pytest.approx(3.69 / 1000, rel=0.01))  # -ln 0.025 = 3.69
    assert bootstrap_interval([]) == (0.0, 1.0)


def test_an_interval_of_pairs_where_all_went_the_same_way() -> None:
    same = [True, False, True, True, False]
    unchanged = paired_difference(same, same)
    assert unchanged.ci95 == (pytest.approx(-0.5218, abs=1e-4), pytest.approx(0.5218, abs=1e-4))
    fixed = paired_difference([False] * 50, [True] * 50)  # 0.025^(1/50) = 0.9289
    assert fixed.ci95 == (pytest.approx(1 - 2 * 0.0711, abs=1e-4), 1.0)
    broke = paired_difference([True] * 50, [False] * 50)
    assert broke.ci95 == (-1.0, pytest.approx(2 * 0.0711 - 1, abs=1e-4))
    assert paired_difference([False], [True]).ci95 == (pytest.approx(-0.95), 1.0)


def test_the_paired_interval_is_the_bootstrap_over_questions() -> None:
    """Against resampling the pairs themselves, as the name says."""
    a = [False] * 4 + [True] * 3 + [True] * 8 + [False] * 5
    b = [True] * 4 + [False] * 3 + [True] * 8 + [False] * 5
    changes = [y - x for x, y in zip(a, b, strict=True)]
    chance = random.Random(0)
    means = sorted(sum(chance.choices(changes, k=20)) / 20 for _ in range(4000))
    low, high = paired_difference(a, b).ci95
    assert low == pytest.approx(means[100], abs=0.051)  # a step of one question
    assert high == pytest.approx(means[3900], abs=0.051)


def test_paired_difference_by_hand() -> None:
    """Ten questions change: eight are fixed, two broken. Exact p = 2·(C(10,0)+C(10,1)+C(10,2))/2^10 = 112/1024."""
    a = [False] * 8 + [True] * 2 + [True] * 30 + [False] * 60
    b = [True] * 8 + [False] * 2 + [True] * 30 + [False] * 60
    paired = paired_difference(a, b)
    assert (paired.fixed, paired.broke) == (8, 2)
    assert paired.diff == pytest.approx(0.06)
    assert paired.p == pytest.approx(112 / 1024)
    # standard error: sqrt((10/100 - 0.06^2) / 100) = 0.031
    assert paired.ci95 == (pytest.approx(0.0, abs=0.011), pytest.approx(0.12, abs=0.011))
    back = paired_difference(b, a)
    assert (back.diff, back.fixed, back.broke, back.p) == (-paired.diff, 2, 8, paired.p)


def test_pairing_narrows_the_interval() -> None:
    a = [True] * 500 + [False] * 500
    b = [True] * 510 + [False] * 490
    low, high = paired_difference(a, b).ci95
    assert (
        high - low < 0.02
    )  # apart, two rates near one half from 1,000 questions each would leave 0.09


def test_nothing_changed_and_nothing_there() -> None:
    assert paired_difference([True, False], [True, False]).p == 1.0
    empty = paired_difference([], [])
    assert (empty.diff, empty.ci95, empty.p) == (0.0, (-1.0, 1.0), 1.0)
    with pytest.raises(ValueError, match="2 and 1"):
        paired_difference([True, True], [True])

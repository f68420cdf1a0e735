"""Values as they are compared; and the watchdog, whose steps are taken when due and not when a statement is over before."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from exspin.sql.engines.values import plain, plain_rows, row_bytes, trimmed
from exspin.sql.engines.watchdog import Watchdog


def test_steps_are_taken_in_turn() -> None:
    taken: list[str] = []
    done = threading.Event()
    with Watchdog().watching([(0.01, lambda: taken.append("a")), (0.02, done.set)]) as watch:
        assert done.wait(10)
    assert taken == ["a"] and watch.acted


def test_no_step_is_taken_after_the_end() -> None:
    watchdog, taken, done = Watchdog(), [], threading.Event()
    with watchdog.watching([(0.05, lambda: taken.append("late"))]) as first:
        pass
    threading.Event().wait(0.3)
    with watchdog.watching([(0.01, done.set)]) as second:
        assert done.wait(10)
    assert taken == [] and not first.acted and second.acted


def test_no_thread_is_left_when_it_is_closed() -> None:
    watchdog, before, taken = Watchdog(), threading.active_count(), threading.Event()
    watchdog.close()  # there is none yet
    for _ in range(3):
        with watchdog.watching([(30.0, lambda: None)]):
            assert threading.active_count() == before + 1
        watchdog.close()
        assert threading.active_count() == before
    with watchdog.watching([(0.01, taken.set)]):
        assert taken.wait(10)
    watchdog.close()


def test_one_thread_serves_all() -> None:
    watchdog, before = Watchdog(), threading.active_count()
    for _ in range(50):
        with watchdog.watching([(30.0, lambda: None)]):
            pass
    assert threading.active_count() == before + 1
    watchdog.close()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, 1),
        (Decimal("2.00"), 2),
        (Decimal("2.50"), 2.5),
        (Decimal("1e39"), 10**39),
        (Decimal("1e300"), 1e300),
        (Decimal("1e400"), "1E+400"),
        (Decimal("-Infinity"), float("-inf")),
        (date(2020, 1, 2), "2020-01-02"),
        (datetime(2020, 1, 2, 3, 4, 5), "2020-01-02 03:04:05"),
        (datetime(2020, 1, 2, 3, 4, 5, 120_000), "2020-01-02 03:04:05.12"),
        (datetime(2020, 1, 2, 3, tzinfo=UTC), "2020-01-02 03:00:00+00:00"),
        (datetime(2020, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))), "2020-01-02 01:00:00+00:00"),
        (time(3, 4, 5, 500_000), "03:04:05.5"),
        (timedelta(days=31, seconds=7), "744:00:07"),
        (-timedelta(minutes=90), "-01:30:00"),
        (timedelta(microseconds=500), "00:00:00.0005"),
        (
            [1, Decimal("1.5"), None, date(2020, 1, 2), [b"\xff"]],
            '[1,1.5,null,"2020-01-02",["ff"]]',
        ),
        ({"ü": True, 2: "x"}, '{"ü":1,"2":"x"}'),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
    ],
)
def test_a_value_as_it_is_compared(value: Any, expected: Any) -> None:
    assert (plain(value), type(plain(value))) == (expected, type(expected))


def test_a_number_that_is_none() -> None:
    assert repr([plain(Decimal("NaN")), plain(Decimal("sNaN"))]) == "[nan, nan]"


def test_rows_of_plain_values_stay_as_they_are() -> None:
    rows = [(1, "a", None), [Decimal("2"), b"x", 1.5]]
    assert plain_rows(rows) == [(1, "a", None), (2, b"x", 1.5)]
    assert row_bytes([(1, "abc")], 2) == 83


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10:00:00", "10:00:00"),
        ("10:00:00.000", "10:00:00"),
        ("10:00:00.100+02", "10:00:00.1+02"),
        ("10:00:00.000-03:30", "10:00:00-03:30"),
    ],
)
def test_a_fraction_without_its_zeros(text: str, expected: str) -> None:
    assert trimmed(text) == expected

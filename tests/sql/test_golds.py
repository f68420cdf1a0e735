"""Gold results that are kept, as rows and then as digests."""

from __future__ import annotations

import pytest

from exspin.sql import golds
from exspin.sql.compare import Rule
from exspin.sql.engines import Ran
from exspin.sql.golds import Golds, Kept

BAG = Rule(ordered=False, any_column_order=True, tolerance=1e-6)
LIST = Rule(ordered=True, any_column_order=True, tolerance=1e-6)
SET = Rule(ordered=False, any_column_order=False, tolerance=0.0, as_set=True)
ROWS = [(1, "a"), (2, "b"), (2, "b")]


def ran(rows: list[tuple[object, ...]], size: int = 100) -> Ran:
    return Ran(tuple("xy"[: len(rows[0])]), rows, size=size, operations=10_000)


@pytest.mark.parametrize(
    ("rows", "bag", "ordered", "as_set"),
    [
        (ROWS, True, True, True),
        ([(2, "b"), (1, "a"), (2, "b")], True, False, True),
        ([(2.0, "b"), (1.0, "a"), (2, "b")], True, False, True),  # equal numbers, equal digests
        ([(1, "a"), (2, "b")], False, False, True),
        ([(1, "a"), (1, "a"), (2, "b")], False, False, True),
        ([(1, "a"), (2, "b"), (3, "b")], False, False, False),
        ([(1, "a"), ("2", "b"), (2, "b")], False, False, False),  # text is no number
        ([(1, b"a"), (2, "b"), (2, "b")], False, False, False),
        ([(1,), (2,), (2,)], False, False, False),
    ],
)
def test_a_digest_says_yes_only_to_the_same_result(
    rows: list[tuple[object, ...]], bag: bool, ordered: bool, as_set: bool
) -> None:
    kept = Kept(ran(ROWS))
    assert not kept.surely_equal(ran(ROWS), BAG)  # there are rows to compare
    kept.let_go()
    assert kept.rows is None
    found = [kept.surely_equal(ran(rows), rule) for rule in (BAG, LIST, SET)]
    assert found == [bag, ordered, as_set]


def test_text_that_is_not_utf8_has_a_digest() -> None:
    kept = Kept(ran([("J\udcfcr", "a")]))
    kept.let_go()
    assert kept.surely_equal(ran([("J\udcfcr", "a")]), BAG)
    assert not kept.surely_equal(ran([("J\udcfdr", "a")]), BAG)


def test_rows_go_when_they_are_too_many_and_the_newest_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(golds, "_ROWS_BYTES", 1000)
    store = Golds()
    kept = {name: Kept(ran(ROWS, size=400)) for name in "abc"}
    store.keep(("url", 1, "a"), kept["a"])
    store.keep(("url", 1, "b"), kept["b"])
    assert store.get(("url", 1, "a")) is kept["a"]  # asked for: younger than b
    store.keep(("url", 1, "c"), kept["c"])
    assert {name for name, gold in kept.items() if gold.rows is None} == {"b"}
    assert store.get(("url", 1, "b")) is kept["b"]  # its digest is there
    large = Kept(ran(ROWS, size=5000))
    store.keep(("url", 1, "d"), large)
    assert large.rows is not None  # its candidates are about to come
    assert kept["a"].rows is kept["c"].rows is None


def test_a_gold_is_kept_for_one_state_of_the_database() -> None:
    store = Golds()
    store.keep(("url", 1, "a"), Kept(ran(ROWS)))
    assert store.get(("url", 2, "a")) is None
    store.keep(("url", None, "b"), Kept(ran(ROWS)))  # nobody can tell whether it holds
    assert store.get(("url", None, "b")) is None


def test_old_digests_go_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golds, "_DIGESTS", 2)
    store = Golds()
    for name in "abc":
        store.keep(("url", 1, name), Kept(ran(ROWS)))
    assert [name for name in "abc" if store.get(("url", 1, name))] == ["b", "c"]

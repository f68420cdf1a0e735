"""What is kept of a schema: never something that is not there, always the keys that join it, more for a larger k."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exspin.hints.link import LinkScores, Selection, joins, keep_all, keep_mass, keep_top
from exspin.sql.schema import Column, ForeignKey, Schema, Table


def table(name: str, *columns: str, key: tuple[str, ...] = ()) -> Table:
    made = tuple(Column(c, "int", "", c in key, True, ()) for c in columns)
    return Table(name, "", made, key)


SHOP = Schema(
    "shop",
    (
        table("customer", "id", "name", "age", key=("id",)),
        table("order", "id", "customer_id", "day", key=("id",)),
        table("item", "order_id", "product_code", "amount"),
        table("product", "product_code", "price", "colour", key=("product_code",)),
    ),
    (
        ForeignKey("order", "customer_id", "customer", "id"),
        ForeignKey("item", "order_id", "order", "id"),
    ),
)
SCORES = LinkScores(
    {"customer": 0.9, "order": 0.6, "item": 0.1, "product": 0.2},
    {("customer", "name"): 0.8, ("customer", "age"): 0.5, ("order", "day"): 0.7},
)


def test_the_best_tables_are_kept_with_their_best_columns_and_the_keys_that_join_them() -> None:
    assert keep_top(SCORES, SHOP, 2, 1) == Selection(
        ("customer", "order"), {"customer": ("name", "id"), "order": ("day", "customer_id")}
    )


def test_a_key_is_not_kept_for_a_table_that_is_not() -> None:
    assert keep_top(SCORES, SHOP, 1, 1).columns == {"customer": ("name",)}


def test_columns_of_one_name_join_where_one_is_a_key_and_no_foreign_key_is_declared() -> None:
    assert (("item", "product_code"), ("product", "product_code")) in joins(SHOP)
    assert not any(a[1] == b[1] == "id" for a, b in joins(SHOP))


def test_the_mass_keeps_the_fewest_items_that_hold_it() -> None:
    # 0.8 + 0.7 + 0.5 = 2.0; the two best hold 75 % of it
    assert keep_mass(SCORES, SHOP, 0.75).columns["customer"] == ("name", "id")
    assert keep_mass(SCORES, SHOP, 0.76).columns["customer"] == ("name", "age", "id")


def test_a_table_without_a_likely_column_keeps_its_best() -> None:
    sure = LinkScores({"product": 1.0}, {("product", "price"): 0.0})
    everything_else = {("customer", "name"): 1.0}
    kept = keep_mass(LinkScores({"product": 1.0}, everything_else), SHOP, 0.9)
    assert kept.columns == {"product": ("product_code",), "customer": ("name",)}
    assert keep_mass(sure, SHOP, 0.9).tables == ("product", "customer", "order", "item")


def test_where_nothing_is_known_everything_is_kept() -> None:
    kept = keep_mass(LinkScores({}, {}), SHOP)
    assert kept == keep_all(SHOP)


def test_scores_that_are_no_numbers_count_nothing() -> None:
    broken = LinkScores({"customer": math.nan, "product": 0.3}, {("product", "price"): math.inf})
    assert keep_top(broken, SHOP, 1, 1).columns == {"product": ("product_code",)}


@pytest.mark.parametrize("k1, k2", [(0, 1), (1, 0), (-1, 3)])
def test_a_selection_of_nothing_is_refused(k1: int, k2: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        keep_top(SCORES, SHOP, k1, k2)


@pytest.mark.parametrize("mass", [0, -0.1, 1.01, math.nan])
def test_a_mass_is_a_share(mass: float) -> None:
    with pytest.raises(ValueError, match="share"):
        keep_mass(SCORES, SHOP, mass)


def test_whether_an_item_is_kept_can_be_asked() -> None:
    kept = keep_top(SCORES, SHOP, 1, 1)
    assert "customer" in kept and ("customer", "name") in kept
    assert "order" not in kept and ("customer", "age") not in kept and ("order", "day") not in kept


# --- whatever the schema and the scores -------------------------------------------------------------------------------

NAMES = st.text(min_size=1, max_size=4)


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    tables = []
    for name in draw(st.lists(NAMES, max_size=5, unique=True)):
        columns = draw(
            st.lists(st.one_of(NAMES, st.sampled_from(["id", "key"])), max_size=5, unique=True)
        )
        key = tuple(columns[: draw(st.integers(0, 1))])
        tables.append(table(name, *columns, key=key))
    items = [(t.name, c.name) for t in tables for c in t.columns]
    keys = []
    if items:
        for (a, b), (c, d) in draw(
            st.lists(st.tuples(st.sampled_from(items), st.sampled_from(items)), max_size=4)
        ):
            keys.append(ForeignKey(a, b, c, d))
    return Schema("made", tuple(tables), tuple(keys))


@st.composite
def scored(draw: st.DrawFn) -> tuple[Schema, LinkScores]:
    schema = draw(schemas())
    number = st.floats(0, 1) | st.just(0.5)
    of_tables = {t.name: draw(number) for t in schema.tables}
    of_columns = {(t.name, c.name): draw(number) for t in schema.tables for c in t.columns}
    return schema, LinkScores(
        {**of_tables, "not there": 1.0}, {**of_columns, ("not", "there"): 1.0}
    )


def check(schema: Schema, kept: Selection) -> None:
    by_name = {t.name: [c.name for c in t.columns] for t in schema.tables}
    assert set(kept.tables) == set(kept.columns) <= set(by_name)
    assert len(set(kept.tables)) == len(kept.tables)
    for name, columns in kept.columns.items():
        assert len(set(columns)) == len(columns) and set(columns) <= set(by_name[name])
    for key in schema.foreign_keys:
        if key.child_table in kept and key.parent_table in kept:
            assert (key.child_table, key.child_column) in kept
            assert (key.parent_table, key.parent_column) in kept


def within(small: Selection, large: Selection) -> bool:
    return all(
        name in large and all((name, column) in large for column in columns)
        for name, columns in small.columns.items()
    )


@given(scored(), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2), st.integers(0, 2))
def test_more_keeps_all_that_less_keeps(
    given_: tuple[Schema, LinkScores], k1: int, k2: int, more1: int, more2: int
) -> None:
    schema, scores = given_
    small, large = (
        keep_top(scores, schema, k1, k2),
        keep_top(scores, schema, k1 + more1, k2 + more2),
    )
    check(schema, small)
    check(schema, large)
    assert len(small.tables) == min(k1, len(schema.tables))
    assert within(small, large)


@given(scored(), st.floats(0.01, 1), st.floats(0.01, 1))
@settings(max_examples=200)
def test_the_mass_that_was_asked_for_is_kept(
    given_: tuple[Schema, LinkScores], one: float, other: float
) -> None:
    schema, scores = given_
    small, large = (keep_mass(scores, schema, mass) for mass in sorted((one, other)))
    check(schema, small)
    check(schema, large)
    known = {(t.name, c.name) for t in schema.tables for c in t.columns}
    total = sum(scores.columns[item] for item in known)
    held = sum(scores.columns[item] for item in known if item in large)
    assert held >= max(one, other) * total - 1e-9
    assert all(name in large for name in small.tables)

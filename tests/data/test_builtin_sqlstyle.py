"""One meaning in many styles: all of them give the same rows."""

from __future__ import annotations

import random
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exspin.data.builtin.meaning import (
    Agg,
    Between,
    Compare,
    Cond,
    Either,
    Has,
    Null,
    Period,
    Query,
    Ref,
    Schema,
)
from exspin.data.builtin.sqlstyle import CANONICAL, Style, mask, write

SQL = """
CREATE TABLE city (code TEXT PRIMARY KEY, city_name TEXT);
INSERT INTO city VALUES ('BX', 'Bex'), ('LU', 'Luz'), ('OM', 'Omm');
CREATE TABLE doctor (id INTEGER PRIMARY KEY, name TEXT, field TEXT, pay INTEGER, hired DATE,
                     city TEXT REFERENCES city(code));
INSERT INTO doctor VALUES
(1, 'Ann', 'skin', 50, '2019-02-28', 'BX'), (2, 'Bo', 'skin', 70, '2020-02-29', 'LU'),
(3, 'Cy', 'eyes', 60, '2020-12-31', 'BX'), (4, 'Di', 'eyes', 40, NULL, NULL),
(5, 'Ed', 'bone', 90, '2021-05-05', 'OM');
CREATE TABLE visit (visit_id INTEGER PRIMARY KEY, doctor_id INTEGER REFERENCES doctor(id), fee REAL);
INSERT INTO visit VALUES (1, 1, 10), (2, 1, 20.5), (3, 2, 30), (4, 3, 5), (5, 3, 15), (6, NULL, 99);
"""
NAME, PAY, VISITS = Ref("name"), Ref("pay"), "<visit.doctor_id"
DEAR = Compare(Ref("fee"), ">", 12)
CONDS: list[Cond] = [
    Compare(Ref("field"), "=", "skin"),
    Compare(Ref("field"), "<>", "skin"),
    Compare(PAY, ">", 45),
    Between(PAY, 40, 60),
    Period(Ref("hired"), "2020"),
    Period(Ref("hired"), "2020-02"),
    Null(Ref("hired"), True),
    Either((Compare(Ref("field"), "=", "eyes"), Compare(Ref("field"), "=", "bone"))),
    Either((Compare(Ref("field"), "=", "eyes"), Between(PAY, 10, 50))),
    Compare(Ref("city_name", ("city",)), "=", "Bex"),
    Compare(PAY, ">", Query("doctor", (Agg("AVG", PAY),))),
    Has(VISITS),
    Has(VISITS, (DEAR,)),
    Has(VISITS, absent=True),
    Has(VISITS, at_least=2),
]
ITEMS = [(NAME,), (PAY, NAME), (Agg("COUNT"),)]
SHAPES = [
    Query("doctor", (NAME,), top=(PAY, True)),
    Query("doctor", (NAME,), (CONDS[1],), top=(PAY, False)),
    Query("doctor", (Ref("field"), Agg("COUNT")), group=(Ref("field"),)),
    Query("visit", (Ref("name", ("doctor_id",)), Agg("AVG", Ref("fee"))), group=(Ref("id", ("doctor_id",)),)),
    Query("doctor", (NAME, Agg("COUNT", Ref("doctor_id", (VISITS,)))), group=(Ref("id"),), outer=True),
    Query("visit", (Ref("city_name", ("doctor_id", "city")),), (DEAR,)),
    Query(
        "doctor",
        (Ref("field"), NAME, PAY),
        (Compare(PAY, "=", Query("doctor", (Agg("MAX", PAY),), correlate="field")),),
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def schema() -> Schema:
    connection = sqlite3.connect(":memory:")
    connection.executescript(SQL)
    return Schema(connection)


def rows(schema: Schema, query: Query, style: Style) -> list[tuple[object, ...]]:
    return sorted(schema.connection.execute(write(query, schema, style)).fetchall(), key=repr)


@settings(deadline=None, max_examples=300)
@given(
    items=st.sampled_from(ITEMS),
    where=st.lists(st.sampled_from(CONDS), max_size=3, unique=True),
    seed=st.integers(0, 10_000),
)
def test_every_style_selects_the_same_rows(
    schema: Schema, items: tuple[Ref, ...], where: list[Cond], seed: int
) -> None:
    query = Query("doctor", items, tuple(where), unique=NAME in items)
    expected = rows(schema, query, CANONICAL)
    assert rows(schema, query, Style.draw(random.Random(seed))) == expected


@settings(deadline=None, max_examples=200)
@given(query=st.sampled_from(SHAPES), seed=st.integers(0, 10_000))
def test_every_style_groups_and_ranks_alike(schema: Schema, query: Query, seed: int) -> None:
    assert rows(schema, query, Style.draw(random.Random(seed))) == rows(schema, query, CANONICAL)


@pytest.mark.parametrize(
    ("query", "style", "sql"),
    [
        (
            SHAPES[0],
            CANONICAL,
            "SELECT name FROM doctor WHERE pay = (SELECT MAX(pay) FROM doctor)",
        ),
        (SHAPES[0], Style(limit=True), "SELECT name FROM doctor ORDER BY pay DESC LIMIT 1"),
        (SHAPES[6], Style(bare=True), "SELECT field, name, MAX(pay) FROM doctor GROUP BY field"),
        (
            Query("doctor", (NAME,), (CONDS[9],)),
            Style(alias="table", root=1),
            "SELECT doctor.name FROM city JOIN doctor ON doctor.city = city.code"
            " WHERE city.city_name = 'Bex'",
        ),
        (
            Query("doctor", (NAME,), (CONDS[9],)),
            Style(join_up=False, lower=True),
            "select name from doctor where city in (select code from city where city_name = 'Bex')",
        ),
        (
            Query("doctor", (NAME,), (CONDS[13],), unique=True),
            Style(compound=True),
            "SELECT name FROM doctor EXCEPT SELECT name FROM doctor"
            " WHERE id IN (SELECT doctor_id FROM visit)",
        ),
        (
            Query("doctor", (Agg("COUNT"),), (CONDS[12],)),
            Style(join_down=True, as_word=False),
            "SELECT COUNT(DISTINCT T1.id) FROM doctor T1 JOIN visit T2 ON T1.id = T2.doctor_id"
            " WHERE T2.fee > 12",
        ),
        (
            Query("doctor", (Agg("COUNT"),), (CONDS[2], CONDS[8])),
            Style(backwards=True, count_key=True, between=False),
            "SELECT COUNT(id) FROM doctor WHERE (field = 'eyes' OR pay >= 10 AND pay <= 50)"
            " AND pay > 45",
        ),
    ],
)
def test_written_forms(schema: Schema, query: Query, style: Style, sql: str) -> None:
    assert write(query, schema, style) == sql


def test_not_in_leaves_out_children_without_a_parent(schema: Schema) -> None:
    query = Query("doctor", (NAME,), (Has(VISITS, absent=True),))
    assert "IS NOT NULL" in write(query, schema, CANONICAL)
    assert rows(schema, query, CANONICAL) == [("Di",), ("Ed",)]


def test_mask_hides_values_and_nothing_else() -> None:
    sql = "SELECT T1.a2 FROM t AS T1 WHERE T1.b = 'it''s 5' AND c > -2.50 LIMIT 3"
    assert mask(sql) == "SELECT T1.a2 FROM t AS T1 WHERE T1.b = ? AND c > ? LIMIT ?"

"""`exspin.execute`: a path, a URL or a Database in; rows, or what stopped a statement, out."""

from __future__ import annotations

import doctest
import sqlite3
from pathlib import Path

import pytest

import exspin
from exspin.errors import ConfigError, DatabaseError
from exspin.records import Database, Outcome

DOCS = Path(__file__).parents[2] / "docs"
ODD_VALUES = "CREATE TABLE t (i INTEGER, b BLOB, s TEXT); INSERT INTO t VALUES {}"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(
        """CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price REAL);
        INSERT INTO item VALUES (1, 'pen', 1.5), (2, 'ink', 4.0), (3, 'pad', NULL);"""
    )
    connection.close()
    return path


def test_every_way_to_name_a_database(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.parent)
    places = [
        shop,
        str(shop),
        "shop.sqlite",
        f"sqlite:///{shop}",
        "sqlite:///shop.sqlite",
        Database.sqlite("shop", shop),
    ]
    for place in places:
        assert exspin.execute(place, "SELECT count(*) FROM item").rows == ((3,),), place


@pytest.mark.parametrize("workers", [1, 3])
def test_a_list_gives_a_list_and_a_bad_statement_is_a_result(shop: Path, workers: int) -> None:
    statements = ["SELECT id FROM item;", "SELECT cost FROM item", "DROP TABLE item", "hello", ""]
    results = exspin.execute(shop, statements, workers=workers)
    assert [(r.outcome, r.detail) for r in results] == [
        (None, ""),
        (Outcome.ERROR, "no_such_column"),
        (Outcome.DENIED, "write"),
        (Outcome.NOT_A_QUERY, "no_select"),
        (Outcome.NOT_A_QUERY, "empty"),
    ]
    assert results[0].rows == ((1,), (2,), (3,))
    assert exspin.execute(shop, []) == []


def test_limits_are_kept(shop: Path) -> None:
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT {} FROM c"
    limits = exspin.Limits(max_rows=100, max_operations=200_000)
    results = exspin.execute(shop, [endless.format("count(*)"), endless.format("x")], limits=limits)
    assert [(r.outcome, r.detail) for r in results] == [
        (Outcome.TIMEOUT, "operations"),
        (Outcome.TOO_LARGE, "rows"),
    ]


def test_columns_of_one_name_are_columns_all_the_same(shop: Path) -> None:
    result = exspin.execute(shop, "SELECT a.id, b.id, b.name AS id FROM item a, item b LIMIT 1")
    assert result.columns == ("id", "id", "id")
    assert result.rows == ((1, 1, "pen"),)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("9223372036854775807, NULL, NULL", (2**63 - 1, None, None)),
        ("-9223372036854775808, NULL, NULL", (-(2**63), None, None)),
        ("9223372036854775808, NULL, NULL", (float(2**63), None, None)),  # past SQLite's integers
        ("1, x'00ff80', 'a' || char(0) || 'b'", (1, b"\x00\xff\x80", "a\0b")),
        ("NULL, zeroblob(3), ''", (None, b"\0\0\0", "")),
        ("9e999, x'', '数'", (float("inf"), b"", "数")),
    ],
)
def test_values_come_back_as_they_are(
    value: str, expected: tuple[object, ...], tmp_path: Path
) -> None:
    path = tmp_path / "odd.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(ODD_VALUES.format(f"({value})"))
    connection.close()
    (row,) = exspin.execute(path, "SELECT * FROM t").rows
    assert row == expected
    assert list(map(type, row)) == list(map(type, expected))


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ("missing.sqlite", DatabaseError, r"missing.sqlite: no such file; give the path"),
        ("page.html", DatabaseError, r"page.html: is no sound database"),
        (
            "oracle://scott:tiger@host/db",
            ConfigError,
            r"unknown scheme 'oracle'; known: sqlite:///FILE",
        ),
    ],
)
def test_a_database_that_cannot_be_used_is_an_error_in_one_line(
    place: str,
    error: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "page.html").write_text("<html>404</html>" * 100)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message) as raised:
        exspin.execute(place, "SELECT 1 FROM t")
    assert "tiger" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_the_examples_in_the_documentation_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(
        str(DOCS / "execution.md"), module_relative=False, optionflags=doctest.ELLIPSIS
    )
    assert tried > 5
    assert failed == 0

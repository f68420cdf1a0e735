"""Where databases are, as people write it: taken apart, named, shown without passwords."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exspin.records import Database
from exspin.urls import (
    drop_password,
    file_of,
    file_url,
    kind_of,
    name_of,
    passwords,
    split,
    without_password,
)


@pytest.mark.parametrize(
    ("text", "scheme", "rest", "name"),
    [
        ("shop.sqlite", "sqlite", "shop.sqlite", "shop"),
        ("./a:b@c.db", "sqlite", "./a:b@c.db", "a:b@c"),
        ("sqlite:///shop.db", "sqlite", "shop.db", "shop"),
        ("SQLite:////data/100%20 ?#1.db", "sqlite", "/data/100%20 ?#1.db", "100%20 ?#1"),
        ("duckdb:////data/shop.duckdb", "duckdb", "/data/shop.duckdb", "shop"),
        ("postgresql://ann:secret@host/my%20db?x=1", "postgresql", "//ann:secret@host/my%20db?x=1", "my db"),
        ("Postgres://host/db", "postgres", "//host/db", "db"),
        ("mysql+pymysql://ann:a/b@host:3306/db#x", "mysql+pymysql", "//ann:a/b@host:3306/db#x", "db"),
        ("mariadb://[::1]", "mariadb", "//[::1]", "mariadb"),
    ],
)  # fmt: skip
def test_a_text_taken_apart(text: str, scheme: str, rest: str, name: str) -> None:
    assert split(text) == (scheme, rest)
    assert name_of(text) == name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("oracle://ann:secret@host/db", "unknown scheme 'oracle'; known: sqlite:///FILE, duckdb:///FILE"),
        ("sqlite://shop.db", "'sqlite://shop.db' names a host; three slashes come before a file"),
        ("duckdb:///", "names no file; write duckdb:///FILE"),
        (":memory:", "names no file"),
        ("a\0b", "names no file"),
        ("ann:secret@host/db", r"user and password without a scheme; write postgresql://"),
        ("ann:se cret@host:5432/db", r"user and password without a scheme"),
    ],
)  # fmt: skip
def test_a_text_that_names_nothing(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        split(text)
    assert "cret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("postgres://host/db", "postgresql"),
        ("PostgreSQL+psycopg://host/db", "postgresql"),
        ("mariadb+pymysql://host/db", "mysql"),
        ("oracle://host/db", "oracle"),
    ],
)
def test_other_names_of_an_engine(url: str, kind: str) -> None:
    assert kind_of(url) == Database("d", url).kind == kind


def test_a_file_there_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a b.db", "100%20.db", "x?mode=rw#1.db", "a:///b.db", "Läden.db"):
        url = file_url("duckdb", Path(name))
        assert file_of(url) == Database("d", url).path == tmp_path / name
        assert Database("d", url).place == str(tmp_path / name)


@pytest.mark.parametrize(
    ("url", "held"),
    [
        ("postgresql://ann:one@two/three@host/db", ["one@two/three"]),
        ("postgresql://host/db?user=ann&password=secret&sslpassword=more", ["secret", "more"]),
        ("mysql+pymysql://ann:$PW@host/db", ["$PW"]),
        ("mariadb://ann@host/db", []),
        ("postgresql://ann:@host:5432/db", []),
        ("sqlite:////data/a:b@c.sqlite", []),
    ],
)
def test_what_stands_where_passwords_do(url: str, held: list[str]) -> None:
    assert passwords(url) == held
    assert not any(password in without_password(url) for password in held)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:secret@host/db", "postgresql://ann:***@host/db"),
        ("mysql://ann:se:cret@host:3306/db", "mysql://ann:***@host:3306/db"),
        ("mysql://ann:%40%2F@host/db?charset=utf8", "mysql://ann:***@host/db?charset=utf8"),
        ("postgresql://host/db?user=ann&password=secret", "postgresql://host/db?user=ann&password=***"),
        ("postgresql://host/db?sslpassword=secret&x=1", "postgresql://host/db?sslpassword=***&x=1"),
        ("postgresql://ann:one@two/three@host/db", "postgresql://ann:***@host/db"),
        ("postgresql://:secret@host/db", "postgresql://:***@host/db"),
        ("postgresql://ann@host/db", "postgresql://ann@host/db"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("sqlite:////data/a:b@c.sqlite", "sqlite:////data/a:b@c.sqlite"),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    database = Database("d", url)
    assert without_password(url) == database.shown == shown
    assert database.url == url  # only the URL itself holds it
    assert repr(database) == str(database) == f"Database(db_id='d', url={shown!r})"
    assert json.loads(json.dumps(database.to_json())) == {"db_id": "d", "url": shown}


@pytest.mark.parametrize(
    ("url", "left"),
    [
        ("postgresql://ann:secret@host/db", "postgresql://ann@host/db"),
        ("mysql://ann:one@two/three@host/db?charset=utf8", "mysql://ann@host/db?charset=utf8"),
        ("postgresql://host/db?user=ann&password=secret", "postgresql://host/db?user=ann"),
        ("postgresql://host/db?password=secret&user=ann", "postgresql://host/db?user=ann"),
        ("postgresql://host/db?a=1&sslpassword=secret&b=2", "postgresql://host/db?a=1&b=2"),
        ("postgresql://host/db?password=secret", "postgresql://host/db"),
        ("postgresql://ann@host/db?x=1", "postgresql://ann@host/db?x=1"),
        ("sqlite:////data/a:b@c.sqlite", "sqlite:////data/a:b@c.sqlite"),
    ],
)
def test_a_url_without_any_password(url: str, left: str) -> None:
    assert drop_password(url) == left
    assert passwords(left) == []


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=6, max_size=20))
def test_no_password_is_ever_shown(secret: str) -> None:
    for written in (secret, quote(secret, safe="")):
        shown = without_password(f"postgresql://ann:{written}@host/db")
        assert shown == "postgresql://ann:***@host/db"

"""URLs of servers: taken apart, shown without their password, refused where they cannot be understood."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exspin.errors import DatabaseError

pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")
pytest.importorskip("pymysql")

from exspin.sql.engines.login import parse_login
from exspin.sql.engines.mysql import forbidden as forbidden_on_mysql
from exspin.sql.engines.postgresql import DRIVER
from exspin.sql.engines.postgresql import forbidden as forbidden_on_postgresql


@settings(deadline=None)  # the first example imports what the rest uses
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20))
def test_an_escaped_password_arrives(secret: str) -> None:
    login = parse_login(f"postgresql://ann:{quote(secret, safe='')}@host:5433/db", DRIVER)
    assert login.arguments["password"] == login.password == secret
    assert (login.user, login.database, login.arguments["host"]) == ("ann", "db", "host")
    assert secret not in repr(login) or secret in repr(parse_login("postgresql://ann@host:5433/db", DRIVER))  # fmt: skip


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://ann:one@two@host/db", "escape"),
        ("postgresql://ann:one/two@host/db", "escape"),
        ("postgresql://ann:one@host:port/db", "cannot be read as a URL"),
        ("postgresql://ann:one@host", "names no database"),
        ("postgresql://ann:one@host/", "names no database"),
    ],
)
def test_a_url_that_is_refused(url: str, said: str) -> None:
    with pytest.raises(DatabaseError, match=said) as caught:
        parse_login(url, DRIVER)
    assert "one" not in str(caught.value) and "two" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_a_driver_says_is_told_without_the_password() -> None:
    login = parse_login("postgresql://ann:s%26cret@host/db", DRIVER)
    for text in ("password s&cret is wrong", "URL ann:s%26cret@host"):
        assert "cret" not in login.tell(ValueError(text))


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("SELECT 1 /*! INTO OUTFILE 'x' */", "executable_comment"),
        ("SELECT 1 /*M!100100 + 1 */", "executable_comment"),
        ("SELECT '/*!' AS a, \"/*!\" AS b, `/*!` FROM t", None),
        ("SELECT 'it\\'s /*! here'", None),
        ("SELECT 'a\\\\' /*! + 1 */", "executable_comment"),
        ("SELECT 1 -- /*! a comment\n", None),
        ("SELECT 1 # /*! a comment", None),
        ("SELECT /*+ max_execution_time(0) */ 1", "hint"),
        ("SELECT /*+ NO_INDEX(t) */ 1", None),
        ("SELECT 'for update', load_file FROM t", None),
        ("SELECT 1 FROM t FOR /* x */ UPDATE", "lock"),
        ("SELECT get_lock ('a', 1)", "lock"),
        ("SELECT a INTO\n@x FROM t", "write"),
    ],
)
def test_what_mysql_is_never_sent(sql: str, rule: str | None) -> None:
    assert forbidden_on_mysql(sql) == rule


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("SELECT pg_terminate_backend(1)", "function"),
        ("SELECT pg_catalog.PG_READ_FILE ('x')", "function"),
        ("SELECT \"lo_import\"('x')", "function"),
        ("SELECT dblink_exec('x')", "function"),
        ("SELECT pg_read_file FROM t", None),
        ("SELECT slow_total (1), hello_world(2), lower('x'), pg_typeof(1)", None),
    ],
)
def test_what_postgresql_is_never_sent(sql: str, rule: str | None) -> None:
    assert forbidden_on_postgresql(sql) == rule

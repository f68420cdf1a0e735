"""Which golds give something else another time: functions are told from columns and strings of the same name."""

from __future__ import annotations

import pytest

from exspin.auditing.volatile import volatile


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT random()", "random"),
        ("SELECT name FROM t ORDER BY RANDOM () LIMIT 1", "random"),
        ("SELECT hex(randomblob(4))", "random"),
        ("SELECT rand() FROM t", "random"),
        ("SELECT date('now')", "clock"),
        ("SELECT date('NOW', '-1 day')", "clock"),
        ('SELECT date("now")', "clock"),
        ("SELECT timediff('now', born) FROM t", "clock"),
        ("SELECT timediff(died, born) FROM t", ""),
        ("SELECT localtimestamp", "clock"),
        ("SELECT utc_timestamp()", "clock"),
        ("SELECT localtime(1), t.localtime FROM t", "clock"),
        ("SELECT strftime('%Y', 'now') - year FROM t", "clock"),
        ("SELECT strftime('%Y')", "clock"),
        ("SELECT date()", "clock"),
        ("SELECT julianday ( )", "clock"),
        ("SELECT current_timestamp", "clock"),
        ("SELECT count(*) FROM t WHERE due < CURRENT_DATE", "clock"),
        ("SELECT now()", "clock"),
        ("SELECT sqlite_version()", "engine"),
        ("SELECT clock_timestamp()", "clock"),
        ("SELECT LOCALTIMESTAMP", "clock"),
        ("SELECT unix_timestamp()", "clock"),
        ("SELECT unix_timestamp(born) FROM t", ""),
        ("SELECT version()", "engine"),
        ("SELECT version FROM t", ""),
        ("SELECT uuid_short()", "random"),
        ("SELECT date('now'), random()", "random"),
        ("SELECT date(born) FROM t", ""),
        ("SELECT strftime('%Y', born) FROM t", ""),
        ("SELECT date(max(born), '+1 day') FROM t", ""),
        ("SELECT date FROM t WHERE time = 'now'", ""),
        ("SELECT 'random()' FROM t -- date('now')", ""),
        ('SELECT "random"(1), t.now(), t.current_date FROM t', ""),
        ("SELECT random FROM t WHERE changes > 1", ""),
        ("SELECT date(", "clock"),
        ("", ""),
    ],
)
def test_what_a_query_depends_on(sql: str, kind: str) -> None:
    assert volatile(sql) == kind

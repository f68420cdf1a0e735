"""DuckDB files: odd paths, changes, other processes; and the layers that no attack shows from outside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy
import pytest

from exspin.records import Database, Outcome
from exspin.sql.execute import Executor, Job, Judgement

duckdb: Any = pytest.importorskip("duckdb")

NAMES = "SELECT name FROM singer ORDER BY id"


def make(path: Path, *names: str) -> Database:
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute("CREATE OR REPLACE TABLE singer (id INTEGER, name VARCHAR)")
        for number, name in enumerate(names):
            connection.execute("INSERT INTO singer VALUES (?, ?)", [number, name])
    return Database("stage", f"duckdb:///{path}")


@pytest.mark.parametrize(
    "name", ["a b.duckdb", "a?b#c%20d.duckdb", "größe.duckdb", "a;b'c.db", "plain"]
)
def test_any_path_is_the_right_file(tmp_path: Path, executor: Executor, name: str) -> None:
    make(tmp_path / name, "Ada")
    assert executor.run(Database("x", f"duckdb:///{tmp_path / name}"), NAMES).rows == (("Ada",),)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_that_was_put_in_its_place_is_read_anew(tmp_path: Path, executor: Executor) -> None:
    database = make(tmp_path / "a.duckdb", "Ada")
    judged = executor.judge([Job(database, NAMES, "SELECT 'Ada'")])
    make(tmp_path / "b.duckdb", "Bo")
    (tmp_path / "b.duckdb").replace(tmp_path / "a.duckdb")  # nobody can write to one that is open
    judged += executor.judge([Job(database, NAMES, "SELECT 'Ada'")])
    judged += executor.judge([Job(database, NAMES, "SELECT 'Bo'")])
    assert [j.outcome for j in judged] == [Outcome.MATCH, Outcome.MISMATCH, Outcome.MATCH]


def test_changes_in_the_log_beside_the_file_are_seen(tmp_path: Path, executor: Executor) -> None:
    path = tmp_path / "a.duckdb"
    make(path, "Ada")
    code = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); c.execute('PRAGMA disable_checkpoint_on_shutdown');"
        "c.execute(\"INSERT INTO singer VALUES (5, 'Eve')\"); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(before) == {"a.duckdb", "a.duckdb.wal"}
    result = executor.run(Database("x", f"duckdb:///{path}"), NAMES)
    assert result.rows == (("Ada",), ("Eve",))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_file_that_another_process_writes_to_is_infra(
    tmp_path: Path, executor: Executor, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    database = make(tmp_path / "a.duckdb", "Ada")
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); sys.stdin.read()"
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a.duckdb")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert writer.stdout is not None and writer.stdin is not None
    writer.stdout.readline()
    job = Job(database, NAMES, "SELECT 'Ada'")
    assert executor.judge([job]) == [Judgement(Outcome.INFRA, "locked")]
    writer.communicate()
    assert executor.judge([job]) == [Judgement(Outcome.MATCH)]


def test_a_file_whose_name_is_a_word_of_an_error_is_judged_by_the_error(
    tmp_path: Path, executor: Executor
) -> None:
    path = tmp_path / "IO Error: Could not set lock on file.duckdb"
    path.write_bytes(b"<html>404</html>" * 400)
    result = executor.run(Database("x", f"duckdb:///{path}"), NAMES)
    assert (result.outcome, result.detail) == (Outcome.ERROR, "database")


@pytest.mark.parametrize(
    ("sql", "detail"),
    [
        ("SELECT 'configuration has been locked' FROM nosuch", "no_such_table"),
        ('SELECT * FROM "read-only"', "no_such_table"),
        ("SELECT nosuch, 'function with name x does not exist' FROM singer", "no_such_column"),
        ("SELECT 'which is attached in read-only mode'::INT", "type"),
    ],
)
def test_what_a_statement_quotes_is_not_what_the_engine_says(
    duckdb_stage: Any, executor: Executor, sql: str, detail: str
) -> None:
    result = executor.run(duckdb_stage.database, sql)
    assert (result.outcome, result.detail) == (Outcome.ERROR, detail)


def opened(database: Database, told: list[bool] | None = None, **limits: Any) -> Any:
    """The engine itself, in this process."""
    from exspin.sql.engines import Limits
    from exspin.sql.engines.duckdb import open_engine

    alive = (lambda _: None) if told is None else told.append
    return closing(open_engine(database.url, Limits(**limits), alive))


def test_no_memory_to_open_a_file_says_nothing_of_the_statement(
    duckdb_stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exspin.sql.engines import Budget

    for error in (MemoryError(), duckdb.OutOfMemoryException("x"), RuntimeError("no new thread")):

        def fail(*_: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("exspin.sql.engines.duckdb.open_read_only", fail)
        with opened(duckdb_stage.database) as engine:
            ran = engine.run("SELECT 1", Budget(1.0))
            assert (ran.outcome, ran.detail) == (Outcome.INFRA, "memory")


def test_a_statement_without_memory_leaves_none_taken(duckdb_stage: Any) -> None:
    from exspin.sql.engines import Budget

    told: list[bool] = []
    with opened(duckdb_stage.database, told, memory_mb=64) as engine:
        ran = engine.run("SELECT list(a.x) FROM many a, many b", Budget(20.0))
        assert (ran.outcome, ran.detail) == (Outcome.TOO_LARGE, "memory")
        assert engine._connection is None
        assert len(engine.run(NAMES, Budget(1.0)).rows) == 3
        assert len(engine.run(NAMES, Budget(1.0)).rows) == 3
    assert told == [False, True, False, True]  # each opening, and then its statement


def test_a_file_that_changes_while_it_is_opened_is_tried_again(
    tmp_path: Path, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the result of a gold would be kept for a file that it was not read from."""
    from exspin.sql.engines import Budget
    from exspin.sql.engines import duckdb as module

    database = make(tmp_path / "a.duckdb", "Ada")
    make(tmp_path / "b.duckdb", "Bo")
    with opened(database) as engine:
        engine.state()
        (tmp_path / "b.duckdb").replace(tmp_path / "a.duckdb")
        ran = engine.run(NAMES, Budget(1.0))
        assert (ran.outcome, ran.detail) == (Outcome.INFRA, "changed")
        assert engine.state() == module._state(tmp_path / "a.duckdb")
        assert engine.run(NAMES, Budget(1.0)).rows == [("Bo",)]


def test_an_interrupt_may_come_after_the_end(duckdb_stage: Any) -> None:
    """It would end the watchdog's thread, and with it every later limit."""
    from exspin.sql.engines.duckdb import _interrupt

    with closing(duckdb.connect()) as connection:
        cursor = connection.cursor()
        cursor.close()
        with pytest.raises(duckdb.Error):
            cursor.interrupt()
        _interrupt(cursor)


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_no_file_is_a_table(
    tmp_path: Path, duckdb_stage: Any, executor: Executor, suffix: str
) -> None:
    """`FROM 'x.csv'` is a file that is there and could be read: only the configuration keeps it away."""
    path = tmp_path / f"made.{suffix}"
    duckdb.connect().execute(f"COPY (SELECT 'Ada' AS name) TO '{path}'")
    sql = f"SELECT name FROM '{path}'"
    assert duckdb.connect().execute(sql).fetchall() == [("Ada",)]
    result = executor.run(duckdb_stage.database, sql)
    assert (result.outcome, result.detail) == (Outcome.DENIED, "configuration")


@pytest.mark.parametrize("content", [None, b"", b"<html>404</html>", b"version https://git-lfs"])
def test_what_is_no_database(tmp_path: Path, executor: Executor, content: bytes | None) -> None:
    path = tmp_path / "a.duckdb"
    if content is not None:
        path.write_bytes(content)
    judged = executor.judge([Job(Database("x", f"duckdb:///{path}"), NAMES, "SELECT 1")])
    assert judged == [Judgement(Outcome.GOLD_UNUSABLE, "database")]
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [content] * (content is not None)


def test_the_configuration_is_locked(duckdb_stage: Any) -> None:
    """The layers behind the gate and the kind of statement: what those let through would be refused here."""
    from exspin.sql.engines.duckdb import open_read_only

    with closing(
        open_read_only(Path(duckdb_stage.database.url.removeprefix("duckdb:///")), 64)
    ) as connection:
        for statement in (
            "SET memory_limit = '1TB'",
            "SET enable_external_access = true",
            "SET lock_configuration = false",
            "SET threads = 8",
            "COPY singer TO '/tmp/exspin-made.csv'",
            "ATTACH '/tmp/exspin-made.duckdb' AS made",
            "INSTALL httpfs",
            "LOAD httpfs",
            "DELETE FROM singer",
            "CREATE TABLE made (x INTEGER)",
            "SELECT * FROM read_text('/etc/passwd')",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(statement)
        assert connection.execute("SELECT current_setting('threads')").fetchall() == [(1,)]


def test_no_variable_of_this_program_is_a_table(duckdb_stage: Any) -> None:
    """Even where files could be read: two settings keep them away, and each has to."""
    from exspin.sql.engines.duckdb import _CONFIGURATION

    frame = {"x": numpy.array([1, 2, 3])}  # DuckDB would find it by its name
    path = duckdb_stage.database.url.removeprefix("duckdb:///")
    with closing(duckdb.connect()) as connection:
        assert len(connection.execute("SELECT * FROM frame").fetchall()) == 3
    with (
        closing(duckdb.connect(path, read_only=True, config=_CONFIGURATION)) as connection,
        pytest.raises(duckdb.CatalogException),
    ):
        connection.execute("SELECT * FROM frame")
    assert frame


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TEMP TABLE singer AS SELECT 1",
        "WITH x AS (SELECT 1) DELETE FROM singer",
        "PRAGMA database_list",
        "SET VARIABLE x = 1",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_only_one_select_is_executed(duckdb_stage: Any, sql: str) -> None:
    """The engine's own rule, behind the gate."""
    from exspin.sql.engines import Budget, Limits
    from exspin.sql.engines.duckdb import open_engine

    with closing(open_engine(duckdb_stage.database.url, Limits(), lambda _: None)) as engine:
        ran = engine.run(sql, Budget(1.0))
    assert (ran.outcome, ran.detail) == (Outcome.DENIED, "statement")


def test_what_one_statement_makes_is_gone_for_the_next(duckdb_stage: Any) -> None:
    """Temporary tables belong to a cursor, and every statement has its own; the gate is not asked here."""
    from exspin.sql.engines.duckdb import open_read_only

    with closing(
        open_read_only(Path(duckdb_stage.database.url.removeprefix("duckdb:///")), 64)
    ) as connection:
        with closing(connection.cursor()) as cursor:
            cursor.execute("CREATE TEMP TABLE singer AS SELECT 'Eve' AS name")
            assert cursor.execute("SELECT name FROM singer").fetchall() == [("Eve",)]
        with closing(connection.cursor()) as cursor:
            assert len(cursor.execute("SELECT name FROM singer").fetchall()) == 3

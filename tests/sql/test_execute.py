"""The executor: outcomes, golds, files with odd names, workers that die, and nothing left behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exspin.errors import ConfigError, ExspinError
from exspin.records import Database, Outcome
from exspin.sql.engines import Budget
from exspin.sql.engines.sqlite import SQLite
from exspin.sql.execute import Executor, Job, Judgement, Limits
from exspin.sql.process import WorkerProcess

SRC = Path(__file__).parents[2] / "src"
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
STUCK = "SELECT instr(zeroblob(950000), zeroblob(475000)||x'01')"  # one instruction: only a kill ends it


def make(path: Path) -> Database:
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, age INTEGER, fee REAL);
            INSERT INTO singer VALUES (1, 'Ada', 36, 1.5), (2, 'Bo', 29, NULL), (3, 'Cy', 41, 0.1);
            CREATE TABLE song (singer_id INTEGER, title TEXT);
            INSERT INTO song VALUES (1, 'One'), (1, 'Two'), (3, 'Three');"""
        )
    connection.close()
    return Database.sqlite(path.stem, path)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return make(tmp_path / "stage.sqlite")


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    with Executor(Limits(timeout_s=0.5, max_operations=1_000_000), workers=2) as executor:
        yield executor


@pytest.mark.parametrize(
    ("candidate", "outcome", "detail"),
    [
        ("SELECT name FROM singer WHERE age >= 31", "match", ""),
        ("SELECT name FROM singer WHERE age > 30;", "match", ""),
        ("SELECT name FROM singer", "mismatch", "row_count"),
        ("SELECT name FROM singer WHERE age > 99", "mismatch", "empty"),
        ("SELECT name, age FROM singer WHERE age > 30", "mismatch", "column_count"),
        ("SELECT title FROM song LIMIT 2", "mismatch", "values"),
        ("SELECT nam FROM singer", "error", "no_such_column"),
        ("SELECT name FROM singers", "error", "no_such_table"),
        ("SELECT a.id FROM singer a JOIN singer b WHERE id = 1", "error", "ambiguous_column"),
        ("SELECT year(name) FROM singer", "error", "no_such_function"),
        ("SELECT length(name, 2, 3) FROM singer", "error", "wrong_arguments"),
        ("SELECT name FROM singer WHERE age = ?", "error", "wrong_arguments"),
        ("SELECT name FROM singer WHERE max(age) > 3", "error", "misuse_of_aggregate"),
        ("SELECT name FROM singer HAVING age > 3", "error", "misuse_of_aggregate"),
        ("SELECT id FROM singer UNION SELECT id, name FROM singer", "error", "column_count"),
        (
            "SELECT name FROM singer WHERE id IN (SELECT id, age FROM singer)",
            "error",
            "column_count",
        ),
        ("SELECT name FROM", "error", "syntax"),
        ("SELECT name FROM singer WHERE 'open", "error", "syntax"),
        ("SELECT name FROM singer ORDER BY id UNION SELECT 1", "error", "syntax"),
        ("SELECT abs(-9223372036854775807 - 1)", "error", "type"),
        ("DROP TABLE singer", "denied", "write"),
        ("I do not know", "not_a_query", "no_select"),
        (ENDLESS, "timeout", "operations"),
    ],
)
def test_what_a_candidate_is_worth(
    candidate: str, outcome: str, detail: str, database: Database, executor: Executor
) -> None:
    job = Job(database, "SELECT name FROM singer WHERE age > 30", candidate)
    assert executor.judge([job]) == [Judgement(Outcome(outcome), detail)]


@pytest.mark.parametrize(
    ("gold", "detail"),
    [
        ("SELECT nowhere FROM singer", "no_such_column"),
        ("DELETE FROM singer", "denied"),
        ("", "not_a_query"),
        (ENDLESS, "timeout"),
        ("SELECT zeroblob(60000000)", "too_large"),
    ],
)
def test_an_unusable_gold_comes_before_anything_the_candidate_does(
    gold: str, detail: str, database: Database, executor: Executor
) -> None:
    candidates = ["SELECT 1", "DROP TABLE singer", "", gold]
    judged = executor.judge([Job(database, gold, candidate) for candidate in candidates])
    assert set(judged) == {Judgement(Outcome.GOLD_UNUSABLE, detail)}


def test_a_gold_that_timed_out_is_not_tried_again(database: Database) -> None:
    with Executor(Limits(timeout_s=0.5), workers=1) as executor:
        job = Job(database, STUCK, "SELECT 1")
        assert executor.judge([job]) == [Judgement(Outcome.GOLD_UNUSABLE, "timeout")]
        assert executor._workers == [None]  # killed
        assert executor.judge([job]) == [Judgement(Outcome.GOLD_UNUSABLE, "timeout")]
        assert executor._workers == [None]  # and nothing was started to run it again


def test_order_of_jobs_workers_and_repetition_change_nothing(tmp_path: Path) -> None:
    databases = [make(tmp_path / f"db{number}.sqlite") for number in range(3)]
    candidates = [
        "SELECT name FROM singer WHERE id < 3",
        "SELECT 'Ada'",
        "SELECT x",
        "",
        "SELECT name FROM singer",
    ]
    jobs = [
        Job(database, f"SELECT name FROM singer WHERE id < {limit}", candidate)
        for limit in range(1, 12)
        for database in databases
        for candidate in candidates
    ]
    told: list[int] = []
    with Executor(workers=1) as one, Executor(workers=3) as three:
        judged = one.judge(jobs, progress=told.append)
        assert three.judge(jobs) == judged
        assert three.judge(jobs[::-1])[::-1] == judged
    assert sum(told) == len(jobs)
    assert {j.outcome for j in judged} == {
        Outcome.MATCH,
        Outcome.MISMATCH,
        Outcome.ERROR,
        Outcome.NOT_A_QUERY,
    }


def test_a_stuck_worker_is_replaced_and_only_its_statement_pays(
    database: Database, executor: Executor
) -> None:
    gold = "SELECT count(*) FROM singer"
    candidates = [
        "SELECT 3",
        STUCK,
        "SELECT 3.0",
        "SELECT 4",
        STUCK + ", 1",
        "SELECT max(id) FROM singer",
    ]
    judged = executor.judge([Job(database, gold, candidate) for candidate in candidates])
    assert [j.outcome for j in judged] == [
        "match",
        "timeout",
        "match",
        "mismatch",
        "timeout",
        "match",
    ]


def test_a_lost_worker_is_our_fault_and_is_retried(database: Database) -> None:
    with Executor(workers=1) as executor:
        executor.judge([Job(database, "SELECT 1", "SELECT 2")])
        worker = executor._workers[0]
        assert worker is not None
        os.kill(worker._process.pid, signal.SIGKILL)
        assert executor.judge([Job(database, "SELECT 1", "SELECT 1.0")]) == [
            Judgement(Outcome.MATCH)
        ]


def test_a_worker_lost_twice_on_one_statement_gives_infra(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = WorkerProcess.send

    def send_and_die(worker: WorkerProcess, message: dict[str, object]) -> None:
        worker._process.kill()
        worker._process.wait()
        send(worker, message)

    with Executor(workers=1) as executor:
        executor.judge([Job(database, "SELECT 1", "SELECT 2")])
        monkeypatch.setattr(WorkerProcess, "send", send_and_die)
        # The replacement cannot even start here, so let it start before it dies.
        monkeypatch.setattr(WorkerProcess, "_await_start", lambda worker: None)
        judged = executor.judge(
            [Job(database, "SELECT 2", "SELECT 1"), Job(database, "SELECT 2", "SELECT 3")]
        )
        assert {j.outcome for j in judged} == {Outcome.INFRA}
        monkeypatch.undo()
        assert executor.judge([Job(database, "SELECT 2", "SELECT 2.0")]) == [
            Judgement(Outcome.MATCH)
        ]


def test_a_worker_killed_before_it_is_ready_is_started_once_more(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = WorkerProcess._start
    deaths = iter([True])

    def start_and_die(worker: WorkerProcess) -> None:
        start(worker)
        if next(deaths, False):
            worker._process.kill()

    monkeypatch.setattr(WorkerProcess, "_start", start_and_die)
    with Executor(workers=1) as executor:
        assert executor.judge([Job(database, "SELECT 1", "SELECT 1.0")]) == [
            Judgement(Outcome.MATCH)
        ]
        executor.close()
        deaths = iter([True, True])
        with pytest.raises(ExspinError, match="did not start"):
            executor.run(database, "SELECT 1")


@pytest.mark.parametrize(
    "name",
    [
        "a?mode=rwc.sqlite",
        "a#b.sqlite",
        "a%20b.sqlite",
        "a b.sqlite",
        "größe 数.sqlite",
        os.fsdecode(b"\xfc.sqlite"),
    ],
)
def test_the_right_file_is_opened_whatever_its_name(
    name: str, tmp_path: Path, executor: Executor
) -> None:
    assert executor.run(make(tmp_path / name), "SELECT count(*) FROM singer").rows == ((3,),)
    doubled = Database.sqlite("x", Path("/" + str(tmp_path / name)))
    assert doubled.path.as_posix().startswith("//")
    assert executor.run(doubled, "SELECT count(*) FROM singer").rows == ((3,),)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_missing_or_broken_file_makes_its_golds_unusable_and_nothing_is_created(
    tmp_path: Path, executor: Executor
) -> None:
    (tmp_path / "page.sqlite").write_text("<html>404</html>" * 100)
    for name in ("missing.sqlite", "page.sqlite"):
        database = Database.sqlite("x", tmp_path / name)
        assert (
            executor.judge([Job(database, "SELECT 1 FROM t", "SELECT 2")])[0].detail == "database"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["page.sqlite"]


def test_text_that_is_not_utf8_can_be_read_and_compared(tmp_path: Path, executor: Executor) -> None:
    database = make(tmp_path / "latin.sqlite")
    with sqlite3.connect(database.path) as connection:
        connection.execute("UPDATE singer SET name = CAST(x'4AFC72' AS TEXT) WHERE id = 1")
        connection.execute("UPDATE singer SET name = CAST(x'4AFD72' AS TEXT) WHERE id = 2")
    connection.close()
    jobs = [
        Job(
            database,
            "SELECT name FROM singer WHERE id = 1",
            f"SELECT name FROM singer WHERE id + 0 = {number}",
        )
        for number in (1, 2)
    ]
    assert [j.outcome for j in executor.judge(jobs)] == [Outcome.MATCH, Outcome.MISMATCH]
    assert executor.run(database, "SELECT name FROM singer WHERE id = 1").rows == (("J\ufffdr",),)


def test_a_statement_begun_anew_for_text_that_is_not_utf8_has_all_its_time(tmp_path: Path) -> None:
    database = make(tmp_path / "latin.sqlite")
    with sqlite3.connect(database.path) as connection:
        connection.execute("UPDATE singer SET name = CAST(x'4AFC72' AS TEXT) WHERE id = 3")
    connection.close()
    told: list[tuple[bool, float]] = []
    engine = SQLite(
        str(database.path), Limits(), lambda running: told.append((running, engine._deadline))
    )
    begun = time.monotonic()
    for _ in range(2):
        assert len(engine.run("SELECT name FROM singer", Budget(50.0)).rows) == 3
    # the parent is told of the opening, of the beginning, and of the second beginning; once for a connection
    assert [running for running, _ in told] == [False, True, True]
    assert told[0][1] < told[1][1] < told[2][1]
    assert told[1][1] - begun > 50.0


def test_a_log_without_its_index_is_an_unusable_database_and_no_file_is_made(
    tmp_path: Path, executor: Executor
) -> None:
    database = make(tmp_path / "stage.sqlite")
    (tmp_path / "stage.sqlite-wal").write_bytes(b"x" * 100)
    result = executor.run(database, "SELECT count(*) FROM singer")
    assert (result.outcome, result.detail) == (Outcome.ERROR, "database")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "stage.sqlite",
        "stage.sqlite-wal",
    ]


def test_of_virtual_tables_only_json_is_read(tmp_path: Path, executor: Executor) -> None:
    database = make(tmp_path / "stage.sqlite")
    with sqlite3.connect(database.path) as connection:
        connection.execute("CREATE VIRTUAL TABLE doc USING fts5(title)")
        connection.execute("INSERT INTO doc VALUES ('x')")
    connection.close()
    rows = executor.run(database, "SELECT value FROM json_each('[1, \"a\"]')").rows
    assert rows == ((1,), ("a",))
    tree = "SELECT fullkey FROM singer, json_tree('{\"a\": 1}') WHERE singer.id = 1 AND atom = 1"
    assert executor.run(database, tree).rows == (("$.a",),)
    assert executor.run(database, "SELECT title FROM doc").detail == "virtual_table"


def test_a_table_named_like_a_function_is_a_table(tmp_path: Path, executor: Executor) -> None:
    database = make(tmp_path / "stage.sqlite")
    with sqlite3.connect(database.path) as connection:
        connection.execute("CREATE VIEW JSON_EACH AS SELECT 7 AS value")
    connection.close()
    assert executor.run(database, "SELECT value FROM json_each").rows == ((7,),)


def test_rows_still_in_the_write_ahead_log_are_seen(tmp_path: Path, executor: Executor) -> None:
    database = make(tmp_path / "live.sqlite")
    writer = sqlite3.connect(database.path)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("INSERT INTO singer VALUES (4, 'Di', 50, 2)")
    writer.commit()
    assert executor.run(database, "SELECT count(*) FROM singer").rows == ((4,),)
    writer.close()


def test_a_file_that_was_replaced_is_opened_anew(tmp_path: Path, executor: Executor) -> None:
    database = make(tmp_path / "stage.sqlite")
    count = "SELECT count(*) FROM singer"
    job = Job(database, count, "SELECT 3")
    assert executor.judge([job])[0].outcome is Outcome.MATCH
    with sqlite3.connect(database.path) as connection:
        connection.execute("DELETE FROM singer WHERE id = 1")
    connection.close()
    assert executor.run(database, count).rows == ((2,),)
    assert executor.judge([job])[0].outcome is Outcome.MISMATCH


def test_a_file_that_changed_is_opened_anew_though_its_time_was_set_back(
    tmp_path: Path, executor: Executor
) -> None:
    database = make(tmp_path / "stage.sqlite")
    names = "SELECT name FROM singer ORDER BY id"
    before, old = executor.run(database, names).rows, database.path.stat()
    with sqlite3.connect(database.path) as connection:  # as many bytes, in place
        connection.execute("UPDATE singer SET name = upper(name)")
    connection.close()
    os.utime(database.path, ns=(old.st_atime_ns, old.st_mtime_ns))
    now = database.path.stat()
    assert (now.st_size, now.st_mtime_ns, now.st_ino) == (old.st_size, old.st_mtime_ns, old.st_ino)
    assert executor.run(database, names).rows == tuple((name.upper(),) for (name,) in before)


def test_rows_come_back_as_they_are(database: Database, executor: Executor) -> None:
    result = executor.run(database, "SELECT 1 AS a, 2.5, 'é', NULL, x'00ff', 9e999 AS b")
    assert result.columns == ("a", "2.5", "'é'", "NULL", "x'00ff'", "b")
    assert result.rows == ((1, 2.5, "é", None, b"\x00\xff", float("inf")),)
    assert result.outcome is None
    assert executor.run(database, "SELECT x").detail == "no_such_column"
    assert executor.run(database, STUCK).outcome is Outcome.TIMEOUT
    assert executor.run(database, "DROP TABLE singer").outcome is Outcome.DENIED


def test_caps_on_rows_and_bytes(database: Database) -> None:
    many = (
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT {}) SELECT x FROM c"
    )
    with Executor(Limits(max_rows=100, max_bytes=1_000_000), workers=1) as executor:
        assert len(executor.run(database, many.format(100)).rows) == 100
        assert executor.run(database, many.format(101)).detail == "rows"
        assert executor.run(database, "SELECT hex(zeroblob(600000))").detail == "bytes"
        # few bytes as text, six times as many on their way to the parent
        control = "SELECT replace(hex(zeroblob({})), '0', x'01')"
        assert executor.run(database, control.format(50_000)).rows == (("\x01" * 100_000,),)
        assert executor.run(database, control.format(100_000)).detail == "bytes"


def test_a_worker_that_says_more_than_its_caps_is_lost(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exspin.sql.process._ENVELOPE", -999_000)
    with Executor(Limits(max_bytes=1_000_000), workers=1) as executor:
        assert executor.run(database, "SELECT 1").rows == ((1,),)
        assert executor.run(database, "SELECT hex(zeroblob(5000))").outcome is Outcome.INFRA


def test_an_unknown_comparator_runs_nothing(database: Database, executor: Executor) -> None:
    with pytest.raises(ConfigError, match="exact"):
        executor.judge([Job(database, "SELECT 1", "SELECT 1")], "exact")


def running(pid: int) -> bool:
    return (
        Path(f"/proc/{pid}").exists()
        and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    )


def test_no_process_is_left_after_close(database: Database) -> None:
    with Executor(workers=2) as executor:
        executor.judge([Job(database, f"SELECT {number}", "SELECT 1") for number in range(200)])
        pids = [worker._process.pid for worker in executor._workers if worker]
        assert pids
        assert all(map(running, pids))
    assert not any(map(running, pids))


def test_no_process_outlives_a_parent_that_is_killed(database: Database) -> None:
    script = f"""
import sys; sys.path.insert(0, {str(SRC)!r})
from exspin.records import Database
from exspin.sql.execute import Executor, Job
executor = Executor(workers=1)
database = Database({database.db_id!r}, {database.url!r})
print(executor.judge([Job(database, "SELECT 1", "SELECT 1.0")])[0].outcome, executor._workers[0]._process.pid, flush=True)
import os; os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    outcome, pid = done.stdout.split()
    assert outcome == "match"  # it works from `python -c`, where there is no main module to import
    deadline = time.monotonic() + 10
    while running(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running(int(pid))


def test_the_worker_loads_nothing_heavy() -> None:
    script = f"import sys; sys.path.insert(0, {str(SRC)!r}); import exspin.sql.worker; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "torch", "sqlglot", "pydantic", "hypothesis"} & set(loaded)

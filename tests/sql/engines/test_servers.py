"""What can go wrong with a server, and what a statement could leave behind on one: each against the real thing."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from exspin.errors import DatabaseError
from exspin.records import Database, Outcome
from exspin.sql.engines import Budget, Limits, Ran, login
from exspin.sql.engines.login import Lost
from exspin.sql.engines.server import ServerEngine, Session
from exspin.sql.engines.watchdog import Watch, Watchdog
from exspin.sql.execute import Executor, Job, Judgement
from exspin.sql.schema import read_schema

SLOW = {
    "postgresql": "SELECT pg_sleep(50)",
    "mysql": "SELECT count(*) FROM many a, many b, many c, many d",
}
NAMES = "SELECT name FROM singer"


@pytest.fixture
def engine(server_stage: Any) -> Iterator[Any]:
    """The engine itself, in this process: no limits of the process are set."""
    from importlib import import_module

    module = import_module(f"exspin.sql.engines.{server_stage.kind}")
    engine = module.open_engine(server_stage.database.url, Limits(timeout_s=1.0), lambda _: None)
    yield engine
    engine.close()


def rows(engine: Any, sql: str) -> Any:
    return engine.run(sql, Budget(1.0)).rows


# --- who may log in ---------------------------------------------------------------------------------------------------


def grant_a_write(stage: Any) -> None:
    user = stage.database.url.partition("//")[2].partition(":")[0]
    stage.admin(f"GRANT INSERT ON singer TO {user}{_at(stage)}")


def revoke_it(stage: Any) -> None:
    user = stage.database.url.partition("//")[2].partition(":")[0]
    stage.admin(f"REVOKE INSERT ON singer FROM {user}{_at(stage)}")


def _at(stage: Any) -> str:
    return "@'%'" if stage.kind == "mysql" else ""


@pytest.fixture
def writing_stage(server_stage: Any) -> Iterator[Any]:
    grant_a_write(server_stage)
    yield server_stage
    revoke_it(server_stage)


def test_a_superuser_is_refused_with_the_sql_of_a_reader(server_stage: Any) -> None:
    user = {"postgresql": "postgres", "mysql": "root"}[server_stage.kind]
    database = Database("stage", server_stage.url(user=user, password=""))
    for open_it in (
        lambda: Executor(workers=1).run(database, NAMES),
        lambda: read_schema(database),
    ):
        with pytest.raises(DatabaseError) as caught:
            open_it()
        assert f"the login '{user}' may do more than read" in str(caught.value)
        assert "CREATE" in str(caught.value) and "GRANT SELECT" in str(caught.value)
        assert "--allow-privileged" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_sql_that_is_printed_makes_a_login_that_is_accepted(
    server_stage: Any, executor: Executor
) -> None:
    from exspin.sql.server_login import login_and_connect, parent_limits

    reader = f"exspin_reader_{os.getpid()}"
    with pytest.MonkeyPatch.context() as patch:
        for module in ("postgresql_rights", "mysql"):
            patch.setattr(f"exspin.sql.engines.{module}.READER", reader)
        where, connect = login_and_connect(server_stage.database)
        with closing(connect(where, parent_limits(False))) as connection:
            if server_stage.kind == "postgresql":
                from exspin.sql.engines.postgresql_rights import reader_sql

                steps = reader_sql(connection, where)
            else:
                from exspin.sql.engines.mysql import reader_sql as mysql_sql

                steps = mysql_sql(where)
    try:
        for step in steps:
            server_stage.admin(step)
        database = Database("stage", server_stage.url(user=reader, password="choose%20one"))
        found = executor.run(database, NAMES).rows  # in any order: another test may have moved rows
        assert sorted(found) == [("Ada",), ("Bo",), ("Cy",)]
        assert [table.name for table in read_schema(database).tables] == [
            "concert",
            "many",
            "singer",
        ]
    finally:
        executor.close()
        if server_stage.kind == "postgresql":
            server_stage.admin(f"DROP OWNED BY {reader}")
        server_stage.admin(f"DROP {'ROLE' if server_stage.kind == 'postgresql' else 'USER'} {reader}{_at(server_stage)}")  # fmt: skip


def test_a_login_that_may_write_is_refused(writing_stage: Any, executor: Executor) -> None:
    with pytest.raises(DatabaseError, match=r"may do more than read .*(singer|INSERT)"):
        executor.run(writing_stage.database, NAMES)


def test_the_worker_refuses_it_too(writing_stage: Any, engine: Any) -> None:
    with pytest.raises(DatabaseError, match="may do more than read"):
        rows(engine, NAMES)


def test_a_user_who_insists_is_warned(
    writing_stage: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "_warned", set())
    limits = Limits(timeout_s=1.0, memory_mb=256, allow_privileged=True)
    before = writing_stage.contents()
    with caplog.at_level(logging.WARNING, "exspin"), Executor(limits, workers=1) as executor:
        judged = executor.judge(
            [
                Job(writing_stage.database, NAMES, "SELECT name FROM singer WHERE id > 0"),
                Job(writing_stage.database, NAMES, "INSERT INTO singer VALUES (9, 'Eve', 1)"),
                Job(
                    writing_stage.database,
                    NAMES,
                    "WITH x AS (INSERT INTO singer VALUES (9, 'Eve', 1) RETURNING name) SELECT name FROM x",
                ),
            ]
        )
    assert [judgement.outcome for judgement in judged[:2]] == [Outcome.MATCH, Outcome.DENIED]
    assert judged[2].outcome in (Outcome.DENIED, Outcome.ERROR)
    assert writing_stage.contents() == before
    assert len(caplog.records) == 1
    assert "may do more than read" in caplog.text and "Pass" not in caplog.text


def test_rights_through_a_role_count(server_stage: Any) -> None:
    user = server_stage.database.url.partition("//")[2].partition(":")[0]
    role = f"{user}_writers"
    server_stage.admin(f"CREATE ROLE {role}")
    try:
        server_stage.admin(f"GRANT DELETE ON concert TO {role}")
        server_stage.admin(f"GRANT {role} TO {user}{_at(server_stage)}")
        with pytest.raises(DatabaseError, match="may do more than read"):
            read_schema(server_stage.database)
    finally:
        if server_stage.kind == "postgresql":
            server_stage.admin(f"REVOKE ALL ON concert FROM {role}")
        server_stage.admin(f"DROP ROLE {role}")
    read_schema(server_stage.database)


# --- what the user has to mend ----------------------------------------------------------------------------------------


def everything_said(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__context__)


@pytest.mark.parametrize("secret", ["wr0ng", "wr%400ng%2Fx"])
def test_a_wrong_password_is_said_once_and_never_shown(
    mysql_stage: Any, cluster: Any, secret: str, capfd: pytest.CaptureFixture[str]
) -> None:
    urls = [mysql_stage.url(password=secret), cluster.url.replace("Pass%25word%261%21", secret)]
    for url in urls:
        database = Database("stage", url)
        for open_it in (
            lambda database=database: Executor(workers=1).run(database, NAMES),
            lambda database=database: read_schema(database),
        ):
            with pytest.raises(DatabaseError, match="cannot be opened") as caught:
                open_it()
            assert ":***@" in str(caught.value)
            assert caught.value.__cause__ is None and caught.value.__context__ is None
            for shown in (everything_said(caught.value), repr(database), str(database.to_json())):
                assert secret not in shown and "0ng" not in shown
    assert "0ng" not in "".join(capfd.readouterr())


def test_a_password_that_is_not_escaped_is_not_shown_in_parts(server_stage: Any) -> None:
    database = Database("stage", server_stage.url(password="one@two/three:four#five?six"))
    with pytest.raises(DatabaseError, match="escape") as caught:
        read_schema(database)
    for part in ("one", "two", "three", "four", "five", "six"):
        assert part not in str(caught.value).replace("exspin_test", "")


def test_no_process_shows_the_password(server_stage: Any, executor: Executor) -> None:
    executor.run(server_stage.database, NAMES)
    worker = executor._workers[0]
    assert worker is not None
    process = Path(f"/proc/{worker._process.pid}")
    for name in ("cmdline", "environ"):
        shown = (process / name).read_bytes()
        assert b"Pass%word" not in shown and b"Pass%25word" not in shown


@pytest.mark.parametrize(
    "change",
    [
        lambda stage: stage.url(name="no_such_database"),
        lambda stage: stage.url(user="nobody_at_all"),
        lambda stage: stage.database.url.replace("@127.0.0.1", "@no-such-host.invalid"),
    ],
    ids=["database", "user", "host"],
)
def test_what_is_not_there_is_an_error_for_the_user(
    server_stage: Any, change: Callable[[Any], str], executor: Executor
) -> None:
    with pytest.raises(DatabaseError, match="cannot be opened") as caught:
        executor.run(Database("stage", change(server_stage)), NAMES)
    assert "Pass" not in everything_said(caught.value)


# --- what may be well again -------------------------------------------------------------------------------------------


def test_a_server_that_is_down_is_infra(server_stage: Any, executor: Executor) -> None:
    address = server_stage.database.url.rpartition("@")[2].partition("/")[0]
    database = Database("stage", server_stage.database.url.replace(address, "127.0.0.1:1"))
    judged = executor.judge([Job(database, NAMES, "SELECT name FROM singer WHERE id > 0")])
    assert judged == [Judgement(Outcome.INFRA, "no_connection")]
    with pytest.raises(DatabaseError, match="cannot be reached now"):
        read_schema(database)


def test_a_server_that_stops_and_starts_again(cluster: Any, executor: Executor) -> None:
    database = Database("stage", cluster.url)
    job = Job(database, NAMES, "SELECT name FROM singer WHERE id > 0")
    assert executor.judge([job]) == [Judgement(Outcome.MATCH)]
    cluster.stop()
    assert [judgement.outcome for judgement in executor.judge([job])] == [Outcome.INFRA]
    cluster.start()
    assert executor.judge([job]) == [Judgement(Outcome.MATCH)]


def test_a_statement_whose_session_is_ended_is_tried_again(
    server_stage: Any, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    """Somebody ends the session in the middle of the statement, once."""
    sql = {
        "postgresql": "SELECT name, pg_sleep(0.7) IS NULL FROM singer WHERE id = 1",
        "mysql": "SELECT name, SLEEP(2) FROM singer WHERE id = 1",
    }[server_stage.kind]
    kill_one(server_stage)  # the functions are warm

    def end_it() -> None:
        if eventually(lambda: any("singer" in query for query in server_stage.sessions())):
            time.sleep(0.2)
            kill_one(server_stage)

    with Executor(Limits(timeout_s=5.0, memory_mb=256), workers=1) as executor:
        executor.run(server_stage.database, NAMES)
        killer = threading.Thread(target=end_it)
        killer.start()
        result = executor.run(server_stage.database, sql)
        killer.join()
    assert result.outcome is None and result.rows[0][0] == "Ada"


def kill_one(stage: Any) -> None:
    if stage.kind == "postgresql":
        user = stage.database.url.partition("//")[2].partition(":")[0]
        stage.admin(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'"
        )
    else:
        user = stage.database.url.partition("//")[2].partition(":")[0]
        for row in stage.admin("SHOW PROCESSLIST"):
            if row[1] == user and row[4] == "Query":
                stage.admin(f"KILL {row[0]}")


def test_a_session_that_was_ended_while_idle_is_not_noticed(server_stage: Any, engine: Any) -> None:
    assert len(rows(engine, NAMES)) == 3
    user = server_stage.database.url.partition("//")[2].partition(":")[0]
    if server_stage.kind == "postgresql":
        kill_one(server_stage)
    else:
        for row in server_stage.admin("SHOW PROCESSLIST"):
            if row[1] == user:
                server_stage.admin(f"KILL {row[0]}")
    time.sleep(0.1)
    assert len(rows(engine, NAMES)) == 3


def test_too_many_connections_is_infra(server_stage: Any, executor: Executor) -> None:
    user = server_stage.database.url.partition("//")[2].partition(":")[0]
    limit = {
        "postgresql": "ALTER ROLE {} CONNECTION LIMIT {}",
        "mysql": "ALTER USER {}@'%' WITH MAX_USER_CONNECTIONS {}",
    }[server_stage.kind]
    from exspin.sql.server_login import login_and_connect, parent_limits

    where, connect = login_and_connect(server_stage.database)
    server_stage.admin(limit.format(user, 1))
    try:
        with closing(connect(where, parent_limits(False))):
            job = Job(server_stage.database, NAMES, "SELECT name FROM singer WHERE id > 0")
            assert executor.judge([job]) == [Judgement(Outcome.INFRA, "too_many_connections")]
        time.sleep(0.2)
        assert executor.judge([job]) == [Judgement(Outcome.MATCH)]
    finally:
        server_stage.admin(limit.format(user, {"postgresql": -1, "mysql": 0}[server_stage.kind]))


class Deaf(Session):
    """A connection to a server that takes it and then says nothing; where `hears`, it begins and never ends."""

    def __init__(self, hears: bool = False) -> None:
        self.hears = hears
        self.gone = threading.Event()

    def begin(self, budget: Budget) -> None:
        if not self.hears:
            assert self.gone.wait(30)
            raise Lost("connection_lost")

    def run(self, sql: str, limits: Limits) -> Ran:
        assert self.gone.wait(30)
        return Ran(outcome=Outcome.INFRA, detail="connection_lost")

    def reset(self) -> None:
        raise Lost("connection_lost")

    def cancel(self) -> None: ...

    def terminate(self) -> None: ...

    def hang_up(self) -> None:
        self.gone.set()

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("hears", "ends", "told"),
    [
        (False, (Outcome.INFRA, "no_answer"), [False, False]),
        (True, (Outcome.TIMEOUT, "wall"), [False, False, True]),
    ],
)
def test_a_server_that_does_not_begin_has_not_judged_the_statement(
    hears: bool, ends: tuple[Outcome, str], told: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exspin.sql.engines.server._ANSWER_S", 0.2)
    heard: list[bool] = []
    limits = Limits(timeout_s=0.2)
    engine = ServerEngine(limits, heard.append, lambda: Deaf(hears), lambda _: None)
    with closing(engine):
        ran = engine.run("SELECT 1", Budget(0.2))
    assert (ran.outcome, ran.detail) == ends
    assert heard == told  # the parent knows that no statement runs


def test_a_backend_that_stopped_while_it_was_idle_is_left_alone(
    postgresql_stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exspin.sql.engines.postgresql import open_engine

    monkeypatch.setattr("exspin.sql.engines.server._ANSWER_S", 0.5)
    with closing(
        open_engine(postgresql_stage.database.url, Limits(timeout_s=20.0), lambda _: None)
    ) as engine:
        assert len(rows(engine, NAMES)) == 3
        pid = engine._session._pid
        name = Path(f"/proc/{pid}/comm")
        if os.geteuid() != 0 or not name.exists() or "postgres" not in name.read_text():
            pytest.skip("the server's processes are not ours to stop")
        os.kill(pid, signal.SIGSTOP)
        try:
            assert len(rows(engine, NAMES)) == 3
            assert engine._session._pid != pid
        finally:
            os.kill(pid, signal.SIGCONT)


def test_a_server_that_takes_a_connection_and_says_nothing_is_infra(
    server_stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import import_module

    module = import_module(f"exspin.sql.engines.{server_stage.kind}")
    monkeypatch.setattr(module, "CONNECT_S", 1)
    monkeypatch.setattr("exspin.sql.engines.server._PAUSES_S", ())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = server_stage.database.url.rpartition("@")[2].partition("/")[0]
        url = server_stage.database.url.replace(address, f"127.0.0.1:{silent.getsockname()[1]}")
        with closing(module.open_engine(url, Limits(timeout_s=1.0), lambda _: None)) as engine:
            ran = engine.run(NAMES, Budget(1.0))
    assert (ran.outcome, ran.detail) == (Outcome.INFRA, "no_connection")


@pytest.mark.parametrize("limit_s", [0.05, 1.0, 60.0])
def test_the_steps_against_a_statement_are_due_before_the_parent_kills(limit_s: float) -> None:
    """And the kill is due before the time that an attack may take."""
    limits = Limits(timeout_s=limit_s)
    due: list[float] = []

    class Noted(Watchdog):
        @contextmanager
        def watching(self, steps: Any) -> Iterator[Watch]:
            due[:] = [after for after, _ in steps]
            yield Watch([])

    session = Deaf(hears=True)
    session.gone.set()
    engine = ServerEngine(limits, lambda _: None, lambda: session, lambda _: None)
    engine._watchdog = Noted()
    engine.run("SELECT 1", Budget(limit_s))
    assert len(due) == 3
    assert limit_s < due[0] < due[1] < due[2] < limits.patience_s < 1.5 * limit_s + 0.5


# --- what a statement leaves behind -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "shown", "expected"),
    [
        ("SELECT set_config('statement_timeout', '0', false)", "SHOW statement_timeout", "1s"),
        ("SELECT set_config('search_path', 'pg_catalog', false)", "SHOW search_path", '"$user", public'),
        ("SELECT set_config('default_transaction_read_only', 'off', false)", "SHOW default_transaction_read_only", "on"),
        ("SELECT set_config('timezone', 'Asia/Tokyo', false)", "SHOW timezone", "UTC"),
        ("SELECT set_config('exspin.x', 'y', false)", "SELECT current_setting('exspin.x', true)", ""),
        ('SELECT U&"pg\\005fadvisory_lock"(77)', "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77", 0),
        ('SELECT U&"lo\\005fcreate"(4711)', "SELECT count(*) FROM pg_largeobject_metadata", 0),
    ],
)  # fmt: skip
def test_nothing_of_a_postgresql_session_is_left(
    postgresql_stage: Any, executor: Executor, sql: str, shown: str, expected: Any
) -> None:
    from exspin.sql.engines.postgresql import open_engine

    with closing(
        open_engine(postgresql_stage.database.url, Limits(timeout_s=1.0), lambda _: None)
    ) as engine:
        session = engine._connect()
        engine._session = session
        assert engine.run(sql, Budget(1.0)).outcome is None
        assert engine._session is session  # the same connection, reset
        assert (rows(engine, shown)[0][0] or type(expected)()) == expected


@pytest.mark.parametrize(
    ("sql", "shown", "expected"),
    [
        ("SELECT @x := 5", "SELECT @x", None),
        ("SELECT LAST_INSERT_ID(5)", "SELECT LAST_INSERT_ID()", 0),
        ("SELECT 1", "SELECT @@max_statement_time > 0", 1),
        ("SELECT 1", "SELECT @@in_transaction", 1),
    ],
)
def test_nothing_of_a_mysql_session_is_left(
    mysql_stage: Any, sql: str, shown: str, expected: Any
) -> None:
    from exspin.sql.engines.mysql import open_engine

    with closing(
        open_engine(mysql_stage.database.url, Limits(timeout_s=1.0), lambda _: None)
    ) as engine:
        session = engine._connect()
        engine._session = session
        assert engine.run(sql, Budget(1.0)).outcome is None
        assert engine._session is session
        assert rows(engine, shown) == [(expected,)]


def test_locks_end_with_their_statement(mysql_stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exspin.sql.engines.mysql._FORBIDDEN", ())
    from exspin.sql.engines.mysql import open_engine

    with closing(
        open_engine(mysql_stage.database.url, Limits(timeout_s=1.0), lambda _: None)
    ) as engine:
        assert rows(engine, "SELECT GET_LOCK('exspin', 0)") == [(1,)]
        assert rows(engine, "SELECT IS_FREE_LOCK('exspin')") == [(1,)]


# --- nothing goes on --------------------------------------------------------------------------------------------------


def test_nothing_runs_on_when_the_limit_of_the_server_is_off(
    postgresql_stage: Any, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    """The watchdog alone: cancel is enough for one, the other needs its session ended."""
    from exspin.sql.engines.postgresql import open_engine

    limits = Limits(timeout_s=0.5)
    with closing(open_engine(postgresql_stage.database.url, limits, lambda _: None)) as engine:
        for sql in ("SELECT limits_off(), pg_sleep(1000)", "SELECT limits_off(), stubborn()"):
            begin = time.monotonic()
            ran = engine.run(sql, Budget(0.5))
            assert (ran.outcome, ran.detail) == (Outcome.TIMEOUT, "wall")
            assert time.monotonic() - begin < 5
            assert eventually(lambda: postgresql_stage.sessions() == [])


def test_nothing_runs_on_when_we_are_killed(
    server_stage: Any, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    """SIGKILL of parent and worker: PostgreSQL looks for us, on MySQL the statement's limit is all there is."""
    limit_s = {"postgresql": 60.0, "mysql": 3.0}[server_stage.kind]
    code = (
        "import sys; from exspin import Database, Executor, Limits;"
        f"Executor(Limits(timeout_s={limit_s}), workers=1).run(Database('stage', sys.stdin.readline().strip()), sys.argv[1])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, SLOW[server_stage.kind]], stdin=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(server_stage.database.url + "\n")
    process.stdin.close()
    assert eventually(lambda: server_stage.sessions() == [SLOW[server_stage.kind]])
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (process.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    assert eventually(lambda: server_stage.sessions() == [])


def test_no_connection_is_left_when_we_are_done(
    server_stage: Any, eventually: Callable[[Callable[[], bool]], bool]
) -> None:
    user = server_stage.database.url.partition("//")[2].partition(":")[0]
    listed = {
        "postgresql": f"SELECT pid FROM pg_stat_activity WHERE usename = '{user}'",
        "mysql": f"SELECT id FROM information_schema.processlist WHERE user = '{user}'",
    }[server_stage.kind]
    with Executor(Limits(timeout_s=0.5, memory_mb=256), workers=2) as executor:
        executor.judge([Job(server_stage.database, NAMES, SLOW[server_stage.kind])])
        executor.run(server_stage.database, NAMES)
    read_schema(server_stage.database)
    assert eventually(lambda: server_stage.admin(listed) in ([], ()))

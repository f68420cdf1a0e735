"""One small database on every engine, each against the real thing.

Servers are expected where CI has them, PostgreSQL on 127.0.0.1:5432 (superuser `postgres`) and MariaDB or MySQL on
127.0.0.1:3306 (`root`); `EXSPIN_TEST_POSTGRESQL` and `EXSPIN_TEST_MYSQL` name others. Where none answers the test skips, and
under `EXSPIN_REQUIRE_SERVERS=1` it fails. Every database and role made here has the number of this process in its name and
is dropped at the end.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from exspin.ledger import digest_file, digest_json
from exspin.records import Database
from exspin.sql.execute import Executor, Limits

PASSWORD = "Pass%word&1!"
ESCAPED = "Pass%25word%261%21"
NAME = f"exspin_test_{os.getpid()}"
TABLES = """
CREATE TABLE singer (id INTEGER PRIMARY KEY, name VARCHAR(40), age INTEGER);
INSERT INTO singer VALUES (1, 'Ada', 36), (2, 'Bo', 29), (3, 'Cy', 41);
CREATE TABLE concert (id INTEGER PRIMARY KEY, singer_id INTEGER, name VARCHAR(40), year INTEGER);
INSERT INTO concert VALUES (10, 1, 'Spring', 2014), (11, 3, 'Autumn', 2015), (12, 3, 'Winter', 2015);
CREATE TABLE many (x INTEGER)
"""
DIGITS = ", ".join(f"({number})" for number in range(5000))


@dataclass
class Stage:
    """The same three tables on one engine."""

    kind: str
    database: Database
    admin: Callable[[str], list[Any]]  # run a statement as the owner
    contents: Callable[[], str]  # a digest of everything there is
    sessions: Callable[[], list[str]] = field(
        default=list
    )  # statements of our role that run, or could
    folder: Path | None = None  # of a file

    def url(self, user: str = NAME, password: str = ESCAPED, name: str = NAME) -> str:
        """A URL of the same server."""
        scheme, _, rest = self.database.url.partition("://")
        return f"{scheme}://{user}{':' if password else ''}{password}@{rest.rpartition('@')[2].partition('/')[0]}/{name}"


def statements() -> list[str]:
    return [*TABLES.strip().split(";\n"), f"INSERT INTO many VALUES {DIGITS}"]


@pytest.fixture(scope="session")
def sqlite_stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    path = tmp_path_factory.mktemp("sqlite") / "stage.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements():
            connection.execute(statement)
        connection.commit()
    return Stage(
        "sqlite",
        Database.sqlite("stage", path),
        lambda _: [],
        lambda: digest_file(path),
        folder=path.parent,
    )


@pytest.fixture(scope="session")
def duckdb_stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path_factory.mktemp("duckdb") / "stage.duckdb"
    with closing(duckdb.connect(str(path))) as connection:
        for statement in statements():
            connection.execute(statement)
    return Stage(
        "duckdb",
        Database("stage", f"duckdb:///{path}"),
        lambda _: [],
        lambda: digest_file(path),
        folder=path.parent,
    )


def unavailable(reason: str) -> None:
    if os.environ.get("EXSPIN_REQUIRE_SERVERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgresql_stage() -> Iterator[Stage]:
    psycopg = pytest.importorskip("psycopg")
    url = os.environ.get("EXSPIN_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")
    try:
        root = psycopg.connect(url, autocommit=True, connect_timeout=3)
    except psycopg.Error as error:
        unavailable(f"no PostgreSQL: {str(error).splitlines()[0]}")
    with closing(root):
        root.execute(f"CREATE DATABASE {NAME}")
        root.execute(f"CREATE ROLE {NAME} LOGIN PASSWORD '{PASSWORD}'")
        try:
            with closing(psycopg.connect(url, dbname=NAME, autocommit=True)) as owner:
                yield from _postgresql(owner, root)
        finally:
            root.execute(f"DROP DATABASE {NAME} WITH (FORCE)")
            root.execute(f"DROP ROLE {NAME}")


def _postgresql(owner: Any, root: Any) -> Iterator[Stage]:
    for statement in statements():
        owner.execute(statement)
    owner.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {NAME}")
    owner.execute(
        """CREATE FUNCTION stubborn() RETURNS integer LANGUAGE plpgsql AS $$
        BEGIN LOOP BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$"""
    )
    owner.execute(  # planned before the statement's own time begins, so the server's limit is really off
        """CREATE FUNCTION limits_off() RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
        BEGIN PERFORM set_config('statement_timeout', '0', false);
        PERFORM set_config('client_connection_check_interval', '0', false); RETURN 1; END $$"""
    )

    def admin(sql: str) -> list[Any]:
        cursor = owner.execute(sql)
        return cursor.fetchall() if cursor.description else []

    def contents() -> str:
        names = [
            row[0] for row in admin("SELECT oid::regclass FROM pg_class WHERE relkind IN ('r', 'v') "
            "AND relnamespace = 'public'::regnamespace ORDER BY 1")
        ]  # fmt: skip
        rows = {name: [list(row) for row in admin(f"SELECT * FROM {name}")] for name in names}
        extra = "SELECT count(*), (SELECT count(*) FROM pg_largeobject_metadata) FROM pg_proc"
        return digest_json([rows, [list(row) for row in admin(extra)]])

    def sessions() -> list[str]:
        return [
            row[0]
            for row in root.execute(
                f"SELECT query FROM pg_stat_activity WHERE usename = '{NAME}' AND state = 'active'"
            )
        ]

    where = f"{root.info.host}:{root.info.port}"
    database = Database("stage", f"postgresql://{NAME}:{ESCAPED}@{where}/{NAME}")
    yield Stage("postgresql", database, admin, contents, sessions)


@pytest.fixture(scope="session")
def mysql_stage() -> Iterator[Stage]:
    pymysql = pytest.importorskip("pymysql")
    make_url = pytest.importorskip("sqlalchemy").make_url
    url = make_url(os.environ.get("EXSPIN_TEST_MYSQL", "mysql://root@127.0.0.1:3306"))
    where = {"host": url.host, "port": url.port or 3306}
    try:
        root = pymysql.connect(
            **where, user=url.username, password=url.password or "", autocommit=True
        )
    except pymysql.Error as error:
        unavailable(f"no MySQL or MariaDB: {error.args[-1]}")

    def admin(sql: str) -> list[Any]:
        with root.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def contents() -> str:
        names = [row[0] for row in admin("SHOW TABLES")]
        return digest_json([[name, [list(r) for r in admin(f"SELECT * FROM {name}")]] for name in names])  # fmt: skip

    def sessions() -> list[str]:
        return [row[7] for row in admin("SHOW PROCESSLIST") if row[1] == NAME and row[4] == "Query"]

    with closing(root):
        admin(f"CREATE DATABASE {NAME}")
        admin(f"CREATE USER {NAME}@'%' IDENTIFIED BY '{PASSWORD}'".replace("%", "%"))
        try:
            admin(f"GRANT SELECT, SHOW VIEW ON {NAME}.* TO {NAME}@'%'")
            admin(f"USE {NAME}")
            for statement in statements():
                admin(statement)
            address = f"{where['host']}:{where['port']}"
            database = Database("stage", f"mysql://{NAME}:{ESCAPED}@{address}/{NAME}")
            yield Stage("mysql", database, admin, contents, sessions)
        finally:
            admin(f"DROP DATABASE {NAME}")
            admin(f"DROP USER {NAME}@'%'")


@pytest.fixture(scope="session", params=["sqlite", "duckdb", "postgresql", "mysql"])
def stage(request: pytest.FixtureRequest) -> Stage:
    """Every engine in turn."""
    return request.getfixturevalue(f"{request.param}_stage")


@pytest.fixture(scope="session", params=["postgresql", "mysql"])
def server_stage(request: pytest.FixtureRequest) -> Stage:
    """Every server in turn."""
    return request.getfixturevalue(f"{request.param}_stage")


@pytest.fixture
def executor() -> Iterator[Executor]:
    limits = Limits(timeout_s=1.0, max_rows=20_000, max_bytes=20_000_000, memory_mb=256)
    with Executor(limits, workers=1) as executor:
        yield executor


@dataclass
class Cluster:
    """A PostgreSQL server of our own, which asks for passwords and takes five connections."""

    folder: Path
    programs: Path
    port: int
    url: str = ""

    def control(self, *arguments: str) -> None:
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        subprocess.run(
            [*user, str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), "-w", *arguments],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c max_connections=5 -c superuser_reserved_connections=1"
        options += f" -c unix_socket_directories={self.folder} -c fsync=off"
        self.control("-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self.control("-m", "immediate", "stop")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Skips where PostgreSQL's programs or the right to run them as `postgres` are missing."""
    pytest.importorskip("psycopg")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found or os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("a server of our own needs initdb, setpriv and root")
    folder = Path(tempfile.mkdtemp(prefix="exspin-cluster-"))
    shutil.chown(folder, "postgres", "postgres")
    cluster = Cluster(folder, found[-1].parent, 40_000 + os.getpid() % 20_000)
    secret = folder / "secret"
    secret.write_text(f"{PASSWORD}\n")
    shutil.chown(secret, "postgres", "postgres")
    try:
        initdb = [str(cluster.programs / "initdb"), "-D", str(folder / "data"), "-U", "postgres"]
        subprocess.run(
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *initdb,
             "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        cluster.start()
        _prepare(cluster)
        yield cluster
    finally:
        with suppress(subprocess.CalledProcessError):  # a test may have stopped it
            cluster.stop()
        shutil.rmtree(folder)


def _prepare(cluster: Cluster) -> None:
    import psycopg

    root = {"host": "127.0.0.1", "port": cluster.port, "user": "postgres", "password": PASSWORD}
    with closing(psycopg.connect(**root, dbname="postgres", autocommit=True)) as connection:
        for statement in statements()[:2]:
            connection.execute(statement)
        connection.execute(f"CREATE ROLE {NAME} LOGIN PASSWORD '{PASSWORD}'")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {NAME}")
    cluster.url = f"postgresql://{NAME}:{ESCAPED}@127.0.0.1:{cluster.port}/postgres"


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], bool]:
    """Wait until something is so, at most ten seconds."""

    def wait(so: Callable[[], bool]) -> bool:
        for _ in range(200):
            if so():
                return True
            time.sleep(0.05)
        return False

    return wait

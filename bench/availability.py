"""Does every attack end in time on every engine, and does the parent stay as it was?

    python bench/availability.py --json

On each engine that answers (servers where the tests look for them: a superuser `postgres` on 127.0.0.1:5432 and `root` on
127.0.0.1:3306, or what EXSPIN_TEST_POSTGRESQL and EXSPIN_TEST_MYSQL say), in a process of its own: runs the attacks of
`tests/sql/attacks.jsonl` and the engine's own of `tests/sql/engines/attacks.yaml` one by one on a worker that has started,
each followed by an honest query, and takes the time of each against 1.5 × the limit + 0.5 s. Then `--queries` hostile
statements, no two alike, in one call, while the memory of this process is watched. Says at the end which processes,
threads and sessions are left. What it makes on a server has the number of this process in its name and is dropped.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from exspin.ledger import digest_file, digest_json
from exspin.records import Database, Outcome
from exspin.sql.execute import Executor, Job, Judgement, Limits

TESTS = Path(__file__).parents[1] / "tests" / "sql"
GOLD = "SELECT name FROM singer WHERE age > 30"
HONEST = "SELECT name FROM singer WHERE NOT age <= 30"
NAME = f"exspin_bench_{os.getpid()}"
TABLES = (
    "CREATE TABLE singer (id INTEGER PRIMARY KEY, name VARCHAR(40), age INTEGER)",
    "INSERT INTO singer VALUES (1, 'Ada', 36), (2, 'Bo', 29), (3, 'Cy', 41)",
    "CREATE TABLE many (x INTEGER)",
    f"INSERT INTO many VALUES {', '.join(f'({number})' for number in range(5000))}",
)
ENDLESS = (
    "CREATE VIEW endless AS "
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
)
FUNCTIONS = (  # of PostgreSQL, which its attacks call
    """CREATE FUNCTION stubborn() RETURNS integer LANGUAGE plpgsql AS $$
    BEGIN LOOP BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$""",
    """CREATE FUNCTION limits_off() RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN PERFORM set_config('statement_timeout', '0', false);
    PERFORM set_config('client_connection_check_interval', '0', false); RETURN 1; END $$""",
)


@dataclass(frozen=True)
class Stage:
    """The same tables on one engine; `contents` is a digest of them, `sessions` what is left of ours on a server."""

    database: Database
    contents: Callable[[], str]
    sessions: Callable[[], int] = lambda: 0
    folder: Path | None = None


@contextmanager
def sqlite_stage() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stage.sqlite"
        with closing(sqlite3.connect(path)) as connection:
            for statement in (*TABLES, ENDLESS):
                connection.execute(statement)
            connection.commit()
        yield Stage(Database.sqlite("stage", path), lambda: digest_file(path), folder=path.parent)


@contextmanager
def duckdb_stage() -> Iterator[Stage]:
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stage.duckdb"
        with closing(duckdb.connect(str(path))) as connection:
            for statement in (*TABLES, ENDLESS):
                connection.execute(statement)
        database = Database("stage", f"duckdb:///{path}")
        yield Stage(database, lambda: digest_file(path), folder=path.parent)


@contextmanager
def postgresql_stage() -> Iterator[Stage]:
    import psycopg

    url = os.environ.get("EXSPIN_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")
    with closing(psycopg.connect(url, autocommit=True, connect_timeout=3)) as root:
        root.execute(f"CREATE DATABASE {NAME}")
        root.execute(f"CREATE ROLE {NAME} LOGIN PASSWORD '{NAME}'")
        try:
            with closing(psycopg.connect(url, dbname=NAME, autocommit=True)) as owner:
                for statement in (*TABLES, ENDLESS, *FUNCTIONS):
                    owner.execute(statement)
                owner.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {NAME}")

                def rows(sql: str) -> list[Any]:
                    return [list(row) for row in owner.execute(sql)]

                def contents() -> str:
                    tables = rows("SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'v') "
                                  "AND relnamespace = 'public'::regnamespace ORDER BY 1")  # fmt: skip
                    data = [rows("SELECT * FROM singer"), rows("SELECT count(*), sum(x) FROM many")]
                    return digest_json([tables, data])

                where = f"{root.info.host}:{root.info.port}"
                yield Stage(
                    Database("stage", f"postgresql://{NAME}:{NAME}@{where}/{NAME}"),
                    contents,
                    lambda: len(rows(f"SELECT 1 FROM pg_stat_activity WHERE usename = '{NAME}'")),
                )
        finally:
            root.execute(f"DROP DATABASE {NAME} WITH (FORCE)")
            root.execute(f"DROP ROLE {NAME}")


@contextmanager
def mysql_stage() -> Iterator[Stage]:
    import pymysql
    from sqlalchemy import make_url

    url = make_url(os.environ.get("EXSPIN_TEST_MYSQL", "mysql://root@127.0.0.1:3306"))
    host, port = url.host or "127.0.0.1", url.port or 3306
    with closing(
        pymysql.connect(
            host=host,
            port=port,
            user=url.username,
            password=url.password or "",
            autocommit=True,
            connect_timeout=3,
        )
    ) as root:

        def rows(sql: str) -> list[Any]:
            with root.cursor() as cursor:
                cursor.execute(sql)
                return [list(row) for row in cursor.fetchall()]

        def contents() -> str:
            data = [rows("SELECT * FROM singer"), rows("SELECT count(*), sum(x) + 0.0 FROM many")]
            return digest_json([rows("SHOW TABLES"), repr(data)])

        try:
            rows(f"CREATE DATABASE {NAME}")
            rows(f"CREATE USER {NAME}@'%' IDENTIFIED BY '{NAME}'")
            rows(f"GRANT SELECT, SHOW VIEW ON {NAME}.* TO {NAME}@'%'")
            rows(f"USE {NAME}")
            for statement in (*TABLES, ENDLESS):
                rows(statement)
            yield Stage(
                Database("stage", f"mysql://{NAME}:{NAME}@{host}:{port}/{NAME}"),
                contents,
                lambda: sum(row[1] == NAME for row in rows("SHOW PROCESSLIST")),
            )
        finally:
            rows(f"DROP DATABASE IF EXISTS {NAME}")
            rows(f"DROP USER IF EXISTS {NAME}@'%'")


STAGES = {
    "sqlite": sqlite_stage,
    "duckdb": duckdb_stage,
    "postgresql": postgresql_stage,
    "mysql": mysql_stage,
}


def attacks(kind: str) -> dict[str, str]:
    """Name and SQL; `{40*text}` in the corpus stands for the text forty times."""
    rows = map(json.loads, (TESTS / "attacks.jsonl").read_text("utf-8").splitlines())
    found = {row["name"]: row["sql"] for row in rows}
    own = yaml.safe_load((TESTS / "engines" / "attacks.yaml").read_text("utf-8"))
    found.update((row["sql"][:80], row["sql"]) for row in own.get(kind, ()))
    return {
        name: re.sub(r"\{(\d+)\*([^}]*)\}", lambda m: m[2] * int(m[1]), sql)
        for name, sql in found.items()
    }


def one_by_one(database: Database, limits: Limits) -> dict[str, Any]:
    """The time of each attack alone, and whether the next query answers."""
    allowed = 1.5 * limits.timeout_s + 0.5
    took: dict[str, float] = {}
    wrong = []
    deaf = []
    with Executor(limits, workers=1) as executor:
        for name, sql in attacks(database.kind).items():
            executor.judge([Job(database, GOLD, HONEST)])  # the worker is up
            begun = time.perf_counter()
            judged = executor.judge([Job(database, GOLD, sql)])
            took[name] = time.perf_counter() - begun
            if judged[0].outcome in (Outcome.MATCH, Outcome.GOLD_UNUSABLE):
                wrong.append(name)
            if executor.judge([Job(database, GOLD, HONEST)]) != [Judgement(Outcome.MATCH)]:
                deaf.append(name)
    slowest = max(took, key=took.__getitem__)
    return {
        "attacks": len(took),
        "limit_s": limits.timeout_s,
        "allowed_s": allowed,
        "slowest": slowest,
        "slowest_s": round(took[slowest], 3),
        "too_slow": {name: round(t, 3) for name, t in took.items() if t > allowed},
        "matched_or_cost_the_gold": wrong,
        "next_query_failed": deaf,
    }


def flood(database: Database, limits: Limits, queries: int, workers: int) -> dict[str, Any]:
    """So many hostile statements in one call; a comment makes each one different."""
    corpus = list(attacks(database.kind).values())
    jobs = [
        Job(
            database,
            GOLD,
            f"{corpus[n % len(corpus)]} /* {n} */" if n >= len(corpus) else corpus[n],
        )
        for n in range(queries)
    ]
    with Executor(limits, workers) as executor:
        executor.judge(jobs[:1])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.perf_counter()
        judged = executor.judge(jobs)
        seconds = time.perf_counter() - begun
        answers = executor.judge([Job(database, GOLD, HONEST)]) == [Judgement(Outcome.MATCH)]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "queries": queries,
        "limit_s": limits.timeout_s,
        "seconds": round(seconds, 1),
        "parent_grew_mib": round(grown / 1024, 1),
        "outcomes": dict(Counter(j.outcome.value for j in judged)),
        "infra": dict(Counter(j.detail for j in judged if j.outcome is Outcome.INFRA)),
        "next_query_answers": answers,
    }


def children() -> list[int]:
    """Processes that this one started and that are still there, zombies too."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            if int(fields[1]) == os.getpid():
                found.append(int(entry.name))
    return found


def sessions_left(stage: Stage) -> int:
    """Of ours on a server, ten seconds after the end at the latest: a server takes its time to see that we are gone."""
    for _ in range(100):
        if not stage.sessions():
            return 0
        time.sleep(0.1)
    return stage.sessions()


def measure(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one engine, in this process."""
    with STAGES[kind]() as stage:
        before = stage.contents()
        report = {
            "one_by_one": one_by_one(stage.database, Limits(timeout_s=options.timeout)),
            "flood": flood(stage.database, Limits(timeout_s=0.1), options.queries, options.workers),
            "processes_left": children(),
            "threads_left": threading.active_count() - 1,
            "sessions_left": sessions_left(stage),
            "database_unchanged": stage.contents() == before,
        }
        if stage.folder:
            report["files_left"] = sorted(path.name for path in stage.folder.iterdir())
    return report


def in_its_own_process(kind: str, arguments: list[str]) -> dict[str, Any]:
    """So that one engine's largest memory does not hide another's."""
    command = [sys.executable, __file__, *arguments, "--only", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"not_measured": lines[-1] if lines else f"exit code {done.returncode}"}
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--timeout", type=float, default=1.0, help="the limit of a statement, s")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", action="append", choices=STAGES, help="default: all")
    parser.add_argument("--only", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.only:
        report = measure(options.only, options)
    else:
        kinds = options.engine or list(STAGES)
        report = {kind: in_its_own_process(kind, sys.argv[1:]) for kind in kinds}
    print(json.dumps(report, indent=2 if options.json else None))


if __name__ == "__main__":
    main()

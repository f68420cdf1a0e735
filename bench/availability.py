"""Does every attack end in time, and does the parent stay as it was?

    python bench/availability.py --json

Runs the attacks of `tests/sql/attacks.jsonl` one by one on a worker that has started, each followed by an honest query,
and takes the time of each against 1.5 × the limit + 0.5 s. Then `--queries` hostile statements, no two alike, in one
call, while the memory of this process is watched. Says at the end which processes and threads are left.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from exspin.records import Database, Outcome
from exspin.sql.execute import Executor, Job, Judgement, Limits

CORPUS = Path(__file__).parents[1] / "tests" / "sql" / "attacks.jsonl"
GOLD = "SELECT name FROM singer WHERE age > 30"
HONEST = "SELECT name FROM singer WHERE NOT age <= 30"


def attacks() -> dict[str, str]:
    """Name and SQL; `{40*text}` in the corpus stands for the text forty times."""
    rows = map(json.loads, CORPUS.read_text("utf-8").splitlines())
    return {
        row["name"]: re.sub(r"\{(\d+)\*([^}]*)\}", lambda m: m[2] * int(m[1]), row["sql"])
        for row in rows
    }


def make(path: Path) -> Database:
    connection = sqlite3.connect(path)
    connection.executescript(
        """CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, age INTEGER);
        INSERT INTO singer VALUES (1, 'Ada', 36), (2, 'Bo', 29), (3, 'Cy', 41);
        CREATE TABLE many (x INTEGER);
        WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 5000) INSERT INTO many SELECT x FROM c;
        CREATE VIEW endless AS
            WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c;"""
    )
    connection.close()
    return Database.sqlite("stage", path)


def one_by_one(database: Database, limits: Limits) -> dict[str, Any]:
    """The time of each attack alone, and whether the next query answers."""
    allowed = 1.5 * limits.timeout_s + 0.5
    took: dict[str, float] = {}
    deaf = []
    with Executor(limits, workers=1) as executor:
        for name, sql in attacks().items():
            executor.judge([Job(database, GOLD, HONEST)])  # the worker is up
            begun = time.perf_counter()
            executor.judge([Job(database, GOLD, sql)])
            took[name] = time.perf_counter() - begun
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
        "next_query_failed": deaf,
    }


def flood(database: Database, limits: Limits, queries: int, workers: int) -> dict[str, Any]:
    """So many hostile statements in one call; a comment makes each one different."""
    corpus = list(attacks().values())
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--timeout", type=float, default=1.0, help="the limit of a statement, s")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = make(Path(folder) / "stage.sqlite")
        before = database.path.read_bytes()
        report = {
            "one_by_one": one_by_one(database, Limits(timeout_s=options.timeout)),
            "flood": flood(database, Limits(timeout_s=0.1), options.queries, options.workers),
            "processes_left": children(),
            "threads_left": threading.active_count() - 1,
            "database_unchanged": database.path.read_bytes() == before,
            "files_left": sorted(path.name for path in Path(folder).iterdir()),
        }
    print(json.dumps(report, indent=2 if options.json else None))


if __name__ == "__main__":
    main()

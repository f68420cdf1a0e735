"""How fast candidates are scored, what the guard costs, and how public evaluators compare on the same pairs.

    python bench/execution.py --json
    python bench/execution.py --json --peer CHECKOUT_OF_TEST_SUITE --peer CHECKOUT_OF_MINI_DEV

Pairs are DAIL-SQL's and CodeLlama's predictions on Spider dev, below `$EXSPIN_DATA`. One worker; every figure is the
median of `--repeats` runs, with the lowest and the highest beside it. Ours starts cold each time (no database open, no
gold kept) but for its process, as peers' imports and pools are not counted either. Peers get copies of the databases,
since they open them for writing; pairs whose database is missing are left out for everybody.

`engine`: what SQLite alone takes for the same statements, each distinct one once, in a bare loop. `overhead_us` is what
we take beyond that for each candidate. `hardening_overhead` compares processor time in one process: the guarded engine
against the bare loop, both fetching and comparing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from exspin.data import load
from exspin.predictions import read_predictions
from exspin.records import Outcome
from exspin.sql.compare import compare, rule_for
from exspin.sql.engines import Budget
from exspin.sql.engines.sqlite import SQLite
from exspin.sql.execute import Executor, Job, Limits
from exspin.sql.extract import gate
from peers import name_of

SYSTEMS = {"dail-sql": "dail_sql_gpt4", "codellama": "codellama_7b_zero_shot"}
SLOW = 0.05  # seconds on the engine: CodeLlama's two slow queries take 0.2 s, all others less than 0.02 s


def jobs_of(data: Path, system: str) -> list[Job]:
    """The pairs whose database is there, as its predictions file has them."""
    split = load(f"spider:{data / 'spider'}", "dev")
    path = data / "predictions" / "spider_dev" / f"{SYSTEMS[system]}.sql"
    texts = [text.partition("\t")[0] for text in read_predictions(path, split.examples)]
    return [
        Job(split.databases[example.db_id], example.query, text)
        for example, text in zip(split.examples, texts, strict=True)
        if example.db_id in split.databases
    ]


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def statements(jobs: Sequence[Job]) -> list[tuple[Path, str]]:
    """What has to be executed at least: each distinct gold and each distinct candidate that the gate lets through."""
    wanted: dict[tuple[Path, str], None] = {}
    for job in jobs:
        for text in (job.gold, job.candidate):
            gated = gate(text)
            if gated.outcome is None:
                wanted[job.database.path, gated.sql] = None
    return list(wanted)


def bare(wanted: Sequence[tuple[Path, str]]) -> list[float]:
    """Execute and fetch, nothing else; seconds of each."""
    connections: dict[Path, sqlite3.Connection] = {}
    took = []
    for path, sql in wanted:
        begun = time.perf_counter()
        if path not in connections:
            connections[path] = sqlite3.connect(path)
            connections[path].text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        with suppress(sqlite3.Error, sqlite3.Warning):
            connections[path].execute(sql).fetchall()
        took.append(time.perf_counter() - begun)
    for connection in connections.values():
        connection.close()
    return took


def slow_ones(jobs: Sequence[Job]) -> set[str]:
    wanted = statements(jobs)
    return {sql for (_, sql), took in zip(wanted, bare(wanted), strict=True) if took > SLOW}


def ours(jobs: Sequence[Job]) -> tuple[float, int]:
    """Seconds and matches of one worker that has just started."""
    with Executor(Limits(timeout_s=30.0), workers=1) as executor:
        executor.run(jobs[0].database, "SELECT 1")
        begun = time.perf_counter()
        judged = executor.judge(jobs, "test-suite")
        return time.perf_counter() - begun, sum(j.outcome is Outcome.MATCH for j in judged)


def hardening(jobs: Sequence[Job]) -> float:
    """Processor time of the guarded engine over that of a bare loop, minus one; both fetch, and compare with the gold."""
    pairs = [
        (job.database.path, gold.sql, candidate.sql)
        for job in jobs
        if (gold := gate(job.gold)).outcome is None
        and (candidate := gate(job.candidate)).outcome is None
    ]
    rules = {gold: rule_for("default", gold) for _, gold, _ in pairs}

    def guarded() -> None:
        engines: dict[Path, SQLite] = {}
        for path, gold_sql, sql in pairs:
            if path not in engines:
                engines[path] = SQLite(str(path), Limits())
            gold, other = (engines[path].run(text, Budget(30.0, 10**9)) for text in (gold_sql, sql))
            if other.outcome is None:
                widths = (len(gold.columns), len(other.columns))
                compare(gold.rows, other.rows, widths, rules[gold_sql])
        for engine in engines.values():
            engine.close()

    def plain() -> None:
        connections: dict[Path, sqlite3.Connection] = {}
        for path, gold_sql, sql in pairs:
            if path not in connections:
                connections[path] = sqlite3.connect(path)
            try:
                found = []
                for text in (gold_sql, sql):
                    cursor = connections[path].execute(text)
                    found.append((cursor.fetchall(), len(cursor.description)))
            except (sqlite3.Error, sqlite3.Warning):
                continue
            (gold, gold_width), (other, width) = found
            compare(gold, other, (gold_width, width), rules[gold_sql])
        for connection in connections.values():
            connection.close()

    def cpu(work: Callable[[], None]) -> float:
        begun = time.process_time()
        work()
        return time.process_time() - begun

    cpu(plain), cpu(guarded)  # files are in memory now
    return statistics.median(cpu(guarded) / cpu(plain) for _ in range(9)) - 1


def twelve_columns() -> float:
    """Milliseconds to compare two tables of twelve columns of 0 and 1, the slowest of many: equal but for the order of
    columns and rows, or equal in every count and yet different.
    """
    draw = random.Random(0)
    slowest = 0.0
    for rows in (12, 50, 400):
        for changed in (False, True):
            for _ in range(20):
                table = [tuple(draw.randint(0, 1) for _ in range(12)) for _ in range(rows)]
                order = draw.sample(range(12), 12)
                other = [[row[place] for place in order] for row in table]
                if changed:  # two cells change places, so all counts of values stay
                    a, b = draw.sample(range(12), 2)
                    other[0][a], other[0][b] = other[0][b], other[0][a]
                draw.shuffle(other)
                begun = time.perf_counter()
                compare(table, [tuple(row) for row in other], (12, 12), rule_for("default", ""))
                slowest = max(slowest, time.perf_counter() - begun)
    return 1000 * slowest


def peer(checkout: Path, jobs: Sequence[Job]) -> dict[str, Any]:
    """One run of a public evaluator on fresh copies of the databases."""
    with tempfile.TemporaryDirectory() as folder:
        copies: dict[Path, str] = {}
        for job in jobs:
            original = job.database.path
            if original not in copies:
                place = (
                    Path(folder) / original.stem
                )  # one folder each: test-suite runs all files of a folder
                place.mkdir()
                copies[original] = str(shutil.copy(original, place))
                os.chmod(copies[original], 0o644)
        pairs = [[job.candidate or " ", job.gold, copies[job.database.path]] for job in jobs]
        file = Path(folder) / "pairs.json"
        file.write_text(json.dumps(pairs), "utf-8")
        command = [
            sys.executable,
            str(Path(__file__).with_name("peers.py")),
            str(checkout),
            str(file),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{checkout}: {done.stderr.strip().splitlines()[-1]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(jobs: Sequence[Job], peers: Sequence[Path], repeats: int) -> dict[str, Any]:
    """Ours and the peers in turn, so that a change in the machine's speed meets all of them."""
    wanted = statements(jobs)
    bare(wanted)
    seconds: dict[str, list[float]] = {"ours": [], "engine": []}
    matches: dict[str, int] = {}
    for _ in range(repeats):
        seconds["engine"].append(sum(bare(wanted)))
        took, matches["ours"] = ours(jobs)
        seconds["ours"].append(took)
        for checkout in peers:
            found = peer(checkout, jobs)
            seconds.setdefault(found["name"], []).append(found["seconds"])
            matches[found["name"]] = found["matches"]
    n = len(jobs)
    ratios = {
        name: spread([theirs / mine for theirs, mine in zip(took, seconds["ours"], strict=True)])
        for name, took in seconds.items()
        if name not in ("ours", "engine")
    }
    beyond = [
        (mine - engine) / n * 1e6
        for mine, engine in zip(seconds["ours"], seconds["engine"], strict=True)
    ]
    return {
        "candidates": n,
        "candidates_per_s": n / statistics.median(seconds["ours"]),
        "overhead_us": spread(beyond),
        "seconds": {name: spread(took) for name, took in seconds.items()},
        "matches": matches,
        "ratios": ratios,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer", type=Path, action="append", default=[], metavar="CHECKOUT")
    parser.add_argument("--data", type=Path, default=os.environ.get("EXSPIN_DATA"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.data is None:
        parser.error(
            "no data: set EXSPIN_DATA or give --data, the folder that holds spider/ and predictions/"
        )
    for checkout in options.peer:
        name_of(checkout)
    dail = jobs_of(options.data, "dail-sql")
    llama = jobs_of(options.data, "codellama")
    slow = slow_ones(llama)
    results = {
        "dail-sql": measure(dail, options.peer, options.repeats),
        "codellama": measure(llama, options.peer, options.repeats),
        "codellama-without-slow": measure(
            [job for job in llama if gate(job.candidate).sql not in slow],
            options.peer,
            options.repeats,
        ),
    }
    report = {
        "candidates_per_s": results["dail-sql"]["candidates_per_s"],
        "hardening_overhead": hardening(dail),
        "peers": {name: r["median"] for name, r in results["dail-sql"]["ratios"].items()},
        "overhead_us": results["dail-sql"]["overhead_us"]["median"],
        "slow": len(slow),
        "twelve_columns_ms": twelve_columns(),
        "python": sys.version.partition(" ")[0],
        "sqlite": sqlite3.sqlite_version,
        "systems": results,
    }
    if options.json:
        print(json.dumps(report, indent=2))
        return
    print(f"scored candidates a second (DAIL-SQL, one worker): {report['candidates_per_s']:,.0f}")
    print(f"beyond the engine's own time: {report['overhead_us']:.0f} µs a candidate")
    print(f"guarded against bare, processor time: {report['hardening_overhead']:+.1%}")
    print(f"twelve columns of 0 and 1 compared: {report['twelve_columns_ms']:.1f} ms at most")
    for name, result in results.items():
        for other, ratio in result["ratios"].items():
            print(
                f"{name}: {ratio['median']:.1f} × {other} ({ratio['low']:.1f}–{ratio['high']:.1f})"
            )


if __name__ == "__main__":
    main()

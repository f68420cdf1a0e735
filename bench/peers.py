"""Run a public evaluator's own code over pairs of predicted and gold SQL, and say how long it took.

`bench/execution.py` starts this in a process of its own: `python bench/peers.py CHECKOUT PAIRS.json`. The checkout is
imported from where it lies; none of its code is part of this repository. Only its work is timed: its imports are over,
and the start of its process pool is measured apart and taken off. What it needs beside the standard library has to be
installed (func_timeout for BIRD mini-dev; tqdm, sqlparse for test-suite-sql-eval); drivers of database servers, which
BIRD's script imports and does not use on SQLite, are replaced by empty modules where they are missing.

The databases are copies: both evaluators open them for writing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

Pairs = list[tuple[str, str, str]]  # predicted SQL, gold SQL, database file


def name_of(checkout: Path) -> str:
    """Which evaluator a checkout holds. Raises `SystemExit` where it is none of those known."""
    if (checkout / "evaluation" / "evaluation_ex.py").exists():
        return "bird-mini-dev"
    if (checkout / "exec_eval.py").exists():
        return "test-suite-sql-eval"
    raise SystemExit(
        f"{checkout}: neither BIRD mini-dev nor test-suite-sql-eval; give a checkout of one"
    )


def bird_mini_dev(checkout: Path) -> Callable[[Pairs], list[int]]:
    """Its `run_sqls_parallel` with one process and its 30 s limit."""
    for driver in ("psycopg2", "pymysql"):
        if importlib.util.find_spec(driver) is None:
            sys.modules[driver] = ModuleType(driver)
    sys.path.insert(0, str(checkout / "evaluation"))
    import evaluation_ex

    def judge(pairs: Pairs) -> list[int]:
        evaluation_ex.exec_result = []  # its script makes this list before the call
        evaluation_ex.run_sqls_parallel(
            [(predicted, gold) for predicted, gold, _ in pairs],
            db_places=[database for _, _, database in pairs],
            num_cpus=1,
            meta_time_out=30.0,
            sql_dialect="SQLite",
        )
        return [row["res"] for row in sorted(evaluation_ex.exec_result, key=lambda r: r["sql_idx"])]

    return judge


def test_suite(checkout: Path) -> Callable[[Pairs], list[int]]:
    """Its `eval_exec_match`, DISTINCT dropped as its script does by default, values as predicted."""
    sys.path.insert(0, str(checkout))
    import exec_eval

    def judge(pairs: Pairs) -> list[int]:
        return [
            exec_eval.eval_exec_match(
                db=database,
                p_str=predicted,
                g_str=gold,
                plug_value=False,
                keep_distinct=False,
                progress_bar_for_each_datapoint=False,
            )
            for predicted, gold, database in pairs
        ]

    return judge


def main(checkout: Path, pairs_file: Path) -> dict[str, Any]:
    """Judge all pairs; seconds are without imports and without the start of a pool."""
    pairs: Pairs = [tuple(row) for row in json.loads(pairs_file.read_text("utf-8"))]
    name = name_of(checkout)
    judge = (bird_mini_dev if name == "bird-mini-dev" else test_suite)(checkout)
    with contextlib.redirect_stdout(io.StringIO()):
        begun = time.perf_counter()
        judge([])
        started = time.perf_counter()
        verdicts = judge(pairs)
        done = time.perf_counter()
    return {
        "name": name,
        "seconds": (done - started) - (started - begun),
        "matches": sum(verdicts),
        "n": len(verdicts),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))) + "\n")

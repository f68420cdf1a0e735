"""Is this machine ready, and for what? Each check says what it found and, where something is wrong, the cure.

It runs a hostile query against a throw-away database to show that the guard holds here; it measures nothing and loads
no model.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from exspin.records import Database, Outcome
from exspin.run_directory import versions
from exspin.sql.execute import Executor, Job, Limits


@dataclass(frozen=True)
class Extra:
    """An optional part of the installation. `used` False: reserved, nothing in this version needs it."""

    packages: tuple[str, ...]
    purpose: str
    used: bool


EXTRAS = {
    "train": Extra(
        ("torch", "transformers", "peft", "accelerate"), "running and evaluating models", used=True
    ),
    "duckdb": Extra(("duckdb",), "DuckDB databases", used=True),
    "server": Extra(
        ("sqlalchemy", "psycopg", "pymysql"), "PostgreSQL and MySQL databases", used=True
    ),
    "serve": Extra(("fastapi", "uvicorn"), "answering over HTTP", used=False),
}
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


@dataclass(frozen=True)
class Check:
    """One finding. `ok` False means that something a user needs does not work."""

    name: str
    ok: bool
    found: str

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "ok": self.ok, "found": self.found}


@dataclass(frozen=True)
class Diagnosis:
    """All checks; `ok` when none failed."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "versions": versions(),
            "checks": [check.to_json() for check in self.checks],
        }


def doctor() -> Diagnosis:
    """Check this machine."""
    return Diagnosis(tuple(_checks()))


def _checks() -> Iterator[Check]:
    found = versions()
    yield Check("python", True, f"Python {found['python']}, SQLite {sqlite3.sqlite_version}")
    yield _resources()
    for name, extra in EXTRAS.items():
        yield _extra(name, extra)
    yield from _guard()


def _resources() -> Check:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    cores = len(os.sched_getaffinity(0))
    text = f"{cores} CPU cores, {memory:.0f} GiB memory, {free:.0f} GiB free on this disk"
    if free < 2:
        return Check("resources", False, f"{text}; a run needs 2 GiB: free some space")
    return Check("resources", True, text)


def _extra(name: str, extra: Extra) -> Check:
    missing, present = [], []
    for package in extra.packages:
        try:
            present.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    found = ", ".join(present)
    if missing:
        found = f"not installed ({', '.join(missing)})"
        if extra.used:
            found += f'; pip install "exspin[{name}]" adds it'
    unused = "" if extra.used else ", not used by this version"
    return Check(f"extra [{name}]", True, f"for {extra.purpose}{unused}: {found}")


def _guard() -> Iterator[Check]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "example.sqlite"
        connection = sqlite3.connect(path)
        connection.executescript("CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (1), (2);")
        connection.close()
        before = path.read_bytes()
        database, gold = Database.sqlite("example", path), "SELECT x FROM t"
        hostile = {"SELECT x FROM t ORDER BY x": Outcome.MATCH, "DROP TABLE t": Outcome.DENIED}
        with Executor(Limits(timeout_s=0.5), workers=1) as executor:
            asked = executor.judge(
                [Job(database, gold, sql) for sql in [*hostile, ENDLESS]], "default"
            )
        right = [j.outcome for j in asked] == [*hostile.values(), Outcome.TIMEOUT]
        unchanged = path.read_bytes() == before
        yield Check(
            "guarded execution",
            right and unchanged,
            "a query runs, a write is denied, an endless one is stopped"
            if right and unchanged
            else f"expected match, denied, timeout; got {', '.join(j.outcome for j in asked)}",
        )

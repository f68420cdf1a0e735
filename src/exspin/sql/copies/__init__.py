"""Perturbed copies of a database, made once and kept: same schema, other rows.

Two queries that agree on one small database may agree by accident: the one filter that is missing would have removed
nothing, the two columns hold the same values. On copies with other rows (`perturb.py` says which) they part. The idea of
judging on many variants of a database is test-suite accuracy (Zhong, Yu and Klein 2020, arXiv 2010.02840); the generator
is our own.

A copy depends on the database's content, the seed, its number and what the golds of the database mention, and is
byte-identical for the same of these. It lies in a cache directory under a digest of them, never beside the user's data,
and is written whole or not at all. Building runs in a process of its own (`building.py`) with bounds on rows, memory,
file size and time; a database that cannot be copied is answered with the reason. SQLite alone.

    mentions   what golds say of values             perturb    rows of a copy (with observed, values, rowmaker)
    source     a database nobody trusts → rows      building   the process that writes copies
    ambiguity  does a query have several right answers on a copy
"""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from exspin.errors import ConfigError
from exspin.ledger import digest_file, digest_json, read_json, unwritable, write_json
from exspin.records import Database
from exspin.sql.copies.mentions import Mentions, read_mentions
from exspin.sql.schema import unfinished_log

GENERATOR = 1  # another number for other copies from the same inputs
MOST_COPIES = 100
BUILD_S = 60.0  # of processor time for ten copies of one database
_PATIENCE = 10  # times as long by the clock: a busy machine is no reason to refuse
MEMORY_MB = 1024  # of the building process
_PACKAGE_ROOT = str(Path(__file__).parents[3])
_BUILD = "import sys; sys.path.insert(0, sys.argv[1]); from exspin.sql.copies.building import main; main()"


@dataclass(frozen=True, slots=True)
class CopySet:
    """The copies of one database. `refused` says why there are none; then `databases` is empty."""

    databases: tuple[Database, ...] = ()
    tables: tuple[str, ...] = ()
    refused: str = ""


def check_engine(databases: Iterable[Database]) -> None:
    """Raises `ConfigError` for a database that is no SQLite file: copies of others are not made."""
    for database in databases:
        if database.kind != "sqlite":
            raise ConfigError(
                f"copies: database {database.db_id!r} is on {database.kind}, and copies are made of SQLite files only; "
                "set copies to 0"
            )


def make_copies(
    databases: Mapping[str, Database],
    golds: Mapping[str, Sequence[str]],
    count: int,
    cache: Path,
    *,
    seed: int = 0,
    strict: bool = False,
    workers: int = 2,
    build_s: float = BUILD_S,
) -> dict[str, CopySet]:
    """`count` copies of every database, by db_id, from the cache or new. `golds`: by db_id, what asks the database.

    `strict` leaves out what a copy does for the sake of what people mean: the largest and smallest values of a column,
    and names that golds name, may then occur twice though they do not in the original. Raises `ConfigError` for a database that is not SQLite and `RunError` where the cache cannot be written.
    """
    check_engine(databases.values())
    waiting = deque(databases)
    found: dict[str, CopySet] = {}
    running: deque[tuple[str, _Build]] = deque()
    try:
        while waiting or running:
            while waiting and len(running) < max(1, workers):
                name = waiting.popleft()
                mentions = read_mentions(golds.get(name, ()))
                build = _Build(databases[name], mentions, count, cache, seed, strict, build_s)
                build.start()
                running.append((name, build))
            name, build = running[0]
            found[name] = build.finish()
            running.popleft()
    finally:
        for _, build in running:
            build.kill()
    return found


class _Build:
    """The copies of one database, on their way."""

    def __init__(
        self,
        database: Database,
        mentions: Mentions,
        count: int,
        cache: Path,
        seed: int,
        strict: bool,
        build_s: float,
    ) -> None:
        self.database = database
        content = digest_file(database.path)
        key = digest_json([GENERATOR, content, seed, strict, mentions.to_json()])
        self.folder = cache / key[:32]
        self.count = count
        self._cpu_s = math.ceil(build_s * max(1.0, count / 10))
        self._message = {
            "original": str(database.path.absolute()),
            "folder": str(self.folder.absolute()),
            "seed": seed,
            "strict": strict,
            "mentions": mentions.to_json(),
            "memory_mb": MEMORY_MB,
            "cpu_s": self._cpu_s,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._deadline = 0.0
        self._unseen: Path | None = None

    def start(self) -> None:
        """Begin to build what is not there yet."""
        # Neither the digest of the file nor a connection that takes it for immutable would see what a log holds.
        self._unseen = unfinished_log(self.database.path)
        if self._unseen:
            return
        missing = [number for number in range(self.count) if not self._whole(number)]
        if not missing:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        self._deadline = time.monotonic() + _PATIENCE * self._cpu_s
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _BUILD, _PACKAGE_ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it died at once: `finish` meets its exit code
            self._process.stdin.write(
                json.dumps({**self._message, "numbers": missing}).encode() + b"\n"
            )
            self._process.stdin.flush()

    def finish(self) -> CopySet:
        """Wait for the building process and give what there is."""
        refused = self._wait() if self._process else ""
        if self._unseen:
            refused = f"{self._unseen.name} beside it holds changes that are not in the file yet"
        if refused:
            return CopySet(refused=refused)
        records = [read_json(self._record(number)) for number in range(self.count)]
        return CopySet(
            tuple(
                Database.sqlite(f"{self.database.db_id}, copy {number}", self._path(number))
                for number in range(self.count)
            ),
            tuple(records[0]["tables"]) if records else (),
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def _wait(self) -> str:
        """Record each copy that was made; says why not all were."""
        assert self._process
        try:
            patience = max(0.0, self._deadline - time.monotonic())
            output, said = self._process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, said = self._process.communicate()
        code = self._process.returncode
        refused = ""
        if code:
            for half in self.folder.glob(f".*.sqlite.{self._process.pid}"):
                half.unlink(missing_ok=True)
            last = said.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
            refused = f"the building process ended with exit code {code} ({last})"
        if code in (-signal.SIGKILL, -signal.SIGXCPU):
            refused = f"not built within {self._cpu_s} s of processor time"
        for line in output.rpartition(b"\n")[0].splitlines():
            answer = json.loads(line)
            if "refused" in answer:
                refused = answer["refused"]
            elif "unwritable" in answer:
                raise unwritable(self.folder, OSError(*answer["unwritable"]))
            else:
                write_json(self._record(answer["number"]), answer)
        return refused

    def _whole(self, number: int) -> bool:
        path, record = self._path(number), self._record(number)
        if not path.exists() or not record.exists():
            return False
        return bool(read_json(record)["sha256"] == digest_file(path))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:04d}.sqlite"

    def _record(self, number: int) -> Path:
        return self.folder / f"{number:04d}.json"

"""The process that runs SQL nobody trusts: one JSON message a line in, one answer a line out.

It serves one kind of database (`exspin.sql.engines`), keeps some open, and compares gold and candidate here: rows travel
only for `run`. An engine keeps its own limits; what none of them stops is killed by the parent when an answer is
overdue, and an alarm does it when the parent is gone. Messages are JSON, so nothing that comes back can run code in the
parent. Only the standard library, this package's light modules and the driver of one engine are loaded.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Any

from exspin.errors import UserError
from exspin.records import Outcome
from exspin.sql.compare import Rule, compare
from exspin.sql.engines import Budget, Engine, EngineModule, Limits, Ran, engine_module

_OPEN_DATABASES = 16
_KEPT_GOLD_BYTES = 32_000_000


class Worker:
    """Answers messages. Gold results are kept, newest first, so every gold runs once while it is needed."""

    def __init__(self, engines: EngineModule, limits: Limits) -> None:
        self._engines = engines
        self._limits = limits
        self._budget = Budget(limits.timeout_s, limits.max_operations)
        self._open: OrderedDict[str, Engine] = OrderedDict()
        self._gold: OrderedDict[tuple[str, Hashable, str], Ran] = OrderedDict()
        self._gold_bytes = 0

    def judge(self, url: str, gold_sql: str, rule: Rule, candidates: Iterable[str]) -> None:
        """One answer for the gold, then one for each candidate; none for them if the gold is unusable."""
        engine = self._engine(url)
        gold = self._run_gold(engine, url, gold_sql)
        _answer([gold.outcome or "", gold.detail])
        if gold.outcome is not None:
            return
        for sql in candidates:
            self._set_alarm()
            ran = engine.run(sql, self._budget)
            if ran.outcome is not None:
                _answer([ran.outcome, ran.detail])
                continue
            _answer(["ran"])
            try:
                widths = (len(gold.columns), len(ran.columns))
                mismatch = compare(gold.rows, ran.rows, widths, rule)
            except MemoryError:
                _answer([Outcome.TOO_LARGE, "memory"])
                continue
            _answer([Outcome.MISMATCH, mismatch] if mismatch else [Outcome.MATCH, ""])

    def run(self, url: str, sql: str) -> None:
        """Execute one statement and send its rows."""
        self._set_alarm()
        engine = self._engine(url)
        engine.state()
        ran = engine.run(sql, self._budget)
        _answer(["ran"])
        try:
            rows = [[_plain(cell) for cell in row] for row in ran.rows]
            data = _encoded([ran.outcome or "", ran.detail, ran.columns, rows])
            if len(data) > self._limits.max_bytes:  # control characters take six times their length
                data = _encoded([Outcome.TOO_LARGE, "bytes", [], []])
            _send(data)
        except MemoryError:
            _answer([Outcome.TOO_LARGE, "memory", [], []])

    def _engine(self, url: str) -> Engine:
        if engine := self._open.get(url):
            self._open.move_to_end(url)
            return engine
        while len(self._open) >= _OPEN_DATABASES:
            self._open.popitem(last=False)[1].close()
        engine = self._open[url] = self._engines.open_engine(url, self._limits, lambda: _answer([]))
        return engine

    def _run_gold(self, engine: Engine, url: str, sql: str) -> Ran:
        state = engine.state()
        key = (url, state, sql)
        if ran := self._gold.get(key):
            self._gold.move_to_end(key)
            return ran
        self._set_alarm()
        ran = engine.run(sql, self._budget)
        if ran.outcome is None and state is not None:
            self._gold[key] = ran
            self._gold_bytes += ran.size
            while self._gold_bytes > _KEPT_GOLD_BYTES:
                self._gold_bytes -= self._gold.popitem(last=False)[1].size
        return ran

    def _set_alarm(self) -> None:
        """End this process long after the parent should have done so."""
        signal.setitimer(signal.ITIMER_REAL, 6 * self._limits.timeout_s + 60)


def _plain(cell: Any) -> Any:
    """A cell as JSON can carry it: blobs in hex under a key, broken text mended."""
    if isinstance(cell, bytes):
        return {"blob": cell.hex()}
    if isinstance(cell, str) and not cell.isascii():
        return cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return cell


def _answer(message: list[Any]) -> None:
    """Send `[outcome, detail, …]`, or a sign of life: `["ran"]` after a statement, `[]` where one begins anew."""
    _send(_encoded(message))


def _encoded(message: list[Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _send(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


def main() -> None:
    """Serve until standard input ends. The first message holds the kind of database and the limits."""
    first = json.loads(sys.stdin.buffer.readline())
    limits = Limits(**first["limits"])
    try:
        engines = engine_module(first["kind"])
        engines.confine(limits)
        worker = Worker(engines, limits)
        _answer(["ready"])
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if "run" in message:
                worker.run(message["url"], message["run"])
            else:
                for gold, rule, candidates in message["tasks"]:
                    worker.judge(message["url"], gold, Rule(*rule), candidates)
            signal.setitimer(signal.ITIMER_REAL, 0)
    except UserError as error:  # for the user to mend: the parent raises it
        _answer(["refused", type(error).__name__, str(error)])


if __name__ == "__main__":
    main()

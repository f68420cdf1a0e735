"""The process that runs SQL nobody trusts: one JSON message a line in, answers a line out.

It serves one kind of database (`exspin.sql.engines`), keeps some open, and compares gold and candidate here: rows travel
only for statements that are run for them. An engine keeps its own limits; what none of them stops is killed by the
parent when it is overdue by the page they share (`exspin.sql.desk`), and an alarm does it when the parent is gone.
Messages are JSON, so nothing that comes back can run code in the parent. Only the standard library, this package's
light modules and the driver of one engine are loaded.

An answer begins with the task's number in the message and the statement's in the task (0: the gold, of which only
failures are told). Answers travel together, but never wait for a statement longer than `_FLUSH_S`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any

from exspin.errors import UserError
from exspin.records import Outcome
from exspin.sql.compare import Rule, compare
from exspin.sql.desk import Desk
from exspin.sql.engines import (
    AGAIN,
    COUNTS_OPERATIONS,
    FULL_SHARE,
    Budget,
    Engine,
    EngineModule,
    Limits,
    Ran,
    engine_module,
)
from exspin.sql.golds import Golds, Kept

_OPEN_DATABASES = 16
_FLUSH_S = 0.01
_OWN_WORK_S = 30.0  # for comparing and encoding large results, which no statement pays for


class Worker:
    """Answers messages."""

    def __init__(self, kind: str, engines: EngineModule, limits: Limits, desk: Desk) -> None:
        self._engines = engines
        self._limits = limits
        self._desk = desk
        self._counts = kind in COUNTS_OPERATIONS
        self._whole_budget = self._budget(limits.operations_allowed)
        self._open: OrderedDict[str, Engine] = OrderedDict()
        self._golds = Golds()
        self._states: dict[str, Hashable | None] = {}  # of databases, looked at just now
        self._answers: list[list[Any]] = []
        self._told_at = 0.0
        self._alone = False

    def serve(self, message: dict[str, Any]) -> None:
        """Everything one message asks for; a last answer, null, says that it is done."""
        url = message["url"]
        self._alone = message["alone"]
        self._states.clear()
        self._tell()
        for number, (gold, rule, statements) in enumerate(message["tasks"]):
            engine = self._engine(url)
            if gold is None:
                engine.state()
                self._fetch(number, engine, statements)
            else:
                self._judge(number, engine, url, gold, Rule(*rule), statements)
        self._tell(done=True)
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _judge(
        self,
        number: int,
        engine: Engine,
        url: str,
        gold_sql: str,
        rule: Rule,
        candidates: Sequence[str],
    ) -> None:
        """One answer for each candidate, or one for the gold if that is unusable."""
        if time.monotonic() > self._told_at + _FLUSH_S:
            self._tell()
            self._states.clear()
        if url not in self._states:
            self._states[url] = engine.state()
        key = (url, self._states[url], gold_sql)
        found = self._golds.get(key) or self._run_gold(number, engine, key)
        if found is None:
            return
        gold = found
        budget = self._whole_budget
        if gold.operations is not None:
            budget = self._budget(self._limits.operations_beside(gold.operations))
        for place, sql in enumerate(candidates, 1):
            ran = self._run(number, place, engine, sql, budget)
            if ran.outcome is not None:
                self._answers.append([number, place, *self._refused(ran)])
                continue
            self._desk.extend(_OWN_WORK_S)
            try:
                if gold.surely_equal(ran, rule):
                    self._answers.append([number, place, Outcome.MATCH, ""])
                    continue
                if gold.rows is None:  # let go to save memory
                    found = self._run_gold(number, engine, key)
                    if found is None:
                        return
                    gold = found
                    self._desk.extend(_OWN_WORK_S)
                widths = (gold.width, len(ran.columns))
                mismatch = compare(gold.rows or (), ran.rows, widths, rule)
            except MemoryError:
                self._answers.append([number, place, Outcome.TOO_LARGE, "memory"])
                continue
            answer = [Outcome.MISMATCH, mismatch] if mismatch else [Outcome.MATCH, ""]
            self._answers.append([number, place, *answer])

    def _run_gold(
        self, number: int, engine: Engine, key: tuple[str, Hashable | None, str]
    ) -> Kept | None:
        """The gold's result; None, and an answer, where it is unusable."""
        ran = self._run(number, 0, engine, key[2], self._whole_budget)
        if ran.outcome is not None:
            self._answers.append([number, 0, *self._refused(ran)])
            return None
        gold = Kept(ran)
        self._golds.keep(key, gold)
        return gold

    def _fetch(self, number: int, engine: Engine, statements: Sequence[str]) -> None:
        """Send the rows of each statement."""
        for place, sql in enumerate(statements, 1):
            begun = time.perf_counter()
            ran = self._run(number, place, engine, sql, self._whole_budget)
            seconds = time.perf_counter() - begun
            self._tell()
            self._desk.extend(_OWN_WORK_S)
            head = [number, place]
            tail = [seconds, ran.operations]
            try:
                rows = [[_plain(cell) for cell in row] for row in ran.rows]
                outcome = self._refused(ran) if ran.outcome is not None else ["", ""]
                data = _encoded([[*head, *outcome, ran.columns, rows, *tail]])
                if (
                    len(data) > self._limits.max_bytes
                ):  # control characters take six times their length
                    data = _encoded([[*head, Outcome.TOO_LARGE, "bytes", [], [], *tail]])
                _send(data)
            except MemoryError:
                _send(_encoded([[*head, Outcome.TOO_LARGE, "memory", [], [], *tail]]))

    def _run(self, task: int, place: int, engine: Engine, sql: str, budget: Budget) -> Ran:
        if time.monotonic() > self._told_at + _FLUSH_S:
            self._tell()
        self._desk.begin(task, place, self._limits.patience_s)
        return engine.run(sql, budget)

    def _refused(self, ran: Ran) -> list[Any]:
        """The answer for a statement that did not run."""
        if self._counts and ran.outcome is Outcome.TIMEOUT and ran.detail == "wall":
            share = self._desk.busy().share(time.process_time())
            if not self._alone or share < FULL_SHARE:
                return [AGAIN, ran.detail]
        return [ran.outcome, ran.detail]

    def _budget(self, operations: int) -> Budget:
        return Budget(self._limits.timeout_s, operations if self._counts else None)

    def _engine(self, url: str) -> Engine:
        if engine := self._open.get(url):
            self._open.move_to_end(url)
            return engine
        while len(self._open) >= _OPEN_DATABASES:
            self._open.popitem(last=False)[1].close()
        engine = self._open[url] = self._engines.open_engine(url, self._limits, self._begin_anew)
        return engine

    def _begin_anew(self) -> None:
        self._desk.extend(self._limits.patience_s)

    def _tell(self, *, done: bool = False) -> None:
        """Send the answers there are. From here on the parent has the time of one statement to be gone in."""
        if self._answers or done:
            _send(_encoded([*self._answers, None] if done else self._answers))
            self._answers = []
        self._told_at = time.monotonic()
        self._desk.note_cpu()
        signal.setitimer(signal.ITIMER_REAL, 6 * self._limits.timeout_s + 60)


def _plain(cell: Any) -> Any:
    """A cell as JSON can carry it: blobs in hex under a key, broken text mended."""
    if isinstance(cell, bytes):
        return {"blob": cell.hex()}
    if isinstance(cell, str) and not cell.isascii():
        return cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return cell


def _encoded(message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _send(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


def main(arguments: Sequence[str]) -> None:
    """Serve until standard input ends. The last argument is the shared page; the first message holds the kind of
    database and the limits.
    """
    desk = Desk(int(arguments[-1]))
    first = json.loads(sys.stdin.buffer.readline())
    limits = Limits(**first["limits"])
    try:
        engines = engine_module(first["kind"])
        engines.confine(limits)
        worker = Worker(first["kind"], engines, limits, desk)
        _send(_encoded([]))
        for line in sys.stdin.buffer:
            worker.serve(json.loads(line))
    except UserError as error:  # for the user to mend: the parent raises it
        _send(_encoded({"refused": type(error).__name__, "why": str(error)}))

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
from typing import Any, cast

from exspin.errors import UserError
from exspin.records import Outcome
from exspin.sql.compare import Mismatch, Rule, compare
from exspin.sql.desk import Desk
from exspin.sql.engines import (
    AGAIN,
    COUNTS_OPERATIONS,
    FULL_SHARE,
    IN_PROCESS,
    NO_MEMORY,
    OPENS_BACKWARDS,
    SHARES_MEMORY,
    BackwardsModule,
    Budget,
    Engine,
    EngineModule,
    Limits,
    Ran,
    engine_module,
)
from exspin.sql.golds import Golds, Kept
from exspin.sql.ties import broken_ties

_OPEN_DATABASES = 16
_FLUSH_S = 0.01
_OPENING_S = 30.0  # for opening a database, which no statement pays for either
_OWN_WORK_S = 30.0  # for comparing and encoding large results, which no statement pays for


class Worker:
    """Answers messages."""

    def __init__(self, kind: str, engines: EngineModule, limits: Limits, desk: Desk) -> None:
        self._engines = engines
        self._limits = limits
        self._desk = desk
        self._counts = kind in COUNTS_OPERATIONS
        self._in_process = kind in IN_PROCESS
        self._most_open = 1 if kind in SHARES_MEMORY else _OPEN_DATABASES
        self._backwards = kind in OPENS_BACKWARDS
        self._whole_budget = self._budget(limits.operations_allowed)
        self._open: OrderedDict[tuple[str, bool], Engine] = OrderedDict()
        self._golds = Golds()
        self._states: dict[str, Hashable | None] = {}  # of databases, looked at just now
        self._answers: list[list[Any]] = []
        self._told_at = 0.0
        self._alone = False
        self._exhausted = False  # no database can be opened any more

    def serve(self, message: dict[str, Any]) -> None:
        """Everything one message asks for; a last answer, null, says that it is done."""
        url = message["url"]
        self._alone = message["alone"]
        self._states.clear()
        self._tell()
        for number, (gold, rule, statements) in enumerate(message["tasks"]):
            engine = self._engine(url)
            if message.get("probe"):
                self._probe(number, engine, url, gold, Rule(*rule))
            elif gold is None:
                engine.state()
                self._fetch(number, engine, statements)
            else:
                self._judge(number, engine, url, gold, Rule(*rule), statements)
            if self._exhausted:
                self._tell()
                sys.exit()  # a new process has all its memory
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
            self._desk.extend(_OWN_WORK_S, running=True)
            try:
                if gold.surely_equal(ran, rule):
                    self._answers.append([number, place, Outcome.MATCH, ""])
                    continue
                if gold.rows is None:  # let go to save memory
                    found = self._run_gold(number, engine, key)
                    if found is None:
                        return
                    gold = found
                    self._desk.extend(_OWN_WORK_S, running=True)
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
            self._answers.append([number, 0, *self._refused(ran, gold=True)])
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
            self._desk.extend(_OWN_WORK_S, running=True)
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

    def _probe(self, number: int, engine: Engine, url: str, gold: str, rule: Rule) -> None:
        """Run a gold twice, the second time with rows that nothing orders reversed, and say how the results differ.

        Answers `[number, outcome, detail, rows, CPU seconds]`; if it ran also `[number, how, repeats, ties]`: how the
        second result differs, or what stopped it ("": it does not); whether a plain run gives the first result again;
        how results differ when the ties of its ORDER BY are broken up and down.
        """
        engine.state()
        begun = time.process_time()
        first = self._run(number, 0, engine, gold, self._whole_budget)
        seconds = time.process_time() - begun
        refused = ["", ""] if first.outcome is None else self._refused(first, gold=True)
        self._answers.append([number, *refused, len(first.rows), seconds])
        if first.outcome is not None:
            return
        self._tell()  # what comes now may have to be killed
        second = self._engine(url, backwards=self._backwards)
        second.state()
        how = self._differs(number, second, gold, rule, first)
        repeats = not how or not self._differs(number, engine, gold, rule, first)
        ties = ""
        if not how and (both := broken_ties(gold, len(first.columns))):
            upwards = self._run(number, 1, engine, both[0], self._whole_budget)
            if upwards.outcome is None:
                ties = self._differs(number, engine, both[1], rule, upwards)
        self._answers.append([number, how, repeats, ties if ties in list(Mismatch) else ""])

    def _differs(self, number: int, engine: Engine, sql: str, rule: Rule, first: Ran) -> str:
        ran = self._run(number, 1, engine, sql, self._whole_budget)
        if ran.outcome is not None:
            return ran.outcome
        self._desk.extend(_OWN_WORK_S, running=True)
        try:
            return compare(first.rows, ran.rows, (len(first.columns), len(ran.columns)), rule) or ""
        except MemoryError:
            return Outcome.TOO_LARGE

    def _run(self, task: int, place: int, engine: Engine, sql: str, budget: Budget) -> Ran:
        if time.monotonic() > self._told_at + _FLUSH_S:
            self._tell()
        self._desk.begin(task, place, self._limits.patience_s, running=True)
        ran = engine.run(sql, budget)
        self._desk.end()
        if ran.outcome is Outcome.INFRA and ran.detail == NO_MEMORY:
            self._exhausted = True
        return ran

    def _refused(self, ran: Ran, *, gold: bool = False) -> list[Any]:
        """The answer for a statement that did not run."""
        by_clock = ran.outcome is Outcome.TIMEOUT and ran.detail == "wall"
        return [AGAIN if by_clock and not self._clock_is_enough(gold) else ran.outcome, ran.detail]

    def _clock_is_enough(self, gold: bool) -> bool:
        """Only the clock stopped the statement that ran just now: does that say enough about it?"""
        full_share = self._desk.busy().share(time.process_time()) >= FULL_SHARE
        if self._counts:
            return self._alone and full_share
        # A gold costs all its candidates. On a server our processor time says nothing: it computes elsewhere.
        return not gold and (full_share or not self._in_process)

    def _budget(self, operations: int) -> Budget:
        return Budget(self._limits.timeout_s, operations if self._counts else None)

    def _engine(self, url: str, *, backwards: bool = False) -> Engine:
        key = (url, backwards)
        if engine := self._open.get(key):
            self._open.move_to_end(key)
            return engine
        while len(self._open) >= self._most_open:
            self._open.popitem(last=False)[1].close()
        opener = self._engines.open_engine
        if backwards:
            opener = cast(BackwardsModule, self._engines).open_backwards
        engine = self._open[key] = opener(url, self._limits, self._alive)
        return engine

    def _alive(self, running: bool) -> None:
        self._desk.note_cpu()
        patience_s = (
            self._limits.patience_s if running else max(_OPENING_S, self._limits.patience_s)
        )
        self._desk.extend(patience_s, running=running)

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

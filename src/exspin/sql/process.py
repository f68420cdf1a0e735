"""One worker process as its parent sees it: start it, send a message, read answers, know when it is overdue, end it.

The child is a fresh interpreter (never a fork, so neither threads nor a GPU context are inherited) that does not
import the caller's main module, ignores the environment's Python settings and leads its own session, so Ctrl-C
reaches only the parent. It ends by itself when its standard input does.

A page of shared memory says which statement the child is busy with and until when it may be. So answers can come back
many at a time, and the one statement that never ends is known all the same.
"""

from __future__ import annotations

import json
import mmap
import os
import selectors
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from exspin.errors import ConfigError, DatabaseError, ExspinError, UserError
from exspin.sql.desk import Busy, Desk
from exspin.sql.engines import Limits

_START_S = 60.0
_ENVELOPE = 1 << 20  # bytes an answer may have beside its rows
_PACKAGE_ROOT = str(Path(__file__).parents[2])
_REFUSALS = {"ConfigError": ConfigError, "DatabaseError": DatabaseError}
_SERVE = "import sys; sys.path.insert(0, sys.argv[1]); from exspin.sql.worker import main; main(sys.argv)"


class Stopped(NamedTuple):
    """What a worker was at when it died, and the processor time that this had by then, in seconds."""

    busy: Busy
    at: float  # by time.monotonic
    cpu_s: float

    @property
    def overdue(self) -> bool:
        """Had the statement begun, and its time passed?"""
        return self.busy.running and self.at >= self.busy.due


class WorkerProcess:
    """A running worker. `send` while it is idle, then `read` until everything asked for has come back."""

    def __init__(self, limits: Limits, kind: str) -> None:
        self.kind = kind
        self._limits = limits
        self._start()

    def _start(self) -> None:
        memory = os.memfd_create("exspin-worker")
        try:
            os.ftruncate(memory, mmap.PAGESIZE)
            self._desk = Desk(memory)
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _SERVE, _PACKAGE_ROOT, str(memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[memory],
            )
        finally:
            os.close(memory)
        assert self._process.stdin and self._process.stdout
        self._requests = self._process.stdin
        self.answers = self._process.stdout.fileno()
        os.set_blocking(self.answers, False)
        os.set_blocking(self._requests.fileno(), False)
        self._buffer = bytearray()
        self._ready = False
        self.lost = False
        self._desk.begin(0, 0, _START_S, running=False)
        self._write({"kind": self.kind, "limits": asdict(self._limits)})

    @property
    def overdue_at(self) -> float:
        """When what it does now must be done, by the clock of `time.monotonic`; moves on as it works."""
        return self._desk.busy().due

    @property
    def look_at(self) -> float:
        """When to look at it again, at the latest. What it does now, as opening a database, may have more time than the
        statement that follows; who slept until that was over would let the statement run as long."""
        return min(self.overdue_at, time.monotonic() + self._limits.patience_s)

    @property
    def overdue(self) -> bool:
        return time.monotonic() >= self.overdue_at

    def stop(self) -> Stopped:
        """Kill it. `read` still gives what it had said; `kill` lets go of the rest.

        Only a dead worker can be asked what it was at: one that lives may go on to the next statement at any moment.
        """
        cpu_s = self._cpu_s()
        now = time.monotonic()
        self._process.kill()
        self._process.wait()
        busy = self._desk.busy()
        return Stopped(busy, now, busy.share(cpu_s) * (now - busy.begun))

    def _cpu_s(self) -> float:
        """Processor time it has used; 0 once it is gone."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def send(self, message: dict[str, Any]) -> None:
        """Give an idle worker something to do. Raises `ExspinError` if it cannot be started."""
        if not self._ready:
            self._await_start()
        self._desk.begin(0, 0, self._limits.patience_s, running=False)
        self._write(message)

    def read(self) -> list[Any]:
        """The answers that have arrived since the last call; never waits. Sets `lost` at the end of the stream.

        Raises `UserError` where the engine refuses to serve for a reason that the user has to mend.
        """
        arrived = False
        try:
            while chunk := os.read(self.answers, 1 << 20):
                self._buffer += chunk
                arrived = True
                if len(self._buffer) > self._limits.max_bytes + _ENVELOPE:
                    self._buffer.clear()  # no worker of ours says so much
                    break
            self.lost = True
        except BlockingIOError:
            pass
        if not arrived:
            return []
        whole, newline, self._buffer = self._buffer.rpartition(b"\n")
        answers = [json.loads(line) for line in whole.split(b"\n")] if newline else []
        if refusal := next((a for a in answers if isinstance(a, dict)), None):
            raise _REFUSALS.get(refusal["refused"], UserError)(refusal["why"])
        return answers

    def close(self) -> None:
        """Let an idle worker end; kill it if it does not."""
        self._hang_up()
        try:
            self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reap()

    def kill(self) -> None:
        self._process.kill()
        self._hang_up()
        self._reap()

    def _await_start(self) -> None:
        """Wait for the first sign of life; a worker that dies before it is started once more."""
        if self._started():
            return
        self._start()
        if not self._started():
            raise ExspinError(
                f"the SQL worker process did not start (exit code {self._process.returncode}): "
                f"try `{sys.executable} -c 'import exspin.sql.worker'` to see why"
            )

    def _started(self) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self.answers, selectors.EVENT_READ)
            while True:
                selector.select(max(0.0, self.overdue_at - time.monotonic()))
                self._ready = bool(self.read())
                if self._ready:
                    return True
                if self.lost or self.overdue:
                    break
        self.kill()
        return False

    def _write(self, message: dict[str, Any]) -> None:
        """All of a message; a worker that does not take it in time is lost."""
        rest = memoryview(json.dumps(message).encode() + b"\n")
        while rest:
            try:
                rest = rest[os.write(self._requests.fileno(), rest) :]
            except BlockingIOError:
                with selectors.DefaultSelector() as selector:
                    selector.register(self._requests, selectors.EVENT_WRITE)
                    if not selector.select(_START_S):
                        self.lost = True
                        return
            except BrokenPipeError:
                self.lost = True  # it died while idle; the reader meets the end of the stream
                return

    def _hang_up(self) -> None:
        self._requests.close()

    def _reap(self) -> None:
        self._process.wait()
        self._desk.close()
        if self._process.stdout:
            self._process.stdout.close()

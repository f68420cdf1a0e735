"""One worker process as its parent sees it: start it, send a message, read answers, know when it is overdue, end it.

The child is a fresh interpreter (never a fork, so neither threads nor a GPU context are inherited) that does not
import the caller's main module, ignores the environment's Python settings and leads its own session, so Ctrl-C
reaches only the parent. It ends by itself when its standard input does.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from exspin.errors import ConfigError, DatabaseError, ExspinError, UserError
from exspin.sql.engines import Limits

_START_S = 60.0
_OWN_WORK_S = 30.0  # for comparing and encoding large results, which no statement pays for
_ENVELOPE = 1 << 20  # bytes an answer may have beside its rows
_PACKAGE_ROOT = str(Path(__file__).parents[2])
_REFUSALS = {"ConfigError": ConfigError, "DatabaseError": DatabaseError}
_SERVE = "import sys; sys.path.insert(0, sys.argv[1]); from exspin.sql.worker import main; main()"


class WorkerProcess:
    """A running worker. `send` while it is idle, then `read` until everything asked for has come back."""

    def __init__(self, limits: Limits, kind: str) -> None:
        self.kind = kind
        self._limits = limits
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _SERVE, _PACKAGE_ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout
        self._requests = self._process.stdin
        self.answers = self._process.stdout.fileno()
        os.set_blocking(self.answers, False)
        self._buffer = bytearray()
        self._ready = False
        self.lost = False
        self.overdue_at = time.monotonic() + _START_S
        self._write({"kind": self.kind, "limits": asdict(self._limits)})

    @property
    def overdue(self) -> bool:
        return time.monotonic() >= self.overdue_at

    def send(self, message: dict[str, Any]) -> None:
        """Give an idle worker something to do. Raises `ExspinError` if it cannot be started."""
        if not self._ready:
            self._await_start()
        self._write(message)
        self.overdue_at = time.monotonic() + self._limits.patience_s

    def read(self) -> list[list[Any]]:
        """The answers that have arrived since the last call; never waits. Sets `lost` at the end of the stream.

        Raises `UserError` where the engine refuses to serve for a reason that the user has to mend.

        After the answer `["ran"]` the worker is given time of its own: its statement is over.
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
        if answers and answers[-1] and answers[-1][0] == "refused":
            _, name, text = answers[-1]
            raise _REFUSALS.get(name, UserError)(text)
        own_work = bool(answers) and answers[-1] == ["ran"]
        self.overdue_at = time.monotonic() + max(
            self._limits.patience_s, _OWN_WORK_S if own_work else 0.0
        )
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
                f"try `{sys.executable} -m exspin.sql.worker </dev/null` to see why"
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
        try:
            self._requests.write(json.dumps(message).encode() + b"\n")
            self._requests.flush()
        except BrokenPipeError:
            self.lost = True  # it died while idle; the reader meets the end of the stream

    def _hang_up(self) -> None:
        try:
            self._requests.close()
        except BrokenPipeError:
            self.lost = True

    def _reap(self) -> None:
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

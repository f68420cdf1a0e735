"""What a worker is busy with, on a page of memory that it shares with its parent.

Only the worker writes while it works. The parent looks when time seems to be up, and after the worker's death.
"""

from __future__ import annotations

import mmap
import struct
import time
from typing import NamedTuple

_FIELDS = struct.Struct("=qq?dddd")
_STATEMENT = struct.Struct("=qq")
_RUNNING = _STATEMENT.size  # where the flag is


class Busy(NamedTuple):
    """One statement: its task's number in the message, its own in the task (0: the gold), and its times.

    `running` is false while the statement has not begun (the message is not read yet, the database is being opened) or is
    over: what goes wrong then says nothing about it. Times are by time.monotonic, which all processes share. Asking for processor time is slow where the system is, so it
    is noted now and then: `cpu_s` is what the worker had used at `cpu_at`, at most a hundredth of a second earlier.
    """

    task: int
    statement: int
    running: bool
    begun: float
    due: float
    cpu_at: float
    cpu_s: float

    def share(self, cpu_s: float) -> float:
        """How much of one processor the worker had since, if by now it has used `cpu_s`."""
        return (cpu_s - self.cpu_s) / max(1e-9, time.monotonic() - self.cpu_at)


class Desk:
    """The page, from either side."""

    def __init__(self, memory: int) -> None:
        self._page = mmap.mmap(memory, mmap.PAGESIZE)
        self._cpu = (0.0, 0.0)

    def note_cpu(self) -> None:
        """Look at how much processor time this process has used."""
        self._cpu = (time.monotonic(), time.process_time())

    def begin(self, task: int, statement: int, patience_s: float, *, running: bool) -> None:
        """A statement, or what has to be done before it, begins now and may take so long."""
        now = time.monotonic()
        due = now + patience_s
        _FIELDS.pack_into(self._page, 0, task, statement, running, now, due, *self._cpu)

    def extend(self, patience_s: float, *, running: bool) -> None:
        """The same statement may take so long from now: it begins anew, or the rest is the worker's own work."""
        task, statement = _STATEMENT.unpack_from(self._page)
        self.begin(task, statement, patience_s, running=running)

    def end(self) -> None:
        """The statement is over."""
        self._page[_RUNNING] = 0

    def busy(self) -> Busy:
        while True:  # the other side may be writing
            found = _FIELDS.unpack_from(self._page)
            if found == _FIELDS.unpack_from(self._page):
                return Busy(*found)

    def close(self) -> None:
        self._page.close()

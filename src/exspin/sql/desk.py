"""What a worker is busy with, on a page of memory that it shares with its parent.

Only the worker writes while it works. The parent looks when time seems to be up, and after the worker's death.
"""

from __future__ import annotations

import mmap
import struct
import time
from typing import NamedTuple

_FIELDS = struct.Struct("=qqddd")


class Busy(NamedTuple):
    """One statement: its task's number in the message, its own in the task (0: the gold), and its times."""

    task: int
    statement: int
    begun: float  # by time.monotonic, which all processes share
    due: float
    cpu_s: float  # processor time the worker had used when it began


class Desk:
    """The page, from either side."""

    def __init__(self, memory: int) -> None:
        self._page = mmap.mmap(memory, mmap.PAGESIZE)

    def begin(self, task: int, statement: int, patience_s: float) -> None:
        """A statement begins now and may take so long."""
        now = time.monotonic()
        _FIELDS.pack_into(
            self._page, 0, task, statement, now, now + patience_s, time.process_time()
        )

    def extend(self, patience_s: float) -> None:
        """The same statement may take so long from now: it begins anew, or the rest is the worker's own work."""
        busy = self.busy()
        self.begin(busy.task, busy.statement, patience_s)

    def busy(self) -> Busy:
        while True:  # the other side may be writing
            found = _FIELDS.unpack_from(self._page)
            if found == _FIELDS.unpack_from(self._page):
                return Busy(*found)

    def close(self) -> None:
        self._page.close()

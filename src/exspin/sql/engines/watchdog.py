"""Keep a deadline from beside: a thread that acts while the statement's own thread waits for the server.

A server keeps the time limit itself, but a statement may have switched that off, or the network may be gone. So steps
are laid down before a statement begins (cancel it; end its session; close the socket) and taken up when it is over.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

_PATIENCE_S = 1.0  # with a step that is being taken when all is over

Step = tuple[float, Callable[[], None]]  # seconds from now, and what to do then


class Watch:
    """What became of the steps of one statement."""

    def __init__(self, steps: Sequence[Step]) -> None:
        begin = time.monotonic()
        self.steps = [(begin + after, action) for after, action in steps]
        self.acted = False  # a step was begun: the connection may be hit by it at any later moment


class Watchdog:
    """One thread for all statements of a connection; it begins with the first and ends with `close`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watch: Watch | None = None
        self._thread: threading.Thread | None = None
        self._wakes_at = math.inf  # when the thread looks again by itself

    def start(self) -> None:
        """Have the thread ready. Raises `RuntimeError` where there is no memory for one."""
        with self._changed:
            self._start()

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._serve, name="watchdog", daemon=True)
            self._thread = thread  # it looks for itself here
            try:
                thread.start()
            except RuntimeError:
                self._thread = None
                raise

    def close(self) -> None:
        """End the thread. Another begins if there is something to watch again."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join(_PATIENCE_S)

    @contextmanager
    def watching(self, steps: Sequence[Step]) -> Iterator[Watch]:
        """Take the steps, each at its time, until the block is left. A step must not raise."""
        watch = Watch(steps)
        with self._changed:
            self._start()
            self._watch = watch
            if watch.steps and watch.steps[0][0] < self._wakes_at:
                self._changed.notify()  # seldom: waking a thread costs more than a short statement
        try:
            yield watch
        finally:
            with self._changed:
                self._watch = None

    def _serve(self) -> None:
        while True:
            with self._changed:
                if self._thread is not threading.current_thread():
                    return
                action = self._due()
            if action is not None:
                action()

    def _due(self) -> Callable[[], None] | None:
        """Wait for a step to be due, or for a change; called with the lock held."""
        watch = self._watch
        self._wakes_at = watch.steps[0][0] if watch and watch.steps else math.inf
        if watch is None or not watch.steps:
            self._changed.wait()
            return None
        at, action = watch.steps[0]
        if (left := at - time.monotonic()) > 0:
            self._changed.wait(left)
            return None
        del watch.steps[0]
        watch.acted = True
        return action

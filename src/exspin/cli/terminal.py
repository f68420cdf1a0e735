"""Progress for people: bars with a rate and an ETA on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from exspin.progress import Advance

LINE_EVERY_S = 30.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f}/s" if speed else "", style="progress.data.speed")


class Terminal:
    """A `Progress` that writes to a console, usually stderr."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Advance]:
        if self._console.is_terminal:
            task = self._live.add_task(label, total=total)
            line = _Lines(self._console, label, total, quiet=True)

            def advance(done: int) -> None:
                self._live.advance(task, done)
                line.advance(done)

            yield advance
            # A line stays above in its place: many bars would push the working one off the screen.
            self._live.remove_task(task)
            line.end()
            return
        line = _Lines(self._console, label, total)
        yield line.advance
        line.end()


class _Lines:
    """A bar for a log file: one line at the end, and one every half minute before."""

    def __init__(self, console: Console, label: str, total: int, *, quiet: bool = False) -> None:
        self._console, self._label, self._total = console, label, total
        self._quiet = quiet  # the line at the end alone
        self._done = 0
        self._started = self._said = time.monotonic()

    def advance(self, done: int) -> None:
        self._done += done
        now = time.monotonic()
        if not self._quiet and now - self._said >= LINE_EVERY_S:
            self._said = now
            rate = self._done / (now - self._started)
            left = (self._total - self._done) / rate if rate else 0.0
            self._console.print(
                f"{self._label}: {self._done}/{self._total}, {rate:.0f}/s, {left:.0f} s left",
                markup=False,
            )

    def end(self) -> None:
        seconds = time.monotonic() - self._started
        self._console.print(
            f"{self._label}: {self._done}/{self._total} in {seconds:.1f} s", markup=False
        )

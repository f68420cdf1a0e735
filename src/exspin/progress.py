"""How long work tells that it is alive. The command line shows bars or lines; from Python the default is silence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]  # called with what was finished since the last call


class Progress(Protocol):
    """Where long work reports to."""

    def say(self, text: str) -> None:
        """One line worth keeping: what begins, what was found, what was left out."""

    def bar(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """A stretch of work with a known size; the value is called as it advances."""


class Silent:
    """Says nothing."""

    def say(self, text: str) -> None:
        return None

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Advance]:
        yield lambda _: None

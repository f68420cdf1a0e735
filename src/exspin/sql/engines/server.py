"""What PostgreSQL and MySQL have in common: how a statement is run on a server and what becomes of its connection.

Each statement runs in a read-only transaction of a login that can only read (see `login.py`), with the server's own time
limit, and its connection is reset before the next. A watchdog keeps the deadline too: a statement that switched the
server's limit off is cancelled, then its session is ended, then the socket closed, all before the parent would kill this
process. A connection that the watchdog touched, or whose reset failed, is not used again.
"""

from __future__ import annotations

import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from exspin.records import Outcome
from exspin.sql.engines import Budget, Limits, Ran
from exspin.sql.engines.login import Lost
from exspin.sql.engines.watchdog import Watchdog

_PAUSES_S = (0.1, 0.4)  # before a further attempt to connect
_ANSWER_S = 5.0  # a server that does not even begin a transaction in this time is not well
_EARLY = 0.9  # of the time limit: what was stopped before, another session stopped


class Session(ABC):
    """One connection. `begin`, `run` and `reset` are called from one thread, the other three from the watchdog's."""

    @abstractmethod
    def begin(self, budget: Budget) -> None:
        """Begin a read-only transaction. Raises `Lost` where the connection is gone."""

    @abstractmethod
    def run(self, sql: str, limits: Limits) -> Ran:
        """Execute one statement in it; whatever goes wrong is in the answer."""

    @abstractmethod
    def reset(self) -> None:
        """End the transaction and forget all that a statement may have left. Raises `Lost`."""

    @abstractmethod
    def cancel(self) -> None:
        """Ask the server to stop the statement."""

    @abstractmethod
    def terminate(self) -> None:
        """Ask the server to end the session."""

    @abstractmethod
    def hang_up(self) -> None:
        """Close the socket under a thread that waits for it."""

    @abstractmethod
    def close(self) -> None: ...


class ServerEngine:
    """One database on a server; a connection is made with the first statement."""

    def __init__(
        self,
        limits: Limits,
        alive: Callable[[bool], None],
        log_in: Callable[[], Session],
        forbidden: Callable[[str], str | None],
    ) -> None:
        self._limits = limits
        self._alive = alive
        self._log_in = log_in
        self._forbidden = forbidden
        self._session: Session | None = None
        self._watchdog = Watchdog()

    def state(self) -> None:
        """Others may write at any time."""
        return None

    def close(self) -> None:
        self._drop()
        self._watchdog.close()

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def run(self, sql: str, budget: Budget) -> Ran:
        """Execute a statement; whatever goes wrong is in the answer, but for a login that the user has to mend."""
        if rule := self._forbidden(sql):
            return Ran(outcome=Outcome.DENIED, detail=rule)
        self._alive(False)
        try:
            self._begin(budget)
            assert self._session is not None
            return self._guarded(self._session, sql, budget)
        except Lost as lost:
            self._drop()
            return Ran(outcome=Outcome.INFRA, detail=lost.detail)

    def _begin(self, budget: Budget) -> None:
        """Begin a transaction, on a new connection where the old one is gone."""
        if self._session is not None:
            try:
                return self._begin_on(self._session, budget)
            except Lost:  # while it was idle
                self._drop()
        self._session = self._connect()
        self._begin_on(self._session, budget)

    def _begin_on(self, session: Session, budget: Budget) -> None:
        lost = None
        with self._watchdog.watching([(_ANSWER_S, session.hang_up)]) as watch:
            try:
                session.begin(budget)
            except Lost as error:
                lost = error
        if watch.acted:
            raise Lost("no_answer")
        if lost:
            raise lost

    def _guarded(self, session: Session, sql: str, budget: Budget) -> Ran:
        limit = budget.timeout_s
        steps = [
            (1.05 * limit + 0.10, session.cancel),
            (1.15 * limit + 0.20, session.terminate),
            (1.25 * limit + 0.30, session.hang_up),
        ]
        self._alive(True)
        begin = time.monotonic()
        with self._watchdog.watching(steps) as watch:
            ran = session.run(sql, self._limits)
            # MySQL gives the rows so far, or a value, for some statements that it stopped.
            late = time.monotonic() - begin >= limit
            usable = ran.outcome is not Outcome.INFRA and _reset(session)
        if watch.acted or not usable:
            self._drop()
        if late and ran.outcome is not Outcome.TOO_LARGE:
            return Ran(outcome=Outcome.TIMEOUT, detail="wall")
        early = time.monotonic() - begin < _EARLY * limit
        if ran.outcome is Outcome.TIMEOUT and early and not watch.acted:
            return Ran(outcome=Outcome.INFRA, detail="cancelled")
        return ran

    def _connect(self) -> Session:
        """A new session; tries again where the server is busy or away. The parent is told that we are alive."""
        for pause in (*_PAUSES_S, None):
            self._alive(False)
            try:
                return self._log_in()
            except Lost:
                if pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")


def _reset(session: Session) -> bool:
    """Reset the session; false where it cannot be used again."""
    try:
        session.reset()
    except Lost:
        return False
    return True


@contextmanager
def hung_up_after(seconds: float, hang_up: Callable[[], None]) -> Iterator[None]:
    """Hang up on a server that takes longer to say what is asked in this block."""
    timer = threading.Timer(seconds, hang_up)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def shut_down(descriptor: int) -> None:
    """Close a connection's socket in both directions, under whoever reads from it. Needs no driver."""
    try:
        with socket.fromfd(descriptor, socket.AF_UNSPEC, socket.SOCK_STREAM) as connection:
            connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already

"""Progress for people: a line now and then in a log, a bar on a terminal, nothing that reads codes in a message."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from exspin.cli import terminal
from exspin.cli.terminal import Terminal
from exspin.progress import Silent


def console(is_terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(
        file=file, force_terminal=is_terminal, width=120, emoji=False, highlight=False
    ), file


def test_a_log_gets_one_line_at_the_end() -> None:
    out, file = console(False)
    with Terminal(out) as show, show.bar("executing", 30) as advance:
        for _ in range(3):
            advance(10)
    assert re.fullmatch(r"executing: 30/30 in \d+\.\d s\n", file.getvalue())


def test_a_log_gets_lines_in_between_when_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 31.0, 40.0, 62.0, 62.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    out, file = console(False)
    with Terminal(out) as show, show.bar("SFT", 300) as advance:
        advance(31)  # 31 s: a line; 1 a second, so 269 s are left
        advance(9)  # 40 s: too soon for another
        advance(84)  # 62 s: 124 in 62 s
    assert file.getvalue().splitlines() == [
        "SFT: 31/300, 1/s, 269 s left",
        "SFT: 124/300, 2/s, 88 s left",
        "SFT: 124/300 in 62.0 s",
    ]


def test_a_terminal_gets_a_bar() -> None:
    out, file = console(True)
    with Terminal(out) as show, show.bar("answering dev", 4) as advance:
        advance(4)
    assert "answering dev" in file.getvalue() and "4/4" in file.getvalue()


def test_a_finished_bar_leaves_the_screen_to_the_next() -> None:
    out, file = console(True)
    with Terminal(out) as show:
        for number in range(3):
            with show.bar(f"round {number}", 2) as advance:
                advance(2)
        assert not show._live.tasks
    assert all(re.search(rf"round {n}: 2/2 in \d", file.getvalue()) for n in range(3))


def test_what_is_said_is_printed_as_it_is() -> None:
    out, file = console(False)
    with Terminal(out) as show:
        show.say("[bold]dev.json:100: :smile:")
    assert file.getvalue() == "[bold]dev.json:100: :smile:\n"


def test_silence() -> None:
    show = Silent()
    with show.bar("x", 1) as advance:
        advance(1)
    show.say("nothing")

"""The command line: parse, call one public function, print. What it can do, Python can do under the same name.

With `--json` stdout is one JSON object and nothing else; everything said on the way goes to stderr. Exit codes: 0 done,
2 the user can mend it (one line), 1 a bug of ours, with its traceback, 130 interrupted.

A command is a function in the module of its subject; this page puts them in order. A group of commands
(`exspin data …`) is a module with an `app` of its own.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from exspin import __version__
from exspin.cli import about, data, judging, learning, link
from exspin.cli.console import stdout
from exspin.cli.ending import Commands

app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Text-to-SQL models that improve by playing against themselves, judged by the database.",
)
app.command()(learning.run)
app.command()(learning.evaluate)
app.command()(judging.score)
app.command()(judging.audit)
app.command()(learning.report)
app.command()(about.doctor)
app.add_typer(about.config_app, name="config")
app.add_typer(data.app, name="data")
app.add_typer(link.app, name="link")


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        stdout.print(f"exspin {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    # A terminal that lacks a character must not cost the result.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()

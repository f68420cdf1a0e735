"""Commands about this installation: whether it works here, and what it can be told."""

from __future__ import annotations

import typer

from exspin.cli.console import print_json, stdout
from exspin.cli.options import AsJson

config_app = typer.Typer(no_args_is_help=True, help="The configuration: keys, types, meaning.")


def doctor(as_json: AsJson = False) -> None:
    """Check this machine: versions, extras, memory, and that the guard holds."""
    from exspin.diagnosis import doctor as doctor_

    found = doctor_()
    if as_json:
        print_json(found.to_json())
    else:
        for check in found.checks:
            mark = "[green]ok[/]" if check.ok else "[red]NOT OK[/]"
            stdout.print(mark, end="  ")
            stdout.print(f"{check.name}: {check.found}", markup=False, soft_wrap=True)
    if not found.ok:
        raise typer.Exit(2)


@config_app.command("schema")
def config_schema_(as_json: AsJson = False) -> None:
    """Print the configuration tree as JSON Schema, with or without --json."""
    from exspin.config import config_schema

    print_json(config_schema())

"""Options that several commands share, under the same name and with the same meaning in each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from exspin.errors import ConfigError
from exspin.sql.compare import COMPARATORS


def _finite(value: float) -> float:
    if not math.isfinite(value) or value < 0.05:
        raise typer.BadParameter(f"{value} is not a time; give seconds, at least 0.05")
    return value


AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
BySpec = typer.Option(
    "--data", help="builtin, spider:PATH, spider-syn:PATH, bird:PATH or pairs:PATH."
)
Spec = Annotated[str, BySpec]
BySplit = typer.Option("--split", help="A split, or several with commas.")
SplitName = Annotated[str, BySplit]
ByComparator = typer.Option(
    "--comparator", help=f"How results are compared: {', '.join(COMPARATORS)}."
)
Comparator = Annotated[str, ByComparator]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value; `exspin config schema` lists the keys. Repeatable."),
]
Quarantine = Annotated[
    Path | None,
    typer.Option("--quarantine", help="Rows named in this file of an audit count as unusable."),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", callback=_finite, help="Seconds one query may take; at least 0.05."),
]
AllowPrivileged = Annotated[
    bool,
    typer.Option(
        "--allow-privileged",
        help="Go on with a server login that may do more than read, at your own risk.",
    ),
]
OnCopies = typer.Option(
    "--copies", min=0, max=100, help="A match has to hold on so many perturbed copies too."
)
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes that execute SQL.")]


def overrides_of(set_: list[str] | None, allow_privileged: bool) -> list[str]:
    """What `--set` says, and `--allow-privileged`."""
    return [*(set_ or []), *(["feedback.allow_privileged=true"] if allow_privileged else [])]


def check_comparator(name: str) -> None:
    if name not in COMPARATORS:
        raise ConfigError(f"--comparator {name!r}: known are {', '.join(COMPARATORS)}")

"""Commands around a model: train it, ask it a split, read what a run left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exspin.cli.console import print_json, print_timed_json, stderr, stdout
from exspin.cli.options import (
    AllowPrivileged,
    AsJson,
    ByComparator,
    OnCopies,
    Quarantine,
    Set,
    Spec,
    SplitName,
    check_comparator,
    overrides_of,
)
from exspin.cli.printing import print_rounds, print_score
from exspin.cli.terminal import Terminal
from exspin.errors import ConfigError


def run(
    config: Annotated[
        Path | None, typer.Argument(help="YAML file; without one: the built-in example on CPU.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", help="Run directory; default runs/NAME.")
    ] = None,
    set_: Set = None,
    allow_privileged: AllowPrivileged = False,
    as_json: AsJson = False,
) -> None:
    """Train, self-play, evaluate, report. The same command again continues where it was."""
    from exspin.config import load_config
    from exspin.run_directory import check_start

    settings = load_config(config, overrides_of(set_, allow_privileged))
    directory = output or Path("runs") / (config.stem if config else "builtin")
    check_start(directory, settings)
    from exspin.selfplay import run as run_  # torch comes with it, which takes seconds: only now

    with Terminal(stderr) as progress:
        summary = run_(settings, directory, progress=progress)
    if as_json:
        print_json(summary.to_json())
        return
    print_rounds(stdout, summary)
    stdout.print(f"best round on {summary.dev}: {summary.best_round}", soft_wrap=True)
    stdout.print(f"report: {summary.report.absolute()}", soft_wrap=True, markup=False)


def evaluate(
    model: Annotated[str, typer.Option("--model", help="Model directory or hub id.")],
    data: Spec,
    split: SplitName,
    comparator: Annotated[str | None, ByComparator] = None,
    copies: Annotated[int | None, OnCopies] = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", help="Keep the answers and their outcomes here.")
    ] = None,
    quarantine: Quarantine = None,
    set_: Set = None,
    allow_privileged: AllowPrivileged = False,
    as_json: AsJson = False,
) -> None:
    """Ask a model every question of a split and score its answers."""
    from exspin.config import load_config
    from exspin.evaluation import evaluate as evaluate_

    more = [] if copies is None else [f"feedback.copies={copies}"]
    overrides = [*overrides_of(set_, allow_privileged), *more]
    config = load_config(None, _evaluation_keys(overrides))
    comparator = comparator or config.feedback.comparator
    check_comparator(comparator)
    with Terminal(stderr) as progress:
        score = evaluate_(
            model,
            data,
            split,
            comparator=comparator,
            config=config,
            predictions=predictions,
            quarantine=quarantine,
            progress=progress,
        )
    if as_json:
        print_timed_json(score.to_json())
    else:
        print_score(stdout, score)


def _evaluation_keys(overrides: list[str]) -> list[str]:
    """The overrides, if all of them mean something to an evaluation."""
    known = ("prompt", "generation", "feedback", "device", "dtype", "threads", "seed")
    for override in overrides:
        if override.partition("=")[0].strip().partition(".")[0] not in known:
            raise ConfigError(
                f"--set {override!r}: has no part in an evaluation; keys that have: {', '.join(known)}"
            )
    return overrides


def report(
    run_directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    as_json: AsJson = False,
) -> None:
    """Write report.html and report.json of a run again."""
    from exspin.reporting import report as report_

    summary = report_(run_directory)
    if as_json:
        print_json(summary.to_json())
        return
    print_rounds(stdout, summary)
    if not summary.finished:
        stdout.print(
            f"unfinished: next is {summary.next_stage}; the same `exspin run` again continues",
            soft_wrap=True,
            markup=False,
        )
    stdout.print(f"report: {summary.report.absolute()}", soft_wrap=True, markup=False)

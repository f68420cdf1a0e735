"""Commands that need no model: score predictions, audit gold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from exspin.cli.console import print_timed_json, stderr, stdout
from exspin.cli.options import (
    AllowPrivileged,
    AsJson,
    BySpec,
    BySplit,
    Comparator,
    OnCopies,
    Quarantine,
    Spec,
    SplitName,
    Timeout,
    Workers,
    check_comparator,
)
from exspin.cli.printing import print_audit, print_score, print_scores
from exspin.cli.terminal import Terminal
from exspin.errors import ConfigError
from exspin.records import Outcome


def score(
    predictions: Annotated[
        list[Path],
        typer.Option(
            "--predictions",
            "--pred",
            help="One SQL a line, JSONL or CSV. Repeatable: files are compared side by side.",
        ),
    ],
    data: Annotated[str | None, BySpec] = None,
    split: Annotated[str | None, BySplit] = None,
    gold: Annotated[
        Path | None,
        typer.Option("--gold", help="Score against this file, SQL<TAB>db_id a line, not a split."),
    ] = None,
    databases: Annotated[
        Path | None,
        typer.Option("--databases", "--db", help="With --gold: the folder of ID/ID.sqlite."),
    ] = None,
    comparator: Comparator = "default",
    copies: Annotated[int, OnCopies] = 0,
    copies_seed: Annotated[int, typer.Option("--copies-seed", help="Of the copies.")] = 0,
    copies_strict: Annotated[
        bool,
        typer.Option("--copies-strict", help="Differences that people rarely mean count too."),
    ] = False,
    verdicts: Annotated[
        list[Path] | None,
        typer.Option(
            "--verdicts",
            help="Write index, db_id, outcome, detail here; as often as --predictions.",
        ),
    ] = None,
    sql_column: Annotated[
        str | None, typer.Option("--sql-column", help="The field of CSV or JSONL that holds SQL.")
    ] = None,
    extract: Annotated[
        bool, typer.Option("--extract", help="Take the statement out of model text first.")
    ] = False,
    quarantine: Quarantine = None,
    timeout: Timeout = 30.0,
    workers: Workers = 2,
    allow_privileged: AllowPrivileged = False,
    as_json: AsJson = False,
) -> None:
    """Score files of predicted SQL against a split or a gold file."""
    from exspin.accidental import CopyCheck
    from exspin.data import remarks
    from exspin.feedback import describe_damaged
    from exspin.scoring import score_files
    from exspin.sql.execute import Limits

    check_comparator(comparator)
    questions = _questions(data, split, gold, databases, quarantine)
    for remark in remarks(questions):
        stderr.print(remark, markup=False)
    total = len(questions.examples) * len(predictions)
    with Terminal(stderr) as progress, progress.bar("scoring", total) as advance:
        result = score_files(
            questions,
            predictions,
            comparator=comparator,
            extract=extract,
            sql_column=sql_column,
            limits=Limits(timeout_s=timeout, allow_privileged=allow_privileged),
            workers=workers,
            verdicts=verdicts or [],
            copies=CopyCheck(copies, seed=copies_seed, strict=copies_strict, workers=workers)
            if copies
            else None,
            progress=advance,
        )
    # damage is in the databases, so every file of predictions meets the same
    if damaged := describe_damaged(result.files[0].damaged, questions.databases):
        stderr.print(damaged, markup=False)
    if not extract:
        for name, found in zip(result.names, result.files, strict=True):
            if 2 * found.outcomes[Outcome.NOT_A_QUERY] > found.scored:
                stderr.print(
                    f"{name}: {found.outcomes[Outcome.NOT_A_QUERY]} of {found.scored} predictions are no single SELECT; "
                    "--extract takes the statement out of model text",
                    markup=False,
                )
    one = result.files[0] if len(predictions) == 1 else None
    if as_json:
        print_timed_json((one or result).to_json())
    elif one:
        print_score(stdout, one)
    else:
        print_scores(stdout, result)


def _questions(
    data: str | None,
    split: str | None,
    gold: Path | None,
    databases: Path | None,
    quarantine: Path | None,
) -> Any:
    """What is scored against: a split of a SPEC, or a gold file and a folder of databases."""
    from exspin.data import load, load_gold

    if gold is None:
        if databases is not None:
            raise ConfigError(f"--databases {databases}: goes with --gold; a SPEC knows its own")
        if data is None or split is None:
            raise ConfigError("score needs --data SPEC --split S, or --gold FILE --databases DIR")
        return load(data, split, quarantine=quarantine)
    if split is not None or quarantine is not None:
        name = "--split" if split is not None else "--quarantine"
        raise ConfigError(f"{name}: has no part with --gold {gold}, whose rows are its own")
    if (data is None) == (databases is None):
        raise ConfigError(
            f"--gold {gold}: needs its databases, by --databases DIR or by --data SPEC, one of the two"
        )
    return load_gold(gold, databases=databases, spec=data)


def audit(
    data: Spec,
    split: SplitName,
    output: Annotated[
        Path | None, typer.Option("-o", help="Write audit.html, audit.json, quarantine.jsonl here.")
    ] = None,
    reasons: Annotated[
        str,
        typer.Option(
            "--reasons",
            help="What goes into the quarantine file, with commas: failing, nondeterministic, ties, "
            "leaks, duplicates, slow, empty.",
        ),
    ] = "failing,nondeterministic",
    comparator: Comparator = "default",
    slow: Annotated[
        float, typer.Option("--slow", min=0.0, help="Seconds of CPU that make a gold slow.")
    ] = 1.0,
    near: Annotated[
        float,
        typer.Option(
            "--near", min=0.3, max=1.0, help="Trigram overlap of a near duplicate; 1: equal only."
        ),
    ] = 0.8,
    timeout: Timeout = 30.0,
    workers: Workers = 2,
    allow_privileged: AllowPrivileged = False,
    as_json: AsJson = False,
) -> None:
    """Run every gold twice and find what cannot be trusted, before any training."""
    from exspin.auditing import audit as audit_
    from exspin.sql.execute import Limits

    check_comparator(comparator)
    with Terminal(stderr) as progress:
        found = audit_(
            data,
            split,
            directory=output,
            comparator=comparator,
            slow_s=slow,
            near=near,
            quarantine=[reason.strip() for reason in reasons.split(",") if reason.strip()],
            limits=Limits(timeout_s=timeout, allow_privileged=allow_privileged),
            workers=workers,
            progress=progress,
        )
    if as_json:
        print_timed_json(found.to_json())
    else:
        print_audit(stdout, found, output)

"""The command line: parse, call one public function, print. What it can do, Python can do under the same name.

With `--json` stdout is one JSON object and nothing else; everything said on the way goes to stderr. Exit codes: 0 done,
2 the user can mend it (one line), 1 a bug of ours, with its traceback, 130 interrupted.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.core
from rich.console import Console
from rich.table import Table

from exspin import __version__
from exspin.cli_link import link_app
from exspin.errors import ConfigError, TrainingStopped, UserError
from exspin.printing import print_audit, print_score, print_scores
from exspin.sql.compare import COMPARATORS
from exspin.terminal import Terminal

# What the system refuses and the user can mend, wherever it happens.
_MENDABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)


class _Commands(typer.core.TyperGroup):
    """Makes one line and an exit code of whatever ends a command early."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (UserError, TrainingStopped) as error:
            _stop(str(error), error)
        except KeyboardInterrupt as interrupt:
            more = (
                "the same command continues" if ctx.invoked_subcommand == "run" else "not finished"
            )
            stderr.print(f"interrupted; {more}", markup=False)
            raise typer.Exit(130) from interrupt
        except OSError as error:
            if error.errno not in _MENDABLE:
                raise
            where = f"{error.filename}: " if error.filename else ""
            _stop(f"{where}{error.strerror}; free space or choose another place", error)


def _stop(message: str, error: Exception) -> NoReturn:
    stderr.print(f"error: {' '.join(message.split())}", markup=False, style="red")
    raise typer.Exit(2) from error


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Text-to-SQL models that improve by playing against themselves, judged by the database.",
)
config_app = typer.Typer(no_args_is_help=True, help="The configuration: keys, types, meaning.")
data_app = typer.Typer(no_args_is_help=True, help="Questions with gold SQL, and their databases.")
app.add_typer(config_app, name="config")
app.add_typer(data_app, name="data")
app.add_typer(link_app, name="link")

# Without emoji: rich would make a picture of "dev.json:100:".
stdout = Console(highlight=False, emoji=False)
stderr = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def _finite(value: float) -> float:
    if not math.isfinite(value) or value < 0.05:
        raise typer.BadParameter(f"{value} is not a time; give seconds, at least 0.05")
    return value


AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
_BySpec = typer.Option(
    "--data", help="builtin, spider:PATH, spider-syn:PATH, bird:PATH or pairs:PATH."
)
Spec = Annotated[str, _BySpec]
_BySplit = typer.Option("--split", help="A split, or several with commas.")
SplitName = Annotated[str, _BySplit]
_ByComparator = typer.Option(
    "--comparator", help=f"How results are compared: {', '.join(COMPARATORS)}."
)
Comparator = Annotated[str, _ByComparator]
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
_OnCopies = typer.Option(
    "--copies", min=0, max=100, help="A match has to hold on so many perturbed copies too."
)
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes that execute SQL.")]


def main() -> None:
    """Run the command line."""
    # A terminal that lacks a character must not cost the result.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        stdout.print(f"exspin {__version__}")
        raise typer.Exit


@app.command()
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

    settings = load_config(config, _overrides(set_, allow_privileged))
    directory = output or Path("runs") / (config.stem if config else "builtin")
    check_start(directory, settings)
    from exspin.selfplay import run as run_  # torch comes with it, which takes seconds: only now

    with Terminal(stderr) as progress:
        summary = run_(settings, directory, progress=progress)
    if as_json:
        _print_json(summary.to_json())
        return
    _print_rounds(summary)
    stdout.print(f"best round on {summary.dev}: {summary.best_round}", soft_wrap=True)
    stdout.print(f"report: {summary.report.absolute()}", soft_wrap=True, markup=False)


@app.command()
def evaluate(
    model: Annotated[str, typer.Option("--model", help="Model directory or hub id.")],
    data: Spec,
    split: SplitName,
    comparator: Annotated[str | None, _ByComparator] = None,
    copies: Annotated[int | None, _OnCopies] = None,
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
    overrides = [*_overrides(set_, allow_privileged), *more]
    config = load_config(None, _evaluation_keys(overrides))
    comparator = comparator or config.feedback.comparator
    _check_comparator(comparator)
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
    _print_score(score, as_json)


def _overrides(set_: list[str] | None, allow_privileged: bool) -> list[str]:
    """What `--set` says, and `--allow-privileged`."""
    return [*(set_ or []), *(["feedback.allow_privileged=true"] if allow_privileged else [])]


def _evaluation_keys(overrides: list[str]) -> list[str]:
    """The overrides, if all of them mean something to an evaluation."""
    known = ("prompt", "generation", "feedback", "device", "dtype", "threads", "seed")
    for override in overrides:
        if override.partition("=")[0].strip().partition(".")[0] not in known:
            raise ConfigError(
                f"--set {override!r}: has no part in an evaluation; keys that have: {', '.join(known)}"
            )
    return overrides


@app.command()
def score(
    predictions: Annotated[
        list[Path],
        typer.Option(
            "--predictions",
            "--pred",
            help="One SQL a line, JSONL or CSV. Repeatable: files are compared side by side.",
        ),
    ],
    data: Annotated[str | None, _BySpec] = None,
    split: Annotated[str | None, _BySplit] = None,
    gold: Annotated[
        Path | None,
        typer.Option("--gold", help="Score against this file, SQL<TAB>db_id a line, not a split."),
    ] = None,
    databases: Annotated[
        Path | None,
        typer.Option("--databases", "--db", help="With --gold: the folder of ID/ID.sqlite."),
    ] = None,
    comparator: Comparator = "default",
    copies: Annotated[int, _OnCopies] = 0,
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

    _check_comparator(comparator)
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
    if len(predictions) == 1:
        _print_score(result.files[0], as_json)
    elif as_json:
        _print_json({**result.to_json(), "seconds": round(_seconds_since_start(), 3)})
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


@app.command()
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

    _check_comparator(comparator)
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
        _print_json({**found.to_json(), "seconds": round(_seconds_since_start(), 3)})
    else:
        print_audit(stdout, found, output)


@app.command()
def report(
    run_directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    as_json: AsJson = False,
) -> None:
    """Write report.html and report.json of a run again."""
    from exspin.reporting import report as report_

    summary = report_(run_directory)
    if as_json:
        _print_json(summary.to_json())
        return
    _print_rounds(summary)
    if not summary.finished:
        stdout.print(
            f"unfinished: next is {summary.next_stage}; the same `exspin run` again continues",
            soft_wrap=True,
            markup=False,
        )
    stdout.print(f"report: {summary.report.absolute()}", soft_wrap=True, markup=False)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check this machine: versions, extras, memory, and that the guard holds."""
    from exspin.diagnosis import doctor as doctor_

    found = doctor_()
    if as_json:
        _print_json(found.to_json())
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

    _print_json(config_schema())


@data_app.command("export")
def data_export(
    data: Spec,
    split: SplitName,
    output: Annotated[Path, typer.Option("-o", help="A new or empty directory.")],
    as_json: AsJson = False,
) -> None:
    """Write a split's questions with gold, and their databases beside them."""
    from exspin.data.export import export

    written = export(data, split, output)
    if as_json:
        _print_json(written.to_json())
        return
    stdout.print(
        f"{written.questions} questions in {', '.join(map(str, written.files))}, "
        f"{written.databases} databases beside them, {written.missing} missing",
        soft_wrap=True,
        markup=False,
    )


@data_app.command("import")
def data_import(
    db: Annotated[
        str, typer.Option("--db", help="URL, or the path of an SQLite file; $NAME is kept.")
    ],
    pairs: Annotated[
        Path, typer.Option("--pairs", help="CSV, TSV or JSONL with question and query.")
    ],
    output: Annotated[Path, typer.Option("-o", help="A new or empty directory.")],
    as_json: AsJson = False,
) -> None:
    """Make a data set of your own questions on one database: `--data pairs:DIR` takes it."""
    from exspin.data.importing import import_pairs

    made = import_pairs(db, pairs, output)
    if made.duplicates:
        stderr.print(
            f"{pairs}: {made.duplicates} rows say the same as one before and were left out",
            markup=False,
        )
    if made.ignored:
        stderr.print(f"{pairs}: passed over: {', '.join(made.ignored)}", markup=False)
    if as_json:
        _print_json(made.to_json())
        return
    counts = ", ".join(f"{name} {count}" for name, count in made.splits.items())
    stdout.print(
        f"{counts} questions about {made.db_id}; use --data pairs:{made.directory}",
        soft_wrap=True,
        markup=False,
    )


def _check_comparator(name: str) -> None:
    if name not in COMPARATORS:
        raise ConfigError(f"--comparator {name!r}: known are {', '.join(COMPARATORS)}")


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def _print_score(score: Any, as_json: bool) -> None:
    if as_json:
        _print_json({**score.to_json(), "seconds": round(_seconds_since_start(), 3)})
        return
    print_score(stdout, score)


def _print_rounds(summary: Any) -> None:
    """Scores of every round, in points of a hundred; a line fits 80 columns, which is what a log has."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading in ("round", "split"):
        table.add_column(heading, no_wrap=True)
    for heading in ("scored", "EX", "95 %", "against SFT", "fixed", "broke", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in summary.table():
        low, high = row.ci95
        against = ["", "", "", ""]
        if row.diff is not None:
            down, up = row.diff_ci95
            against = [
                f"{100 * row.diff:+.1f} ({100 * down:+.1f}, {100 * up:+.1f})",
                str(row.fixed),
                str(row.broke),
                f"{row.p:.3f}",
            ]
        table.add_row(
            f"{row.round} SFT" if row.round == 0 else str(row.round),
            row.split,
            str(row.scored),
            f"{100 * row.ex:.1f}",
            f"{100 * low:.1f}–{100 * high:.1f}",
            *against,
        )
    stdout.print(table)


def _seconds_since_start() -> float:
    """Wall time since this process was started, interpreter start included."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return time.process_time()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started

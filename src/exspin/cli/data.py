"""`exspin data …`: questions with gold SQL, and their databases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exspin.cli.console import print_json, stderr, stdout
from exspin.cli.options import AllowPrivileged, AsJson, Spec, SplitName

app = typer.Typer(no_args_is_help=True, help="Questions with gold SQL, and their databases.")


@app.command("export")
def data_export(
    data: Spec,
    split: SplitName,
    output: Annotated[Path, typer.Option("-o", help="A new or empty directory.")],
    as_json: AsJson = False,
) -> None:
    """Write a split's questions with gold, and their databases beside them."""
    from exspin.data.export import export

    written = export(data, split, output)
    if written.servers:
        stderr.print(
            f"{', '.join(written.servers)}: on a server, so {output}/databases.yaml names it and no copy was made",
            markup=False,
        )
    if written.without_password:
        stderr.print(
            f"{', '.join(written.without_password)}: the password was left out of {output}/databases.yaml; "
            "write it there as $NAME and set NAME in the environment",
            markup=False,
        )
    if as_json:
        print_json(written.to_json())
        return
    stdout.print(
        f"{written.questions} questions in {', '.join(map(str, written.files))}, "
        f"{written.databases - len(written.servers)} databases beside them, {written.missing} missing; "
        f"--data pairs:{output} takes it",
        soft_wrap=True,
        markup=False,
    )


@app.command("import")
def data_import(
    db: Annotated[
        str, typer.Option("--db", help="URL, or the path of an SQLite file; $NAME is kept.")
    ],
    pairs: Annotated[
        Path, typer.Option("--pairs", help="CSV, TSV or JSONL with question and query.")
    ],
    output: Annotated[Path, typer.Option("-o", help="A new or empty directory.")],
    allow_privileged: AllowPrivileged = False,
    as_json: AsJson = False,
) -> None:
    """Make a data set of your own questions on one database: `--data pairs:DIR` takes it."""
    from exspin.data.importing import import_pairs

    made = import_pairs(db, pairs, output, allow_privileged=allow_privileged)
    if made.duplicates:
        stderr.print(
            f"{pairs}: {made.duplicates} rows say the same as one before and were left out",
            markup=False,
        )
    if made.ignored:
        stderr.print(f"{pairs}: passed over: {', '.join(made.ignored)}", markup=False)
    if as_json:
        print_json(made.to_json())
        return
    counts = ", ".join(f"{name} {count}" for name, count in made.splits.items())
    stdout.print(
        f"{counts} questions about {made.db_id}; use --data pairs:{made.directory}",
        soft_wrap=True,
        markup=False,
    )

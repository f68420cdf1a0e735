"""`exspin link …`: the linker, which says what tables and columns a question needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exspin.cli.console import print_json, stderr, stdout
from exspin.cli.options import AsJson, Spec
from exspin.cli.terminal import Terminal

app = typer.Typer(
    no_args_is_help=True, help="The linker: which tables and columns a question needs."
)


@app.command("train")
def link_train(
    data: Spec,
    output: Annotated[Path, typer.Option("-o", help="Directory to write the linker to.")],
    split: Annotated[
        str | None, typer.Option("--split", help="Learned from; without it the split of a run.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a linker on a split's questions and golds."""
    from exspin.hints.linking import link_train as link_train_

    with Terminal(stderr) as progress:
        linker = link_train_(data, output, split=split, progress=progress)
    told = {"linker": str(output), "digest": linker.digest, **linker.trained_on}
    if as_json:
        print_json(told)
        return
    stdout.print(
        "a linker from {questions} questions on {databases} databases ({unread} golds cannot be read): ".format(
            **linker.trained_on
        )
        + str(output),
        soft_wrap=True,
        markup=False,
    )


@app.command("eval")
def link_eval(
    data: Spec,
    split: Annotated[str, typer.Option("--split", help="A split, or several with commas.")],
    linker: Annotated[str, typer.Option("--linker", help="gold, lexical or learned.")] = "learned",
    model: Annotated[
        Path | None,
        typer.Option("--model", help="What `link train` wrote; without it one is trained first."),
    ] = None,
    k1: Annotated[int, typer.Option("--k1", help="Tables that are kept.")] = 6,
    k2: Annotated[int, typer.Option("--k2", help="Columns kept of each table.")] = 10,
    mass: Annotated[
        float | None,
        typer.Option("--mass", help="Keep this share of the probability, not k1 and k2 items."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how often a linker keeps all that the gold uses."""
    from exspin.hints.linking import link_eval as link_eval_

    with Terminal(stderr) as progress:
        found = link_eval_(
            data,
            split,
            linker=linker,
            model=model,
            k1=k1,
            k2=k2,
            mass=mass,
            progress=progress,
        )
    if as_json:
        print_json(found.to_json())
        return

    def percent(rate: float | None) -> str:
        return "none" if rate is None else f"{100 * rate:.2f} %"

    stdout.print(
        f"{found.n} questions: all tables kept {percent(found.table_recall)}, "
        f"all columns {percent(found.column_recall)}, values found {percent(found.value_recall)}; "
        f"{percent(found.columns_kept)} of the columns are kept",
        soft_wrap=True,
    )

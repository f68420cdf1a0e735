"""What each hint is worth: SFT on the built-in example with and without it, same seeds, same passes, same questions.

    python bench/ablation.py -o runs/ablation --jobs 2 --set sft.epochs=3
    python bench/ablation.py -o runs/ablation --json

Each condition adds one hint to the one before it; `linked` is another way of using the linker and is compared with `full`.
Every cell is one `exspin run` without rounds, continued where it was left, `--jobs` of them at a time with one thread each.
A cell of the table is the mean over seeds of the share of questions answered right. Its interval is a bootstrap over
questions, each with its mean over seeds, so it says how far other questions would move it; the lowest and the highest seed
say how far other seeds would. Differences are taken question by question against the condition named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exspin.ledger import read_jsonl


@dataclass(frozen=True)
class Condition:
    """A row of the table: its settings, and the row it is compared with."""

    settings: tuple[str, ...]
    against: str


CONDITIONS: Mapping[str, Condition] = {
    "none": Condition(("schema=none", "values=false", "shots=0"), ""),
    "full schema": Condition(("schema=full", "values=false", "shots=0"), "none"),
    "+ linking": Condition(("schema=named", "values=false", "shots=0"), "full schema"),
    "+ values": Condition(("schema=named", "values=true", "shots=0"), "+ linking"),
    "+ examples": Condition(("schema=named", "values=true", "shots=2"), "+ values"),
    "linked only": Condition(("schema=linked", "values=true", "shots=0"), "+ values"),
}
SPLITS = ("test", "test-unseen", "test-hand")
DRAWS = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="directory of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cells = [(name, seed) for seed in range(options.seeds) for name in options.conditions]
    with ThreadPoolExecutor(options.jobs) as pool:
        started = {
            cell: pool.submit(play, options.output, *cell, settings=options.settings)
            for cell in cells
        }
        took = {cell: run.result() for cell, run in started.items()}
    rows = table(options.output, options.conditions, options.seeds, took)
    print(json.dumps(rows, indent=1) if options.json else markdown(rows))


def directory(output: Path, name: str, seed: int) -> Path:
    return output / f"{name.replace('+ ', 'with-').replace(' ', '-')}-{seed}"


def play(output: Path, name: str, seed: int, *, settings: Sequence[str]) -> float:
    """One run, or what is missing of it; the seconds this call took."""
    begun = time.monotonic()
    chosen = [f"prompt.{setting}" for setting in CONDITIONS[name].settings]
    chosen += [f"seed={seed}", "rounds=0", "threads=1", *settings]
    command = [sys.executable, "-m", "exspin", "run", "-o", str(directory(output, name, seed))]
    command += [part for setting in chosen for part in ("--set", setting)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}, seed {seed}: {done.stderr.strip().splitlines()[-1]}")
    print(f"{name}, seed {seed}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return time.monotonic() - begun


def right(output: Path, name: str, seeds: int, split: str) -> NDArray[np.float64]:
    """Shape (seeds, questions): 1 where the answer matched; questions in the order of their ids."""
    answers = []
    for seed in range(seeds):
        path = directory(output, name, seed) / "sft" / f"predictions-{split}.jsonl"
        rows = sorted((row["example_id"], row["outcome"] == "match") for row in read_jsonl(path))
        answers.append([hit for _, hit in rows])
    return np.array(answers, float)


def interval(each_question: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean over questions."""
    generator = np.random.default_rng(0)
    n = len(each_question)
    means = [each_question[generator.integers(n, size=n)].mean() for _ in range(DRAWS)]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def table(
    output: Path, names: Sequence[str], seeds: int, took: Mapping[tuple[str, int], float]
) -> list[dict[str, Any]]:
    """One row for each condition and split."""
    rows = []
    for split in SPLITS:
        answers = {name: right(output, name, seeds, split) for name in names}
        for name in names:
            each = answers[name].mean(axis=0)
            row: dict[str, Any] = {
                "split": split,
                "condition": name,
                "n": len(each),
                "ex": float(each.mean()),
                "ci95": interval(each),
                "seeds": answers[name].mean(axis=1).tolist(),
                "seconds": [took[name, seed] for seed in range(seeds)],
            }
            against = CONDITIONS[name].against
            if against in answers:
                change = each - answers[against].mean(axis=0)
                row |= {
                    "against": against,
                    "diff": float(change.mean()),
                    "diff_ci95": interval(change),
                }
            rows.append(row)
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| split | prompt | EX | lowest, highest seed | against | points |",
        "|" + " --- |" * 6,
    ]
    for row in rows:
        low, high = row["ci95"]
        change = ""
        if "against" in row:
            first, last = row["diff_ci95"]
            change = f"{100 * row['diff']:+.1f} ({100 * first:+.1f} to {100 * last:+.1f})"
        lines.append(
            f"| {row['split']} | {row['condition']} | {100 * row['ex']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
            f" | {100 * min(row['seeds']):.1f}, {100 * max(row['seeds']):.1f} | {row.get('against', '')} | {change} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

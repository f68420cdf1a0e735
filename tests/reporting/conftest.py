"""A run directory as `exspin.selfplay` leaves it, made up in a second: `make_run(path, …)` writes one.

Nothing is trained. Every question has a difficulty, every round a skill; the answer is right when the skill, with some
luck, is enough. Scores come from the real `summarise`.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from exspin.accidental import CopyReport
from exspin.config import load_config
from exspin.ledger import write_json, write_jsonl
from exspin.records import Candidate, Example, Outcome, Pair, Prompt, Verdict
from exspin.run_directory import CONFIG, ENVIRONMENT, versions
from exspin.scoring import summarise

SPLITS = {"dev": 60, "test": 120, "test-hand": 30}
SKILL = (0.60, 0.66, 0.64, 0.67)
DATABASES = ("library", "clinic", "bike_rental", "observatory")
LEVELS = ("easy", "medium", "medium", "hard", "extra")
WRONG = (
    (Outcome.MISMATCH, "values"),
    (Outcome.MISMATCH, "row_count"),
    (Outcome.MISMATCH, "empty"),
    (Outcome.ERROR, "no_such_column"),
    (Outcome.ERROR, "syntax"),
    (Outcome.NOT_A_QUERY, "no_statement"),
    (Outcome.TIMEOUT, ""),
)
HOSTILE = "</script><img src=x onerror=alert(1)> <!-- {{ 7*7 }} & \u2028 ${x} \ud800"


def make_run(
    path: Path,
    *,
    rounds: int = 2,
    scored: int | None = None,
    splits: Mapping[str, int] = SPLITS,
    missing: Mapping[str, int] | None = None,
    skill: Sequence[float] = SKILL,
    k: int = 1,
    train: int = 80,
    hostile: bool = False,
    copies: int = 0,
) -> Path:
    """Write a run of `rounds` rounds of which the stages up to round `scored` are finished (None: all).

    `missing`: split → how many of its questions have no database.
    """
    draw = random.Random(0)
    config = load_config(overrides=[f"rounds={rounds}", f"generation.k={k}"])
    path.mkdir(parents=True)
    (path / CONFIG).write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))
    write_json(
        path / ENVIRONMENT,
        {"platform": "Linux", "versions": versions(), "data": {"dev": "0" * 64}, "resumed": []},
    )
    parts = {name: _examples(name, count, draw, hostile) for name, count in splits.items()}
    lost = {name: count for name, count in (missing or {}).items() if count}
    for name, count in lost.items():
        parts[name][:count] = [replace(e, db_id="flight_4") for e in parts[name][:count]]
    for name, examples in parts.items():
        write_jsonl(path / "splits" / f"{name}.jsonl", map(Example.to_json, examples))
    questions = _examples("train", train, draw, hostile)
    write_json(
        path / "table.json",
        {
            "train": {"split": "train", "questions": train, "databases": 4, "of": train + 20},
            "said": [
                *(
                    f"builtin {name}: 1 of 5 databases missing: flight_4 ({n})"
                    for name, n in lost.items()
                ),
                f"3 of {train + 210} prompts trimmed: samples in 3, columns in 1",
                *([HOSTILE.replace("\ud800", "")] if hostile else []),
            ],
            "splits": list(parts),
            "dev": next(iter(parts)),
        },
    )
    write_jsonl(path / "sft" / "prompts.jsonl", (_prompt(e).to_json() for e in questions))
    last = rounds if scored is None else scored
    for number in range(last + 1):
        stage = path / ("sft" if number == 0 else f"round-{number}")
        if number:
            _play(stage, questions, skill[number - 1], k, draw)
            if copies:
                write_json(
                    stage / "copies.json", CopyReport(copies, checked=9, accidental=4).to_json()
                )
        _train(stage, number, draw)
        scores = {}
        for name, examples in parts.items():
            verdicts = [_answer(e, skill[number], draw) for e in examples]
            for index in range(lost.get(name, 0)):
                verdicts[index] = replace(
                    verdicts[index], outcome=Outcome.GOLD_UNUSABLE, detail="database_missing"
                )
            held = CopyReport(copies, checked=30, accidental=number, undecided=2, unchecked=5)
            found = summarise(verdicts, examples, "default", held if copies else None)
            scores[name] = found.to_json()
            write_jsonl(
                stage / f"predictions-{name}.jsonl",
                (
                    {**v.to_json(), "text": "Sorry, I cannot." if not v.sql else v.sql}
                    for v in verdicts
                ),
            )
        write_json(stage / "scores.json", scores)
    if last == rounds:
        dev = next(iter(parts))
        stages = ["sft", *(f"round-{number}" for number in range(1, rounds + 1))]
        ex = [json.loads((path / s / "scores.json").read_text())[dev]["ex"] for s in stages]
        write_json(path / "best.json", {"best_round": ex.index(max(ex)), "split": dev, "ex": ex})
    elif last >= 0:
        stage = path / f"round-{last + 1}"  # killed while it was generating
        write_jsonl(stage / "prompts.jsonl", (_prompt(e).to_json() for e in questions))
    return path


def _examples(split: str, count: int, draw: random.Random, hostile: bool) -> list[Example]:
    rows = []
    for index in range(count):
        year = draw.randint(1950, 2020)
        question = f"How many books were published after {year} (row {index})?"
        query = f"SELECT COUNT(*) FROM book WHERE year > {year}"
        if hostile and index % 3 == 0:
            question, query = question + HOSTILE, f"{query} AND title <> '{HOSTILE}'"
        database = HOSTILE[:40] if hostile and index % 10 == 0 else draw.choice(DATABASES)
        rows.append(
            Example(
                f"fake/{split}/{index}",
                index,
                database,
                question,
                query,
                hardness=draw.choice(LEVELS),
            )
        )
    return rows


def _prompt(example: Example) -> Prompt:
    trimmed = ("samples: book.title",) if example.index < 3 else ()
    return Prompt(example.example_id, example.db_id, "CREATE TABLE book", 17, trimmed)


def _answer(example: Example, skill: float, draw: random.Random, k: int = 0) -> Verdict:
    ease = random.Random(example.example_id).random()  # the same in every round
    if 0.8 * ease + 0.2 * draw.random() < skill:
        return Verdict(example.example_id, k, Outcome.MATCH, "", example.query)
    outcome, detail = draw.choice(WRONG)
    sql = "" if outcome is Outcome.NOT_A_QUERY else example.query.replace(">", ">=", 1)
    return Verdict(example.example_id, k, outcome, detail, sql)


def _play(
    stage: Path, questions: Sequence[Example], skill: float, k: int, draw: random.Random
) -> None:
    write_jsonl(stage / "prompts.jsonl", (_prompt(e).to_json() for e in questions))
    verdicts = [_answer(e, skill, draw, i) for e in questions for i in range(k)]
    candidates = [
        Candidate(v.example_id, v.k, v.sql or "I", "stop" if v.sql else "length") for v in verdicts
    ]
    pairs = [
        Pair(
            v.example_id, v.k, v.outcome, float(v.outcome is not Outcome.MATCH), "gold", "x", "stop"
        )
        for v in verdicts
    ]
    write_jsonl(stage / "candidates.jsonl", map(Candidate.to_json, candidates))
    write_jsonl(stage / "outcomes.jsonl", map(Verdict.to_json, verdicts))
    write_jsonl(stage / "pairs.jsonl", map(Pair.to_json, pairs))


def _train(stage: Path, number: int, draw: random.Random) -> None:
    rows: list[dict[str, Any]] = []
    for step in range(1, 201 if number == 0 else 61):
        noise = draw.uniform(-0.08, 0.08)
        nll = (3.2 * math.exp(-step / 40) + 0.3 if number == 0 else 0.28) + noise
        pair = None if number == 0 else 0.69 - 0.004 * step + noise
        rows.append(
            {"step": step, "loss": nll + (pair or 0.0), "pair": pair, "nll": nll, "lr": 1e-3}
        )
    write_jsonl(stage / "loss.jsonl", rows)
    write_json(
        stage / "training.json",
        {
            "preset": "exspin-anchored" if number else "sft",
            "steps": len(rows),
            "questions": 78,
            "left_out": ["fake/train/3", "fake/train/4"],
            "gold_logp_before": -4.0 - number,
            "gold_logp_after": -3.1 - number,
            "candidate_logp_before": -9.0 if number else None,
            "candidate_logp_after": -12.5 - number if number else None,
            "seconds": 71.5,
        },
    )


@pytest.fixture(name="make_run")
def _make_run(tmp_path: Path) -> Callable[..., Path]:
    """`make_run(rounds=2, …)` writes a run below the test's own directory and returns its path."""
    return lambda name="run", **settings: make_run(tmp_path / name, **settings)

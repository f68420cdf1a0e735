"""Read a run directory into records: everything the report is made of, and nothing else is looked at.

An unfinished run is read as far as it goes; what is not there yet is None or empty and named in `notices`. Only a
directory without a configuration, or a damaged file, is an error. Numbers that are not finite are read as missing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from exspin.config import Config
from exspin.errors import DataError, RunError
from exspin.ledger import read_json, read_jsonl
from exspin.records import Candidate, Example, Outcome, Pair, Verdict
from exspin.run_directory import ENVIRONMENT, RunDirectory, read_run_config

T = TypeVar("T")

_CURE = "the same `exspin run` again writes the file anew or says what to delete"

# What each stage leaves, in the order they are made.
_STAGES = {
    "sft": {"training.json": "SFT", "scores.json": "evaluation of SFT"},
    "round": {
        "candidates.jsonl": "round {}, generation",
        "outcomes.jsonl": "round {}, execution",
        "training.json": "round {}, learning",
        "scores.json": "round {}, evaluation",
    },
}

# Outcomes that say nothing against the candidate; every other one is a wrong answer.
NOT_WRONG = frozenset({Outcome.MATCH, Outcome.GOLD_UNUSABLE, Outcome.INFRA})

# What a stage leaves behind, in the order it is written.
_TRAILS = {
    "sft": ("prompts.jsonl", "training.json", "scores.json"),
    "round": (
        "prompts.jsonl",
        "candidates.jsonl",
        "outcomes.jsonl",
        "pairs.jsonl",
        "training.json",
        "scores.json",
    ),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What one policy answered to one question, and what came of it."""

    outcome: Outcome
    detail: str
    sql: str
    text: str

    @property
    def right(self) -> bool:
        return self.outcome is Outcome.MATCH

    @property
    def scored(self) -> bool:
        return self.outcome is not Outcome.GOLD_UNUSABLE


@dataclass(frozen=True, slots=True)
class PartScore:
    """Execution accuracy on a part of a split."""

    n: int
    scored: int
    ex: float


@dataclass(frozen=True, slots=True)
class CopyCount:
    """Matches that had to hold on perturbed copies of their database too."""

    copies: int  # of each database
    checked: int
    accidental: int  # did not hold
    undecided: int  # no copy counted
    unchecked: int  # on databases of which no copies can be made


@dataclass(frozen=True, slots=True)
class SplitScore:
    """Execution accuracy of one policy on one split, as `scores.json` has it."""

    n: int
    scored: int
    ex: float
    ci95: tuple[float, float]
    outcomes: Mapping[Outcome, int]
    by_hardness: Mapping[str, PartScore]
    by_database: Mapping[str, PartScore]
    copies: CopyCount | None = None


@dataclass(frozen=True, slots=True)
class Opponent:
    """What the opponent of a round wrote, what the database said of it, and what was made of it.

    `outcomes` counts candidates and sums to `candidates`. `distinct` counts different texts, question by question.
    """

    questions: int
    candidates: int
    outcomes: Mapping[Outcome, int]
    wrong: int
    questions_wrong: int  # questions with at least one wrong candidate
    cut_off: int  # candidates that reached the length limit
    distinct: int
    pairs: int | None = None  # None: not made yet
    pairs_weighted: int | None = None


@dataclass(frozen=True, slots=True)
class LossPoint:
    """One optimizer step; None where the stage does not measure it."""

    step: int
    loss: float | None
    pair: float | None
    nll: float | None


@dataclass(frozen=True, slots=True)
class Training:
    """What training a stage came to; None where a stage does not say.

    `logps` maps "gold" and "candidate" to their mean log-prob (before, after), where it was measured.
    """

    questions: int | None  # learned from
    left_out: int  # longer than the model's context
    steps: int | None
    seconds: float | None
    logps: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class RoundFiles:
    """What one round left behind; round 0 is SFT. `answers` maps split → example_id → answer."""

    number: int
    preset: str
    scores: Mapping[str, SplitScore]
    answers: Mapping[str, Mapping[str, Answer]]
    opponent: Opponent | None
    training: Training | None
    loss: tuple[LossPoint, ...]
    copies: CopyCount | None  # of the opponent's candidates


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """`questions` of the `of` questions of a split, on so many databases; `trimmed`: prompts that lost what."""

    split: str
    questions: int
    databases: int
    of: int
    missing: Mapping[str, int]  # db_id of a database that is not there → its questions
    prompts: int = 0
    prompts_trimmed: int = 0
    trimmed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunFiles:
    """A run as its directory has it."""

    path: Path
    config: Config
    environment: Mapping[str, Any]
    training_set: TrainingSet | None
    said: tuple[str, ...]
    dev: str | None
    splits: Mapping[str, tuple[Example, ...]]  # dev first
    rounds: tuple[RoundFiles, ...]
    best_round: int | None
    finished: bool
    next_stage: (
        str | None
    )  # what the same `exspin run` again begins with; None where it is finished
    notices: tuple[str, ...]


def read_run(path: Path) -> RunFiles:
    """Read a run. Raises `RunError` where there is none, `DataError` for a damaged file."""
    if not path.is_dir():
        raise RunError(f"{path}: is not a directory; give the directory of a run")
    config = read_run_config(path)
    place = RunDirectory(path)
    notices: list[str] = []
    table = _one(path / "table.json", _table)
    if table is None:
        notices.append("The run stopped before its data was loaded.")
        table = _Table(None, (), (), None)
    splits = {
        name: _all(path / "splits" / f"{name}.jsonl", Example.from_json) for name in table.splits
    }
    rounds = tuple(
        _read_round(place, number, config, splits, notices) for number in range(config.rounds + 1)
    )
    # written last; after a run is continued with more rounds, an old one is still there
    best = _one(path / "best.json", lambda row: (int(row["best_round"]), len(row["ex"])))
    finished = best is not None and best[1] == len(rounds) and all(stage.scores for stage in rounds)
    return RunFiles(
        path=path,
        config=config,
        environment=_one(path / ENVIRONMENT, dict) or {},
        training_set=_with_trimming(table.train, place.stage(0) / "prompts.jsonl"),
        said=table.said,
        dev=table.dev,
        splits=splits,
        rounds=rounds,
        best_round=best[0] if best and finished else _best_so_far(rounds, table.dev),
        finished=finished,
        next_stage=None if finished else _next_stage(place, config.rounds),
        notices=tuple(notices),
    )


def _next_stage(place: RunDirectory, rounds: int) -> str:
    """The first stage whose file is not there."""
    for number in range(rounds + 1):
        for file, stage in _STAGES["sft" if number == 0 else "round"].items():
            if not (place.stage(number) / file).exists():
                return stage.format(number)
    return "report"


def _best_so_far(rounds: Iterable[RoundFiles], dev: str | None) -> int | None:
    """The first of the best on dev among the rounds that are scored."""
    scored = [(s.ex, -stage.number) for stage in rounds if dev and (s := stage.scores.get(dev))]
    return -max(scored)[1] if scored else None


def _read_round(
    place: RunDirectory,
    number: int,
    config: Config,
    splits: Mapping[str, tuple[Example, ...]],
    notices: list[str],
) -> RoundFiles:
    directory = place.stage(number)
    name = "SFT" if number == 0 else f"Round {number}"
    trail = _TRAILS["sft" if number == 0 else "round"]
    present = [file for file in trail if (directory / file).exists()]
    if not present:
        notices.append(f"{name} has not begun.")
    elif present[-1] != trail[-1]:
        notices.append(f"{name} is unfinished: the last file it wrote is {present[-1]}.")
    scores = {
        split: score
        for split, score in (_one(directory / "scores.json", _scores) or {}).items()
        if split in splits
    }
    answers = {
        split: dict(_all(directory / f"predictions-{split}.jsonl", _answer)) for split in scores
    }
    for split, found in answers.items():
        if len(found) != len(splits[split]):
            notices.append(
                f"{name}: {len(found)} answers for the {len(splits[split])} questions of {split}; "
                "comparisons cover the questions that have one."
            )
    return RoundFiles(
        number=number,
        preset="sft" if number == 0 else config.learning.preset,
        scores=scores,
        answers=answers,
        opponent=_opponent(directory),
        training=_one(directory / "training.json", _training),
        loss=_loss(directory / "loss.jsonl", name, notices),
        copies=_one(directory / "copies.json", _copies),
    )


def _scores(row: Mapping[str, Any]) -> dict[str, SplitScore]:
    return {
        split: SplitScore(
            n=score["n"],
            scored=score["scored"],
            ex=score["ex"],
            ci95=(score["ci95"][0], score["ci95"][1]),
            outcomes={outcome: score["outcomes"].get(outcome.value, 0) for outcome in Outcome},
            by_hardness=_parts(score["by_hardness"]),
            by_database=_parts(score["by_database"]),
            copies=_copies(score["copies"]) if "copies" in score else None,
        )
        for split, score in row.items()
    }


def _parts(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, PartScore]:
    return {name: PartScore(row["n"], row["scored"], row["ex"]) for name, row in rows.items()}


def _answer(row: Mapping[str, Any]) -> tuple[str, Answer]:
    answer = Answer(Outcome(row["outcome"]), row["detail"], row["sql"], row["text"])
    return row["example_id"], answer


def _opponent(directory: Path) -> Opponent | None:
    """None until the candidates of a round are executed."""
    if not (directory / "outcomes.jsonl").exists():
        return None
    candidates = _all(directory / "candidates.jsonl", Candidate.from_json)
    verdicts = _all(directory / "outcomes.jsonl", Verdict.from_json)
    weights = None
    if (directory / "pairs.jsonl").exists():
        weights = [pair.weight for pair in _all(directory / "pairs.jsonl", Pair.from_json)]
    counts = Counter(verdict.outcome for verdict in verdicts)
    wrong = [verdict for verdict in verdicts if verdict.outcome not in NOT_WRONG]
    return Opponent(
        questions=len({candidate.example_id for candidate in candidates}),
        candidates=len(verdicts),
        outcomes={outcome: counts[outcome] for outcome in Outcome},
        wrong=len(wrong),
        questions_wrong=len({verdict.example_id for verdict in wrong}),
        cut_off=sum(candidate.finish_reason == "length" for candidate in candidates),
        distinct=len({(candidate.example_id, candidate.text) for candidate in candidates}),
        pairs=None if weights is None else len(weights),
        pairs_weighted=None if weights is None else sum(weight > 0 for weight in weights),
    )


def _copies(row: Mapping[str, Any]) -> CopyCount:
    return CopyCount(**{name: int(row[name]) for name in CopyCount.__slots__})


def _training(row: Mapping[str, Any]) -> Training:
    logps = {}
    for kind in ("gold", "candidate"):
        before, after = (_number(row.get(f"{kind}_logp_{when}")) for when in ("before", "after"))
        if before is not None and after is not None:
            logps[kind] = before, after
    return Training(
        questions=row.get("questions"),
        left_out=len(row.get("left_out", ())),
        steps=row.get("steps"),
        seconds=_number(row.get("seconds")),
        logps=logps,
    )


def _loss(path: Path, name: str, notices: list[str]) -> tuple[LossPoint, ...]:
    """The log of a stage that is being written may end in half a line: what is whole is kept."""
    points: list[LossPoint] = []
    try:
        for row in read_jsonl(path) if path.exists() else ():
            loss, pair, nll = (_number(row.get(key)) for key in ("loss", "pair", "nll"))
            points.append(LossPoint(row.get("step", len(points) + 1), loss, pair, nll))
    except (AttributeError, DataError):
        notices.append(f"{name}: the loss log is readable up to its line {len(points)} only.")
    return tuple(points)


@dataclass(frozen=True, slots=True)
class _Table:
    train: TrainingSet | None
    said: tuple[str, ...]
    splits: tuple[str, ...]
    dev: str | None


def _table(row: Mapping[str, Any]) -> _Table:
    train = row["train"]
    return _Table(
        train=TrainingSet(
            split=train["split"],
            questions=train["questions"],
            databases=train["databases"],
            of=train["of"],
            missing=train.get("missing", {}),
        ),
        said=tuple(row["said"]),
        splits=tuple(row["splits"]),
        dev=row["dev"],
    )


def _with_trimming(train: TrainingSet | None, path: Path) -> TrainingSet | None:
    if train is None:
        return None
    lost = _all(path, lambda row: {step.partition(":")[0] for step in row["trimmed"]})
    return replace(
        train,
        prompts=len(lost),
        prompts_trimmed=sum(map(bool, lost)),
        trimmed=dict(Counter(kind for kinds in lost for kind in kinds)),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _one(path: Path, parse: Callable[[Any], T]) -> T | None:
    """What a JSON file says; None where there is no file."""
    if not path.exists():
        return None
    try:
        return parse(read_json(path))
    except DataError as error:
        raise DataError(f"{error}; {_CURE}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not what a run writes ({error!r}); {_CURE}") from error


def _all(path: Path, parse: Callable[[dict[str, Any]], T]) -> tuple[T, ...]:
    """What the lines of a JSONL file say; nothing where there is no file."""
    found: list[T] = []
    try:
        for row in read_jsonl(path) if path.exists() else ():
            found.append(parse(row))
    except DataError as error:
        raise DataError(f"{error}; {_CURE}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}:{len(found) + 1}: not what a run writes ({error!r}); {_CURE}"
        ) from error
    return tuple(found)

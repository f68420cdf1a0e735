"""What a run came to, in numbers: scores, paired comparisons, parts, what was left out. `report.json` is its JSON.

Rates and differences are fractions 0–1. A comparison covers the questions that count in both rounds, so its `n` can be
below a split's `scored` where a gold query failed in one round only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from exspin.records import Example, Outcome
from exspin.reporting.collect import Answer, Opponent, RoundFiles, RunFiles, Training, TrainingSet
from exspin.run_directory import RunDirectory
from exspin.statistics import bootstrap_interval, paired_difference

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class RoundScore:
    """One round on one split."""

    round: int
    preset: str
    split: str
    n: int
    scored: int
    ex: float
    ci95: Interval
    outcomes: Mapping[Outcome, int]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A round against an earlier one on the same `n` questions; `diff` is the round's rate minus the other's."""

    round: int
    against: int
    split: str
    n: int
    diff: float
    ci95: Interval
    fixed: int
    broke: int
    p: float


@dataclass(frozen=True, slots=True)
class PartRow:
    """One round on a part of a split, with its change against round 0 (None for round 0 itself)."""

    round: int
    split: str
    part: str
    n: int
    scored: int
    ex: float
    ci95: Interval
    fixed: int | None
    broke: int | None


@dataclass(frozen=True, slots=True)
class SplitCount:
    """Where the questions of a split went: `n` = `missing` + `quarantined` + `gold_failed` + `scored`."""

    split: str
    n: int
    missing: Mapping[str, int]  # db_id of a database that is not there → its questions
    quarantined: int
    gold_failed: int
    scored: int


@dataclass(frozen=True, slots=True)
class Accidental:
    """What became of one round's matches on perturbed copies; `split` None: the opponent's candidates."""

    round: int
    split: str | None
    copies: int
    checked: int
    accidental: int
    undecided: int
    unchecked: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the printed table. The columns from `diff` on compare with round 0; None where there is nothing to compare."""

    round: int
    preset: str
    split: str
    n: int
    scored: int
    ex: float
    ci95: Interval
    best: bool
    diff: float | None = None
    diff_ci95: Interval | None = None
    fixed: int | None = None
    broke: int | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in numbers. `best_round` is chosen on `dev`; while the run is unfinished it is the best so far, or None, and
    `next_stage` is what it goes on with.
    """

    run: Path
    rounds: tuple[RoundScore, ...]
    best_round: int | None
    report: Path
    finished: bool
    next_stage: str | None
    rounds_planned: int
    comparator: str
    dev: str | None
    splits: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    by_hardness: tuple[PartRow, ...]
    by_database: tuple[PartRow, ...]
    counts: tuple[SplitCount, ...]
    training_set: TrainingSet | None
    opponents: Mapping[int, Opponent]
    training: Mapping[int, Training]
    accidental: tuple[Accidental, ...]
    said: tuple[str, ...]
    notices: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What `report.json` holds; the first four keys are the contract of `exspin run --json`."""
        value: dict[str, Any] = _plain(
            {
                **asdict(self),
                "opponents": [{"round": t, **asdict(o)} for t, o in self.opponents.items()],
                "training": [{"round": t, **asdict(o)} for t, o in self.training.items()],
            }
        )
        return value

    def score(self, round_number: int, split: str | None) -> RoundScore | None:
        """The score of a round on a split, if it has one."""
        found = (s for s in self.rounds if s.round == round_number and s.split == split)
        return next(found, None)

    def comparison(self, round_number: int, split: str, against: int = 0) -> Comparison | None:
        """A round against another on a split, if both are scored."""
        key = (round_number, against, split)
        return next((c for c in self.comparisons if (c.round, c.against, c.split) == key), None)

    def table(self) -> list[Row]:
        """The scores split by split, every round beside its difference from round 0."""
        rows = []
        for split in self.splits:
            for s in (s for s in self.rounds if s.split == split):
                best = s.round == self.best_round
                first = (s.round, s.preset, split, s.n, s.scored, s.ex, s.ci95, best)
                c = self.comparison(s.round, split)
                rows.append(
                    Row(*first, c.diff, c.ci95, c.fixed, c.broke, c.p) if c else Row(*first)
                )
        return rows


def summarise(run: RunFiles) -> Summary:
    """Compute everything the report states from what a run left behind."""
    scores = tuple(
        RoundScore(t.number, t.preset, split, s.n, s.scored, s.ex, s.ci95, s.outcomes)
        for t in run.rounds
        for split, s in t.scores.items()
    )
    place = RunDirectory(run.path)
    return Summary(
        run=run.path,
        rounds=scores,
        best_round=run.best_round,
        report=place.report_html,
        finished=run.finished,
        next_stage=run.next_stage,
        rounds_planned=run.config.rounds,
        comparator=run.config.feedback.comparator,
        dev=run.dev,
        splits=tuple(run.splits),
        comparisons=tuple(_comparisons(run)),
        by_hardness=tuple(_parts(run, "hardness")),
        by_database=tuple(_parts(run, "database")),
        counts=tuple(_counts(run)),
        training_set=run.training_set,
        opponents={t.number: t.opponent for t in run.rounds if t.opponent},
        training={t.number: t.training for t in run.rounds if t.training},
        accidental=tuple(_accidental(run)),
        said=run.said,
        notices=run.notices,
    )


def shared(
    examples: Sequence[Example], a: Mapping[str, Answer], b: Mapping[str, Answer]
) -> list[tuple[Example, Answer, Answer]]:
    """The questions that both rounds answered and that count in both, in row order."""
    found = ((e, a.get(e.example_id), b.get(e.example_id)) for e in examples)
    return [(e, x, y) for e, x, y in found if x and y and x.scored and y.scored]


def _comparisons(run: RunFiles) -> list[Comparison]:
    """Every round with round 0 and, from round 2 on, with the round before."""
    rows = []
    for split, examples in run.splits.items():
        for t in run.rounds[1:]:
            for against in dict.fromkeys((0, t.number - 1)):
                other = run.rounds[against]
                if split not in t.scores or split not in other.scores:
                    continue
                both = shared(examples, other.answers[split], t.answers[split])
                if not both:
                    continue
                d = paired_difference([x.right for _, x, _ in both], [y.right for _, _, y in both])
                c = (t.number, against, split, len(both), d.diff, d.ci95, d.fixed, d.broke, d.p)
                rows.append(Comparison(*c))
    return rows


def _parts(run: RunFiles, kind: str) -> list[PartRow]:
    """Every round on every hardness, or on every database, of every split."""
    name_of: Callable[[Example], str] = (
        (lambda e: e.hardness or "unknown") if kind == "hardness" else (lambda e: e.db_id)
    )
    rows: list[PartRow] = []
    for split, examples in run.splits.items():
        for t in (t for t in run.rounds if split in t.scores):
            score = t.scores[split]
            fixed, broke = _changes(run.rounds[0], t, split, examples, name_of)
            parts = score.by_hardness if kind == "hardness" else score.by_database
            rows.extend(
                PartRow(
                    round=t.number,
                    split=split,
                    part=name,
                    n=part.n,
                    scored=part.scored,
                    ex=part.ex,
                    ci95=_interval(round(part.ex * part.scored), part.scored),
                    fixed=fixed[name] if t.number else None,
                    broke=broke[name] if t.number else None,
                )
                for name, part in parts.items()
            )
    return rows


def _changes(
    before: RoundFiles,
    after: RoundFiles,
    split: str,
    examples: Sequence[Example],
    name_of: Callable[[Example], str],
) -> tuple[Counter[str], Counter[str]]:
    both = shared(examples, before.answers.get(split, {}), after.answers[split])
    fixed = Counter(name_of(e) for e, x, y in both if y.right and not x.right)
    broke = Counter(name_of(e) for e, x, y in both if x.right and not y.right)
    return fixed, broke


def _accidental(run: RunFiles) -> Iterator[Accidental]:
    """Every round's answers split by split, then its opponent's candidates, where copies were asked for."""
    for t in run.rounds:
        counted = {split: t.scores[split].copies for split in run.splits if split in t.scores}
        for split, found in [*counted.items(), (None, t.copies)]:
            if found:
                yield Accidental(t.number, split, **asdict(found))


def _counts(run: RunFiles) -> list[SplitCount]:
    """Where the questions went, by the answers of the first round that is scored."""
    rows = []
    for split, examples in run.splits.items():
        scored = next((t for t in run.rounds if split in t.scores), None)
        if scored is None:
            continue
        answers = scored.answers[split]
        unusable = [
            (e, a)
            for e in examples
            if (a := answers.get(e.example_id)) and a.outcome is Outcome.GOLD_UNUSABLE
        ]
        missing = Counter(e.db_id for e, a in unusable if a.detail == "database_missing")
        quarantined = sum(a.detail == "quarantined" for _, a in unusable)
        score = scored.scores[split]
        rows.append(
            SplitCount(
                split=split,
                n=score.n,
                missing=dict(sorted(missing.items())),
                quarantined=quarantined,
                gold_failed=score.n - score.scored - sum(missing.values()) - quarantined,
                scored=score.scored,
            )
        )
    return rows


@lru_cache(maxsize=10_000)
def _interval(hits: int, n: int) -> Interval:
    return bootstrap_interval([True] * hits + [False] * (n - hits))


def _plain(value: Any) -> Any:
    """JSON values only: no paths, and no lone surrogates, which a file name may contain and UTF-8 may not."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str | Path):
        return str(value).encode("utf-8", "replace").decode()
    return value

"""Score files of predicted SQL against a split: execution accuracy, its interval, and what went wrong.

How a file is read is in `predictions`. `summarise` turns verdicts into a score and is what model evaluation uses too.
Several files are judged by the same workers and compared question by question.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from exspin import feedback
from exspin.accidental import CopyCheck, CopyReport
from exspin.data import Split, with_hardness
from exspin.errors import DataError
from exspin.ledger import check_output, write_jsonl
from exspin.predictions import read_file
from exspin.records import Candidate, Example, Flat, Outcome, Verdict
from exspin.sql.copies import check_engine
from exspin.sql.execute import Executor, Limits
from exspin.statistics import Paired, bootstrap_interval, paired_difference


@dataclass(frozen=True, slots=True)
class Part(Flat):
    """The score of a part of the questions: one hardness, one database."""

    n: int
    scored: int
    ex: float
    ci95: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Score:
    """Execution accuracy `ex` = matches / scored, with its 95 % bootstrap interval; rates are fractions 0–1.

    `n` counts every row, `outcomes` has all nine and sums to `n`; `scored` leaves out `gold_unusable` alone. `damaged`: db_id
    of a database that is damaged inside → its questions whose gold fails for that. `seconds` is wall time: of the call of
    `score`, `evaluate` or, from one file to the next, `score_files`; 0 where verdicts alone were summarised.
    """

    n: int
    scored: int
    gold_unusable: int
    ex: float
    ci95: tuple[float, float]
    outcomes: Mapping[Outcome, int]
    comparator: str
    by_hardness: Mapping[str, Part]
    by_database: Mapping[str, Part]
    damaged: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    copies: CopyReport | None = None  # where matches had to hold on copies

    def to_json(self) -> dict[str, Any]:
        found = self.copies
        accidental = {"accidental": found.accidental, "copies": found.to_json()} if found else {}
        return {
            "n": self.n,
            "scored": self.scored,
            "gold_unusable": self.gold_unusable,
            "ex": self.ex,
            "ci95": list(self.ci95),
            "outcomes": {outcome.value: count for outcome, count in self.outcomes.items()},
            "comparator": self.comparator,
            "seconds": self.seconds,
            "by_hardness": {name: part.to_json() for name, part in self.by_hardness.items()},
            "by_database": {name: part.to_json() for name, part in self.by_database.items()},
            "damaged": dict(self.damaged),
            **accidental,
        }


@dataclass(frozen=True, slots=True)
class Scores:
    """Several files of predictions for one split, side by side. `pairs`: (i, j) → file j against file i, by place."""

    names: tuple[str, ...]
    files: tuple[Score, ...]
    pairs: Mapping[tuple[int, int], Paired]

    def to_json(self) -> dict[str, Any]:
        return {
            "files": [
                {"predictions": name, **score.to_json()}
                for name, score in zip(self.names, self.files, strict=True)
            ],
            "pairs": [
                {
                    "a": self.names[i],
                    "b": self.names[j],
                    "diff": pair.diff,
                    "ci95": list(pair.ci95),
                    "fixed": pair.fixed,
                    "broke": pair.broke,
                    "p": pair.p,
                }
                for (i, j), pair in self.pairs.items()
            ],
        }


def score(
    data: Split,
    predictions: str | Path,
    *,
    comparator: str = "default",
    extract: bool = False,
    sql_column: str | None = None,
    limits: Limits | None = None,
    workers: int = 2,
    verdicts: str | Path | None = None,
    copies: CopyCheck | None = None,
    progress: Callable[[int], None] | None = None,
) -> Score:
    """Execute and compare a file of predictions for a split, and write the verdicts beside it if asked.

    With `extract`, predictions are model text and the statement is taken out first. `sql_column` names the field of a CSV
    or JSONL file. With `copies`, a match has to hold on perturbed copies of its database too. Raises `DataError` where the
    file cannot be read or does not fit the split, and `ConfigError` for an unknown comparator, and for copies of a database
    that is no SQLite file.
    """
    return score_files(
        data,
        [predictions],
        comparator=comparator,
        extract=extract,
        sql_column=sql_column,
        limits=limits,
        workers=workers,
        verdicts=[] if verdicts is None else [verdicts],
        copies=copies,
        progress=progress,
    ).files[0]


def score_files(
    data: Split,
    predictions: Sequence[str | Path],
    *,
    comparator: str = "default",
    extract: bool = False,
    sql_column: str | None = None,
    limits: Limits | None = None,
    workers: int = 2,
    verdicts: Sequence[str | Path] = (),
    copies: CopyCheck | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """`score` for several files, and each pair of them compared on the questions that were scored.

    `verdicts` has a place for each file, or none. All files are read before anything is executed.
    """
    started = time.monotonic()
    paths, places = [Path(path) for path in predictions], [Path(path) for path in verdicts]
    _check_places(paths, places)
    if copies:
        check_engine(data.databases.values())
    texts = [_texts(path, data.examples, comparator, extract, sql_column) for path in paths]
    examples = {example.example_id: example for example in data.examples}
    judged, scores = [], []
    with Executor(limits, workers) as executor:
        executor.start(next((database.kind for database in data.databases.values()), "sqlite"))
        graded = with_hardness(data).examples  # while the workers start
        for each in texts:
            candidates = [
                Candidate(example.example_id, 0, text, "stop")
                for example, text in zip(data.examples, each, strict=True)
            ]
            judged.append(
                feedback.judge(
                    candidates,
                    examples,
                    data.databases,
                    executor,
                    comparator,
                    extract=extract,
                    quarantined=data.quarantined,
                    copies=copies,
                    progress=progress,
                )
            )
            now = time.monotonic()
            found = summarise(judged[-1], graded, comparator, copies.report if copies else None)
            scores.append(replace(found, seconds=now - started))
            started = now
    for place, each_judged in zip(places, judged, strict=bool(places)):
        write_verdicts(place, each_judged, data.examples)
    return Scores(tuple(map(str, paths)), tuple(scores), _pairs(judged))


def _check_places(paths: Sequence[Path], places: Sequence[Path]) -> None:
    if not paths:
        raise DataError("no file of predictions; give at least one")
    if places and len(places) != len(paths):
        raise DataError(
            f"{len(places)} places for the verdicts of {len(paths)} files of predictions; give each file its own"
        )
    for place in places:
        if place.resolve() in [path.resolve() for path in paths]:
            raise DataError(
                f"{place}: is the file of predictions; give verdicts a file of their own"
            )
        if sum(place.resolve() == other.resolve() for other in places) > 1:
            raise DataError(f"{place}: is given for the verdicts of two files; give each its own")
    for place in places:
        check_output(place)


def _texts(
    path: Path, examples: Sequence[Example], comparator: str, extract: bool, sql_column: str | None
) -> list[str]:
    found = read_file(path, examples, sql_column)
    if comparator.startswith("test-suite") and found.one_a_line and not extract:
        # its script reads a line up to the first tab, whatever follows
        return [text.partition("\t")[0] for text in found.texts]
    return found.texts


def _pairs(judged: Sequence[Sequence[Verdict]]) -> dict[tuple[int, int], Paired]:
    """Every later file against every earlier one, on the rows that count for both."""
    pairs = {}
    for i, j in combinations(range(len(judged)), 2):
        both = [
            (a.outcome is Outcome.MATCH, b.outcome is Outcome.MATCH)
            for a, b in zip(judged[i], judged[j], strict=True)
            if Outcome.GOLD_UNUSABLE not in (a.outcome, b.outcome)
        ]
        pairs[i, j] = paired_difference([a for a, _ in both], [b for _, b in both])
    return pairs


def summarise(
    verdicts: Sequence[Verdict],
    examples: Sequence[Example],
    comparator: str,
    copies: CopyReport | None = None,
) -> Score:
    """The score of one verdict for each example, in the order of the examples."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    hardness: defaultdict[str, list[Verdict]] = defaultdict(list)
    database: defaultdict[str, list[Verdict]] = defaultdict(list)
    for example, verdict in zip(examples, verdicts, strict=True):
        hardness[example.hardness or "unknown"].append(verdict)
        database[example.db_id].append(verdict)
    whole = _part(verdicts)
    # Spider's classes and BIRD's, each from easy to hard; then what others call theirs
    known = ("easy", "medium", "hard", "extra", "simple", "moderate", "challenging")
    levels = (*known, *sorted(hardness.keys() - {*known, "unknown"}), "unknown")
    return Score(
        n=whole.n,
        scored=whole.scored,
        gold_unusable=counts[Outcome.GOLD_UNUSABLE],
        ex=whole.ex,
        ci95=whole.ci95,
        outcomes={outcome: counts[outcome] for outcome in Outcome},
        comparator=comparator,
        by_hardness={level: _part(hardness[level]) for level in levels if level in hardness},
        by_database={db_id: _part(database[db_id]) for db_id in sorted(database)},
        damaged=feedback.damaged(verdicts, {e.example_id: e for e in examples}),
        copies=copies,
    )


def write_verdicts(path: Path, verdicts: Sequence[Verdict], examples: Sequence[Example]) -> None:
    """One line a row: index, db_id, outcome, detail."""
    write_jsonl(
        path,
        (
            {
                "index": example.index,
                "db_id": example.db_id,
                "outcome": verdict.outcome,
                "detail": verdict.detail,
            }
            for verdict, example in zip(verdicts, examples, strict=True)
        ),
    )


def _part(verdicts: Sequence[Verdict]) -> Part:
    hits = [v.outcome is Outcome.MATCH for v in verdicts if v.outcome is not Outcome.GOLD_UNUSABLE]
    rate = sum(hits) / len(hits) if hits else 0.0
    return Part(len(verdicts), len(hits), rate, bootstrap_interval(hits))

"""Score a file of predicted SQL against a split: execution accuracy, its interval, and what went wrong.

A prediction file has one prediction for each row of the split, in order: a text file with one SQL a line (a blank
line is an empty prediction; a tab and the db_id may follow), or JSONL. `summarise` turns verdicts into a score and is
what model evaluation uses too.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exspin import feedback
from exspin.accidental import CopyCheck, CopyReport
from exspin.data import Split, with_hardness
from exspin.errors import DataError
from exspin.ledger import check_output, write_jsonl
from exspin.records import Candidate, Example, Outcome, Verdict
from exspin.sql.copies import check_engine
from exspin.sql.execute import Executor, Limits
from exspin.statistics import bootstrap_interval

_SQL_KEYS = ("query", "sql", "prediction")
_DB_ID = re.compile(r"[\w.\- ]{1,64}")


@dataclass(frozen=True, slots=True)
class Part:
    """The score of a part of the questions: one hardness, one database."""

    n: int
    scored: int
    ex: float

    def to_json(self) -> dict[str, Any]:
        return {"n": self.n, "scored": self.scored, "ex": self.ex}


@dataclass(frozen=True, slots=True)
class Score:
    """Execution accuracy `ex` = matches / scored, with its 95 % bootstrap interval; rates are fractions 0–1.

    `n` counts every row, `outcomes` has all nine and sums to `n`; `scored` leaves out `gold_unusable` alone.
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
            **accidental,
        }


def score(
    data: Split,
    predictions: Path,
    *,
    comparator: str = "default",
    extract: bool = False,
    limits: Limits | None = None,
    workers: int = 2,
    verdicts: Path | None = None,
    copies: CopyCheck | None = None,
    progress: Callable[[int], None] | None = None,
) -> Score:
    """Execute and compare a file of predictions for a split, and write the verdicts beside it if asked.

    With `copies`, a match has to hold on perturbed copies of its database too. With `extract`, predictions are model text and the statement is taken out first. Raises `DataError` where the file
    cannot be read or does not fit the split, and `ConfigError` for an unknown comparator.
    """
    if verdicts is not None and verdicts.resolve() == predictions.resolve():
        raise DataError(
            f"{verdicts}: is the file of predictions; give verdicts a file of their own"
        )
    if verdicts is not None:
        check_output(verdicts)
    if copies:
        check_engine(data.databases.values())
    texts = read_predictions(predictions, data.examples)
    if comparator.startswith(
        "test-suite"
    ):  # its script reads a line up to the first tab, whatever follows
        texts = [text.partition("\t")[0] for text in texts]
    candidates = [
        Candidate(example.example_id, 0, text, "stop")
        for example, text in zip(data.examples, texts, strict=True)
    ]
    examples = {example.example_id: example for example in data.examples}
    with Executor(limits, workers) as executor:
        judged = feedback.judge(
            candidates,
            examples,
            data.databases,
            executor,
            comparator,
            extract=extract,
            copies=copies,
            progress=progress,
        )
    if verdicts is not None:
        write_verdicts(verdicts, judged, data.examples)
    found = copies.report if copies else None
    return summarise(judged, with_hardness(data).examples, comparator, found)


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
    hits = [v.outcome is Outcome.MATCH for v in verdicts if v.outcome is not Outcome.GOLD_UNUSABLE]
    levels = ("easy", "medium", "hard", "extra", "unknown")
    return Score(
        n=whole.n,
        scored=whole.scored,
        gold_unusable=counts[Outcome.GOLD_UNUSABLE],
        ex=whole.ex,
        ci95=bootstrap_interval(hits),
        outcomes={outcome: counts[outcome] for outcome in Outcome},
        comparator=comparator,
        by_hardness={level: _part(hardness[level]) for level in levels if level in hardness},
        by_database={db_id: _part(database[db_id]) for db_id in sorted(database)},
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


def read_predictions(path: Path, examples: Sequence[Example]) -> list[str]:
    """One prediction for each example, in order. Raises `DataError` naming the file and the line."""
    try:
        # Bytes that are no UTF-8 become lone surrogates: the prediction is wrong, the file is not.
        text = path.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); give a file of predictions"
        ) from error
    if path.suffix == ".jsonl" or _is_json_object(text.lstrip().partition("\n")[0]):
        return _from_jsonl(path, text, len(examples))
    return _from_lines(path, text, examples)


def _is_json_object(line: str) -> bool:
    """SQL that a model wrote can begin with a brace too."""
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _from_lines(path: Path, text: str, examples: Sequence[Example]) -> list[str]:
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    while len(lines) > len(examples) and not lines[-1].strip():
        lines.pop()
    if not text.strip() and len(examples) != 1:
        lines = []
    _check_count(path, len(lines), len(examples))
    tails = [line.rpartition("\t")[2].strip() if "\t" in line else "" for line in lines]
    written = sum(bool(line.strip()) for line in lines)
    # SQL may have tabs for spaces: then there are several, or what follows the last is no database of the split.
    known = {example.db_id for example in examples}
    named = sum(
        tail in known or (line.count("\t") == 1 and bool(_DB_ID.fullmatch(tail)))
        for line, tail in zip(lines, tails, strict=True)
    )
    if 2 * named <= written:
        return lines
    for number, (line, tail, example) in enumerate(zip(lines, tails, examples, strict=True), 1):
        if line.strip() and tail != example.db_id:
            raise DataError(
                f"{path}:{number}: the line ends in {tail[:80]!r}, but row {number} of the split is about database "
                f"{example.db_id!r}; predictions must be in the order of the split"
            )
    return [line.rpartition("\t")[0] for line in lines]


def _from_jsonl(path: Path, text: str, count: int) -> list[str]:
    rows: dict[int, str] = {}
    numbered = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    for place, (number, line) in enumerate(numbered):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not JSON ({error})") from error
        sql = (
            next((row[key] for key in _SQL_KEYS if key in row), None)
            if isinstance(row, dict)
            else None
        )
        if not isinstance(sql, str):
            raise DataError(
                f"{path}:{number}: expected an object with the SQL under {' or '.join(_SQL_KEYS)}"
            )
        index = row.get("index", place)
        if type(index) is not int or index in rows:
            raise DataError(
                f"{path}:{number}: index {index!r} is not a number or occurs twice; number rows from 0"
            )
        rows[index] = sql
    _check_count(path, len(rows), count)
    if missing := sorted(set(range(count)) - rows.keys()):
        raise DataError(
            f"{path}: no prediction has index {missing[0]}; number rows from 0 to {count - 1}"
        )
    return [rows[index] for index in range(count)]


def _check_count(path: Path, found: int, wanted: int) -> None:
    if found != wanted:
        raise DataError(
            f"{path}: {found} predictions for {wanted} rows of the split; "
            "give one a row (an empty line is an empty prediction)"
        )


def _part(verdicts: Sequence[Verdict]) -> Part:
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    scored = len(verdicts) - outcomes[Outcome.GOLD_UNUSABLE]
    return Part(len(verdicts), scored, outcomes[Outcome.MATCH] / scored if scored else 0.0)

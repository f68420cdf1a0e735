"""Which matches are accidents: candidates that agree with gold on the database and not on perturbed copies of it.

A candidate that matched, and is not gold's own text, has to match on every copy as well; else its verdict becomes
`mismatch` with the detail `accidental`. Only what is certain accuses: a copy does not count for a question where gold
fails, where gold has several right answers there (see `sql/copies/ambiguity.py`), or where the candidate is stopped by a limit
or by a fault of ours. Unless `strict` is set, differences that people rarely mean do not count either: two rows share
the extreme (`ORDER BY age LIMIT 1` has one of them, `age = (SELECT min(age) …)` both), which shows in several right answers
or in the same answer once and twice; and nothing is found (`max(age)` is NULL where `ORDER BY age DESC LIMIT 1` has no
row). What did not count is counted, and so is a database of which no copies can be made: its matches stay as they are.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from exspin.data.builtin import default_cache_directory
from exspin.records import Database, Example, Outcome, Verdict
from exspin.sql.copies import CopySet, check_engine, make_copies
from exspin.sql.copies.ambiguity import variants
from exspin.sql.execute import Executor, Job, Judgement

ACCIDENTAL = "accidental"
_EXTREME = re.compile(r"\b(?:limit|min|max)\b", re.IGNORECASE)
_WIDEST = 6  # columns of a row of NULLs that is looked for
_UNCERTAIN = frozenset({Outcome.TIMEOUT, Outcome.TOO_LARGE, Outcome.INFRA})


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What came of the copies."""

    copies: int = 0  # of each database
    seed: int = 0
    strict: bool = False
    checked: int = 0  # matches that had to prove themselves
    accidental: int = 0
    undecided: int = 0  # checked, but no copy counted
    not_counted: Mapping[str, int] = field(default_factory=dict)  # (match, copy) pairs, by reason
    without_copies: Mapping[str, str] = field(default_factory=dict)  # db_id → why there are none
    unchecked: int = 0  # matches on those databases

    def to_json(self) -> dict[str, Any]:
        return {
            "copies": self.copies,
            "seed": self.seed,
            "strict": self.strict,
            "checked": self.checked,
            "accidental": self.accidental,
            "undecided": self.undecided,
            "not_counted": dict(self.not_counted),
            "without_copies": dict(self.without_copies),
            "unchecked": self.unchecked,
        }

    def __str__(self) -> str:
        text = (
            f"{self.accidental} of {self.checked} matches were accidental on {self.copies} copies"
        )
        if self.undecided:
            text += f", {self.undecided} undecided"
        if self.without_copies:
            names = "; ".join(f"{name}: {why}" for name, why in self.without_copies.items())
            text += f"; no copies of {names} ({self.unchecked} matches not checked)"
        return text


class CopyCheck:
    """Checks verdicts on copies. Copies it has made or found once it does not look for again."""

    def __init__(
        self,
        copies: int,
        *,
        seed: int = 0,
        strict: bool = False,
        cache: Path | None = None,
        workers: int = 2,
    ) -> None:
        """`cache`: where copies are kept; None: the user's cache directory."""
        self.copies, self.seed, self.strict, self.workers = copies, seed, strict, workers
        self._cache = cache or default_cache_directory(os.environ).parent / "copies"
        self._made: dict[tuple[str, tuple[str, ...]], CopySet] = {}
        self.report = CopyReport(copies, seed, strict)  # of the last check

    def check(
        self,
        verdicts: Sequence[Verdict],
        examples: Mapping[str, Example],
        databases: Mapping[str, Database],
        executor: Executor,
        comparator: str,
    ) -> list[Verdict]:
        """The verdicts, with accidental matches as mismatches. `examples` and `databases` as `feedback.judge` has them.

        Copies keep alive what the golds of all `examples` mention. Raises `ConfigError` for a database that is not SQLite.
        """
        check_engine(databases.values())
        suspects = {
            (verdict.example_id, verdict.sql)
            for verdict in verdicts
            if verdict.outcome is Outcome.MATCH
            and verdict.sql.strip() != examples[verdict.example_id].query.strip()
        }
        made = self._copies({examples[name].db_id for name, _ in suspects}, examples, databases)
        trial = _Trial(
            [
                (name, examples[name].query, sql, made[examples[name].db_id])
                for name, sql in sorted(suspects)
                if made[examples[name].db_id].databases
            ],
            executor,
            comparator,
            self.strict,
        )
        accused, undecided = trial.accused, trial.undecided
        without = {name: found.refused for name, found in made.items() if found.refused}
        checked = [v for v in verdicts if (v.example_id, v.sql) in trial.copies_counted]
        self.report = CopyReport(
            self.copies,
            self.seed,
            self.strict,
            checked=sum(v.outcome is Outcome.MATCH for v in checked),
            accidental=sum((v.example_id, v.sql) in accused for v in checked),
            undecided=sum((v.example_id, v.sql) in undecided for v in checked),
            not_counted=trial.not_counted,
            without_copies=without,
            unchecked=sum(
                (v.example_id, v.sql) in suspects and examples[v.example_id].db_id in without
                for v in verdicts
            ),
        )
        return [
            replace(v, outcome=Outcome.MISMATCH, detail=ACCIDENTAL)
            if (v.example_id, v.sql) in accused
            else v
            for v in verdicts
        ]

    def _copies(
        self,
        wanted: Iterable[str],
        examples: Mapping[str, Example],
        databases: Mapping[str, Database],
    ) -> dict[str, CopySet]:
        golds: defaultdict[str, set[str]] = defaultdict(set)
        for example in examples.values():
            golds[example.db_id].add(example.query)
        keys = {name: (databases[name].url, tuple(sorted(golds[name]))) for name in sorted(wanted)}
        missing = {name: databases[name] for name, key in keys.items() if key not in self._made}
        made = make_copies(
            missing,
            golds={name: keys[name][1] for name in missing},
            count=self.copies,
            cache=self._cache,
            seed=self.seed,
            strict=self.strict,
            workers=self.workers,
        )
        self._made.update({keys[name]: found for name, found in made.items()})
        return {name: self._made[key] for name, key in keys.items()}


_Suspect = tuple[str, str, str, CopySet]  # example_id, gold, candidate, copies


class _Trial:
    """All suspects on all copies: first gold against candidate, then, where they part, each against its variants."""

    def __init__(
        self, suspects: Sequence[_Suspect], executor: Executor, comparator: str, strict: bool
    ) -> None:
        self._executor, self._comparator = executor, comparator
        self.accused: set[tuple[str, str]] = set()
        self.copies_counted: dict[tuple[str, str], int] = {}
        reasons: Counter[str] = Counter()
        places = [(suspect, copy) for suspect in suspects for copy in suspect[3].databases]
        judged = self._judge([Job(copy, gold, sql) for (_, gold, sql, _), copy in places])
        parted = [
            (suspect, copy, judgement)
            for (suspect, copy), judgement in zip(places, judged, strict=True)
            if judgement.outcome is not Outcome.MATCH
        ]
        open_golds = self._ambiguous((c, s[1], s[3].tables) for s, c, _ in parted)
        open_candidates = (
            {} if strict else self._ambiguous((c, s[2], s[3].tables) for s, c, _ in parted)
        )
        excused: dict[tuple[str, str, str], str] = {}
        if not strict:
            excused.update(dict.fromkeys(self._ties(parted), "tie"))
            excused.update(dict.fromkeys(self._nothing_found(parted), "nothing_found"))
        self.copies_counted = {(s[0], s[2]): len(s[3].databases) for s in suspects}
        for (name, gold, sql, _), copy, judgement in parted:
            why = excused.get((copy.url, gold, sql)) or _why_not(
                judgement, open_golds.get((copy.url, gold)), open_candidates.get((copy.url, sql))
            )
            if why:
                reasons[why] += 1
                self.copies_counted[name, sql] -= 1
            else:
                self.accused.add((name, sql))
        self.undecided = {
            suspect for suspect, counted in self.copies_counted.items() if counted == 0
        }
        self.not_counted = dict(sorted(reasons.items()))

    def _judge(self, jobs: Sequence[Job]) -> list[Judgement]:
        return self._executor.judge(jobs, self._comparator)

    def _ambiguous(
        self, statements: Iterable[tuple[Database, str, tuple[str, ...]]]
    ) -> dict[tuple[str, str], str]:
        """Which statements have several right answers on a copy, and whether those differ in order alone."""
        jobs = [
            Job(copy, sql, other)
            for copy, sql, tables in dict.fromkeys(statements)
            for other in variants(sql, tables)
        ]
        found: dict[tuple[str, str], str] = {}
        for job, judgement in zip(jobs, self._judge(jobs), strict=True):
            if judgement.outcome is Outcome.MISMATCH:
                key = (job.database.url, job.gold)
                if found.get(key) in (None, "order"):
                    found[key] = judgement.detail
        return found

    def _ties(
        self, parted: Sequence[tuple[_Suspect, Database, Judgement]]
    ) -> set[tuple[str, str, str]]:
        """Where two queries, one of them for an extreme, differ in how often they give a row: (copy, gold, candidate)."""
        pairs = [
            (copy, gold, sql)
            for (_, gold, sql, _), copy, judgement in parted
            if judgement.detail == "row_count" and _EXTREME.search(f"{gold} {sql}")
        ]
        judged = self._executor.judge([Job(*pair) for pair in pairs], "bird")
        return {
            (copy.url, gold, sql)
            for (copy, gold, sql), judgement in zip(pairs, judged, strict=True)
            if judgement.outcome is Outcome.MATCH
        }

    def _nothing_found(
        self, parted: Sequence[tuple[_Suspect, Database, Judgement]]
    ) -> set[tuple[str, str, str]]:
        """Where one of the two has no row and the other one row of NULLs: (copy, gold, candidate)."""
        pairs = {
            (copy, gold, sql)
            for (_, gold, sql, _), copy, judgement in parted
            if judgement.detail in ("empty", "row_count", "column_count")
        }
        asked = [
            (copy, sql, width, empty)
            for copy, sql in sorted({(c, s) for c, *both in pairs for s in both}, key=repr)
            for width in range(1, _WIDEST + 1)
            for empty in (True, False)
        ]
        jobs = [
            Job(copy, f"SELECT {', '.join(['NULL'] * width)}{' WHERE 0' if empty else ''}", sql)
            for copy, sql, width, empty in asked
        ]
        says = {
            question
            for question, judgement in zip(asked, self._judge(jobs), strict=True)
            if judgement.outcome is Outcome.MATCH
        }
        return {
            (copy.url, gold, sql)
            for copy, gold, sql in pairs
            if any(
                {(copy, gold, width, empty), (copy, sql, width, not empty)} <= says
                for width in range(1, _WIDEST + 1)
                for empty in (True, False)
            )
        }


def _why_not(judgement: Judgement, gold: str | None, candidate: str | None) -> str:
    """Why a difference on a copy says nothing of the candidate; "" where it does."""
    if judgement.outcome is Outcome.GOLD_UNUSABLE:
        return "gold_unusable"
    if judgement.outcome in _UNCERTAIN:
        return f"candidate_{judgement.outcome.value}"
    # Answers that differ in order alone excuse a difference in order alone.
    for who, several in (("gold", gold), ("candidate", candidate)):
        if several and (several != "order" or judgement.detail == "order"):
            return f"{who}_ambiguous"
    return ""

"""Examples and probes → what is wrong with which row, and what that means for a score.

The **ceiling** is the share of all rows whose gold can be matched: it runs, on a database that is there, and another run
gives the same again. `certain` also leaves out rows whose result hangs on something the query does not say (the order of
rows, ties, the clock): there a right answer may count as wrong, or a wrong one as right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exspin.auditing.repeats import Duplicate, Leak, plain
from exspin.auditing.volatile import volatile
from exspin.data.splits import Split
from exspin.records import Example, Flat, Outcome
from exspin.sql.probe import Probe

# Why a row may be quarantined, the worst first; a row is quarantined for the first that holds.
REASONS = ("failing", "nondeterministic", "ties", "leaks", "duplicates", "slow", "empty")
QUARANTINED_FOR = ("failing", "nondeterministic")
SLOWEST = 10  # shown even where none is slow


@dataclass(frozen=True, slots=True)
class Finding(Flat):
    """One row of the data and what was found. Which numbers mean something depends on the list it stands in."""

    example_id: str
    index: int  # in the splits as they were named, joined
    split: str
    db_id: str
    detail: str
    seconds: float
    rows: int
    question: str
    query: str


@dataclass(frozen=True, slots=True)
class Quarantined(Flat):
    """A line of the quarantine file."""

    example_id: str
    db_id: str
    reason: str
    detail: str
    query: str


@dataclass(frozen=True, slots=True)
class DatabaseProblem(Flat):
    """A database that cannot be used, or not wholly."""

    db_id: str
    questions: int
    detail: str  # missing; damaged: some gold fails because of the file


@dataclass(frozen=True, slots=True)
class PartCount(Flat):
    """A split or a database in numbers."""

    n: int
    usable: int
    failing: int
    empty: int
    slow: int
    nondeterministic: int
    ties: int
    duplicates: int
    leaks: int


@dataclass(frozen=True)
class Audit:
    """What an audit found. Rates are fractions 0–1 of all `n` rows."""

    spec: str
    splits: tuple[str, ...]
    comparator: str
    n: int
    usable: int  # rows whose gold ran
    ceiling: float
    certain: float
    failing: tuple[Finding, ...]  # detail: what the engine or a limit says
    empty: tuple[Finding, ...]
    slow: tuple[Finding, ...]  # the slowest first
    nondeterministic: tuple[
        Finding, ...
    ]  # detail: random, clock, engine, row_order, unstable, unchecked
    ties: tuple[Finding, ...]  # detail: values (a LIMIT cuts through a tie) or order
    duplicates: tuple[Duplicate, ...]
    leaks: tuple[Leak, ...]
    slowest: tuple[Finding, ...]
    databases: tuple[DatabaseProblem, ...]
    by_split: Mapping[str, PartCount]
    by_database: Mapping[str, PartCount]  # those with a finding
    quarantine: tuple[Quarantined, ...]
    slow_s: float
    near: float
    seconds: float
    engines: tuple[str, ...]  # of the databases that are there

    @property
    def reversible(self) -> bool:
        """Could the second runs return unordered rows in the other direction? SQLite alone does that."""
        return set(self.engines) <= {"sqlite"}

    def to_json(self) -> dict[str, Any]:
        def listed(rows: Sequence[Any]) -> list[dict[str, Any]]:
            return [row.to_json() for row in rows]

        return {
            "n": self.n,
            "usable": self.usable,
            "ceiling": self.ceiling,
            "failing": listed(self.failing),
            "empty": listed(self.empty),
            "slow": listed(self.slow),
            "nondeterministic": listed(self.nondeterministic),
            "duplicates": listed(self.duplicates),
            "leaks": listed(self.leaks),
            "certain": self.certain,
            "ties": listed(self.ties),
            "slowest": listed(self.slowest),
            "unusable_databases": listed(self.databases),
            "splits": {name: part.to_json() for name, part in self.by_split.items()},
            "databases": {name: part.to_json() for name, part in self.by_database.items()},
            "quarantined": dict(Counter(row.reason for row in self.quarantine)),
            "data": self.spec,
            "comparator": self.comparator,
            "engines": list(self.engines),
            "slow_s": self.slow_s,
            "near": self.near,
            "seconds": self.seconds,
        }


def collect(
    data: Split,
    split_of: Sequence[str],
    probes: Mapping[str, Probe],
    duplicates: Sequence[Duplicate],
    leaks: Sequence[Leak],
    *,
    comparator: str,
    slow_s: float,
    near: float,
    quarantine: Collection[str],
    seconds: Callable[[], float],
) -> Audit:
    """Put together what was found. `split_of` names the split of each row of `data`; rows without a probe have no database."""
    lists: dict[str, list[Finding]] = {name: [] for name in (*REASONS[:3], "slow", "empty")}
    ran: list[Finding] = []
    unmatched = 0
    for example, split in zip(data.examples, split_of, strict=True):
        probe = probes.get(example.example_id)
        if probe is None:
            continue
        if probe.outcome is not None:
            lists["failing"].append(_finding(example, split, probe, _why(probe)))
            continue
        ran.append(_finding(example, split, probe, ""))
        if not probe.rows:
            lists["empty"].append(ran[-1])
        if probe.seconds >= slow_s:
            lists["slow"].append(ran[-1])
        if cause := _cause(example.query, probe):
            lists["nondeterministic"].append(_finding(example, split, probe, cause))
            unmatched += cause in ("random", "unstable")
        elif probe.ties:
            lists["ties"].append(_finding(example, split, probe, probe.ties))

    n = len(data.examples)
    by_time = sorted(ran, key=lambda finding: -finding.seconds)
    return Audit(
        spec=data.spec,
        splits=tuple(dict.fromkeys(split_of)),
        comparator=comparator,
        n=n,
        usable=len(ran),
        ceiling=(len(ran) - unmatched) / n,
        certain=(len(ran) - len(lists["nondeterministic"]) - len(lists["ties"])) / n,
        failing=tuple(lists["failing"]),
        empty=tuple(lists["empty"]),
        slow=tuple(finding for finding in by_time if finding.seconds >= slow_s),
        nondeterministic=tuple(lists["nondeterministic"]),
        ties=tuple(lists["ties"]),
        duplicates=tuple(duplicates),
        leaks=tuple(leaks),
        slowest=tuple(by_time[:SLOWEST]),
        databases=tuple(_databases(data, lists["failing"])),
        by_split=_counts(split_of, data, ran, lists, duplicates, leaks),
        by_database=_by_database(data, ran, lists, duplicates, leaks),
        quarantine=tuple(
            _quarantine(data, lists, duplicates, list(_leaked(data, split_of, leaks)), quarantine)
        ),
        slow_s=slow_s,
        near=near,
        seconds=seconds(),
        engines=tuple(sorted({database.kind for database in data.databases.values()})),
    )


def _finding(example: Example, split: str, probe: Probe, detail: str) -> Finding:
    return Finding(
        example.example_id,
        example.index,
        split,
        example.db_id,
        detail,
        round(probe.seconds, 4),
        probe.rows,
        example.question,
        example.query,
    )


def _why(probe: Probe) -> str:
    """As a verdict says it of an unusable gold: the kind of error, else the outcome."""
    return probe.detail if probe.outcome is Outcome.ERROR else str(probe.outcome)


def _cause(sql: str, probe: Probe) -> str:
    """What the result depends on beside the data; "" for a gold that always says the same."""
    if found := volatile(sql):
        return found
    if not probe.differs:
        return ""
    if probe.differs in [outcome.value for outcome in Outcome]:
        return "unchecked"  # the reversed run was stopped
    return "row_order" if probe.repeats else "unstable"


def _databases(data: Split, failing: Sequence[Finding]) -> list[DatabaseProblem]:
    damaged = Counter(finding.db_id for finding in failing if finding.detail == "database")
    return [
        *(DatabaseProblem(name, count, "missing") for name, count in sorted(data.missing.items())),
        *(DatabaseProblem(name, count, "damaged") for name, count in sorted(damaged.items())),
    ]


def _counts(
    keys: Sequence[str],
    data: Split,
    ran: Sequence[Finding],
    lists: Mapping[str, Sequence[Finding]],
    duplicates: Sequence[Duplicate],
    leaks: Sequence[Leak],
) -> dict[str, PartCount]:
    """The numbers of each part; `keys` says to which one a row of `data` belongs."""
    part = {example.example_id: key for example, key in zip(data.examples, keys, strict=True)}
    counted = {
        "n": Counter(keys),
        "usable": Counter(part[row.example_id] for row in ran),
        **{name: Counter(part[row.example_id] for row in rows) for name, rows in lists.items()},
        "duplicates": Counter(part[row.example_id] for row in duplicates),
        "leaks": Counter(part[row.example_id] for row in leaks),
    }
    return {
        key: PartCount(**{name: counter[key] for name, counter in counted.items()})
        for key in dict.fromkeys(keys)
    }


def _by_database(
    data: Split,
    ran: Sequence[Finding],
    lists: Mapping[str, Sequence[Finding]],
    duplicates: Sequence[Duplicate],
    leaks: Sequence[Leak],
) -> dict[str, PartCount]:
    counts = _counts([e.db_id for e in data.examples], data, ran, lists, duplicates, leaks)
    return {
        name: part
        for name, part in sorted(counts.items())
        if part.usable < part.n or any(list(part.to_json().values())[2:])
    }


def _leaked(
    data: Split, split_of: Sequence[str], leaks: Sequence[Leak]
) -> Iterator[tuple[str, str]]:
    """Rows that give a later split away, with why: what training sees goes, not what is measured.

    All of them: a question may stand before more than once, in several splits, or nearly so in several wordings.
    """
    order = {name: place for place, name in enumerate(dict.fromkeys(split_of))}
    last: dict[str, Leak] = {}  # wording → a leak in the last split that has it
    for leak in leaks:
        for wording in leak.wordings:
            if wording not in last or order[last[wording].split] < order[leak.split]:
                last[wording] = leak
    for example, split in zip(data.examples, split_of, strict=True):
        found = last.get(plain(example.question))
        if found is not None and order[split] < order[found.split]:
            kind = found.kind
            if kind != "near":
                kind = "question+db" if example.db_id == found.db_id else "question"
            yield example.example_id, f"{kind} {found.example_id}"


def _quarantine(
    data: Split,
    lists: Mapping[str, Sequence[Finding]],
    duplicates: Sequence[Duplicate],
    leaked: Sequence[tuple[str, str]],
    wanted: Collection[str],
) -> list[Quarantined]:
    """A line for each row with one of the reasons wanted, in the order of the data. Our own failure is no reason."""
    why: dict[str, tuple[str, str]] = {}
    for reason in REASONS:
        if reason not in wanted:
            continue
        if reason == "leaks":
            found = [*leaked]
        elif reason == "duplicates":
            found = [(row.example_id, row.of) for row in duplicates]
        else:
            found = [
                (row.example_id, row.detail)
                for row in lists[reason]
                if row.detail != Outcome.INFRA.value
            ]
        for name, detail in found:
            why.setdefault(name, (reason, detail))
    return [
        Quarantined(e.example_id, e.db_id, *why[e.example_id], e.query)
        for e in data.examples
        if e.example_id in why
    ]

"""Gold against gold, before any training: which rows of a data set can be trusted, and how high a score can go.

    probes    (exspin.sql.probe) every gold twice, with and without reversed row order
    findings  examples and probes → what is wrong with which row
    repeats   questions that stand twice in a split, or in two splits
    volatile  functions in gold that give something else another time
    page      numbers → one HTML file

A question is whether the gold works and says the same twice. Whether it answers its question, no machine here can say.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from exspin.auditing.findings import QUARANTINED_FOR, REASONS, Audit, collect
from exspin.auditing.page import render
from exspin.auditing.repeats import find_repeats
from exspin.data import joined, load, remarks
from exspin.errors import ConfigError
from exspin.ledger import check_output, write_bytes, write_json, write_jsonl
from exspin.progress import Progress, Silent
from exspin.sql.execute import Limits
from exspin.sql.probe import probe_golds

__all__ = ["QUARANTINED_FOR", "REASONS", "Audit", "audit"]


def audit(
    spec: str,
    split: str,
    *,
    directory: str | Path | None = None,
    comparator: str = "default",
    slow_s: float = 1.0,
    near: float = 0.8,
    quarantine: Collection[str] = QUARANTINED_FOR,
    limits: Limits | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> Audit:
    """Run every gold of a split, or of several with commas, twice; find repeated questions; say what can be trusted.

    `slow_s` is CPU time that makes a gold slow, `near` the trigram Jaccard above which questions of two splits are near
    duplicates. Into `directory` go `audit.html`, `audit.json` and `quarantine.jsonl`, which holds the rows with one of the
    reasons `quarantine` and which `load(…, quarantine=…)` reads. Raises `UserError` for data and places that cannot be used.
    """
    started = time.monotonic()
    if unknown := [reason for reason in quarantine if reason not in REASONS]:
        raise ConfigError(f"reason {unknown[0]!r}: unknown; choose of {', '.join(REASONS)}")
    show = progress or Silent()
    place = None if directory is None else Path(directory)
    if place is not None:
        check_output(place / "audit.json")
    parts = [load(spec, name.strip()) for name in split.split(",")]
    data = joined(parts)
    for remark in remarks(data):
        show.say(remark)
    golds = [(data.databases[e.db_id], e.query) for e in data.usable()]
    with show.bar("running gold", len(golds)) as advance:
        found = probe_golds(
            golds, comparator=comparator, limits=limits, workers=workers, progress=advance
        )
    probes = {e.example_id: p for e, p in zip(data.usable(), found, strict=True)}
    duplicates, leaks = find_repeats([(part.name, part.examples) for part in parts], near)
    result = collect(
        data,
        [part.name for part in parts for _ in part.examples],
        probes,
        duplicates,
        leaks,
        comparator=comparator,
        slow_s=slow_s,
        near=near,
        quarantine=quarantine,
        seconds=lambda: time.monotonic() - started,
    )
    if place is not None:
        write_json(place / "audit.json", result.to_json())
        write_jsonl(place / "quarantine.jsonl", (row.to_json() for row in result.quarantine))
        write_bytes(place / "audit.html", render(result).encode("utf-8", "replace"))
    return result

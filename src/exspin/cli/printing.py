"""Scores, audits and rounds as tables for people. What programs read is `to_json` of the same things."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from exspin.records import Outcome

if TYPE_CHECKING:
    from exspin.auditing import Audit
    from exspin.reporting import Summary
    from exspin.scoring import Part, Score, Scores


def print_score(out: Console, score: Score) -> None:
    """One file: the rate with its interval, then outcomes and hardness with theirs."""
    low, high = score.ci95
    rate = (
        f"EX {score.ex:.2%}  (95 % interval {low:.2%} to {high:.2%})"
        if score.scored
        else "no EX: nothing could be judged"
    )
    out.print(
        f"{rate}, comparator {score.comparator}: "
        f"{score.outcomes[Outcome.MATCH]} of {score.scored} scored, {score.gold_unusable} of {score.n} not usable",
        soft_wrap=True,
    )
    if score.copies:
        out.print(str(score.copies), soft_wrap=True, markup=False)
    out.print(_outcomes(score))
    hardness = _table("hardness", "scored", "EX", "95 %")
    for name, part in score.by_hardness.items():
        hardness.add_row(
            name, str(part.scored), _rate(part), _span(part.ci95) if part.scored else ""
        )
    out.print(hardness)


def _outcomes(score: Score) -> Table:
    """Every outcome as a share of the rows that are scored."""
    from exspin.statistics import share_interval  # numpy comes with it

    table = _table("outcome", "rows", "of scored", "95 %")
    for outcome, count in score.outcomes.items():
        if outcome is Outcome.GOLD_UNUSABLE or not score.scored:
            table.add_row(outcome.value, str(count), "", "")
            continue
        share = share_interval(count, score.scored)
        table.add_row(outcome.value, str(count), f"{count / score.scored:.2%}", _span(share))
    return table


def print_scores(out: Console, scores: Scores) -> None:
    """Several files side by side, and every later one against every earlier one."""
    letters = [_letter(place) for place in range(len(scores.files))]
    first = scores.files[0]
    out.print(
        f"comparator {first.comparator}; {first.gold_unusable} of {first.n} rows not usable",
        soft_wrap=True,
    )
    for letter, name in zip(letters, scores.names, strict=True):
        out.print(f"{letter}: {name}", markup=False, soft_wrap=True)
    table = _table("", *letters)
    table.add_row("EX", *map(_rate, scores.files))
    table.add_row("95 %", *(_span(score.ci95) for score in scores.files))
    table.add_row("scored", *(str(score.scored) for score in scores.files), end_section=True)
    for level in first.by_hardness:
        table.add_row(level, *(_rate(score.by_hardness[level]) for score in scores.files))
    table.add_section()
    for outcome in Outcome:
        if any(score.outcomes[outcome] for score in scores.files):
            table.add_row(outcome.value, *(str(s.outcomes[outcome]) for s in scores.files))
    if first.copies:
        accidental = [str(s.copies.accidental) if s.copies else "" for s in scores.files]
        table.add_row("  accidental", *accidental)
    out.print(table)
    for letter, score in zip(letters, scores.files, strict=True):
        if score.copies:
            out.print(f"{letter}: {score.copies}", markup=False, soft_wrap=True)
    pairs = _table("pair", "points", "95 %", "fixed", "broke", "p")
    for (i, j), pair in scores.pairs.items():
        low, high = pair.ci95
        pairs.add_row(
            f"{letters[j]} − {letters[i]}",
            f"{100 * pair.diff:+.1f}",
            f"{100 * low:+.1f} to {100 * high:+.1f}",
            str(pair.fixed),
            str(pair.broke),
            "< 0.001" if pair.p < 0.001 else f"{pair.p:.3f}",
        )
    out.print(pairs)
    out.print("points: difference of EX, paired bootstrap interval; p: exact McNemar test")


def print_audit(out: Console, audit: Audit, directory: Path | None) -> None:
    """The numbers of an audit, the gold that fails, and where the rest is."""
    out.print(
        f"{audit.usable} of {audit.n} golds run; ceiling {audit.ceiling:.2%}, "
        f"{audit.certain:.2%} with one certain result; comparator {audit.comparator}",
        soft_wrap=True,
    )
    table = _table("split", *_COUNTS.values())
    for name, part in audit.by_split.items():
        table.add_row(name, *(str(getattr(part, key)) for key in _COUNTS))
    if len(audit.by_split) > 1:
        parts = audit.by_split.values()
        table.add_row("all", *(str(sum(getattr(part, key) for part in parts)) for key in _COUNTS))
    out.print(table)
    for row in audit.failing[:20]:
        out.print(f"fails: {row.example_id} ({row.db_id}): {row.detail}", markup=False)
    if len(audit.failing) > 20:
        out.print(f"… and {len(audit.failing) - 20} more")
    if directory is None:
        out.print("-o DIR writes the report, all findings and a quarantine file")
        return
    out.print(f"report: {directory.absolute() / 'audit.html'}", soft_wrap=True, markup=False)
    out.print(
        f"quarantine: {directory.absolute() / 'quarantine.jsonl'} ({len(audit.quarantine)} rows)",
        soft_wrap=True,
        markup=False,
    )


def print_rounds(out: Console, summary: Summary) -> None:
    """Scores of every round, in points of a hundred; a line fits 80 columns, which is what a log has."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading in ("round", "split"):
        table.add_column(heading, no_wrap=True)
    for heading in ("scored", "EX", "95 %", "against SFT", "fixed", "broke", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in summary.table():
        low, high = row.ci95
        against = ["", "", "", ""]
        if row.diff is not None and row.diff_ci95 is not None:
            down, up = row.diff_ci95
            against = [
                f"{100 * row.diff:+.1f} ({100 * down:+.1f}, {100 * up:+.1f})",
                str(row.fixed),
                str(row.broke),
                f"{row.p:.3f}",
            ]
        table.add_row(
            f"{row.round} SFT" if row.round == 0 else str(row.round),
            row.split,
            str(row.scored),
            f"{100 * row.ex:.1f}",
            f"{100 * low:.1f}–{100 * high:.1f}",
            *against,
        )
    out.print(table)


_COUNTS: Mapping[str, str] = {
    "n": "n",
    "usable": "usable",
    "failing": "failing",
    "empty": "empty",
    "slow": "slow",
    "nondeterministic": "unstable",
    "ties": "ties",
    "duplicates": "twice",
    "leaks": "leaks",
}


def _table(first: str, *headings: str) -> Table:
    """Words on the left, numbers on the right; narrow enough for a log of 80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _rate(part: Score | Part) -> str:
    """Its execution accuracy, where anything could be judged."""
    return f"{part.ex:.2%}" if part.scored else "–"


def _span(ci95: tuple[float, float]) -> str:
    return f"{100 * ci95[0]:.1f}–{100 * ci95[1]:.1f}"


def _letter(place: int) -> str:
    return chr(ord("A") + place) if place < 26 else f"#{place + 1}"

"""Numbers → one HTML page that needs nothing else: style, script, charts and questions are inside it.

Everything the page says of other people's text goes through autoescape; a content security policy lets only the two
blocks written here run (by their digest), and nothing be loaded. What is said in words about the result is said here.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from exspin.records import Outcome
from exspin.reporting import charts
from exspin.reporting.collect import Opponent, RunFiles
from exspin.reporting.questions import questions_json
from exspin.reporting.summary import Accidental, Comparison, PartRow, RoundScore, Summary

OUTCOMES = {
    Outcome.MATCH: "right",
    Outcome.MISMATCH: "other result",
    Outcome.ERROR: "error",
    Outcome.TIMEOUT: "timeout",
    Outcome.TOO_LARGE: "too large",
    Outcome.DENIED: "denied",
    Outcome.NOT_A_QUERY: "no query",
    Outcome.GOLD_UNUSABLE: "gold unusable",
    Outcome.INFRA: "our failure",
}


def render(run: RunFiles, summary: Summary) -> str:
    """The whole page."""
    filters = (percent, points, span, count, chance, duration)
    page = template(
        "exspin.reporting", "report.html.j2", **{f.__name__: f for f in filters}, round=round_name
    )
    style, script = _file("report.css"), _file("browser.js")
    return page.render(
        s=summary,
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        headline=headline(summary),
        table=summary.table(),
        charts=_Charts(run, summary),
        looks=sum(c.against == 0 and c.split != summary.dev for c in summary.comparisons),
        outcomes=OUTCOMES,
        used_in=_used,
        share=_share,
        score_rows=[(f"{s.split}, {round_name(s.round)}", s.outcomes) for s in _by_split(summary)],
        opponent_rows=[(round_name(t), o.outcomes) for t, o in summary.opponents.items()],
        accidental=_by_round(summary.accidental),
        accidental_of=list(dict.fromkeys(a.split for a in summary.accidental)),
        preset=run.config.learning.preset,
        seed=run.config.seed,
        parts=_parts(summary),
        questions=questions_json(run),
        config=yaml.safe_dump(run.config.to_dict(), sort_keys=False, allow_unicode=True),
        environment=json.dumps(run.environment, indent=2),
    )


# --- in words ---------------------------------------------------------------------------------------------------------


def headline(summary: Summary) -> list[str]:
    """The answer in one or two sentences: which round is best on dev, and what a test split says of it."""
    best = summary.best_round
    on_dev = summary.score(best, summary.dev) if best is not None else None
    if best is None or on_dev is None:
        return ["No round has been scored yet."]
    numbers = [s.round for s in summary.rounds if s.split == summary.dev]
    sft = summary.score(0, summary.dev)
    so_far = "" if summary.finished else "So far, "
    right = f"{percent(on_dev.ex)} of {count(on_dev.scored)} questions right"
    name = f"round {best}" if best else "SFT"
    if best and sft:
        first = f"{name} is best on {on_dev.split}: {right}, against {percent(sft.ex)} after SFT."
    elif len(numbers) > 1:
        first = f"{name} is best on {on_dev.split}: {right}; no round of self-play does better."
    else:
        first = f"{name} gets {right} on {on_dev.split}; no round of self-play is scored."
    first = so_far + first if so_far else first[0].upper() + first[1:]
    # where no round is chosen, the last one shows what self-play did
    played = best or max(numbers)
    split = next((name for name in summary.splits if name != summary.dev), summary.dev)
    score = summary.score(best, split)
    if split is None or score is None:
        return [first]
    compared = summary.comparison(played, split)
    if compared:
        return [first, _difference(compared, played == best, score, split == summary.dev)]
    return [
        first,
        f"On {split}: {percent(score.ex)} (95\u00a0% interval {span(score.ci95)}\u00a0%).",
    ]


def _difference(c: Comparison, chosen: bool, score: RoundScore, on_dev: bool) -> str:
    low, high = c.ci95
    if low > 0:
        reading = "a gain that chance alone hardly explains"
    elif high < 0:
        reading = "a loss that chance alone hardly explains"
    else:
        reading = "too small to tell from chance"
    interval = (
        f"{points(c.diff)} points (95\u00a0% interval {points(low)} to {points(high)}), {reading}"
    )
    if on_dev:
        return (
            f"The difference of round {c.round} from SFT is {interval}; no other split was scored."
        )
    if chosen:
        return f"On {c.split} it gets {percent(score.ex)}; the difference from SFT is {interval}."
    return (
        f"On {c.split} SFT gets {percent(score.ex)}; round {c.round} differs from it by {interval}."
    )


def round_name(number: int) -> str:
    return f"Round {number}" if number else "SFT"


def percent(rate: float) -> str:
    return f"{100 * rate:.1f}\u00a0%"  # a percent sign never stands alone on a line


def points(rate: float) -> str:
    """A difference of rates in percentage points, with its sign."""
    value = round(100 * rate, 1)
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{abs(value):.1f}"


def span(ci95: tuple[float, float]) -> str:
    return f"{100 * ci95[0]:.1f} to {100 * ci95[1]:.1f}"


def count(number: int) -> str:
    return f"{number:,}"


def chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


# --- charts and tables ------------------------------------------------------------------------------------------------


class _Charts:
    """The panels of the page, each a list so that the page can leave out what is empty."""

    def __init__(self, run: RunFiles, summary: Summary) -> None:
        self._run = run
        self._summary = summary
        self._reach = max(
            (abs(end) for c in summary.comparisons if c.against == 0 for end in c.ci95), default=0.0
        )

    def accuracy(self) -> list[tuple[str, Markup]]:
        """EX per round, a panel a split."""
        by_split = {
            split: [
                charts.Estimate(
                    _short(s.round), s.ex, s.ci95, chosen=s.round == self._summary.best_round
                )
                for s in self._summary.rounds
                if s.split == split
            ]
            for split in self._summary.splits
        }
        by_split = {split: estimates for split, estimates in by_split.items() if estimates}
        spans = [
            max(e.ci95[1] for e in each) - min(e.ci95[0] for e in each)
            for each in by_split.values()
        ]
        height = min(1.0, max([0.1, *spans]) * 1.15)
        return [
            (split, charts.estimates(f"EX per round on {split}", each, height))
            for split, each in by_split.items()
        ]

    def difference(self, diff: float, ci95: tuple[float, float]) -> Markup:
        return charts.difference(diff, ci95, self._reach)

    def outcomes(self) -> list[tuple[str, Markup]]:
        """What the answers came to, a panel a split."""
        return [
            (split, charts.outcome_bars(f"Outcomes per round on {split}", rows))
            for split in self._summary.splits
            if (
                rows := [
                    (_short(s.round), s.outcomes) for s in self._summary.rounds if s.split == split
                ]
            )
        ]

    def opponents(self) -> Markup | None:
        rows = [(_short(t), o.outcomes) for t, o in self._summary.opponents.items()]
        return charts.outcome_bars("Outcomes of the candidates per round", rows) if rows else None

    def logps(self) -> list[tuple[str, Markup]]:
        """Where the log-probs of answers went, a panel a stage that measured them."""
        panels = []
        for number, training in self._summary.training.items():
            rows = [(kind, before, after) for kind, (before, after) in training.logps.items()]
            if rows:
                title = f"Log-probs before and after {round_name(number)}"
                panels.append((round_name(number), charts.before_after(title, rows)))
        return panels

    def losses(self) -> list[tuple[str, Markup]]:
        return [
            (round_name(t.number), panel)
            for t in self._run.rounds
            if (panel := charts.loss_curve(f"Loss by step, {round_name(t.number)}", t.loss))
        ]


@dataclass(frozen=True)
class PartTable:
    """A table of one split: a line a part, a column a round."""

    kind: str
    split: str
    rounds: Sequence[int]
    rows: Mapping[str, Mapping[int, PartRow]]


def _parts(summary: Summary) -> list[PartTable]:
    tables = []
    for split in summary.splits:
        for kind, found in (("hardness", summary.by_hardness), ("database", summary.by_database)):
            mine = [row for row in found if row.split == split]
            rows: dict[str, dict[int, PartRow]] = {}
            for row in mine:
                rows.setdefault(row.part, {})[row.round] = row
            if mine:
                numbers = sorted({row.round for row in mine})
                tables.append(PartTable(kind, split, numbers, rows))
    return tables


def _by_round(found: Iterable[Accidental]) -> dict[int, dict[str | None, Accidental]]:
    rounds: dict[int, dict[str | None, Accidental]] = {}
    for each in found:
        rounds.setdefault(each.round, {})[each.split] = each
    return rounds


def _by_split(summary: Summary) -> list[RoundScore]:
    return [s for split in summary.splits for s in summary.rounds if s.split == split]


def _used(counted: Iterable[RoundScore | Opponent]) -> list[Outcome]:
    """The outcomes that occur, in the order of the legend."""
    found = list(counted)
    return [outcome for outcome in OUTCOMES if any(each.outcomes[outcome] for each in found)]


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({percent(part / whole)})" if whole else "0"


def _short(number: int) -> str:
    return f"R{number}" if number else "SFT"


def template(package: str, name: str, **filters: Callable[..., str]) -> Template:
    """A page's template: other people's text is escaped, and a name that is not given is an error."""
    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(filters)
    return environment.get_template(name)


# --- the file ---------------------------------------------------------------------------------------------------------


def _file(name: str) -> str:
    return (files("exspin.reporting") / name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """Only these two blocks count, and nothing is fetched: a second wall behind the escaping."""
    return (
        f"default-src 'none'; style-src '{digest_of(style)}'; script-src '{digest_of(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def digest_of(text: str) -> str:
    """The digest by which a content security policy knows a block."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

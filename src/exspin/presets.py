"""What each outcome teaches: the published methods and ours as rows of one table.

    L = sum of weight(o)·softplus(−(λ·(Δ(y) − r(o)·Δ(y')) − margin(o))) over candidates / candidates with weight
        + alpha · NLL(gold), the mean over gold tokens

The table is data and needs no torch; `train/losses.py` holds the formula. A new method is a new row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exspin.errors import ConfigError
from exspin.records import Outcome

# Our own failures and questions without a usable gold say nothing about the candidate: no preset learns from them.
TEACHES_NOTHING = (Outcome.INFRA, Outcome.GOLD_UNUSABLE)


@dataclass(frozen=True, slots=True)
class Preset:
    """One row. An outcome that a mapping does not name has weight 0, r 1 and margin 0."""

    name: str
    weights: Mapping[Outcome, float]  # w(o)
    candidate_shares: Mapping[Outcome, float]  # r(o)
    margins: Mapping[Outcome, float]  # m(o)
    alpha: float  # of the NLL on gold, where the configuration gives none

    def weight(self, outcome: Outcome) -> float:
        return 0.0 if outcome in TEACHES_NOTHING else self.weights.get(outcome, 0.0)

    def r(self, outcome: Outcome) -> float:
        return self.candidate_shares.get(outcome, 1.0)

    def margin(self, outcome: Outcome) -> float:
        return self.margins.get(outcome, 0.0)


_EVERY: Mapping[Outcome, float] = dict.fromkeys(Outcome, 1.0)
_WRONG: Mapping[Outcome, float] = {
    outcome: 1.0 for outcome in Outcome if outcome is not Outcome.MATCH
}

PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("sft", weights={}, candidate_shares={}, margins={}, alpha=1.0),
        Preset("spin", weights=_EVERY, candidate_shares={}, margins={}, alpha=0.0),
        Preset("exspin", weights=_WRONG, candidate_shares={}, margins={}, alpha=0.0),
        Preset("exspin-anchored", weights=_WRONG, candidate_shares={}, margins={}, alpha=1.0),
    )
}


def preset(name: str) -> Preset:
    """The row of that name. Raises `ConfigError` for an unknown one."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ConfigError(
            f"learning.preset = {name!r}: unknown; choose one of {', '.join(PRESETS)}"
        ) from None

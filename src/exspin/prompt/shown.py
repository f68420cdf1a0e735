"""What a run's prompts show of hints, and what trimming took from them: counts for the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exspin.prompt.trimming import KINDS
from exspin.records import Prompt

_HINTS = {"links": "linked names", "values": "values found", "shots": "examples"}


@dataclass(frozen=True)
class TrimReport:
    """How many prompts carry what, and how many lost what."""

    prompts: int
    trimmed: int
    steps: Mapping[str, int]  # a kind of `KINDS` → prompts that lost some
    carry: Mapping[str, int]  # "links", "values", "shots" → prompts that have some

    def to_json(self) -> dict[str, Any]:
        return {
            "prompts": self.prompts,
            "trimmed": self.trimmed,
            "steps": dict(self.steps),
            "carry": dict(self.carry),
        }

    def __str__(self) -> str:
        carry = ""
        if self.carry:
            parts = (f"{_HINTS[kind]} in {count}" for kind, count in self.carry.items())
            carry = f"; {', '.join(parts)}"
        if not self.trimmed:
            return f"all {self.prompts} prompts fit{carry}"
        parts = (f"{kind} in {count}" for kind, count in self.steps.items())
        return f"{self.trimmed} of {self.prompts} prompts trimmed: {', '.join(parts)}{carry}"


def trim_report(prompts: Sequence[Prompt]) -> TrimReport:
    """Count what prompts carry and what trimming left out."""
    kinds = [{step.partition(":")[0] for step in prompt.trimmed} for prompt in prompts]
    counts = Counter(kind for found in kinds for kind in found)
    carry = {kind: sum(getattr(prompt, kind) > 0 for prompt in prompts) for kind in _HINTS}
    return TrimReport(
        prompts=len(prompts),
        trimmed=sum(map(bool, kinds)),
        steps={kind: counts[kind] for kind in KINDS if counts[kind]},
        carry={kind: count for kind, count in carry.items() if count},
    )

"""What training did, step by step and in sum: `loss.jsonl` and `training.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class StepLog:
    """One optimizer step: a line of `loss.jsonl`. Log-probs and margin are means over the step, None where the step
    had nothing of the kind."""

    step: int
    loss: float
    pair: float | None  # contrast, mean over weighted candidates
    nll: float | None  # mean over gold tokens
    lr: float
    gold_logp: float | None
    candidate_logp: float | None
    margin: float | None  # λ-free: Δ(y) − Δ(y')
    grad_norm: float
    questions: int


@dataclass(frozen=True, slots=True)
class TrainingLog:
    """What training did, for the report: `training.json`, its steps in `loss.jsonl`.

    Log-probs are means over at most 256 of the questions: of their gold and of their wrong candidates.
    """

    preset: str
    steps: tuple[StepLog, ...]
    questions: int
    left_out: tuple[str, ...]  # longer than the model's context
    gold_logp_before: float | None
    gold_logp_after: float | None
    candidate_logp_before: float | None
    candidate_logp_after: float | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "steps": len(self.steps), "left_out": list(self.left_out)}


class StepSums:
    """Sums over the micro-batches of a step."""

    def __init__(self) -> None:
        self.loss = self.pair = self.candidate = self.margin = self.gold = 0.0
        self.questions = self.tokens = 0

    def add(self, loss: Tensor, gold_logps: Tensor, tokens: int) -> None:
        self.loss += float(loss.detach())
        self.gold += float(gold_logps.sum().detach())
        self.questions += len(gold_logps)
        self.tokens += tokens

    def add_pairs(self, pair: Tensor, candidate: Tensor, margin: Tensor) -> None:
        self.pair += float(pair.detach())
        self.candidate += float(candidate.detach())
        self.margin += float(margin.detach())

    def log(
        self, *, step: int, lr: float, grad_norm: float, questions: int, pairs: float
    ) -> StepLog:
        return StepLog(
            step=step,
            loss=self.loss,
            pair=self.pair / pairs if pairs else None,
            nll=-self.gold / self.tokens if self.tokens else None,
            lr=lr,
            gold_logp=self.gold / self.questions if self.questions else None,
            candidate_logp=self.candidate / pairs if pairs else None,
            margin=self.margin / pairs if pairs else None,
            grad_norm=grad_norm,
            questions=questions,
        )

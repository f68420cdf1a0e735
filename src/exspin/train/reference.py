"""The reference of a round: the policy as it enters the round, as the log-probs of every answer.

They are computed once, the same way training computes them, cached, and compared with the policy's before the first
update, where every Δ must be zero: anything else means a wrong reference, and the run stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from exspin.errors import TrainingStopped
from exspin.ledger import digest_bytes, write_bytes
from exspin.train.batch import Row
from exspin.train.forward import Forward

# Mean |Δ| of a token before the first update, from rounding alone.
STEP0_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass(frozen=True, slots=True)
class ReferenceLogps:
    """Summed log-probs of the reference, row by row: gold first, then the candidates, as in `Row.answers`."""

    logps: tuple[Tensor, ...]

    def delta(self, index: int, logps: Tensor) -> Tensor:
        return logps - self.logps[index].to(logps.device)


def reference_logps(forward: Forward, rows: Sequence[Row]) -> ReferenceLogps:
    """Log-probs of every answer of the rows under the policy as it is now, the same way training computes them."""
    found: dict[int, Tensor] = {}
    with torch.no_grad():
        for micro in forward.cut(rows, range(len(rows))):
            sizes = [len(rows[index].answers) for index in micro.rows]
            parts = torch.split(forward.answer_logps(micro).cpu(), sizes)
            found.update(zip(micro.rows, parts, strict=True))
    return ReferenceLogps(tuple(found[index] for index in range(len(rows))))


def cached_reference(
    path: Path, forward: Forward, rows: Sequence[Row], made_from: str
) -> ReferenceLogps:
    """The reference's log-probs from an earlier start of the same training, else computed and kept."""
    sizes = [len(row.answers) for row in rows]
    try:
        with safe_open(path, framework="pt") as file:
            logps, notes = file.get_tensor("logps"), file.metadata() or {}
            if notes == {"made_from": made_from, "digest": _digest(logps)}:
                return ReferenceLogps(torch.split(logps, sizes))
    except (OSError, SafetensorError):
        pass  # not there yet, or damaged: made again
    reference = reference_logps(forward, rows)
    logps = torch.cat(reference.logps)
    write_bytes(path, save({"logps": logps}, {"made_from": made_from, "digest": _digest(logps)}))
    return reference


def _digest(logps: Tensor) -> str:
    return digest_bytes(logps.numpy().tobytes())


def check_reference(
    forward: Forward,
    rows: Sequence[Row],
    step: Sequence[int],
    reference: ReferenceLogps,
    round_number: int,
) -> None:
    """Before its first update the policy is the reference: every Δ is zero and every pair starts at softplus(m)."""
    dtype = next(forward.policy.model.parameters()).dtype
    tolerance = STEP0_TOLERANCE.get(dtype, 1e-4)
    with torch.no_grad():
        for micro in forward.cut(rows, step):
            logps = forward.answer_logps(micro).cpu()
            sizes = [len(rows[index].answers) for index in micro.rows]
            for index, found in zip(micro.rows, torch.split(logps, sizes), strict=True):
                for answer, delta in zip(
                    rows[index].answers, reference.delta(index, found), strict=True
                ):
                    if not abs(float(delta)) <= tolerance * len(answer):
                        raise TrainingStopped(
                            f"round {round_number}: wrong reference: {rows[index].example_id} starts with a log-prob "
                            f"{float(delta):+.3g} away from the reference's, which must be this policy's own; delete "
                            "reference.safetensors if the weights were changed on purpose"
                        )

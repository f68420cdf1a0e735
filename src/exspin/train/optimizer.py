"""The optimizers. AdamW for models that come pretrained; Muon for the tiny model that is made here.

Muon (Jordan et al., 2024) orthogonalises the momentum of every weight matrix. The tiny model learns faster with it in the
same time (docs/experiments.md); embeddings and vectors stay with AdamW, as its authors advise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

MUON_LR = (
    10.0  # a matrix's rate as a multiple of the configured one, which is that of the embedding
)


def make_optimizer(
    model: nn.Module, *, name: str, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """An optimizer over what is trainable; matrices alone decay. Fused AdamW: on two CPU cores much faster."""
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    fused = trained[0][1].device.type in ("cpu", "cuda")
    ends = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    ends += [m for n, m in model.named_modules() if n.endswith("lm_head")]
    embeddings = {id(p) for m in ends for p in m.parameters()}
    hidden = [p for _, p in trained if p.dim() == 2 and id(p) not in embeddings]
    other = [p for _, p in trained if p.dim() != 2 or id(p) in embeddings]
    if name == "muon":
        return _MuonAdamW(hidden, other, lr=lr, weight_decay=weight_decay, fused=fused)
    groups = [
        {"params": [p for _, p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for _, p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, fused=fused)


class _MuonAdamW(torch.optim.Optimizer):
    """Two optimizers that look like one: they share its parameter groups and its state."""

    def __init__(
        self,
        hidden: list[nn.Parameter],
        other: list[nn.Parameter],
        *,
        lr: float,
        weight_decay: float,
        fused: bool,
    ) -> None:
        muon = torch.optim.Muon(hidden, lr=MUON_LR * lr, weight_decay=weight_decay)
        adamw = torch.optim.AdamW(other, lr=lr, weight_decay=0.0, betas=(0.9, 0.98), fused=fused)
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        self._parts = (muon, adamw)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient."""
        if closure is not None:
            raise RuntimeError("a closure is not supported")
        # Loading a state (Accelerate does it at the start) puts new groups and new state in place of the old.
        for part, group in zip(self._parts, self.param_groups, strict=True):
            part.param_groups, part.state = [group], self.state
            part.step()  # type: ignore[no-untyped-call,unused-ignore]
        return None

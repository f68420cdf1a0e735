"""The optimizers. AdamW for models that come pretrained; Muon for the tiny model that is made here.

Muon (Jordan et al., 2024) orthogonalises the momentum of every weight matrix. The tiny model learns faster with it in the
same time (docs/experiments.md); embeddings and vectors stay with AdamW, as its authors advise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from exspin.errors import ConfigError

# A matrix's rate as a multiple of the configured one, which is that of the embedding.
MUON_LR = 2.5


NEWTON_SCHULZ_STEPS = 5
_A, _B, _C = 3.4445, -4.7750, 2.0315


def make_optimizer(
    model: nn.Module, *, name: str, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """An optimizer over what is trainable; matrices alone decay. Fused AdamW: on two CPU cores much faster."""
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if not trained:
        raise ConfigError(
            "the model is an adapter and nothing of it is trainable; set lora.rank and lora.alpha to the adapter's"
        )
    fused = trained[0][1].device.type in ("cpu", "cuda")
    ends = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    ends += [m for n, m in model.named_modules() if n.endswith("lm_head")]
    embeddings = {id(p) for m in ends for p in m.parameters()}
    hidden = [p for _, p in trained if p.dim() == 2 and id(p) not in embeddings]
    other = [p for _, p in trained if p.dim() != 2 or id(p) in embeddings]
    if name == "muon":
        if not hidden or not other:
            raise ConfigError(
                "sft.optimizer = 'muon': needs all weights of a model; use adamw with LoRA"
            )
        return _MuonAdamW(hidden, other, lr=lr, weight_decay=weight_decay, fused=fused)
    groups = [
        {"params": [p for _, p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for _, p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, fused=fused)


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, as `torch.optim.Muon` but for all matrices of a shape at once.

    Small matrices leave the cores idle one by one; side by side the step takes a third of the time.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every matrix that has a gradient."""
        if closure is not None:
            raise RuntimeError("a closure is not supported")
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = {}
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum"] = torch.zeros_like(matrix)
                state["momentum"].lerp_(matrix.grad, 1 - group["momentum"])
                ahead = matrix.grad.lerp(state["momentum"], group["momentum"])
                shapes.setdefault(tuple(sorted(matrix.shape)), []).append((matrix, ahead))
            for low, members in shapes.items():
                stacked = torch.stack([g if tuple(g.shape) == low else g.mT for _, g in members])
                for (matrix, _), update in zip(members, orthogonal(stacked), strict=True):
                    rows, columns = matrix.shape
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(
                        update if tuple(matrix.shape) == low else update.mT,
                        alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5,
                    )
        return None


def orthogonal(matrices_NAB: Tensor) -> Tensor:
    """Each matrix (A ≤ B) with its singular values brought near one, by five quintic Newton–Schulz steps.

    In bfloat16 on a GPU, as its authors do; the coefficients are theirs: singular values end between about 0.7 and 1.2.
    Processors that do not know bfloat16 take twenty times as long with it, so there it is float32.
    """
    x_NAB = matrices_NAB.to(_working_dtype(matrices_NAB))
    x_NAB = x_NAB / (x_NAB.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram_NAA = x_NAB @ x_NAB.mT
        mixed_NAA = torch.baddbmm(gram_NAA, gram_NAA, gram_NAA, beta=_B, alpha=_C)
        x_NAB = torch.baddbmm(x_NAB, mixed_NAA, x_NAB, beta=_A)
    return x_NAB.to(matrices_NAB.dtype)


def _working_dtype(matrices: Tensor) -> torch.dtype:
    return torch.bfloat16 if matrices.is_cuda else torch.float32


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
        muon = Muon(hidden, lr=MUON_LR * lr, weight_decay=weight_decay)
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
            part.step()
        return None

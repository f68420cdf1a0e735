"""The loss, as pure functions of tensors.

SPIN (arXiv 2401.01335, eq. 4.7) and DPO (arXiv 2305.18290, eq. 7) are the logistic loss on λ·(Δ(y) − Δ(y')), where Δ is
the policy's log-probability of an answer minus the reference's, summed over its tokens. r and margin are the two knobs
of the presets (`exspin.presets`, which says what an outcome weighs). Names end in axes: B answers, T tokens,
P pairs, V vocabulary, N tokens in a flat list.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def token_logps(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Log-probability of each target under its logits (N), in float32 whatever the model computes in."""
    logits_NV = logits_NV.float()
    chosen_N = logits_NV.gather(-1, targets_N[:, None])[:, 0]
    return chosen_N - logits_NV.logsumexp(-1)


def sequence_logps(logps_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Log-probability of each answer (B): the sum over its tokens, those where the mask is True."""
    return logps_BT.masked_fill(~mask_BT, 0.0).sum(-1)


def pair_loss(
    delta_gold_P: Tensor, delta_candidate_P: Tensor, r_P: Tensor, margin_P: Tensor, lam: float
) -> Tensor:
    """softplus(−(λ·(Δ(y) − r·Δ(y')) − m)) for each pair (P); ln 2 where nothing has been learned yet and m = 0."""
    return functional.softplus(margin_P - lam * (delta_gold_P - r_P * delta_candidate_P))


def total(
    loss_P: Tensor,
    weight_P: Tensor,
    gold_logps_B: Tensor,
    *,
    alpha: float,
    pairs_in_step: float,
    gold_tokens_in_step: int,
) -> Tensor:
    """A micro-batch's share of the step's loss: contrast averaged over pairs, NLL averaged over gold tokens.

    Both divisors count the whole optimizer step, so how a step is cut into micro-batches changes nothing.
    `pairs_in_step` counts candidates that have weight, each as its share of its question's candidates: two equal
    candidates merged into one pair with their weights added are worth what they were apart.
    """
    loss = gold_logps_B.new_zeros(())
    if pairs_in_step > 0:
        loss = loss + torch.dot(weight_P, loss_P) / pairs_in_step
    if alpha > 0 and gold_tokens_in_step > 0:
        loss = loss - alpha * gold_logps_B.sum() / gold_tokens_in_step
    return loss

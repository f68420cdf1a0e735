"""Log-probs of answers, computed the same way for the policy in training and for its reference.

Three ways, in the order they are tried: SHARED reads a schema prefix once and lets every question of its database
continue from its keys and values (autograd flows through the cache), several of them packed into a row; PLAIN reads every sequence in full; FULL also
computes the logits of every position, as any model can. The first two keep logits to the answers alone. A model for
which a way is not exact (its attention window or its state crosses branches) is found by comparing with FULL on real
rows before training, and the next way is taken.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from exspin.model import Policy
from exspin.train.batch import Micro, Row, micro_batches
from exspin.train.losses import sequence_logps, token_logps

logger = logging.getLogger(__name__)

# Summed over an answer, against the plain way; rounding alone stays a hundred times below in float32.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 1.0, torch.float16: 0.2}
PARITY_ROWS = 4
ROW_TOKENS = 160  # a few short answers of one database side by side
PACKED_ALONE = 80  # sequences without a shared prefix are packed where none is longer
# Bytes that a micro-batch may keep for the backward pass, and floats that a token keeps in a layer, in hidden sizes.
ROOM = {"cpu": 1.5e9, "cuda": 12e9}
FLOATS_PER_TOKEN = 24


class Way(StrEnum):
    SHARED = "shared"
    PLAIN = "plain"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Forward:
    """A policy with the way its answers are computed and the tokens that fit a micro-batch."""

    policy: Policy
    way: Way
    budget: int

    def cut(self, rows: Sequence[Row], chosen: Sequence[int], *, alpha: float = 1.0) -> list[Micro]:
        share = self.way is Way.SHARED
        return micro_batches(rows, chosen, share=share, budget=self.budget, alpha=alpha)

    def answer_logps(self, micro: Micro) -> Tensor:
        """Summed log-prob of each sequence's answer (B), differentiable. The model is left in eval mode: no dropout."""
        model, device = self.policy.model, self.policy.device
        # Short sequences stand side by side in rows; else each has a row of its own, and padding to the right of every
        # real token, so that the causal mask alone keeps it out.
        short = max(map(len, micro.sequences)) <= PACKED_ALONE
        packed = bool(micro.prefix) or (self.way is Way.SHARED and short)
        layout = pack(micro.sequences, ROW_TOKENS if packed else 0)
        ids_RT = torch.full((layout.rows, layout.width), self.policy.pad_id)
        for ids, start in zip(micro.sequences, layout.starts, strict=True):
            ids_RT.view(-1)[start : start + len(ids)] = torch.tensor(ids)
        model.eval()
        context: dict[str, Any] = {"use_cache": False}
        if micro.prefix:
            cache = DynamicCache(config=model.config)
            prefix_1P = torch.tensor([micro.prefix], device=device)
            with _head_reads(self.policy, torch.zeros(0, dtype=torch.long, device=device)):
                model(input_ids=prefix_1P, past_key_values=cache, use_cache=True)
            cache.batch_repeat_interleave(layout.rows)
            context = {"past_key_values": cache, "use_cache": True}
        if packed:
            position_RT, mask_R1TS = layout.sight(len(micro.prefix))
            context["position_ids"] = position_RT.to(device)
            context["attention_mask"] = mask_R1TS.to(device)
        answers = [
            range(start + first, start + len(ids))
            for ids, first, start in zip(micro.sequences, micro.starts, layout.starts, strict=True)
        ]
        at_N = torch.tensor([place for answer in answers for place in answer], device=device)
        ids_RT = ids_RT.to(device)
        with _head_reads(self.policy, at_N - 1 if self.way is not Way.FULL else None):
            output = model(input_ids=ids_RT, **context)
        logits_NV = output.logits.flatten(0, 1)
        if self.way is Way.FULL:
            logits_NV = logits_NV[at_N - 1]  # the logits before a token predict it
        lengths_B = torch.tensor([len(answer) for answer in answers], device=device)
        mask_BT = torch.arange(int(lengths_B.max()), device=device) < lengths_B[:, None]
        logps_BT = torch.zeros(mask_BT.shape, device=device)
        logps_BT = logps_BT.masked_scatter(mask_BT, token_logps(logits_NV, ids_RT.view(-1)[at_N]))
        return sequence_logps(logps_BT, mask_BT)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each sequence stands in a batch of `rows` × `width` tokens, counted through the flattened batch."""

    rows: int
    width: int
    starts: tuple[int, ...]
    lengths: tuple[int, ...]

    def sight(self, prefix: int) -> tuple[Tensor, Tensor]:
        """Position of every token (R, T), and what it sees: the whole prefix and its own sequence up to itself
        (R, 1, T, P + T). Padding sees the prefix, so that no row of the mask is empty."""
        owner_N = torch.full((self.rows * self.width,), -1)
        position_N = torch.full((self.rows * self.width,), prefix)
        for number, (start, length) in enumerate(zip(self.starts, self.lengths, strict=True)):
            owner_N[start : start + length] = number
            position_N[start : start + length] += torch.arange(length)
        owner_RT = owner_N.view(self.rows, self.width)
        own_RTT = (owner_RT[:, :, None] == owner_RT[:, None, :]).tril()
        prefix_RTP = torch.ones(self.rows, self.width, prefix, dtype=torch.bool)
        mask_RTS = torch.cat([prefix_RTP, own_RTT], dim=-1)
        return position_N.view(self.rows, self.width), mask_RTS[:, None]


def pack(sequences: Sequence[Sequence[int]], width: int) -> Layout:
    """Put sequences side by side into rows of `width` tokens, the longest first, each into the first row with room.

    Rows are as wide as the longest sequence at least; with a width of 0 every sequence has its own row.
    """
    alone = width == 0
    width = max(width, max(map(len, sequences)))
    filled: list[int] = []
    starts = [0] * len(sequences)
    order = range(len(sequences))
    for index in order if alone else sorted(order, key=lambda i: (-len(sequences[i]), i)):
        length = len(sequences[index])
        fits = (row for row, used in enumerate(filled) if used + length <= width)
        row = len(filled) if alone else next(fits, len(filled))
        if row == len(filled):
            filled.append(0)
        starts[index] = row * width + filled[row]
        filled[row] += length
    return Layout(len(filled), width, tuple(starts), tuple(map(len, sequences)))


@contextmanager
def _head_reads(policy: Policy, positions_N: Tensor | None) -> Iterator[None]:
    """While open, the output head sees only these positions of the flattened batch, as one row. None: all, as usual.

    What a model does to its logits afterwards (scale, cap) still happens, since the model itself calls the head.
    """
    if positions_N is None:
        yield
        return

    def select(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (inputs[0].flatten(0, 1)[positions_N][None],)

    handle = policy.model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def choose_forward(policy: Policy, rows: Sequence[Row]) -> Forward:
    """The fastest way that agrees with FULL on the longest rows that share a prefix. One logged line where it is not the first."""
    budget = _budget(policy)
    trial = _trial_rows(rows)
    truth = _measure(Forward(policy, Way.FULL, budget), trial)
    tolerance = TOLERANCE.get(truth_dtype(policy), 1e-3)
    refused = []
    for way in (Way.SHARED, Way.PLAIN):
        try:
            found = _measure(Forward(policy, way, budget), trial)
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            refused.append(f"{way}: {type(error).__name__} {' '.join(str(error).split())[:120]}")
            continue
        off = float((found - truth).abs().max())
        if off <= tolerance:
            break
        refused.append(f"{way}: log-probs differ by {off:.2g}")
    else:
        way = Way.FULL
    if refused:
        logger.warning(
            "%s: training reads sequences the %s way, which is slower (%s)",
            policy.source,
            way,
            "; ".join(refused),
        )
    return Forward(policy, way, budget)


def truth_dtype(policy: Policy) -> torch.dtype:
    return next(policy.model.parameters()).dtype


def _trial_rows(rows: Sequence[Row]) -> list[Row]:
    """A few rows of the longest prefix, since windows and states show where the text is long, and a few without prefix
    that would be packed."""
    longest = max((row.prefix for row in rows), key=len)
    same = [row for row in rows if row.prefix == longest]
    bare = [row for row in rows if not row.prefix and row.longest <= PACKED_ALONE]
    chosen = [sorted(each, key=lambda row: -row.longest)[:PARITY_ROWS] for each in (same, bare)]
    if len(chosen[0]) == 1:
        chosen[0] *= 2  # alone it would share its prefix with nobody
    return [*chosen[0], *chosen[1]]


def _measure(forward: Forward, rows: Sequence[Row]) -> Tensor:
    """Log-probs of all answers of the rows, in their order."""
    # A single row would be computed alone; twice makes two branches of it.
    rows = [*rows, *rows] if len(rows) == 1 else list(rows)
    found: dict[int, Tensor] = {}
    with torch.no_grad():
        for micro in forward.cut(rows, range(len(rows))):
            logps_B = forward.answer_logps(micro)
            sizes = [len(rows[index].answers) for index in micro.rows]
            found.update(zip(micro.rows, torch.split(logps_B, sizes), strict=True))
    return torch.cat([found[index] for index in range(len(rows))])


def _budget(policy: Policy) -> int:
    config = policy.model.config.get_text_config()
    floats = FLOATS_PER_TOKEN * config.hidden_size * config.num_hidden_layers
    floats += 2 * config.vocab_size  # logits and their gradient, for about half of the tokens
    room = ROOM["cuda" if policy.device.type == "cuda" else "cpu"]
    return max(512, int(room / (4 * floats)))

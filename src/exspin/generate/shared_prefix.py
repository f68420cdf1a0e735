"""Attention of many rows to keys and values that are there once.

A batch of questions holds a few schemas; every question of one reads the same schema. Copying its keys and values into
each row would make decoding wait for memory, so rows keep their own tokens only, and the queries of all rows of a group
meet the group's prefix in one matrix product. Plugged into transformers as a cache and an attention function, both by
its public interfaces; which models this is right for is checked in `hf.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exspin.errors import MissingExtra

try:
    import torch
    from torch import Tensor
    from transformers import Cache
    from transformers.cache_utils import DynamicLayer
except ModuleNotFoundError as missing:
    raise MissingExtra("generation", missing.name or "torch", "train") from missing

GROW = 32  # slots a row's cache grows by
NOT_COVERED = ("softcap", "s_aux", "sliding_window", "position_bias")  # options of other attentions


class SharedPrefix(Cache):
    """Keys and values of each row's own tokens, and the attention that adds the prefix its group shares.

    N rows, H heads of queries, J of keys (J divides H), T new tokens, S own tokens so far, P prefix tokens, D per head.
    """

    def __init__(self, groups: Sequence[Sequence[DynamicLayer]]) -> None:
        super().__init__(layers=[])
        self.rows_of_groups: list[tuple[int, int, int]] = []
        # (J, P, D) for each group, by layer
        self.prefix_keys = [
            [layer.keys[0] for layer in layers] for layers in zip(*groups, strict=True)
        ]
        self.prefix_values = [
            [layer.values[0] for layer in layers] for layers in zip(*groups, strict=True)
        ]
        depth = len(self.prefix_keys)
        self.keys: list[Tensor | None] = [None] * depth  # (N, J, room, D)
        self.values: list[Tensor | None] = [None] * depth
        self.used = [0] * depth

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.used[layer_idx]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store the rows' new keys and values (N, J, T, D) and return all of their own (N, J, S, D)."""
        start = self.used[layer_idx]
        stop = start + key_states.shape[2]
        self.used[layer_idx] = stop
        self.keys[layer_idx] = keys = _store(self.keys[layer_idx], key_states, start)
        self.values[layer_idx] = values = _store(self.values[layer_idx], value_states, start)
        return keys[:, :, :stop], values[:, :, :stop]

    def select(self, index: Tensor) -> None:
        self.keys = [None if keys is None else keys[index] for keys in self.keys]
        self.values = [None if values is None else values[index] for values in self.values]

    def attend(
        self,
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor,
        scaling: float | None = None,
        dropout: float = 0.0,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """Attention over prefix and own tokens: softmax over both score blocks, weights times both value blocks."""
        unknown = [name for name in NOT_COVERED if options.get(name) is not None]
        if unknown:
            raise NotImplementedError(f"its attention uses {unknown[0]}")
        rows, heads, new, width = query.shape
        kinds = key.shape[1]  # J
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        query = query * (width**-0.5 if scaling is None else scaling)
        query_NJtD = query.reshape(rows, kinds, heads // kinds * new, width)
        own_NJtS = (query_NJtD @ key.transpose(-1, -2)).float()
        own_NJtS.view(rows, kinds, -1, new, key.shape[2]).masked_fill_(
            ~attention_mask[:, :, None], float("-inf")
        )
        output = torch.empty_like(query_NJtD)
        folded = query_NJtD.transpose(0, 1)  # rows of a group become queries of one matrix product
        for group, first, after in self.rows_of_groups:
            shared_keys, shared_values = (
                self.prefix_keys[layer][group],
                self.prefix_values[layer][group],
            )
            shared_JnP = (
                folded[:, first:after].reshape(kinds, -1, width) @ shared_keys.transpose(-1, -2)
            ).float()
            length = shared_JnP.shape[-1]
            shared_NJtP = shared_JnP.view(kinds, after - first, -1, length).transpose(0, 1)
            weights = (
                torch.cat([shared_NJtP, own_NJtS[first:after]], dim=-1).softmax(-1).to(query.dtype)
            )
            from_own = weights[..., length:] @ value[first:after]
            shared_weights = weights[..., :length].transpose(0, 1).reshape(kinds, -1, length)
            from_shared = (shared_weights @ shared_values).view(kinds, after - first, -1, width)
            output[first:after] = from_own + from_shared.transpose(0, 1)
        return output.view(rows, heads, new, width).transpose(1, 2).contiguous(), None


def _store(room: Tensor | None, new: Tensor, start: int) -> Tensor:
    """Write `new` at slot `start`, in a larger tensor if it does not fit."""
    rows, kinds, count, width = new.shape
    if room is None or start + count > room.shape[2]:
        larger = new.new_empty(rows, kinds, start + count + GROW, width)
        if room is not None:
            larger[:, :, :start] = room[:, :, :start]
        room = larger
    room[:, :, start : start + count] = new
    return room

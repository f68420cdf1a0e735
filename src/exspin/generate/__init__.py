"""Where answers come from: what every sampler promises, whatever engine is behind it.

A sampler's answer for (round, question, k) depends on the seed and those three, never on which other questions are
asked with it, so a resumed run writes what an uninterrupted one would have written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from exspin.records import Candidate, Prompt

Progress = Callable[[int], None]  # called with the number of answers finished since the last call


class Sampler(Protocol):
    """Writes `k` answers to every prompt; `released` counts those that could not be held to the schema's names."""

    released: int

    def sample(
        self,
        prompts: Sequence[Prompt],
        *,
        k: int,
        round_number: int,
        progress: Progress | None = None,
    ) -> list[Candidate]:
        """Candidates in the order of the prompts, and of 0 … k-1 within each."""
        ...


@dataclass(frozen=True, slots=True)
class Decoding:
    """How tokens are chosen. A temperature of 0 takes the most probable token (greedy)."""

    temperature: float
    top_p: float
    max_new_tokens: int
    batch_size: int  # answers decoded together
    seed: int

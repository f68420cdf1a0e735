"""Choose tokens that keep an answer a query over its database's names: see `exspin.sql.guide`.

The model's own choice stands wherever a query can come of it. Where it cannot, the token is struck out and another one is
chosen from what is left, greedily or by sampling, so the choice has exactly the model's distribution over the tokens that
may stand. Further draws are derived from the first one's bits. (Where the first fell inside the struck token would be as
exact, but blows up rounding each time, and answers would depend on their neighbours in the batch.)
Needs no torch: logits arrive as numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np

from exspin.sql.guide import Guide

_TRIES = 64  # tokens that are struck out one by one; then the whole vocabulary is looked at
_BROKEN = "\ufffd"  # part of a character; the text is decoded anew when it comes

Logits = np.ndarray[Any, np.dtype[np.float64]]


class GuidedAnswers:
    """The answers of one batch as text, and which token may come next in each.

    `released` counts answers in which no token was left that could: they go on as the model likes.
    """

    def __init__(
        self,
        guides: Sequence[Guide],
        pieces: Pieces,
        end_id: int,
        *,
        temperature: float,
        top_p: float,
    ) -> None:
        """One guide for each answer of the batch."""
        self._guides: list[Guide | None] = list(guides)
        self._texts = [""] * len(guides)
        self._ids: list[list[int]] = [[] for _ in guides]
        self._pieces = pieces
        self._end_id = end_id
        self._temperature = temperature
        self._top_p = top_p
        self.released = 0

    def choose(self, row: int, token: int, logits_of: Callable[[], Logits], draw: float) -> int:
        """The token that answer `row` gets: the model's own `token` if it may stand, else another one.

        `logits_of` gives the row's logits (V,), `draw` is the number in [0, 1) by which `token` was sampled.
        """
        guide = self._guides[row]
        if guide is None:
            return token
        if not self._may_stand(row, token, guide):
            chosen = self._another(row, guide, token, logits_of().copy(), draw)
            if chosen is None:
                self._guides[row] = None
                self.released += 1
                return token
            token = chosen
        if token != self._end_id:
            self._ids[row].append(token)
            piece = self._pieces.text(token)
            self._texts[row] += piece
            if _BROKEN in piece:
                self._texts[row] = self._pieces.decode(self._ids[row])
        return token

    def _may_stand(self, row: int, token: int, guide: Guide) -> bool:
        if token == self._end_id:
            return guide.complete(self._texts[row])
        piece = self._pieces.text(token)
        return bool(piece) and guide.allows(self._texts[row] + piece)

    def _another(
        self, row: int, guide: Guide, refused: int, logits_V: Logits, draw: float
    ) -> int | None:
        """The token instead of `refused`; None where none may stand."""
        begins: dict[str, bool] = {}  # what nothing can begin with is decided once for all tokens

        def may_stand(token: int) -> bool:
            beginning = self._pieces.beginning(token)
            if beginning not in begins:
                begins[beginning] = not beginning or guide.allows(self._texts[row] + beginning)
            return begins[beginning] and self._may_stand(row, token, guide)

        if self._temperature == 0:
            for token in np.argsort(-logits_V, kind="stable").tolist():
                if may_stand(token):
                    return int(token)
            return None
        logits_V[refused] = -np.inf
        *tries, last = more_draws(draw, _TRIES)
        for another in tries:
            if not np.isfinite(logits_V).any():
                return None
            token = pick(logits_V, another, self._temperature, self._top_p)
            if may_stand(token):
                return token
            logits_V[token] = -np.inf
        left = np.flatnonzero(np.isfinite(logits_V))
        struck = [token for token in left.tolist() if not may_stand(token)]
        logits_V[struck] = -np.inf
        if len(struck) == len(left):
            return None
        return pick(logits_V, last, self._temperature, self._top_p)


class Pieces:
    """What each token adds to a text, for any tokenizer; found on first use."""

    def __init__(self, decode: Callable[[Sequence[int]], str], special: Sequence[int]) -> None:
        """`decode` turns ids into text; `special` tokens add nothing."""
        self.decode = decode
        self._known = dict.fromkeys(special, "")
        self._beginnings: dict[int, str] = {}
        ordinary = next(token for token in count() if token not in self._known)
        self._before = [ordinary, ordinary]
        self._anchor = decode(self._before)

    def beginning(self, token: int) -> str:
        """The spaces that its text begins with, and the character behind them."""
        if token not in self._beginnings:
            text = self.text(token)
            self._beginnings[token] = text[: len(text) - len(text.lstrip(" ")) + 1]
        return self._beginnings[token]

    def text(self, token: int) -> str:
        if token not in self._known:
            # Behind two others, because some tokenizers drop the space of a text's first token.
            self._known[token] = self.decode([*self._before, token]).removeprefix(self._anchor)
        return self._known[token]


def more_draws(draw: float, count: int) -> list[float]:
    """Further numbers in [0, 1), always the same for one `draw`."""
    generator = np.random.Generator(np.random.Philox(key=int(draw * 2**53)))
    return [float(another) for another in generator.random(count)]


def pick(logits_V: Logits, draw: float, temperature: float, top_p: float) -> int:
    """The token at which the cumulative probability passes `draw`.

    With `top_p` < 1 only the fewest most probable tokens that together reach it can be chosen.
    """
    scaled = logits_V / temperature
    weights = np.exp(scaled - scaled.max())
    weights /= weights.sum()
    if top_p < 1:
        order = np.argsort(-weights, kind="stable")
        before = np.cumsum(weights[order]) - weights[order]
        weights[order[before >= top_p]] = 0.0
    sums = np.cumsum(weights)
    place = int(np.searchsorted(sums, draw * sums[-1], side="right"))
    return min(place, int(np.flatnonzero(weights)[-1]))

"""How sure a rate or a difference of two rates is: bootstrap intervals and an exact paired test.

Resampling yes/no answers with replacement draws their number of yeses from a binomial (for pairs: a multinomial)
distribution, so the bootstrap is drawn from that directly, without resampling anything. Seeded, hence repeatable.
Where all answers are alike, every resample is too and the bootstrap would claim certainty of three questions: there the
interval is the exact one (Clopper and Pearson).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_DRAWS = 10_000
_TAILS = (2.5, 97.5)
_TAIL = 0.025


def bootstrap_interval(hits: Sequence[bool], seed: int = 0) -> tuple[float, float]:
    """95 % interval of the share of hits: percentile bootstrap, or exact where all or none are hits; (0, 1) without any."""
    return share_interval(sum(map(bool, hits)), len(hits), seed)


@lru_cache(maxsize=10_000)
def share_interval(hits: int, n: int, seed: int = 0) -> tuple[float, float]:
    """The same of `hits` out of `n`."""
    if n == 0:
        return 0.0, 1.0
    if hits in (0, n):
        return (0.0, _unseen(n)) if hits == 0 else (1.0 - _unseen(n), 1.0)
    rates = np.random.default_rng(seed).binomial(n, hits / n, _DRAWS) / n
    low, high = np.percentile(rates, _TAILS)
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Paired:
    """B against A on the same questions. `diff` is B's rate minus A's; `p` is two-sided."""

    diff: float
    ci95: tuple[float, float]
    fixed: int  # wrong in A, right in B
    broke: int  # right in A, wrong in B
    p: float


def paired_difference(a: Sequence[bool], b: Sequence[bool], seed: int = 0) -> Paired:
    """Compare two systems question by question: paired bootstrap interval, exact McNemar test.

    Where all questions went the same way, the interval is what share may not, though none of so many shows it. Raises `ValueError` if the sequences differ in length. Without questions: no difference, (-1, 1), p = 1.
    """
    if len(a) != len(b):
        raise ValueError(f"paired answers must have one length, found {len(a)} and {len(b)}")
    n = len(a)
    if n == 0:
        return Paired(0.0, (-1.0, 1.0), 0, 0, 1.0)
    fixed = sum(not x and bool(y) for x, y in zip(a, b, strict=True))
    broke = sum(bool(x) and not y for x, y in zip(a, b, strict=True))
    diff = (fixed - broke) / n
    if n in (fixed, broke, n - fixed - broke):
        reach = _unseen(n) * (1 if diff == 0 else 2)  # what was fixed may be unchanged, or broken
        low, high = max(-1.0, diff - reach), min(1.0, diff + reach)
    else:
        shares = [fixed / n, broke / n, (n - fixed - broke) / n]
        draws = np.random.default_rng(seed).multinomial(n, shares, _DRAWS)
        low, high = map(float, np.percentile((draws[:, 0] - draws[:, 1]) / n, _TAILS))
    return Paired(diff, (low, high), fixed, broke, _mcnemar(fixed, broke))


def _unseen(n: int) -> float:
    """The largest share at which n answers without a single one of its kind are not too rare."""
    return float(1.0 - _TAIL ** (1.0 / n))


def _mcnemar(fixed: int, broke: int) -> float:
    """Chance of a split at least this uneven if each changed question were a fair coin."""
    changed = fixed + broke
    tail: int = sum(math.comb(changed, k) for k in range(min(fixed, broke) + 1))
    return min(1.0, 2 * tail / (1 << changed))

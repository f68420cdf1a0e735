"""What a linker learns of words: that "how old" asks for an age, that "who" asks for a name.

One weight for each pair of a question's word and a name's word (or the column's kind), hashed, in a logistic regression
over all columns, and one over all tables. A word that the schema itself has speaks through its likeness; a word that the
schema lacks has a second weight, since it must mean something that is called otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exspin.hints.features import Asked
from exspin.hints.likeness import stem
from exspin.hints.schema_view import SchemaView, hash_word

BITS = 18
_MASK = np.uint64((1 << BITS) - 1)
_A, _B, _C = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xBF58476D1CE4E5B9))
_KIND = np.uint64(77)  # kinds are hashed as words that nobody writes
_KNOWN_HASHES = 50_000


@dataclass(frozen=True)
class Pairs:
    """The hashed pairs of N names with one question: `numbers` N, P below 2**BITS, of which `given` N, P say which count."""

    numbers: NDArray[np.int32]
    given: NDArray[np.bool_]

    @property
    def share(self) -> NDArray[np.float32]:
        """What one pair of each name counts, N: 1 by the root of their number."""
        found: NDArray[np.float32] = 1 / np.sqrt(np.maximum(1, self.given.sum(1)))
        return found.astype(np.float32)

    def score(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sum of the weights of each name's pairs, N."""
        total: NDArray[np.float32] = (weights[self.numbers] * self.given).sum(1)
        return total * self.share


def column_pairs(view: SchemaView, asked: Asked) -> Pairs:
    """The pairs of a question with every column."""
    words_Q = _question_words(asked)
    of_names = _pairs(words_Q, view.hashed_columns)
    kinds = _mix(words_Q[None, :], (view.kinds.astype(np.uint64) + _KIND)[:, None])
    return Pairs(
        np.concatenate([of_names.numbers, kinds], 1),
        np.concatenate([of_names.given, np.ones(kinds.shape, bool)], 1),
    )


def table_pairs(view: SchemaView, asked: Asked) -> Pairs:
    """The pairs of a question with every table."""
    return _pairs(_question_words(asked), view.hashed_tables)


_hashes: dict[str, int] = {}


def _hashed(word: str) -> int:
    if word not in _hashes:
        if len(_hashes) >= _KNOWN_HASHES:
            _hashes.clear()
        _hashes[word] = hash_word(word)
    return _hashes[word]


def _question_words(asked: Asked) -> NDArray[np.uint64]:
    """Hashes of what a question says: its words, those the schema lacks once more, "how old", and nothing at all."""
    found = dict(zip(asked.stems, asked.known.tolist(), strict=True))
    said = list(found)
    said += ["\0unknown " + word for word, known in found.items() if not known]
    after_how = zip(asked.stems, asked.stems[1:], strict=False)
    said += dict.fromkeys("\0how " + word for how, word in after_how if how == _HOW)
    said.append("\0")
    return np.array([_hashed(word) for word in said], np.uint64)


_HOW = stem("how")


def _pairs(words_Q: NDArray[np.uint64], names_NW: NDArray[np.uint64]) -> Pairs:
    n = len(names_NW)
    numbers = _mix(words_Q[None, :, None], names_NW[:, None, :])
    given = np.broadcast_to((names_NW != 0)[:, None, :], numbers.shape)
    return Pairs(
        numbers.reshape(n, numbers[0].size if n else 1), given.reshape(n, given[0].size if n else 1)
    )


def _mix(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.int32]:
    mixed = (a * _A) ^ (b * _B)
    mixed ^= mixed >> np.uint64(29)
    mixed *= _C
    mixed ^= mixed >> np.uint64(32)
    return (mixed & _MASK).astype(np.int32)


def learn_weights(
    pairs: Sequence[Pairs], used: NDArray[np.bool_], seed: int
) -> NDArray[np.float32]:
    """Weights by logistic regression with averaged stochastic gradients. `used`: one label for each name of all questions.

    Where all labels are one, as of databases of one table each, there is nothing to weigh.
    """
    if used.all() or not used.any():
        return np.zeros(1 << BITS, np.float32)
    from scipy.sparse import csr_matrix  # both come with the extra [train]
    from sklearn.linear_model import SGDClassifier

    counts = np.concatenate([p.given.sum(1) for p in pairs])
    rows = csr_matrix(
        (
            np.repeat(np.concatenate([p.share for p in pairs]), counts),
            np.concatenate([p.numbers[p.given] for p in pairs]),
            np.concatenate([[0], np.cumsum(counts)]),
        ),
        shape=(len(counts), 1 << BITS),
    )
    model = SGDClassifier(
        loss="log_loss", alpha=_ALPHA, max_iter=_PASSES, tol=None, average=True, random_state=seed
    )
    model.fit(rows, used)
    weights: NDArray[np.float32] = model.coef_[0].astype(np.float32)
    return weights


_ALPHA = 3e-6
_PASSES = 4

"""Solved questions of the training split that are like a question: examples in its prompt.

Likeness is that of questions with the words of their schemas and what looks like a value masked ("How many _ are from '?"),
by words and pairs of words, rare ones weighing more (TF-IDF, cosine). Of equally written SQL, names and literals aside, one is
taken before a second. Examples come from other databases than the question's, in training as in use, since the databases
that a model is asked about are seldom those it was trained on; where the pool knows one database only, from that one. A
question itself and near-duplicates of it (word trigrams, Jaccard above 0.5) are never among them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from exspin.data.splits import jaccard, word_trigrams
from exspin.errors import DataError
from exspin.hints.folding import WORD, fold, words
from exspin.ledger import digest_json, read_jsonl, write_jsonl
from exspin.records import Example
from exspin.sql.schema import RESERVED, Schema
from exspin.sql.tokens import significant

NEAR_DUPLICATE = 0.5  # Jaccard of word trigrams; above it two questions are taken for one
_LOOKED_AT = 200  # of the most similar ones
_CHARACTERS = (
    2_000  # a longer question or query is no example, and no more of a question is compared
)
_WORD_CHARACTERS = 40
_SAY_NOTHING = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "by",
        "do",
        "does",
        "for",
        "from",
        "has",
        "have",
        "in",
        "is",
        "it",
        "not",
        "of",
        "on",
        "or",
        "that",
        "the",
        "to",
        "with",
    ]
)
_QUOTED = re.compile(r'"[^"]+"|“[^”]+”|(?<!\w)\'[^\']+\'(?!\w)|‘[^’]+’')
_KEYWORDS = RESERVED | frozenset(
    [
        "ASC",
        "DESC",
        "LIKE",
        "ILIKE",
        "GLOB",
        "BY",
        "OFFSET",
        "FETCH",
        "FIRST",
        "ROWS",
        "NEXT",
        "ONLY",
        "INTERVAL",
        "LATERAL",
        "RECURSIVE",
    ]
)


@dataclass(frozen=True, slots=True)
class Solved:
    """A question with its gold."""

    example_id: str
    db_id: str
    question: str
    query: str
    masked: str  # the question's words, folded, with masks, separated by spaces


class ShotPool:
    """The solved questions, and where each word of them occurs. The same pool gives the same answers everywhere."""

    def __init__(self, solved: Sequence[Solved]) -> None:
        self.solved = tuple(solved)
        self._databases = list(dict.fromkeys(each.db_id for each in self.solved))
        self._of_database = np.array([self._databases.index(e.db_id) for e in self.solved])
        terms = [_terms(each.masked.split()) for each in self.solved]
        frequency = Counter(term for found in terms for term in found)
        total = len(self.solved)
        # a term that every question has still tells a little, so that no question is like nothing
        self._idf = {term: float(np.log(1 + total / count)) for term, count in frequency.items()}
        postings: dict[str, list[int]] = {term: [] for term in frequency}
        norms = np.ones(max(total, 1))
        for place, found in enumerate(terms):
            for term in found:
                postings[term].append(place)
            norms[place] = sum(self._idf[term] ** 2 for term in sorted(found)) ** 0.5 or 1.0
        self._norms = norms
        self._postings: dict[str, NDArray[np.int64]] = {
            term: np.array(places, np.int64) for term, places in postings.items()
        }
        self._trigrams = lru_cache(maxsize=None)(
            lambda place: word_trigrams(self.solved[place].question)
        )
        self._skeleton = lru_cache(maxsize=None)(lambda place: skeleton(self.solved[place].query))

    def __len__(self) -> int:
        return len(self.solved)

    @classmethod
    def make(cls, examples: Iterable[Example], schemas: Mapping[str, Schema]) -> Self:
        """The pool of these examples, whose golds are right; `schemas` by db_id."""
        vocabulary = {name: schema_words(schema) for name, schema in schemas.items()}
        return cls(
            [
                Solved(
                    e.example_id,
                    e.db_id,
                    e.question,
                    e.query,
                    " ".join(masked(e.question, vocabulary[e.db_id])),
                )
                for e in examples
                if len(e.question) <= _CHARACTERS and len(e.query) <= _CHARACTERS
            ]
        )

    def similar(self, example: Example, vocabulary: frozenset[str], k: int) -> list[Solved]:
        """The `k` most similar ones, or as many as there are, the most similar first. `vocabulary`: see `schema_words`."""
        if k < 1 or not self.solved:
            return []
        trigrams = word_trigrams(example.question[:_CHARACTERS])
        chosen: list[int] = []
        passed: list[int] = []
        written: set[str] = set()
        for place in self._ranked(masked(example.question, vocabulary), example.db_id):
            if self.solved[place].example_id == example.example_id:
                continue
            if jaccard(trigrams, self._trigrams(place)) > NEAR_DUPLICATE:
                continue
            if self._skeleton(place) in written:
                passed.append(place)
                continue
            written.add(self._skeleton(place))
            chosen.append(place)
            if len(chosen) == k:
                break
        return [self.solved[place] for place in (chosen + passed)[:k]]

    def _ranked(self, asked: Sequence[str], db_id: str) -> list[int]:
        """Places of the most similar ones, the best first; at equal likeness as the pool goes."""
        found = sorted(term for term in _terms(asked) if term in self._postings)
        if not found:
            return []
        places = np.concatenate([self._postings[term] for term in found])
        weights = np.repeat(
            [self._idf[term] ** 2 for term in found],
            [len(self._postings[term]) for term in found],
        )
        scores = np.bincount(places, weights, len(self.solved)) / self._norms
        scores = scores.round(9)  # sums may end otherwise on another machine
        if len(self._databases) > 1 and db_id in self._databases:
            scores[self._of_database == self._databases.index(db_id)] = 0
        least = np.partition(scores, -_LOOKED_AT)[-_LOOKED_AT] if len(scores) > _LOOKED_AT else 0
        best = np.flatnonzero((scores >= least) & (scores > 0))
        order = np.argsort(-scores[best], kind="stable")
        return [int(place) for place in best[order][:_LOOKED_AT]]

    @property
    def digest(self) -> str:
        """SHA-256 over all that examples depend on."""
        return digest_json([asdict(each) for each in self.solved])

    def save(self, path: Path) -> None:
        """Write the pool as a file of lines. Raises `RunError` when the place cannot be written."""
        write_jsonl(path, map(asdict, self.solved))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. Raises `DataError` for a file that is not there or damaged."""
        try:
            return cls([Solved(**row) for row in read_jsonl(path)])
        except (OSError, TypeError) as error:
            raise DataError(f"{path}: cannot be read ({error}); use another checkpoint") from error


def schema_words(schema: Schema) -> frozenset[str]:
    """The folded words of the names of tables and columns, "of" and the like aside."""
    names = {name for t in schema.tables for name in (t.name, *(c.name for c in t.columns))}
    spaced = (re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) for name in names)
    return frozenset(fold(word) for each in spaced for word in words(each)) - _SAY_NOTHING


def masked(question: str, vocabulary: frozenset[str]) -> list[str]:
    """The words of a question, folded: `_` for one of the schema, `#` for a number, `'` for a quoted text or a name."""
    found: list[str] = []
    text = _QUOTED.sub(" \x00 ", question[:_CHARACTERS])
    for match in re.finditer(rf"\x00|{WORD.pattern}", text):
        raw = match.group()
        if raw == "\x00":
            word = "'"
        elif raw[0].isdigit():
            word = "#"
        elif (folded := fold(raw)) in vocabulary:
            word = "_"
        elif raw[0].isupper() and match.start() > 0 and folded not in _SAY_NOTHING:
            word = "'"
        else:
            word = folded[:_WORD_CHARACTERS]
        if not (found and word in "_#'" and found[-1] == word):
            found.append(word)
    return found


def skeleton(sql: str) -> str:
    """A query without its names and literals: what two queries on two databases can have in common."""
    kept: list[str] = []
    found = list(significant(sql))
    for place, token in enumerate(found):
        after = found[place + 1].text if place + 1 < len(found) else ""
        if token.kind == "word" and (token.keyword in _KEYWORDS or after == "("):
            text = token.keyword
        elif token.kind in ("word", "name"):
            text = "_"
        elif token.kind in ("string", "number"):
            text = "#"
        elif token.text in ".;":
            continue
        else:
            text = token.text
        if text == "AS" or (text == "_" and kept and kept[-1] == "_"):
            continue  # an alias, or a name behind its table's
        if text == "_" and kept[-2:] == ["_", ","]:
            kept.pop()  # a list of names is a name
            continue
        kept.append(text)
    return " ".join(kept)


def _terms(asked: Sequence[str]) -> set[str]:
    return {*asked, *(f"{a} {b}" for a, b in pairwise(asked))}

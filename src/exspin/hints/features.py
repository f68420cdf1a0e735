"""What a linker looks at: for a question and a schema, a row of numbers for each column and each table.

Axes in names: Q words of the question, V words of the schema, C columns, T tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exspin.hints.folding import fold, words
from exspin.hints.likeness import STOP_WORDS, stem
from exspin.hints.link import Item
from exspin.hints.schema_view import (
    Floats,
    Ints,
    SchemaView,
    max_by_table,
    rank,
    rest_max,
    second_by_table,
)

QUESTION_WORDS = 80  # that are read, evidence included
_CHARACTERS_READ = 20_000
_ALIKE = 0.6  # from here on a word of the question stands for a word of the schema

_FLAGS = {
    "how many": r"\bhow many\b|\bnumber of\b|\bcount\b",
    "when": r"\bwhen\b|\bdates?\b|\byears?\b|\bmonths?\b|\bdays?\b|\btime\b",
    "where": r"\bwhere\b|\blocat|\bcit(?:y|ies)\b|\bcountr",
    "who": r"\bwho\b|\bwhose\b|\bpeople\b|\bnames?\b",
    "most": r"\w{3}est\b|\bmost\b|\bleast\b|\btop\b|\bmaximum\b|\bminimum\b|\bmax\b|\bmin\b|\border|\bsort|\bdescending|\bascending",
    "average": r"\baverage\b|\bmean\b|\bsum\b|\btotal\b",
    "compared": r"\bmore than\b|\bless than\b|\w{2}er than\b|\bat least\b|\bover\b|\babove\b|\bbelow\b|\bbetween\b|\bgreater\b",
    "each": r"\beach\b|\bevery\b|\bper\b|\bdifferent\b|\bdistinct\b",
    "number": r"\b\d",
    "quoted": r"['\"“‘`]\w",
    "not": r"\bnot\b|\bno\b|\bnever\b|\bwithout\b|n't\b",
    "all": r"\ball (?:the )?(?:info|detail|data|record)|\binformation\b|\bdetails\b|\beverything\b",
}
_FLAG_PATTERNS = [re.compile(pattern, re.IGNORECASE) for pattern in _FLAGS.values()]


@dataclass(frozen=True)
class Asked:
    """A question against a schema: what columns and tables are looked at by, before anything learned."""

    stems: list[str]
    known: NDArray[np.bool_]  # Q: is the word one of the schema's?
    columns: Floats  # C, features
    tables: Floats  # T, features
    explained: Floats  # Q, T: how well a table or a column of it explains each telling word
    alike: Floats  # Q, C: how well each column does


def asked_text(question: str, evidence: str) -> str:
    """The question with its evidence behind it: what values are looked for in, too."""
    return f"{question}\n{evidence}".rstrip()


def read_question(
    view: SchemaView, question: str, evidence: str = "", hits: Mapping[Item, float] | None = None
) -> Asked:
    """Look a question up in a schema. `hits`: what `Values.hits` says."""
    text = asked_text(question, evidence)[:_CHARACTERS_READ]
    asked = [fold(word) for word in words(text)[:QUESTION_WORDS]] or ["_"]
    telling = np.array([word not in STOP_WORDS for word in asked])
    rows, spelled = zip(*(view.alike(word) for word in asked), strict=True)
    alike_QV = np.stack(rows)
    alike_QV *= np.where(telling, 1.0, 0.15)[:, None].astype(np.float32)
    best_V = alike_QV.max(0)
    strict_V = np.where(best_V >= 0.89, best_V, 0)
    n_columns = len(view.items)
    spelled_CT = np.minimum(
        1, np.stack(list(dict(zip(asked, spelled, strict=True)).values())).sum(0)
    )

    joined = " " + " ".join(asked) + " "
    columns = _Names(
        view.of_columns, view.padded_columns, view.heads, view.phrases, spelled_CT[:n_columns]
    ).features(alike_QV, best_V, strict_V, joined)
    tables = _Names(
        view.of_tables,
        view.padded_tables,
        view.table_heads,
        view.table_phrases,
        spelled_CT[n_columns:],
    ).features(alike_QV, best_V, strict_V, joined)

    vocabulary = best_V[:-1]
    own = view.of_own @ vocabulary
    has_own = view.of_own.any(1)
    hit = np.zeros(n_columns, np.float32)
    for item, surety in (hits or {}).items():
        if item in view.number:
            hit[view.number[item]] = surety
    flags = np.array([pattern.search(text) is not None for pattern in _FLAG_PATTERNS], np.float32)
    unexplained = float((alike_QV.max(1)[telling] < _ALIKE).sum())
    of_question = [
        *flags,
        len(asked),
        unexplained,
        unexplained / max(1, telling.sum()),
        len(view.tables),
        n_columns,
    ]
    of_table = view.table_of
    hit_tables = max_by_table(view, hit)
    own_tables = max_by_table(view, own)
    score: Floats = columns.matrix[:, 0] + columns.matrix[:, 1] + 0.5 * columns.matrix[:, 5] + hit
    score_tables = tables.matrix[:, 0] + tables.matrix[:, 1] + 0.5 * tables.matrix[:, 5]
    distance = np.abs(columns.place - tables.place[of_table])
    distance[(columns.place < 0) | (tables.place[of_table] < 0)] = 30
    after = (columns.place > tables.place[of_table]) & (distance < 30)
    column_features = np.column_stack(
        [
            columns.matrix,
            own,
            has_own & (own > 0),
            view.of_comments @ vocabulary,
            hit,
            hit - rest_max(hit),
            (hit > 0.5).sum() * np.ones(n_columns),
            hit_tables[of_table],
            score - rest_max(score),
            score - max_by_table(view, score)[of_table],
            (rank(score)),
            tables.matrix[of_table][:, [0, 1, 2, 3, 5, 6]],
            score_tables[of_table] - (score_tables.max() if len(score_tables) else 0),
            distance,
            after,
            view.static_columns,
            np.broadcast_to(of_question, (n_columns, len(of_question))),
        ]
    ).astype(np.float32)
    best_columns = max_by_table(view, score)
    explained_QT = np.zeros((len(asked), len(view.tables)), np.float32)
    for t, (start, size) in enumerate(zip(view.starts, view.sizes, strict=True)):
        if size:
            explained_QT[:, t] = columns.alike_QN[:, start : start + size].max(1)
    explained_QT = np.maximum(explained_QT, tables.alike_QN)
    table_features = np.column_stack(
        [
            tables.matrix,
            view.of_table_comments @ vocabulary,
            hit_tables,
            hit_tables - rest_max(hit_tables),
            own_tables,
            own_tables - rest_max(own_tables),
            best_columns,
            best_columns - rest_max(best_columns),
            second_by_table(view, score),
            _neighbour_max(view, score_tables),
            _neighbour_max(view, best_columns),
            _neighbour_max(view, hit_tables),
            score_tables - rest_max(score_tables),
            rank(score_tables),
            _only_here(explained_QT, telling),
            explained_QT[telling].sum(0) / max(1, telling.sum()),
            view.static_tables,
            np.broadcast_to(of_question, (len(view.tables), len(of_question))),
        ]
    ).astype(np.float32)
    known = alike_QV[:, :-1].max(1) >= 0.89 if len(view.vocabulary) else telling & False
    return Asked(
        [stem(word) for word in asked],
        known,
        column_features,
        table_features,
        explained_QT[telling],
        columns.alike_QN[telling],
    )


@dataclass
class _Found:
    matrix: Floats
    place: NDArray[Any]  # N: where in the question the name's best word is; -1: nowhere
    alike_QN: Floats


@dataclass(frozen=True)
class _Names:
    """N names of columns or of tables."""

    shares: Floats
    padded: Ints
    heads: Ints
    phrases: list[str]
    spelled: Floats

    def features(self, alike_QV: Floats, best_V: Floats, strict_V: Floats, joined: str) -> _Found:
        n = len(self.phrases)
        strict, fuzzy = self.shares @ strict_V[:-1], self.shares @ best_V[:-1]
        alike_QN = alike_QV[:, self.padded].max(2)
        stands = alike_QN >= _ALIKE
        sharing_Q = np.maximum(1, stands.sum(1))
        place = np.where(stands.any(0), alike_QN.argmax(0), -1)
        # A word that a better name explains speaks less for this one.
        best_Q = np.where(stands, fuzzy[None, :], 0).max(1) if n else np.zeros(len(alike_QN))
        lost = np.where(stands, best_Q[:, None] - fuzzy[None, :], 9).min(0)
        phrase = np.array([p in joined for p in self.phrases], np.float32)
        matrix = np.column_stack(
            [
                strict,
                fuzzy,
                best_V[self.heads],
                best_V[self.padded[:, 0]] if n else strict,
                phrase,
                self.spelled,
                (stands / sharing_Q[:, None]).sum(0),
                np.where(lost < 9, lost, -1),
                place / max(1, len(alike_QN)),
                fuzzy - rest_max(fuzzy),
                (fuzzy >= fuzzy.max() - 1e-6).sum() * np.ones(n) if n else strict,
                stands.sum(0),
            ]
        ).astype(np.float32)
        return _Found(matrix, place, alike_QN)


def _neighbour_max(view: SchemaView, values: NDArray[Any]) -> NDArray[Any]:
    if not len(values):
        return values
    found: NDArray[Any] = np.where(view.neighbours, values[None, :], 0).max(1)
    return found


def _only_here(explained_QT: Floats, telling: NDArray[Any]) -> NDArray[Any]:
    """For each table: telling words of the question that it explains better than every other."""
    if explained_QT.shape[1] < 2:
        found: NDArray[Any] = (explained_QT[telling] >= _ALIKE).sum(0)
        return found
    top = np.sort(explained_QT, 1)
    best, second = top[:, -1:], top[:, -2:-1]
    only = (explained_QT >= best) & (explained_QT >= _ALIKE) & (second < best)
    found = only[telling].sum(0)
    return found

"""Train a linker on questions with gold SQL, and score training questions by linkers that did not see them.

What a later step learns from an earlier one comes from models that did not see the question: associations and tables'
probabilities are made fold by fold, and folds hold whole databases where there are enough, since a linker's work is a
schema it has not seen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exspin.errors import DataError, MissingExtra
from exspin.hints.associations import Pairs, column_pairs, learn_weights, table_pairs
from exspin.hints.context import column_context, table_associations, table_neighbours
from exspin.hints.features import Asked, asked_text, read_question
from exspin.hints.labels import Used, used_items
from exspin.hints.learned import LearnedLinker, Model, score_asked
from exspin.hints.link import LinkScores
from exspin.hints.schema_view import SchemaView
from exspin.hints.trees import Growth, Trees, grow
from exspin.ledger import digest_bytes
from exspin.records import Example
from exspin.sql.schema import Schema

if TYPE_CHECKING:
    from exspin.hints.values import Values

MOST_EXAMPLES = 7_000  # learned from; more of them cost time and teach little
FOLDS = 3
_ENOUGH = 3  # databases for each fold, to fold by database
_TABLE_TREES = Growth(count=80, rate=0.1, leaves=8, samples=60)
_COLUMN_TREES = Growth(count=100, rate=0.12, leaves=24, samples=40)
_UNUSED_KEPT = (
    0.4  # the share of unused columns that the columns' trees learn from, with weights to match
)

Floats = NDArray[np.float32]
Labels = NDArray[np.bool_]


@dataclass(frozen=True)
class _Question:
    """One question, looked up in its schema."""

    view: SchemaView
    asked: Asked
    columns: Pairs
    tables: Pairs
    used_columns: Labels
    used_tables: Labels


def train_linker(
    examples: Sequence[Example],
    schemas: Mapping[str, Schema],
    values: Mapping[str, Values] | None = None,
    *,
    dialects: Mapping[str, str] | None = None,
    seed: int = 0,
) -> LearnedLinker:
    """Train on these examples, 7,000 at most; `schemas`, `values` and `dialects` (sqlglot's; else SQLite's) by db_id.

    The same result for the same input and seed. Golds that cannot be read are left out and counted in `trained_on`.
    Raises `DataError` where nothing is left, `MissingExtra` where scikit-learn is not installed.
    """
    _check_installed()
    chosen = _chosen(examples, seed)
    labels = [_labels(example, schemas, dialects) for example in chosen]
    told = [(e, used) for e, used in zip(chosen, labels, strict=True) if used is not None]
    if not told:
        raise DataError(
            f"none of {len(chosen)} gold queries can be read: nothing to train a linker on"
        )
    reader = _Reader(schemas, values)
    questions = [reader.read(example, used) for example, used in told]
    model = _train(questions, _folds([e for e, _ in told], FOLDS, seed), seed)
    trained_on = {
        "questions": len(told),
        "databases": len({e.db_id for e, _ in told}),
        "unread": len(chosen) - len(told),
        "seed": seed,
    }
    return LearnedLinker(model, trained_on)


def out_of_fold(
    examples: Sequence[Example],
    schemas: Mapping[str, Schema],
    values: Mapping[str, Values] | None = None,
    *,
    dialects: Mapping[str, str] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> list[LinkScores]:
    """Scores for every example, in order, by a linker that saw neither its gold nor, where there are enough databases, any
    of its database. Otherwise as `train_linker`; examples that it would leave out are scored all the same."""
    _check_installed()
    number = _folds(examples, folds, seed)
    reader = _Reader(schemas, values)
    learned_from = {example.example_id for example in _chosen(examples, seed)}
    teachers: list[tuple[int, _Question]] = []
    for i, example in enumerate(examples):
        if example.example_id in learned_from and (used := _labels(example, schemas, dialects)):
            teachers.append((i, reader.read(example, used)))
    found: list[LinkScores | None] = [None] * len(examples)
    for held in range(folds):
        own = [i for i, n in enumerate(number) if n == held]
        others = [(examples[i], question) for i, question in teachers if number[i] != held]
        if own and not others:
            raise DataError(
                f"{len(examples)} examples: too few to score each by a linker trained on others"
            )
        inner = _folds([example for example, _ in others], FOLDS, seed)
        model = _train([question for _, question in others], inner, seed)
        for i in own:
            view, asked = reader.look(examples[i])
            found[i] = score_asked(model, view, asked)
    return [scores for scores in found if scores is not None]


def _check_installed() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingExtra("training a linker", "scikit-learn", "train") from error


def _chosen(examples: Sequence[Example], seed: int) -> list[Example]:
    """At most so many examples, spread over the databases, in their order."""
    if len(examples) <= MOST_EXAMPLES:
        return list(examples)
    by_database: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for i, example in enumerate(examples):
        by_database[example.db_id].append((_shuffled(f"{seed}/{example.example_id}"), i))
    turns = sorted(
        (turn, _shuffled(f"{seed}/{name}"), i)
        for name, found in by_database.items()
        for turn, (_, i) in enumerate(sorted(found))
    )
    return [examples[i] for i in sorted(i for _, _, i in turns[:MOST_EXAMPLES])]


def _shuffled(text: str) -> str:
    return digest_bytes(text.encode("utf-8", "surrogatepass"))


def _folds(examples: Sequence[Example], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each example: whole databases where there are three for each fold, else questions."""
    sizes = Counter(example.db_id for example in examples)
    if len(sizes) >= _ENOUGH * folds:
        filled = [0] * folds
        of: dict[str, int] = {}
        for name in sorted(sizes, key=lambda n: (-sizes[n], _shuffled(f"{seed}/{n}"))):
            of[name] = filled.index(min(filled))
            filled[of[name]] += sizes[name]
        return np.array([of[example.db_id] for example in examples])
    # Questions that differ in case and spacing alone go together, so that none is its own teacher.
    keys = [(e.db_id, " ".join(e.question.split()).casefold()) for e in examples]
    order = sorted(set(keys), key=lambda key: _shuffled(f"{seed}/{key[0]}/{key[1]}"))
    place = {key: i % folds for i, key in enumerate(order)}
    return np.array([place[key] for key in keys])


def _labels(
    example: Example, schemas: Mapping[str, Schema], dialects: Mapping[str, str] | None
) -> Used | None:
    dialect = (dialects or {}).get(example.db_id, "sqlite")
    return used_items(example.query, schemas[example.db_id], dialect)


class _Reader:
    """Looks questions up in their schemas."""

    def __init__(self, schemas: Mapping[str, Schema], values: Mapping[str, Values] | None) -> None:
        self._schemas = schemas
        self._values = values or {}
        self._views: dict[str, SchemaView] = {}

    def look(self, example: Example) -> tuple[SchemaView, Asked]:
        """A question as the linker sees it."""
        if example.db_id not in self._views:
            self._views[example.db_id] = SchemaView(self._schemas[example.db_id])
        view, values = self._views[example.db_id], self._values.get(example.db_id)
        hits = values.hits(asked_text(example.question, example.evidence)) if values else None
        return view, read_question(view, example.question, example.evidence, hits)

    def read(self, example: Example, used: Used) -> _Question:
        """A question to learn from."""
        view, asked = self.look(example)
        return _Question(
            view,
            asked,
            column_pairs(view, asked),
            table_pairs(view, asked),
            np.array([item in used.columns for item in view.items], bool),
            np.array([table in used.tables for table in view.tables], bool),
        )


def _train(questions: Sequence[_Question], folds: NDArray[np.int64], seed: int) -> Model:
    """All steps; `folds` gives each question's."""
    of_columns = np.concatenate([q.used_columns for q in questions])
    of_tables = np.concatenate([q.used_tables for q in questions])
    rows_C = np.repeat(np.arange(len(questions)), [len(q.used_columns) for q in questions])
    rows_T = np.repeat(np.arange(len(questions)), [len(q.used_tables) for q in questions])

    def weights(pairs: Sequence[Pairs], used: Labels) -> Callable[[NDArray[np.int64]], Floats]:
        parts = np.split(used, np.cumsum([len(p.numbers) for p in pairs])[:-1])

        def learn(chosen: NDArray[np.int64]) -> Floats:
            rows = np.concatenate([parts[i] for i in chosen])
            return learn_weights([pairs[i] for i in chosen.tolist()], rows, seed)

        return learn

    column_weights, columns = _associations(
        [q.columns for q in questions], weights([q.columns for q in questions], of_columns), folds
    )
    table_weights, tables = _associations(
        [q.tables for q in questions], weights([q.tables for q in questions], of_tables), folds
    )
    features = np.concatenate(
        [
            np.concatenate([q.asked.tables, table_associations(q.view, c, t)], 1)
            for q, c, t in zip(questions, columns, tables, strict=True)
        ]
    )
    first, found = _grown(features, of_tables, folds[rows_T], _TABLE_TREES, seed)
    ends = np.cumsum([len(t) for t in tables])[:-1]
    context = [
        table_neighbours(q.view, p, q.asked.explained)
        for q, p in zip(questions, np.split(found, ends), strict=True)
    ]
    features = np.concatenate([features, np.concatenate(context)], 1)
    second, found = _grown(features, of_tables, folds[rows_T], _TABLE_TREES, seed)
    features = np.concatenate(
        [
            np.concatenate([q.asked.columns, column_context(q.view, c, p, q.asked.alike)], 1)
            for q, c, p in zip(questions, columns, np.split(found, ends), strict=True)
        ]
    )
    kept = of_columns | (np.random.default_rng(seed).random(len(rows_C)) < _UNUSED_KEPT)
    weight = np.where(of_columns, 1, 1 / _UNUSED_KEPT)[kept].astype(np.float32)
    third = grow(features[kept], of_columns[kept], _COLUMN_TREES, seed, weight)
    return Model(column_weights, table_weights, first, second, third)


def _associations(
    pairs: Sequence[Pairs], learn: Callable[[NDArray[np.int64]], Floats], folds: NDArray[np.int64]
) -> tuple[Floats, list[Floats]]:
    """Weights learned from all, and each question's scores by weights learned without its fold."""
    scores: list[Floats] = [np.zeros(0, np.float32)] * len(pairs)
    for held in np.unique(folds):
        others = np.flatnonzero(folds != held)
        weights = learn(others) if len(others) else None
        for i in np.flatnonzero(folds == held).tolist():
            own = pairs[i]
            scores[i] = (
                np.zeros(len(own.numbers), np.float32) if weights is None else own.score(weights)
            )
    return learn(np.arange(len(pairs))), scores


def _grown(
    features: Floats, used: Labels, folds: NDArray[np.int64], growth: Growth, seed: int
) -> tuple[Trees, Floats]:
    """Trees grown from all rows, and each row's probability by trees grown without its fold."""
    found = np.full(len(used), used.mean(), np.float32)
    for held in np.unique(folds):
        own = folds == held
        if not own.all():
            found[own] = grow(features[~own], used[~own], growth, seed).probabilities(features[own])
    return grow(features, used, growth, seed), found

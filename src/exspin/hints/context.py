"""What the other items of a schema say of one: scores of the other columns and tables, of its own table, of its neighbours.

Three looks, each at what the ones before it found: tables by what is associated with them and their columns, tables by
their neighbours' probabilities, columns by their tables' probabilities. Axes: C columns, T tables.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exspin.hints.schema_view import SchemaView, max_by_table, rank, rest_max, second_by_table

Floats = NDArray[np.float32]

_NOTHING = -9.0  # where there is no other to compare with


def table_associations(view: SchemaView, columns_C: Floats, tables_T: Floats) -> Floats:
    """T, 7: what associations say of each table, its columns and its neighbours."""
    best = max_by_table(view, columns_C, _NOTHING)
    return np.column_stack(
        [
            tables_T,
            tables_T - rest_max(tables_T, _NOTHING),
            best,
            best - rest_max(best, _NOTHING),
            second_by_table(view, columns_C, _NOTHING),
            _neighbours(view, tables_T, _NOTHING),
            _neighbours(view, best, _NOTHING),
        ]
    ).astype(np.float32)


def table_neighbours(view: SchemaView, probabilities_T: Floats, explained_QT: Floats) -> Floats:
    """T, 11: each table among the others by probability, whether it stands between likely ones, and what of the question
    only it explains: a word that a likelier table explains as well is no reason for this one."""
    p = probabilities_T
    if not len(p):
        return np.zeros((0, 11), np.float32)
    near = np.where(view.neighbours, p[None, :], 0)
    near.sort(1)
    first = near[:, -1]
    second = near[:, -2] if len(p) > 1 else np.zeros(len(p))
    far = np.where(view.second_neighbours, p[None, :], 0).max(1)
    needed, others = _needed(explained_QT, p)
    return np.column_stack(
        [
            p,
            p - rest_max(p),
            rank(p),
            first,
            second,
            first * second,
            far,
            np.full(len(p), p.sum()),
            needed.sum(0),
            needed.max(0, initial=0),
            others.max(0, initial=0),
        ]
    ).astype(np.float32)


def _needed(alike_QN: Floats, probabilities_N: Floats) -> tuple[Floats, Floats]:
    """Q, N: how much better each explains a word than all others, likely ones more; and how well the others do."""
    held = alike_QN * probabilities_N
    best, second = _two_best(held)
    others: Floats = np.where(held >= best, second, best)
    return np.maximum(0, alike_QN - others), others


def _two_best(values: Floats) -> tuple[Floats, Floats]:
    """The largest and the second largest of each row, as columns; 0 where there is no second."""
    if values.shape[1] < 2:
        return values, np.zeros_like(values)
    top = np.partition(values, -2, axis=1)
    return top[:, -1:], top[:, -2:-1]


def column_context(
    view: SchemaView, columns_C: Floats, probabilities_T: Floats, alike_QC: Floats
) -> Floats:
    """C, 13: what associations say of each column beside others, how likely its table and joined tables are, and what of
    the question only it explains."""
    p, of = probabilities_T, view.table_of
    best = max_by_table(view, columns_C, _NOTHING)
    needed, others = _needed(alike_QC, p[of])
    partner = np.zeros(len(columns_C), np.float32)
    if len(view.joined_columns):
        a, b = view.joined_columns.T
        np.maximum.at(partner, a, p[of[b]])
        np.maximum.at(partner, b, p[of[a]])
    return np.column_stack(
        [
            columns_C,
            columns_C - rest_max(columns_C, _NOTHING),
            columns_C - best[of],
            p[of],
            (p - rest_max(p))[of],
            rank(p)[of],
            _neighbours(view, p, 0)[of],
            np.full(len(columns_C), p.sum()),
            partner,
            np.minimum(partner, p[of]),
            needed.sum(0),
            needed.max(0, initial=0),
            others.max(0, initial=0),
        ]
    ).astype(np.float32)


def _neighbours(view: SchemaView, values_T: Floats, nothing: float) -> Floats:
    if not len(values_T):
        return values_T
    found: Floats = np.where(view.neighbours, values_T[None, :], np.float32(nothing)).max(1)
    return found

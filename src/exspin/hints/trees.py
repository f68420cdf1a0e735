"""Boosted trees: grown by scikit-learn, read with NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_ROWS = 4096  # looked up at a time: bounds memory for wide schemas


@dataclass(frozen=True)
class Trees:
    """All nodes of all trees in one row of arrays. A leaf points to itself."""

    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float32]
    roots: NDArray[np.int32]
    depth: NDArray[np.int32]  # one number: the longest way down
    bias: NDArray[np.float32]  # one number

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """For N rows of features, N probabilities."""
        found = [self._some(features[i : i + _ROWS]) for i in range(0, len(features), _ROWS)]
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def _some(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        n, width = features.shape
        flat, begin = features.ravel(), (np.arange(n) * width)[:, None]
        node = np.broadcast_to(self.roots, (n, len(self.roots)))
        for _ in range(int(self.depth[0])):
            goes_left = flat[begin + self.feature[node]] <= self.threshold[node]
            node = np.where(goes_left, self.left[node], self.right[node])
        raw = self.value[node].sum(1, dtype=np.float64) + float(self.bias[0])
        found: NDArray[np.float32] = (1 / (1 + np.exp(-raw))).astype(np.float32)
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Raises `ValueError` where the arrays do not make trees."""
        found = cls(**{f.name: np.asarray(arrays[f.name]) for f in fields(cls)})
        nodes = len(found.feature)
        same = all(len(a) == nodes for a in (found.threshold, found.left, found.right, found.value))
        inside = all(
            a.size == 0 or (a.min() >= 0 and a.max() < nodes)
            for a in (found.left, found.right, found.roots)
        )
        if not (
            same and inside and found.feature.min(initial=0) >= 0 and 0 <= found.depth[0] < 100
        ):
            raise ValueError("these arrays are no trees")
        return found


@dataclass(frozen=True)
class Growth:
    """How trees are grown."""

    count: int
    rate: float
    leaves: int
    samples: int  # in a leaf, at least


def grow(
    features: NDArray[np.float32],
    used: NDArray[np.bool_],
    growth: Growth,
    seed: int,
    weights: NDArray[np.float32] | None = None,
) -> Trees:
    """Boosted trees for the probability of `used`. Deterministic by seed.

    Rows in which all labels are one make trees that always say so.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    if used.all() or not used.any():
        return _constant(0.999 if used.any() else 0.001)
    model = HistGradientBoostingClassifier(
        max_iter=growth.count,
        learning_rate=growth.rate,
        max_leaf_nodes=growth.leaves,
        max_depth=8,
        min_samples_leaf=growth.samples,
        l2_regularization=10,
        max_bins=127,
        early_stopping=False,
        random_state=seed,
    )
    model.fit(features, used, sample_weight=weights)
    return _read(model, features)


def _read(model: Any, features: NDArray[np.float32]) -> Trees:
    """The trees of a fitted model. Their layout is scikit-learn's own affair, so the first rows are compared with it."""
    nodes = [grown.nodes for (grown,) in model._predictors]
    starts = np.concatenate([[0], np.cumsum([len(n) for n in nodes])]).astype(np.int32)
    every = np.concatenate(nodes)
    own = np.arange(len(every), dtype=np.int32)
    start = np.repeat(starts[:-1], [len(n) for n in nodes])
    leaf = every["is_leaf"].astype(bool)
    threshold = every["num_threshold"].astype(np.float32)
    # Rounded down: a feature is a float32, and none lies between the threshold and its rounding.
    above = threshold > every["num_threshold"]
    threshold[above] = np.nextafter(threshold[above], np.float32(-np.inf))
    found = Trees(
        feature=np.where(leaf, 0, every["feature_idx"]).astype(np.int32),
        threshold=np.where(leaf, 0, threshold).astype(np.float32),
        left=np.where(leaf, own, every["left"] + start).astype(np.int32),
        right=np.where(leaf, own, every["right"] + start).astype(np.int32),
        value=np.where(leaf, every["value"], 0).astype(np.float32),
        roots=starts[:-1],
        depth=np.array([int(every["depth"].max())], np.int32),
        bias=np.array([float(np.ravel(model._baseline_prediction)[0])], np.float32),
    )
    some = features[:256]
    if not np.allclose(found.probabilities(some), model.predict_proba(some)[:, 1], atol=1e-4):
        raise AssertionError("the trees of this version of scikit-learn are read wrongly")
    return found


def _constant(probability: float) -> Trees:
    zero = np.zeros(1, np.int32)
    logit = np.log(probability / (1 - probability))
    nothing = np.zeros(1, np.float32)
    return Trees(zero, nothing, zero, zero, nothing, zero, zero, np.array([logit], np.float32))

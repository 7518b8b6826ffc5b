"""A random forest as plain arrays: grown by scikit-learn, walked by a kernel, stored without any code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from napari_marrow.errors import ModelError
from napari_marrow.segmentation.threads import in_chunks

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

_LEAST_PIXELS = 4096


@dataclass(frozen=True)
class Forest:
    """Trees, one after the other; the children of a node come after it.

    Attributes
    ----------
    roots : int32 array, shape (trees,)
        First node of each tree.
    feature : int32 array, shape (nodes,)
        Feature that a node asks for, -1 in a leaf.
    threshold : float32 array, shape (nodes,)
        Pixels up to it go left.
    left, right : int32 array, shape (nodes,)
        Children; in a leaf both are 0.
    probability : float32 array, shape (nodes, classes)
        Of the training pixels that reached a leaf; 0 elsewhere.
    """

    roots: Ints
    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    probability: Floats

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.probability.shape[1])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays by name."""
        return {name: getattr(self, name) for name in _DTYPES}

    def probabilities(self, features: Floats, *, threads: int = 1) -> Floats:
        """Return the mean over trees of each class's share in the leaf that a pixel reaches.

        Parameters
        ----------
        features : float32 array, shape (features, n)
        threads : int

        Returns
        -------
        float32 array, shape (classes, n)
        """
        out = np.zeros((self.n_classes, features.shape[1]), dtype=np.float32)

        def walk(start: int, stop: int) -> None:
            _walk(self.roots, self.feature, self.threshold, self.left, self.right, self.probability, features, out,
                  start, stop)  # fmt: skip

        in_chunks(walk, features.shape[1], threads, least=_LEAST_PIXELS)
        return out

    @classmethod
    def from_sklearn(cls, trained: Any) -> Forest:
        """Return the trees of a `sklearn.ensemble.RandomForestClassifier` of one output."""
        parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _DTYPES}
        first = 0
        for estimator in trained.estimators_:
            tree = estimator.tree_
            leaf = tree.children_left < 0
            shares = tree.value[:, 0, :]
            parts["roots"].append(np.array([first], dtype=np.int32))
            parts["feature"].append(np.where(leaf, -1, tree.feature).astype(np.int32))
            parts["threshold"].append(_rounded_down(np.where(leaf, 0.0, tree.threshold)))
            parts["left"].append(np.where(leaf, 0, tree.children_left + first).astype(np.int32))
            parts["right"].append(np.where(leaf, 0, tree.children_right + first).astype(np.int32))
            parts["probability"].append(
                np.where(leaf[:, None], shares / shares.sum(axis=1, keepdims=True), 0).astype(np.float32)
            )
            first += tree.node_count
        return cls(**{name: np.concatenate(arrays) for name, arrays in parts.items()})

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[Any]], *, n_features: int, n_classes: int, name: str
    ) -> Forest:
        """Return a forest from stored arrays after checking that walking it ends, and within bounds.

        Raises
        ------
        ModelError
            If an array is missing, of another kind, or says something impossible.
        """
        missing = sorted(set(_DTYPES) ^ set(arrays))
        if missing:
            raise ModelError(f"{name} is no pixel classifier: its arrays are not {', '.join(_DTYPES)}.")
        for key, dtype in _DTYPES.items():
            if arrays[key].dtype != dtype or arrays[key].ndim != (2 if key == "probability" else 1):
                raise ModelError(f"{name} is no pixel classifier: its array '{key}' is of another kind.")
        forest = cls(**{key: np.ascontiguousarray(arrays[key]) for key in _DTYPES})
        fault = forest._fault(n_features, n_classes)
        if fault:
            raise ModelError(f"{name} is a damaged pixel classifier: {fault}.")
        return forest

    def _fault(self, n_features: int, n_classes: int) -> str:
        n = len(self.feature)
        if not n or len(self.roots) == 0 or {len(self.threshold), len(self.left), len(self.right)} != {n}:
            return "its trees have arrays of different lengths"
        if self.probability.shape != (n, n_classes):
            return f"it gives {self.probability.shape[-1]} probabilities for {n_classes} classes"
        inner = self.feature >= 0
        here = np.arange(n)
        if self.feature.min() < -1 or self.feature.max() >= n_features:
            return "a node asks for a feature that there is not"
        if self.roots.min() < 0 or self.roots.max() >= n:
            return "a tree begins outside of it"
        for child in (self.left, self.right):
            if (child[inner] <= here[inner]).any() or (child[inner] >= n).any():
                return "a tree leads in a circle or out of it"
        if not np.isfinite(self.threshold).all() or not np.isfinite(self.probability).all():
            return "it holds values that are not finite"
        sums = self.probability[~inner].sum(axis=1)
        if self.probability.min() < 0 or (sums.size and np.abs(sums - 1).max() > 1e-3):
            return "its probabilities do not add up to 1"
        return ""


_DTYPES: dict[str, np.dtype[Any]] = {
    "roots": np.dtype(np.int32),
    "feature": np.dtype(np.int32),
    "threshold": np.dtype(np.float32),
    "left": np.dtype(np.int32),
    "right": np.dtype(np.int32),
    "probability": np.dtype(np.float32),
}


def _rounded_down(threshold: npt.NDArray[np.float64]) -> Floats:
    """Return the largest float32 that is no larger: float32 features then fall on the same side as in scikit-learn."""
    single = threshold.astype(np.float32)
    above = single.astype(np.float64) > threshold
    return np.where(above, np.nextafter(single, np.float32(-np.inf)), single).astype(np.float32)


@njit(cache=True, nogil=True)
def _walk(
    roots: Ints,
    feature: Ints,
    threshold: Floats,
    left: Ints,
    right: Ints,
    probability: Floats,
    features: Floats,
    out: Floats,
    start: int,
    stop: int,
) -> None:
    share = np.float32(1.0 / len(roots))
    values = np.empty(features.shape[0], dtype=np.float32)
    for i in range(start, stop):
        for f in range(features.shape[0]):
            values[f] = features[f, i]
        for root in roots:
            node = root
            while feature[node] >= 0:
                node = left[node] if values[feature[node]] <= threshold[node] else right[node]
            for k in range(out.shape[0]):
                out[k, i] += share * probability[node, k]

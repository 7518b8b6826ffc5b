"""Compare predicted labels with true ones: average precision and the Cell Tracking Challenge's SEG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

THRESHOLDS = (0.5, 0.75, 0.9)


@dataclass(frozen=True)
class LabelScore:
    """Agreement of one or many label images with the truth.

    Attributes
    ----------
    thresholds : tuple of float
        Intersections over union at which objects count as found.
    true_positives : tuple of int
        Matched objects, per threshold.
    n_true, n_predicted : int
        Objects.
    jaccard_sum : float
        Sum over true objects of SEG's Jaccard index.
    """

    thresholds: tuple[float, ...]
    true_positives: tuple[int, ...]
    n_true: int
    n_predicted: int
    jaccard_sum: float

    @property
    def average_precision(self) -> dict[float, float]:
        """TP / (TP + FP + FN) per threshold; NaN where neither side has an object."""
        total = self.n_true + self.n_predicted
        return {
            t: tp / (total - tp) if total else float("nan")
            for t, tp in zip(self.thresholds, self.true_positives, strict=True)
        }

    @property
    def seg(self) -> float:
        """Mean Jaccard index of true objects with the predicted one that covers more than half of each; NaN without."""
        return self.jaccard_sum / self.n_true if self.n_true else float("nan")


def score_labels(
    truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], *, thresholds: Sequence[float] = THRESHOLDS
) -> LabelScore:
    """Score predicted labels of a plane or volume.

    Parameters
    ----------
    truth, predicted : integer arrays of the same shape
        0 is background; labels need not be consecutive.
    thresholds : sequence of float
        Intersections over union.

    Returns
    -------
    LabelScore

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    Average precision as Cellpose and StarDist define it, TP/(TP+FP+FN), with an optimal matching. SEG as in the Cell
    Tracking Challenge (Maška et al. 2014, Bioinformatics 30:1609).
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"Labels of shape {predicted.shape} cannot be scored against a truth of shape {truth.shape}.")
    a, b, common, size_a, size_b = _overlaps(truth, predicted)
    iou = common / (size_a[a] + size_b[b] - common)
    jaccard = float(iou[2 * common > size_a[a]].sum())
    matched = tuple(_count_matches(a, b, iou, threshold) for threshold in thresholds)
    return LabelScore(tuple(thresholds), matched, size_a.size, size_b.size, jaccard)


def pool_scores(scores: Iterable[LabelScore]) -> LabelScore:
    """Return the score of many images taken together: counts are added before ratios are formed.

    Raises
    ------
    ValueError
        If there is none, or they have different thresholds.
    """
    many = list(scores)
    if not many or any(s.thresholds != many[0].thresholds for s in many):
        raise ValueError("Scores to be pooled must be at least one and have the same thresholds.")
    positives = np.sum([s.true_positives for s in many], axis=0)
    return LabelScore(
        many[0].thresholds,
        tuple(int(n) for n in positives),
        sum(s.n_true for s in many),
        sum(s.n_predicted for s in many),
        float(sum(s.jaccard_sum for s in many)),
    )


def _overlaps(
    truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer]
) -> tuple[
    npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]
]:
    """Return overlapping pairs (index a, index b, pixels) and the sizes of both sides' objects."""
    labels_a, size_a = _sizes(truth)
    labels_b, size_b = _sizes(predicted)
    both = (truth > 0) & (predicted > 0)
    a = np.searchsorted(labels_a, truth[both])
    b = np.searchsorted(labels_b, predicted[both])
    pairs, common = np.unique(a * max(labels_b.size, 1) + b, return_counts=True)
    width = max(labels_b.size, 1)
    return pairs // width, pairs % width, common.astype(np.int64), size_a, size_b


def _sizes(labels: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.int64]]:
    values, counts = np.unique(labels, return_counts=True)
    return values[values > 0], counts[values > 0].astype(np.int64)


def _count_matches(
    a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], iou: npt.NDArray[np.float64], threshold: float
) -> int:
    """Return the size of the largest matching with IoU >= threshold."""
    fit = iou >= threshold
    a, b = a[fit], b[fit]
    n_a, n_b = np.unique(a).size, np.unique(b).size
    if n_a == a.size and n_b == b.size:
        return int(a.size)
    # Only at thresholds up to one half can an object have two partners: solve these few groups exactly.
    _, a = np.unique(a, return_inverse=True)
    _, b = np.unique(b, return_inverse=True)
    graph = coo_matrix((np.ones(a.size), (a, b + n_a)), shape=(n_a + n_b, n_a + n_b))
    _, group = connected_components(graph, directed=False)
    matched = 0
    for g in np.unique(group[a]):
        edges = group[a] == g
        rows, row = np.unique(a[edges], return_inverse=True)
        columns, column = np.unique(b[edges], return_inverse=True)
        table = np.zeros((rows.size, columns.size))
        table[row, column] = 1
        matched += int(table[linear_sum_assignment(table, maximize=True)].sum())
    return matched

"""Join the labels of successive planes into labels of a volume."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from napari_marrow.segmentation.row_kernels import count_labels

Labels = npt.NDArray[np.int32]


class PlaneStitcher:
    """Joins planes to a volume as they come, each in place; the last one is held.

    Parameters
    ----------
    threshold : float
        Two labels are joined if their intersection over union is at least this and, for the lower one, the largest of
        all its partners (Cellpose's ``stitch3D``).
    """

    def __init__(self, threshold: float = 0.25) -> None:
        self.threshold = threshold
        self._below: Labels | None = None
        self._top = 0

    def join(self, plane: Labels) -> None:
        """Renumber a plane labelled 1..n in place, so that what continues from the last plane has the same number."""
        if self._below is None:
            self._top = int(plane.max(initial=0))
        else:
            lookup, self._top = _continue(self._below, plane, self._top, self.threshold)
            replace_labels(plane, lookup)
        self._below = plane


def stitch_planes(planes: Labels, *, threshold: float = 0.25) -> Labels:
    """Return a copy in which labels of successive planes that overlap are one label.

    Parameters
    ----------
    planes : int32 array, shape (Z, Y, X)
        Every plane labelled on its own, 1..n.
    threshold : float
        See `PlaneStitcher`.

    Returns
    -------
    int32 array, shape (Z, Y, X)
    """
    out = planes.copy()
    stitcher = PlaneStitcher(threshold)
    for plane in out:
        stitcher.join(plane)
    return out


def keep_large(labels: Labels, min_size: int) -> Labels:
    """Drop, in place, labels of fewer voxels, and number the others 1..n in raster order."""
    counts = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int64)
    for plane in labels:
        count_labels(plane, counts)
    counts[0] = 0
    numbers = np.where(counts >= max(1, min_size), 0, -1).astype(np.int32)
    n = 0
    for plane in labels:
        n = number_kept(plane, numbers, n)
    return labels


@njit(cache=True, nogil=True)
def replace_labels(plane: Labels, lookup: Labels) -> None:
    """Replace every label by its entry in a table."""
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            plane[y, x] = lookup[plane[y, x]]


@njit(cache=True, nogil=True)
def number_kept(plane: Labels, numbers: Labels, n: int) -> int:
    """Replace labels by their numbers: -1 drops a label, 0 gives it the next number. Return the highest number."""
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            k = plane[y, x]
            if k > 0:
                if numbers[k] == 0:
                    n += 1
                    numbers[k] = n
                plane[y, x] = max(numbers[k], 0)
    return n


def _continue(below: Labels, plane: Labels, top: int, threshold: float) -> tuple[Labels, int]:
    """Return the new number of every label of `plane` and the highest number in use."""
    n = int(plane.max(initial=0))
    lookup = np.zeros(n + 1, dtype=np.int32)
    both = (below > 0) & (plane > 0)
    partner = np.zeros(n + 1, dtype=np.int64)
    if both.any():
        pairs, common = np.unique(np.stack([below[both], plane[both]]), axis=1, return_counts=True)
        size_below, size = np.bincount(below.ravel()), np.bincount(plane.ravel())
        iou = common / (size_below[pairs[0]] + size[pairs[1]] - common)
        best_below = np.zeros(size_below.size)
        np.maximum.at(best_below, pairs[0], iou)
        fit = (iou >= threshold) & (iou >= best_below[pairs[0]])
        # Ascending overlap, so that the best partner is written last; equal overlaps: the lower label wins.
        order = np.lexsort((-pairs[0][fit], iou[fit]))
        partner[pairs[1][fit][order]] = pairs[0][fit][order]
    new = np.flatnonzero((partner == 0) & (np.arange(n + 1) > 0) & (np.bincount(plane.ravel(), minlength=n + 1) > 0))
    lookup[:] = partner
    lookup[new] = top + 1 + np.arange(new.size)
    return lookup, top + int(new.size)

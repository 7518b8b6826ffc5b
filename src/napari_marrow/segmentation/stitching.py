"""Join the labels of successive planes into labels of a volume."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int32]


def stitch_planes(planes: Labels, *, threshold: float = 0.25) -> Labels:
    """Return a copy in which labels of successive planes that overlap are one label.

    Parameters
    ----------
    planes : int32 array, shape (Z, Y, X)
        Every plane labelled on its own, 1..n.
    threshold : float
        Two labels are joined if their intersection over union is at least this and, for the lower one, the largest of
        all its partners (Cellpose's ``stitch3D``).

    Returns
    -------
    int32 array, shape (Z, Y, X)
    """
    out = planes.copy()
    top = int(out[0].max(initial=0)) if len(out) else 0
    for z in range(1, len(out)):
        lookup, top = _continue(out[z - 1], planes[z], top, threshold)
        out[z] = lookup[planes[z]]
    return out


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

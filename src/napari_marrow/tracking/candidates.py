"""Candidate pairs by a grid over each frame, or one k-d tree over all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from napari_marrow.tracking.frame_grid import build_grid
from napari_marrow.tracking.points import Detections, Floats, Ints

Flags = npt.NDArray[np.bool_]


class FrameTree:
    """Nearest detections in a frame so many frames later, for all detections in one query.

    A grid finds them fastest. Where places are too uneven for one, the frame number becomes a further coordinate,
    spaced wider than any search radius, and one k-d tree serves all frames.

    Parameters
    ----------
    detections : Detections
    reach : float
        Largest radius that will be asked for.
    rows : (n,) bool, optional
        Only these detections can be found.
    """

    def __init__(self, detections: Detections, reach: float, *, rows: Flags | None = None) -> None:
        self._detections = detections
        self._step = 2.5 * reach + 1e-12
        self._reach = reach
        self._index = np.arange(detections.n) if rows is None else np.flatnonzero(rows)
        self._grid = build_grid(detections.xyz, detections.frame, detections.n_frames, self._index)
        self._tree: cKDTree | None = None
        if self._grid.uneven:
            lifted = np.column_stack([detections.xyz, detections.frame * self._step])
            self._tree = cKDTree(lifted[self._index])

    def pairs(self, gap: int, k: int, predicted: Floats, *, rows: Ints | None = None) -> tuple[Ints, Ints, Floats]:
        """Return (i, j, distance): up to `k` detections `gap` frames later nearest to each predicted position.

        Parameters
        ----------
        gap : int
            Frames ahead (may be 0 or negative).
        k : int
        predicted : (n, d) float64
            Where each detection is expected.
        rows : (m,) int64, optional
            The detections asked for; all by default.

        Returns
        -------
        i, j : (e,) int64
            Sorted by i, then by distance.
        distance : (e,) float64
        """
        detections = self._detections
        asked = np.arange(detections.n) if rows is None else rows
        ahead = detections.frame[asked] + gap
        asked = asked[(ahead >= 0) & (ahead < detections.n_frames)]
        if len(asked) == 0 or len(self._index) == 0:
            none = np.zeros(0, np.int64)
            return none, none, np.zeros(0)
        if self._tree is None:
            row, found, distance = self._grid.nearest(predicted[asked], detections.frame[asked] + gap, k, self._reach)
            return asked[row], found, distance
        lifted = np.column_stack([predicted[asked], (detections.frame[asked] + gap) * self._step])
        distance, place = self._tree.query(lifted, k=np.arange(1, k + 1), distance_upper_bound=self._reach, workers=-1)
        row, column = np.nonzero(np.isfinite(distance))
        return asked[row], self._index[place[row, column]], distance[row, column]

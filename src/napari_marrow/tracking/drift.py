"""Shifts of the whole field between frames: the stage, not the cells."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.spatial import cKDTree

from napari_marrow.tracking.candidates import FrameTree
from napari_marrow.tracking.points import Detections, Floats, Ints

_LEAST_CELLS = 8
_MOST_CELLS = 60  # of a frame that are asked
_NEIGHBOURS = 12


def sudden_shifts(detections: Detections, step: float, spacing: float) -> Floats:
    """Find frames into which the whole field jumped by more than cells step.

    The displacements from every detection to its neighbours in the next frame are laid over each other. Where the field
    jumped they pile up elsewhere than about zero.

    Parameters
    ----------
    detections : Detections
    step : float
        Usual displacement per coordinate.
    spacing : float
        Usual distance between cells: the field is looked for within three of them.

    Returns
    -------
    (frames, d) float64
        Jump into every frame, 0 for none.
    """
    shifts = np.zeros((detections.n_frames, detections.ndim))
    reach = 3.0 * spacing
    rows = np.concatenate(
        [np.arange(a, b, max(1, (b - a) // _MOST_CELLS)) for a, b in pairwise(detections.start.tolist())]
    )
    i, j, _ = FrameTree(detections, reach).pairs(1, _NEIGHBOURS, detections.xyz, rows=rows)
    way = detections.xyz[j] - detections.xyz[i]
    bounds = np.searchsorted(i, detections.start)
    radius = 2.0 * step
    for frame in range(1, detections.n_frames):
        ways = way[bounds[frame - 1] : bounds[frame]]
        cells = len(np.unique(i[bounds[frame - 1] : bounds[frame]]))
        if min(cells, detections.start[frame + 1] - detections.start[frame]) < _LEAST_CELLS:
            continue
        tree = cKDTree(ways)
        still = len(tree.query_ball_point(np.zeros(detections.ndim), radius))
        votes = tree.query_ball_point(ways, radius, return_length=True)
        best = int(np.argmax(votes))
        gained = votes[best] - still
        if gained <= 2.0 * np.sqrt(still + votes[best]) or gained <= 0.25 * cells or np.sum(ways[best] ** 2) <= step**2:
            continue
        centre = ways[best]
        for _ in range(3):
            centre = ways[tree.query_ball_point(centre, radius)].mean(0)
        shifts[frame] = centre
    return shifts


def steady_shifts(detections: Detections, i: Ints, j: Ints) -> Floats:
    """Median step into every frame along links of one frame, shrunk where cells are few.

    Parameters
    ----------
    detections : Detections
    i, j : (e,) int64

    Returns
    -------
    (frames, d) float64
    """
    shifts = np.zeros((detections.n_frames, detections.ndim))
    order = np.argsort(detections.frame[j], kind="stable")
    bounds = np.searchsorted(detections.frame[j][order], np.arange(detections.n_frames + 1))
    step = (detections.xyz[j] - detections.xyz[i])[order]
    for frame in range(1, detections.n_frames):
        mine = step[bounds[frame] : bounds[frame + 1]]
        if len(mine) >= _LEAST_CELLS:
            shifts[frame] = np.median(mine, axis=0) * len(mine) / (len(mine) + 30.0)
    return shifts


def without(detections: Detections, shifts: Floats) -> Detections:
    """Return the detections in the frame of the first one."""
    return detections.moved(detections.xyz - np.cumsum(shifts, axis=0)[detections.frame])

"""Nearest detections of a frame by a grid over each frame (compiled)."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from napari_marrow.tracking.points import Floats, Ints
from napari_marrow.tracking.threads import in_slices

_PER_CELL = 2.0
_CROWDED = 48  # detections in one cell: then places are too uneven for a grid


@dataclass(frozen=True)
class FrameGrid:
    """Detections sorted into square cells of their frame.

    Attributes
    ----------
    places : (m, d) float64
        Sorted by frame, then by cell.
    rows : (m,) int64
        Row of each in the table that they came from.
    low : (frames, d) float64
        Corner of each frame's grid.
    size : (frames,) float64
        Side of a cell.
    shape : (frames, d) int64
        Cells along each axis; none in a frame without detections.
    first : (frames + 1,) int64
        First cell of each frame.
    start : (cells + 1,) int64
        First detection of each cell.
    """

    places: Floats
    rows: Ints
    low: Floats
    size: Floats
    shape: Ints
    first: Ints
    start: Ints

    @property
    def uneven(self) -> bool:
        """Whether so many detections share a cell that a tree serves better."""
        return bool(np.diff(self.start).max(initial=0) > _CROWDED)

    def nearest(self, places: Floats, frame: Ints, k: int, reach: float) -> tuple[Ints, Ints, Floats]:
        """Return up to `k` nearest detections of a frame for each place.

        Parameters
        ----------
        places : (q, d) float64
        frame : (q,) int64
            Frame to look in.
        k : int
        reach : float
            Only nearer ones.

        Returns
        -------
        query, row : (e,) int64
            Sorted by query, then by distance, then by row.
        distance : (e,) float64
        """
        count = np.zeros(len(places), np.int64)
        near, square = np.empty((len(places), k), np.int64), np.empty((len(places), k))
        places = np.ascontiguousarray(places)
        in_slices(
            lambda low, high: _search(
                places, frame, k, reach * reach, self.places, self.rows, self.low, self.size, self.shape, self.first,
                self.start, count, near, square, low, high,
            ),
            len(places),
        )  # fmt: skip
        begin = np.concatenate([[0], np.cumsum(count)])
        query, row = np.empty(begin[-1], np.int64), np.empty(begin[-1], np.int64)
        distance = np.empty(begin[-1])
        _gather(count, begin, near, square, query, row, distance)
        return query, row, distance


def build_grid(xyz: Floats, frame: Ints, n_frames: int, rows: Ints) -> FrameGrid:
    """Sort detections into grids.

    Parameters
    ----------
    xyz : (n, d) float64
    frame : (n,) int64
    n_frames : int
    rows : (m,) int64
        The detections that can be found, sorted by frame.
    """
    places, frame = xyz[rows], frame[rows]
    start = np.searchsorted(frame, np.arange(n_frames + 1))
    low, size, shape = _frames(places, start)
    first = np.concatenate([[0], np.cumsum(shape.prod(axis=1))])
    cell = _cells(places, frame, low, size, shape, first)
    order = np.argsort(cell, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=int(first[-1])))]).astype(np.int64)
    return FrameGrid(places[order], rows[order], low, size, shape, first, bounds)


@numba.njit(cache=True, nogil=True)
def _frames(places: Floats, start: Ints) -> tuple[Floats, Floats, Ints]:
    """Corner, cell size and shape of each frame's grid."""
    d, n = places.shape[1], len(start) - 1
    low, size, shape = np.zeros((n, d)), np.ones(n), np.zeros((n, d), np.int64)
    for f in range(n):
        m = start[f + 1] - start[f]
        if m == 0:
            continue
        extent = np.zeros(d)
        for axis in range(d):
            least = most = places[start[f], axis]
            for p in range(start[f], start[f + 1]):
                least, most = min(least, places[p, axis]), max(most, places[p, axis])
            low[f, axis], extent[axis] = least, most - least
        widest = extent.max()
        if widest <= 0:
            shape[f] = 1
            continue
        volume = 1.0
        for axis in range(d):
            volume *= max(extent[axis], 0.01 * widest)
        side = (volume * _PER_CELL / max(m, _PER_CELL)) ** (1.0 / d)
        size[f] = side
        for axis in range(d):
            shape[f, axis] = int(extent[axis] / side) + 1
    return low, size, shape


@numba.njit(cache=True, nogil=True)
def _cells(places: Floats, frame: Ints, low: Floats, size: Floats, shape: Ints, first: Ints) -> Ints:
    out = np.zeros(len(places), np.int64)
    for p in range(len(places)):
        f, cell = frame[p], 0
        for axis in range(places.shape[1]):
            at = min(int((places[p, axis] - low[f, axis]) / size[f]), shape[f, axis] - 1)
            cell = cell * shape[f, axis] + at
        out[p] = first[f] + cell
    return out


@numba.njit(cache=True, nogil=True)
def _search(
    asked: Floats, frame: Ints, k: int, limit: float, places: Floats, rows: Ints, low: Floats, size: Floats,
    shape: Ints, first: Ints, start: Ints, count: Ints, near: Ints, square: Floats, begin: int, end: int,
) -> None:  # fmt: skip
    """Look in the cell of each place, then in rings around it, until nothing nearer can follow."""
    d = asked.shape[1]
    middle, lower, upper = np.zeros(3, np.int64), np.zeros(3, np.int64), np.zeros(3, np.int64)
    for q in range(begin, end):
        f = frame[q]
        if first[f + 1] == first[f]:
            continue
        # in two dimensions the third axis is one cell deep
        for axis in range(d):
            at = int(np.floor(min(max((asked[q, axis] - low[f, axis]) / size[f], 0.0), float(shape[f, axis]))))
            middle[axis] = min(at, shape[f, axis] - 1)
        n1, n2 = shape[f, 1], shape[f, 2] if d == 3 else 1
        found, ring = 0, 0
        while True:
            bound, more = np.inf, False
            for axis in range(d):
                lower[axis] = max(middle[axis] - ring, 0)
                upper[axis] = min(middle[axis] + ring, shape[f, axis] - 1)
                if lower[axis] > 0:
                    more = True
                    bound = min(bound, asked[q, axis] - (low[f, axis] + lower[axis] * size[f]))
                if upper[axis] < shape[f, axis] - 1:
                    more = True
                    bound = min(bound, low[f, axis] + (upper[axis] + 1) * size[f] - asked[q, axis])
            for a in range(lower[0], upper[0] + 1):
                for b in range(lower[1], upper[1] + 1):
                    edge = ring == 0 or abs(a - middle[0]) == ring or abs(b - middle[1]) == ring
                    for c in range(lower[2], upper[2] + 1) if d == 3 else range(1):
                        if not (edge or (d == 3 and abs(c - middle[2]) == ring)):
                            continue
                        cell = first[f] + (a * n1 + b) * n2 + c
                        for p in range(start[cell], start[cell + 1]):
                            s = 0.0
                            for axis in range(d):
                                s += (places[p, axis] - asked[q, axis]) ** 2
                            if s >= limit:
                                continue
                            row = rows[p]
                            at = found
                            while at > 0 and (
                                s < square[q, at - 1] or (s == square[q, at - 1] and row < near[q, at - 1])
                            ):
                                at -= 1
                            if at >= k:
                                continue
                            found = min(found + 1, k)
                            for r in range(found - 1, at, -1):
                                square[q, r], near[q, r] = square[q, r - 1], near[q, r - 1]
                            square[q, at], near[q, at] = s, row
            # a place on the rim of its cell may round to just outside: then look one ring further
            if not more or (bound * bound >= limit and bound > 0):
                break
            if found == k and bound > 0 and bound * bound > square[q, k - 1]:
                break
            ring += 1
        count[q] = found


@numba.njit(cache=True, nogil=True)
def _gather(count: Ints, begin: Ints, near: Ints, square: Floats, query: Ints, row: Ints, distance: Floats) -> None:
    for q in range(len(count)):
        for r in range(count[q]):
            query[begin[q] + r] = q
            row[begin[q] + r] = near[q, r]
            distance[begin[q] + r] = np.sqrt(square[q, r])

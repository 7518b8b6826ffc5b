"""Loops of the label reconstruction that goes through a plane in strips of rows (`mask_stream`).

Every array is a window of rows of the plane; `top` is the plane's row at its first one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from napari_marrow.segmentation.flows import diffuse_one
from napari_marrow.segmentation.following import follow
from napari_marrow.segmentation.holes import around_label

Labels = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
_PAD = 5
"""Columns of zeros on both sides of histogram and basins: a seed grows that far."""

OUTSIDE, UNKNOWN = -1, -2
"""End points of pixels that are not followed, and of those whose way leaves the rows at hand."""


@njit(cache=True, nogil=True)
def follow_rows(
    field: Floats, field_top: int, height: int, n_steps: int, ends: Counts, ends_top: int, first: int, last: int
) -> None:
    """Follow the pixels whose end is `UNKNOWN` in rows first..last - 1 of the plane; the end is y * width + x.

    `field` and `field_top` as in `following.follow`. A pixel whose way needs a row beyond the field stays unknown.
    """
    width = field.shape[1] - 2
    rows = ends[first - ends_top : last - ends_top]
    starts = np.empty(((rows == UNKNOWN).sum(), 2), dtype=np.int32)
    n = 0
    for y in range(rows.shape[0]):
        for x in range(width):
            if rows[y, x] == UNKNOWN:
                starts[n, 0], starts[n, 1] = first + y, x
                n += 1
    places = np.empty_like(starts)
    follow(field, field_top, height, starts, n_steps, 0, n, places)
    for i in range(n):
        if places[i, 0] >= 0:
            rows[starts[i, 0] - first, starts[i, 1]] = np.int64(places[i, 0]) * width + places[i, 1]


@njit(cache=True, nogil=True)
def first_unknown(ends: Counts) -> int:
    """Return the first row with an end that is not known, or the number of rows."""
    for y in range(ends.shape[0]):
        for x in range(ends.shape[1]):
            if ends[y, x] == UNKNOWN:
                return y
    return ends.shape[0]


@njit(cache=True, nogil=True)
def count_row_ends(ends: Counts, counted: Flags, histogram: Labels, top: int) -> None:
    """Add the ends that are known and not counted yet to a histogram with padded columns."""
    width = ends.shape[1]
    for y in range(ends.shape[0]):
        for x in range(width):
            if ends[y, x] >= 0 and not counted[y, x]:
                counted[y, x] = True
                histogram[ends[y, x] // width - top, ends[y, x] % width + _PAD] += 1


@njit(cache=True, nogil=True)
def find_row_seeds(histogram: Labels, top: int, first: int, last: int) -> Labels:
    """Return (y, x) of the seeds in rows first..last - 1 of the plane, as `dynamics.find_seeds`, in raster order."""
    found = []
    for y in range(first - top, last - top):
        for x in range(_PAD, histogram.shape[1] - _PAD):
            h = histogram[y, x]
            if h > 10:
                peak = True
                for v in range(max(y - 2, 0), min(y + 3, histogram.shape[0])):
                    for u in range(x - 2, x + 3):
                        if histogram[v, u] > h:
                            peak = False
                if peak:
                    found.append((y + top, x - _PAD))
    seeds = np.empty((len(found), 2), dtype=np.int32)
    for i in range(len(found)):
        seeds[i, 0], seeds[i, 1] = found[i]
    return seeds


@njit(cache=True, nogil=True)
def grow_row_seeds(histogram: Labels, basins: Labels, top: int, seeds: Labels, first_id: int, peaks: Labels) -> None:
    """Grow seeds over the histogram; where two meet, the one with the higher peak wins, then the later one."""
    side = 2 * _PAD + 1
    for n in range(seeds.shape[0]):
        k = first_id + n
        y0, x0 = seeds[n, 0] - top - _PAD, seeds[n, 1]  # columns are padded by as much as a seed grows
        reached = np.zeros((side + 2, side + 2), dtype=np.bool_)
        reached[_PAD + 1, _PAD + 1] = True
        for radius in range(1, _PAD + 1):
            before = reached.copy()
            for y in range(_PAD - radius, _PAD + radius + 1):
                if y0 + y < 0 or y0 + y >= histogram.shape[0]:
                    continue
                for x in range(_PAD - radius, _PAD + radius + 1):
                    if histogram[y0 + y, x0 + x] > 2 and before[y : y + 3, x : x + 3].any():
                        reached[y + 1, x + 1] = True
        for y in range(side):
            for x in range(side):
                if reached[y + 1, x + 1]:
                    other = basins[y0 + y, x0 + x]
                    if other == 0 or peaks[k] >= peaks[other]:
                        basins[y0 + y, x0 + x] = k


@njit(cache=True, nogil=True)
def expect(histogram: Labels, basins: Labels, top: int, first: int, last: int, expected: Counts) -> None:
    """Add up, per seed, the end points in its basin over rows first..last - 1."""
    for y in range(first - top, last - top):
        for x in range(basins.shape[1]):
            if basins[y, x] > 0:
                expected[basins[y, x]] += histogram[y, x]


@njit(cache=True, nogil=True)
def count_settled(ends: Counts, settled: int) -> int:
    """Return how many rows have no end that is unknown or beyond row `settled`."""
    width = ends.shape[1]
    for y in range(ends.shape[0]):
        for x in range(width):
            if ends[y, x] == UNKNOWN or ends[y, x] >= settled * width:
                return y
    return ends.shape[0]


@njit(cache=True, nogil=True)
def label_rows(
    ends: Counts, ends_top: int, basins: Labels, basins_top: int, boxes: Labels, counts: Counts, out: Labels
) -> None:
    """Give every pixel the label of the basin in which it ends."""
    width = ends.shape[1]
    for y in range(ends.shape[0]):
        row = y + ends_top
        for x in range(width):
            if ends[y, x] < 0:
                continue
            k = basins[ends[y, x] // width - basins_top, ends[y, x] % width + _PAD]
            out[y, x] = k
            if k > 0:
                if counts[k] == 0:
                    boxes[k, 0], boxes[k, 2], boxes[k, 3] = row, x, x + 1
                boxes[k, 1] = row + 1
                boxes[k, 2] = min(boxes[k, 2], x)
                boxes[k, 3] = max(boxes[k, 3], x + 1)
                counts[k] += 1


@njit(cache=True, nogil=True)
def neighbourhood(
    labels: Labels, ignored: Flags, complete: Flags, boxes: Labels, blocked: Flags, needed: Flags, reach: Labels
) -> None:
    """Look at the four neighbours of every pixel.

    ``blocked[k]``: a neighbour of k is not complete. ``needed[k]``: k or a neighbour is asked for (`needed` on entry).
    ``reach[k]``: the first row of k and its neighbours. Labels that are `ignored` are background.
    """
    wanted = needed.copy()
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            k = labels[y, x]
            if k == 0 or ignored[k]:
                continue
            reach[k] = min(reach[k], boxes[k, 0])
            for move in range(2):
                v, u = (y + 1, x) if move == 0 else (y, x + 1)
                if v == labels.shape[0] or u == labels.shape[1]:
                    continue
                j = labels[v, u]
                if j == 0 or j == k or ignored[j]:
                    continue
                blocked[k] |= not complete[j]
                blocked[j] |= not complete[k]
                needed[k] |= wanted[j]
                needed[j] |= wanted[k]
                reach[k] = min(reach[k], boxes[j, 0])
                reach[j] = min(reach[j], boxes[k, 0])


@njit(cache=True, nogil=True)
def diffuse_labels(
    labels: Labels, top: int, ids: Labels, boxes: Labels, steps: Counts, first: int, last: int, heat: Any
) -> None:
    """Write the heat of labels ids[first:last] into an array with a border of one pixel."""
    box = np.empty(4, dtype=np.int32)
    for i in range(first, last):
        k = ids[i]
        box[0], box[1] = boxes[k, 0] - top, boxes[k, 1] - top
        box[2], box[3] = boxes[k, 2], boxes[k, 3]
        diffuse_one(labels, k, box, steps[i], heat)


@njit(cache=True, nogil=True)
def flow_error_sums(heat: Any, labels: Labels, field: Floats, wanted: Flags, sums: npt.NDArray[np.float64]) -> None:
    """Add up, per wanted label, the squared difference between its own flow and the network's (field: a fifth)."""
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            k = labels[y, x]
            if k > 0 and wanted[k]:
                dy = heat[y + 2, x + 1] - heat[y, x + 1]
                dx = heat[y + 1, x + 2] - heat[y + 1, x]
                norm = 1e-60 + np.sqrt(dy * dy + dx * dx)
                sums[k] += (dy / norm - field[y, x + 1, 0]) ** 2 + (dx / norm - field[y, x + 1, 1]) ** 2


@njit(cache=True, nogil=True)
def fill_rows(work: Labels, top: int, boxes: Labels, decided: Flags) -> Counts:
    """Fill the holes of decided labels in place, in raster order, and return who swallows pixels of whom.

    Labels that are not decided are not filled; what they may swallow, whatever comes below the last row, is returned.
    """
    n_labels = boxes.shape[0]
    seen = np.zeros(n_labels, dtype=np.bool_)
    order = []
    for y in range(work.shape[0]):
        for x in range(work.shape[1]):
            k = work[y, x]
            if k > 0 and not seen[k]:
                seen[k] = True
                order.append(k)
    pairs = []
    pairs.append((np.int64(0), np.int64(0)))  # so that the type is known
    for k in order:
        y0, y1, x0, x1 = boxes[k, 0] - top, boxes[k, 1] - top, boxes[k, 2], boxes[k, 3]
        open_below = not decided[k] and y1 == work.shape[0]
        outside = around_label(work, k, y0, y1, x0, x1, open_below)
        for y in range(y0, y1):
            for x in range(x0, x1):
                if not outside[y - y0 + 1, x - x0 + 1]:
                    j = work[y, x]
                    if j != 0 and j != k:
                        pairs.append((np.int64(k), np.int64(j)))
                    if decided[k]:
                        work[y, x] = k
    out = np.empty((len(pairs), 2), dtype=np.int64)
    for i in range(len(pairs)):
        out[i, 0], out[i, 1] = pairs[i]
    return out


@njit(cache=True, nogil=True)
def take_rows(work: Labels, taken: Flags, out: Labels) -> None:
    """Copy the pixels of the taken labels."""
    for y in range(work.shape[0]):
        for x in range(work.shape[1]):
            if taken[work[y, x]]:
                out[y, x] = work[y, x]


@njit(cache=True, nogil=True)
def number_rows(labels: Labels, numbers: Labels, n: int) -> int:
    """Replace labels by numbers in the order in which they appear; return the highest number."""
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            k = labels[y, x]
            if k > 0:
                if numbers[k] == 0:
                    n += 1
                    numbers[k] = n
                labels[y, x] = numbers[k]
    return n


@njit(cache=True, nogil=True)
def count_labels(labels: Labels, counts: Counts) -> None:
    """Add the number of pixels of every label."""
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            counts[labels[y, x]] += 1


@njit(cache=True, nogil=True)
def select_labels(labels: Labels, selected: Flags) -> Labels:
    """Return a copy in which labels that are not selected are background."""
    out = np.zeros(labels.shape, dtype=np.int32)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            if selected[labels[y, x]]:
                out[y, x] = labels[y, x]
    return out

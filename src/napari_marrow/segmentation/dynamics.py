"""From a network's flows to labels: Cellpose's dynamics as plain loops over small windows.

Every pixel of a cell is moved along the flow until it meets the others near the cell's centre; where many meet, a
cell is (Stringer et al. 2021, Nature Methods 18:100; details as in ``cellpose.dynamics`` 4.2). Labels are numbered in
the order in which a raster scan meets them, so the result does not depend on threads.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from napari_marrow.segmentation.flows import bounding_boxes, diffuse, diffusion_steps, flow_errors
from napari_marrow.segmentation.following import follow
from napari_marrow.segmentation.holes import fill_holes
from napari_marrow.segmentation.mask_stream import MaskStream
from napari_marrow.segmentation.threads import in_chunks

Labels = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

LARGE_PLANE = 4096 * 4096
"""Planes of more pixels are gone through in strips, by the rule for the flow error that needs no whole plane."""
STRIP_PIXELS = 2_000_000

_PAD = 20  # margin of the histogram of end points
_REACH = 5  # a seed grows at most this many pixels


def compute_masks(
    flows: Floats,
    cellprob: Floats,
    *,
    n_steps: int = 200,
    cellprob_threshold: float = 0.0,
    flow_threshold: float | None = 0.4,
    min_size: int = 15,
    max_size_fraction: float = 0.4,
    threads: int | None = None,
) -> Labels:
    """Return the labels that a network's output describes.

    Parameters
    ----------
    flows : float32 array, shape (2, Y, X)
        Flow (y, x) as the network gives it: five times a unit vector inside cells.
    cellprob : float32 array, shape (Y, X)
        Logit of the probability that a pixel belongs to a cell.
    n_steps : int
        Euler steps of one pixel at most. Cellpose takes 200 times diameter / diam_mean.
    cellprob_threshold : float
        Pixels with a higher logit are followed.
    flow_threshold : float or None
        Labels whose own flow field differs more (mean squared difference) are dropped; None or 0 keeps all.
    min_size : int
        Labels of fewer pixels are dropped; 0 also leaves holes unfilled.
    max_size_fraction : float
        Labels that cover more of the image are dropped.
    threads : int or None
        Threads for large planes; None takes what the machine has. The labels are the same for any number.

    Returns
    -------
    int32 array, shape (Y, X)
        0 background, 1..n.
    """
    if cellprob.size > LARGE_PLANE:
        return _in_strips(
            flows, cellprob, n_steps=n_steps, cellprob_threshold=cellprob_threshold, flow_threshold=flow_threshold,
            min_size=min_size, max_size_fraction=max_size_fraction, threads=threads,
        )  # fmt: skip
    return masks_of_whole(
        flows, cellprob, n_steps=n_steps, cellprob_threshold=cellprob_threshold, flow_threshold=flow_threshold,
        min_size=min_size, max_size_fraction=max_size_fraction, threads=threads,
    )  # fmt: skip


def masks_of_whole(
    flows: Floats,
    cellprob: Floats,
    *,
    n_steps: int,
    cellprob_threshold: float = 0.0,
    flow_threshold: float | None = 0.4,
    min_size: int = 15,
    max_size_fraction: float = 0.4,
    threads: int | None = None,
    least_steps: int | None = None,
) -> Labels:
    """Return the labels of a plane that is held at once; parameters as in `compute_masks`.

    `least_steps` is the `least` of `diffusion_steps`: None for Cellpose's rule, `n_steps` for that of large planes.
    """
    inside = cellprob > cellprob_threshold
    if not inside.any():
        return np.zeros(cellprob.shape, dtype=np.int32)
    workers = threads or min(8, os.cpu_count() or 1)
    ends = _follow(flows, inside, n_steps, workers)
    labels = _seed(ends, inside)
    labels = _drop_large(labels, max_size_fraction)
    if flow_threshold is not None and flow_threshold > 0 and labels.any():
        labels = _drop_inconsistent(labels, flows, flow_threshold, workers, least_steps)
    return tidy(labels, min_size=min_size)


def _in_strips(flows: Floats, cellprob: Floats, **settings: Any) -> Labels:
    labels = np.empty(cellprob.shape, dtype=np.int32)

    def place(first: int, rows: Labels) -> None:
        labels[first : first + len(rows)] = rows

    stream = MaskStream((cellprob.shape[0], cellprob.shape[1]), place, **settings)
    n = max(1, STRIP_PIXELS // cellprob.shape[1])
    for y in range(0, len(cellprob), n):
        stream.push(flows[:, y : y + n], cellprob[y : y + n])
    return labels


def tidy(labels: Labels, *, min_size: int) -> Labels:
    """Drop labels below `min_size` px and fill holes (nothing of it with min_size 0), number the rest 1..n."""
    if min_size > 0:
        labels = renumber(labels, np.bincount(labels.ravel()) >= min_size)
        top = int(labels.max(initial=0))
        if top:
            fill_holes(labels, bounding_boxes(labels, top))
        labels = renumber(labels, np.bincount(labels.ravel()) >= min_size)
    return labels


@njit(cache=True, nogil=True)
def renumber(labels: Labels, kept: npt.NDArray[np.bool_]) -> Labels:
    """Return a copy with the kept labels numbered 1..n in raster order and the others 0."""
    new = np.zeros(kept.size, dtype=np.int32)
    out = np.zeros(labels.shape, dtype=np.int32)
    n = 0
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            k = labels[y, x]
            if k > 0 and kept[k]:
                if new[k] == 0:
                    n += 1
                    new[k] = n
                out[y, x] = new[k]
    return out


def _drop_large(labels: Labels, fraction: float) -> Labels:
    counts = np.bincount(labels.ravel())
    return renumber(labels, counts <= fraction * labels.size)


def _drop_inconsistent(
    labels: Labels, flows: Floats, threshold: float, workers: int, least_steps: int | None
) -> Labels:
    top = int(labels.max())
    boxes = bounding_boxes(labels, top)
    heat = np.zeros((labels.shape[0] + 2, labels.shape[1] + 2), dtype=np.float64)
    steps = diffusion_steps(boxes, least=least_steps)
    in_chunks(lambda a, b: diffuse(labels, boxes, a + 1, b + 1, steps, heat), top, workers, least=50)
    errors = flow_errors(heat, labels, flows, top)
    return renumber(labels, errors <= threshold)


def _follow(flows: Floats, inside: npt.NDArray[np.bool_], n_steps: int, workers: int) -> npt.NDArray[np.int32]:
    """Return the end pixels (n, 2) of all pixels in `inside`, in raster order."""
    height, width = inside.shape
    field = np.zeros((height + 2, width + 2, 2), dtype=np.float32)
    field[1:-1, 1:-1, 0] = flows[0] * inside / np.float32(5)
    field[1:-1, 1:-1, 1] = flows[1] * inside / np.float32(5)
    starts = np.argwhere(inside).astype(np.int32)
    ends = np.empty_like(starts)
    in_chunks(lambda a, b: follow(field, -1, height, starts, n_steps, a, b, ends), len(starts), workers, least=5000)
    return ends


def _seed(ends: npt.NDArray[np.int32], inside: npt.NDArray[np.bool_]) -> Labels:
    """Return labels: seeds at peaks of the histogram of end points, grown over its well-filled neighbours."""
    histogram = np.zeros((inside.shape[0] + 2 * _PAD, inside.shape[1] + 2 * _PAD), dtype=np.int32)
    count_ends(ends, histogram)
    seeds = find_seeds(histogram)
    order = np.argsort(histogram[seeds[:, 0], seeds[:, 1]], kind="stable")
    basins = grow_seeds(histogram, seeds[order])
    labels = np.zeros(inside.shape, dtype=np.int32)
    labels[inside] = basins[ends[:, 0] + _PAD, ends[:, 1] + _PAD]
    return labels


@njit(cache=True, nogil=True)
def count_ends(ends: npt.NDArray[np.int32], histogram: npt.NDArray[np.int32]) -> None:
    """Count end points per pixel."""
    for i in range(ends.shape[0]):
        histogram[ends[i, 0] + _PAD, ends[i, 1] + _PAD] += 1


@njit(cache=True, nogil=True)
def find_seeds(histogram: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return (y, x) of pixels with more than 10 end points and none fuller within 5 x 5, in raster order."""
    found = []
    for y in range(_PAD, histogram.shape[0] - _PAD):
        for x in range(_PAD, histogram.shape[1] - _PAD):
            h = histogram[y, x]
            if h > 10 and h >= histogram[y - 2 : y + 3, x - 2 : x + 3].max():
                found.append((y, x))
    seeds = np.empty((len(found), 2), dtype=np.int32)
    for i in range(len(found)):
        seeds[i, 0], seeds[i, 1] = found[i]
    return seeds


@njit(cache=True, nogil=True)
def grow_seeds(histogram: npt.NDArray[np.int32], seeds: npt.NDArray[np.int32]) -> Labels:
    """Return 1 + the number of the last seed that reaches a pixel through pixels with more than two end points."""
    basins = np.zeros(histogram.shape, dtype=np.int32)
    side = 2 * _REACH + 1
    for k in range(seeds.shape[0]):
        y0, x0 = seeds[k, 0] - _REACH, seeds[k, 1] - _REACH
        reached = np.zeros((side + 2, side + 2), dtype=np.bool_)
        reached[_REACH + 1, _REACH + 1] = True
        for radius in range(1, _REACH + 1):
            before = reached.copy()
            for y in range(_REACH - radius, _REACH + radius + 1):
                for x in range(_REACH - radius, _REACH + radius + 1):
                    if histogram[y0 + y, x0 + x] > 2 and before[y : y + 3, x : x + 3].any():
                        reached[y + 1, x + 1] = True
        for y in range(side):
            for x in range(side):
                if reached[y + 1, x + 1]:
                    basins[y0 + y, x0 + x] = k + 1
    return basins

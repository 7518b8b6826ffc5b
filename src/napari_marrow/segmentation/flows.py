"""Flow field of a label image: the target that a Cellpose network learns and the yardstick of the flow-error check.

Inside every label heat is put in at the pixel nearest to the centre of mass and spreads over the label's own pixels;
the normalised gradient of the heat points from every pixel to the centre (Stringer et al. 2021, Nature Methods 18:100,
methods).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Labels = npt.NDArray[np.int32]


def labels_to_flows(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Return the unit flow field of a plane of labels.

    Parameters
    ----------
    labels : integer array, shape (Y, X)
        0 is background; labels need not be consecutive.

    Returns
    -------
    float32 array, shape (2, Y, X)
        (dy, dx), length 1 inside labels and 0 outside.

    Notes
    -----
    The number of diffusion steps is twice the largest extent (height + width + 2) of all labels, as in Cellpose 4.
    """
    if labels.ndim != 2:
        raise ValueError(f"labels_to_flows takes a plane (Y, X), not an array of {labels.ndim} dimensions.")
    plane = np.ascontiguousarray(labels, dtype=np.int32)
    top = int(plane.max(initial=0))
    flows = np.zeros((2, *plane.shape), dtype=np.float32)
    if top > 0:
        boxes = bounding_boxes(plane, top)
        heat = np.zeros((plane.shape[0] + 2, plane.shape[1] + 2), dtype=np.float64)
        diffuse(plane, boxes, 1, top + 1, diffusion_steps(boxes), heat)
        _gradient(heat, plane, flows)
    return flows


@njit(cache=True, nogil=True)
def bounding_boxes(labels: Labels, top: int) -> Labels:
    """Return (y0, y1, x0, x1) with exclusive ends for labels 1..top; y1 = 0 where a label is absent."""
    boxes = np.zeros((top + 1, 4), dtype=np.int32)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            k = labels[y, x]
            if k <= 0:
                continue
            if boxes[k, 1] == 0:
                boxes[k, 0], boxes[k, 1], boxes[k, 2], boxes[k, 3] = y, y + 1, x, x + 1
            else:
                boxes[k, 1] = y + 1
                boxes[k, 2] = min(boxes[k, 2], x)
                boxes[k, 3] = max(boxes[k, 3], x + 1)
    return boxes


@njit(cache=True, nogil=True)
def _centre(labels: Labels, k: int, y0: int, y1: int, x0: int, x1: int) -> tuple[int, int]:
    """Return the pixel of label k nearest to its rounded centre of mass, relative to the box."""
    sy, sx, n = 0, 0, 0
    for y in range(y0, y1):
        for x in range(x0, x1):
            if labels[y, x] == k:
                sy += y - y0
                sx += x - x0
                n += 1
    cy, cx = int(np.rint(sy / n)), int(np.rint(sx / n))
    if labels[y0 + cy, x0 + cx] == k:
        return cy, cx
    best, by, bx = 1 << 60, 0, 0
    for y in range(y0, y1):
        for x in range(x0, x1):
            if labels[y, x] == k:
                d = (y - y0 - cy) ** 2 + (x - x0 - cx) ** 2
                if d < best:
                    best, by, bx = d, y - y0, x - x0
    return by, bx


def diffusion_steps(boxes: Labels, *, least: int | None = None) -> npt.NDArray[np.int64]:
    """Return for how many steps the heat of each label spreads.

    Parameters
    ----------
    boxes : int32 array, shape (n, 4)
        Of `bounding_boxes`; absent labels are all zeros.
    least : int or None
        None is Cellpose's rule: for all labels twice the largest height + width + 2 of any. Over a large plane that
        would need all labels before one can be judged: with a number, every label takes twice its own height +
        width + 2, and at least so many.
    """
    wide = boxes.astype(np.int64)
    extent = np.where(wide[:, 1] > 0, wide[:, 1] - wide[:, 0] + wide[:, 3] - wide[:, 2] + 2, 0)
    if least is None:
        return np.full(len(boxes), 2 * extent.max(initial=0))
    return np.maximum(2 * extent, least)


@njit(cache=True, nogil=True)
def diffuse(
    labels: Labels,
    boxes: Labels,
    first: int,
    last: int,
    steps: npt.NDArray[np.int64],
    heat: npt.NDArray[np.float64],
) -> None:
    """Write the heat of labels first..last - 1 into an array with a border of one pixel, shape (Y + 2, X + 2)."""
    for k in range(first, last):
        if boxes[k, 1] > 0:
            diffuse_one(labels, k, boxes[k], steps[k], heat)


@njit(cache=True, nogil=True)
def diffuse_one(labels: Labels, k: int, box: Labels, n_steps: int, heat: npt.NDArray[np.float64]) -> None:
    """Diffuse within one label: each step adds 1 at the centre and replaces a pixel by a ninth of its 3 x 3 sum."""
    y0, y1, x0, x1 = box[0], box[1], box[2], box[3]
    height, width = y1 - y0, x1 - x0
    cy, cx = _centre(labels, k, y0, y1, x0, x1)
    inside = np.zeros((height, width), dtype=np.float64)
    for y in range(height):
        for x in range(width):
            if labels[y0 + y, x0 + x] == k:
                inside[y, x] = 1.0 / 9.0
    old = np.zeros((height + 2, width + 2), dtype=np.float64)
    new = np.zeros((height + 2, width + 2), dtype=np.float64)
    column = np.zeros(width + 2, dtype=np.float64)
    for _ in range(n_steps):
        old[cy + 1, cx + 1] += 1.0
        for y in range(height):
            # The 3 x 3 sum is separable: columns first, so that both inner loops vectorise.
            for x in range(width + 2):
                column[x] = old[y, x] + old[y + 1, x] + old[y + 2, x]
            for x in range(width):
                new[y + 1, x + 1] = inside[y, x] * (column[x] + column[x + 1] + column[x + 2])
        old, new = new, old
    for y in range(height):
        for x in range(width):
            if inside[y, x] > 0.0:
                heat[y0 + y + 1, x0 + x + 1] = old[y + 1, x + 1]


@njit(cache=True, nogil=True)
def _gradient(heat: npt.NDArray[np.float64], labels: Labels, flows: npt.NDArray[np.float32]) -> None:
    """Write the normalised central difference of the heat into flows; a neighbour's heat counts, as in Cellpose."""
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            if labels[y, x] > 0:
                dy = heat[y + 2, x + 1] - heat[y, x + 1]
                dx = heat[y + 1, x + 2] - heat[y + 1, x]
                norm = 1e-60 + np.sqrt(dy * dy + dx * dx)
                flows[0, y, x] = dy / norm
                flows[1, y, x] = dx / norm


@njit(cache=True, nogil=True)
def flow_errors(
    heat: npt.NDArray[np.float64], labels: Labels, flows: npt.NDArray[np.float32], top: int
) -> npt.NDArray[np.float64]:
    """Return, per label 0..top, the mean squared difference between its own flow and a network's (divided by 5)."""
    errors = np.zeros(top + 1, dtype=np.float64)
    counts = np.zeros(top + 1, dtype=np.int64)
    five = np.float32(5)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            k = labels[y, x]
            if k > 0:
                dy = heat[y + 2, x + 1] - heat[y, x + 1]
                dx = heat[y + 1, x + 2] - heat[y + 1, x]
                norm = 1e-60 + np.sqrt(dy * dy + dx * dx)
                errors[k] += (dy / norm - flows[0, y, x] / five) ** 2 + (dx / norm - flows[1, y, x] / five) ** 2
                counts[k] += 1
    for k in range(1, top + 1):
        if counts[k] > 0:
            errors[k] /= counts[k]
    return errors

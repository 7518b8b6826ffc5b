"""Holes of labels: what the background around a label does not reach."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Labels = npt.NDArray[np.int32]


@njit(cache=True, nogil=True)
def around_label(labels: Labels, k: int, y0: int, y1: int, x0: int, x1: int, open_below: bool) -> npt.NDArray[np.bool_]:
    """Return which pixels the background around label k reaches (4-connected), in its box with a margin of one pixel.

    Without a margin below (`open_below`) for a label that goes on beyond the rows at hand.
    """
    height, width = y1 - y0 + (1 if open_below else 2), x1 - x0 + 2
    outside = np.zeros((height, width), dtype=np.bool_)
    stack = np.empty((height * width, 2), dtype=np.int32)
    stack[0, 0] = stack[0, 1] = 0
    outside[0, 0] = True
    n = 1
    while n > 0:
        n -= 1
        y, x = stack[n, 0], stack[n, 1]
        for move in range(4):
            v = y + (1 if move == 0 else -1 if move == 1 else 0)
            u = x + (1 if move == 2 else -1 if move == 3 else 0)
            if v < 0 or u < 0 or v >= height or u >= width or outside[v, u]:
                continue
            within = v > 0 and u > 0 and v - 1 < y1 - y0 and u < width - 1
            if within and labels[y0 + v - 1, x0 + u - 1] == k:
                continue
            outside[v, u] = True
            stack[n, 0], stack[n, 1] = v, u
            n += 1
    return outside


@njit(cache=True, nogil=True)
def fill_holes(labels: Labels, boxes: npt.NDArray[np.int32]) -> None:
    """Fill, in place, what a label encloses (background 4-connected); enclosed other labels are swallowed."""
    for k in range(1, boxes.shape[0]):
        y0, y1, x0, x1 = boxes[k, 0], boxes[k, 1], boxes[k, 2], boxes[k, 3]
        if y1 == 0:
            continue
        outside = around_label(labels, k, y0, y1, x0, x1, False)
        for y in range(y0, y1):
            for x in range(x0, x1):
                if not outside[y - y0 + 1, x - x0 + 1]:
                    labels[y, x] = k

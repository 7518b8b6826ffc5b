"""Following points along a flow field: the loop that takes most of the time of a label reconstruction.

A point's next step needs its last one, so one point alone leaves a processor waiting. `LANES` points therefore go side
by side, in loops over lanes that compile to vector instructions, and a lane that is done takes the next point.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Places = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

LANES = 32
BLOCK = 4
"""Steps between two looks at a lane. A point that is back where it was has a way of period 1, 2 or 4: it is done."""


@njit(cache=True, nogil=True)
def follow(
    field: Floats, field_top: int, height: int, starts: Places, n_steps: int, first: int, last: int, ends: Places
) -> None:
    """Move points first..last - 1 along a flow by Euler steps and write the pixels (y, x) where they end.

    Sampling is bilinear at p * size / (size - 1) - 1/2: Cellpose normalises coordinates with corners at pixel centres
    and samples with corners at pixel edges, and its labels depend on it.

    Parameters
    ----------
    field : float32 array, shape (rows, X + 2, 2), C-contiguous
        Steps (dy, dx) in pixels for rows `field_top`..`field_top` + rows - 1 of the plane, with a column of zeros on
        both sides; rows -1 and `height` of the plane are zeros.
    field_top : int
        Row of the plane at the field's first one: -1 where the field is the whole plane.
    height : int
        Rows of the plane.
    starts : int32 array, shape (n, 2)
        Pixels (y, x) of the plane.
    n_steps : int
        Steps of each point.
    ends : int32 array, shape (n, 2)
        Is written: the pixel, or (-1, -1) for a point whose way leaves the field's rows.
    """
    width = field.shape[1] - 2
    rows = field.shape[0]
    flat = field.reshape(-1)
    stride = np.uint64(2 * field.shape[1])
    one, two = np.uint64(1), np.uint64(2)
    three = np.uint64(3)
    zero, half, whole = np.float32(0), np.float32(0.5), np.float32(1)
    y_scale = np.float32(height / max(height - 1, 1))
    x_scale = np.float32(width / max(width - 1, 1))
    y_top, x_top = np.float32(height - 1), np.float32(width - 1)
    y, x = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    y_before, x_before = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    row, column = np.zeros(LANES, np.int32), np.zeros(LANES, np.int32)
    wy, wx = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    corners = np.zeros((8, LANES), np.float32)
    left = np.zeros(LANES, np.int64)  # steps to go; -1 when the point left the field
    point = np.full(LANES, -1, np.int64)
    upcoming = first
    while True:
        busy = False
        for j in range(LANES):
            if left[j] <= 0:
                if point[j] >= 0:
                    lost = left[j] < 0
                    ends[point[j], 0] = -1 if lost else int(y[j])
                    ends[point[j], 1] = -1 if lost else int(x[j])
                point[j], left[j] = -1, 0
                if upcoming < last:
                    point[j], left[j] = upcoming, n_steps
                    y[j], x[j] = starts[upcoming, 0], starts[upcoming, 1]
                    upcoming += 1
            busy = busy or point[j] >= 0
            y_before[j], x_before[j] = y[j], x[j]
        if not busy:
            return
        for step in range(BLOCK):
            for j in range(LANES):
                sy, sx = y[j] * y_scale + half, x[j] * x_scale + half  # + 1 for the border
                row[j], column[j] = np.int32(sy), np.int32(sx)
                wy[j], wx[j] = sy - np.float32(row[j]), sx - np.float32(column[j])
            for j in range(LANES):
                r = row[j] - (field_top + 1)
                if r < 0 or r + 1 >= rows:
                    r = 0
                    if left[j] > step:
                        left[j] = -1
                near = np.uint64(r) * stride + two * np.uint64(column[j])
                far = near + stride
                corners[0, j], corners[1, j] = flat[near], flat[near + one]
                corners[2, j], corners[3, j] = flat[near + two], flat[near + three]
                corners[4, j], corners[5, j] = flat[far], flat[far + one]
                corners[6, j], corners[7, j] = flat[far + two], flat[far + three]
            for j in range(LANES):
                v, u = whole - wy[j], whole - wx[j]
                a, b, c, d = v * u, v * wx[j], wy[j] * u, wy[j] * wx[j]
                next_y = y[j] + (a * corners[0, j] + b * corners[2, j] + c * corners[4, j] + d * corners[6, j])
                next_x = x[j] + (a * corners[1, j] + b * corners[3, j] + c * corners[5, j] + d * corners[7, j])
                next_y = next_y if next_y > zero else zero  # min and max would not become vector instructions
                next_x = next_x if next_x > zero else zero
                next_y = next_y if next_y < y_top else y_top
                next_x = next_x if next_x < x_top else x_top
                moves = left[j] > step
                y[j] = next_y if moves else y[j]
                x[j] = next_x if moves else x[j]
        for j in range(LANES):
            if left[j] > 0:
                left[j] = max(left[j] - BLOCK, 0)
                if y[j] == y_before[j] and x[j] == x_before[j]:
                    left[j] %= BLOCK  # whole rounds change nothing

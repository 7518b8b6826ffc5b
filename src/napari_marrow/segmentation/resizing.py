"""Resize planes by linear interpolation, whole or a few rows at a time: each row is the same either way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
from numba import njit

from napari_marrow.segmentation.intensities import ScaledImage

Floats = npt.NDArray[np.float32]
RowSource = Callable[[int, int], Floats]
"""Gives rows first..last - 1 of a plane, (C, last - first, X)."""


def resize(planes: Floats, shape: tuple[int, int]) -> Floats:
    """Return planes (C, Y, X) in another size by linear interpolation between pixel centres, edges repeated.

    The same as OpenCV's ``INTER_LINEAR``: no smoothing before a reduction.
    """
    if planes.shape[1:] == shape:
        return planes
    out = np.empty((planes.shape[0], *shape), dtype=np.float32)
    _resize(np.ascontiguousarray(planes, dtype=np.float32), 0, planes.shape[1], 0, shape[0], out)
    return out


@njit(cache=True, nogil=True)
def _source(i: int, n_in: int, n_out: int) -> tuple[int, int, np.float32]:
    """Return the two source positions of target position i and the weight of the second."""
    place = (i + 0.5) * n_in / n_out - 0.5
    low = int(np.floor(place))
    if low < 0:
        return 0, 0, np.float32(0)
    if low >= n_in - 1:
        return n_in - 1, n_in - 1, np.float32(0)
    return low, low + 1, np.float32(place - low)


@njit(cache=True, nogil=True)
def _resize(planes: Floats, top: int, n_in: int, first: int, n_out: int, out: Floats) -> None:
    """Fill rows `first`.. of a plane of n_out rows; `planes` holds the rows from `top` of one of n_in rows."""
    width = out.shape[2]
    left = np.empty(width, dtype=np.int64)
    right = np.empty(width, dtype=np.int64)
    weight = np.empty(width, dtype=np.float32)
    for x in range(width):
        left[x], right[x], weight[x] = _source(x, planes.shape[2], width)
    one = np.float32(1)
    for c in range(planes.shape[0]):
        for y in range(out.shape[1]):
            a, b, w = _source(first + y, n_in, n_out)
            a, b = a - top, b - top
            for x in range(width):
                upper = planes[c, a, left[x]] * (one - weight[x]) + planes[c, a, right[x]] * weight[x]
                lower = planes[c, b, left[x]] * (one - weight[x]) + planes[c, b, right[x]] * weight[x]
                out[c, y, x] = upper * (one - w) + lower * w


def resized_rows(image: ScaledImage, shape: tuple[int, int], *, sigma: float = 0.0) -> RowSource:
    """Return a source of the rows of a resized plane.

    Parameters
    ----------
    image : ScaledImage, shape (Y, X)
    shape : (int, int)
        Its size after resizing.
    sigma : float
        Gaussian smoothing before, px of the image; 0 for none.
    """
    height = image.shape[0]
    reach = int(4.0 * sigma + 0.5)  # where scipy cuts the Gaussian

    def rows(first: int, last: int) -> Floats:
        if (height, image.shape[1]) == shape:
            low, high = first, last
        else:
            low, high = _source(first, height, shape[0])[0], _source(last - 1, height, shape[0])[1] + 1
        top, end = max(0, low - reach), min(height, high + reach)
        part = image.part(slice(top, end))
        if sigma > 0:
            from scipy.ndimage import gaussian_filter

            part = gaussian_filter(part, (0, sigma, sigma), mode="nearest")
        if (height, image.shape[1]) == shape:
            return np.ascontiguousarray(part[:, low - top : high - top])
        out = np.empty((len(part), last - first, shape[1]), dtype=np.float32)
        _resize(part, top, height, first, shape[0], out)
        return out

    return rows


def resize_strips(strips: Iterable[Floats], n_rows: int, shape: tuple[int, int]) -> Iterator[Floats]:
    """Resize a plane (C, n_rows, X) that comes in strips from the top, as strips of a plane of another size."""
    held: Floats | None = None
    top, given = 0, 0
    for strip in strips:
        if (n_rows, strip.shape[2]) == shape:
            yield strip
            continue
        held = strip if held is None else np.concatenate([held, strip], axis=1)
        end = top + held.shape[1]
        last = _ready(end, n_rows, shape[0], given)
        if last > given:
            out = np.empty((len(held), last - given, shape[1]), dtype=np.float32)
            _resize(np.ascontiguousarray(held), top, n_rows, given, shape[0], out)
            given = last
            yield out
        keep = min(end, _source(min(given, shape[0] - 1), n_rows, shape[0])[0])
        if keep > top:
            held, top = held[:, keep - top :].copy(), keep


def _ready(end: int, n_in: int, n_out: int, given: int) -> int:
    """Return how many rows of the result are known from rows 0..end - 1."""
    if end == n_in:
        return n_out
    last = given
    while last < n_out and _source(last, n_in, n_out)[1] < end:
        last += 1
    return last

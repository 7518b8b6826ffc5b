"""Coarser grids for wide filters, and the way back: a filter many pixels wide does not need every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.float32]

LARGEST_FACTOR = 16
"""Coarsest grid, pixels per cell along an axis."""


def factors_for(sigma: float, spacing: Sequence[float], *, cells: float = 3.0) -> tuple[int, ...]:
    """Return by which power of two each axis may be made coarser for a Gaussian filter to stay `cells` cells wide.

    Parameters
    ----------
    sigma : float
        Width of the filter, unit of `spacing`.
    spacing : sequence of float
        Pixel size per axis.
    cells : float
        Least width of the filter on the coarse grid.
    """
    wanted = [max(sigma / (cells * s), 1.0) for s in spacing]
    return tuple(min(LARGEST_FACTOR, 1 << int(np.log2(w))) for w in wanted)


def block_mean(image: npt.NDArray[np.generic], factors: Sequence[int]) -> Floats:
    """Return the means of blocks of pixels; blocks that reach over the end mirror what is inside.

    Parameters
    ----------
    image : array
    factors : sequence of int
        Pixels per block along each axis.

    Returns
    -------
    float32 array, shape ceil(shape / factors)
    """
    result: Floats = np.asarray(image, dtype=np.float32)
    if max(factors) == 1:
        return result
    short = [(-n) % f for n, f in zip(result.shape, factors, strict=True)]
    if any(short):
        result = np.pad(result, [(0, s) for s in short], mode="symmetric")
    for axis, factor in enumerate(factors):
        if factor > 1:
            shape = (*result.shape[:axis], result.shape[axis] // factor, factor, *result.shape[axis + 1 :])
            result = result.reshape(shape).mean(axis=axis + 1, dtype=np.float32)
    return result


def smooth_coarse(
    image: npt.NDArray[np.generic], sigma: float, spacing: Sequence[float], factors: Sequence[int]
) -> Floats:
    """Return an image smoothed with a Gaussian, on a coarser grid.

    The variance of the block means is taken off that of the Gaussian.

    Parameters
    ----------
    image : array
    sigma : float
        Unit of `spacing`.
    spacing : sequence of float
        Pixel size per axis.
    factors : sequence of int
        See `block_mean`.
    """
    coarse = block_mean(image, factors)
    widths = [sqrt(max((sigma / s) ** 2 - (f * f - 1) / 12.0, 0.0)) / f for s, f in zip(spacing, factors, strict=True)]
    result: Floats = ndimage.gaussian_filter(coarse, widths, mode="reflect")
    return result


def enlarge(coarse: Floats, factors: Sequence[int], shape: Sequence[int]) -> Floats:
    """Return block means interpolated linearly between the centres of their blocks, on the fine grid.

    Parameters
    ----------
    coarse : float32 array
    factors : sequence of int
        Those of `block_mean`.
    shape : sequence of int
        Of the fine image.
    """
    result = coarse
    for axis, (factor, n) in enumerate(zip(factors, shape, strict=True)):
        if factor == 1:
            continue
        place = np.clip((np.arange(n) + 0.5) / factor - 0.5, 0, result.shape[axis] - 1)
        low = np.minimum(place.astype(np.intp), max(result.shape[axis] - 2, 0))
        high = np.minimum(low + 1, result.shape[axis] - 1)
        weight = (place - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(result.ndim)])
        first = np.take(result, low, axis=axis)
        result = first + (np.take(result, high, axis=axis) - first) * weight
    return result


def repeat_blocks(
    coarse: npt.NDArray[np.generic], factors: Sequence[int], shape: Sequence[int]
) -> npt.NDArray[np.generic]:
    """Return a coarse image with every cell repeated over its block: for labels, which cannot be interpolated."""
    where = [np.arange(n) // f for f, n in zip(factors, shape, strict=True)]
    result: npt.NDArray[np.generic] = coarse[np.ix_(*where)]
    return result

"""Smaller copies of an image for viewing: means for intensities, picked pixels for labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SMALLEST = 512
"""Length of the smallest level, px, at most."""


def n_levels(height: int, width: int) -> int:
    """Return how many resolution levels a plane gets: as many as make the smallest at most 512 px long.

    Examples
    --------
    >>> n_levels(512, 300), n_levels(513, 300), n_levels(2048, 2048), n_levels(20000, 20000)
    (1, 2, 3, 7)
    """
    longest, levels = max(height, width), 1
    while longest > SMALLEST:
        longest, levels = -(-longest // 2), levels + 1
    return levels


def level_shape(height: int, width: int, level: int) -> tuple[int, int]:
    """Return the plane's size at a level; a last odd row or column is kept."""
    for _ in range(level):
        height, width = -(-height // 2), -(-width // 2)
    return height, width


def halve_mean(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the image at half size: the mean of 2 x 2 pixels, rounded for integers.

    Parameters
    ----------
    image : ndarray, shape (..., Y, X)

    Returns
    -------
    ndarray, shape (..., ceil(Y/2), ceil(X/2)), same dtype
        A last odd row or column counts twice.
    """
    if image.dtype in (np.uint8, np.uint16):
        from napari_marrow.imaging.plane_kernels import halve

        planes = np.ascontiguousarray(image).reshape(-1, *image.shape[-2:])
        half = np.empty((len(planes), -(-image.shape[-2] // 2), -(-image.shape[-1] // 2)), image.dtype)
        halve(planes, half)
        return half.reshape(*image.shape[:-2], *half.shape[1:])
    wide = np.int64 if image.dtype.itemsize >= 4 else np.int32
    work = image.dtype if image.dtype.kind == "f" else np.dtype(wide)
    odd_y, odd_x = image.shape[-2] % 2, image.shape[-1] % 2
    if odd_y or odd_x:
        image = np.pad(image, [(0, 0)] * (image.ndim - 2) + [(0, odd_y), (0, odd_x)], mode="edge")
    total = np.add(image[..., ::2, ::2], image[..., 1::2, ::2], dtype=work)
    total += image[..., ::2, 1::2]
    total += image[..., 1::2, 1::2]
    if work.kind == "f":
        return (total * total.dtype.type(0.25)).astype(image.dtype, copy=False)
    return ((total + 2) >> 2).astype(image.dtype)


def halve_labels(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return every second pixel in y and x: labels have no mean."""
    return labels[..., ::2, ::2]

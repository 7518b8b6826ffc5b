"""Thresholds, tests whether anything stands out, and clean-up of masks: shared by all structures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_marrow.errors import SettingsError

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_SAMPLE = 1 << 20
"""Pixels that medians are taken over, at most: enough for three digits."""


def as_pixels(
    image: npt.ArrayLike, spacing: Sequence[float], *, what: str = "image"
) -> tuple[Floats, tuple[float, ...]]:
    """Return an image as float32 and the spacing of its axes.

    Parameters
    ----------
    image : array, shape (Y, X) or (Z, Y, X)
    spacing : sequence of float
        Pixel size (y, x) or (z, y, x), µm; of a plane the last two count.
    what : str
        What the image is called in a message.

    Raises
    ------
    SettingsError
        If the axes do not fit, the image is empty, a size is not positive or a pixel is not finite.
    """
    pixels = np.asarray(image)
    if pixels.ndim not in (2, 3) or len(spacing) not in (2, 3) or len(spacing) < pixels.ndim:
        raise SettingsError(f"An {what} of shape {pixels.shape} and a spacing of {len(spacing)} values do not fit.")
    if pixels.dtype.kind not in "uifb":
        raise SettingsError(f"The {what} holds {pixels.dtype}: give grey values.")
    size = tuple(float(s) for s in spacing[-pixels.ndim :])
    if not all(0 < s < np.inf for s in size):
        raise SettingsError(f"The pixel size {size} µm of the {what} is not positive.")
    if pixels.size == 0:
        raise SettingsError(f"The {what} of shape {pixels.shape} holds no pixels.")
    pixels = pixels.astype(np.float32, copy=False)
    if not np.isfinite(pixels).all():
        raise SettingsError(f"The {what} holds values that are not finite (NaN or infinity): replace them first.")
    return pixels, size


def otsu_threshold(values: npt.NDArray[np.floating], *, bins: int = 512) -> float:
    """Return the value that splits the histogram with the largest variance between both sides (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=bins)
    centre = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = counts.sum() - below
    sums = np.cumsum(counts * centre)
    mean_below = sums[:-1] / np.maximum(below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(edges[1:-1][np.argmax(below * above * (mean_below - mean_above) ** 2)])


def separation(values: npt.NDArray[np.floating], threshold: float) -> float:
    """Return the distance of the means of both sides of a threshold in units of their pooled standard deviation.

    A normal distribution cut in the middle has 2.65; two populations have more. 0 where one side is empty.
    """
    above = values > threshold
    share = float(above.mean())
    if share in (0.0, 1.0):
        return 0.0
    high, low = values[above], values[~above]
    within = float(np.sqrt(share * float(high.var()) + (1 - share) * float(low.var())))
    apart = float(high.mean() - low.mean())
    return apart / within if within > 0 else np.inf


def median_and_noise(values: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Return the median and the standard deviation that the median absolute deviation stands for.

    Of more than a million values every n-th is looked at.
    """
    flat = values.ravel()
    flat = flat[:: max(1, flat.size // _SAMPLE)]
    middle = float(np.median(flat))
    return middle, 1.4826 * float(np.median(np.abs(flat - middle)))


def hysteresis(low: Mask, high: Mask) -> Mask:
    """Return the connected parts of `low` or `high` that contain a pixel of `high`; diagonals connect."""
    parts, n = ndimage.label(low | high, structure=np.ones((3,) * low.ndim))
    kept = np.zeros(n + 1, dtype=np.bool_)
    kept[parts[high]] = True
    kept[0] = False
    result: Mask = kept[parts]
    return result


def drop_short(mask: Mask, spacing: Sequence[float], length: float) -> Mask:
    """Drop parts whose box has no side of `length` (unit of `spacing`)."""
    parts, n = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    kept = np.zeros(n + 1, dtype=np.bool_)
    for k, box in enumerate(ndimage.find_objects(parts), start=1):
        kept[k] = max((s.stop - s.start) * d for s, d in zip(box, spacing, strict=True)) >= length
    result: Mask = kept[parts]
    return result


def standardised_difference(values: Floats, inside: Mask, around: Mask) -> float:
    """Return the difference of the means inside and around in units of the pooled standard deviation (Cohen's d).

    NaN where either is empty; infinite where neither varies and they differ.
    """
    if not inside.any() or not around.any():
        return float("nan")
    one, other = values[inside].astype(np.float64), values[around].astype(np.float64)
    difference, pooled = float(one.mean() - other.mean()), float(np.sqrt((one.var() + other.var()) / 2))
    if pooled > 0:
        return difference / pooled
    return 0.0 if difference == 0 else float(np.copysign(np.inf, difference))

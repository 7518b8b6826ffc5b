"""The organoid: where tissue is in a field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_marrow.errors import SettingsError
from napari_marrow.segmentation.gaps import distance_to
from napari_marrow.segmentation.resolution import block_mean, enlarge, factors_for, repeat_blocks, smooth_coarse
from napari_marrow.segmentation.thresholds import Floats, Mask, as_pixels, median_and_noise, otsu_threshold

_HAZE_UM = 15.0
"""Medium nearer to the tissue than this is seen through its haze, µm."""

_CELL_UM = 8.0
"""Side of the squares whose darker pixels show the tissue between the cells, µm."""


def organoid_mask(
    image: npt.ArrayLike, *, spacing: Sequence[float], smoothing: float = 10.0, min_contrast: float = 1.15
) -> Mask:
    """Return the largest bright body of an image, holes filled: the tissue.

    Parameters
    ----------
    image : array, shape (Y, X) or (Z, Y, X)
        A channel that the whole tissue shows in, a sum of channels, or a `tissue_signal` or `brightfield_texture`.
    spacing : sequence of float
        Pixel size (y, x) or (z, y, x), µm.
    smoothing : float
        Sigma, µm.
    min_contrast : float
        If the mean of the bright side of Otsu's threshold is less than this many times that of the dark side (both
        above the image's minimum), or the dark side is too uneven for medium (`organoid_labels`), the tissue
        fills the frame and the mask is true everywhere.

    Returns
    -------
    bool array of the image's shape

    Raises
    ------
    SettingsError
        If image and spacing do not fit or the image holds values that are not finite.
    """
    labels = organoid_labels(image, spacing=spacing, smoothing=smoothing, min_contrast=min_contrast, max_organoids=1)
    mask: Mask = labels > 0
    return mask


def organoid_labels(
    image: npt.ArrayLike,
    *,
    spacing: Sequence[float],
    smoothing: float = 10.0,
    min_contrast: float = 1.15,
    min_evenness: float = 8.0,
    min_diameter: float = 100.0,
    max_organoids: int | None = None,
) -> npt.NDArray[np.int32]:
    """Return the bright bodies of an image, holes filled, numbered from the largest.

    Parameters
    ----------
    image, spacing, smoothing, min_contrast
        See `organoid_mask`.
    min_evenness : float
        Difference of the means of both sides of Otsu's threshold in standard deviations of the dark side, seen at
        least `smoothing` and 15 µm away from the bright one. Medium is even and has 10 or more, the darker parts of a
        tissue have up to 7: below this the tissue fills the frame.
    min_diameter : float
        Bodies smaller than the circle (in a volume, the ball) of this diameter, µm, are none; the largest stays.
    max_organoids : int, optional
        At most so many.

    Returns
    -------
    int32 array of the image's shape
        1 everywhere where the tissue fills the frame.

    Raises
    ------
    SettingsError
        If image and spacing do not fit, or a setting is not positive.
    """
    pixels, size = as_pixels(image, spacing)
    if not smoothing > 0 or not min_contrast >= 1 or (max_organoids is not None and max_organoids < 1):
        raise SettingsError(
            f"An organoid needs a smoothing above 0 µm, a contrast of 1 or more and one body or more, not "
            f"{smoothing:g} µm, {min_contrast:g} and {max_organoids}."
        )
    factors = factors_for(smoothing, size)
    smooth = smooth_coarse(pixels, smoothing, size, factors)
    fills = np.ones(pixels.shape, dtype=np.int32)
    if float(smooth.max()) <= float(smooth.min()):
        return fills
    threshold = otsu_threshold(smooth)
    bright = smooth > threshold
    if _evenness(smooth, bright, smoothing, [s * f for s, f in zip(size, factors, strict=True)]) < min_evenness:
        return fills
    floor = float(pixels.min())
    if float(smooth[bright].mean()) - floor < min_contrast * max(float(smooth[~bright].mean()) - floor, 0.0):
        return fills
    parts, n = ndimage.label(enlarge(smooth, factors, pixels.shape) > threshold)
    if n == 0:
        return fills
    amounts = np.bincount(parts.ravel())[1:]
    order = np.argsort(-amounts, kind="stable")
    least = _amount(min_diameter, size) / np.prod(size)
    kept = [int(k) for i, k in enumerate(order) if i == 0 or amounts[k] >= least][:max_organoids]
    labels = np.zeros(pixels.shape, dtype=np.int32)
    for number, k in reversed(list(enumerate(kept, start=1))):
        labels[ndimage.binary_fill_holes(parts == k + 1)] = number
    return labels


def _evenness(smooth: Floats, bright: Mask, away: float, size: Sequence[float]) -> float:
    """Return the difference of both sides in standard deviations of the dark one, away from the bright one."""
    medium = distance_to(bright, size) > max(away, _HAZE_UM)
    if not medium.any():
        return 0.0
    spread = float(smooth[medium].std())
    return (float(smooth[bright].mean()) - float(smooth[medium].mean())) / max(spread, 1e-30)


def tissue_signal(channels: Iterable[npt.ArrayLike], *, spacing: Sequence[float]) -> Floats:
    """Add up what shows of the tissue itself in several channels, without the cells.

    Cells and vessels are much brighter than the tissue between them and would draw a threshold to themselves. So each
    channel is looked at in squares of 8 µm, of which the darker pixels count, and what stands far out of all squares
    counts no more than that. Channels are then added in units of their noise.

    Parameters
    ----------
    channels : iterable of arrays, each (Y, X) or (Z, Y, X)
        Fluorescence channels of one frame.
    spacing : sequence of float
        Pixel size (y, x) or (z, y, x), µm.

    Returns
    -------
    float32 array of the channels' shape

    Raises
    ------
    SettingsError
        If there is no channel, or shapes or spacing do not fit.
    """
    total: Floats | None = None
    for channel in channels:
        pixels, size = as_pixels(channel, spacing)
        if total is not None and total.shape != pixels.shape:
            raise SettingsError(f"Channels have the shapes {total.shape} and {pixels.shape}: they must be alike.")
        own = _between_cells(pixels, size)
        total = own if total is None else total + own
    if total is None:
        raise SettingsError("The tissue needs at least one channel.")
    return total


def _between_cells(pixels: Floats, size: tuple[float, ...]) -> Floats:
    """Return the lower quartile of squares, clipped, in units of its noise, on the image's grid."""
    side = [max(1, round(_CELL_UM / s)) if a >= pixels.ndim - 2 else 1 for a, s in enumerate(size)]
    # Two pixels as one take half of the noise's pull on a quantile.
    fine = [max(1, n // 4) for n in side]
    reduced = block_mean(pixels, fine)
    wide = [max(1, -(-n // f)) for n, f in zip(side, fine, strict=True)]
    quartile = ndimage.percentile_filter(reduced, 25, size=wide, mode="reflect")
    middles = [np.minimum(np.arange(0, n, w) + w // 2, n - 1) for n, w in zip(quartile.shape, wide, strict=True)]
    coarse = quartile[np.ix_(*middles)]
    noise = median_and_noise(np.diff(coarse, axis=-1))[1] / np.sqrt(2) if coarse.shape[-1] > 1 else 0.0
    if noise <= 0:
        return np.zeros(pixels.shape, dtype=np.float32)
    low, high = (float(v) for v in np.percentile(coarse, (1, 50)))
    values = np.clip(coarse, None, high + 2 * max(high - low, noise)) / noise
    steps = [w * f for w, f in zip(wide, fine, strict=True)]
    return repeat_blocks(values, steps, pixels.shape).astype(np.float32)


def _amount(diameter: float, size: Sequence[float]) -> float:
    """Return the area of a circle or the volume of a ball."""
    return float(np.pi / 4 * diameter**2 if len(size) == 2 else np.pi / 6 * diameter**3)

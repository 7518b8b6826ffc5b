"""Masks of niche structures: vessels, organoid, scaffold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_marrow.errors import SettingsError

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def vessel_mask(
    image: npt.NDArray[np.generic],
    *,
    spacing: Sequence[float],
    radii: Sequence[float] = (4.0, 8.0, 16.0, 32.0),
    high: float = 6.0,
    low: float = 3.0,
    min_length: float = 20.0,
) -> Mask:
    """Return where the vessels are in an image of an endothelial marker.

    Parameters
    ----------
    image : array, shape (Y, X) or (Z, Y, X)
        Bright vessels on a darker background.
    spacing : sequence of float
        Pixel size (y, x) or (z, y, x), µm.
    radii : sequence of float
        Radii of the tubes that are looked for, µm. Those below a pixel or beyond a quarter of the image are left out.
    high, low : float
        Thresholds of the ridge response in units of its noise: a vessel begins where it exceeds `high` and continues
        while it exceeds `low`.
    min_length : float
        Shorter pieces (largest side of their box, µm) are dropped.

    Returns
    -------
    bool array of the image's shape

    Notes
    -----
    The response at radius r is the strongest negative curvature (in a volume the weaker of the two that a tube has)
    of the image smoothed with sigma = r / √2 (2D) or r / √3 per axis, times sigma² (Lindeberg 1998, IJCV 30:117). Its
    noise is 1.4826 times the median absolute deviation at that scale. A ridge extends sideways to half of the local
    contrast.
    """
    pixels, size = _prepare(image, spacing)
    best = np.zeros(pixels.shape, dtype=np.float32)
    wide = np.zeros(pixels.shape, dtype=np.bool_)
    for radius in _usable_radii(radii, pixels.shape, size):
        response = _ridge(pixels, radius / np.sqrt(pixels.ndim), size)
        noise = 1.4826 * float(np.median(np.abs(response - np.median(response))))
        scale = max(noise, 1e-6 * float(np.abs(response).max(initial=0)), 1e-30)
        strength = (response - float(np.median(response))) / scale
        # Only where the contrast reaches half of the local one: a wide filter also answers beside a thin tube.
        body = _above_half_contrast(pixels, radius, size)
        wide |= (strength > low) & body
        np.maximum(best, np.where(body, strength, 0), out=best)
    mask = _hysteresis(wide, best > high)
    return _drop_short(mask, size, min_length)


def organoid_mask(
    image: npt.NDArray[np.generic], *, spacing: Sequence[float], smoothing: float = 15.0, min_contrast: float = 1.15
) -> Mask:
    """Return the largest bright body of an image, holes filled: the tissue.

    Parameters
    ----------
    image : array, shape (Y, X) or (Z, Y, X)
        A channel that the whole tissue shows in, or a sum of channels.
    spacing : sequence of float
        Pixel size (y, x) or (z, y, x), µm.
    smoothing : float
        Sigma, µm.
    min_contrast : float
        If the mean of the bright side of Otsu's threshold is less than this many times that of the dark side (both
        above the image's minimum), the tissue fills the frame and the mask is true everywhere.

    Returns
    -------
    bool array of the image's shape
    """
    pixels, size = _prepare(image, spacing)
    smooth = ndimage.gaussian_filter(pixels, [smoothing / s for s in size], mode="reflect")
    if float(smooth.max()) <= float(smooth.min()):
        return np.ones(pixels.shape, dtype=np.bool_)
    bright = smooth > otsu_threshold(smooth)
    floor = float(pixels.min())
    if float(smooth[bright].mean()) - floor < min_contrast * max(float(smooth[~bright].mean()) - floor, 0.0):
        return np.ones(pixels.shape, dtype=np.bool_)
    parts, n = ndimage.label(bright)
    if n > 1:
        bright = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    filled: Mask = ndimage.binary_fill_holes(bright)
    return filled


def scaffold_mask(
    image: npt.NDArray[np.generic],
    *,
    spacing: Sequence[float],
    smoothing: float = 2.0,
    min_size: float = 20.0,
    min_separation: float = 3.5,
) -> Mask:
    """Return the bright scaffold of one session.

    Parameters
    ----------
    image : array, shape (Y, X) or (Z, Y, X)
    spacing : sequence of float
        Pixel size (y, x) or (z, y, x), µm.
    smoothing : float
        Sigma, µm.
    min_size : float
        Struts with a longest side below this, µm, are dropped.
    min_separation : float
        Distance of the means of both sides of Otsu's threshold in units of their pooled standard deviation below
        which there is no scaffold: noise alone, a normal distribution cut in the middle, has 2.65.

    Returns
    -------
    bool array of the image's shape
    """
    pixels, size = _prepare(image, spacing)
    smooth = ndimage.gaussian_filter(pixels, [smoothing / s for s in size], mode="reflect")
    bright = smooth > otsu_threshold(smooth)
    if not bright.any() or bright.all():
        return np.zeros(pixels.shape, dtype=np.bool_)
    n = bright.mean()
    within = np.sqrt(n * float(smooth[bright].var()) + (1 - n) * float(smooth[~bright].var()))
    if float(smooth[bright].mean() - smooth[~bright].mean()) < min_separation * within:
        return np.zeros(pixels.shape, dtype=np.bool_)
    return _drop_short(bright, size, min_size)


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


def _prepare(image: npt.NDArray[np.generic], spacing: Sequence[float]) -> tuple[Floats, tuple[float, ...]]:
    """Return float pixels and the spacing of their axes."""
    pixels = np.asarray(image, dtype=np.float32)
    if pixels.ndim not in (2, 3) or len(spacing) not in (2, 3) or len(spacing) < pixels.ndim:
        raise SettingsError(f"An image of shape {pixels.shape} and a spacing of {len(spacing)} values do not fit.")
    return pixels, tuple(float(s) for s in spacing[-pixels.ndim :])


def _usable_radii(radii: Sequence[float], shape: tuple[int, ...], size: tuple[float, ...]) -> list[float]:
    reach = min(shape[-2] * size[-2], shape[-1] * size[-1]) / 4
    return [float(r) for r in radii if max(size[-2:]) <= r <= reach]


def _ridge(pixels: Floats, sigma: float, size: tuple[float, ...]) -> Floats:
    """Return sigma² times the negative curvature across a ridge."""
    widths = [sigma / s for s in size]
    n = pixels.ndim
    hessian = np.empty((*pixels.shape, n, n), dtype=np.float32)
    for i in range(n):
        for j in range(i, n):
            order = [(a == i) + (a == j) for a in range(n)]
            second = ndimage.gaussian_filter(pixels, widths, order=order, mode="reflect") / (size[i] * size[j])
            hessian[..., i, j] = hessian[..., j, i] = second * sigma**2
    if n == 2:
        mean = (hessian[..., 0, 0] + hessian[..., 1, 1]) / 2
        root = np.sqrt(((hessian[..., 0, 0] - hessian[..., 1, 1]) / 2) ** 2 + hessian[..., 0, 1] ** 2)
        flat: Floats = (root - mean).astype(np.float32)
        return flat
    # A tube has two strong negative curvatures, a sheet only one: the weaker of the two tells them apart.
    tube: Floats = -np.linalg.eigvalsh(hessian)[..., 1].astype(np.float32)
    return tube


def _above_half_contrast(pixels: Floats, radius: float, size: tuple[float, ...]) -> Mask:
    """Return where the lightly smoothed image is above the middle between local background and local peak."""
    smooth = ndimage.gaussian_filter(pixels, [max(radius / 4, 0.5 * s) / s for s in size], mode="reflect")
    near = [max(3, 2 * int(np.ceil(radius / s)) + 1) for s in size]
    far = [max(3, 2 * int(np.ceil(3 * radius / s)) + 1) for s in size]
    peak = ndimage.maximum_filter(smooth, near, mode="reflect")
    floor = ndimage.minimum_filter(smooth, far, mode="reflect")
    floor = ndimage.uniform_filter(floor, near, mode="reflect")
    half: Mask = smooth > (peak + floor) / 2
    return half


def _hysteresis(low: Mask, high: Mask) -> Mask:
    """Return the connected parts of `low` that contain a pixel of `high`."""
    parts, n = ndimage.label(low | high, structure=np.ones((3,) * low.ndim))
    kept = np.zeros(n + 1, dtype=np.bool_)
    kept[parts[high]] = True
    kept[0] = False
    result: Mask = kept[parts]
    return result


def _drop_short(mask: Mask, size: tuple[float, ...], length: float) -> Mask:
    """Drop parts whose box has no side of `length` µm."""
    parts, n = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    kept = np.zeros(n + 1, dtype=np.bool_)
    for k, box in enumerate(ndimage.find_objects(parts), start=1):
        kept[k] = max((s.stop - s.start) * d for s, d in zip(box, size, strict=True)) >= length
    result: Mask = kept[parts]
    return result

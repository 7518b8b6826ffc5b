"""Uneven illumination, camera offset and background of a channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_marrow.errors import SettingsError

NODES = 17
"""Nodes a side that a field is stored by."""


@dataclass(frozen=True, eq=False)
class Shading:
    """A smooth multiplicative field of one channel.

    Attributes
    ----------
    field : ndarray of float32, shape (Y, X)
        Relative brightness, mean 1.
    dark : float, counts
        Camera offset, which no light adds to.
    depth : float
        (brightest - darkest) / brightest of the field: 0 for even light.
    explained : float
        Share of the variance of the background map that the field explains.
    accepted : bool
        False where the background was too dim or too irregular to tell; the field is then 1 everywhere.
    reason : str
        Why it was not accepted, '' otherwise.
    """

    field: npt.NDArray[np.float32]
    dark: float
    depth: float
    explained: float
    accepted: bool
    reason: str = ""


def estimate_shading(
    stack: npt.ArrayLike,
    *,
    dark: float = 0.0,
    degree: int = 2,
    min_frames: int = 3,
    min_explained: float = 0.5,
    block: int = 16,
) -> Shading:
    """Estimate the illumination of a channel from frames of several positions or times.

    Each frame, less the dark level, is divided by its own median; the median over frames at every block of pixels is
    the even background seen through the illumination. A low-order polynomial is fitted to its logarithm with Tukey's
    biweight, so that structures that stand in most frames (a scaffold, an organoid) weigh little. An organoid that sits
    in the middle of *every* frame cannot be told from illumination: give frames of several wells or of empty medium.

    Parameters
    ----------
    stack : array_like, shape (N, Y, X), counts
        Frames of one channel, from as many positions as there are.
    dark : float, counts
        Camera offset. 0 gives a correction that is too weak rather than too strong.
    degree : int
        Degree of the polynomial, 1 to 4.
    min_frames : int
        Fewer frames than this give an even field that is not accepted.
    min_explained : float
        Share of the variance of the background map that the field must explain.
    block : int, pixels
        Side of the blocks that the background is read from.

    Returns
    -------
    Shading

    Raises
    ------
    SettingsError
        If the stack is not 3D or the degree is out of range.
    """
    frames = np.asarray(stack)
    if frames.ndim != 3 or 0 in frames.shape:
        raise SettingsError(f"Shading needs frames of shape (N, Y, X), not {frames.shape}.")
    if not 1 <= degree <= 4:
        raise SettingsError(f"The shading polynomial's degree must be 1 to 4, not {degree}.")
    shape = (int(frames.shape[1]), int(frames.shape[2]))
    even = np.ones(shape, dtype=np.float32)
    if len(frames) < min_frames:
        return Shading(even, dark, 0.0, 0.0, False, f"{len(frames)} frames, at least {min_frames} are needed")
    maps = [_background_map(frame, dark, block) for frame in frames]
    usable = [m for m in maps if m is not None]
    if len(usable) < min_frames:
        return Shading(even, dark, 0.0, 0.0, False, "the background does not rise above the dark level")
    background = np.median(np.stack(usable), axis=0)
    if not (background > 0).all():
        return Shading(even, dark, 0.0, 0.0, False, "the background does not rise above the dark level everywhere")
    coefficients, explained = _robust_surface(np.log(background), shape, block, degree)
    field = np.exp(_polynomial(*_pixel_grid(shape), degree) @ coefficients).reshape(shape)
    field /= field.mean()
    depth = float(1.0 - field.min() / field.max())
    if explained < min_explained:
        reason = "the background is too irregular for a smooth field" if depth > 0.02 else "the light is even"
        return Shading(even, dark, 0.0, explained, False, reason)
    return Shading(field.astype(np.float32), dark, depth, explained, True)


def _background_map(frame: npt.NDArray[Any], dark: float, block: int) -> npt.NDArray[np.float64] | None:
    """Median of each block over the frame's median, None where the frame is no brighter than the dark level."""
    height, width = frame.shape
    step_y, step_x = min(block, height), min(block, width)
    cut = frame[: height // step_y * step_y, : width // step_x * step_x].astype(np.float64) - dark
    blocks = cut.reshape(cut.shape[0] // step_y, step_y, cut.shape[1] // step_x, step_x)
    levels = np.median(blocks.swapaxes(1, 2).reshape(blocks.shape[0], blocks.shape[2], -1), axis=2)
    middle = float(np.median(levels))
    if not np.isfinite(levels).all() or middle <= 0:
        return None
    return np.asarray(levels / middle)


def _pixel_grid(shape: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    return y.ravel(), x.ravel()


def _polynomial(y: npt.NDArray[np.float64], x: npt.NDArray[np.float64], degree: int) -> npt.NDArray[np.float64]:
    terms = [y**i * x**j for i in range(degree + 1) for j in range(degree + 1 - i)]
    return np.stack(terms, axis=1)


def _robust_surface(
    log_map: npt.NDArray[np.float64], shape: tuple[int, int], block: int, degree: int
) -> tuple[npt.NDArray[np.float64], float]:
    """Fit the polynomial with Tukey's biweight; return coefficients and the share of variance explained."""
    rows, columns = log_map.shape
    step_y, step_x = min(block, shape[0]), min(block, shape[1])
    centre_y = (np.arange(rows) * step_y + (step_y - 1) / 2) / max(shape[0] - 1, 1) * 2 - 1
    centre_x = (np.arange(columns) * step_x + (step_x - 1) / 2) / max(shape[1] - 1, 1) * 2 - 1
    y, x = (g.ravel() for g in np.meshgrid(centre_y, centre_x, indexing="ij"))
    design, target = _polynomial(y, x, degree), log_map.ravel()
    weight = np.ones_like(target)
    coefficients: npt.NDArray[np.float64] = np.zeros(design.shape[1])
    for _ in range(20):
        root = np.sqrt(weight)[:, None]
        coefficients = np.asarray(np.linalg.lstsq(design * root, target * root[:, 0], rcond=None)[0], dtype=np.float64)
        residual = target - design @ coefficients
        spread = 1.4826 * float(np.median(np.abs(residual))) + 1e-9
        weight = np.clip(1.0 - (residual / (4.685 * spread)) ** 2, 0.0, None) ** 2
    kept = weight > 0
    total = float(np.var(target[kept]))
    explained = 1.0 - float(np.var(target[kept] - design[kept] @ coefficients)) / total if total > 1e-12 else 1.0
    return coefficients, max(0.0, explained) * float(kept.mean())


def shading_nodes(field: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return a field's values on a grid of `NODES` nodes a side, which say all of a smooth polynomial.

    Parameters
    ----------
    field : array, shape (Y, X)

    Returns
    -------
    float64 array, shape (NODES, NODES)
    """
    y, x = (np.linspace(0, n - 1, NODES).round().astype(int) for n in field.shape)
    return field[np.ix_(y, x)].astype(np.float64)


def shading_from_nodes(nodes: Sequence[float], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return the field whose nodes these are, by a cubic spline.

    Parameters
    ----------
    nodes : sequence of float
        Row by row, as `shading_nodes` returns them.
    shape : (int, int)
        Rows and columns of the field.

    Returns
    -------
    float32 array, shape (Y, X)
    """
    from scipy.interpolate import RectBivariateSpline

    y, x = (np.unique(np.linspace(0, n - 1, NODES).round().astype(int)) for n in shape)
    grid = np.asarray(nodes, dtype=np.float64).reshape(NODES, NODES)[: len(y), : len(x)]
    order = min(3, len(y) - 1, len(x) - 1)
    spline = RectBivariateSpline(y, x, grid, kx=order, ky=order)
    return np.asarray(spline(np.arange(shape[0]), np.arange(shape[1])), dtype=np.float32)


def estimate_background(frame: npt.ArrayLike, *, sigma: float | None = None) -> npt.NDArray[np.float32]:
    """Estimate the additive background of a frame.

    Parameters
    ----------
    frame : array_like, shape (Y, X), counts
    sigma : float, pixels, optional
        Without it one level for the whole frame is returned: the mode of the histogram, by repeatedly clipping above
        the median plus three robust standard deviations. With it, a map that follows the background over that length:
        a minimum filter of smoothed pixels, smoothed again.

    Returns
    -------
    ndarray of float32, shape () or (Y, X), counts
    """
    plane = np.asarray(frame, dtype=np.float32)
    if sigma is not None:
        size = max(3, round(2 * sigma) | 1)
        smooth = ndimage.gaussian_filter(plane, 2.0, truncate=3.0)
        low = ndimage.minimum_filter(smooth, size=size)
        return np.asarray(ndimage.gaussian_filter(low, sigma, truncate=2.0))
    values = plane[np.isfinite(plane)]
    if values.size == 0:
        return np.float32(0.0) * np.ones((), dtype=np.float32)
    for _ in range(20):
        middle = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - middle)))
        kept = values[values <= middle + 3.0 * max(spread, 1e-6)]
        if kept.size == values.size:
            break
        values = kept
    return np.asarray(np.median(values), dtype=np.float32)


def correct(
    frame: npt.ArrayLike,
    *,
    shading: Shading | None = None,
    background: npt.ArrayLike = 0.0,
    gain: float = 1.0,
    dark: float | None = None,
) -> npt.NDArray[np.float32]:
    """Return ``gain * ((frame - dark) / field - background)``.

    Parameters
    ----------
    frame : array_like, shape (..., Y, X), counts
    shading : Shading, optional
        The channel's illumination; its dark level is used unless `dark` is given.
    background : array_like, counts
        Level or map in corrected counts, that is, after dark level and shading.
    gain : float
        Factor of the frame, for example from `estimate_bleaching`.
    dark : float, counts, optional

    Returns
    -------
    ndarray of float32, shape of `frame`; negative values are kept, as clipping would bias means upwards.

    Raises
    ------
    SettingsError
        If the shading field has another shape than the frame, or the gain is not positive.
    """
    array = np.asarray(frame, dtype=np.float32)
    if not gain > 0:
        raise SettingsError(f"The gain of a frame must be positive, not {gain}.")
    offset = dark if dark is not None else (shading.dark if shading is not None else 0.0)
    result = array - np.float32(offset)
    if shading is not None:
        if array.shape[-2:] != shading.field.shape:
            raise SettingsError(f"The shading field has shape {shading.field.shape}, the frame {array.shape[-2:]}.")
        result /= shading.field
    result -= np.asarray(background, dtype=np.float32)
    result *= np.float32(gain)
    return np.asarray(result)

"""The scaffold: bright, by one threshold per session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.segmentation.resolution import enlarge, factors_for, smooth_coarse
from napari_marrow.segmentation.thresholds import Floats, Mask, as_pixels, drop_short, otsu_threshold, separation

SMOOTHING = 2.0
"""Sigma of the smoothing before the threshold, µm."""


@dataclass(frozen=True)
class ScaffoldThreshold:
    """What is scaffold in a session.

    Attributes
    ----------
    value : float
        Smoothed brightness above which it is; infinite where the frames show none.
    separation : float
        Distance of the means of both sides of Otsu's threshold in units of their pooled standard deviation.
    n_frames : int
        Frames that it was estimated from.
    """

    value: float
    separation: float
    n_frames: int


def scaffold_threshold(
    frames: Iterable[npt.ArrayLike],
    *,
    spacing: Sequence[float],
    smoothing: float = SMOOTHING,
    min_separation: float = 3.5,
) -> ScaffoldThreshold:
    """Estimate one threshold for the frames of a session.

    One threshold for all: a frame that holds little scaffold, or none, then is not cut in its noise, and the
    scaffold's outline does not breathe from frame to frame.

    Parameters
    ----------
    frames : iterable of arrays, each (Y, X) or (Z, Y, X)
        A few frames, spread over the session. They may differ in shape.
    spacing : sequence of float
        Pixel size (y, x) or (z, y, x), µm.
    smoothing : float
        Sigma, µm.
    min_separation : float
        Below this `ScaffoldThreshold.separation` there is no scaffold: noise alone, a normal distribution cut in the
        middle, has 2.65.

    Returns
    -------
    ScaffoldThreshold

    Raises
    ------
    SettingsError
        If there is no frame, or one is no image.
    """
    values = [
        _smooth(*as_pixels(frame, spacing, what="image of the scaffold"), smoothing)[0].ravel() for frame in frames
    ]
    if not values:
        raise SettingsError("The scaffold's threshold needs at least one frame.")
    together = np.concatenate(values)
    # Glare and dust are much brighter than the scaffold and would draw the histogram apart.
    top = float(np.quantile(together, 0.999))
    together = np.minimum(together, top)
    threshold = otsu_threshold(together)
    apart = separation(together, threshold)
    found = apart >= min_separation
    return ScaffoldThreshold(threshold if found else float("inf"), apart, len(values))


def scaffold_mask(
    image: npt.ArrayLike,
    *,
    spacing: Sequence[float],
    threshold: float | None = None,
    smoothing: float = SMOOTHING,
    min_size: float = 20.0,
    min_separation: float = 3.5,
) -> Mask:
    """Return the bright scaffold of one frame.

    Parameters
    ----------
    image : array, shape (Y, X) or (Z, Y, X)
    spacing : sequence of float
        Pixel size (y, x) or (z, y, x), µm.
    threshold : float, optional
        The session's, from `scaffold_threshold`; estimated from this image alone when left out.
    smoothing : float
        Sigma, µm.
    min_size : float
        Struts with a longest side below this, µm, are dropped.
    min_separation : float
        See `scaffold_threshold`; used where the threshold is estimated.

    Returns
    -------
    bool array of the image's shape

    Raises
    ------
    SettingsError
        If image and spacing do not fit or the image holds values that are not finite.
    """
    pixels, size = as_pixels(image, spacing, what="image of the scaffold")
    if threshold is None:
        found = scaffold_threshold([pixels], spacing=size, smoothing=smoothing, min_separation=min_separation)
        threshold = found.value
    smooth, factors = _smooth(pixels, size, smoothing)
    bright: Mask = enlarge(smooth, factors, pixels.shape) > threshold
    return drop_short(bright, size, min_size)


def _smooth(pixels: Floats, size: tuple[float, ...], smoothing: float) -> tuple[Floats, tuple[int, ...]]:
    factors = factors_for(smoothing, size, cells=2.0)
    return smooth_coarse(pixels, smoothing, size, factors), factors

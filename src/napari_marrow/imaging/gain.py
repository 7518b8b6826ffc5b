"""Sudden changes of lamp or camera gain within a session."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_marrow.errors import SettingsError
from napari_marrow.imaging.bleaching import signal_level

_WINDOW = 3
_MAD_TO_SD = 1.4826


@dataclass(frozen=True, eq=False)
class GainJumps:
    """Lasting steps of the signal that all bright pixels share.

    Attributes
    ----------
    frames : tuple of int
        First frame after each jump.
    ratios : tuple of float
        Signal after over signal before each jump.
    factors : ndarray of float64, shape (T,)
        What each frame is to be multiplied with to have the gain of the first; all 1 without jumps.
    """

    frames: tuple[int, ...]
    ratios: tuple[float, ...]
    factors: npt.NDArray[np.float64]


def gain_levels(frame: npt.ArrayLike) -> tuple[float, float]:
    """Return what `estimate_gain_jumps` compares: the signal, and the usual height of a peak.

    Parameters
    ----------
    frame : array_like, shape (Y, X) or (Z, Y, X), counts

    Returns
    -------
    (float, float), counts
        The brightest twentieth (`signal_level`), which more cells raise, and the median of the maxima that reach a
        third of the highest ones, which more cells leave; both over the frame's median. NaN without peaks.
    """
    values = np.asarray(frame, dtype=np.float32)
    plane = values if values.ndim == 2 else values.max(axis=0)
    smooth = ndimage.gaussian_filter(plane, 1.5)
    heights = smooth[ndimage.maximum_filter(smooth, 7) == smooth] - np.median(plane)
    high = heights[heights > np.quantile(heights, 0.98) / 3]
    return signal_level(values), float(np.median(high)) if len(high) else float("nan")


def estimate_gain_jumps(levels: npt.ArrayLike, *, least: float = 0.08, deviation: float = 6.0) -> GainJumps:
    """Find where the signal of a session steps from one frame to the next and stays.

    Parameters
    ----------
    levels : array_like, shape (T, n), counts
        Signals of each frame (`gain_levels`); frames with values that are not positive or not numbers are left out.
    least : float
        Smallest relative step.
    deviation : float
        Smallest step in robust standard deviations of the steps from frame to frame.

    Returns
    -------
    GainJumps

    Raises
    ------
    SettingsError
        If the levels are not a table.

    Notes
    -----
    The median step, which bleaching and growth make, is taken off. A step counts if the medians of the three frames
    before and after differ by at least six tenths of it, and if every signal steps alike: within a third of their mean.
    A change of medium moves the background, which the signals do not hold; cells that come into the field raise one
    signal and not the other. Between sessions cells change too much for this.
    """
    values = np.asarray(levels, dtype=np.float64)
    if values.ndim != 2:
        raise SettingsError(f"Gain jumps need a table of levels, frames by signals, not shape {values.shape}.")
    factors = np.ones(len(values))
    good = np.flatnonzero((np.isfinite(values) & (values > 0)).all(axis=1))
    if len(good) < 2 * _WINDOW:
        return GainJumps((), (), factors)
    logs = np.log(values[good])
    steps = np.diff(logs, axis=0)
    trend = np.median(steps, axis=0)
    own = steps - trend
    spread = _MAD_TO_SD * np.median(np.abs(own), axis=0)
    mean = own.mean(axis=1)
    alike = (np.abs(own - mean[:, None]) <= np.abs(mean)[:, None] / 3).all(axis=1)
    large = (np.abs(own) > np.maximum(np.log1p(least), deviation * spread)).all(axis=1)
    frames, ratios = [], []
    for i in np.flatnonzero(alike & large):
        before, after = logs[max(0, i - _WINDOW + 1) : i + 1], logs[i + 1 : i + 1 + _WINDOW]
        # the trend between the middles of both windows is no jump
        middle = (len(before) + len(after)) / 2
        lasting = np.median(after, axis=0) - np.median(before, axis=0) - middle * trend
        if (lasting * np.sign(mean[i]) < 0.6 * np.abs(own[i])).any():
            continue
        frame, jump = int(good[i + 1]), float(lasting.mean())
        frames.append(frame)
        ratios.append(float(np.exp(jump)))
        factors[frame:] *= np.exp(-jump)
    return GainJumps(tuple(frames), tuple(ratios), factors)

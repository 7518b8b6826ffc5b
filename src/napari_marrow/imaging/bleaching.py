"""Loss of fluorescence by imaging."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError


@dataclass(frozen=True, eq=False)
class Bleaching:
    """Exponential loss of signal over the frames of a session.

    Attributes
    ----------
    rate : float, per frame
        Loss of log signal with each frame, >= 0.
    low, high : float, per frame
        95 % interval of the rate (Theil-Sen).
    factors : ndarray of float64, shape (T,)
        What each frame is to be multiplied with; the first frame's is 1. All 1 where the interval reaches 0.
    significant : bool
        Whether the interval excludes 0.
    """

    rate: float
    low: float
    high: float
    factors: npt.NDArray[np.float64]
    significant: bool


def signal_level(frame: npt.ArrayLike, *, top: float = 0.05) -> float:
    """Return the mean of the brightest `top` share of pixels less the median: signal above background, in counts.

    Parameters
    ----------
    frame : array_like, shape (Y, X) or (Z, Y, X), counts
    top : float
        Share of the pixels, 0 to .5.
    """
    values = np.asarray(frame, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    if values.size == 0:
        return float("nan")
    if not 0 < top < 0.5:
        raise SettingsError(f"The share of brightest pixels must be between 0 and 0.5, not {top}.")
    count = max(1, round(top * values.size))
    brightest = np.partition(values, values.size - count)[values.size - count :]
    return float(brightest.mean() - np.median(values))


def estimate_bleaching(levels: npt.ArrayLike) -> Bleaching:
    """Fit an exponential loss to the signal of each frame.

    Theil-Sen slope of log signal over frame number, which a few bad frames do not move. Use a channel whose true
    signal does not change, such as a nuclear stain; a marker that comes on with maturation would be flattened.

    Parameters
    ----------
    levels : array_like, shape (T,), counts
        Signal of each frame (`signal_level`); values that are not positive or not numbers are left out.

    Returns
    -------
    Bleaching

    References
    ----------
    Sen PK (1968) J Am Stat Assoc 63, 1379-1389.
    """
    values = np.asarray(levels, dtype=np.float64)
    if values.ndim != 1:
        raise SettingsError(f"Bleaching needs one level per frame, not an array of shape {values.shape}.")
    good = np.isfinite(values) & (values > 0)
    even = np.ones(len(values))
    if good.sum() < 4:
        return Bleaching(0.0, 0.0, float("nan"), even, False)
    from scipy.stats import theilslopes

    frame = np.arange(len(values), dtype=np.float64)
    slope, _, lower, upper = theilslopes(np.log(values[good]), frame[good], alpha=0.95)
    rate, low, high = -float(slope), -float(upper), -float(lower)
    if low <= 0.0:
        return Bleaching(max(0.0, rate), max(0.0, low), max(0.0, high), even, False)
    return Bleaching(rate, low, high, np.exp(rate * frame), True)

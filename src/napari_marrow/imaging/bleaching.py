"""Loss of fluorescence by imaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError

Method = Literal["exponential", "ratio"]


@dataclass(frozen=True, eq=False)
class Bleaching:
    """Loss of signal over the frames of a session.

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


def estimate_bleaching(levels: npt.ArrayLike, *, method: Method = "exponential") -> Bleaching:
    """Fit a loss to the signal of each frame.

    Whether there is a loss is decided by the Theil-Sen slope of log signal over frame number, which a few bad frames do
    not move. Use a channel whose true signal does not change, such as a nuclear stain; a marker that comes on with
    maturation would be flattened.

    Parameters
    ----------
    levels : array_like, shape (T,), counts
        Signal of each frame (`signal_level`); values that are not positive or not numbers are left out.
    method : {"exponential", "ratio"}
        *exponential*: every frame loses the same share of the signal. *ratio*: frames are brought to the first one's
        level along the falling course that lies nearest to the log levels (isotonic regression of their running median
        over five frames), for dyes that fade fast and then slowly.

    Returns
    -------
    Bleaching

    Raises
    ------
    SettingsError
        If there is not one level per frame, or the method is unknown.

    References
    ----------
    Sen PK (1968) J Am Stat Assoc 63, 1379-1389. Barlow RE, Bartholomew DJ, Bremner JM, Brunk HD (1972) Statistical
    inference under order restrictions, Wiley.
    """
    values = np.asarray(levels, dtype=np.float64)
    if values.ndim != 1:
        raise SettingsError(f"Bleaching needs one level per frame, not an array of shape {values.shape}.")
    if method not in ("exponential", "ratio"):
        raise SettingsError(f"Unknown method of bleaching '{method}': use exponential or ratio.")
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
    if method == "ratio":
        course = _falling_course(frame[good], np.log(values[good]), frame)
        return Bleaching(rate, low, high, np.exp(course[0] - course), True)
    return Bleaching(rate, low, high, np.exp(rate * frame), True)


def _falling_course(
    known: npt.NDArray[np.float64], logs: npt.NDArray[np.float64], frame: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    from scipy.optimize import isotonic_regression

    # The window narrows towards the ends: a wider one would flatten the fast fading of the first frames.
    reach = [min(2, i, len(logs) - 1 - i) for i in range(len(logs))]
    smooth = np.array([np.median(logs[i - r : i + r + 1]) for i, r in enumerate(reach)])
    return np.asarray(np.interp(frame, known, isotonic_regression(smooth, increasing=False).x))

"""Global envelopes: one test for a whole curve, with the size it states.

Pointwise 95 % bands are left by a curve of the null model 37 % of the time somewhere. Here the simultaneous band is
left by 5 %.

References
----------
Myllymäki M., Mrkvička T., Grabarnik P., Seijo H., Hahn U. (2017) Global envelope tests for spatial processes. J. R.
Stat. Soc. B 79:381. Narisetty N. N., Nair V. N. (2016) Extremal depth for functional data. JASA 111:1705.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.niche.geometry import FloatArray
from napari_marrow.niche.null_models import Alternative

Kind = Literal["erl", "mad", "studentised"]


@dataclass(frozen=True)
class GlobalEnvelope:
    """Simultaneous band of a null model around a curve.

    Attributes
    ----------
    low, high : ndarray (m,) float64
        The band; an open side of a one-sided test is infinite.
    centre : ndarray (m,) float64
        Mean of the simulated curves.
    p_value : float
        Conservative Monte-Carlo p of the whole curve; NaN when there are too few simulations or no finite argument.
    outside : bool
        Whether the observed curve leaves the band somewhere.
    kind : str
    alpha : float
    """

    low: FloatArray
    high: FloatArray
    centre: FloatArray
    p_value: float
    outside: bool
    kind: str
    alpha: float


def global_envelope(
    observed: npt.ArrayLike,
    simulated: npt.ArrayLike,
    *,
    kind: Kind = "erl",
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
) -> GlobalEnvelope:
    """Test a curve against curves simulated under a null model, all arguments at once.

    Parameters
    ----------
    observed : array (m,)
    simulated : array (N, m)
        At least 1/alpha - 1 curves; arguments where any curve is NaN are left out (NaN in the band).
    kind : {"erl", "mad", "studentised"}
        Extreme rank length; maximum absolute deviation from the mean; the same in units of the standard deviation.
    alpha : float
        Level, in (0, 1).
    alternative : {"two-sided", "greater", "less"}

    Raises
    ------
    SettingsError
        If shapes do not fit or alpha is no level.
    """
    curve = np.asarray(observed, dtype=np.float64)
    others = np.asarray(simulated, dtype=np.float64)
    if curve.ndim != 1 or others.ndim != 2 or others.shape[1] != len(curve):
        raise SettingsError(f"Observed {curve.shape} and simulated {others.shape} do not fit: give (m,) and (N, m).")
    if not 0 < alpha < 1:
        raise SettingsError(f"alpha is {alpha}: give a level between 0 and 1.")
    usable = np.isfinite(curve) & np.isfinite(others).all(axis=0)
    low, high, centre = (np.full(len(curve), np.nan) for _ in range(3))
    if not usable.any() or (others.shape[0] + 1) * alpha < 1:
        return GlobalEnvelope(low, high, centre, float("nan"), False, kind, alpha)
    every = np.concatenate([curve[None, usable], others[:, usable]])
    centre[usable] = every[1:].mean(axis=0)
    if kind == "erl":
        low[usable], high[usable], p = _rank_band(every, alpha, alternative)
    else:
        low[usable], high[usable], p = _deviation_band(every, alpha, alternative, scaled=kind == "studentised")
    slack = 1e-12 * np.abs(every).max()
    outside = bool((every[0] < low[usable] - slack).any() or (every[0] > high[usable] + slack).any())
    return GlobalEnvelope(low, high, centre, p, outside, kind, alpha)


def extreme_rank_lengths(curves: FloatArray, alternative: Alternative = "two-sided") -> FloatArray:
    """Extreme-rank-length measure of each curve (n, m): small is extreme; equal curves share a value.

    Pointwise ranks from the outside (mid-ranks at ties) are sorted within each curve and curves compared
    lexicographically.
    """
    from scipy.stats import rankdata

    # Rounding would break ties of curves that are equal by construction (F = 0 at small r).
    rounded = np.round(curves / max(float(np.abs(curves).max()), 1e-300), 12)
    up = rankdata(rounded, axis=0)
    down = len(curves) + 1 - up
    ranks = {"two-sided": np.minimum(up, down), "greater": down, "less": up}[alternative]
    ordered = np.sort(ranks, axis=1)
    _, place = np.unique(ordered, axis=0, return_inverse=True)
    before = np.concatenate([[0], np.cumsum(np.bincount(place.ravel()))])
    return np.asarray(before[place.ravel() + 1] / len(curves))


def _rank_band(every: FloatArray, alpha: float, alternative: Alternative) -> tuple[FloatArray, FloatArray, float]:
    measure = extreme_rank_lengths(every, alternative)
    p = float(np.count_nonzero(measure <= measure[0]) / len(measure))
    # Largest critical value that leaves at most alpha of the curves strictly below it.
    ordered = np.sort(measure)
    critical = ordered[min(int(np.floor(alpha * len(measure) + 1e-9)), len(measure) - 1)]
    kept = every[measure >= critical]
    low, high = kept.min(axis=0), kept.max(axis=0)
    if alternative == "greater":
        low = np.full_like(low, -np.inf)
    elif alternative == "less":
        high = np.full_like(high, np.inf)
    return low, high, p


def _deviation_band(
    every: FloatArray, alpha: float, alternative: Alternative, *, scaled: bool
) -> tuple[FloatArray, FloatArray, float]:
    # Mean and scale over all curves, the observed one included: exchangeable, so the test is exact.
    middle = every.mean(axis=0)
    scale = every.std(axis=0) if scaled else np.ones(every.shape[1])
    deviation = (every - middle) / np.where(scale > 0, scale, 1.0)
    one_curve = {"two-sided": np.abs(deviation), "greater": deviation, "less": -deviation}[alternative].max(axis=1)
    slack = 1e-12 * max(float(np.abs(one_curve).max()), 1e-300)
    p = float(np.count_nonzero(one_curve >= one_curve[0] - slack) / len(one_curve))
    rank = min(int(np.floor(alpha * len(one_curve) + 1e-9)), len(one_curve) - 1)
    reach = np.sort(one_curve)[::-1][rank] * scale
    low = np.full_like(middle, -np.inf) if alternative == "greater" else middle - reach
    high = np.full_like(middle, np.inf) if alternative == "less" else middle + reach
    return low, high, p

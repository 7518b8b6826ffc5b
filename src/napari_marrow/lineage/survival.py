"""Times to one event, right-censored and left-truncated: Kaplan-Meier and Nelson-Aalen.

A subject is at risk at time t when ``entry < t <= time``. Events are counted before the censorings of the same time,
and tied times are taken as they are: nothing is jittered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from napari_marrow.errors import TableError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SurvivalCurve:
    """A Kaplan-Meier or Nelson-Aalen estimate at the distinct event times.

    Attributes
    ----------
    times : (m,) float64
        Distinct event times [h].
    survival : (m,) float64
        Kaplan-Meier estimate of P(T > t).
    variance : (m,) float64
        Greenwood's variance of the survival.
    hazard : (m,) float64
        Nelson-Aalen cumulative hazard.
    hazard_variance : (m,) float64
        Its variance, sum of d / n².
    at_risk, events : (m,) float64
        Subjects at risk at, and events at, each time (sums of weights).
    horizon : float
        Last time under observation [h]; the curve says nothing beyond. NaN without subjects.
    """

    times: Floats
    survival: Floats
    variance: Floats
    hazard: Floats
    hazard_variance: Floats
    at_risk: Floats
    events: Floats
    horizon: float

    def at(self, t: npt.ArrayLike) -> Floats:
        """Return P(T > t), NaN beyond the horizon."""
        return _step(self.times, self.survival, t, 1.0, self.horizon)

    def hazard_at(self, t: npt.ArrayLike) -> Floats:
        """Return the cumulative hazard at t, NaN beyond the horizon."""
        return _step(self.times, self.hazard, t, 0.0, self.horizon)

    def interval(self, t: npt.ArrayLike, *, level: float = 0.95) -> tuple[Floats, Floats]:
        """Return the limits of P(T > t) on the complementary log-log scale (Kalbfleisch & Prentice 2002, 1.4)."""
        s = self.at(t)
        v = _step(self.times, self.variance, t, 0.0, self.horizon)
        return log_log_interval(s, v, level=level)

    def quantile(self, q: float) -> float:
        """Return the first time at which at least a fraction `q` had the event, NaN if that is not reached."""
        reached = np.flatnonzero(self.survival <= 1 - q + 1e-12)
        return float(self.times[reached[0]]) if reached.size else float("nan")

    def quantile_interval(self, q: float, *, level: float = 0.95) -> tuple[float, float]:
        """Return limits of the quantile [h]: the times whose survival has 1 - q within its limits.

        The upper one is NaN where the curve does not say how late it may be (Brookmeyer & Crowley 1982, Biometrics
        38:29).
        """
        limits = log_log_interval(self.survival, self.variance, level=level)
        reached = [np.flatnonzero(limit <= 1 - q + 1e-12) for limit in limits]
        low, high = (float(self.times[at[0]]) if at.size else float("nan") for at in reached)
        return low, high

    @property
    def median(self) -> float:
        """Median time [h], NaN where fewer than half are seen to have the event."""
        return self.quantile(0.5)

    def restricted_mean(self, until: float) -> float:
        """Return the mean of min(T, until) [h], the area under the curve; NaN beyond the horizon."""
        if not until <= self.horizon:
            return float("nan")
        inside = self.times < until
        edges = np.concatenate([[0.0], self.times[inside], [until]])
        heights = np.concatenate([[1.0], self.survival[inside]])
        return float(np.sum(np.diff(edges) * heights))


def kaplan_meier(
    time: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    entry: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
) -> SurvivalCurve:
    """Estimate a survival curve from right-censored, left-truncated times.

    Parameters
    ----------
    time : (n,) array-like
        Time of event or censoring [h].
    event : (n,) array-like of bool
        Whether the event was seen.
    entry : (n,) array-like, optional
        Time from which the subject was under observation (left truncation); none means always.
    weights : (n,) array-like, optional
        Case weights, 1 each by default.

    Returns
    -------
    SurvivalCurve

    Raises
    ------
    TableError
        If a time is not finite or lies before its entry, or the arrays differ in length.

    References
    ----------
    Kaplan & Meier 1958, JASA 53:457; left truncation: Tsai, Jewell & Wang 1987, Biometrika 74:883.
    """
    t, d, e, w = checked_times(time, np.asarray(event, dtype=bool), entry, weights)
    times, n = risk_sets(t, d, e, w)
    deaths = np.zeros(len(times))
    np.add.at(deaths, np.searchsorted(times, t[d]), w[d])
    with np.errstate(divide="ignore", invalid="ignore"):
        survival: Floats = np.asarray(np.cumprod(1 - deaths / n), dtype=np.float64)
        terms = deaths / (n * (n - deaths))
    # Where the last subjects at risk all have the event, S = 0 and Greenwood's sum is infinite: the variance is 0
    # there.
    terms = np.where(np.isclose(n, deaths), 0.0, terms)
    variance: Floats = np.asarray(survival**2 * np.cumsum(terms), dtype=np.float64)
    hazard = np.cumsum(deaths / n)
    horizon = float(t.max()) if len(t) else float("nan")
    return SurvivalCurve(times, survival, variance, hazard, np.cumsum(deaths / n**2), n, deaths, horizon)


def nelson_aalen(
    time: npt.ArrayLike,
    cause: npt.ArrayLike,
    of: int,
    *,
    entry: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
) -> SurvivalCurve:
    """Estimate the cumulative cause-specific hazard of one of several competing events.

    Other causes count as censoring, which is right for a hazard; ``1 - survival`` of this curve is *not* the
    probability of the event (see `aalen_johansen`).

    Parameters
    ----------
    time, entry, weights
        As for `kaplan_meier`.
    cause : (n,) array-like of int
        0 for censored, 1, 2, ... for the events.
    of : int
        The cause asked for.
    """
    return kaplan_meier(time, np.asarray(cause) == of, entry=entry, weights=weights)


def log_log_interval(probability: Floats, variance: Floats, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """Limits of a probability on the complementary log-log scale; they never leave [0, 1]."""
    z = float(norm.ppf(0.5 + level / 2))
    low, high = probability.astype(np.float64).copy(), probability.astype(np.float64).copy()
    inside = (probability > 0) & (probability < 1)
    p = probability[inside]
    half = z * np.sqrt(variance[inside]) / np.abs(p * np.log(p))
    low[inside] = p ** np.exp(half)
    high[inside] = p ** np.exp(-half)
    return low, high


def checked_times(
    time: npt.ArrayLike,
    event: npt.NDArray[np.bool_],
    entry: npt.ArrayLike | None,
    weights: npt.ArrayLike | None,
) -> tuple[Floats, Bools, Floats, Floats]:
    """Return time, event, entry and weights as arrays, without the subjects that were never under observation."""
    t = np.asarray(time, dtype=np.float64)
    e = np.full(len(t), -np.inf) if entry is None else np.asarray(entry, dtype=np.float64)
    w = np.ones(len(t)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(t) == len(event) == len(e) == len(w):
        raise TableError(
            f"Times, events, entries and weights differ in length: {len(t)}, {len(event)}, {len(e)}, {len(w)}."
        )
    if not np.isfinite(t).all() or np.isnan(e).any():
        raise TableError("Survival times and entries must be numbers: leave out subjects without a time.")
    if (t < e).any():
        i = int(np.argmax(t < e))
        raise TableError(f"A subject leaves at {t[i]} h, before it entered at {e[i]} h: time goes forward.")
    if (w < 0).any() or not np.isfinite(w).all():
        raise TableError("Weights must be finite and not negative.")
    seen = t > e
    return t[seen], event[seen], e[seen], w[seen]


def risk_sets(time: Floats, event: Bools, entry: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the distinct event times and the weight at risk (entry < t <= time) at each."""
    times = np.unique(time[event & (weights > 0)])
    return times, weight_below(entry, weights, times) - weight_below(time, weights, times)


def weight_below(values: Floats, weights: Floats, at: Floats) -> Floats:
    """Sum of the weights of values < at, for each `at`."""
    order = np.argsort(values, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(weights[order])])
    return total[np.searchsorted(values[order], at, side="left")]


def _step(times: Floats, values: Floats, t: npt.ArrayLike, before: float, horizon: float) -> Floats:
    asked = np.asarray(t, dtype=np.float64)
    padded = np.concatenate([[before], values])
    out = padded[np.searchsorted(times, asked, side="right")]
    return np.where(asked <= horizon, out, np.nan)

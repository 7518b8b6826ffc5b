"""Limits of a proportion from few clusters: organoids in which few cells, or none, took a lineage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import beta, t

from napari_marrow.errors import SettingsError

Floats = npt.NDArray[np.float64]
FEW_EVENTS = 10.0
"""Clones with the event below which the scatter between organoids alone says too little."""
_UNSEEN_VARIATION = 0.5  # coefficient of variation between organoids that is allowed for where nothing was seen


def clustered_proportion_limits(
    values: npt.ArrayLike, events: npt.ArrayLike, trials: npt.ArrayLike, *, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Bound the mean of proportions that were estimated in each of several organoids.

    Parameters
    ----------
    values : (n,) or (n, ...) array-like
        Estimated proportion (cumulative incidence) of each organoid, 0 to 1; n of 2 or more.
    events : (n,) or (n, ...) array-like
        Independent events behind it: clones with the event, as cells of a clone may share it.
    trials : (n,) or (n, ...) array-like
        Independent chances: clones at risk. Needed where nothing was seen.
    level : float

    Returns
    -------
    low, high : (...) float64
        NaN where a value is.

    Raises
    ------
    SettingsError
        If there are fewer than two organoids or the arrays differ in shape.

    Notes
    -----
    Student's t with n - 1 degrees of freedom on the logit scale, from the scatter between organoids: hazards differ by
    factors, and the arcsine scale is too short above where three organoids differ much. With fewer than `FEW_EVENTS`
    events in all the scatter may be small or nothing by chance, and the logit scale has no end below one event; the
    arcsine scale is taken, and the limits hold those of as
    many independent events as well (Jeffreys' beta limits; Brown, Cai & DasGupta 2001, Stat Sci 16:101, with the
    effective number of trials events / mean, after Korn & Graubard 1998, Surv Methodol 24:193). Where no organoid had
    the event the upper limit is the proportion at which that still happens in (1 - level) / 2 of experiments, if
    organoids vary by half of their mean (gamma): about 4 over the number of clones, an extension of the rule of three.
    """
    p, x, m = (np.asarray(a, dtype=np.float64) for a in (values, events, trials))
    if not p.shape == x.shape == m.shape or p.ndim == 0 or len(p) < 2:
        raise SettingsError(
            f"Values, events and trials need one row per organoid, two or more: {p.shape}, {x.shape}, {m.shape}."
        )
    n, tail = len(p), (1 - level) / 2
    mean = p.mean(axis=0)
    inside = np.clip(mean, 1e-12, 1 - 1e-12)
    error = p.std(axis=0, ddof=1) / np.sqrt(n)
    half = float(t.ppf(1 - tail, n - 1)) * error / (inside * (1 - inside))
    low, high = (expit(logit(inside) + side * half) for side in (-1, 1))
    seen = x.sum(axis=0)
    few = (seen < FEW_EVENTS) & (seen > 0)
    half, centre = half * np.sqrt(inside * (1 - inside)) / 2, np.arcsin(np.sqrt(inside))
    angle = [np.sin(np.clip(centre + side * half, 0, np.pi / 2)) ** 2 for side in (-1, 1)]
    low, high = np.where(few, angle[0], low), np.where(few, angle[1], high)
    least, most = few_limits(seen, inside, tail)
    low, high = np.where(few, np.fmin(low, least), low), np.where(few, np.fmax(high, most), high)
    none = seen == 0
    low, high = np.where(none, 0.0, low), np.where(none, unseen_limit(m, level=level), high)
    known = np.isfinite(mean)
    return np.where(known, np.minimum(low, mean), np.nan), np.where(known, np.maximum(high, mean), np.nan)


def unseen_limit(trials: npt.ArrayLike, *, level: float = 0.95, variation: float = _UNSEEN_VARIATION) -> Floats:
    """Upper limit of the mean proportion of organoids in none of which the event was seen.

    Parameters
    ----------
    trials : (n,) or (n, ...) array-like
        Independent chances in each organoid.
    level : float
        Two-sided: the chance that a larger proportion shows nothing is (1 - level) / 2.
    variation : float
        Coefficient of variation between organoids; 0 gives the exact binomial limit 1 - tail^(1 / trials).

    Returns
    -------
    (...) float64
        1 where there was no trial.
    """
    m = np.asarray(trials, dtype=np.float64)
    tail = (1 - level) / 2
    total = m.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = -np.expm1(np.log(tail) / total)
    if variation <= 0:
        return np.where(total > 0, exact, 1.0)
    k = 1 / variation**2
    # P(nothing seen) = prod (1 + m p / k)^-k: its negative logarithm is concave in p, so that Newton's steps from below
    # never pass the root.
    p = np.where(total > 0, -np.log(tail) / np.where(total > 0, total, 1.0), 1.0)
    for _ in range(50):
        value = k * np.log1p(m * p / k).sum(axis=0) + np.log(tail)
        slope = (m / (1 + m * p / k)).sum(axis=0)
        p = np.where(slope > 0, p - value / np.where(slope > 0, slope, 1.0), 1.0)
    return np.where(total > 0, np.clip(p, 0.0, 1.0), 1.0)


def few_limits(events: Floats, mean: Floats, tail: float) -> tuple[Floats, Floats]:
    """Jeffreys' limits for that many events in as many trials as make the mean."""
    x = np.maximum(events, 1e-9)
    n = np.maximum(x / mean, x)
    return np.asarray(beta.ppf(tail, x + 0.5, n - x + 0.5)), np.asarray(beta.ppf(1 - tail, x + 0.5, n - x + 0.5))

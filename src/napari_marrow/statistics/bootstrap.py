"""Cluster bootstrap: intervals that resample organoids, not cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

from napari_marrow.errors import SettingsError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BootstrapInterval:
    """An estimate with its cluster-bootstrap interval.

    Attributes
    ----------
    estimate : float
    low, high : float
        Limits, NaN where `note` says why.
    n_clusters : int
    method : str
        ``expanded percentile``.
    note : str
    """

    estimate: float
    low: float
    high: float
    n_clusters: int
    method: str
    note: str


def cluster_bootstrap(
    values: npt.ArrayLike,
    clusters: npt.ArrayLike,
    statistic: Callable[[Floats], float],
    *,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> BootstrapInterval:
    """Bound a statistic of clustered values by resampling whole clusters with replacement.

    Parameters
    ----------
    values : (n,) or (n, k) array-like
        One row per observation (cell, colony).
    clusters : (n,) array-like
        Organoid of each observation.
    statistic : callable
        Of the pooled rows of a sample; returns one number.
    n_draws, level, seed
        Replicates, coverage, seed.

    Returns
    -------
    BootstrapInterval
        Percentiles widened by √(n/(n-1)) and Student's t, because a plain percentile interval of few clusters is too
        narrow; NaN limits for fewer than two clusters.

    References
    ----------
    Field & Welsh 2007, JRSS B 69:369 (cluster bootstrap); Hesterberg 2015, Am Stat 69:371 (expanded percentiles).
    """
    rows = np.asarray(values, dtype=np.float64)
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    if len(rows) != len(index) or len(rows) == 0:
        raise SettingsError("Values and clusters must have the same length, 1 or more.")
    n = len(names)
    estimate = float(statistic(rows))
    if n < 2:
        return BootstrapInterval(estimate, np.nan, np.nan, n, "expanded percentile", "one cluster only: no interval")
    order = np.argsort(index, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(index))[:-1])
    rng = np.random.default_rng(seed)
    draws = np.empty(n_draws)
    for i in range(n_draws):
        chosen = rng.integers(0, n, n)
        draws[i] = statistic(rows[np.concatenate([parts[c] for c in chosen])])
    finite = draws[np.isfinite(draws)]
    if len(finite) < n_draws / 2:
        note = "the statistic is undefined in most resamples"
        return BootstrapInterval(estimate, np.nan, np.nan, n, "expanded percentile", note)
    tail = expanded_tail(n, level=level)
    low, high = np.quantile(finite, [tail, 1 - tail])
    return BootstrapInterval(estimate, float(low), float(high), n, "expanded percentile", "")


def expanded_tail(n_clusters: int, *, level: float = 0.95) -> float:
    """Lower tail probability of the expanded percentile interval of n clusters."""
    factor = np.sqrt(n_clusters / (n_clusters - 1))
    return float(norm.cdf(factor * t.ppf((1 - level) / 2, n_clusters - 1)))

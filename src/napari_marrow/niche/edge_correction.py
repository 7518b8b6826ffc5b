"""Distance distributions that know what lies beyond the window: reduced sample, Kaplan-Meier, Hanisch.

A point at distance b from the edge of the window W only shows whether the structure is nearer than b. A distance d > b
is therefore right-censored at b, and leaving that out makes every distance too long (11 % in a 60 µm slab).

References
----------
Baddeley A., Gill R. D. (1997) Kaplan-Meier estimators of distance distributions for spatial point processes. Ann. Stat.
25:263. Chiu S. N., Stoyan D. (1998) Estimators of distance distributions for spatial patterns. Stat. Neerl. 52:239
(Hanisch).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.niche.geometry import BoolArray, FloatArray

Correction = Literal["km", "rs", "none"]


@dataclass(frozen=True)
class CensoredOrder:
    """Distances sorted for Kaplan-Meier: by min(d, b), events before censorings at ties.

    Attributes
    ----------
    order : ndarray (n,) int64
        Permutation that sorts.
    time : ndarray (n,) float64
        min(d, b), µm, ascending.
    event : ndarray (n,) bool
        Whether the structure was reached (d <= b).
    """

    order: npt.NDArray[np.int64]
    time: FloatArray
    event: BoolArray


def censor(distances: npt.ArrayLike, edge_distances: npt.ArrayLike | None) -> CensoredOrder:
    """Sort distances for the Kaplan-Meier estimator.

    Parameters
    ----------
    distances : array (n,)
        Distance to the structure, µm; negative (inside it) counts as 0; no NaN.
    edge_distances : array (n,) or None
        Distance to the edge of the window, µm; None for no censoring.
    """
    d, b = _pair(distances, edge_distances)
    event = d <= b
    time = np.minimum(d, b)
    order = np.lexsort((~event, time))
    return CensoredOrder(order.astype(np.int64), time[order], event[order])


def _pair(distances: npt.ArrayLike, edge_distances: npt.ArrayLike | None) -> tuple[FloatArray, FloatArray]:
    d = np.maximum(np.asarray(distances, dtype=np.float64), 0.0)
    b = np.full_like(d, np.inf) if edge_distances is None else np.asarray(edge_distances, dtype=np.float64)
    if d.ndim != 1 or b.shape != d.shape:
        raise SettingsError(f"Distances {d.shape} and edge distances {b.shape} must be one value per point.")
    if np.isnan(d).any() or np.isnan(b).any():
        raise SettingsError("A distance is NaN: drop the points outside the window first.")
    return d, np.maximum(b, 0.0)


def survival(censored: CensoredOrder, weights: npt.NDArray[np.bool_] | FloatArray) -> FloatArray:
    """Kaplan-Meier survival after each sorted time, for many samples of the same points at once.

    Parameters
    ----------
    censored : CensoredOrder
    weights : ndarray (S, n)
        Which points (in the *original* order) belong to each of S samples; a weight counts as so many points.

    Returns
    -------
    ndarray (S, n) float64
        P(D > time[k]).
    """
    w = np.asarray(weights, dtype=np.float64)[:, censored.order]
    at_risk = np.cumsum(w[:, ::-1], axis=1)[:, ::-1]
    # 1 - w/at_risk; a point of weight 0 changes nothing, whatever the risk set.
    factor = 1.0 - np.where(censored.event & (w > 0), w / np.maximum(at_risk, 1e-300), 0.0)
    return np.asarray(np.cumprod(factor, axis=1))


def step_at(time: FloatArray, values: FloatArray, r: FloatArray, before: float) -> FloatArray:
    """Read right-continuous step functions (S, n) that jump at ascending `time` (n,) at r (m,) -> (S, m)."""
    index = np.searchsorted(time, r, side="right")
    padded = np.concatenate([np.full((values.shape[0], 1), before), values], axis=1)
    return np.asarray(padded[:, index])


def kaplan_meier_cdf(distances: npt.ArrayLike, edge_distances: npt.ArrayLike | None, r: npt.ArrayLike) -> FloatArray:
    """Spatial Kaplan-Meier estimate of P(D <= r).

    Parameters
    ----------
    distances, edge_distances : array (n,)
        Distance to the structure and to the edge of the window, µm.
    r : array (m,)
        Arguments, µm.

    Returns
    -------
    ndarray (m,) float64
        All NaN when there is no point.

    Notes
    -----
    Baddeley & Gill 1997: product-limit estimator on min(d, b) with event d <= b. Beyond the largest b it stays flat:
    the window holds no information there.
    """
    radii = np.asarray(r, dtype=np.float64)
    censored = censor(distances, edge_distances)
    if len(censored.time) == 0:
        return np.full(radii.shape, np.nan)
    s = survival(censored, np.ones((1, len(censored.time))))
    return 1.0 - step_at(censored.time, s, radii, 1.0)[0]


def reduced_sample_cdf(distances: npt.ArrayLike, edge_distances: npt.ArrayLike | None, r: npt.ArrayLike) -> FloatArray:
    """Reduced-sample (border) estimate #{d <= r, b >= r} / #{b >= r} of P(D <= r).

    Returns
    -------
    ndarray (m,) float64
        NaN where no point lies at least r inside the window. Not necessarily monotone.
    """
    radii = np.asarray(r, dtype=np.float64)
    d, b = _pair(distances, edge_distances)
    edges = np.sort(b)
    seen = len(b) - np.searchsorted(edges, radii, side="left")
    # #{d <= r <= b}: points whose interval [d, b] holds r.
    valid = d <= b
    begun = np.searchsorted(np.sort(d[valid]), radii, side="right")
    ended = np.searchsorted(np.sort(b[valid]), radii, side="left")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(seen > 0, (begun - ended) / np.maximum(seen, 1), np.nan)


def hanisch_cdf(
    distances: npt.ArrayLike, edge_distances: npt.ArrayLike, r: npt.ArrayLike, window_edge_distances: npt.ArrayLike
) -> FloatArray:
    """Hanisch estimate of P(D <= r) for nearest-neighbour distances.

    Each distance that is surely the nearest (d <= b) is weighted by 1 / |W eroded by d|.

    Parameters
    ----------
    distances, edge_distances : array (n,)
        µm.
    r : array (m,)
        µm.
    window_edge_distances : array (v,)
        Edge distance of every voxel of the window, µm; their number beyond d is |W eroded by d| up to a constant.
    """
    radii = np.asarray(r, dtype=np.float64)
    d, b = _pair(distances, edge_distances)
    depth = np.sort(np.asarray(window_edge_distances, dtype=np.float64).ravel())
    valid = d <= b
    eroded = len(depth) - np.searchsorted(depth, d[valid], side="left")
    weight = 1.0 / np.maximum(eroded, 1)
    if not valid.any():
        return np.full(radii.shape, np.nan)
    order = np.argsort(d[valid])
    steps = (np.cumsum(weight[order]) / weight.sum())[None, :]
    return step_at(d[valid][order], steps, radii, 0.0)[0]


@dataclass(frozen=True)
class DistanceSummary:
    """Edge-corrected summary of a distance distribution.

    Attributes
    ----------
    n : int
        Points.
    n_events : int
        Points nearer to the structure than to the edge.
    mean : float
        Mean distance, µm; NaN when more than `tolerance` of the distribution lies beyond what the window shows.
    median, p95 : float
        Quantiles, µm; NaN when the curve does not reach them.
    restricted_mean : float
        Mean of min(D, restricted_to), µm: always identified.
    restricted_to : float
        Longest observed min(d, b), µm.
    unresolved : float
        Fraction of the distribution beyond `restricted_to`.
    """

    n: int
    n_events: int
    mean: float
    median: float
    p95: float
    restricted_mean: float
    restricted_to: float
    unresolved: float


def summarise_distances(
    distances: npt.ArrayLike, edge_distances: npt.ArrayLike | None, *, tolerance: float = 0.01
) -> DistanceSummary:
    """Mean, median and 95th percentile with Kaplan-Meier edge correction.

    Parameters
    ----------
    distances, edge_distances : array (n,)
        µm; edge distances None for no correction.
    tolerance : float
        Largest fraction beyond the window's reach at which a mean is still stated.
    """
    censored = censor(distances, edge_distances)
    n = len(censored.time)
    if n == 0:
        return DistanceSummary(0, 0, *([np.nan] * 6))
    s = survival(censored, np.ones((1, n)))
    widths = np.diff(np.concatenate([[0.0], censored.time]))
    restricted = float(np.sum(np.concatenate([[1.0], s[0, :-1]]) * widths))
    unresolved = float(s[0, -1])
    return DistanceSummary(
        n=n,
        n_events=int(censored.event.sum()),
        mean=restricted if unresolved <= tolerance else float("nan"),
        median=float(quantiles(censored.time, s, 0.5)[0]),
        p95=float(quantiles(censored.time, s, 0.95)[0]),
        restricted_mean=restricted,
        restricted_to=float(censored.time[-1]),
        unresolved=unresolved,
    )


def quantiles(time: FloatArray, survivals: FloatArray, q: float) -> FloatArray:
    """Smallest time with P(D <= time) >= q for each survival curve (S, n); NaN where it is never reached."""
    reached = survivals <= 1.0 - q + 1e-12
    first = np.argmax(reached, axis=1)
    return np.where(reached.any(axis=1), time[first], np.nan)

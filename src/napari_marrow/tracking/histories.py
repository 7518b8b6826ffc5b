"""What a chain of links says about a cell's measurements: a robust Kalman filter per feature.

A measurement is a slowly wandering level plus noise (the local-level model, Harvey 1989, *Forecasting, structural time
series models and the Kalman filter*, section 2.3); how fast it wanders and how noisy it is are learned from the chains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from napari_marrow.tracking.points import Floats, Ints

_LAG = 4
_CLIP = 2.5  # standard deviations beyond which a measurement pulls no harder: merged blobs, pieces


@dataclass(frozen=True)
class FeatureNoise:
    """Per feature: variance of a measurement, variance and mean of the level's change per unit of time; (k,) each."""

    noise: Floats
    wander: Floats
    drift: Floats
    overall: Floats


def fit_noise(features: Floats, previous: Ints, time: Floats) -> FeatureNoise:
    """Learn noise and wandering from changes over one and over four links.

    Parameters
    ----------
    features : (n, k) float64
        NaN where missing.
    previous : (n,) int64
        Predecessor in the chain, -1 for none.
    time : (n,) float64

    Returns
    -------
    FeatureNoise
    """
    k = features.shape[1]
    overall = np.array([max(float(np.nanstd(features[:, f])), 1e-9) ** 2 for f in range(k)])
    noise, wander, drift = 0.02 * overall, 0.002 * overall, np.zeros(k)
    linked = np.flatnonzero(previous >= 0)
    back = linked
    origin = previous[linked]
    for _ in range(_LAG - 1):
        keep = previous[origin] >= 0
        back, origin = back[keep], previous[origin[keep]]
    for f in range(k):
        one, _ = _changes(features[:, f], time, linked, previous[linked])
        if len(one) < 30:
            continue
        near = _spread(one)
        noise[f] = max(0.5 * near, 1e-6 * overall[f])
        wander[f] = max(0.05 * near, 1e-7 * overall[f])
        many, lasted = _changes(features[:, f], time, back, origin)
        if len(many) < 100:
            continue
        drift[f] = float(np.median(many / lasted))
        wander[f] = max((_spread(many) - near) / max(float(np.median(lasted)) - 1, 1.0), 0.01 * near, 1e-7 * overall[f])
        noise[f] = max(0.5 * (near - wander[f]), 0.05 * near, 1e-6 * overall[f])
    return FeatureNoise(noise, wander, drift, overall)


def _changes(values: Floats, time: Floats, later: Ints, earlier: Ints) -> tuple[Floats, Floats]:
    change, lasted = values[later] - values[earlier], time[later] - time[earlier]
    known = ~np.isnan(change)
    return change[known], lasted[known]


def _spread(values: Floats) -> float:
    return float((1.4826 * np.median(np.abs(values - np.median(values)))) ** 2)


@numba.njit(cache=True, nogil=True)
def _filter(
    values: Floats, pointer: Ints, time: Floats, noise: Floats, wander: Floats, drift: Floats, forward: bool,
    doubt: Floats, overall: Floats, mean: Floats, variance: Floats, count: Ints,
) -> None:  # fmt: skip
    n, k = values.shape
    for step in range(n):
        i = step if forward else n - 1 - step
        p = pointer[i]
        count[i] = 1 if p < 0 else count[p] + 1
        for f in range(k):
            y = values[i, f]
            if p < 0 or np.isnan(mean[p, f]):
                mean[i, f] = y
                variance[i, f] = noise[f]
                continue
            lasted = abs(time[i] - time[p])
            m = mean[p, f] + drift[f] * (time[i] - time[p])
            v = variance[p, f] + wander[f] * lasted + doubt[i if forward else p] * overall[f]
            if np.isnan(y):
                mean[i, f] = m
                variance[i, f] = v
                continue
            total = v + noise[f]
            limit = _CLIP * np.sqrt(total)
            surprise = y - m
            weight = 1.0
            if abs(surprise) > limit:
                weight = limit / abs(surprise)
            gain = v / total
            mean[i, f] = m + gain * weight * surprise
            variance[i, f] = v * (1 - gain * weight)


def levels(
    values: Floats, pointer: Ints, time: Floats, noise: FeatureNoise, doubt: Floats, *, forward: bool
) -> tuple[Floats, Floats, Ints]:
    """Level of every feature at every detection from itself and what the pointer leads to.

    Parameters
    ----------
    values : (n, k) float64
        Sorted by time.
    pointer : (n,) int64
        Previous detection of the chain (`forward`), or the following one; -1 for none.
    time : (n,) float64
    noise : FeatureNoise
    doubt : (n,) float64
        Odds against the link into every detection; times the variance among all detections it is added to the level's.
    forward : bool

    Returns
    -------
    mean, variance : (n, k) float64
        NaN where nothing is known.
    count : (n,) int64
        Detections that went in.
    """
    mean, variance = np.full(values.shape, np.nan), np.full(values.shape, np.nan)
    count = np.zeros(len(values), np.int64)
    _filter(
        values,
        pointer,
        time,
        noise.noise,
        noise.wander,
        noise.drift,
        forward,
        doubt,
        noise.overall,
        mean,
        variance,
        count,
    )
    return mean, variance, count

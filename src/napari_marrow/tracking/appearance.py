"""Learned appearance: how alike a cell stays from frame to frame, against how alike two cells are."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from napari_marrow.tracking.chains import Chains
from napari_marrow.tracking.points import Floats, Ints
from napari_marrow.tracking.threads import in_slices

_BINS = 64
_SAMPLE = 60_000
_ANYTHING = 0.005  # chance that a measurement says nothing: clipped at the border, dying, wrongly segmented


@dataclass(frozen=True)
class AppearanceModel:
    """Log-likelihood ratio of measurements, feature by feature.

    Attributes
    ----------
    shift, width : (4, k) float64
        Centre and width of the change along a link; the case says whether the source's past (1) and the target's future
        (2) are smoothed over three or more detections.
    tail_width, tail_weight : (k,) float64
        A wider normal distribution for segmentation errors.
    grid, log_background : (k, 64) float64
        Log density of the measurement among all detections.
    """

    scale: Floats
    width: Floats
    tail_width: Floats
    tail_weight: Floats
    grid: Floats
    log_background: Floats

    def log_ratio(self, chains: Chains, i: Ints, j: Ints, duration: Floats) -> Floats:
        """Log-likelihood ratio of "same cell" against "any cell" for pairs; 0 where a measurement is missing."""
        out = np.empty(len(i))
        noise = chains.noise
        in_slices(
            lambda low, high: _log_ratio(
                chains.past, chains.future, chains.past_variance, chains.future_variance, i, j, duration, noise.drift,
                noise.wander, noise.overall, self.scale, self.tail_width, self.tail_weight, self.grid,
                self.log_background, out, low, high,
            ),
            len(i),
        )  # fmt: skip
        return out

    def background(self, values: Floats, feature: int) -> Floats:
        """Log density of a feature's values among all detections."""
        return np.asarray(np.interp(values, self.grid[feature], self.log_background[feature]))


@numba.njit(cache=True, nogil=True)
def _log_ratio(
    past: Floats, future: Floats, past_variance: Floats, future_variance: Floats, i: Ints, j: Ints, duration: Floats,
    drift: Floats, wander: Floats, overall: Floats, scale: Floats, tail_width: Floats, tail_weight: Floats,
    grid: Floats, log_background: Floats, out: Floats, low: int, high: int,
) -> None:  # fmt: skip
    bins = grid.shape[1]
    for e in range(low, high):
        p, q = i[e], j[e]
        out[e] = 0.0
        for f in range(past.shape[1]):
            change = future[q, f] - past[p, f] - drift[f] * duration[e]
            if np.isnan(change):
                continue
            variance = past_variance[p, f] + future_variance[q, f] + wander[f] * duration[e]
            width = scale[f] * np.sqrt(max(variance, 1e-4 * overall[f]))
            wide = max(tail_width[f], 1.5 * width)
            core = (1 - tail_weight[f]) / width * np.exp(-0.5 * (change / width) ** 2)
            tail = tail_weight[f] / wide * np.exp(-0.5 * (change / wide) ** 2)
            at = (future[q, f] - grid[f, 0]) / (grid[f, 1] - grid[f, 0])
            at = min(max(at, 0.0), bins - 1.0)
            k = min(int(at), bins - 2)
            background = log_background[f, k] + (at - k) * (log_background[f, k + 1] - log_background[f, k])
            out[e] += np.log((core + tail) * 0.3989422804014327 * np.exp(-background) + _ANYTHING)


def log_normal(x: Floats, mean: Floats | float, sd: Floats | float) -> Floats:
    """Log density of a normal distribution."""
    return np.asarray(-0.5 * ((x - mean) / sd) ** 2 - np.log(sd) - 0.9189385332046727)


def _change(chains: Chains, i: Ints, j: Ints, f: int, duration: Floats) -> tuple[Floats, Floats]:
    """Change of a level along pairs beyond the usual drift, and its standard deviation."""
    noise = chains.noise
    change = chains.future[j, f] - chains.past[i, f] - noise.drift[f] * duration
    variance = chains.past_variance[i, f] + chains.future_variance[j, f] + noise.wander[f] * duration
    return change, np.sqrt(np.maximum(variance, 1e-4 * noise.overall[f]))


def fit_appearance(features: Floats, chains: Chains, i: Ints, j: Ints, duration: Floats) -> AppearanceModel:
    """Learn the appearance model from links of one frame.

    Parameters
    ----------
    features : (n, k) float64
    chains : Chains
    i, j : (e,) int64
    duration : (e,) float64

    Returns
    -------
    AppearanceModel
    """
    k = features.shape[1]
    scale, width = np.ones(k), np.ones(k)
    tail_width, tail_weight = np.ones(k), np.full(k, 0.05)
    grid, log_background = np.zeros((k, _BINS)), np.zeros((k, _BINS))
    for f in range(k):
        grid[f], log_background[f], overall = _background(features[:, f])
        change, expected = _change(chains, i, j, f, duration)
        known = ~np.isnan(change)
        width[f] = overall
        tail_width[f] = 2 * overall
        if known.sum() < 10:
            continue
        z = change[known] / expected[known]
        scale[f] = max(1.4826 * float(np.median(np.abs(z))), 0.3)
        width[f] = scale[f] * float(np.median(expected[known]))
        ratio, tail_weight[f] = _tail(z / scale[f])
        tail_width[f] = ratio * width[f]
    return AppearanceModel(scale, width, tail_width, tail_weight, grid, log_background)


def _tail(scaled: Floats) -> tuple[float, float]:
    """Width (against the core, 1) and weight of the wider of two centred normal distributions."""
    if len(scaled) < 100:
        return 4.0, 0.05
    x2 = scaled[np.linspace(0, len(scaled) - 1, min(len(scaled), _SAMPLE)).astype(np.int64)] ** 2
    wide, weight = 9.0, 0.1
    for _ in range(25):
        log_odds = np.log(weight / (1 - weight)) - 0.5 * np.log(wide) + 0.5 * x2 * (1 - 1 / wide)
        p = 1 / (1 + np.exp(-np.clip(log_odds, -50, 50)))
        wide = float(np.clip((p * x2).sum() / max(p.sum(), 1e-9), 4.0, 400.0))
        weight = float(np.clip(p.mean(), 0.01, 0.3))
    return float(np.sqrt(wide)), weight


def _background(values: Floats) -> tuple[Floats, Floats, float]:
    """Smoothed histogram of a feature as (grid, log density) and its width."""
    known = values[~np.isnan(values)]
    low, high = np.quantile(known, [0.001, 0.999])
    sd = max(float(known.std()), 1e-9)
    low, high = low - 0.5 * sd, high + 0.5 * sd
    counts, edges = np.histogram(np.clip(known, low, high), bins=_BINS, range=(low, high))
    bin_width = (high - low) / _BINS
    bandwidth = max(0.9 * sd * len(known) ** -0.2 / bin_width, 0.8)
    offsets = np.arange(-_BINS, _BINS + 1)
    kernel = np.exp(-0.5 * (offsets / bandwidth) ** 2)
    density = np.convolve(counts, kernel / kernel.sum())[_BINS : 2 * _BINS]
    density = (density + 1e-3 * density.sum() / _BINS) / (density.sum() * (1 + 1e-3) * bin_width)
    return 0.5 * (edges[1:] + edges[:-1]), np.log(density), sd

"""Where a marker counts as on: a two-component mixture on transformed intensities, or a value given by a control.

Background-corrected intensities of negative cells scatter around zero, where a logarithm has no meaning. They are
transformed by arcsinh(I / c), which is a logarithm far above the noise scale c and linear below it (as in cytometry).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from napari_marrow.errors import SettingsError, TableError

Floats = npt.NDArray[np.float64]

THRESHOLD_COLUMNS = [
    "lineage", "channel", "threshold", "method", "n_cells", "fraction_positive", "separation", "low_mean", "high_mean",
    "note",
]  # fmt: skip
_BINS = 512
_SPLITS = (0.5, 0.75, 0.9, 0.97)
_FEWEST = 10  # a handful of outliers is no population


@dataclass(frozen=True)
class Mixture:
    """The two highest normal components of arcsinh(intensity / scale), in order of their means.

    Attributes
    ----------
    scale : float
        Noise scale c of the transform [counts].
    means, sds, weights : tuple of two floats
        The components, on the transformed scale.
    threshold : float
        Intensity [counts] at which a cell is as likely in the upper as in the lower component; NaN if `reason` says
        why.
    separation : float
        Ashman's D = |μ1 - μ2| / √((σ1² + σ2²)/2); above 2 two populations are apart, 2.5 is asked for.
    reason : str
        Why there is no threshold, "" if there is one.
    """

    scale: float
    means: tuple[float, float]
    sds: tuple[float, float]
    weights: tuple[float, float]
    threshold: float
    separation: float
    reason: str


def fit_mixture(intensity: npt.ArrayLike, *, min_cells: int = 30, min_separation: float = 2.5) -> Mixture:
    """Split background-corrected intensities into a negative and a positive population.

    Parameters
    ----------
    intensity : (n,) array-like
        Background-corrected mean intensities [counts]; NaN is left out.
    min_cells : int
        Fewer cells give no threshold.
    min_separation : float
        Smallest Ashman's D.

    Returns
    -------
    Mixture
        With `threshold` NaN and a reason where there is only one population: two normals must beat one by the Bayesian
        information criterion, hold 10 cells each, lie `min_separation` apart, and leave a valley between them. Three
        are tried as well, the highest against the others; the split that stands further apart is taken.

    References
    ----------
    Ashman, Bird & Zepf 1994, AJ 108:2348 (D); Dempster, Laird & Rubin 1977, JRSS B 39:1 (EM).
    """
    values = np.asarray(intensity, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    if len(values) < min_cells:
        return _no_mixture(f"{len(values)} cells measured, {min_cells} are needed")
    if np.ptp(values) == 0:
        return _no_mixture("all cells have the same intensity")
    scale = _noise_scale(values)
    x = np.arcsinh(values / scale)
    counts, edges = np.histogram(x, bins=_BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    histogram = _Histogram(centres, counts.astype(np.float64), float(edges[1] - edges[0]), scale)
    found = _split(histogram, 2, min_separation)
    # negatives that catch a neighbour's light have a tail: one normal more takes it, the highest are the positives
    tailed = _split(histogram, 3, min_separation)
    if tailed.reason or (not found.reason and found.separation >= tailed.separation):
        return found
    return tailed


@dataclass(frozen=True)
class _Histogram:
    x: Floats
    n: Floats
    width: float
    scale: float


def _split(histogram: _Histogram, components: int, min_separation: float) -> Mixture:
    """Fit normals and part the highest from the rest, if it stands apart."""
    x, n, total = histogram.x, histogram.n, float(histogram.n.sum())
    w, mu, sd, loglik = _em(x, n, components, floor=histogram.width)
    low, high = components - 2, components - 1
    separation = float((mu[high] - mu[low]) / np.sqrt((sd[low] ** 2 + sd[high] ** 2) / 2))
    cut, valley = _crossing(w, mu, sd)
    fewer = _em(x, n, components - 1, floor=histogram.width)[3]
    gain = 2 * (loglik - fewer) - 3 * np.log(total)
    few = float(w[high] * total) < _FEWEST or float((1 - w[high]) * total) < _FEWEST
    reason = ""
    if gain <= 0 or separation < min_separation or not valley or few:
        reason = f"one population only (separation {separation:.2f}): give a threshold from a negative control"
    threshold = float("nan") if reason else float(np.sinh(cut) * histogram.scale)
    pairs = [(float(a[low]), float(a[high])) for a in (mu, sd, w)]
    return Mixture(histogram.scale, pairs[0], pairs[1], pairs[2], threshold, separation, reason)


def marker_thresholds(
    cells: pd.DataFrame,
    markers: Mapping[str, str],
    *,
    given: Mapping[str, float] | None = None,
    min_cells: int = 30,
    min_separation: float = 2.5,
) -> pd.DataFrame:
    """Return one row per lineage with the intensity above which its marker counts as on.

    Parameters
    ----------
    cells : pandas.DataFrame
        With columns ``intensity_<channel>`` (background-corrected mean, counts), one row per cell and frame.
    markers : mapping
        Lineage to channel, for example ``{"erythroid": "CD235a"}``.
    given : mapping, optional
        Channel to threshold [counts] from a control; goes before the mixture.
    min_cells, min_separation
        As for `fit_mixture`.

    Returns
    -------
    pandas.DataFrame
        lineage, channel, threshold [counts; NaN where there is none], method (``control``, ``mixture``, ``none``),
        n_cells, fraction_positive, separation, low_mean, high_mean [counts], note (why there is no threshold).

    Raises
    ------
    TableError
        If a channel's intensity column is missing.
    """
    given = dict(given or {})
    rows = []
    for lineage, channel in markers.items():
        values = intensity_column(cells, channel).to_numpy(dtype=np.float64)
        finite = values[np.isfinite(values)]
        if channel in given:
            if not np.isfinite(given[channel]):
                raise SettingsError(f"The threshold given for {channel} is {given[channel]}: it must be a number.")
            row = [given[channel], "control", len(finite), _above(finite, given[channel]), *[np.nan] * 3, ""]
        else:
            mix = fit_mixture(finite, min_cells=min_cells, min_separation=min_separation)
            low, high = (float(np.sinh(m) * mix.scale) for m in mix.means)
            method = "none" if mix.reason else "mixture"
            fraction = _above(finite, mix.threshold)
            row = [mix.threshold, method, len(finite), fraction, mix.separation, low, high, mix.reason]
        rows.append([lineage, channel, *row])
    return pd.DataFrame(rows, columns=THRESHOLD_COLUMNS)


def intensity_column(table: pd.DataFrame, channel: str) -> pd.Series:
    """Return the column ``intensity_<channel>``, with a sentence where it is missing."""
    name = f"intensity_{channel}"
    if name not in table.columns:
        known = [c.removeprefix("intensity_") for c in table.columns if str(c).startswith("intensity_")]
        raise TableError(f"No column '{name}': the measured channels are {known}. Change the marker's channel.")
    return table[name]


def _above(values: Floats, threshold: float) -> float:
    return float(np.mean(values >= threshold)) if len(values) and np.isfinite(threshold) else float("nan")


def _no_mixture(reason: str) -> Mixture:
    nan = float("nan")
    return Mixture(1.0, (nan, nan), (nan, nan), (nan, nan), nan, nan, reason)


def _noise_scale(values: Floats) -> float:
    """Three standard deviations of the negatives: those below zero, mirrored; without them, of the dim half.

    With one deviation the transform would flatten the top of pure noise, and two normals would fit it better than one.
    """
    below = values[values < 0]
    if len(below) >= max(10, 0.02 * len(values)):
        return float(3 * 1.4826 * np.median(-below))
    dim = values[values <= np.median(values)]
    spread = float(3 * 1.4826 * np.median(np.abs(dim - np.median(dim))))
    return max(spread, 1e-3 * float(np.abs(values).max()))


def _em(x: Floats, n: Floats, components: int, *, floor: float) -> tuple[Floats, Floats, Floats, float]:
    """Fit normals to a histogram, from several splits of it; the best likelihood wins (deterministic)."""
    cumulative = np.cumsum(n) / n.sum()
    best: tuple[Floats, Floats, Floats, float] | None = None
    for splits in combinations(_SPLITS, components - 1):
        cuts = [int(np.clip(np.searchsorted(cumulative, split), 1, len(x) - 2)) for split in splits]
        start = np.searchsorted(cuts, np.arange(len(x)))
        if len(set(cuts)) < len(cuts) or min(n[start == k].sum() for k in range(components)) == 0:
            continue
        fit = _em_from(x, n, start, components, floor)
        if best is None or fit[3] > best[3]:
            best = fit
    if best is None:
        start = np.arange(len(x)) * components // len(x)
        best = _em_from(x, n + 1e-9, start, components, floor)
    w, mu, sd, loglik = best
    order = np.argsort(mu)
    return w[order], mu[order], sd[order], loglik


def _em_from(
    x: Floats, n: Floats, start: npt.NDArray[np.int64], components: int, floor: float
) -> tuple[Floats, Floats, Floats, float]:
    resp = (start[None] == np.arange(components)[:, None]).astype(np.float64)
    total = n.sum()
    previous = -np.inf
    for _ in range(500):
        mass = (resp * n).sum(axis=1) + 1e-12
        mu = (resp * n) @ x / mass
        sd = np.sqrt((resp * n * (x - mu[:, None]) ** 2).sum(axis=1) / mass + floor**2 / 12)
        sd = np.maximum(sd, floor)
        w = mass / total
        z = (x[None] - mu[:, None]) / sd[:, None]
        logp = (np.log(w / sd) - 0.5 * np.log(2 * np.pi))[:, None] - 0.5 * z**2
        joint = np.logaddexp.reduce(logp, axis=0)
        resp = np.exp(logp - joint)
        loglik = float((n * joint).sum())
        if loglik - previous < 1e-7 * total:
            break
        previous = loglik
    return w, mu, sd, loglik


def _crossing(w: Floats, mu: Floats, sd: Floats) -> tuple[float, bool]:
    """Where the highest normal crosses the others, between the two highest means; whether there is a valley."""
    grid = np.linspace(mu[-2], mu[-1], 2001)
    parts = w[:, None] * norm.pdf(grid[None], mu[:, None], sd[:, None])
    upper = np.flatnonzero(parts[-1] >= parts[:-1].sum(axis=0))
    cut = float(grid[upper[0]]) if upper.size and upper[0] > 0 else float(grid.mean())
    mixture = parts.sum(axis=0)
    valley = bool(mixture.min() < 0.9 * min(mixture[0], mixture[-1]))
    return cut, valley

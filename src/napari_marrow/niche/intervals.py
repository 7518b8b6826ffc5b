"""95 % intervals of one organoid's measures: its tissue in blocks, for cells near each other are not independent.

References
----------
Cochran W. G. (1977) Sampling Techniques, ch. 6 (ratio of totals). Lahiri S. N. (2003) Resampling Methods for Dependent
Data, ch. 12 (blocks in space). Hesterberg T. (2015) Am. Stat. 69:371 (expanded percentiles).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.niche.edge_correction import censor, quantiles, step_at, survival
from napari_marrow.niche.geometry import BoolArray, FloatArray, as_spacing

NAN = float("nan")
FEWEST_BLOCKS = 5
"""With fewer blocks there is no interval: it would be a guess."""


@dataclass(frozen=True)
class Blocks:
    """A grid of blocks over the tissue.

    Attributes
    ----------
    edge : ndarray (ndim,) float64
        µm along each axis.
    shape : tuple of int
        Blocks along each axis.
    measure : ndarray (blocks,) float64
        Tissue in each block, µm² or µm³.
    """

    edge: FloatArray
    shape: tuple[int, ...]
    measure: FloatArray

    def of(self, points: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the block of each point (n, ndim) in µm; points beyond the image go to the nearest block."""
        where = np.nan_to_num(np.asarray(points, dtype=np.float64).reshape(-1, len(self.shape)))
        index = np.clip(np.floor(where / self.edge).astype(np.int64), 0, np.asarray(self.shape) - 1)
        return np.asarray(np.ravel_multi_index(tuple(index.T), self.shape), dtype=np.int64)

    def count(self, points: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> FloatArray:
        """Return how many points (or how much weight) lie in each block."""
        return np.bincount(self.of(points), weights=weights, minlength=len(self.measure)).astype(np.float64)


def tissue_blocks(tissue: BoolArray, spacing: Sequence[float], *, edge: float | None = None) -> Blocks:
    """Divide the tissue's image into blocks.

    Parameters
    ----------
    tissue : ndarray bool
    spacing : sequence of float
        µm per axis.
    edge : float or None
        Edge of a block, µm, which should exceed the range over which cells resemble each other; None for four
        blocks along the longest axis, and of that edge along the others.
    """
    sampling = np.asarray(as_spacing(spacing, tissue.ndim))
    extent = np.asarray(tissue.shape) * sampling
    wanted = float(extent.max()) / 4 if edge is None else float(edge)
    if not wanted > 0:
        raise SettingsError(f"The block's edge is {edge}: give a positive length in µm.")
    shape = tuple(int(n) for n in np.maximum(np.round(extent / wanted), 1))
    lengths = extent / np.asarray(shape)
    total: npt.NDArray[np.generic] = tissue
    for axis, n in enumerate(shape):
        centre = np.arange(tissue.shape[axis]) * sampling[axis]
        begin = np.searchsorted(np.minimum(np.floor(centre / lengths[axis]), n - 1), np.arange(n))
        total = np.add.reduceat(total, begin, axis=axis, dtype=np.int64)
    return Blocks(lengths, shape, total.ravel().astype(np.float64) * float(np.prod(sampling)))


def ratio_interval(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> tuple[float, float]:
    """95 % interval of Σ numerator / Σ denominator over clusters (blocks, branches), by linearisation.

    Parameters
    ----------
    numerator, denominator : array (n,)
        One value per cluster; clusters without a denominator are left out.

    Returns
    -------
    low, high : float
        Student's t around the logarithm of the ratio where nothing is negative, as clustered counts and lengths are
        skewed, else around the ratio. NaN with fewer than `FEWEST_BLOCKS` clusters, or where the ratio does not vary.
    """
    from scipy.stats import t

    y, x = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    y, x = y[x > 0], x[x > 0]
    n = len(x)
    if n < FEWEST_BLOCKS:
        return NAN, NAN
    ratio = y.sum() / x.sum()
    residual = y - ratio * x
    # The leverage of each cluster makes up for the ratio being drawn towards the large ones.
    share = x / x.sum()
    error = float(np.sqrt(np.sum((residual / (1 - np.minimum(share, 0.9))) ** 2) * (n - 1) / n) / x.sum())
    if error == 0:
        return NAN, NAN
    effective = 1 / float(np.sum(share**2))
    half = float(t.ppf(0.975, max(effective - 1, 1)) * error)
    if (y >= 0).all():
        factor = float(np.exp(half / ratio))
        return ratio / factor, ratio * factor
    return ratio - half, ratio + half


def length_density_interval(
    per_block: npt.ArrayLike, measure: npt.ArrayLike, per_branch: npt.ArrayLike
) -> tuple[float, float]:
    """95 % interval of length per tissue: the wider of two, by blocks of tissue and by branches.

    A branch that runs through several blocks makes them alike, which their spread does not show; branches that lie in
    groups are no independent draws, which theirs does not show.

    Parameters
    ----------
    per_block, measure : array (blocks,)
        Length (µm) and tissue (µm² or µm³) of each block.
    per_branch : array (branches,)
        Length of each branch inside the tissue, µm; the square of each is its share of the variance, as for branches
        that are strewn independently.

    Returns
    -------
    low, high : float
        Per µm² or µm³; NaN where `ratio_interval` is.
    """
    from scipy.stats import t

    low, high = ratio_interval(per_block, measure)
    length = np.asarray(per_branch, dtype=np.float64)
    length = length[length > 0]
    if not np.isfinite(low) or len(length) < FEWEST_BLOCKS:
        return low, high
    effective = length.sum() ** 2 / float(np.sum(length**2))
    factor = float(np.exp(t.ppf(0.975, max(effective - 1, 1)) / np.sqrt(effective)))
    ratio = length.sum() / float(np.asarray(measure, dtype=np.float64).sum())
    return min(low, ratio / factor), max(high, ratio * factor)


def block_weights(block: npt.NDArray[np.int64], n_draws: int, rng: np.random.Generator) -> tuple[FloatArray, int]:
    """Draw blocks with replacement.

    Parameters
    ----------
    block : ndarray (n,) int64
        Block of each cell.

    Returns
    -------
    weights : ndarray (n_draws, n) float64
        How often each cell counts.
    n_blocks : int
        Blocks that hold a cell.
    """
    names, index = np.unique(block, return_inverse=True)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / max(len(names), 1)), size=n_draws)
    return counts[:, index].astype(np.float64), len(names)


def expanded_limits(draws: FloatArray, n_clusters: int) -> tuple[float, float]:
    """Percentiles widened by √(n/(n-1)) and Student's t, as plain ones of few clusters are too narrow."""
    from scipy.stats import norm, t

    known = draws[np.isfinite(draws)]
    if n_clusters < FEWEST_BLOCKS or len(known) < 0.9 * len(draws):
        return NAN, NAN
    tail = float(norm.cdf(np.sqrt(n_clusters / (n_clusters - 1)) * t.ppf(0.025, n_clusters - 1)))
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class DistanceInterval:
    """95 % intervals of a class's median distance (µm) and of its proximity effect."""

    median_low: float
    median_high: float
    effect_low: float
    effect_high: float


def distance_interval(
    distances: npt.ArrayLike,
    edge_distances: npt.ArrayLike | None,
    subject: npt.ArrayLike,
    block: npt.NDArray[np.int64],
    *,
    reach: float,
    r: npt.ArrayLike,
    null_mean: npt.ArrayLike | None = None,
    n_draws: int = 199,
    seed: int = 0,
) -> DistanceInterval:
    """Bound the median distance and the proximity effect by drawing blocks of tissue with replacement.

    Parameters
    ----------
    distances, edge_distances : array (n,)
        As for `proximity_effect`.
    subject : array (n,) bool
        The cells asked about.
    block : ndarray (n,) int64
        Block of each cell.
    reach : float
        Longest distance that enters the effect, µm.
    r : array (m,)
        Arguments of the curve, µm.
    null_mean : array (m,) or None
        Mean curve of a null that is not made of the cells themselves (uniform); None for re-labelling, whose mean is
        the curve of all cells of the same blocks.
    n_draws, seed : int
    """
    d, s = np.asarray(distances, dtype=np.float64), np.asarray(subject, dtype=bool)
    b = np.full(d.shape, np.inf) if edge_distances is None else np.asarray(edge_distances, dtype=np.float64)
    known = ~np.isnan(d) & ~np.isnan(b)
    d, b, s, of = d[known], b[known], s[known], np.asarray(block)[known]
    radii = np.asarray(r, dtype=np.float64)
    span = radii[radii <= reach]
    if not s.any() or len(span) < 2:
        return DistanceInterval(NAN, NAN, NAN, NAN)
    weights, _ = block_weights(of, n_draws, np.random.default_rng(seed))
    n_blocks = len(np.unique(of[s]))
    censored = censor(d, b)
    chosen = survival(censored, weights * s)
    empty = (weights * s).sum(axis=1) == 0
    medians = quantiles(censored.time, chosen, 0.5)
    observed = 1.0 - step_at(censored.time, chosen, span, 1.0)
    if null_mean is None:
        expected = 1.0 - step_at(censored.time, survival(censored, weights), span, 1.0)
    else:
        expected = np.asarray(null_mean, dtype=np.float64)[None, radii <= reach]
    effects = np.trapezoid(observed - expected, span, axis=1) / span[-1]
    effects[empty], medians[empty] = np.nan, np.nan
    return DistanceInterval(*expanded_limits(medians, n_blocks), *expanded_limits(effects, n_blocks))

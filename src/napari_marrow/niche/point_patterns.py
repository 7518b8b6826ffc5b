"""Second-order and nearest-neighbour statistics of points in arbitrary windows, in 2D and 3D.

Cross K, L and g with translation correction through the set covariance of the window (by FFT); G, F and J with
Kaplan-Meier, reduced-sample or Hanisch correction. Null curves of K under re-labelling are computed in the same pass
over the pairs.

References
----------
Ohser J. (1983) On estimators for the reduced second moment measure. Math. Operationsforsch. Stat. 14:63 (translation).
van Lieshout M. N. M., Baddeley A. J. (1999) Indices of dependence between types in multivariate point patterns. Scand.
J. Stat. 26:511.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.niche.distances import distance_to_points, edge_distance, read_at
from napari_marrow.niche.edge_correction import hanisch_cdf, kaplan_meier_cdf, reduced_sample_cdf
from napari_marrow.niche.geometry import BoolArray, FloatArray, as_mask, as_points, as_spacing, inside, measure_of


@dataclass(frozen=True)
class SetCovariance:
    """γ_W(h) = |W ∩ (W + h)| of a window for lags up to `r_max`.

    Attributes
    ----------
    table : ndarray (Lz, Ly, Lx) float64
        µm^d, lag 0 at the centre, multilinear between voxels, which is exact for a union of voxels. A plane has Lz = 1.
    spacing : ndarray (3,) float64
        µm; the z entry of a plane is 1.
    ndim : int
        2 or 3.
    measure : float
        |W|, µm² or µm³.
    r_max : float
        µm.
    """

    table: FloatArray
    spacing: FloatArray
    ndim: int
    measure: float
    r_max: float


def set_covariance(window: npt.ArrayLike, spacing: Sequence[float], r_max: float) -> SetCovariance:
    """Set covariance of a window by FFT.

    The mask is cut to its bounding box and padded by `r_max` only: lags up to there are free of wrap-around.

    Parameters
    ----------
    window : array bool (Y, X) or (Z, Y, X)
    spacing : sequence of float
        µm per axis.
    r_max : float
        Longest lag, µm.

    Raises
    ------
    SettingsError
        If the window is empty or `r_max` is not positive.
    """
    from scipy import fft

    mask = as_mask(window, "window")
    sampling = as_spacing(spacing, mask.ndim)
    if not mask.any():
        raise SettingsError("The window is empty: there is no tissue to compute spatial statistics in.")
    if not (np.isfinite(r_max) and r_max > 0):
        raise SettingsError(f"r_max is {r_max}: give a positive distance in µm.")
    for axis in range(mask.ndim):
        filled = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        mask = mask.take(np.arange(filled[0], filled[-1] + 1), axis=axis)
    lags = [min(int(np.ceil(r_max / s)) + 1, n) for s, n in zip(sampling, mask.shape, strict=True)]
    shape = [fft.next_fast_len(n + lag, real=True) for n, lag in zip(mask.shape, lags, strict=True)]
    spectrum = fft.rfftn(mask.astype(np.float32), shape)
    correlation = fft.irfftn((spectrum.real**2 + spectrum.imag**2).astype(np.float32), shape)
    table = correlation[np.ix_(*[np.arange(-lag, lag + 1) % n for lag, n in zip(lags, shape, strict=True)])]
    # Counts are integers: rounding removes the transform's noise.
    table = np.maximum(np.round(table.astype(np.float64)), 0.0) * float(np.prod(sampling))
    lead = 3 - mask.ndim
    return SetCovariance(
        np.ascontiguousarray(table.reshape((1,) * lead + table.shape)),
        np.asarray((1.0,) * lead + sampling),
        mask.ndim,
        measure_of(mask, sampling),
        float(r_max),
    )


def pair_sums(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    covariance: SetCovariance,
    *,
    n_bins: int,
    identity_x: npt.NDArray[np.int64] | None = None,
    identity_y: npt.NDArray[np.int64] | None = None,
    labels_x: npt.ArrayLike | None = None,
    labels_y: npt.ArrayLike | None = None,
) -> FloatArray:
    """Sum 1/γ_W over the pairs of two patterns, binned by distance, for S labellings at once.

    Parameters
    ----------
    x, y : array (n, ndim), (m, ndim)
        Points inside the window, µm.
    covariance : SetCovariance
    n_bins : int
        Equal bins up to ``covariance.r_max``.
    identity_x, identity_y : ndarray int64 or None
        Number of the underlying cell; pairs of equal number are left out. None: all points differ.
    labels_x, labels_y : array (n, S), (m, S) or None
        Weights of the points in each labelling; None for one labelling of ones.

    Returns
    -------
    ndarray (n_bins, S) float64
        1/µm^d.
    """
    from napari_marrow.niche._kernels import pair_histogram

    first_x, first_y = (_as_3d(as_points(p, covariance.ndim)) for p in (x, y))
    weights_x = _weights(labels_x, len(first_x))
    weights_y = _weights(labels_y, len(first_y))
    if weights_x.shape[1] != weights_y.shape[1]:
        raise SettingsError("labels_x and labels_y hold different numbers of labellings.")
    if len(first_x) == 0 or len(first_y) == 0:
        return np.zeros((n_bins, weights_x.shape[1]))
    # Same points on both sides, numbered by row: each pair is met once.
    symmetric = (
        identity_x is not None
        and identity_x is identity_y
        and len(first_x) == len(first_y)
        and bool((np.asarray(identity_x) == np.arange(len(first_x))).all())
        and (x is y or np.array_equal(first_x, first_y))
    )
    id_x = np.arange(len(first_x)) if identity_x is None else np.asarray(identity_x, dtype=np.int64)
    id_y = -1 - np.arange(len(first_y)) if identity_y is None else np.asarray(identity_y, dtype=np.int64)
    reach = 2
    cell = covariance.r_max / reach
    origin = first_y.min(axis=0)
    index = np.floor((first_y - origin) / cell).astype(np.int64)
    grid = index.max(axis=0) + 1
    code = (index[:, 0] * grid[1] + index[:, 1]) * grid[2] + index[:, 2]
    order = np.argsort(code, kind="stable")
    first = np.searchsorted(code[order], np.arange(int(np.prod(grid)) + 1)).astype(np.int64)
    return np.asarray(
        pair_histogram(
            first_x, np.ascontiguousarray(first_y[order]), id_x, np.ascontiguousarray(id_y[order]),
            weights_x, np.ascontiguousarray(weights_y[order]), first, grid, origin, cell, reach,
            covariance.table, covariance.spacing, covariance.r_max, n_bins, symmetric,
        )
    )  # fmt: skip


def _as_3d(points: FloatArray) -> FloatArray:
    return np.concatenate([np.zeros((len(points), 3 - points.shape[1])), points], axis=1)


def _weights(labels: npt.ArrayLike | None, n: int) -> npt.NDArray[np.float32]:
    array = np.ones((n, 1)) if labels is None else np.asarray(labels)
    if array.ndim != 2 or len(array) != n:
        raise SettingsError(f"Labels have shape {array.shape} for {n} points: give (points, labellings).")
    return np.ascontiguousarray(array, dtype=np.float32)


@dataclass(frozen=True)
class PairFunctions:
    """Cross K, L and g of two patterns.

    Attributes
    ----------
    r : ndarray (m,) float64
        µm, upper bin edges for K and L.
    k, l : ndarray (m,) float64
        K in µm^d, L in µm (L = r under independence). NaN with fewer than one pair possible.
    g : ndarray (m,) float64
        Pair correlation at r (1 under independence).
    """

    r: FloatArray
    k: FloatArray
    l: FloatArray  # noqa: E741 - the function's name
    g: FloatArray


def cross_k(
    x: npt.ArrayLike,
    y: npt.ArrayLike | None,
    window: npt.ArrayLike | SetCovariance,
    spacing: Sequence[float],
    *,
    r_max: float = 60.0,
    n_r: int = 60,
    bandwidth: float | None = None,
) -> PairFunctions:
    """Cross K, L and g with translation correction in an arbitrary window.

    K_ij(r) = |W|² / (n_i n_j) Σ 1{0 < ‖x - y‖ <= r} / γ_W(x - y); L = √(K/π) or (3K/4π)^⅓; g = K'/(2πr) or K'/(4πr²).

    Parameters
    ----------
    x : array (n, ndim)
        Points i, µm; points outside the window are left out.
    y : array (m, ndim) or None
        Points j; None for the pattern x with itself (n (n - 1) pairs).
    window : array bool or SetCovariance
        Tissue mask, or its set covariance when it is used again (then all points must lie inside, and `r_max` is its
        own).
    spacing : sequence of float
        µm per axis.
    r_max, n_r : float, int
        Arguments r_max/n_r, ..., r_max.
    bandwidth : float or None
        Half-width of the Epanechnikov kernel for g, µm; default 3 bins.
    """
    if isinstance(window, SetCovariance):
        covariance, keep = window, None
    else:
        covariance, keep = set_covariance(window, spacing, r_max), as_mask(window, "window")
    first = _kept(x, keep, spacing, covariance.ndim)
    second = first if y is None else _kept(y, keep, spacing, covariance.ndim)
    identity = np.arange(len(first)) if y is None else None
    sums = pair_sums(first, second, covariance, n_bins=n_r, identity_x=identity, identity_y=identity)
    pairs = len(first) * (len(second) - (1 if y is None else 0))
    return pair_functions(sums, np.asarray([pairs], dtype=np.float64), covariance, bandwidth=bandwidth)[0]


def _kept(points: npt.ArrayLike, mask: BoolArray | None, spacing: Sequence[float], ndim: int) -> FloatArray:
    array = as_points(points, ndim)
    return array if mask is None else array[inside(array, mask, spacing)]


def pair_functions(
    sums: FloatArray, pairs: FloatArray, covariance: SetCovariance, *, bandwidth: float | None = None
) -> list[PairFunctions]:
    """Turn pair sums (n_bins, S) and numbers of ordered pairs (S,) into K, L and g, one per labelling."""
    r, k, length = k_and_l(sums, pairs, covariance)
    g = _pair_correlation(sums, pairs, covariance, bandwidth)
    return [PairFunctions(r, k[:, s], length[:, s], g[:, s]) for s in range(sums.shape[1])]


def k_and_l(
    sums: FloatArray, pairs: FloatArray, covariance: SetCovariance
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return r (n_bins,), K and L (n_bins, S) from pair sums; NaN where there is no pair of points at all."""
    n_bins = sums.shape[0]
    r = covariance.r_max * np.arange(1, n_bins + 1) / n_bins
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(pairs > 0, covariance.measure**2 / pairs, np.nan)
    k = np.cumsum(sums, axis=0) * factor
    length = np.sqrt(k / np.pi) if covariance.ndim == 2 else np.cbrt(3.0 * k / (4.0 * np.pi))
    return r, k, length


def _pair_correlation(
    sums: FloatArray, pairs: FloatArray, covariance: SetCovariance, bandwidth: float | None
) -> FloatArray:
    n_bins = sums.shape[0]
    width = covariance.r_max / n_bins
    middle = (np.arange(n_bins) + 0.5) * width
    upper = (np.arange(n_bins) + 1.0) * width
    shell = 2 * np.pi * middle * width if covariance.ndim == 2 else 4 * np.pi * (middle**2 + width**2 / 12) * width
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(pairs > 0, covariance.measure**2 / pairs, np.nan)
    raw = sums * factor / shell[:, None]
    h = 3.0 * width if bandwidth is None else bandwidth
    kernel = np.maximum(1.0 - ((upper[:, None] - middle[None, :]) / h) ** 2, 0.0)
    # Weighting by the shell keeps the noise of the small first shells out; normalising handles both ends of the range.
    kernel *= shell[None, :]
    return np.asarray((kernel / kernel.sum(axis=1, keepdims=True)) @ raw)


NearestCorrection = Literal["km", "rs", "hanisch", "none"]


@dataclass(frozen=True)
class NearestFunctions:
    """G, F and J: nearest-neighbour, empty-space and their ratio; each (m,) float64, NaN where not identified."""

    r: FloatArray
    g: FloatArray
    f: FloatArray
    j: FloatArray


def nearest_functions(
    x: npt.ArrayLike,
    y: npt.ArrayLike | None,
    window: npt.ArrayLike,
    spacing: Sequence[float],
    *,
    r: npt.ArrayLike,
    correction: NearestCorrection = "km",
    n_test_points: int = 20_000,
    seed: int = 0,
) -> NearestFunctions:
    """Cross G_ij, F_j and J_ij = (1 - G_ij) / (1 - F_j) in an arbitrary window.

    Parameters
    ----------
    x : array (n, ndim)
        Points i, µm.
    y : array (m, ndim) or None
        Points j; None for x with itself.
    window : array bool
    spacing : sequence of float
        µm per axis.
    r : array (m,)
        µm.
    correction : {"km", "rs", "hanisch", "none"}
        Hanisch applies to G; F then takes Kaplan-Meier.
    n_test_points : int
        Random places in the window from which F is measured.
    seed : int

    Notes
    -----
    Under complete spatial randomness F = G = 1 - exp(-λπr²) or 1 - exp(-4/3 π λ r³), and J = 1.
    """
    from napari_marrow.niche.null_models import uniform_positions

    mask = as_mask(window, "window")
    sampling = as_spacing(spacing, mask.ndim)
    radii = np.asarray(r, dtype=np.float64)
    first = _kept(x, mask, sampling, mask.ndim)
    second = first if y is None else _kept(y, mask, sampling, mask.ndim)
    if len(first) == 0 or len(second) <= int(y is None):
        nothing = np.full(radii.shape, np.nan)
        return NearestFunctions(radii, nothing, nothing, nothing)
    depth = edge_distance(mask, sampling)
    near = distance_to_points(first, second, exclude_self=y is None)
    edge = np.nan_to_num(read_at(depth, first, sampling), nan=0.0)
    if correction == "hanisch":
        g = hanisch_cdf(near, edge, radii, depth[mask])
    else:
        g = _corrected(near, edge, radii, correction)
    tests = uniform_positions(mask, sampling, n_test_points, np.random.default_rng(seed))
    empty = distance_to_points(tests, second)
    f = _corrected(empty, read_at(depth, tests, sampling), radii, "km" if correction == "hanisch" else correction)
    with np.errstate(divide="ignore", invalid="ignore"):
        j = np.where(f < 1, (1 - g) / (1 - f), np.nan)
    return NearestFunctions(radii, g, f, j)


def _corrected(d: FloatArray, b: FloatArray, r: FloatArray, correction: str) -> FloatArray:
    if correction == "km":
        return kaplan_meier_cdf(d, b, r)
    if correction == "rs":
        return reduced_sample_cdf(d, b, r)
    if correction == "none":
        return kaplan_meier_cdf(d, None, r)
    raise SettingsError(f"Unknown edge correction '{correction}': use km, rs, hanisch or none.")

"""Second-order statistics of points in arbitrary windows, in 2D and 3D: cross K, L and g.

Translation correction goes through the set covariance of the window (by FFT); the border correction is the reduced
sample. Null curves under re-labelling are computed in the same pass over the pairs.

References
----------
Ohser J. (1983) On estimators for the reduced second moment measure. Math. Operationsforsch. Stat. 14:63 (translation).
Ripley B. D. (1988) Statistical Inference for Spatial Processes. Cambridge (border).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from napari_marrow.errors import SettingsError
from napari_marrow.niche.distances import edge_distance, read_at
from napari_marrow.niche.geometry import BoolArray, FloatArray, as_mask, as_points, as_spacing, inside, measure_of


@dataclass(frozen=True)
class SetCovariance:
    """γ_W(h) = |W ∩ (W + h)| of a window for lags up to `r_max`.

    Attributes
    ----------
    table : ndarray (Lz, Ly, Lx) float32
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

    table: npt.NDArray[np.float32]
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
    spectrum = fft.rfftn(mask.astype(np.float32), shape, overwrite_x=True)
    # Plane by plane and in place: of a large volume no second spectrum is held.
    for plane in spectrum:
        plane[...] = plane.real**2 + plane.imag**2
    correlation = fft.irfftn(spectrum, shape, overwrite_x=True)
    del spectrum
    table = correlation[np.ix_(*[np.arange(-lag, lag + 1) % n for lag, n in zip(lags, shape, strict=True)])]
    # Counts are integers: rounding removes the transform's noise.
    table = np.maximum(np.round(table), 0.0) * np.float32(np.prod(sampling))
    lead = 3 - mask.ndim
    return SetCovariance(
        np.ascontiguousarray(table.reshape((1,) * lead + table.shape), dtype=np.float32),
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
    threads: int = 1,
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
    threads : int
        The result does not depend on it.

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
    cells = _CellGrid(first_x, first_y, covariance.r_max)
    order_x, begin_x = cells.sort(first_x)
    order_y, begin_y = (order_x, begin_x) if symmetric else cells.sort(first_y)
    offsets = cells.offsets(covariance.r_max, symmetric)
    sides = [np.ascontiguousarray(a[o]) for a, o in (
        (first_x, order_x), (first_y, order_y), (id_x, order_x), (id_y, order_y),
        (weights_x, order_x), (weights_y, order_y),
    )]  # fmt: skip

    def some(part: npt.NDArray[np.int64]) -> FloatArray:
        return np.asarray(
            pair_histogram(
                *sides, begin_x, begin_y, cells.shape, part, covariance.table, covariance.spacing,
                covariance.r_max, n_bins, symmetric,
            )
        )  # fmt: skip

    # The same parts are summed in the same order whatever the number of threads: the last bits do not hang on it.
    parts = [np.ascontiguousarray(offsets[k::_PARTS]) for k in range(min(_PARTS, len(offsets)))]
    if threads < 2:
        return np.asarray(sum(some(part) for part in parts))
    with ThreadPoolExecutor(threads) as pool:
        return np.asarray(sum(pool.map(some, parts)))


_PARTS = 8


class _CellGrid:
    """Cubes over two patterns, small beside r_max but with a few points in each."""

    def __init__(self, x: FloatArray, y: FloatArray, r_max: float) -> None:
        self.origin = np.minimum(x.min(axis=0), y.min(axis=0))
        extent = np.maximum(x.max(axis=0), y.max(axis=0)) - self.origin
        used = extent > 0
        room = float(np.prod(extent[used])) if used.any() else 1.0
        wanted = (8.0 * room / max(len(x), len(y))) ** (1.0 / max(int(used.sum()), 1))
        self.cell = float(np.clip(wanted, r_max / 6, r_max))
        # A few points far apart must not ask for more cubes than there are points.
        while np.prod(np.floor(extent / self.cell) + 1) > 64 + 8 * (len(x) + len(y)):
            self.cell *= 1.5
        self.shape = (np.floor(extent / self.cell) + 1).astype(np.int64)

    def sort(self, points: FloatArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the order of the points by cube, and where each cube's points begin."""
        index = np.floor((points - self.origin) / self.cell).astype(np.int64)
        code = (index[:, 0] * self.shape[1] + index[:, 1]) * self.shape[2] + index[:, 2]
        order = np.argsort(code, kind="stable")
        begin = np.searchsorted(code[order], np.arange(int(np.prod(self.shape)) + 1))
        return order, begin.astype(np.int64)

    def offsets(self, r_max: float, half: bool) -> npt.NDArray[np.int64]:
        """Return the offsets of cubes that a pair within r_max may span; with `half` only one of each o and -o."""
        reach = np.minimum(int(np.ceil(r_max / self.cell)), self.shape - 1)
        every = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), -1).reshape(-1, 3)
        gap = np.maximum(np.abs(every) - 1, 0) * self.cell
        every = every[(gap**2).sum(axis=1) <= r_max**2]
        if half:
            code = (every[:, 0] * (2 * reach[1] + 1) + every[:, 1]) * (2 * reach[2] + 1) + every[:, 2]
            every = every[code >= 0]
        return np.ascontiguousarray(every.astype(np.int64))


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
    correction: PairCorrection = "translation",
    threads: int = 1,
) -> PairFunctions:
    """Cross K, L and g with edge correction in an arbitrary window.

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
    correction : {"translation", "border", "none"}
        Border: the reduced sample, in which only points i at least r inside the window count towards K(r); it needs a
        mask, wastes data and gives no g (NaN). None: biased, for comparison only.
    threads : int
        The result does not depend on it.

    Raises
    ------
    SettingsError
        If the correction is unknown, or "border" is asked for without the mask.
    """
    if correction not in ("translation", "border", "none"):
        raise SettingsError(f"Unknown edge correction '{correction}': use translation, border or none.")
    if correction == "border":
        return _border_k(x, y, window, spacing, r_max, n_r)
    if isinstance(window, SetCovariance):
        covariance, keep = window, None
    else:
        covariance, keep = set_covariance(window, spacing, r_max), as_mask(window, "window")
    if correction == "none":
        flat = np.full_like(covariance.table, covariance.measure)
        covariance = replace(covariance, table=flat)
    first = _kept(x, keep, spacing, covariance.ndim)
    second = first if y is None else _kept(y, keep, spacing, covariance.ndim)
    identity = np.arange(len(first)) if y is None else None
    sums = pair_sums(first, second, covariance, n_bins=n_r, identity_x=identity, identity_y=identity, threads=threads)
    pairs = len(first) * (len(second) - (1 if y is None else 0))
    return pair_functions(sums, np.asarray([pairs], dtype=np.float64), covariance, bandwidth=bandwidth)[0]


PairCorrection = Literal["translation", "border", "none"]


def _border_k(
    x: npt.ArrayLike,
    y: npt.ArrayLike | None,
    window: npt.ArrayLike | SetCovariance,
    spacing: Sequence[float],
    r_max: float,
    n_r: int,
) -> PairFunctions:
    """K(r) = |W| / n_j · #{pairs with d <= r, b_i >= r} / #{i: b_i >= r} (Ripley 1988)."""
    if isinstance(window, SetCovariance):
        raise SettingsError("The border correction needs the mask of the window, not its set covariance.")
    mask = as_mask(window, "window")
    sampling = as_spacing(spacing, mask.ndim)
    first = _kept(x, mask, sampling, mask.ndim)
    second = first if y is None else _kept(y, mask, sampling, mask.ndim)
    r = r_max * np.arange(1, n_r + 1) / n_r
    targets = len(second) - int(y is None)
    if len(first) == 0 or targets < 1:
        nothing = np.full(n_r, np.nan)
        return PairFunctions(r, nothing, nothing, nothing)
    border = np.nan_to_num(read_at(edge_distance(mask, sampling), first, sampling), nan=0.0)
    tree = cKDTree(second)
    count = np.zeros(n_r)
    for k, radius in enumerate(r):
        deep = first[border >= radius]
        within = tree.query_ball_point(deep, radius, return_length=True) if len(deep) else np.zeros(0)
        count[k] = np.nan if len(deep) == 0 else within.sum() / len(deep) - int(y is None)
    k_values = count * measure_of(mask, sampling) / targets
    length = np.sqrt(k_values / np.pi) if mask.ndim == 2 else np.cbrt(3.0 * k_values / (4.0 * np.pi))
    return PairFunctions(r, k_values, length, np.full(n_r, np.nan))


def _kept(points: npt.ArrayLike, mask: BoolArray | None, spacing: Sequence[float], ndim: int) -> FloatArray:
    array = as_points(points, ndim)
    return array if mask is None else array[inside(array, mask, spacing)]


def pair_functions(
    sums: FloatArray, pairs: FloatArray, covariance: SetCovariance, *, bandwidth: float | None = None
) -> list[PairFunctions]:
    """Turn pair sums (n_bins, S) and numbers of ordered pairs (S,) into K, L and g, one per labelling."""
    r, k, length = k_and_l(sums, pairs, covariance)
    g = pair_correlation(sums, pairs, covariance, bandwidth)
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


def pair_correlation(
    sums: FloatArray, pairs: FloatArray, covariance: SetCovariance, bandwidth: float | None = None
) -> FloatArray:
    """Return g (n_bins, S) from pair sums and numbers of ordered pairs (S,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(pairs > 0, covariance.measure**2 / pairs, np.nan)
    return smoothed(sums, covariance, bandwidth) * factor


def smoothed(sums: FloatArray, covariance: SetCovariance, bandwidth: float | None) -> FloatArray:
    """Density of pair sums (n_bins, S) per shell at the upper bin edges, by an Epanechnikov kernel over r.

    Weighting by the shell keeps the noise of the small first shells out; normalising handles both ends of the range.
    """
    n_bins = sums.shape[0]
    width = covariance.r_max / n_bins
    middle = (np.arange(n_bins) + 0.5) * width
    upper = (np.arange(n_bins) + 1.0) * width
    shell = 2 * np.pi * middle * width if covariance.ndim == 2 else 4 * np.pi * (middle**2 + width**2 / 12) * width
    h = 3.0 * width if bandwidth is None else bandwidth
    kernel = np.maximum(1.0 - ((upper[:, None] - middle[None, :]) / h) ** 2, 0.0)
    weight = (kernel * shell[None, :]).sum(axis=1, keepdims=True)
    return np.asarray((kernel / weight) @ sums)

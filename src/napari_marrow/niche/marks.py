"""Mark versions of the pair statistics: whether cells near each other resemble each other in a measured value.

References
----------
Stoyan D., Stoyan H. (1994) Fractals, Random Shapes and Point Fields. Wiley (mark correlation function, mark-weighted
K). Illian J. et al. (2008) Statistical Analysis and Modelling of Spatial Point Patterns. Wiley (mark variogram).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.niche.envelopes import Kind, global_envelope
from napari_marrow.niche.geometry import FloatArray, as_mask, as_points, inside
from napari_marrow.niche.null_models import permutations
from napari_marrow.niche.point_patterns import SetCovariance, k_and_l, pair_sums, set_covariance, smoothed

_CHUNK = 20_000_000


@dataclass(frozen=True)
class MarkCorrelation:
    """Mark statistics of one pattern against marks shuffled over its points.

    Attributes
    ----------
    r : ndarray (m,) float64
        µm.
    correlation : ndarray (m,) float64
        k_mm(r) = E[m₁ m₂ | distance r] / mean(m)²: 1 without correlation.
    low, high : ndarray (m,) float64
        Global 95 % band of `correlation` when marks are shuffled over the positions.
    variogram : ndarray (m,) float64
        γ(r) = E[(m₁ - m₂)² | distance r] / 2, in squared units of the mark; its variance without correlation.
    weighted_k : ndarray (m,) float64
        Mark-weighted K_mm(r), µm^d: K with each pair weighted by m₁ m₂ / mean(m)²; equal to K without correlation.
    p_value : float
        Global p of `correlation`.
    note : str
        Why values are NaN, empty otherwise.
    """

    r: FloatArray
    correlation: FloatArray
    low: FloatArray
    high: FloatArray
    variogram: FloatArray
    weighted_k: FloatArray
    p_value: float
    note: str


def mark_correlation(
    points: npt.ArrayLike,
    marks: npt.ArrayLike,
    window: npt.ArrayLike | SetCovariance,
    spacing: Sequence[float],
    *,
    r_max: float = 60.0,
    n_r: int = 30,
    bandwidth: float | None = None,
    n_simulations: int = 199,
    seed: int = 0,
    strata: npt.ArrayLike | None = None,
    envelope: Kind = "erl",
) -> MarkCorrelation:
    """Compute mark correlation, mark variogram and mark-weighted K with translation correction.

    Parameters
    ----------
    points : array (n, ndim)
        µm; points outside the window are left out, and so are those without a mark.
    marks : array (n,)
        A positive measurement of each point, such as a marker's intensity; NaN where unknown.
    window : array bool or SetCovariance
        As for `cross_k`.
    spacing : sequence of float
        µm per axis.
    r_max, n_r, bandwidth : float, int, float or None
        As for `cross_k`.
    n_simulations, seed : int
    strata : array (n,) or None
        Shuffle marks within equal values only.
    envelope : {"erl", "mad", "studentised"}

    Raises
    ------
    SettingsError
        If points and marks differ in number.

    Notes
    -----
    Marks that sum to 0 or less have no correlation function: shift them first (a background that was taken off).
    """
    covariance = window if isinstance(window, SetCovariance) else set_covariance(window, spacing, r_max)
    where, value = as_points(points, covariance.ndim), np.asarray(marks, dtype=np.float64)
    if value.shape != (len(where),):
        raise SettingsError(f"Marks {value.shape} and points {where.shape} differ: give one mark per point.")
    held = np.isfinite(value)
    if not isinstance(window, SetCovariance):
        held &= inside(where, as_mask(window, "window"), spacing)
    groups = None if strata is None else np.asarray(strata)[held]
    where, value = where[held], value[held]
    reason = _cannot(value)
    if reason:
        nan = np.full(n_r, np.nan)
        r = covariance.r_max * np.arange(1, n_r + 1) / n_r
        return MarkCorrelation(r, nan, nan, nan, nan, nan, float("nan"), reason)
    # Sums are kept in single precision per pair weight: a mean of 1 keeps their digits.
    scaled = value / value.mean()
    rng = np.random.default_rng(seed)
    identity = np.arange(len(where))
    every = identity[None, :]
    if n_simulations:
        every = np.concatenate([every, permutations(len(where), n_simulations, rng, strata=groups)])
    products = _sums(where, scaled, every, covariance, n_r)
    plain = _sums(where, np.ones(len(where)), every[:1], covariance, n_r)
    squares = _one_sided(where, scaled**2, covariance, n_r)
    smooth = [smoothed(part, covariance, bandwidth) for part in (products, plain, squares)]
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = smooth[0] / smooth[1]
        variogram = (smooth[2] / smooth[1] - correlation[:, :1])[:, 0] * value.mean() ** 2
    if n_simulations:
        band = global_envelope(correlation[:, 0], correlation[:, 1:].T, kind=envelope)
        low, high, p = band.low, band.high, band.p_value
    else:
        low, high, p = np.full(n_r, np.nan), np.full(n_r, np.nan), float("nan")
    pairs = float(len(where) * (len(where) - 1))
    r, weighted, _ = k_and_l(products[:, :1], np.asarray([pairs]), covariance)
    return MarkCorrelation(r, correlation[:, 0], low, high, variogram, weighted[:, 0], p, "")


def _cannot(value: FloatArray) -> str:
    if len(value) < 2:
        return "fewer than two points with a mark in the window"
    return "the marks have no positive mean" if value.mean() <= 0 else ""


def _sums(
    where: FloatArray, value: FloatArray, orders: npt.NDArray[np.int64], covariance: SetCovariance, n_r: int
) -> FloatArray:
    """Sum m_i m_j / γ over ordered pairs for each permutation of the marks -> (n_r, S)."""
    identity = np.arange(len(where))
    step = max(1, _CHUNK // len(where))
    blocks = []
    for start in range(0, len(orders), step):
        weights = value[orders[start : start + step]].T
        blocks.append(
            pair_sums(
                where, where, covariance, n_bins=n_r, identity_x=identity, identity_y=identity,
                labels_x=weights, labels_y=weights,
            )
        )  # fmt: skip
    return np.concatenate(blocks, axis=1)


def _one_sided(where: FloatArray, value: FloatArray, covariance: SetCovariance, n_r: int) -> FloatArray:
    """Sum m_i / γ over ordered pairs -> (n_r, 1)."""
    identity = np.arange(len(where))
    return pair_sums(
        where, where, covariance, n_bins=n_r, identity_x=identity, identity_y=identity,
        labels_x=value[:, None], labels_y=np.ones((len(where), 1)),
    )  # fmt: skip

"""What "by chance" means: re-labelling, uniform placement in the window, strata; and Monte-Carlo p-values.

(a) `relabel`: the subjects' names are shuffled over all segmented haematopoietic positions. Default, because it keeps
where cells can be at all (density, depth, packing).
(b) `uniform`: positions are drawn uniformly in the window outside the structure; with `clearance` only where a cell of
that radius fits (megakaryocytes).
(c) `strata`: (a) within strata of depth or signal-to-noise ratio, so that a marker that fades with depth is no false
attraction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.niche.geometry import BoolArray, FloatArray, as_mask, as_spacing

Null = Literal["relabel", "strata", "uniform"]
Alternative = Literal["two-sided", "greater", "less"]
_MOST_REJECTIONS = 20


def relabel(
    subject: npt.ArrayLike, n_simulations: int, rng: np.random.Generator, *, strata: npt.ArrayLike | None = None
) -> BoolArray:
    """Shuffle which points are subjects.

    Parameters
    ----------
    subject : array (n,) bool
    n_simulations : int
    rng : numpy Generator
    strata : array (n,) int or None
        Shuffle only within equal values.

    Returns
    -------
    ndarray (n_simulations, n) bool
        Each row holds as many subjects as `subject`, in each stratum too.
    """
    mask = np.asarray(subject, dtype=bool)
    result = np.repeat(mask[None, :], n_simulations, axis=0)
    for members in _groups(mask, strata):
        result[:, members] = rng.permuted(result[:, members], axis=1)
    return result


def permutations(
    n: int, n_simulations: int, rng: np.random.Generator, *, strata: npt.ArrayLike | None = None
) -> npt.NDArray[np.int64]:
    """Draw permutations (n_simulations, n) int64, within strata when given: all labels of a cell move together."""
    result = np.repeat(np.arange(n)[None, :], n_simulations, axis=0)
    for members in _groups(np.zeros(n, dtype=bool), strata):
        result[:, members] = rng.permuted(result[:, members], axis=1)
    return result


def _groups(like: BoolArray, strata: npt.ArrayLike | None) -> list[npt.NDArray[np.int64]]:
    if strata is None:
        return [np.arange(len(like))]
    groups = np.asarray(strata)
    if groups.shape != like.shape:
        raise SettingsError(f"Strata {groups.shape} and points {like.shape} differ: give one stratum per point.")
    _, code = np.unique(groups, return_inverse=True)
    return [np.flatnonzero(code == k) for k in range(int(code.max()) + 1 if len(code) else 0)]


def quantile_strata(covariate: npt.ArrayLike, n_strata: int) -> npt.NDArray[np.int64]:
    """Cut a covariate (depth, signal-to-noise ratio) into strata of about equal size; NaN is a stratum of its own, -1.

    Raises
    ------
    SettingsError
        If `n_strata` < 1.
    """
    if n_strata < 1:
        raise SettingsError(f"n_strata is {n_strata}: give at least 1.")
    values = np.asarray(covariate, dtype=np.float64)
    known = np.isfinite(values)
    result = np.full(values.shape, -1, dtype=np.int64)
    if known.any():
        cuts = np.quantile(values[known], np.arange(1, n_strata) / n_strata)
        result[known] = np.searchsorted(cuts, values[known], side="right")
    return result


def uniform_positions(
    region: npt.ArrayLike,
    spacing: Sequence[float],
    n: int,
    rng: np.random.Generator,
    *,
    clearance: npt.ArrayLike | None = None,
) -> FloatArray:
    """Draw points uniformly in a region, within voxels too.

    Parameters
    ----------
    region : array bool (Y, X) or (Z, Y, X)
        Usually the window outside the structure.
    spacing : sequence of float
        µm per axis.
    n : int
    rng : numpy Generator
    clearance : array bool, shape of `region`, or None
        Further condition, for instance ``signed_distance(...) >= cell radius`` (size exclusion).

    Returns
    -------
    ndarray (n, ndim) float64
        µm.

    Raises
    ------
    SettingsError
        If the region is empty.
    """
    return UniformPlaces(region, spacing, clearance=clearance).draw(n, rng)


class UniformPlaces:
    """A region from which random positions are drawn again and again.

    Parameters
    ----------
    region, spacing, clearance :
        As for `uniform_positions`.

    Raises
    ------
    SettingsError
        If the region is empty.
    """

    def __init__(
        self, region: npt.ArrayLike, spacing: Sequence[float], *, clearance: npt.ArrayLike | None = None
    ) -> None:
        mask = as_mask(region, "region")
        self._spacing = np.asarray(as_spacing(spacing, mask.ndim))
        self._mask = mask if clearance is None else mask & np.asarray(clearance, dtype=bool)
        low, high = [], []
        for axis in range(mask.ndim):
            filled = np.flatnonzero(self._mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
            if len(filled) == 0:
                raise SettingsError(
                    "The region for random positions is empty: the structure fills the tissue, or there is none."
                )
            low.append(int(filled[0]))
            high.append(int(filled[-1]) + 1)
        self._low, self._high = np.asarray(low), np.asarray(high)

    def draw(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Return n positions (n, ndim) in µm, uniform within voxels too."""
        return (self._voxels(n, rng) + rng.random((n, self._mask.ndim)) - 0.5) * self._spacing

    def _voxels(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw voxels by rejection in the region's box, where that is full enough, else from a list of them.

        A list of the voxels of a large volume takes eight times the memory of the mask, and time to make.
        """
        mask = self._mask
        kept: list[npt.NDArray[np.int64]] = []
        found = 0
        for _ in range(_MOST_REJECTIONS):
            if found >= n:
                break
            drawn = rng.integers(self._low, self._high, size=(max(2 * (n - found), 64), mask.ndim))
            drawn = drawn[mask[tuple(drawn.T)]]
            kept.append(drawn)
            found += len(drawn)
        if found < n:
            where = np.flatnonzero(mask)
            chosen = where[rng.integers(len(where), size=n - found)]
            kept.append(np.stack(np.unravel_index(chosen, mask.shape), axis=1))
        return np.concatenate(kept)[:n] if kept else np.zeros((0, mask.ndim), dtype=np.int64)


def monte_carlo_p(observed: float, simulated: npt.ArrayLike, *, alternative: Alternative = "greater") -> float:
    """Monte-Carlo p-value (1 + #{T_sim >= T_obs}) / (N + 1).

    Parameters
    ----------
    observed : float
    simulated : array (N,)
    alternative : {"greater", "less", "two-sided"}
        Two-sided compares |T - m| with m the mean over all N + 1 values, which keeps them exchangeable and the test
        exact.

    Returns
    -------
    float
        NaN if `observed` or a simulated value is NaN. Never below 1 / (N + 1).
    """
    values = np.asarray(simulated, dtype=np.float64)
    if not np.isfinite(observed) or not np.isfinite(values).all():
        return float("nan")
    statistic, others = float(observed), values
    if alternative == "less":
        statistic, others = -statistic, -others
    elif alternative == "two-sided":
        middle = (float(observed) + float(values.sum())) / (len(values) + 1)
        statistic, others = abs(statistic - middle), np.abs(others - middle)
    # Ties that differ only by rounding must count as ties, else a constant statistic gives p = 1 / (N + 1).
    slack = 1e-12 * max(abs(float(observed)), float(np.abs(values).max(initial=0.0)), 1e-300)
    return float((1 + np.count_nonzero(others >= statistic - slack)) / (len(values) + 1))

"""Permutation test of two groups of organoids, within strata, with the interval that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from math import comb, prod

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MAX_EXACT = 20_000
"""All splits are enumerated up to this number; above it they are drawn at random."""


@dataclass(frozen=True)
class PermutationResult:
    """Outcome of a two-sample permutation test.

    Attributes
    ----------
    difference : float
        Mean of b minus mean of a, averaged over strata.
    p_value : float
        Two-sided.
    smallest_p : float
        Smallest p that these group sizes can give, whatever the data.
    low, high : float
        95 % interval by inversion: the shifts that the test does not reject; infinite where it can reject none.
    n_splits : int
        Splits that the design allows.
    exact : bool
        Whether all of them were counted.
    """

    difference: float
    p_value: float
    smallest_p: float
    low: float
    high: float
    n_splits: int
    exact: bool


def permutation_test(
    values: npt.ArrayLike,
    in_b: npt.ArrayLike,
    *,
    strata: npt.ArrayLike | None = None,
    n_draws: int = 9999,
    level: float = 0.95,
    seed: int = 0,
) -> PermutationResult:
    """Compare two groups by reassigning the randomised units, within strata, in all possible ways.

    Parameters
    ----------
    values : (n,) array-like
        One value per randomised unit.
    in_b : (n,) array-like of bool
        Whether it belongs to the second group.
    strata : (n,) array-like, optional
        Batches or donors; units change groups within their stratum only. A stratum with one group only says nothing
        about the difference and is left out of it.
    n_draws : int
        Random reassignments where there are more than `MAX_EXACT`.
    level : float
        Coverage of the interval.
    seed : int

    Returns
    -------
    PermutationResult

    Raises
    ------
    SettingsError
        If a group is empty in every stratum, or values are not finite.

    References
    ----------
    Ernst 2004, Stat Sci 19:676; Phipson & Smyth 2010, SAGMB 9:39 (the +1 of random draws).
    """
    y, b, groups = _inputs(values, in_b, strata)
    rng = np.random.default_rng(seed)
    n_splits = prod(comb(len(g), int(b[g].sum())) for g in groups)
    exact = n_splits <= MAX_EXACT
    weights = _stratum_weights(b, groups)
    assigned = _all_splits(b, groups) if exact else _random_splits(b, groups, n_draws, rng)
    contrasts = _contrasts(assigned, groups, weights)
    own = _contrasts(b[None], groups, weights)[0]
    difference = float(own @ y)
    drawn = contrasts @ y
    extra = 0 if exact else 1
    scale = float(np.abs(y).max()) + 1.0
    p = _p(drawn, difference, extra, scale)
    symmetric = all(2 * b[g].sum() == len(g) for g in groups)
    fewest = (2 if symmetric else 1) / n_splits
    smallest = fewest if exact else max(fewest, 1 / (n_draws + 1))
    # Taking a shift δ off group b changes the observed difference by δ and a reassigned one by δ c.
    share = contrasts @ b.astype(np.float64)
    low, high = _invert(drawn, share, difference, 1 - level, extra, float(np.ptp(y)))
    return PermutationResult(difference, p, smallest, low, high, n_splits, exact)


def _inputs(
    values: npt.ArrayLike, in_b: npt.ArrayLike, strata: npt.ArrayLike | None
) -> tuple[Floats, Bools, list[npt.NDArray[np.int64]]]:
    y = np.asarray(values, dtype=np.float64)
    b = np.asarray(in_b, dtype=bool)
    codes = np.zeros(len(y), dtype=np.int64)
    if strata is not None:
        codes = np.unique(np.asarray(strata, dtype=str), return_inverse=True)[1].ravel().astype(np.int64)
    if not len(y) == len(b) == len(codes):
        raise SettingsError("Values, groups and strata differ in length.")
    if not np.isfinite(y).all():
        raise SettingsError("Values must be finite: leave out units without a value.")
    groups = [np.flatnonzero(codes == c).astype(np.int64) for c in np.unique(codes)]
    groups = [g for g in groups if 0 < b[g].sum() < len(g)]
    if not groups:
        raise SettingsError("No stratum holds both groups: they cannot be compared.")
    used = np.sort(np.concatenate(groups))
    position = np.full(len(y), -1, dtype=np.int64)
    position[used] = np.arange(len(used))
    return y[used], b[used], [position[g] for g in groups]


def _stratum_weights(b: Bools, groups: list[npt.NDArray[np.int64]]) -> Floats:
    """Weight n_a n_b / (n_a + n_b) of each stratum's difference: the least variance if spreads are alike."""
    w = np.array([b[g].sum() * (~b[g]).sum() / len(g) for g in groups], dtype=np.float64)
    return np.asarray(w / w.sum(), dtype=np.float64)


def _contrasts(assigned: Bools, groups: list[npt.NDArray[np.int64]], weights: Floats) -> Floats:
    """Rows of coefficients (m, n): each row times the values is that assignment's difference."""
    out = np.zeros(assigned.shape)
    for g, w in zip(groups, weights, strict=True):
        part = assigned[:, g]
        n_b = part[0].sum()
        out[:, g] = np.where(part, w / n_b, -w / (len(g) - n_b))
    return out


def _all_splits(b: Bools, groups: list[npt.NDArray[np.int64]]) -> Bools:
    choices = [list(combinations(g, int(b[g].sum()))) for g in groups]
    rows = [np.concatenate([np.asarray(c) for c in choice]) for choice in product(*choices)]
    out = np.zeros((len(rows), len(b)), dtype=bool)
    out[np.repeat(np.arange(len(rows)), [len(r) for r in rows]), np.concatenate(rows)] = True
    return out


def _random_splits(b: Bools, groups: list[npt.NDArray[np.int64]], n: int, rng: np.random.Generator) -> Bools:
    out = np.zeros((n, len(b)), dtype=bool)
    for g in groups:
        out[:, g] = rng.permuted(np.broadcast_to(b[g], (n, len(g))), axis=1)
    return out


def _p(drawn: Floats, observed: float, extra: int, scale: float) -> float:
    # Sums in another order differ by rounding: ties with the observed split must count.
    return float((extra + np.sum(np.abs(drawn) >= abs(observed) - 1e-12 * scale)) / (extra + len(drawn)))


def _invert(
    drawn: Floats, share: Floats, difference: float, alpha: float, extra: int, spread: float
) -> tuple[float, float]:
    """Shifts δ at which the test of "b = a + δ" is not rejected, searched outward from the difference."""

    def accepted(delta: float) -> bool:
        shifted = drawn - delta * share
        return _p(shifted, difference - delta, extra, spread + abs(delta) + 1.0) > alpha

    if spread == 0:
        return difference, difference
    ends = []
    for sign in (-1.0, 1.0):
        inside, step = 0.0, spread
        far = 1e4 * spread
        while step < far and accepted(difference + sign * step):
            inside, step = step, 2 * step
        if step >= far:
            ends.append(sign * np.inf)
            continue
        for _ in range(50):
            middle = (inside + step) / 2
            inside, step = (middle, step) if accepted(difference + sign * middle) else (inside, middle)
        ends.append(difference + sign * step)
    return float(ends[0]), float(ends[1])

"""Are relatives alike? Correlations of sisters and cousins, and what of them is due to the clone alone.

Clones differ (founder, place, medium), so pooled relatives correlate even if division shuffles everything: with a
between-clone share of .48 the pooled sister correlation is .48 where the correlation within clones is 0. Every figure
is therefore given beside the one of pairs drawn at random from the same clone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm, t

from napari_marrow.errors import SettingsError
from napari_marrow.lineage.divisions import division_curve
from napari_marrow.lineage.pedigree import Ints, Pedigree

Floats = npt.NDArray[np.float64]
KINDS = ("mother-daughter", "sister", "cousin")


def kin_pairs(pedigree: Pedigree, kind: str) -> npt.NDArray[np.int64]:
    """Return the (m, 2) rows of all pairs of a kinship: mother-daughter, sister, or first cousin.

    Raises
    ------
    SettingsError
        If the kind is unknown.
    """
    if kind == "sister":
        return pedigree.sisters()
    if kind == "mother-daughter":
        child = np.flatnonzero(pedigree.mother >= 0)
        return np.column_stack([pedigree.mother[child], child]).astype(np.int64)
    if kind == "cousin":
        aunts = pedigree.sisters()
        a, b = pedigree.n_daughters[aunts[:, 0]], pedigree.n_daughters[aunts[:, 1]]
        number = a * b
        which = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        width = np.repeat(np.maximum(b, 1), number)
        first = np.repeat(pedigree.first_daughter[aunts[:, 0]], number) + which // width
        second = np.repeat(pedigree.first_daughter[aunts[:, 1]], number) + which % width
        return np.column_stack([pedigree.order[first], pedigree.order[second]]).astype(np.int64)
    raise SettingsError(f"Unknown kinship {kind!r}: choose one of {', '.join(KINDS)}.")


def kin_correlation(
    pedigree: Pedigree,
    values: npt.ArrayLike,
    *,
    kinds: Sequence[str] = KINDS,
    adjust_generation: bool = False,
    permutations: int = 199,
    seed: int = 0,
) -> pd.DataFrame:
    """Correlate a quantity between relatives.

    Parameters
    ----------
    pedigree : Pedigree
    values : (n,) array-like
        One value per track (row of ``pedigree.tracks``), NaN where unknown. For cycle times give
        `division_scores`: completed cycles correlate without any kinship, because relatives are born at about the same
        time and so had about the same time left to be seen dividing.
    kinds : sequence of str
        Of ``mother-daughter``, ``sister``, ``cousin``.
    adjust_generation : bool
        Subtract each generation's mean first; use it for quantities that drift with generation.
    permutations : int
        Shuffles within clones for the p value.
    seed : int

    Returns
    -------
    pandas.DataFrame
        kind, n_pairs, n_clones, `pooled` (double-entry correlation of the pairs), `shuffled` (its exact expectation
        when values are shuffled within clones), `excess` (pooled - shuffled: what kinship adds to sharing a clone),
        p_value (two-sided, of the excess), low, high (95 % limits of the excess), note.

    Notes
    -----
    Double entry counts each pair in both orders, so that it does not matter who is named first (Fisher 1925); its mean
    and variance are those of all paired entries. Shuffled: two different cells of one clone have on average the product
    ((Σx)² - Σx²)/(n(n-1)). Limits by a jackknife over clones, Student's t with n_clones - 1 degrees of freedom.
    """
    x = np.asarray(values, dtype=np.float64).copy()
    if x.shape != (len(pedigree),):
        raise SettingsError(f"{len(pedigree)} tracks but {x.shape} values: give one value per track.")
    if adjust_generation:
        known = np.isfinite(x)
        total = np.bincount(pedigree.generation[known], weights=x[known], minlength=int(pedigree.generation.max()) + 1)
        number = np.bincount(pedigree.generation[known], minlength=len(total))
        x -= (total / np.maximum(number, 1))[pedigree.generation]
    rng = np.random.default_rng(seed)
    rows = [[kind, *_one_kind(pedigree, x, kind, permutations, rng)] for kind in kinds]
    return pd.DataFrame(
        rows, columns=["kind", "n_pairs", "n_clones", "pooled", "shuffled", "excess", "p_value", "low", "high", "note"]
    )


def division_scores(pedigree: Pedigree) -> Floats:
    """Return each completed cycle as a normal score, freed of the time that was left to see it in.

    A cell born c hours before the movie's end is seen to divide only if its cycle is shorter than c, so that its
    completed cycle has the distribution F(a)/F(c). Its score is the normal quantile of that, with F by Kaplan-Meier
    over the cells born in the movie.

    Returns
    -------
    (n,) float64
        NaN for cells whose birth or division was not seen.
    """
    lifetimes = pedigree.lifetimes()
    curve = division_curve(lifetimes, which="later")
    out = np.full(len(pedigree), np.nan)
    rows = np.flatnonzero((lifetimes["birth_seen"] & (lifetimes["event"] == "division")).to_numpy())
    if rows.size == 0:
        return out
    end = pedigree.tracks.groupby(["position", "session"])["end_h"].transform("max").to_numpy(dtype=np.float64)
    age = lifetimes["age_h"].to_numpy()[rows]
    left = end[rows] - lifetimes["entry_h"].to_numpy()[rows]
    divided = np.concatenate([[0.0], 1 - curve.survival])
    # Ages are known to the frame: a tied one counts half.
    upper = divided[np.searchsorted(curve.times, age, side="right")]
    lower = divided[np.searchsorted(curve.times, age, side="left")]
    possible = divided[np.searchsorted(curve.times, left, side="right")]
    out[rows] = norm.ppf((upper + lower) / 2 / np.maximum(possible, upper))
    return out


def _one_kind(
    pedigree: Pedigree, x: Floats, kind: str, permutations: int, rng: np.random.Generator
) -> tuple[int, int, float, float, float, float, float, float, str]:
    nan = float("nan")
    pairs = kin_pairs(pedigree, kind)
    pairs = pairs[np.isfinite(x[pairs]).all(axis=1)]
    clones = np.unique(pedigree.founder[pairs[:, 0]]) if len(pairs) else np.empty(0, np.int64)
    if len(pairs) < 3:
        return len(pairs), len(clones), nan, nan, nan, nan, nan, nan, "fewer than 3 pairs with known values"
    entered = x[pairs].ravel()
    centre, spread = float(entered.mean()), float(entered.var())
    if spread <= 0:
        return len(pairs), len(clones), nan, nan, nan, nan, nan, nan, "all values are equal"
    z = (x - centre) / np.sqrt(spread)
    pooled = float((z[pairs[:, 0]] * z[pairs[:, 1]]).mean())
    rows = np.unique(pairs)  # the cells that such pairs are made of: only they are shuffled
    clone = pedigree.founder[rows]
    shuffled = _expected_product(z[rows], clone, pedigree.founder[pairs[:, 0]])
    p = _permutation_p(z, rows, clone, pairs, pooled - shuffled, shuffled, permutations, rng)
    low, high = _clone_limits(x, rows, pairs, pedigree.founder, pooled - shuffled)
    note = "" if len(clones) > 1 else "one clone only"
    return len(pairs), len(clones), pooled, shuffled, pooled - shuffled, p, low, high, note


def _clone_limits(
    x: Floats, rows: Ints, pairs: npt.NDArray[np.int64], founder: Ints, excess: float
) -> tuple[float, float]:
    """Limits of the excess by leaving out each clone in turn; everything is a function of sums over clones."""
    names, of_cell = np.unique(founder[rows], return_inverse=True)
    of_pair = np.searchsorted(names, founder[pairs[:, 0]])
    m = len(names)
    if m < 3:
        return float("nan"), float("nan")

    def sums(index: Ints, weights: Floats) -> Floats:
        return np.bincount(index, weights=weights, minlength=m).astype(np.float64)

    shift = float(x[rows].mean())  # about the mean, for the sums of squares
    a, b, cell = x[pairs[:, 0]] - shift, x[pairs[:, 1]] - shift, x[rows] - shift
    number, n = sums(of_pair, np.ones(len(pairs))), sums(of_cell, np.ones(len(rows)))
    total = sums(of_cell, cell)
    alike = (total**2 - sums(of_cell, cell**2)) / (n * np.maximum(n - 1, 1))
    parts = np.stack(
        [number, sums(of_pair, a + b), sums(of_pair, a**2 + b**2), sums(of_pair, a * b), number * alike,
         number * total / n]
    )  # fmt: skip
    pairs_left, first, second, product, together, mean = parts.sum(axis=1, keepdims=True) - parts
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = first / (2 * pairs_left)
        spread = second / (2 * pairs_left) - centre**2
        pooled = (product / pairs_left - centre**2) / spread
        shuffled = (together / pairs_left - 2 * centre * mean / pairs_left + centre**2) / spread
        left_out = pooled - shuffled
    if not np.isfinite(left_out).all():
        return float("nan"), float("nan")
    half = float(t.ppf(0.975, m - 1) * np.sqrt((m - 1) / m * ((left_out - left_out.mean()) ** 2).sum()))
    return excess - half, excess + half


def _expected_product(z: Floats, clone: Ints, pair_clone: Ints) -> float:
    """Mean product of two different cells of the same clone, each clone weighted by its number of pairs."""
    names, index = np.unique(clone, return_inverse=True)
    n = np.bincount(index).astype(np.float64)
    total = np.bincount(index, weights=z)
    square = np.bincount(index, weights=z**2)
    product = (total**2 - square) / (n * np.maximum(n - 1, 1))
    weight = np.bincount(np.searchsorted(names, pair_clone), minlength=len(names))
    return float((product * weight).sum() / weight.sum())


def _permutation_p(
    z: Floats,
    rows: Ints,
    clone: Ints,
    pairs: npt.NDArray[np.int64],
    excess: float,
    shuffled: float,
    n: int,
    rng: np.random.Generator,
) -> float:
    if n < 1:
        return float("nan")
    order = np.argsort(clone, kind="stable")
    rows = rows[order]
    rank = np.unique(clone[order], return_inverse=True)[1].ravel()
    larger = 0
    for _ in range(n):
        mixed = z.copy()
        mixed[rows] = z[rows[np.argsort(rank + rng.random(len(rows)))]]
        drawn = float((mixed[pairs[:, 0]] * mixed[pairs[:, 1]]).mean()) - shuffled
        larger += abs(drawn) >= abs(excess) - 1e-12
    return (1 + larger) / (n + 1)

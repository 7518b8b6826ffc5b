"""Who neighbours whom: neighbourhood enrichment against shuffles within an organoid, or within strata of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.niche.geometry import FloatArray
from napari_marrow.niche.null_models import _groups, permutations

_CHUNK = 8_000_000
_MOST_CLASSES_AS_BITS = 30
"""The work with bits grows with the square of the number of classes; beyond this, labels are shuffled one by one."""


@dataclass(frozen=True)
class Enrichment:
    """Contacts between classes against shuffled classes.

    Attributes
    ----------
    classes : tuple of str
    count : ndarray (k, k) int64
        Ordered neighbour pairs (i of class a, j of class b); symmetric, a pair within a class counts twice.
    expected, sd : ndarray (k, k) float64
        Mean and standard deviation under shuffling.
    z : ndarray (k, k) float64
        (count - expected) / sd; NaN where shuffling changes nothing.
    p_value : ndarray (k, k) float64
        Two-sided Monte-Carlo p.
    """

    classes: tuple[str, ...]
    count: npt.NDArray[np.int64]
    expected: FloatArray
    sd: FloatArray
    z: FloatArray
    p_value: FloatArray


def neighbour_pairs(points: npt.ArrayLike, radius: float) -> npt.NDArray[np.int64]:
    """Unordered pairs (p, 2) of points not farther apart than `radius` (µm); duplicates at one place are pairs."""
    from scipy.spatial import cKDTree

    array = np.atleast_2d(np.asarray(points, dtype=np.float64))
    if not radius > 0:
        raise SettingsError(f"The neighbourhood radius is {radius}: give a positive distance in µm.")
    if array.size == 0:
        return np.zeros((0, 2), dtype=np.int64)
    return np.asarray(cKDTree(array).query_pairs(radius, output_type="ndarray"), dtype=np.int64).reshape(-1, 2)


def neighbourhood_enrichment(
    classes: npt.ArrayLike,
    pairs: npt.NDArray[np.int64],
    *,
    strata: npt.ArrayLike | None = None,
    n_simulations: int = 999,
    seed: int = 0,
) -> Enrichment:
    """Test which classes of cells neighbour each other more than shuffled classes do.

    Parameters
    ----------
    classes : array (n,) str
        One class per cell.
    pairs : ndarray (p, 2) int64
        Unordered neighbour pairs (rows of `classes`), see `neighbour_pairs`.
    strata : array (n,) or None
        Shuffle within equal values only: the organoid when several are pooled, and strata of distance to vessels.
        Global shuffles find the compartments again.
    n_simulations : int
    seed : int

    Notes
    -----
    z = (C - mean_perm) / sd_perm; p = (1 + #{|C_sim - m| >= |C - m|}) / (N + 1).
    """
    names, code = np.unique(np.asarray(classes).astype(str), return_inverse=True)
    code = code.astype(np.int64)
    k, n = len(names), len(code)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or (len(pairs) and (pairs.min() < 0 or pairs.max() >= n)):
        raise SettingsError(f"Pairs of shape {pairs.shape} do not index {n} cells.")
    counts = [_count(code[None, :], pairs, k), _shuffled_counts(code, pairs, k, strata, n_simulations, seed)]
    every = np.concatenate(counts).astype(np.float64)
    expected, sd = every[1:].mean(axis=0), every[1:].std(axis=0)
    middle = every.mean(axis=0)
    away = np.abs(every - middle)
    p = (1 + (away[1:] >= away[0] - 1e-9).sum(axis=0)) / (n_simulations + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(sd > 0, (every[0] - expected) / sd, np.nan)
    return Enrichment(tuple(str(x) for x in names), counts[0][0], expected, sd, z, np.where(sd > 0, p, np.nan))


def _shuffled_counts(
    code: npt.NDArray[np.int64],
    pairs: npt.NDArray[np.int64],
    k: int,
    strata: npt.ArrayLike | None,
    n_simulations: int,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Ordered class pairs (n_simulations, k, k) of shuffled labels."""
    from napari_marrow.niche._label_bits import SHUFFLES, class_pairs_of_bits, shuffled_labels

    rng = np.random.default_rng(seed)
    n = len(code)
    if k > _MOST_CLASSES_AS_BITS or n == 0:
        step = max(1, _CHUNK // max(len(pairs), n, 1))
        sizes = [min(step, n_simulations - start) for start in range(0, n_simulations, step)]
        return np.concatenate([_count(code[permutations(n, s, rng, strata=strata)], pairs, k) for s in sizes])
    groups = _groups(np.zeros(n, dtype=bool), strata)
    members, first = np.concatenate(groups), np.cumsum([0, *(len(g) for g in groups)])
    blocks = []
    for _ in range(0, n_simulations, SHUFFLES):
        labels = shuffled_labels(members, first, code, k, rng.integers(1 << 64, dtype=np.uint64))
        blocks.append(class_pairs_of_bits(labels, np.ascontiguousarray(pairs)))
    return np.concatenate(blocks)[:n_simulations]


def _count(code: npt.NDArray[np.int64], pairs: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    """Ordered class pairs (S, k, k) for labellings (S, n)."""
    from napari_marrow.niche._kernels import class_pairs

    return np.asarray(class_pairs(np.ascontiguousarray(code), np.ascontiguousarray(pairs), k))

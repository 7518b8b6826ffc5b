"""Registration of one session's colonies on another's, by their constellation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from napari_marrow.tracking.identity import DistanceMixture, fit_distances
from napari_marrow.tracking.points import Floats, Ints

_HYPOTHESES = 12_000
_REFINED = 12
_LARGEST = 50
_MOST_ANGLE = np.deg2rad(25.0)
_MOST_SCALE = 0.05
_FIELD = 1.2  # width of the residual field's kernel in spacings


@dataclass(frozen=True)
class ConstellationFit:
    """How the colonies of the earlier session map onto the later one.

    Attributes
    ----------
    kind : str
        identity, shift, affine or smooth (affine with a smooth residual field): the one with the most evidence.
    moved : (n, 2) float64
        Registered positions of the earlier session's colonies.
    matrix : (2, 2) float64
    shift : (2,) float64
        Without the residual field: ``moved = x @ matrix.T + shift``.
    mixture : DistanceMixture
        Of the distances to the nearest colony of the later session.
    """

    kind: str
    moved: Floats
    matrix: Floats
    shift: Floats
    mixture: DistanceMixture


def register_constellation(
    a: Floats, size_a: Floats, b: Floats, size_b: Floats, *, density: float, seed: int = 0
) -> ConstellationFit:
    """Choose among identity, shift, affine map and smooth field by their evidence.

    The evidence is the likelihood of the nearest-neighbour distances under the mixture of `fit_distances`, less half
    the logarithm of the number of colonies per free parameter (Schwarz 1978).

    Parameters
    ----------
    a, b : (n, 2), (m, 2) float64
        Centroids (y, x) of the earlier and the later session.
    size_a, size_b : (n,), (m,) float64
        Radii: large colonies lead.
    density : float
        Colonies per unit area in the later session.
    seed : int

    Returns
    -------
    ConstellationFit
    """
    target = _Target(cKDTree(b), b, np.log(size_a), np.log(size_b), density)
    eye = np.eye(2)
    options = [_fit("identity", a, eye, np.zeros(2), target)]
    costs = [0.0]
    if len(a) >= 4 and len(b) >= 4:
        shift = _vote_shift(a, b, density)
        shift = shift + _mean_offset(a + shift, target)
        options.append(_fit("shift", a, eye, shift, target))
        costs.append(2.0)
        starts = [(eye, np.zeros(2)), (eye, shift)]
        found = _pairs_of_pairs(a, size_a, b, size_b, density, np.random.default_rng(seed))
        starts += found
        best = max((_refine(a, m, s, target) for m, s in starts), key=lambda f: f.mixture.log_likelihood)
        options.append(best)
        costs.append(6.0)
        if len(a) >= 12:
            options.append(_smooth(best, target))
            costs.append(12.0)
    penalty = 0.5 * np.log(max(len(a), 2))
    score = [o.mixture.log_likelihood - c * penalty for o, c in zip(options, costs, strict=True)]
    return options[int(np.argmax(score))]


@dataclass(frozen=True)
class _Target:
    """The later session's colonies, and both sessions' log sizes."""

    tree: cKDTree
    b: Floats
    log_a: Floats
    log_b: Floats
    density: float


def _judge(kind: str, moved: Floats, matrix: Floats, shift: Floats, target: _Target) -> ConstellationFit:
    distance, nearest = target.tree.query(moved)
    growth = target.log_b[nearest] - target.log_a
    return ConstellationFit(kind, moved, matrix, shift, fit_distances(np.asarray(distance), target.density, growth))


def _fit(kind: str, a: Floats, matrix: Floats, shift: Floats, target: _Target) -> ConstellationFit:
    return _judge(kind, a @ matrix.T + shift, matrix, shift, target)


def _vote_shift(a: Floats, b: Floats, density: float) -> Floats:
    """Most frequent difference of positions, on a grid of a third of the spacing, up to six spacings."""
    spacing = 1 / np.sqrt(density)
    step = spacing / 3
    difference = (b[None] - a[:, None]).reshape(-1, 2)
    difference = difference[np.abs(difference).max(1) < 6 * spacing]
    if len(difference) == 0:
        return np.zeros(2)
    votes = cKDTree(difference)
    counts = np.array([len(found) for found in votes.query_ball_point(difference, step)])
    best = difference[int(np.argmax(counts))]
    near = votes.query_ball_point(best, step)
    return np.asarray(difference[near].mean(0))


def _mean_offset(moved: Floats, target: _Target) -> Floats:
    distance, nearest = target.tree.query(moved)
    ok = distance < 0.4 / np.sqrt(target.density)
    return np.median(target.b[nearest[ok]] - moved[ok], axis=0) if ok.sum() >= 3 else np.zeros(2)


def _pairs_of_pairs(
    a: Floats, size_a: Floats, b: Floats, size_b: Floats, density: float, rng: np.random.Generator
) -> list[tuple[Floats, Floats]]:
    """Similarities that bring most colonies together, from pairs of large ones at like distance in both sessions."""
    big_a, big_b = (
        np.argsort(-size_a, kind="stable")[:_LARGEST],
        np.argsort(-size_b, kind="stable")[: int(1.3 * _LARGEST)],
    )
    far = 3.0 / np.sqrt(density)
    i, j = _two(big_a, a, far)
    p, q = _two(big_b, b, far)
    if len(i) == 0 or len(p) == 0:
        return []
    v, w = a[j] - a[i], b[q] - b[p]
    length_a, length_b = np.hypot(*v.T), np.hypot(*w.T)
    order = np.argsort(length_b, kind="stable")
    pick = rng.integers(0, len(i), _HYPOTHESES)
    low = np.searchsorted(length_b[order], length_a[pick] * (1 - _MOST_SCALE))
    high = np.searchsorted(length_b[order], length_a[pick] * (1 + _MOST_SCALE))
    pick, low, high = pick[high > low], low[high > low], high[high > low]
    other = order[low + (rng.random(len(low)) * (high - low)).astype(np.int64)]
    angle = np.arctan2(w[other, 1], w[other, 0]) - np.arctan2(v[pick, 1], v[pick, 0])
    angle = (angle + np.pi) % (2 * np.pi) - np.pi
    growth_1, growth_2 = size_b[p[other]] / size_a[i[pick]], size_b[q[other]] / size_a[j[pick]]
    ok = (np.abs(angle) < _MOST_ANGLE) & (np.minimum(growth_1, growth_2) > 0.6) & (np.maximum(growth_1, growth_2) < 5)
    ok &= np.abs(np.log(growth_1 / growth_2)) < 0.9
    pick, other, angle = pick[ok], other[ok], angle[ok]
    if len(pick) == 0:
        return []
    scale = length_b[other] / length_a[pick]
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
    shift = b[p[other]] - np.einsum("hij,hj->hi", matrix, a[i[pick]])
    moved = np.einsum("hij,nj->hni", matrix, a[big_a]) + shift[:, None]
    distance = cKDTree(b).query(moved.reshape(-1, 2))[0].reshape(len(pick), -1)
    score = np.exp(-((distance * np.sqrt(density) / 0.25) ** 2)).sum(1)
    best = np.argsort(-score, kind="stable")[:_REFINED]
    return [(matrix[h], shift[h]) for h in best]


def _two(rows: Ints, x: Floats, far: float) -> tuple[Ints, Ints]:
    i, j = np.repeat(rows, len(rows)), np.tile(rows, len(rows))
    keep = np.hypot(*(x[j] - x[i]).T) > far
    return i[keep], j[keep]


def _refine(a: Floats, matrix: Floats, shift: Floats, target: _Target) -> ConstellationFit:
    """Affine least squares on nearest neighbours within a shrinking distance."""
    for part in (0.45, 0.45, 0.36, 0.3, 0.24, 0.24):
        moved = a @ matrix.T + shift
        distance, nearest = target.tree.query(moved)
        ok = distance < part / np.sqrt(target.density)
        if ok.sum() < 6:
            break
        design = np.column_stack([a[ok], np.ones(ok.sum())])
        solution = np.linalg.lstsq(design, target.b[nearest[ok]], rcond=None)[0]
        if np.abs(np.linalg.svd(solution[:2])[1] - 1).max() > 0.25:
            break  # a collapse, no remounting
        matrix, shift = solution[:2].T, solution[2]
    return _fit("affine", a, matrix, shift, target)


def _smooth(start: ConstellationFit, target: _Target) -> ConstellationFit:
    """Add the locally averaged residual of the other colonies (each left out of its own average), three times."""
    moved = start.moved
    width = _FIELD / np.sqrt(target.density)
    for _ in range(3):
        distance, nearest = target.tree.query(moved)
        weight = start.mixture.posterior(distance)
        near = ((moved[:, None] - moved[None]) ** 2).sum(2)
        kernel = np.exp(-near / (2 * width**2)) * weight[None]
        np.fill_diagonal(kernel, 0.0)
        residual = target.b[nearest] - moved
        moved = moved + (kernel @ residual) / (kernel.sum(1, keepdims=True) + 1.0)
    return _judge("smooth", moved, start.matrix, start.shift, target)

"""What may have become of colonies between two sessions: went on, merged, fell apart; with the chance of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from napari_marrow.tracking.appearance import log_normal
from napari_marrow.tracking.colony_model import PairModel
from napari_marrow.tracking.packing import pack
from napari_marrow.tracking.points import Floats, Ints

_REACH = 5.0  # spreads
_CAUTION = 0.7  # nats for every colony that a merge takes in: the lost ones beside a colony are no random sample
_LEAST_TOUCH = 0.003
_LEAST_CHAIN = 0.02
_MOST_MERGED = 6
_MOST_GROUPS = 4  # of each size, per colony
_SPLIT_RATE = 0.015
_APART = (np.log(1.3), 0.25)  # distance of two pieces in sums of their radii: log mean, log width


@dataclass(frozen=True)
class Hypotheses:
    """What may have happened, with log weights against leaving everybody concerned unexplained.

    Attributes
    ----------
    parents, children : list of tuple of int
        Rows of the earlier and the later session.
    log_weight : (h,) float64
    """

    parents: list[tuple[int, ...]]
    children: list[tuple[int, ...]]
    log_weight: Floats


@dataclass(frozen=True)
class Decision:
    """Edges between two sessions.

    Attributes
    ----------
    i, j : (e,) int64
        Every edge that has a chance.
    probability : (e,) float64
    likeliest : (e,) bool
        Whether the edge is part of the likeliest explanation of all colonies together.
    alone : (e,) float64
        Probability that the edge holds and both ends have no other.
    """

    i: Ints
    j: Ints
    probability: Floats
    likeliest: np.ndarray
    alone: Floats

    def kin(self, m: int) -> Floats:
        """Probability that each of the m later colonies has an earlier one."""
        return np.minimum(np.bincount(self.j, self.probability, m), 1.0)

    def heirs(self, n: int) -> Floats:
        """Probability that each of the n earlier colonies has a later one."""
        return np.minimum(np.bincount(self.i, self.probability, n), 1.0)


def decide(model: PairModel) -> Decision:
    """Return every edge's probability, all hypotheses about all colonies weighed together."""
    found = hypotheses(model)
    n = len(model.before)
    claims = [(*p, *(n + c for c in children)) for p, children in zip(found.parents, found.children, strict=True)]
    places = np.concatenate([model.moved, model.after.x])
    packed = pack(claims, found.log_weight, places)
    chance: dict[tuple[int, int], list[float]] = {}
    for h, (parents, children) in enumerate(zip(found.parents, found.children, strict=True)):
        for p in parents:
            for c in children:
                entry = chance.setdefault((p, c), [0.0, 0.0, 0.0])
                entry[0] += packed.probability[h]
                entry[1] = max(entry[1], float(packed.best[h]))
                if len(parents) == len(children) == 1:
                    entry[2] += packed.probability[h]
    pairs = np.array(sorted(chance), np.int64).reshape(-1, 2)
    values = np.array([chance[(int(i), int(j))] for i, j in pairs]).reshape(-1, 3)
    return Decision(pairs[:, 0], pairs[:, 1], np.minimum(values[:, 0], 1.0), values[:, 1] > 0, values[:, 2])


def hypotheses(model: PairModel) -> Hypotheses:
    """Return everything that may have happened."""
    parents: list[tuple[int, ...]] = []
    children: list[tuple[int, ...]] = []
    weights: list[Floats] = []
    for some in (_links(model), _merges(model), _splits(model)):
        parents += some.parents
        children += some.children
        weights.append(some.log_weight)
    return Hypotheses(parents, children, np.concatenate(weights))


def _tuples(*columns: Ints) -> list[tuple[int, ...]]:
    return [tuple(row) for row in np.stack(columns, axis=1).tolist()] if len(columns[0]) else []


def _links(model: PairModel) -> Hypotheses:
    squared = ((model.moved[:, None] - model.after.x[None]) ** 2).sum(2)
    spread = model.spread(np.arange(len(model.before)))
    i, j = np.nonzero(squared <= (_REACH * spread[:, None]) ** 2)
    found, kin = model.partners()
    weight = model.log_place(squared[i, j], spread[i]) + np.log(found / (1 - found))[i] - np.log(1 - kin)[j]
    weight += model.log_size(model.before.log_area[i], model.after.log_area[j], i, j) - model.log_any_size(j)
    weight += model.log_features(i, j)
    return Hypotheses(_tuples(i), _tuples(j), weight)


def _merges(model: PairModel) -> Hypotheses:
    """Colonies that touch once grown, and one about their common centre with their summed area."""
    none = Hypotheses([], [], np.zeros(0))
    if len(model.before) < 2 or not len(model.after):
        return none
    parents: list[tuple[int, ...]] = []
    children: list[tuple[int, ...]] = []
    weights: list[Floats] = []
    found, kin = model.partners()
    real = np.log(found / (1 - found))
    log_area = model.before.log_area
    for members, odds in touching_groups(model).items():
        rows = np.asarray(members)
        total = np.logaddexp.reduce(log_area[rows])
        share = np.exp(log_area[rows] - total)
        centre = share @ model.moved[rows]
        longest = float(np.hypot(*(model.moved[rows][:, None] - model.moved[rows][None]).transpose(2, 0, 1)).max())
        own = (share**2 * (model.sigma**2 + model.uncertain[rows])).sum()
        spread = np.sqrt(own + (0.12 * longest) ** 2 + 0.2 * model.sigma**2)
        squared = ((model.after.x - centre) ** 2).sum(1)
        j = np.flatnonzero(squared <= (_REACH * spread) ** 2)
        if not len(j):
            continue
        weight = model.log_place(squared[j], np.full(len(j), spread)) - np.log(1 - kin)[j] + odds
        # each was there and lived on; that it is seen counts once
        weight += real[rows].sum() - (len(rows) - 1) * (np.log(0.95) + _CAUTION)
        weight += model.log_size(np.full(len(j), total), model.after.log_area[j]) - model.log_any_size(j)
        weight += model.log_mixture(rows, share, j)
        parents += [members] * len(j)
        children += [(int(c),) for c in j]
        weights.append(weight)
    return Hypotheses(parents, children, np.concatenate(weights)) if weights else none


def touching_groups(model: PairModel) -> dict[tuple[int, ...], float]:
    """Return the groups of earlier colonies that may have become one, with the log odds of it.

    Groups grow by one colony at a time: it touches either a member or the disc that the members make together.
    """
    n = len(model.before)
    grown = model.grown
    tree = cKDTree(model.moved)
    reach = 1.6 * (grown + grown.max()) + 4 * model.sigma
    near = [np.setdiff1d(found, [k]) for k, found in enumerate(tree.query_ball_point(model.moved, reach))]
    best: dict[tuple[int, ...], tuple[float, float]] = {}
    level: dict[tuple[int, ...], tuple[float, float]] = {(k,): (0.0, 0.0) for k in range(n)}
    for size in range(2, _MOST_MERGED + 1):
        grew: dict[tuple[int, ...], tuple[float, float]] = {}
        for members, (chance, odds) in level.items():
            rows = np.asarray(members)
            others = np.setdiff1d(np.concatenate([near[k] for k in members]), rows).astype(np.int64)
            if not len(others):
                continue
            touch = _touch(model, rows, others)
            for q, t in zip(others.tolist(), touch.tolist(), strict=True):
                total = chance + np.log(max(t, 1e-12))
                if total < np.log(_LEAST_TOUCH if size == 2 else _LEAST_CHAIN):
                    continue
                key = tuple(sorted((*members, q)))
                if key not in grew or total > grew[key][0]:
                    grew[key] = total, odds + float(np.log(t) - np.log(max(1 - t, 2e-3)))
        kept = sorted(grew, key=lambda key: (-grew[key][0], key))[: _MOST_GROUPS * n]
        level = {key: grew[key] for key in kept}
        best |= level
    return {members: odds for members, (_, odds) in best.items()}


def _touch(model: PairModel, rows: Ints, others: Ints) -> Floats:
    """Probability that each of the others touches one of the rows, or the disc of them all."""
    grown = model.grown
    best = np.zeros(len(others))
    for row in rows:
        place = np.broadcast_to(model.moved[row], (len(others), 2))
        best = np.maximum(best, model.touching(place, np.full(len(others), grown[row]), others))
    if len(rows) > 1:
        area = grown[rows] ** 2
        place = np.broadcast_to(area @ model.moved[rows] / area.sum(), (len(others), 2))
        best = np.maximum(best, model.touching(place, np.full(len(others), np.sqrt(area.sum())), others))
    return best


def _splits(model: PairModel) -> Hypotheses:
    """One colony, and two pieces about its place with its grown area in sum."""
    m = len(model.after)
    none = Hypotheses([], [], np.zeros(0))
    if m < 2 or not len(model.before):
        return none
    r, y = model.after.r, model.after.x
    apart = np.sqrt(((y[:, None] - y[None]) ** 2).sum(2))
    c, d = np.nonzero(np.triu(apart < 2.6 * (r[:, None] + r[None]), 1))
    if not len(c):
        return none
    total = np.logaddexp(model.after.log_area[c], model.after.log_area[d])
    share = np.exp(model.after.log_area[c] - total)[:, None]
    centre = share * y[c] + (1 - share) * y[d]
    spread = model.spread(np.arange(len(model.before)))
    squared = ((model.moved[:, None] - centre[None]) ** 2).sum(2)
    i, k = np.nonzero(squared <= (4 * spread[:, None]) ** 2)
    if not len(i):
        return none
    c, d, total, gap = c[k], d[k], total[k], apart[c[k], d[k]]
    found, kin = model.partners()
    weight = model.log_place(squared[i, k], spread[i]) + np.log(found / (1 - found))[i] + np.log(_SPLIT_RATE)
    weight -= np.log(1 - kin)[c] + np.log(1 - kin)[d]
    weight += model.log_size(model.before.log_area[i], total)
    # the pieces' difference of places and sizes, against two colonies at random
    ratio = np.log(np.maximum(gap, 1e-9) / (r[c] + r[d]))
    weight += log_normal(ratio, *_APART) - np.log(2 * np.pi * np.maximum(gap, 1e-9) ** 2 * model.density)
    weight += model.log_piece(i, c) + model.log_piece(i, d)
    uneven = model.after.log_area[c] - model.after.log_area[d]
    weight += log_normal(uneven, 0.0, 0.8) - model.log_any_size(c) - model.log_any_size(d)
    return Hypotheses(_tuples(i), _tuples(c, d), np.asarray(weight))

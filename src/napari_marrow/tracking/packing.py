"""Exact probabilities of overlapping hypotheses: which of them hold, if no object can take part in two.

A hypothesis claims some objects (a link claims a parent and a child, a merge two parents and a child). What holds
is a set of hypotheses that share no object; its weight is the product of theirs. The objects are swept in an order, and
only the claims that reach over the sweep line are remembered (a junction tree along a line, Lauritzen and Spiegelhalter
1988): exact as long as few objects compete in one place, which is what objects in a plane do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from napari_marrow.tracking.points import Floats, Ints

_MOST_STATES = 500
_BEAM = 16.0
"""States of the sweep that are kept per object, and how far (nats) behind the likeliest: fewer than eight rivals in one
place never reach either."""
_FAINT = np.log(0.004)
"""No hypothesis is more probable than its weight says: fainter ones are left out."""


@dataclass(frozen=True)
class Packing:
    """Probabilities of hypotheses.

    Attributes
    ----------
    probability : (h,) float64
        Posterior probability of each hypothesis.
    best : (h,) bool
        The likeliest set of hypotheses.
    log_evidence : float
        Log of the summed weight of all sets, relative to the empty set.
    """

    probability: Floats
    best: np.ndarray
    log_evidence: float


def pack(claims: Sequence[tuple[int, ...]], log_weight: Floats, position: Floats) -> Packing:
    """Return the probability of every hypothesis.

    Parameters
    ----------
    claims : sequence of tuple of int
        Objects that each hypothesis claims, each at least one, none twice.
    log_weight : (h,) float64
        Log of how much likelier the data are with the hypothesis than with its objects unexplained.
    position : (n, d) float64
        Where each object lies; every group of competing objects is swept along its longest axis.

    Returns
    -------
    Packing
    """
    n, h = len(position), len(claims)
    probability, best, evidence = np.zeros(h), np.zeros(h, bool), 0.0
    strong = np.flatnonzero(log_weight >= _FAINT)
    if len(strong) == 0:
        return Packing(probability, best, evidence)
    for nodes, among in _components([claims[int(e)] for e in strong], n):
        mine = strong[among]
        axis = int(np.argmax(np.ptp(position[nodes], axis=0)))
        order = nodes[np.lexsort((nodes, position[nodes, axis]))]
        rank = {int(node): k for k, node in enumerate(order)}
        local = [tuple(sorted(rank[node] for node in claims[e])) for e in mine]
        p, chosen, log_z = _sweep(len(order), local, log_weight[mine])
        probability[mine], best[mine] = p, chosen
        evidence += log_z
    return Packing(probability, best, evidence)


def _components(claims: Sequence[tuple[int, ...]], n: int) -> list[tuple[Ints, Ints]]:
    """Objects and hypotheses of each connected group."""
    rows = np.repeat(np.arange(len(claims)), [len(c) for c in claims])
    columns = np.concatenate([np.asarray(c, np.int64) for c in claims])
    h = len(claims)
    graph = coo_matrix((np.ones(len(rows)), (rows, h + columns)), shape=(h + n, h + n))
    group = connected_components(graph, directed=False)[1]
    by_group = np.argsort(group[:h], kind="stable")
    bounds = np.flatnonzero(np.diff(group[:h][by_group])) + 1
    nodes_of: dict[int, list[int]] = {}
    for node in np.unique(columns):
        nodes_of.setdefault(int(group[h + node]), []).append(int(node))
    return [(np.array(nodes_of[int(group[mine[0]])], np.int64), mine) for mine in np.split(by_group, bounds)]


def _sweep(n: int, claims: list[tuple[int, ...]], log_weight: Floats) -> tuple[Floats, np.ndarray, float]:
    """Forward and backward pass over one component; states are bit sets of later objects that are claimed already."""
    starting: list[list[tuple[int, int, float]]] = [[] for _ in range(n)]
    for e, claim in enumerate(claims):
        rest = 0
        for node in claim[1:]:
            rest |= 1 << node
        starting[claim[0]].append((e, rest, float(log_weight[e])))
    layers: list[list[tuple[int, int, int, float]]] = []
    alpha: dict[int, float] = {0: 0.0}
    alphas = [alpha]
    for node in range(n):
        moves, reached = _advance(alpha, node, starting[node])
        if len(reached) > 16:
            bar = max(reached.values()) - _BEAM
            kept = sorted((s for s in reached if reached[s] >= bar), key=lambda s: (-reached[s], s))[:_MOST_STATES]
            if len(kept) < len(reached):
                reached = {s: reached[s] for s in kept}
                moves = [m for m in moves if m[1] in reached]
        layers.append(moves)
        alpha = reached
        alphas.append(alpha)
    log_z = alpha[0]
    probability = np.zeros(len(claims))
    beta: dict[int, float] = {0: 0.0}
    value: dict[int, float] = {0: 0.0}
    steps: list[dict[int, tuple[int, int]]] = []
    for node in range(n - 1, -1, -1):
        before: dict[int, float] = {}
        score: dict[int, float] = {}
        step: dict[int, tuple[int, int]] = {}
        for source, target, e, weight in layers[node]:
            if target not in beta:
                continue
            term = weight + beta[target]
            before[source] = _add(before[source], term) if source in before else term
            worth = weight + value[target]
            if source not in score or worth > score[source] + 1e-12:
                score[source], step[source] = worth, (target, e)
            if e >= 0:
                probability[e] += math.exp(alphas[node][source] + term - log_z)
        beta, value = before, score
        steps.append(step)
    best = np.zeros(len(claims), bool)
    state = 0
    for step in reversed(steps):
        state, e = step[state]
        if e >= 0:
            best[e] = True
    return np.minimum(probability, 1.0), best, float(log_z)


def _add(a: float, b: float) -> float:
    """Log of the sum of two numbers given by their logs."""
    high, low = (a, b) if a > b else (b, a)
    return high + math.log1p(math.exp(low - high))


def _advance(
    alpha: dict[int, float], node: int, starting: list[tuple[int, int, float]]
) -> tuple[list[tuple[int, int, int, float]], dict[int, float]]:
    """Decide one object in every state: claimed already, left open, or claimed by a hypothesis that starts with it."""
    bit = 1 << node
    moves = []
    reached: dict[int, float] = {}
    for state, weight in alpha.items():
        if state & bit:
            options = [(state & ~bit, -1, 0.0)]
        else:
            options = [(state, -1, 0.0)]
            options += [(state | rest, e, w) for e, rest, w in starting if not state & rest]
        for target, e, w in options:
            moves.append((state, target, e, w))
            total = weight + w
            reached[target] = _add(reached[target], total) if target in reached else total
    return moves, reached

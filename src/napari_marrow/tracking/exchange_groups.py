"""Exact marginals within small groups of decisions that could be exchanged for one another (compiled).

Belief propagation is exact on trees, but certain of either of two links that could as well be exchanged: a cycle of
decisions, in which every message confirms the others (Vontobel 2013, IEEE Trans. Inf. Theory 59:1866). Decisions on
such cycles are put into one group, of eight outgoing and eight incoming ends at most, and all that can happen within a
group is summed up; what lies outside counts by its messages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from napari_marrow.tracking.disjoint_sets import root
from napari_marrow.tracking.group_sums import MOST, Grouped, sum_up
from napari_marrow.tracking.points import Floats, Ints
from napari_marrow.tracking.threads import in_slices

Flags = npt.NDArray[np.bool_]

_FAR = -15.0  # exchanges that lose more are left to the messages


@dataclass(frozen=True)
class Packing:
    """Hypotheses that compete for ends, each of which can be taken once.

    Attributes
    ----------
    source : (h,) int64
        Outgoing end that each takes.
    target : (h, 2) int64
        Incoming ends, -1 for none.
    gain : (h,) float64
        Log of its weight against leaving its ends open.
    chosen : (c,) int64
        Those that stand; they do not conflict.
    n_sources, n_targets : int
        Numbers of ends.
    """

    source: Ints
    target: Ints
    gain: Floats
    chosen: Ints
    n_sources: int
    n_targets: int


def group_odds(packing: Packing, free: Floats) -> tuple[Floats, Floats, Floats]:
    """Odds of every chosen pair of ends, and of every end being taken.

    Parameters
    ----------
    packing : Packing
    free : (h, 3) float64
        Messages of belief propagation: weight that no other hypothesis takes the source, the first, the second target.

    Returns
    -------
    pairs : (c, 2) float64
        Odds that source and first, source and second target of a chosen hypothesis belong together, in whichever
        hypothesis; NaN without second target.
    sources, targets : float64
        Odds that an end is taken.
    """
    p = packing
    by_source, from_source = _listed(p.source, p.n_sources)
    flat = p.target.ravel()
    by_target, from_target = _listed(np.where(flat < 0, p.n_targets, flat), p.n_targets)
    by_target //= 2
    order = _exchanges(p, by_source, from_source)
    root = _groups(p.source, p.target, p.chosen, order, p.n_sources, p.n_targets)
    members, bounds = _listed(root, len(root))
    bounds = np.append(bounds[:-1][np.diff(bounds) > 0], bounds[-1])
    place = np.full(len(p.gain), -1, np.int64)
    place[p.chosen] = np.arange(len(p.chosen))
    pairs = np.full((len(p.chosen), 2), np.nan)
    sources, targets = np.zeros(p.n_sources), np.zeros(p.n_targets)
    grouped = Grouped(
        p.source, p.target, p.gain, free, by_source, from_source, by_target, from_target, root, place
    )  # fmt: skip
    in_slices(
        lambda low, high: sum_up(grouped, members, bounds, pairs, sources, targets, low, high), len(bounds) - 1
    )  # fmt: skip
    return pairs, sources, targets


def _exchanges(p: Packing, by_source: Ints, from_source: Ints) -> Ints:
    """Hypotheses that do not stand and could be exchanged for what does, the best first."""
    value = np.full(len(p.gain), -np.inf)
    out, into = np.full(p.n_sources, -1, np.int64), np.full(p.n_targets, -1, np.int64)
    out[p.source[p.chosen]] = p.chosen
    for side in (0, 1):
        there = p.target[p.chosen, side] >= 0
        into[p.target[p.chosen[there], side]] = p.chosen[there]
    best_from, best_open = np.zeros(p.n_sources), np.zeros(p.n_targets)  # links that do not stand; from open ends
    _best_links(p.source, p.target, p.gain, out, best_from, best_open)
    in_slices(
        lambda low, high: _exchange_values(
            p.source, p.target, p.gain, by_source, from_source, out, into, best_from, best_open, value, low, high
        ),
        len(p.gain),
    )
    worth = np.flatnonzero(np.isfinite(value))
    return worth[np.argsort(-value[worth], kind="stable")]


@numba.njit(cache=True, nogil=True)
def _listed(key: Ints, n: int) -> tuple[Ints, Ints]:
    """Elements in the order of their key 0..n-1, and where each key begins; keys beyond are left out."""
    bounds = np.zeros(n + 1, np.int64)
    for k in key:
        if k < n:
            bounds[k + 1] += 1
    for k in range(n):
        bounds[k + 1] += bounds[k]
    order, at = np.empty(bounds[n], np.int64), bounds[:-1].copy()
    for q in range(len(key)):
        if key[q] < n:
            order[at[key[q]]] = q
            at[key[q]] += 1
    return order, bounds


@numba.njit(cache=True, nogil=True)
def _link_gain(source: int, to: int, by_source: Ints, from_source: Ints, target: Ints, gain: Floats) -> float:
    """Gain of the plain link between two ends, 0 if there is none that pays."""
    best = 0.0
    for r in range(from_source[source], from_source[source + 1]):
        a = by_source[r]
        if target[a, 0] == to and target[a, 1] < 0:
            best = max(best, gain[a])
    return best


@numba.njit(cache=True, nogil=True)
def _best_links(source: Ints, target: Ints, gain: Floats, out: Ints, best_from: Floats, best_open: Floats) -> None:
    for e in range(len(gain)):
        if target[e, 1] < 0 and out[source[e]] != e:
            best_from[source[e]] = max(best_from[source[e]], gain[e])
            if out[source[e]] < 0:
                best_open[target[e, 0]] = max(best_open[target[e, 0]], gain[e])


@numba.njit(cache=True, nogil=True)
def _exchange_values(
    source: Ints, target: Ints, gain: Floats, by_source: Ints, from_source: Ints, out: Ints, into: Ints,
    best_from: Floats, best_open: Floats, value: Floats, low: int, high: int,
) -> None:  # fmt: skip
    """Gain of putting each hypothesis in: what conflicts goes, ends set free link at best by a cycle of three links."""
    conflicts = np.zeros(3, np.int64)
    freed = np.zeros(6, np.int64)
    for e in range(low, high):
        if out[source[e]] == e:
            continue
        k = 0
        total = gain[e]
        for end in range(3):
            c = out[source[e]] if end == 0 else (into[target[e, end - 1]] if target[e, end - 1] >= 0 else -1)
            if c >= 0 and not (k > 0 and conflicts[0] == c) and not (k > 1 and conflicts[1] == c):
                conflicts[k] = c
                k += 1
                total -= gain[c]
        bound = total  # no refill is better than the best links of the sources set free and into the targets set free
        for q in range(k):
            if source[conflicts[q]] != source[e]:
                bound += best_from[source[conflicts[q]]]
            for side in range(2):
                t = target[conflicts[q], side]
                if t >= 0 and t != target[e, 0] and t != target[e, 1]:
                    bound += best_open[t]
        if bound <= _FAR:
            continue
        m = 0
        for q in range(k):
            for side in range(2):
                t = target[conflicts[q], side]
                if t >= 0 and t != target[e, 0] and t != target[e, 1]:
                    freed[m] = t
                    m += 1
        back = 0.0
        for q in range(m):  # incoming ends to open outgoing ones
            back += best_open[freed[q]]
        for q in range(k):
            s = source[conflicts[q]]
            if s == source[e]:
                continue
            best = 0.0
            for r in range(from_source[s], from_source[s + 1]):
                a = by_source[r]
                t = target[a, 0]
                if target[a, 1] >= 0 or t == target[e, 0] or t == target[e, 1]:
                    continue
                c = into[t]
                further = gain[a]
                for p in range(m):
                    if freed[p] == t:
                        c = -1
                if c >= 0 and c != out[source[e]]:
                    further -= gain[c]
                    closed = 0.0
                    for p in range(m):
                        closed = max(closed, _link_gain(source[c], freed[p], by_source, from_source, target, gain))
                    further += closed
                best = max(best, further)
            back += best
        if total + back > _FAR:
            value[e] = total + back


@numba.njit(cache=True, nogil=True)
def _groups(source: Ints, target: Ints, chosen: Ints, order: Ints, n_sources: int, n_targets: int) -> Ints:
    """Unite the ends of each chosen hypothesis, then those of the others, best first, as far as groups stay small."""
    total = n_sources + n_targets
    parent = np.arange(total)
    size = np.zeros((total, 2), np.int64)
    size[:n_sources, 0] = 1
    size[n_sources:, 1] = 1
    roots = np.zeros(3, np.int64)
    for q in range(len(chosen) + len(order)):
        a = chosen[q] if q < len(chosen) else order[q - len(chosen)]
        roots[0] = root(parent, source[a])
        many, outgoing, incoming = 1, size[roots[0], 0], size[roots[0], 1]
        for side in range(2):
            if target[a, side] < 0:
                continue
            r = root(parent, n_sources + target[a, side])
            known = False
            for p in range(many):
                known = known or roots[p] == r
            if not known:
                roots[many] = r
                many += 1
                outgoing += size[r, 0]
                incoming += size[r, 1]
        if outgoing > MOST or incoming > MOST:
            continue
        for p in range(1, many):
            parent[roots[p]] = roots[0]
        size[roots[0], 0], size[roots[0], 1] = outgoing, incoming
    for a in range(total):
        parent[a] = root(parent, a)
    return parent

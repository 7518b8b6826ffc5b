"""Sums over everything that can happen within small groups of decisions (compiled).

Source after source of a group, with the set of incoming ends that are taken as state: dynamic programming over subsets
(Bellman 1962, J. ACM 9:61), forwards and backwards, so that every marginal follows from one pass each.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from napari_marrow.tracking.points import Floats, Ints

MOST = 8
"""Outgoing or incoming ends of a group at most: 2 ** 8 states."""
_CLIP = 60.0


class Grouped(NamedTuple):
    """Hypotheses, listed by their ends, and the groups of the ends.

    Attributes
    ----------
    source, target, gain :
        See `exchange_groups.Packing`.
    free : (h, 3) float64
        Messages of belief propagation.
    by_source, from_source, by_target, from_target : int64
        Hypotheses in the order of their source (target), and where each begins.
    root : (n_sources + n_targets,) int64
        Group of every end.
    place : (h,) int64
        Number among the chosen ones, -1 for the others.
    """

    source: Ints
    target: Ints
    gain: Floats
    free: Floats
    by_source: Ints
    from_source: Ints
    by_target: Ints
    from_target: Ints
    root: Ints
    place: Ints


@numba.njit(cache=True, nogil=True)
def sum_up(
    grouped: Grouped, members: Ints, bounds: Ints, pairs: Floats, sources: Floats, targets: Floats, low: int, high: int
) -> None:  # fmt: skip
    """Fill in the odds of chosen pairs and of ends being taken, for the groups low..high.

    Parameters
    ----------
    grouped : Grouped
    members, bounds : int64
        Ends in the order of their groups, and where each group begins.
    pairs, sources, targets : float64
        As `exchange_groups.group_odds` returns them.
    low, high : int
    """
    n_sources = len(sources)
    before, after = np.zeros((MOST + 1, 1 << MOST)), np.zeros((MOST + 1, 1 << MOST))
    external, skip, held, other = np.ones(MOST), np.ones(MOST), np.zeros(2), np.zeros(2)
    ours, theirs = np.zeros(MOST, np.int64), np.zeros(MOST, np.int64)
    longest = 0
    for p in range(n_sources):
        longest = max(longest, grouped.from_source[p + 1] - grouped.from_source[p])
    weight, mask = np.zeros((MOST, longest)), np.zeros((MOST, longest), np.int64)
    for g in range(low, high):
        ns, nt = 0, 0
        for q in range(bounds[g], bounds[g + 1]):
            if members[q] < n_sources:
                ours[ns] = members[q]
                ns += 1
            else:
                theirs[nt] = members[q] - n_sources
                nt += 1
        here = grouped.root[members[bounds[g]]]
        for q in range(nt):
            external[q] = _outside(grouped, theirs[q], here)
        before[0, : 1 << nt] = 0.0
        before[0, 0] = 1.0
        for p in range(ns):
            skip[p] = _weigh(grouped, ours[p], here, theirs, nt, n_sources, weight[p], mask[p])
            many = grouped.from_source[ours[p] + 1] - grouped.from_source[ours[p]]
            _forward(many, 1 << nt, skip[p], weight[p], mask[p], before[p], before[p + 1])
        _incoming(theirs, nt, external, before[ns], after[ns], targets)
        for p in range(ns - 1, -1, -1):
            _backward(
                grouped, ours[p], 1 << nt, skip[p], weight[p], mask[p], before[p], after[p + 1], after[p], held, other,
                pairs, sources,
            )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _outside(grouped: Grouped, end: int, here: int) -> float:
    """One plus what sources outside of the group weigh at an incoming end."""
    total = 1.0
    for r in range(grouped.from_target[end], grouped.from_target[end + 1]):
        a = grouped.by_target[r]
        if grouped.root[grouped.source[a]] != here:
            side = 0 if grouped.target[a, 0] == end else 1
            weight = np.exp(min(grouped.gain[a], _CLIP)) * grouped.free[a, 0]
            total += weight * (grouped.free[a, 2 - side] if grouped.target[a, 1 - side] >= 0 else 1.0)
    return total


@numba.njit(cache=True, nogil=True)
def _weigh(
    grouped: Grouped, source: int, here: int, theirs: Ints, nt: int, n_sources: int, weight: Floats, mask: Ints
) -> float:  # fmt: skip
    """Fill in weight and incoming ends (bits) of a source's hypotheses; return the weight of none of them.

    Weights are relative to the largest, so that none overflows. Ends outside of the group count by their messages.
    """
    begin, end = grouped.from_source[source], grouped.from_source[source + 1]
    most = 0.0
    for r in range(begin, end):
        a = grouped.by_source[r]
        value, bits = min(max(grouped.gain[a], -_CLIP), _CLIP), 0
        for side in range(2):
            t = grouped.target[a, side]
            if t < 0:
                continue
            if grouped.root[n_sources + t] != here:
                value += np.log(grouped.free[a, 1 + side])
                continue
            for q in range(nt):
                if theirs[q] == t:
                    bits |= 1 << q
        weight[r - begin], mask[r - begin] = value, bits
        most = max(most, value)
    for k in range(end - begin):
        weight[k] = np.exp(weight[k] - most)
    return np.exp(-most)


@numba.njit(cache=True, nogil=True)
def _forward(many: int, full: int, skip: float, weight: Floats, mask: Ints, before: Floats, then: Floats) -> None:
    """Weight of every set of incoming ends that is taken once one of a source's `many` hypotheses, or none, is."""
    idle = skip
    for k in range(many):
        if mask[k] == 0:
            idle += weight[k]
    for state in range(full):
        then[state] = before[state] * idle
    for k in range(many):
        bits, w = mask[k], weight[k]
        if bits == 0:
            continue
        for state in range(full):
            if state & bits == bits:
                then[state] += before[state ^ bits] * w


@numba.njit(cache=True, nogil=True)
def _incoming(theirs: Ints, nt: int, external: Floats, before: Floats, after: Floats, targets: Floats) -> None:
    """Fill in the odds of incoming ends being taken, and what each set of taken ends weighs outside (`after`)."""
    for state in range(1 << nt):
        after[state] = 1.0
        for q in range(nt):
            if not state & (1 << q):
                after[state] *= external[q]
    for q in range(nt):
        taken, open_ = 0.0, 0.0
        for state in range(1 << nt):
            value = before[state] * after[state]
            if state & (1 << q):
                taken += value
            else:
                open_ += value / external[q]
                taken += value * (1 - 1 / external[q])
        targets[theirs[q]] = taken / max(open_, 1e-300)


@numba.njit(cache=True, nogil=True)
def _backward(
    grouped: Grouped, source: int, full: int, skip: float, weight: Floats, mask: Ints, before: Floats, then: Floats,
    after: Floats, held: Floats, other: Floats, pairs: Floats, sources: Floats,
) -> None:  # fmt: skip
    """Fill in what sets of taken ends weigh from this source on (`after`), and the odds of its end and of its pair."""
    begin, end = grouped.from_source[source], grouped.from_source[source + 1]
    standing, unchanged = -1, 0.0
    for r in range(begin, end):
        if grouped.place[grouped.by_source[r]] >= 0:
            standing = grouped.by_source[r]
    for state in range(full):
        unchanged += before[state] * then[state]
    idle, nothing, something = skip, unchanged * skip, 0.0
    for k in range(end - begin):
        if mask[k] == 0:
            idle += weight[k]
    for state in range(full):
        after[state] = then[state] * idle
    held[:], other[:] = 0.0, nothing
    for r in range(begin, end):
        a, bits, w = grouped.by_source[r], mask[r - begin], weight[r - begin]
        marginal = 0.0
        if bits == 0:
            marginal = w * unchanged
        else:
            for state in range(full):
                if state & bits == 0:
                    further = w * then[state | bits]
                    after[state] += further
                    marginal += before[state] * further
        something += marginal
        for side in range(2 if standing >= 0 else 0):
            t = grouped.target[standing, side]
            if t >= 0 and (grouped.target[a, 0] == t or grouped.target[a, 1] == t):
                held[side] += marginal
            else:
                other[side] += marginal
    sources[source] = something / max(nothing, 1e-300)
    for side in range(2 if standing >= 0 else 0):
        if grouped.target[standing, side] >= 0:
            pairs[grouped.place[standing], side] = held[side] / max(other[side], 1e-300)

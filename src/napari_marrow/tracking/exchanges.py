"""Second thoughts: links that were decided frame by frame exchange their ends where that pays over several frames."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import numpy.typing as npt

from napari_marrow.tracking.hypotheses import Solution
from napari_marrow.tracking.points import Floats, Ints

Flags = npt.NDArray[np.bool_]

_ROUNDS = 4
_LEAST = 0.05  # nats that an exchange must bring


def exchange(n: int, solution: Solution, gain: Floats) -> Solution:
    """Exchange the ends of chosen links wherever the total gain grows.

    A forward pass gives a cell that was missed in a frame no say in it: its rival may take the wrong way there, and two
    links go wrong when the cell is seen again. Here every candidate link i -> l may replace the links i -> j and k -> l
    that stand, together with k -> j if that is a candidate; the best exchanges come first, until none pays. Divisions
    stay as they are.

    Parameters
    ----------
    n : int
        Number of detections.
    solution : Solution
        Of the forward pass.
    gain : (e,) float64
        Gain of every candidate link over both ends staying open for good.

    Returns
    -------
    Solution
    """
    links, divisions = solution.links, solution.divisions
    rows = np.flatnonzero(gain > 0)
    rows = rows[np.lexsort((links.j[rows], links.i[rows]))]
    chosen = np.zeros(len(links.i), bool)
    chosen[solution.chosen] = True
    standing = chosen[rows]
    fixed = np.zeros((2, n), np.bool_)
    fixed[0, divisions.mother] = fixed[1, divisions.first] = fixed[1, divisions.second] = True
    start = np.searchsorted(links.i[rows], np.arange(n + 1))
    for _ in range(_ROUNDS):
        if not _improve(links.i[rows], links.j[rows], gain[rows], start, standing, fixed):
            break
    chosen[rows] = standing
    return replace(solution, chosen=np.flatnonzero(chosen))


def _improve(i: Ints, j: Ints, gain: Floats, start: Ints, standing: Flags, fixed: Flags) -> bool:
    n = len(start) - 1
    out, into = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    out[i[standing]] = into[j[standing]] = np.flatnonzero(standing)
    better, back = _exchanges(i, j, gain, start, out, into, fixed)
    pays = np.flatnonzero(better > _LEAST)
    touched = np.zeros((2, n), np.bool_)
    order = pays[np.lexsort((pays, -better[pays]))]
    for e in order.tolist():
        old = [x for x in (out[i[e]], into[j[e]]) if x >= 0]
        sources, targets = [i[e], *i[old]], [j[e], *j[old]]
        if touched[0, sources].any() or touched[1, targets].any():
            continue
        touched[0, sources] = touched[1, targets] = True
        standing[old] = False
        standing[e] = True
        if back[e] >= 0:
            standing[back[e]] = True
    return len(pays) > 0


@numba.njit(cache=True, nogil=True)
def _exchanges(
    i: Ints, j: Ints, gain: Floats, start: Ints, out: Ints, into: Ints, fixed: Flags
) -> tuple[Floats, Ints]:  # fmt: skip
    """Return what each candidate would bring, and the candidate that would link the ends it sets free (-1: none)."""
    better, back = np.full(len(i), -np.inf), np.full(len(i), -1, np.int64)
    for e in range(len(i)):
        a, b = out[i[e]], into[j[e]]
        if a == e or fixed[0, i[e]] or fixed[1, j[e]]:
            continue
        value = gain[e]
        if a >= 0:
            value -= gain[a]
        if b >= 0:
            value -= gain[b]
        if a >= 0 and b >= 0:
            low, high = start[i[b]], start[i[b] + 1]
            while low < high:
                middle = (low + high) // 2
                if j[middle] < j[a]:
                    low = middle + 1
                else:
                    high = middle
            if low < start[i[b] + 1] and j[low] == j[a] and gain[low] > 0:
                value += gain[low]
                back[e] = low
        better[e] = value
    return better, back

"""Exact assignment on sparse candidates, with divisions competing with links (compiled).

Gains are in nats over leaving both ends open; an end that nothing pays for stays open. The assignment is the shortest
augmenting path method with duals (Jonker and Volgenant 1987) on the sparse graph, every row having an outlet of gain 0.
A division takes one row and two columns. Where no division has a positive reduced gain none can better the assignment
(linear programming duality); the few connected components where one has are decided by depth-first search.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from napari_marrow.tracking.disjoint_sets import root
from napari_marrow.tracking.points import Floats, Ints

Flags = npt.NDArray[np.bool_]

_MOST_DIVISIONS = 10  # per component that enter the depth-first search, best first
_MOST_NODES = 300  # assignments solved per component

# rows of the integer workspace of a column
_OWNER, _VIA_EDGE, _VIA_ROW, _STATE, _TOUCHED = range(5)
# rows of the float workspace of a column
_PRICE, _DIST = range(2)


@numba.njit(cache=True, nogil=True)
def _match(
    rows: Ints, span: Ints, cols: Ints, gains: Floats, shut: Flags, pick: Ints, wi: Ints, wf: Floats
) -> float:  # fmt: skip
    """Assign `rows` at the largest gain and return it.

    Row r has the edges span[0, r]:span[1, r]. `shut` (2, n) closes rows and columns. Fills pick[r] (edge or -1) and,
    per column, wi[_OWNER] (row or -1) and wf[_PRICE] (dual, never positive).
    """
    for r in rows:
        pick[r] = -1
        for e in range(span[0, r], span[1, r]):
            wi[_OWNER, cols[e]] = -1
            wf[_PRICE, cols[e]] = 0.0
    for start in rows:
        if shut[0, start]:
            continue
        touched = 0
        row, base = start, 0.0
        outlet, outlet_row, column, end = np.inf, -1, -1, 0.0
        while True:
            dual = 0.0  # a row's dual follows from its tight edge; the starting row's is irrelevant
            if row != start:
                dual = -gains[pick[row]] - wf[_PRICE, cols[pick[row]]]
            if base - dual < outlet:
                outlet, outlet_row = base - dual, row
            for e in range(span[0, row], span[1, row]):
                c = cols[e]
                if shut[1, c] or wi[_STATE, c] == 2:
                    continue
                reach = base - gains[e] - wf[_PRICE, c] - dual
                if wi[_STATE, c] == 0:
                    wi[_STATE, c] = 1
                    wi[_TOUCHED, touched] = c
                    touched += 1
                elif reach >= wf[_DIST, c]:
                    continue
                wf[_DIST, c] = reach
                wi[_VIA_EDGE, c] = e
                wi[_VIA_ROW, c] = row
            nearest, where = np.inf, -1
            for q in range(touched):
                c = wi[_TOUCHED, q]
                if wi[_STATE, c] == 1 and wf[_DIST, c] < nearest:
                    nearest, where = wf[_DIST, c], c
            if outlet <= nearest:
                end = outlet
                break
            wi[_STATE, where] = 2
            base = nearest
            if wi[_OWNER, where] < 0:
                column, end = where, nearest
                break
            row = wi[_OWNER, where]
        for q in range(touched):
            c = wi[_TOUCHED, q]
            if wi[_STATE, c] == 2:
                wf[_PRICE, c] += wf[_DIST, c] - end
            wi[_STATE, c] = 0
        if column < 0 and outlet_row != start:
            column = cols[pick[outlet_row]]
            pick[outlet_row] = -1
        while column >= 0:
            row = wi[_VIA_ROW, column]
            freed = cols[pick[row]] if row != start else -1
            pick[row] = wi[_VIA_EDGE, column]
            wi[_OWNER, column] = row
            column = freed
    total = 0.0
    for r in rows:
        if pick[r] >= 0:
            total += gains[pick[r]]
    return total


@numba.njit(cache=True, nogil=True)
def _search(
    rows: Ints, span: Ints, cols: Ints, gains: Floats, shut: Flags, pick: Ints, wi: Ints, wf: Floats,
    triples: Ints, ti: Ints, tj: Ints, tk: Ints, tg: Floats, chosen: Flags,
) -> None:  # fmt: skip
    """Choose among the divisions `triples` of one component by depth-first search, then assign the rest of its rows."""
    best = _match(rows, span, cols, gains, shut, pick, wi, wf)
    budget = max(12, min(_MOST_NODES, 20000 // max(len(rows), 1)))
    count = min(len(triples), _MOST_DIVISIONS)
    stack = np.zeros(count + 1, np.int64)
    keep = np.zeros(count + 1, np.int64)
    depth, kept, at, nodes, value = 0, 0, 0, 0, 0.0
    while True:
        if at < count and nodes < budget:
            t = triples[at]
            at += 1
            if shut[0, ti[t]] or shut[1, tj[t]] or shut[1, tk[t]]:
                continue
            shut[0, ti[t]] = shut[1, tj[t]] = shut[1, tk[t]] = True
            value += tg[t]
            stack[depth] = at - 1
            depth += 1
            nodes += 1
            total = value + _match(rows, span, cols, gains, shut, pick, wi, wf)
            if total > best + 1e-9:
                best = total
                kept = depth
                keep[:depth] = stack[:depth]
        else:
            if depth == 0:
                break
            depth -= 1
            t = triples[stack[depth]]
            shut[0, ti[t]] = shut[1, tj[t]] = shut[1, tk[t]] = False
            value -= tg[t]
            at = stack[depth] + 1
    for q in range(kept):
        t = triples[keep[q]]
        chosen[t] = True
        shut[0, ti[t]] = shut[1, tj[t]] = shut[1, tk[t]] = True
    _match(rows, span, cols, gains, shut, pick, wi, wf)


@numba.njit(cache=True, nogil=True)
def _divide(
    rows: Ints, span: Ints, cols: Ints, gains: Floats, shut: Flags, pick: Ints, wi: Ints, wf: Floats,
    low: int, high: int, ti: Ints, tj: Ints, tk: Ints, tg: Floats, used: Flags, parent: Ints, chosen: Flags,
) -> None:  # fmt: skip
    """Let the divisions low:high of one frame compete with the assignment that stands."""
    n = len(pick)
    rival = np.zeros(high - low, np.int64)
    extra = np.zeros(high - low)
    m = 0
    best = 0.0
    for t in range(low, high):
        if used[ti[t]]:
            continue
        e = pick[ti[t]]
        row_gain = gains[e] + wf[_PRICE, cols[e]] if e >= 0 else 0.0
        rival[m] = t
        extra[m] = tg[t] - row_gain + wf[_PRICE, tj[t]] + wf[_PRICE, tk[t]]
        best = max(best, extra[m])
        m += 1
    if best <= 1e-9:
        return
    for r in rows:
        parent[r] = r
        for e in range(span[0, r], span[1, r]):
            parent[n + cols[e]] = n + cols[e]
    for q in range(m):
        t = rival[q]
        parent[n + tj[t]] = n + tj[t]
        parent[n + tk[t]] = n + tk[t]
    for r in rows:
        for e in range(span[0, r], span[1, r]):
            parent[root(parent, n + cols[e])] = root(parent, r)
    for q in range(m):
        t = rival[q]
        parent[root(parent, n + tj[t])] = root(parent, ti[t])
        parent[root(parent, n + tk[t])] = root(parent, ti[t])
    order = np.argsort(-extra[:m], kind="mergesort")
    done = np.zeros(m, np.bool_)
    home = np.zeros(len(rows), np.int64)
    for q in range(len(rows)):
        home[q] = root(parent, rows[q])
    for q in range(m):
        if done[q]:
            continue
        if extra[order[q]] <= 1e-9:
            break  # best first: no component that is left has one with a positive reduced gain
        place = root(parent, ti[rival[order[q]]])
        mine = np.zeros(m, np.int64)
        k = 0
        for p in range(q, m):
            if not done[p] and root(parent, ti[rival[order[p]]]) == place:
                done[p] = True
                mine[k] = rival[order[p]]
                k += 1
        _search(rows[home == place], span, cols, gains, shut, pick, wi, wf, mine[:k], ti, tj, tk, tg, chosen)


@numba.njit(cache=True, nogil=True)
def _solve_blocks(
    n: int, ei: Ints, ej: Ints, eg: Floats, e_block: Ints, ti: Ints, tj: Ints, tk: Ints, tg: Floats, t_block: Ints
) -> tuple[Flags, Flags]:
    """Solve block after block (target frame): a source that was linked is gone, another keeps competing."""
    chosen_e = np.zeros(len(ei), np.bool_)
    chosen_t = np.zeros(len(ti), np.bool_)
    used = np.zeros(n, np.bool_)
    span = np.zeros((2, n), np.int64)
    pick = np.full(n, -1, np.int64)
    wi = np.full((5, n), 0, np.int64)
    wi[_OWNER] = -1
    wf = np.zeros((2, n))
    shut = np.zeros((2, n), np.bool_)
    parent = np.zeros(2 * n, np.int64)
    seen = np.full(n, -1, np.int64)
    for b in range(len(e_block) - 1):
        rows = np.zeros(e_block[b + 1] - e_block[b] + t_block[b + 1] - t_block[b], np.int64)
        m = 0
        for e in range(e_block[b], e_block[b + 1]):
            r = ei[e]
            if used[r]:
                continue
            if seen[r] != b:
                seen[r] = b
                rows[m] = r
                m += 1
                span[0, r] = e
            span[1, r] = e + 1
        for t in range(t_block[b], t_block[b + 1]):
            r = ti[t]
            if not used[r] and seen[r] != b:
                seen[r] = b
                rows[m] = r
                m += 1
                span[0, r] = span[1, r] = 0
            wf[_PRICE, tj[t]] = wf[_PRICE, tk[t]] = 0.0
        rows = rows[:m]
        _match(rows, span, ej, eg, shut, pick, wi, wf)
        if t_block[b + 1] > t_block[b]:
            _divide(
                rows,
                span,
                ej,
                eg,
                shut,
                pick,
                wi,
                wf,
                t_block[b],
                t_block[b + 1],
                ti,
                tj,
                tk,
                tg,
                used,
                parent,
                chosen_t,
            )
        for r in rows:
            if pick[r] >= 0:
                chosen_e[pick[r]] = True
                used[r] = True
        for t in range(t_block[b], t_block[b + 1]):
            if chosen_t[t]:
                used[ti[t]] = True
    return chosen_e, chosen_t


def assign(n: int, i: Ints, j: Ints, gain: Floats) -> Flags:
    """Choose links of the largest total gain, each source and each target at most once.

    Parameters
    ----------
    n : int
        Number of detections.
    i, j : (e,) int64
        Source and target of every candidate link.
    gain : (e,) float64
        Gain over leaving both open; candidates without gain are never chosen.

    Returns
    -------
    (e,) bool
    """
    none = np.zeros(0, np.int64)
    block = np.zeros(len(i), np.int64)
    return assign_forward(n, (i, j, gain, block), (none, none, none, np.zeros(0), none))[0]


def assign_forward(
    n: int, links: tuple[Ints, Ints, Floats, Ints], divisions: tuple[Ints, Ints, Ints, Floats, Ints]
) -> tuple[Flags, Flags]:
    """Decide links and divisions frame by frame; a cell that found nothing stays a candidate for later frames.

    Parameters
    ----------
    n : int
        Number of detections.
    links : (i, j, gain, block)
        Candidate links; `block` is the frame of the target.
    divisions : (i, j, k, gain, block)
        Candidate divisions of i into j and k.

    Returns
    -------
    chosen_links : (e,) bool
    chosen_divisions : (m,) bool
    """
    i, j, gain, block = links
    a, b, c, worth, t_block = divisions
    keep_e, keep_t = np.flatnonzero(gain > 0), np.flatnonzero(worth > 0)
    keep_e = keep_e[np.lexsort((j[keep_e], i[keep_e], block[keep_e]))]
    keep_t = keep_t[np.lexsort((c[keep_t], b[keep_t], a[keep_t], t_block[keep_t]))]
    blocks = np.arange(max(block.max(initial=-1), t_block.max(initial=-1)) + 2)
    chosen_e, chosen_t = _solve_blocks(
        n, i[keep_e], j[keep_e], gain[keep_e], np.searchsorted(block[keep_e], blocks),
        a[keep_t], b[keep_t], c[keep_t], worth[keep_t], np.searchsorted(t_block[keep_t], blocks),
    )  # fmt: skip
    links_mask, divisions_mask = np.zeros(len(i), bool), np.zeros(len(a), bool)
    links_mask[keep_e[chosen_e]] = True
    divisions_mask[keep_t[chosen_t]] = True
    return links_mask, divisions_mask

"""Interval-censored times: the event lies between two looks (Turnbull, with competing causes and left truncation).

A marker seen positive for the first time at 72 h, and negative at 48 h, came on somewhere in (48, 72]. Reading 72 h
makes every onset late by about half a gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import TableError
from napari_marrow.lineage.survival import Floats

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class IntervalCurve:
    """Non-parametric maximum likelihood estimate: probability masses on disjoint intervals, by cause.

    Attributes
    ----------
    left, right : (m,) float64
        Ends of the intervals (left, right] [h]; equal for exactly known times.
    cause : (m,) int64
        Cause of each mass, 1..K.
    mass : (m,) float64
        Probability.
    never : float
        Probability of no event within observation.
    converged : bool
    iterations : int
    """

    left: Floats
    right: Floats
    cause: Ints
    mass: Floats
    never: float
    converged: bool
    iterations: int

    def at(self, t: npt.ArrayLike, *, cause: int = 1) -> Floats:
        """Return the cumulative incidence of a cause at times t.

        Inside an interval the estimate says nothing; the mass is spread evenly there, which errs by less than the
        interval's mass.
        """
        asked = np.atleast_1d(np.asarray(t, dtype=np.float64))
        mine = self.cause == cause
        left, right, mass = self.left[mine], self.right[mine], self.mass[mine]
        width = np.where(right > left, right - left, 1.0)
        share = np.clip((asked[:, None] - left) / width, 0.0, 1.0)
        share = np.where(right > left, share, asked[:, None] >= right)
        return share @ mass

    def mean(self, *, cause: int = 1) -> float:
        """Mean time [h] of a cause with each mass at its interval's middle, NaN if the cause has no mass."""
        mine = self.cause == cause
        total = self.mass[mine].sum()
        if total <= 0:
            return float("nan")
        return float(((self.left + self.right)[mine] / 2 * self.mass[mine]).sum() / total)


def turnbull(
    left: npt.ArrayLike,
    right: npt.ArrayLike,
    *,
    cause: npt.ArrayLike | None = None,
    n_causes: int | None = None,
    entry: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    tolerance: float = 1e-9,
    max_iterations: int = 20_000,
) -> IntervalCurve:
    """Estimate the distribution of interval-censored, left-truncated times of one or several competing events.

    Parameters
    ----------
    left, right : (n,) array-like
        The event lies in (left, right] [h]; `right` = inf: not seen (right-censored at left); equal: exact.
    cause : (n,) array-like of int, optional
        1..K where the event was seen; ignored where `right` is inf. 1 by default.
    n_causes : int, optional
        K; the largest cause by default.
    entry : (n,) array-like, optional
        Subjects are in the sample only because their time exceeds this (left truncation).
    weights : (n,) array-like, optional
        Case weights.
    tolerance : float
        Stop when no mass changes by more.
    max_iterations : int
        Bound of the self-consistency iteration.

    Returns
    -------
    IntervalCurve

    Raises
    ------
    TableError
        If an interval ends before it begins, or ends before the subject's entry.

    References
    ----------
    Turnbull 1976, JRSS B 38:290; truncation: Frydman 1994, JRSS B 56:71; competing causes: Hudgens, Satten & Longini
    2001, Biometrics 57:74.
    """
    lo, hi, codes, start, w, k = _inputs(left, right, cause, n_causes, entry, weights)
    seen = np.isfinite(hi)
    exact = seen & (lo == hi)
    values = np.unique(np.concatenate([lo, hi[seen], start]))
    # Order at one value v: a closed left end (exact time) < a right end (closed) < an open left end.
    lkey = np.searchsorted(values, lo) * 3 + np.where(exact, 0, 2)
    rkey = np.where(seen, np.searchsorted(values, np.where(seen, hi, values[0] if len(values) else 0)) * 3 + 1, np.inf)
    ekey = np.searchsorted(values, start) * 3 + 2
    truncated = np.unique(ekey[np.isfinite(start)] - 1)
    spans = [_innermost(np.unique(lkey), np.union1d(rkey[seen & (codes == c)], truncated)) for c in range(1, k + 1)]
    never = bool((~seen).any() and (not seen.any() or lkey[~seen].max() > rkey[seen].max()))
    cells = _Cells.build(spans, never)
    first, last = cells.ranges(lkey, rkey, codes, seen)
    trunc_first = cells.truncation(ekey) if np.isfinite(start).any() else None
    mass, converged, iterations = _self_consistent(cells, first, last, trunc_first, w, tolerance, max_iterations)
    q = np.concatenate([s[0] for s in spans]) if spans else np.empty(0)
    p = np.concatenate([s[1] for s in spans]) if spans else np.empty(0)
    cause_of = np.repeat(np.arange(1, k + 1), [len(s[0]) for s in spans])
    body = mass[: len(q)]
    return IntervalCurve(
        values[(q // 3).astype(np.int64)],
        values[(p // 3).astype(np.int64)],
        cause_of.astype(np.int64),
        body,
        float(mass[len(q) :].sum()),
        converged,
        iterations,
    )


def _inputs(
    left: npt.ArrayLike,
    right: npt.ArrayLike,
    cause: npt.ArrayLike | None,
    n_causes: int | None,
    entry: npt.ArrayLike | None,
    weights: npt.ArrayLike | None,
) -> tuple[Floats, Floats, Ints, Floats, Floats, int]:
    lo, hi = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    n = len(lo)
    codes = np.ones(n, dtype=np.int64) if cause is None else np.asarray(cause, dtype=np.int64)
    start = np.full(n, -np.inf) if entry is None else np.asarray(entry, dtype=np.float64)
    w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if not n == len(hi) == len(codes) == len(start) == len(w):
        raise TableError("Left ends, right ends, causes, entries and weights differ in length.")
    if np.isnan(lo).any() or np.isnan(hi).any() or np.isnan(start).any():
        raise TableError("Intervals and entries must be numbers: use inf for an end that was not seen.")
    if (hi < lo).any():
        i = int(np.argmax(hi < lo))
        raise TableError(f"The interval ({lo[i]}, {hi[i]}] ends before it begins.")
    if (hi <= start).any():
        i = int(np.argmax(hi <= start))
        raise TableError(f"An event seen by {hi[i]} h cannot belong to a subject that entered at {start[i]} h.")
    lo = np.where(lo < start, start, lo)
    seen = np.isfinite(hi)
    k = int(n_causes if n_causes is not None else max(1, codes[seen].max(initial=1)))
    if seen.any() and (codes[seen].min() < 1 or codes[seen].max() > k):
        raise TableError(f"Causes of seen events must be 1 to {k}.")
    table = np.column_stack([lo, hi, np.where(seen, codes, 0), start])
    # Looks fall on few distinct times: equal subjects are one subject with a weight.
    unique, inverse = np.unique(table, axis=0, return_inverse=True)
    summed = np.bincount(inverse.ravel(), weights=w, minlength=len(unique))
    lo, hi, start = (unique[:, i].astype(np.float64) for i in (0, 1, 3))
    return lo, hi, unique[:, 2].astype(np.int64), start, summed.astype(np.float64), k


def _innermost(lefts: npt.NDArray[np.generic], rights: npt.NDArray[np.generic]) -> tuple[Floats, Floats]:
    """Intervals from a left end to the next right end with no other end between (Turnbull 1976)."""
    ends = np.concatenate([lefts.astype(np.float64), rights.astype(np.float64)])
    is_right = np.concatenate([np.zeros(len(lefts), bool), np.ones(len(rights), bool)])
    order = np.argsort(ends, kind="stable")
    ends, is_right = ends[order], is_right[order]
    inner = np.flatnonzero(~is_right[:-1] & is_right[1:])
    return ends[inner], ends[inner + 1]


@dataclass(frozen=True, eq=False)
class _Cells:
    """Masses of all causes one behind the other, and `never` as the last one."""

    spans: list[tuple[Floats, Floats]]
    offsets: Ints
    never: bool

    @classmethod
    def build(cls, spans: list[tuple[Floats, Floats]], never: bool) -> _Cells:
        sizes = [len(q) for q, _ in spans]
        return cls(spans, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), never)

    @property
    def size(self) -> int:
        return int(self.offsets[-1]) + int(self.never)

    def ranges(
        self, lkey: npt.NDArray[np.generic], rkey: Floats, codes: Ints, seen: npt.NDArray[np.bool_]
    ) -> tuple[Ints, Ints]:
        """First and one-past-last mass of each subject within each cause's block: two (blocks, n) arrays."""
        blocks = len(self.spans) + int(self.never)
        first = np.zeros((blocks, len(lkey)), dtype=np.int64)
        last = np.zeros_like(first)
        for b, (q, p) in enumerate(self.spans):
            allowed = ~seen | (codes == b + 1)
            first[b] = self.offsets[b] + np.searchsorted(q, lkey, side="left")
            last[b] = np.where(allowed, self.offsets[b] + np.searchsorted(p, rkey, side="right"), first[b])
        if self.never:
            first[-1] = self.offsets[-1]
            last[-1] = self.offsets[-1] + np.where(seen, 0, 1)
        return first, np.maximum(first, last)

    def truncation(self, ekey: npt.NDArray[np.generic]) -> Ints:
        """First mass of each block that lies behind the subject's entry: (causes, n)."""
        return np.stack(
            [self.offsets[b] + np.searchsorted(q, ekey, side="left") for b, (q, _) in enumerate(self.spans)]
        )


def _self_consistent(
    cells: _Cells,
    first: Ints,
    last: Ints,
    trunc_first: Ints | None,
    weights: Floats,
    tolerance: float,
    max_iterations: int,
) -> tuple[Floats, bool, int]:
    size = cells.size
    if size == 0 or weights.sum() == 0:
        return np.zeros(size), True, 0
    mass = np.full(size, 1.0 / size)
    for iteration in range(1, max_iterations + 1):
        total = np.concatenate([[0.0], np.cumsum(mass)])
        held = (total[last] - total[first]).sum(axis=0)
        share = np.where(held > 0, weights / np.where(held > 0, held, 1.0), 0.0)
        density = _spread(first, last, share, size)
        if trunc_first is not None:
            # Turnbull's ghosts: for each subject seen, those of its kind that had the event before they could enter.
            starts = np.repeat(cells.offsets[:-1, None], trunc_first.shape[1], axis=1)
            before = (total[trunc_first] - total[starts]).sum(axis=0)
            density = density + _spread(starts, trunc_first, weights / np.maximum(1 - before, 1e-12), size)
        new = mass * density
        new /= new.sum()
        change = float(np.abs(new - mass).max())
        mass = new
        if change < tolerance:
            return mass, True, iteration
    return mass, False, max_iterations


def _spread(first: Ints, last: Ints, amount: Floats, size: int) -> Floats:
    """Add amount[i] to every place in [first[b, i], last[b, i]) of each block: differences, then one running sum."""
    steps = np.zeros(size + 1)
    for a, b in zip(first, last, strict=True):
        steps += np.bincount(a, weights=amount, minlength=size + 1)[: size + 1]
        steps -= np.bincount(b, weights=amount, minlength=size + 1)[: size + 1]
    return np.cumsum(steps)[:size]

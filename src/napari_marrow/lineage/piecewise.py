"""Competing risks with wide gaps between looks: hazards constant over pieces of time, by expectation maximisation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_marrow.lineage.survival import Floats

Ints = npt.NDArray[np.int64]
MOST_PIECES = 12


def piecewise_hazards(
    entry: Floats, left: Floats, right: Floats, cause: Ints, n_causes: int, edges: Floats, *, iterations: int = 500
) -> Floats:
    """Estimate cause-specific hazards that are constant between `edges` from interval-censored, late-entering times.

    Parameters
    ----------
    entry : (n,) float64
        Begin of the time at risk [h].
    left, right : (n,) float64
        The event lies in (left, right]; equal: exact; `right` inf: none until left.
    cause : (n,) int64
        1..K where there is an event.
    n_causes : int
        K.
    edges : (m + 1,) float64
        Ends of the pieces, covering all times.
    iterations : int
        At most.

    Returns
    -------
    (K, m) float64
        Hazards [1/h]; 0 where nobody was at risk. The likelihood is that of Lindsey & Ryan (1993, Appl Stat 42:283)
        with several causes: within its interval an event has the density h exp(-H), so that it is not put in the middle
        of a gap in which most happened early.
    """
    m = len(edges) - 1
    seen = np.isfinite(right)
    exact = seen & (right <= left)
    between = seen & ~exact
    time = _overlap(entry, left, edges).sum(axis=0)
    known = np.zeros((n_causes, m))
    piece = np.clip(np.searchsorted(edges, left[exact], side="left") - 1, 0, m - 1)
    np.add.at(known, (cause[exact] - 1, piece), 1.0)
    # Looks come at few times: equal intervals of one cause are one row with a weight.
    table = np.column_stack([left[between], right[between], cause[between]])
    rows, count = np.unique(table, axis=0, return_counts=True) if len(table) else (np.empty((0, 3)), np.empty(0))
    width = _overlap(rows[:, 0], rows[:, 1], edges)
    which = rows[:, 2].astype(np.int64) - 1
    total = known.sum() + count.sum()
    hours = max(float(time.sum() + (width.sum(axis=1) / 2 * count).sum()), 1e-12)
    share = np.bincount(cause[seen] - 1, minlength=n_causes)[:n_causes] / max(total, 1)
    hazard = np.repeat((share * total / hours)[:, None], m, axis=1)
    for _ in range(iterations):
        events, exposure = known.copy(), time.copy()
        if len(rows):
            p, inside = _expected(hazard, width, which)
            np.add.at(events, which, p * count[:, None])
            exposure = exposure + (inside * count[:, None]).sum(axis=0)
        new = np.where(exposure > 0, events / np.where(exposure > 0, exposure, 1.0), 0.0)
        change = float(np.abs(new - hazard).max())
        hazard = new
        if change < 1e-9:
            break
    return hazard


def piecewise_incidence(hazard: Floats, edges: Floats, grid: Floats) -> Floats:
    """Return the (K, len(grid)) cumulative incidences of hazards (K, m) that are constant between `edges`."""
    total = hazard.sum(axis=0)
    spent = np.clip(grid[:, None] - edges[:-1], 0.0, np.diff(edges))
    before = np.exp(-np.concatenate([[0.0], np.cumsum(total * np.diff(edges))[:-1]]))
    safe = np.where(total > 0, total, 1.0)
    happened = before * np.where(total > 0, -np.expm1(-total * spent) / safe, 0.0)
    return np.asarray(hazard @ happened.T, dtype=np.float64)


def pieces(horizon: float, widths: Floats, n_events: int) -> Floats:
    """Return edges of pieces that hold some events each and are no finer than half the typical gap between looks."""
    gap = float(np.median(widths)) if len(widths) else 0.0
    finest = int(horizon / (gap / 2)) if gap > 0 else MOST_PIECES
    m = max(1, min(MOST_PIECES, n_events // 8, finest))
    return np.linspace(0.0, horizon, m + 1)


def _overlap(begin: Floats, end: Floats, edges: Floats) -> Floats:
    return np.clip(np.minimum(end[:, None], edges[1:]) - np.maximum(begin[:, None], edges[:-1]), 0.0, None)


def _expected(hazard: Floats, width: Floats, which: Ints) -> tuple[Floats, Floats]:
    """Return, for each interval, the probability that its event lies in each piece and the expected time at risk."""
    total = hazard.sum(axis=0)
    safe = np.maximum(total, 1e-12)
    reached = np.exp(-(np.cumsum(total * width, axis=1) - total * width))
    falls = -np.expm1(-safe * width)
    p = hazard[which] / safe * reached * falls
    whole = p.sum(axis=1, keepdims=True)
    # Where no piece of the interval has a hazard yet, the event may lie anywhere in it.
    p = np.where(whole > 0, p / np.where(whole > 0, whole, 1.0), width / width.sum(axis=1, keepdims=True))
    later = np.cumsum(p[:, ::-1], axis=1)[:, ::-1] - p
    small = safe * width < 1e-6
    within = np.where(small, width / 2, 1 / safe - width * np.exp(-safe * width) / np.where(falls > 0, falls, 1.0))
    return p, later * width + p * within

"""Competing risks with wide gaps between looks: hazards constant over pieces of time, by expectation maximisation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.lineage.survival import Floats

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
MOST_PIECES = 12


@dataclass(frozen=True, eq=False)
class LookedAt:
    """What the looks at the markers of one organoid tell.

    A death between two looks says nothing about the marker: the cell may have switched on unseen. It therefore ends the
    time at risk of an onset at the last look before it, and counts in the hazard of death over the hours in which
    nuclei were followed, whichever the markers were. Cells with and without marker are taken to die alike between two
    looks; then the likelihood falls apart into these two.

    Attributes
    ----------
    entry, left, right : (n,) float64
        An onset lies in (left, right] [h]; `right` inf: none until left.
    cause : (n,) int64
        1..K, the last one death.
    onset, death : (n,) bool
    tracked_from, tracked_to : (n,) float64
        Time over which the nucleus was followed, to the first look that showed a marker.
    edges : (m + 1,) float64
        Ends of the pieces of time.
    k : int
    """

    entry: Floats
    left: Floats
    right: Floats
    cause: Ints
    onset: Bools
    death: Bools
    tracked_from: Floats
    tracked_to: Floats
    edges: Floats
    k: int

    @classmethod
    def of(cls, cells: pd.DataFrame, k: int, horizon: float) -> LookedAt:
        """Take the cells of an organoid (see `organoid_curve`)."""
        onset, death = (cells["event"] == "onset").to_numpy(), (cells["event"] == "death").to_numpy()
        entry, left = cells["entry"].to_numpy(), np.round(cells["left"].to_numpy(dtype=np.float64), 6)
        right = np.where(onset, np.round(cells["right"].to_numpy(dtype=np.float64), 6), np.inf)
        looks = np.unique(np.concatenate([left[~death], right[onset], np.round(entry, 6)]))
        before = looks[np.maximum(np.searchsorted(looks, left, side="right") - 1, 0)] if len(looks) else left
        left = np.where(death, np.maximum(before, entry), left)
        widths = (right - left)[onset]
        last = max(horizon, float(right[onset].max(initial=0.0)))
        edges = pieces(last, widths, int((onset | death).sum()), looks)
        cause = cells["cause"].to_numpy(dtype=np.int64)
        tracked_from, tracked_to = (cells[c].to_numpy(dtype=np.float64) for c in ("tracked_from", "tracked_to"))
        tracked_to = np.where(onset, np.minimum(tracked_to, right), tracked_to)
        # Cells of which no marker was ever looked at say nothing.
        death = death & np.isfinite(tracked_to)
        tracked_from, tracked_to = np.nan_to_num(tracked_from), np.nan_to_num(tracked_to)
        return cls(entry, left, right, cause, onset, death, tracked_from, tracked_to, edges, k)

    def hazards(self, weights: Floats | None = None) -> Floats:
        """Return the (K, m) hazards [1/h] for case weights."""
        w = np.ones(len(self.entry)) if weights is None else weights
        out = np.zeros((self.k, len(self.edges) - 1))
        out[:-1] = piecewise_hazards(
            self.entry, self.left, self.right, self.cause, self.k - 1, self.edges, weights=w
        )  # fmt: skip
        hours = _hours(self.tracked_from, self.tracked_to, w, self.edges)
        dead, _ = np.histogram(self.tracked_to[self.death], bins=self.edges, weights=w[self.death])
        out[-1] = np.where(hours > 0, dead / np.where(hours > 0, hours, 1.0), 0.0)
        return out


def piecewise_hazards(
    entry: Floats,
    left: Floats,
    right: Floats,
    cause: Ints,
    n_causes: int,
    edges: Floats,
    *,
    weights: Floats | None = None,
    iterations: int = 500,
) -> Floats:
    """Estimate cause-specific hazards that are constant between `edges` from interval-censored, late-entering times.

    Parameters
    ----------
    entry : (n,) float64
        Begin of the time at risk [h].
    left, right : (n,) float64
        The event lies in (left, right] [h]; equal: exact; `right` inf: none until left.
    cause : (n,) int64
        1..K where there is an event.
    n_causes : int
        K.
    edges : (m + 1,) float64
        Ends of the pieces, covering all times.
    weights : (n,) float64, optional
        Case weights.
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
    w = np.ones(len(entry)) if weights is None else weights
    seen = np.isfinite(right)
    exact = seen & (right <= left)
    between = seen & ~exact
    time = _hours(entry, left, w, edges)
    known = np.zeros((n_causes, m))
    piece = np.clip(np.searchsorted(edges, left[exact], side="left") - 1, 0, m - 1)
    np.add.at(known, (cause[exact] - 1, piece), w[exact])
    # Looks come at few times: equal intervals of one cause are one row with a weight.
    table = np.column_stack([left[between], right[between], cause[between]])
    rows, which_row = np.unique(table, axis=0, return_inverse=True) if len(table) else (np.empty((0, 3)), np.empty(0))
    count = np.bincount(which_row.ravel().astype(np.int64), weights=w[between], minlength=len(rows))
    width = _overlap(rows[:, 0], rows[:, 1], edges)
    which = rows[:, 2].astype(np.int64) - 1
    of_cause = np.bincount(cause[seen] - 1, weights=w[seen], minlength=n_causes)[:n_causes]
    hours = max(float(time.sum() + (width.sum(axis=1) / 2 * count).sum()), 1e-12)
    hazard = np.repeat((of_cause / hours)[:, None], m, axis=1)
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


def pieces(horizon: float, widths: Floats, n_events: int, looks: Floats | None = None) -> Floats:
    """Return edges of pieces that hold some events each, no finer than the typical gap between looks.

    Edges are moved to the nearest of `looks`: where all looks come at the same times, nothing tells the hazards within
    a gap apart.
    """
    gap = float(np.median(widths)) if len(widths) else 0.0
    finest = round(horizon / gap) if gap > 0 else MOST_PIECES
    m = max(1, min(MOST_PIECES, n_events // 8, finest))
    edges = np.linspace(0.0, horizon, m + 1)
    if looks is not None and len(looks) and m > 1:
        inner = looks[np.abs(looks[:, None] - edges[1:-1]).argmin(axis=0)]
        edges = np.unique(np.concatenate([[0.0], inner[(inner > 0) & (inner < horizon)], [horizon]]))
    return edges


def _hours(begin: Floats, end: Floats, weights: Floats, edges: Floats) -> Floats:
    """Weighted time that the spans (begin, end] share with each piece, piece by piece to save memory."""
    return np.array(
        [(weights * np.clip(np.minimum(end, b) - np.maximum(begin, a), 0.0, None)).sum() for a, b in pairwise(edges)]
    )


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

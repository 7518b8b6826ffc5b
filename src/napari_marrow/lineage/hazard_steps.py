"""Steps of the cause-specific hazards of one organoid, within sessions and, if asked for, over the gaps between them.

Within a session a step stands at each event: events over cells at risk (Aalen-Johansen). In a gap nobody looked; the
hazards are drawn there as straight lines from the mean of the session before to that of the session after.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from napari_marrow.lineage.competing import incidence_from_hazards
from napari_marrow.lineage.survival import Floats

Ints = npt.NDArray[np.int64]
_GAP_STEPS = 24
_MOST_NUMBERS = 2_000_000  # per array of a chunk of resamples


@dataclass(frozen=True, eq=False)
class _Session:
    """Counts of one session by clone: rows of sparse arrays are clones, columns the event times."""

    begin: float
    end: float
    middle: float  # of the time at risk
    times: Floats
    into: csr_array
    out_of: list[csr_array]  # of the risk of an onset, of the risk of death
    events: list[csr_array]
    hours: Floats  # (2, clones): at risk of an onset, of death

    def hazards(self, weights: Floats) -> Floats:
        """Return steps (B, K, m) for the weights (B, clones)."""
        onset, death = (
            np.cumsum(weights @ (self.into - out), axis=1)[:, : len(self.times)] for out in self.out_of
        )  # fmt: skip
        counts = np.stack([weights @ e for e in self.events], axis=1)
        risk = np.repeat(onset[:, None, :], len(self.events), axis=1)
        risk[:, -1] = death
        return np.where(risk > 0, counts / np.where(risk > 0, risk, 1.0), 0.0)

    def rates(self, weights: Floats) -> Floats:
        """Return events per hour at risk (B, K) in the mean of the session."""
        onset, death = (weights @ h for h in self.hours)
        counts = np.stack([np.asarray((weights @ e).sum(axis=1)) for e in self.events], axis=1)
        hours = np.repeat(onset[:, None], len(self.events), axis=1)
        hours[:, -1] = death
        return np.where(hours > 0, counts / np.where(hours > 0, hours, 1.0), 0.0)


@dataclass(frozen=True, eq=False)
class HazardSteps:
    """Hazard steps of an organoid.

    Attributes
    ----------
    times : (m,) float64
        Times of the steps [h]: events, and a fine grid in gaps.
    sessions : list
    units : list of int
        Clones of each session.
    """

    times: Floats
    sessions: list[_Session]
    units: list[int]

    @classmethod
    def of(cls, cells: pd.DataFrame, k: int) -> HazardSteps:
        """Count the cells of an organoid (see `organoid_curve`), session by session."""
        sessions: list[_Session] = []
        units: list[int] = []
        times: list[Floats] = []
        for _, mine in cells.groupby("session", sort=True):
            clone = pd.factorize(mine["clone"])[0]
            session = _count(mine, clone, k)
            if sessions:
                edges = np.linspace(sessions[-1].end, session.begin, _GAP_STEPS + 1)
                times.append(edges[1:])
            sessions.append(session)
            units.append(int(clone.max()) + 1)
            times.append(session.times)
        return cls(np.concatenate(times) if times else np.empty(0), sessions, units)

    def hazards(self, weights: list[Floats]) -> Floats:
        """Return steps (B, K, m) at `times` for weights of the clones of each session."""
        parts = []
        for i, (session, w) in enumerate(zip(self.sessions, weights, strict=True)):
            if i:
                parts.append(_bridge(self.sessions[i - 1], session, weights[i - 1], w))
            parts.append(session.hazards(w))
        return np.concatenate(parts, axis=2)

    def incidence(self, grid: Floats) -> Floats:
        """Return incidences (K, len(grid))."""
        return self._on_grid([np.ones((1, n)) for n in self.units], grid)[0]

    def resampled(self, grid: Floats, n: int, rng: np.random.Generator) -> Floats:
        """Return incidences (n, K, len(grid)) of samples of the clones of each session with replacement."""
        draws = [rng.multinomial(u, np.full(u, 1 / u), size=n) for u in self.units]
        at_once = max(1, _MOST_NUMBERS // max(1, len(self.times) + max(self.units)))
        parts = [
            self._on_grid([d[i : i + at_once].astype(np.float64) for d in draws], grid) for i in range(0, n, at_once)
        ]
        return np.concatenate(parts)

    def survival_area(self, grid: Floats) -> Floats:
        """Return the area under the survival curve from the first entry to each time [h]."""
        survival = incidence_from_hazards(self.hazards([np.ones((1, n)) for n in self.units])[0])[0]
        start = self.sessions[0].begin
        edges = np.concatenate([[start], self.times])
        height = np.concatenate([[1.0], survival])
        area = np.concatenate([[0.0], np.cumsum(np.diff(edges) * height[:-1])])
        at = np.maximum(np.searchsorted(edges, grid, side="right") - 1, 0)
        return np.where(grid > start, area[at] + (grid - edges[at]) * height[at], 0.0)

    def _on_grid(self, weights: list[Floats], grid: Floats) -> Floats:
        incidence = incidence_from_hazards(self.hazards(weights))[1]
        padded = np.concatenate([np.zeros((*incidence.shape[:2], 1)), incidence], axis=2)
        return padded[:, :, np.searchsorted(self.times, grid, side="right")]


def _count(cells: pd.DataFrame, clone: Ints, k: int) -> _Session:
    entry, leave = cells["entry"].to_numpy(), cells["exit"].to_numpy()
    watched = cells["watched"].to_numpy() if "watched" in cells.columns else leave
    # Of death, too, the last look of a lost cell does not count: it is seen to die in a part of it only. What is left
    # (divisions between two looks, deaths before an onset is confirmed) makes up for each other with two looks.
    ends = (watched, np.where(cells["cause"] == k, leave, watched))
    cause = cells["cause"].to_numpy(dtype=np.int64)
    units = int(clone.max()) + 1
    times = np.unique(leave[cause > 0])
    m = len(times)
    one = np.ones(len(entry))
    into = csr_array((one, (clone, np.searchsorted(times, entry, side="right"))), shape=(units, m + 1))
    out_of = [
        csr_array((one, (clone, np.searchsorted(times, end, side="right"))), shape=(units, m + 1)) for end in ends
    ]
    events = []
    for c in range(1, k + 1):
        mine = cause == c
        events.append(csr_array((one[mine], (clone[mine], np.searchsorted(times, leave[mine]))), shape=(units, m)))
    width = leave - entry
    middle = float(((entry + leave) / 2 * width).sum() / max(width.sum(), 1e-12))
    hours = np.stack([np.bincount(clone, weights=end - entry, minlength=units) for end in ends]).astype(float)
    return _Session(float(entry.min()), float(leave.max()), middle, times, into, out_of, events, hours)


def _bridge(before: _Session, after: _Session, weights: Floats, weights_after: Floats) -> Floats:
    """Hazard steps (B, K, steps) over the gap between two sessions, exact where the total hazard is constant."""
    edges = np.linspace(before.end, after.begin, _GAP_STEPS + 1)
    width = float(edges[1] - edges[0])
    share = ((edges[1:] + edges[:-1]) / 2 - before.middle) / max(after.middle - before.middle, 1e-12)
    first, last = before.rates(weights), after.rates(weights_after)
    rate = np.maximum(first[:, :, None] + (last - first)[:, :, None] * share, 0.0)
    total = rate.sum(axis=1, keepdims=True)
    happens = -np.expm1(-total * width)
    return np.where(total > 0, rate / np.where(total > 0, total, 1.0) * happens, 0.0)

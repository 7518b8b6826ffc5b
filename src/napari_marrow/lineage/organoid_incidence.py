"""Cumulative incidence of one organoid with its limits, and the mean of several organoids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm, t

from napari_marrow.lineage.hazard_steps import HazardSteps
from napari_marrow.lineage.interval import turnbull
from napari_marrow.lineage.piecewise import LookedAt, piecewise_incidence
from napari_marrow.lineage.proportion_limits import FEW_EVENTS, clustered_proportion_limits, few_limits, unseen_limit
from napari_marrow.lineage.survival import Floats, weight_below

Ints = npt.NDArray[np.int64]
Estimator = Literal["midpoint", "piecewise", "turnbull"]
_GROUPS = 20  # of clones, for the jackknife of estimators that cost an iteration each


@dataclass(frozen=True, eq=False)
class Curve:
    """Cumulative incidences (K, m) of an organoid or condition on a grid of times, with limits.

    Attributes
    ----------
    value, low, high : (K, m) float64
    at_risk : (m,) int64
        Cells at risk.
    events : (K, m) float64
        Clones in which the event was seen by then.
    trials : (m,) float64
        Clones that it could have been seen in: never more than there are, nor than cells at risk in the mean.
    n_units : int
        Founders of an organoid, organoids of a condition.
    note : str
    """

    value: Floats
    low: Floats
    high: Floats
    at_risk: Ints
    events: Floats
    trials: Floats
    n_units: int
    note: str = ""


def organoid_curve(
    cells: pd.DataFrame, grid: Floats, k: int, method: Estimator, bootstrap: int, rng: np.random.Generator
) -> Curve:
    """Estimate the incidences of one organoid.

    Parameters
    ----------
    cells : pandas.DataFrame
        Cells: entry, exit (at risk from one to the other, where that is later), watched (end of the risk of an onset;
        `exit` by default), left, right, tracked_from, tracked_to [h on the organoid's clock],
        cause (0, 1..K), event, clone, session.
    grid : (m,) float64
        Times [h].
    k : int
        Causes, the last one death.
    method : {"midpoint", "piecewise", "turnbull"}
    bootstrap : int
        Resamples of the founders; 0 for no limits. `piecewise` takes a jackknife over groups of founders instead.
    rng : numpy.random.Generator
    """
    everyone = cells
    cells = cells[cells["exit"] > cells["entry"]]
    entry, leave = cells["entry"].to_numpy(), cells["exit"].to_numpy()
    ones = np.ones(len(cells))
    risk = (weight_below(entry, ones, np.nextafter(grid, np.inf)) - weight_below(leave, ones, grid)).astype(np.int64)
    blank = np.full((k, len(grid)), np.nan)
    if cells.empty:
        nothing = np.zeros((k, len(grid)))
        return Curve(blank, blank, blank, risk, nothing, nothing[0], 0, "no cell was followed over time")
    clone = pd.factorize(cells["clone"])[0]
    cells = cells.assign(clone=clone)
    units, horizon = int(clone.max()) + 1, float(leave.max())
    steps = HazardSteps.of(cells, k)
    events, trials = _clone_events(cells, grid, k), _clone_trials(cells, grid, steps)
    low, high, note = blank, blank, ""
    if method == "turnbull":
        value = _turnbull(cells, grid, k)
        note = "no interval with the method turnbull"
    elif method == "piecewise":
        looked = LookedAt.of(everyone, k, horizon)
        value = piecewise_incidence(looked.hazards(), looked.edges, grid)
        if bootstrap and units > 1:
            low, high = _jackknife(looked, pd.factorize(everyone["clone"])[0], value, grid, rng)
    else:
        value = steps.incidence(grid)
        if bootstrap and units > 1:
            low, high = expanded_limits(steps.resampled(grid, bootstrap, rng), units)
    if bootstrap and method != "turnbull":
        if units < 2:
            note = "one founder only: no interval"
        else:
            low, high = _with_few(value, low, high, events, trials)
    seen = grid <= horizon
    value, low, high = (np.where(seen, x, np.nan) for x in (value, low, high))
    return Curve(value, low, high, risk, events, trials, units, note)


def mean_curve(curves: list[Curve], *, limits: bool = True) -> Curve:
    """Return the mean of organoids with limits from their scatter (`clustered_proportion_limits`)."""
    usable = [c for c in curves if np.isfinite(c.value).any()]
    at_risk = np.sum([c.at_risk for c in curves], axis=0).astype(np.int64)
    if not usable:
        first = curves[0]
        return Curve(
            first.value, first.low, first.high, at_risk, first.events, first.trials, 0, "no cell was followed over time"
        )
    values = np.stack([c.value for c in usable])
    events = np.stack([c.events for c in usable])
    trials = np.broadcast_to(np.stack([c.trials for c in usable])[:, None, :], values.shape)
    n, value = len(usable), values.mean(axis=0)
    blank = np.full_like(value, np.nan)
    low, high, note = blank, blank, ""
    if n < 2:
        note = "one organoid only: no interval"
    elif limits:
        low, high = _from_nothing(*clustered_proportion_limits(values, events, trials), trials[:, 0].sum(axis=0))
    return Curve(value, low, high, at_risk, events.sum(axis=0), trials[:, 0].sum(axis=0), n, note)


def expanded_limits(replicates: Floats, n_units: int, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """Percentiles over axis 0, widened by √(n/(n-1)) and Student's t for n resampled units; NaN for n < 2."""
    if n_units < 2:
        blank = np.full(replicates.shape[1:], np.nan)
        return blank, blank.copy()
    tail = float(norm.cdf(np.sqrt(n_units / (n_units - 1)) * t.ppf((1 - level) / 2, n_units - 1)))
    low, high = np.quantile(replicates, [tail, 1 - tail], axis=0)
    return low, high


def _clone_events(cells: pd.DataFrame, grid: Floats, k: int) -> Floats:
    """Clones in which each event had happened by each time."""
    out = np.zeros((k, len(grid)))
    came = cells[cells["cause"] > 0]
    first = came.groupby(["cause", "clone"])["exit"].min()
    cause = first.index.get_level_values("cause").to_numpy(dtype=np.int64)
    for c in np.unique(cause):
        out[c - 1] = np.searchsorted(np.sort(first.to_numpy()[cause == c]), grid, side="right")
    return out


def _clone_trials(cells: pd.DataFrame, grid: Floats, steps: HazardSteps) -> Floats:
    """Clones, or cells at risk in the mean (time at risk over the area under the survival), if those are fewer."""
    entry, leave = cells["entry"].to_numpy(), cells["exit"].to_numpy()
    begun = np.searchsorted(np.sort(cells.groupby("clone")["entry"].min().to_numpy()), grid, side="right")
    time = np.array([np.clip(np.minimum(leave, x) - entry, 0.0, None).sum() for x in grid])
    area = steps.survival_area(grid)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(area > 0, time / area, 0.0)
    return np.minimum(begun, mean)


def _with_few(value: Floats, low: Floats, high: Floats, events: Floats, trials: Floats) -> tuple[Floats, Floats]:
    """Make the limits hold those of so many independent clones where few of them had the event."""
    few = (events < FEW_EVENTS) & (value > 0)
    least, most = few_limits(events, np.clip(value, 1e-12, 1 - 1e-12), 0.025)
    low, high = np.where(few, np.fmin(low, least), low), np.where(few, np.fmax(high, most), high)
    none = events == 0
    unseen = np.broadcast_to(unseen_limit(trials[None], variation=0.0), value.shape)
    low, high = np.where(none, 0.0, low), np.where(none, np.fmax(unseen, value), high)
    return _from_nothing(np.minimum(low, value), np.maximum(high, value), trials)


def _from_nothing(low: Floats, high: Floats, trials: Floats) -> tuple[Floats, Floats]:
    """Let limits begin at 0: before anybody has been at risk, nothing can have happened."""
    return low, np.where((trials == 0) & (low == 0), 0.0, high)


def _jackknife(
    looked: LookedAt, clone: Ints, value: Floats, grid: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Limits on the arcsine scale from leaving out groups of founders in turn."""
    units = int(clone.max()) + 1
    groups = min(_GROUPS, units)
    of_clone = rng.permutation(np.arange(units) % groups)
    left_out = np.stack(
        [
            piecewise_incidence(looked.hazards((of_clone[clone] != g).astype(np.float64)), looked.edges, grid)
            for g in range(groups)
        ]
    )
    angle = np.arcsin(np.sqrt(np.clip(left_out, 0.0, 1.0)))
    error = np.sqrt((groups - 1) / groups * ((angle - angle.mean(axis=0)) ** 2).sum(axis=0))
    centre, half = np.arcsin(np.sqrt(np.clip(value, 0.0, 1.0))), float(t.ppf(0.975, groups - 1)) * error
    low, high = (np.sin(np.clip(centre + side * half, 0.0, np.pi / 2)) ** 2 for side in (-1, 1))
    return low, high


def _turnbull(cells: pd.DataFrame, grid: Floats, k: int) -> Floats:
    onset = (cells["event"] == "onset").to_numpy()
    death = (cells["event"] == "death").to_numpy()
    left = cells["left"].to_numpy()
    right = np.where(onset, cells["right"].to_numpy(), np.where(death, left, np.inf))
    entry = cells["entry"].to_numpy()
    # Frames come at equal times up to rounding of the clock; equal times keep the number of intervals small.
    left, right, entry = (np.round(x, 6) for x in (left, right, entry))
    use = (right > entry) & ((left > entry) | onset)
    first = float(entry[use].min()) if use.any() else 0.0
    entry = np.where(entry <= first, -np.inf, entry)  # the curve is conditional on the first entry anyway
    curve = turnbull(
        left[use], right[use], cause=np.where(onset | death, cells["cause"], 1)[use], n_causes=k, entry=entry[use]
    )
    return np.stack([curve.at(grid, cause=c) for c in range(1, k + 1)])

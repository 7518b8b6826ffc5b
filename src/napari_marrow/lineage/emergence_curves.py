"""How much of each lineage has emerged by when: cumulative incidence by organoid and by condition.

The subject is a cell; a cell that divides leaves the risk set and its daughters enter it (left truncation), so that the
curve is the probability that a line of descent, negative at the start, has switched on a lineage by t. Cells of a clone
are related: intervals of an organoid resample its founders, intervals of a condition its organoids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array
from scipy.stats import norm, t

from napari_marrow.errors import SettingsError
from napari_marrow.lineage.competing import aalen_johansen, incidence_from_counts
from napari_marrow.lineage.interval import turnbull
from napari_marrow.lineage.piecewise import pieces, piecewise_hazards, piecewise_incidence
from napari_marrow.lineage.places import with_organoid
from napari_marrow.lineage.survival import Floats, weight_below
from napari_marrow.schemas import EMERGENCE, ONSETS

Ints = npt.NDArray[np.int64]
Method = Literal["midpoint", "piecewise", "turnbull"]


def emergence(
    onsets: pd.DataFrame,
    layout: pd.DataFrame | None,
    *,
    times_h: Sequence[float] | None = None,
    lineages: Sequence[str] | None = None,
    thresholds: pd.DataFrame | None = None,
    session: int | None = None,
    method: Method = "midpoint",
    bootstrap: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate the cumulative incidence of each lineage, with death as a competing event.

    Parameters
    ----------
    onsets : pandas.DataFrame
        ONSETS table; ``prevalent`` rows are not at risk and are left out.
    layout : pandas.DataFrame or None
        LAYOUT table; without it each position is an organoid of the condition ``all``.
    times_h : sequence of float, optional
        Times since the start of observation [h]; 61 equal steps over the longest observation by default.
    lineages : sequence of str, optional
        Lineages to report; those that occur by default. One that no cell entered has incidence 0.
    thresholds : pandas.DataFrame, optional
        Second result of `marker_onsets`. A lineage that it gives no threshold for was not measured: its rows are NaN,
        not 0, and say why.
    session : int, optional
        Session to take; the one with the most cell-hours by default. Sessions are never joined: nobody was looking in
        the gap between them.
    method : {"midpoint", "piecewise", "turnbull"}
        ``midpoint`` puts each onset in the middle of its interval (Aalen-Johansen), right for frames that are close
        compared with the curve; ``piecewise`` takes hazards constant over pieces of time and the onset anywhere in
        its interval, for wide gaps; ``turnbull`` is the interval-censored NPMLE, which assumes nothing and is unstable
        where cells enter late.
    bootstrap : int
        Replicates of the intervals; 0 for none.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        EMERGENCE table and the columns `session`, `n_units` (founders of an organoid, organoids of a condition) and
        `note` (why a value or interval is NaN). Rows with organoid ``all`` are the mean of the organoids' curves, up to
        the time at which the first of them ends.

    Notes
    -----
    Intervals are bootstrap percentiles, widened for few units as a t interval is (expanded percentiles; Hesterberg
    2015, Am Stat 69:371).
    """
    if method not in ("midpoint", "piecewise", "turnbull"):
        raise SettingsError(f"Unknown method {method!r}: choose midpoint, piecewise or turnbull.")
    table = with_organoid(ONSETS.conform(onsets), layout)
    names = list(lineages) if lineages is not None else sorted(set(table["lineage"]) - {""})
    names = [*dict.fromkeys(names), "death"]
    subjects = _subjects(table[table["event"] != "prevalent"], names)
    chosen = session if session is not None else _densest(subjects, table)
    subjects = subjects[subjects["session"] == chosen]
    present = table[table["session"] == chosen]
    grid = _grid(subjects, times_h)
    rng = np.random.default_rng(seed)
    blocks: list[pd.DataFrame] = []
    for condition, of_condition in present.groupby("condition", sort=True):
        curves = []
        for organoid in sorted(set(of_condition["organoid"])):
            cells = subjects[(subjects["condition"] == condition) & (subjects["organoid"] == organoid)]
            curve = _organoid(cells, grid, len(names), method, bootstrap, rng)
            curves.append(curve)
            blocks.append(_block(str(condition), str(organoid), names, grid, curve))
        blocks.append(_block(str(condition), "all", names, grid, _mean(curves, bootstrap, rng)))
    out = _finish(blocks)
    out["session"] = np.int32(chosen)
    return out if thresholds is None else _without_unmeasured(out, thresholds)


def _without_unmeasured(curves: pd.DataFrame, thresholds: pd.DataFrame) -> pd.DataFrame:
    """Blank the lineages that could not be seen: none entered is not the same as nobody could tell."""
    measured = thresholds[np.isfinite(thresholds["threshold"].to_numpy(dtype=np.float64))]
    unseen = ~curves["lineage"].isin([*measured["lineage"], "death"])
    why = dict(zip(thresholds["lineage"], thresholds["note"], strict=True))
    curves.loc[unseen, ["cumulative_incidence", "low", "high"]] = np.nan
    reason = "no threshold for its marker: " + curves["lineage"].map(why).fillna("channel not measured")
    curves["note"] = curves["note"].where(~unseen, reason)
    return curves


def event_times(onsets: pd.DataFrame) -> Floats:
    """Return the time [h] at which each ONSETS row leaves the risk set: its interval's middle, or its last look."""
    left = onsets["left_h"].to_numpy(dtype=np.float64)
    right = onsets["right_h"].to_numpy(dtype=np.float64)
    entry = onsets["entry_h"].to_numpy(dtype=np.float64)
    onset = (onsets["event"] == "onset").to_numpy()
    middle = (np.maximum(left, np.minimum(entry, right)) + right) / 2
    return np.where(onset, middle, np.maximum(left, entry))


def expanded_limits(replicates: Floats, n_units: int, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """Percentiles over axis 0, widened by √(n/(n-1)) and Student's t for n resampled units; NaN for n < 2."""
    if n_units < 2:
        blank = np.full(replicates.shape[1:], np.nan)
        return blank, blank.copy()
    tail = float(norm.cdf(np.sqrt(n_units / (n_units - 1)) * t.ppf((1 - level) / 2, n_units - 1)))
    low, high = np.quantile(replicates, [tail, 1 - tail], axis=0)
    return low, high


def _subjects(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Cells with their times on the organoid's own clock, which starts with its first cell of the session."""
    code = {name: i + 1 for i, name in enumerate(names)}
    table = table[event_times(table) > table["entry_h"].to_numpy()]
    out = table.copy()
    origin = out.groupby(["organoid", "session"])["entry_h"].transform("min").to_numpy(dtype=np.float64)
    onset = (out["event"] == "onset").to_numpy()
    cause = np.where(onset, out["lineage"].map(code).fillna(0), 0).astype(np.int64)
    out["cause"] = np.where((out["event"] == "death").to_numpy(), code["death"], cause)
    out["entry"] = out["entry_h"].to_numpy() - origin
    out["exit"] = event_times(table) - origin
    out["left"] = np.where(onset, np.maximum(out["left_h"], out["entry_h"]), event_times(table)) - origin
    out["right"] = out["right_h"].to_numpy() - origin
    out["clone"] = out.groupby(["position", "session", "founder_track_id"], sort=False).ngroup()
    return out


def _densest(subjects: pd.DataFrame, table: pd.DataFrame) -> int:
    """Session with the most cell-hours at risk."""
    if subjects.empty:
        return int(table["session"].max()) if len(table) else 0
    hours = (subjects["exit"] - subjects["entry"]).groupby(subjects["session"]).sum()
    return int(hours.idxmax())


def _grid(subjects: pd.DataFrame, times_h: Sequence[float] | None) -> Floats:
    if times_h is None:
        return np.linspace(0.0, float(subjects["exit"].max()) if len(subjects) else 0.0, 61)
    grid = np.asarray(times_h, dtype=np.float64)
    if grid.ndim != 1 or len(grid) == 0 or not np.isfinite(grid).all() or (grid < 0).any():
        raise SettingsError("times_h must be a list of times of 0 h or more.")
    return np.unique(grid)


class _Curve:
    """Incidence (K, m) of one organoid or condition on the grid, with limits."""

    def __init__(self, value: Floats, low: Floats, high: Floats, at_risk: Ints, n_units: int, note: str) -> None:
        self.value, self.low, self.high = value, low, high
        self.at_risk, self.n_units, self.note = at_risk, n_units, note


def _organoid(
    cells: pd.DataFrame, grid: Floats, k: int, method: Method, bootstrap: int, rng: np.random.Generator
) -> _Curve:
    entry, leave = cells["entry"].to_numpy(), cells["exit"].to_numpy()
    cause = cells["cause"].to_numpy()
    ones = np.ones(len(cells))
    risk = weight_below(entry, ones, np.nextafter(grid, np.inf)) - weight_below(leave, ones, grid)
    clone = pd.factorize(cells["clone"])[0]
    blank = np.full((k, len(grid)), np.nan)
    if cells.empty:
        return _Curve(blank, blank, blank, risk.astype(np.int64), 0, "no cell was followed over time")
    units = int(clone.max()) + 1
    horizon = float(leave.max())
    if method == "piecewise":
        value = _piecewise(cells, grid, k, horizon)
        return _Curve(value, blank, blank, risk.astype(np.int64), units, "no interval with the method piecewise")
    if method == "turnbull":
        value = _turnbull(cells, grid, k, horizon)
        return _Curve(value, blank, blank, risk.astype(np.int64), units, "no interval with the method turnbull")
    value = aalen_johansen(leave, cause, n_causes=k, entry=entry).at(grid)
    low, high, note = blank, blank, ""
    if bootstrap and units < 2:
        note = "one founder only: no interval"
    elif bootstrap:
        replicates = _founder_bootstrap(entry, leave, cause, clone, grid, k, bootstrap, rng)
        low, high = expanded_limits(replicates, units)
        low, high = np.minimum(low, value), np.maximum(high, value)
        low, high = (np.where(grid <= horizon, x, np.nan) for x in (low, high))
    return _Curve(value, low, high, risk.astype(np.int64), units, note)


def _piecewise(cells: pd.DataFrame, grid: Floats, k: int, horizon: float) -> Floats:
    onset = (cells["event"] == "onset").to_numpy()
    death = (cells["event"] == "death").to_numpy()
    entry, left = cells["entry"].to_numpy(), np.round(cells["left"].to_numpy(), 6)
    right = np.where(onset, np.round(cells["right"].to_numpy(), 6), np.where(death, left, np.inf))
    last = max(horizon, float(right[onset].max(initial=0.0)))
    edges = pieces(last, (right - left)[onset], int((onset | death).sum()))
    hazard = piecewise_hazards(entry, left, right, cells["cause"].to_numpy(dtype=np.int64), k, edges)
    return np.where(grid <= horizon, piecewise_incidence(hazard, edges, grid), np.nan)


def _turnbull(cells: pd.DataFrame, grid: Floats, k: int, horizon: float) -> Floats:
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
    values = np.stack([curve.at(grid, cause=c) for c in range(1, k + 1)])
    return np.where(grid <= horizon, values, np.nan)


def _founder_bootstrap(
    entry: Floats, leave: Floats, cause: Ints, clone: Ints, grid: Floats, k: int, n: int, rng: np.random.Generator
) -> Floats:
    """Incidences (n, K, m) of samples of clones with replacement; counts are summed by clone first."""
    seen = leave > entry
    entry, leave, cause, clone = entry[seen], leave[seen], cause[seen], clone[seen]
    units = int(clone.max()) + 1
    times = np.unique(leave[cause > 0])
    m = len(times)
    if m == 0:
        return np.zeros((n, k, len(grid)))
    one = np.ones(len(entry))
    into = csr_array((one, (clone, np.searchsorted(times, entry, side="right"))), shape=(units, m + 1))
    out_of = csr_array((one, (clone, np.searchsorted(times, leave, side="right"))), shape=(units, m + 1))
    draws = rng.multinomial(units, np.full(units, 1 / units), size=n).astype(np.float64)
    risk = np.cumsum(draws @ (into - out_of), axis=1)[:, :m]
    events = np.zeros((n, k, m))
    for c in range(k):
        mine = cause == c + 1
        where = (clone[mine], np.searchsorted(times, leave[mine]))
        events[:, c] = draws @ csr_array((one[mine], where), shape=(units, m))
    incidence = incidence_from_counts(events, risk)[1]
    padded = np.concatenate([np.zeros((n, k, 1)), incidence], axis=2)
    return padded[:, :, np.searchsorted(times, grid, side="right")]


def _mean(curves: list[_Curve], bootstrap: int, rng: np.random.Generator) -> _Curve:
    usable = [c for c in curves if np.isfinite(c.value).any()]
    at_risk = np.sum([c.at_risk for c in curves], axis=0).astype(np.int64)
    if not usable:
        return _Curve(curves[0].value, curves[0].low, curves[0].high, at_risk, 0, "no cell was followed over time")
    values = np.stack([c.value for c in usable])
    n = len(usable)
    value = values.mean(axis=0)
    blank = np.full_like(value, np.nan)
    if n < 2:
        return _Curve(value, blank, blank, at_risk, n, "one organoid only: no interval")
    if not bootstrap:
        return _Curve(value, blank, blank, at_risk, n, "")
    draws = rng.multinomial(n, np.full(n, 1 / n), size=bootstrap) / n
    filled = np.nan_to_num(values)
    low, high = expanded_limits(np.einsum("bn,nkm->bkm", draws, filled), n)
    known = np.isfinite(value)
    low, high = (np.where(known, x, np.nan) for x in (low, high))
    return _Curve(value, np.fmin(low, value), np.fmax(high, value), at_risk, n, "")


def _block(condition: str, organoid: str, names: list[str], grid: Floats, curve: _Curve) -> pd.DataFrame:
    k, m = len(names), len(grid)
    missing = np.isnan(curve.value.ravel())
    return pd.DataFrame(
        {
            "condition": condition,
            "organoid": organoid,
            "lineage": np.repeat(names, m),
            "time_h": np.tile(grid, k),
            "cumulative_incidence": curve.value.ravel(),
            "low": curve.low.ravel(),
            "high": curve.high.ravel(),
            "at_risk": np.tile(curve.at_risk, k).astype(np.int32),
            "n_units": np.int32(curve.n_units),
            "note": np.where(missing & (curve.note == ""), "observation had ended", curve.note),
        }
    )


def _finish(blocks: list[pd.DataFrame]) -> pd.DataFrame:
    if not blocks:
        out = EMERGENCE.empty()
        for name, kind in (("n_units", "int32"), ("note", "object"), ("session", "int32")):
            out[name] = pd.Series([], dtype=kind)
        return out
    return EMERGENCE.conform(pd.concat(blocks, ignore_index=True))

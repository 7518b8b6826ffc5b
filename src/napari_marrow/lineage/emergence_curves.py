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

from napari_marrow.errors import SettingsError
from napari_marrow.lineage.organoid_incidence import Curve, Estimator, mean_curve, organoid_curve
from napari_marrow.lineage.places import with_organoid
from napari_marrow.lineage.survival import Floats
from napari_marrow.schemas import EMERGENCE, ONSETS

Ints = npt.NDArray[np.int64]
Method = Literal["auto", "midpoint", "piecewise", "turnbull"]
BRIDGED = 0
"""Number in the column `session` of curves that run over several sessions."""
_FARTHEST_MIDDLE = 0.25  # total hazard times width of the intervals: the middle is then off by a two-hundredth


def emergence(
    onsets: pd.DataFrame,
    layout: pd.DataFrame | None,
    *,
    times_h: Sequence[float] | None = None,
    lineages: Sequence[str] | None = None,
    thresholds: pd.DataFrame | None = None,
    session: int | Literal["bridged"] | None = None,
    method: Method = "auto",
    bootstrap: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate the cumulative incidence of each lineage, with death as a competing event.

    Parameters
    ----------
    onsets : pandas.DataFrame
        ONSETS table; ``prevalent`` rows are not at risk and are left out. `followed_from_h` and
        `followed_to_h` say how long each nucleus was followed, `watched_to_h` how long an onset could be confirmed;
        without them that is from `entry_h` to `left_h`.
    layout : pandas.DataFrame or None
        LAYOUT table; without it each position is an organoid of the condition ``all``.
    times_h : sequence of float, optional
        Times since the start of observation [h]; 61 equal steps over the longest observation by default.
    lineages : sequence of str, optional
        Lineages to report; those that occur by default. One that no cell entered has incidence 0.
    thresholds : pandas.DataFrame, optional
        Second result of `marker_onsets`. A lineage that it gives no threshold for was not measured: its rows are NaN,
        not 0, and say why.
    session : int, "bridged" or None
        Session to take; None takes the one with the most cell-hours. ``bridged`` takes all: each session tells the
        hazards while somebody looked, and over the gap between two they are drawn as straight lines from the mean of
        the one to the mean of the other. Cells that are negative when a session begins are at risk in it; none is
        followed over a gap.
    method : {"auto", "midpoint", "piecewise", "turnbull"}
        ``midpoint`` puts each onset in the middle of its interval (Aalen-Johansen), right for looks that are close
        compared with the curve; ``piecewise`` takes hazards constant over pieces of time and the onset anywhere in
        its interval, for wide gaps; ``turnbull`` is the interval-censored NPMLE, which assumes nothing and is unstable
        where cells enter late. ``auto`` takes ``piecewise`` where the median interval times the total hazard exceeds
        .25, else ``midpoint``.
    bootstrap : int
        Replicates of the intervals of organoids; 0 for no intervals at all.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        EMERGENCE table and the columns `session` (0 for ``bridged``), `method`, `n_units` (founders of an organoid,
        organoids of a condition) and `note` (why a value or interval is NaN, or that nobody looked at that time). Rows
        with organoid ``all`` are the mean of the organoids' curves, up to the time at which the first of them ends.

    Notes
    -----
    Intervals of an organoid resample its founders (expanded percentiles; Hesterberg 2015, Am Stat 69:371; with
    ``piecewise`` a jackknife over groups of founders); with fewer than ten clones in which the event was seen they hold
    those of so many independent clones as well, and with none the exact binomial limit. Intervals of a condition:
    `clustered_proportion_limits` of the organoids.
    """
    if method not in ("auto", "midpoint", "piecewise", "turnbull"):
        raise SettingsError(f"Unknown method {method!r}: choose auto, midpoint, piecewise or turnbull.")
    if session == "bridged" and method in ("piecewise", "turnbull"):
        raise SettingsError(f"The method {method} is of one session: bridge gaps with the method midpoint.")
    table = with_organoid(ONSETS.conform(onsets), layout)
    names = list(lineages) if lineages is not None else sorted(set(table["lineage"]) - {""})
    names = [*dict.fromkeys(names), "death"]
    bridged = session == "bridged"
    subjects = _subjects(table[table["event"] != "prevalent"], names, bridged)
    chosen = BRIDGED if bridged else (int(session) if session is not None else _densest(subjects, table))
    if not bridged:
        subjects, table = subjects[subjects["session"] == chosen], table[table["session"] == chosen]
    estimator: Estimator = _estimator(subjects, bridged) if method == "auto" else method
    grid = _grid(subjects, times_h)
    rng = np.random.default_rng(seed)
    blocks: list[pd.DataFrame] = []
    for condition, of_condition in table.groupby("condition", sort=True):
        curves = []
        for organoid in sorted(set(of_condition["organoid"])):
            cells = subjects[(subjects["condition"] == condition) & (subjects["organoid"] == organoid)]
            curve = organoid_curve(cells, grid, len(names), estimator, bootstrap, rng)
            curves.append(curve)
            blocks.append(_block(str(condition), str(organoid), names, grid, curve))
        blocks.append(_block(str(condition), "all", names, grid, mean_curve(curves, limits=bootstrap > 0)))
    out = _finish(blocks)
    out["session"], out["method"] = np.int32(chosen), estimator
    if bridged:
        out = _note_gaps(out, subjects)
    return out if thresholds is None else _without_unmeasured(out, thresholds)


def _estimator(subjects: pd.DataFrame, bridged: bool) -> Estimator:
    """Choose by the width of the intervals that onsets lie in, against the hazard of any event."""
    onset = subjects["event"] == "onset"
    hours = float((subjects["exit"] - subjects["entry"]).sum())
    if bridged or not onset.any() or hours <= 0:
        return "midpoint"
    width = float((subjects["right"] - subjects["left"])[onset].median())
    return "piecewise" if width * float((subjects["cause"] > 0).sum()) / hours > _FARTHEST_MIDDLE else "midpoint"


def _note_gaps(curves: pd.DataFrame, subjects: pd.DataFrame) -> pd.DataFrame:
    """Say of each time whether it lies between the sessions of the organoid (of all organoids, for a mean)."""
    subjects = subjects[subjects["exit"] > subjects["entry"]]
    spans = subjects.groupby(["condition", "organoid", "session"]).agg(begin=("entry", "min"), end=("exit", "max"))
    time = curves["time_h"].to_numpy()
    looked = np.zeros(len(curves), dtype=bool)
    for condition, organoid, _, begin, end in spans.reset_index().itertuples(index=False):
        mine = (curves["condition"] == condition) & curves["organoid"].isin([organoid, "all"])
        looked |= mine.to_numpy() & (time >= begin - 1e-9) & (time <= end + 1e-9)
    known = np.isfinite(curves["cumulative_incidence"].to_numpy())
    blank = known & ~looked & (curves["note"] == "").to_numpy()
    curves.loc[blank, "note"] = "between two sessions: hazards drawn as a line from one to the next"
    return curves


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


def risk_ends(onsets: pd.DataFrame) -> tuple[Floats, Floats]:
    """Return the times [h] at which each ONSETS row stops being at risk of an onset, and of death.

    Both are those of `event_times` where the table does not say how long an onset could be confirmed (`watched_to_h`).
    Else a cell without onset is at risk of one up to the last look at which it could have been confirmed, and a cell
    that came on is at risk of a death that counts until it was: one that dies sooner is taken to have died negative.
    """
    leave = event_times(onsets)
    if "watched_to_h" not in onsets.columns:
        return leave, leave
    watched = onsets["watched_to_h"].to_numpy(dtype=np.float64)
    watched = np.where(np.isfinite(watched), watched, leave)
    onset = (onsets["event"] == "onset").to_numpy()
    entry = np.minimum(onsets["entry_h"].to_numpy(dtype=np.float64), leave)
    ends = np.where(onset, leave, np.clip(watched, entry, leave))
    return ends, np.where(onset, np.maximum(watched, leave), leave)


def hours_at_risk(onsets: pd.DataFrame) -> tuple[Floats, Floats]:
    """Return the hours for which each ONSETS row was at risk of an onset, and of a death that would have been seen."""
    of_onset, of_death = risk_ends(onsets)
    entry = onsets["entry_h"].to_numpy(dtype=np.float64)
    begin, end = entry, of_death
    if {"followed_from_h", "followed_to_h"} <= set(onsets.columns):
        begin, end = (onsets[c].to_numpy(dtype=np.float64) for c in ("followed_from_h", "followed_to_h"))
        onset = (onsets["event"] == "onset").to_numpy()
        end = np.where(onset, np.minimum(end, of_death), end)
    return of_onset - entry, np.nan_to_num(np.maximum(end - begin, 0.0))


def _subjects(table: pd.DataFrame, names: list[str], bridged: bool) -> pd.DataFrame:
    """Cells with their times on the organoid's own clock, which starts with its first cell (of the session)."""
    code = {name: i + 1 for i, name in enumerate(names)}
    out = table.copy()
    clock = ["organoid"] if bridged else ["organoid", "session"]
    at_risk = event_times(out) > out["entry_h"].to_numpy()
    out["origin"] = out["entry_h"].where(at_risk)
    origin = out.groupby(clock)["origin"].transform("min").to_numpy(dtype=np.float64)
    onset = (out["event"] == "onset").to_numpy()
    cause = np.where(onset, out["lineage"].map(code).fillna(0), 0).astype(np.int64)
    out["cause"] = np.where((out["event"] == "death").to_numpy(), code["death"], cause)
    out["entry"] = out["entry_h"].to_numpy() - origin
    out["exit"] = event_times(out) - origin
    of_onset = risk_ends(out)[0]
    out["watched"] = of_onset - origin
    out["left"] = np.where(onset, np.maximum(out["left_h"], out["entry_h"]), of_onset) - origin
    out["right"] = out["right_h"].to_numpy() - origin
    if {"followed_from_h", "followed_to_h"} <= set(out.columns):
        tracked = out[["followed_from_h", "followed_to_h"]].to_numpy(dtype=np.float64)
    else:
        tracked = np.column_stack([out["entry_h"], np.where(onset, out["right_h"], event_times(out))])
    out["tracked_from"], out["tracked_to"] = (tracked - origin[:, None]).T
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


def _block(condition: str, organoid: str, names: list[str], grid: Floats, curve: Curve) -> pd.DataFrame:
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
        for name, kind in (("n_units", "int32"), ("note", "object"), ("session", "int32"), ("method", "object")):
            out[name] = pd.Series([], dtype=kind)
        return out
    return EMERGENCE.conform(pd.concat(blocks, ignore_index=True))

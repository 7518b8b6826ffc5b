"""Where cells were while they were at risk: their time cut into spans with what changes as they move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.lineage.emergence_curves import risk_ends
from napari_marrow.lineage.pedigree import Ints, Pedigree

Floats = npt.NDArray[np.float64]
Exposure = Literal["current", "history"]


def exposure_spans(
    tracks: pd.DataFrame | Pedigree,
    nodes: pd.DataFrame,
    onsets: pd.DataFrame,
    covariates: Sequence[str],
    *,
    exposure: Exposure = "current",
) -> pd.DataFrame:
    """Cut the time at risk of every uncommitted cell into spans between its frames, each with its covariates.

    Parameters
    ----------
    tracks : pandas.DataFrame or Pedigree
        TRACKS table.
    nodes : pandas.DataFrame
        TRACK_NODES joined with the covariates, for example the distance to the nearest vessel [µm]. A frame without a
        value keeps the last known one.
    onsets : pandas.DataFrame
        ONSETS table.
    covariates : sequence of str
        Columns of `nodes`.
    exposure : {"current", "history"}
        ``current``: the value where the cell is. ``history``: the mean over its life and its ancestors' so far, for
        fates that are decided generations before their marker shows.

    Returns
    -------
    pandas.DataFrame
        position, session, track_id, founder_track_id, entry_h, stop_h [h], lineage (the onset that ends the span, ""
        for none), and the covariates as they were at the span's begin: what a cell does afterwards cannot act on it.

    Raises
    ------
    TableError
        If a column is missing.
    """
    if exposure not in ("current", "history"):
        raise SettingsError(f"Unknown exposure {exposure!r}: choose current or history.")
    missing = [c for c in ("position", "session", "track_id", "time_h", *covariates) if c not in nodes.columns]
    if missing:
        raise TableError(f"The track nodes lack the column(s) {', '.join(missing)}.")
    pedigree = tracks if isinstance(tracks, Pedigree) else Pedigree.from_tracks(tracks)
    rows = pedigree.rows_of(nodes)
    inside = rows >= 0
    order = np.lexsort((nodes["time_h"].to_numpy()[inside], rows[inside]))
    row = rows[inside][order]
    time = nodes["time_h"].to_numpy(dtype=np.float64)[inside][order]
    values = nodes[list(covariates)].to_numpy(dtype=np.float64)[inside][order]
    if exposure == "history":
        values = _history(pedigree, row, time, values)
    return _spans(pedigree, row, time, values, onsets, list(covariates))


def _history(pedigree: Pedigree, row: Ints, time: Floats, values: Floats) -> Floats:
    """Return the running mean over time along each line of descent; a frame stands for the time until the next one."""
    n = len(pedigree)
    first, stop = np.searchsorted(row, np.arange(n), "left"), np.searchsorted(row, np.arange(n), "right")
    known = np.isfinite(values)
    step = np.zeros(len(row))
    step[:-1] = np.where(row[1:] == row[:-1], np.diff(time), 0.0)
    # The last frame of a cell stands for one typical interval, so that a cell seen once has a history.
    step[stop[stop > first] - 1] = float(np.median(step[step > 0])) if (step > 0).any() else 1.0
    width = known * step[:, None]
    amount = np.where(known, values, 0.0) * width
    running, weight = np.cumsum(amount, axis=0), np.cumsum(width, axis=0)
    has = stop > first
    before = np.zeros((n, values.shape[1]))
    before_w = np.zeros_like(before)
    before[has] = running[first[has]] - amount[first[has]]
    before_w[has] = weight[first[has]] - width[first[has]]
    own, own_w = np.zeros_like(before), np.zeros_like(before)
    own[has] = running[stop[has] - 1] - before[has]
    own_w[has] = weight[stop[has] - 1] - before_w[has]
    inherited, inherited_w = np.zeros_like(before), np.zeros_like(before)
    for level in pedigree.levels()[1:]:
        mother = pedigree.mother[level]
        inherited[level] = inherited[mother] + own[mother]
        inherited_w[level] = inherited_w[mother] + own_w[mother]
    total = running - before[row] + inherited[row]
    hours = weight - before_w[row] + inherited_w[row]
    return np.where(hours > 0, total / np.where(hours > 0, hours, 1.0), np.nan)


def _spans(
    pedigree: Pedigree, row: Ints, time: Floats, values: Floats, onsets: pd.DataFrame, covariates: list[str]
) -> pd.DataFrame:
    mine = onsets[onsets["event"] != "prevalent"]
    who = pedigree.rows_of(mine)
    mine, who = mine[who >= 0], who[who >= 0]
    n = len(pedigree)
    entry, leave = np.full(n, np.nan), np.full(n, np.nan)
    right = mine["right_h"].to_numpy(dtype=np.float64)
    event = (mine["event"] == "onset").to_numpy()
    entry[who] = mine["entry_h"].to_numpy(dtype=np.float64)
    leave[who] = np.where(event, right, risk_ends(mine)[0])
    lineage = np.full(n, "", dtype=object)
    lineage[who[event]] = mine["lineage"].to_numpy()[event]
    # A value holds from its frame to the next; before the first frame of a daughter her mother's last one holds.
    begins = np.ones(len(row), dtype=bool)
    begins[1:] = row[1:] != row[:-1]
    start = np.where(begins, np.fmin(entry[row], time), time)
    stop = np.append(time[1:], np.inf)
    last = np.append(row[1:] != row[:-1], True) if len(row) else begins
    stop = np.where(last, np.inf, stop)
    stop = np.fmin(stop, leave[row])
    filled = _carried(pedigree, row, begins, values)
    keep = np.isfinite(entry[row]) & (stop > start)
    spans = pedigree.tracks[["position", "session", "track_id", "founder_track_id"]].iloc[row[keep]]
    spans = spans.reset_index(drop=True)
    spans["entry_h"], spans["stop_h"] = start[keep], stop[keep]
    ends = (stop == leave[row])[keep]
    spans["lineage"] = np.where(ends, lineage[row[keep]], "")
    for name, column in zip(covariates, filled[keep].T, strict=True):
        spans[name] = column
    return spans


def _carried(pedigree: Pedigree, row: Ints, begins: npt.NDArray[np.bool_], values: Floats) -> Floats:
    """Fill unknown values with the last known one of the track; a daughter's first span takes her mother's last."""
    out = values.copy()
    n = len(pedigree)
    first, stop = np.searchsorted(row, np.arange(n), "left"), np.searchsorted(row, np.arange(n), "right")
    has = stop > first
    for k in range(values.shape[1]):
        column = values[:, k]
        index = np.maximum.accumulate(np.where(np.isfinite(column) | begins, np.arange(len(column)), 0))
        out[:, k] = column[index]
        heirs = np.flatnonzero(has & (pedigree.mother >= 0))
        heirs = heirs[has[pedigree.mother[heirs]]]
        inherited = out[stop[pedigree.mother[heirs]] - 1, k]
        own = out[first[heirs], k]
        out[first[heirs], k] = np.where(np.isfinite(own), own, inherited)
    return out

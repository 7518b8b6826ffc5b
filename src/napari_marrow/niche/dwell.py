"""Dwell in the niche: how often cells enter and leave the surroundings of a structure, from tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.niche.geometry import BoolArray, FloatArray
from napari_marrow.statistics.poisson import poisson_rate


@dataclass(frozen=True)
class Dwell:
    """Two-state occupation of a niche.

    Attributes
    ----------
    entries, exits : int
        Observed transitions.
    time_in, time_out : float
        Observed time in each state, h.
    entry_rate, exit_rate : float
        Events over time at risk, 1/h; NaN without time at risk.
    entry_low, entry_high, exit_low, exit_high : float
        Exact Poisson 95 % limits, treating tracks as independent.
    mean_dwell : float
        1 / exit_rate, h; infinite when no exit was seen.
    shortest_dwell : float
        Median frame interval, h: shorter visits cannot be seen.
    """

    entries: int
    exits: int
    time_in: float
    time_out: float
    entry_rate: float
    exit_rate: float
    entry_low: float
    entry_high: float
    exit_low: float
    exit_high: float
    mean_dwell: float
    shortest_dwell: float


def hysteresis(distance: npt.ArrayLike, r_in: float, r_out: float) -> BoolArray:
    """Say when a cell is in the niche: from distance <= r_in until distance > r_out.

    Between the two a track keeps its state; it begins outside.

    Parameters
    ----------
    distance : array (n,)
        Along one track in order of time, µm.
    r_in, r_out : float
        r_in <= r_out, µm.
    """
    if not 0 <= r_in <= r_out:
        raise SettingsError(f"r_in {r_in} and r_out {r_out}: give 0 <= r_in <= r_out in µm.")
    d = np.asarray(distance, dtype=np.float64)
    decided = np.where(d <= r_in, 1, np.where(d > r_out, 0, -1))
    last = np.maximum.accumulate(np.where(decided >= 0, np.arange(len(d)), -1)) if len(d) else np.zeros(0, dtype=int)
    return np.where(last >= 0, decided[np.maximum(last, 0)], 0) == 1


def niche_dwell(tracks: pd.DataFrame, *, r_in: float, r_out: float) -> Dwell:
    """Entry and exit rates of a niche by occurrence over exposure.

    Parameters
    ----------
    tracks : DataFrame
        track_id, time_h, distance (µm) with one row per track and frame.
    r_in, r_out : float
        Hysteresis, µm: noise of the distance must not count as leaving.

    Raises
    ------
    TableError
        If a column is missing.

    Notes
    -----
    Visits under way at a track's start or end are used for the time that was seen of them, so right-censoring and
    left-truncation need no further correction while rates are constant. An interval between frames counts for the state
    at its beginning. Rates near 1 / frame interval are too low: a cell that leaves and comes back between two frames is
    not seen to move.
    """
    missing = {"track_id", "time_h", "distance"} - set(tracks.columns)
    if missing:
        raise TableError(f"The track table lacks the column(s) {', '.join(sorted(missing))}.")
    ordered = tracks.dropna(subset=["distance"]).sort_values(["track_id", "time_h"], kind="stable")
    entries = exits = 0
    time_in = time_out = 0.0
    steps: list[FloatArray] = []
    for _, track in ordered.groupby("track_id", sort=False):
        state = hysteresis(track["distance"].to_numpy(), r_in, r_out)
        step = np.diff(track["time_h"].to_numpy(dtype=np.float64))
        steps.append(step)
        time_in += float(step[state[:-1]].sum())
        time_out += float(step[~state[:-1]].sum())
        entries += int((~state[:-1] & state[1:]).sum())
        exits += int((state[:-1] & ~state[1:]).sum())
    every = np.concatenate(steps) if steps else np.zeros(0)
    entry, leave = poisson_rate(entries, time_out), poisson_rate(exits, time_in)
    mean = float("nan") if np.isnan(leave.rate) else (1.0 / leave.rate if leave.rate > 0 else float("inf"))
    return Dwell(
        entries, exits, time_in, time_out, entry.rate, leave.rate, entry.low, entry.high, leave.low, leave.high, mean,
        float(np.median(every)) if len(every) else float("nan"),
    )  # fmt: skip

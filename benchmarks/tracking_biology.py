"""Biological scores of the Cell Tracking Challenge for tracks of points, and detections with a segmenter's errors.

Called by ``benchmarks/tracking.py``. The scores are py-ctcmetrics' own (BIO(1): mean of complete tracks, track
fractions, branching correctness within one frame and cell cycle accuracy; Ulman 2017, Nat. Methods 14:1141). A track
that skips frames is given a place in each, half way between, in truth and result alike, as a linking result in the
format of the challenge is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from napari_marrow.export.ctc import ctc_tracks
from napari_marrow.tracking.scores import match_rows

NAMES = ("BIO(1)", "CT", "TF", "BC(1)", "CCA")


def with_errors(table: pd.DataFrame, *, missed: float, false: float, seed: int) -> pd.DataFrame:
    """Drop some of the detections and add some that are none.

    Parameters
    ----------
    table : DataFrame
        ``t, y, x, track_id, parent_track_id`` and measurements.
    missed, false : float
        Share of the detections.
    seed : int

    Returns
    -------
    DataFrame
        False detections lie at random in the field, have the measurements of another detection, and track 0.
    """
    rng = np.random.default_rng(seed)
    kept = table[rng.random(len(table)) >= missed]
    extra = table.sample(rng.binomial(len(table), false), random_state=int(rng.integers(2**31)))
    extra = extra.assign(track_id=0, parent_track_id=0)
    for axis in ("y", "x"):
        extra[axis] = rng.uniform(table[axis].min(), table[axis].max(), len(extra))
    return pd.concat([kept, extra]).sort_values(["t", "y", "x"], ignore_index=True)


def biology(truth: pd.DataFrame, result: pd.DataFrame) -> dict[str, float]:
    """Score tracks of points as the challenge does.

    Parameters
    ----------
    truth, result : DataFrame
        ``t, y, x, track_id, parent_track_id``; rows of track 0 are left out.

    Returns
    -------
    dict
        Of `NAMES`; NaN where truth has no such thing (cycles that begin and end with a division).
    """
    from ctc_metrics.scripts.evaluate import calculate_metrics

    first = int(min(truth["t"].min(), result["t"].min()))
    n_frames = int(max(truth["t"].max(), result["t"].max())) - first + 1
    sides = [_filled(side.assign(t=side["t"] - first)) for side in (truth, result)]
    places = [(side["t"].to_numpy(np.int64), side[["y", "x"]].to_numpy(np.float64)) for side in sides]
    own = match_rows(places[0], places[1], _near(places[0]))
    tracks, labels = [], []
    for side in sides:
        found = ctc_tracks(*(side[name].to_numpy(np.int64) for name in ("t", "track_id", "parent_track_id")))
        tracks.append(found.table)
        labels.append(found.label)
    traj: dict[str, Any] = {"labels_ref": [], "labels_comp": [], "mapped_ref": [], "mapped_comp": []}
    rows = [[np.flatnonzero(times == t) for t in range(n_frames)] for times, _ in places]
    for there, here in zip(*rows, strict=True):
        both = there[own[there] >= 0]
        traj["labels_ref"].append(labels[0][there].tolist())
        traj["labels_comp"].append(labels[1][here].tolist())
        traj["mapped_ref"].append(labels[0][both].tolist())
        traj["mapped_comp"].append(labels[1][own[both]].tolist())
    measured = calculate_metrics(tracks[1], tracks[0], traj, {}, ["Valid", "CT", "TF", "BC", "CCA"], 1)
    return {name: np.nan if measured[name] is None else float(measured[name]) for name in NAMES}


def _filled(side: pd.DataFrame) -> pd.DataFrame:
    """Give every track a row in each frame between its first and its last."""
    side = side.loc[side["track_id"] > 0, ["t", "y", "x", "track_id", "parent_track_id"]]
    side = side.sort_values(["track_id", "t"], ignore_index=True)
    t, track = side["t"].to_numpy(np.int64), side["track_id"].to_numpy()
    parts = [side]
    for k in np.flatnonzero((track[1:] == track[:-1]) & (np.diff(t) > 1)):
        between = np.arange(t[k] + 1, t[k + 1])
        share = (between - t[k]) / (t[k + 1] - t[k])
        a, b = side.iloc[k], side.iloc[k + 1]
        parts.append(
            pd.DataFrame(
                {
                    "t": between,
                    "y": a["y"] + share * (b["y"] - a["y"]),
                    "x": a["x"] + share * (b["x"] - a["x"]),
                    "track_id": int(a["track_id"]),
                    "parent_track_id": int(a["parent_track_id"]),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _near(places: tuple[np.ndarray, np.ndarray]) -> float:
    """Half the median distance between neighbours of a frame."""
    from scipy.spatial import cKDTree

    t, x = places
    near = [cKDTree(x[t == k]).query(x[t == k], k=2)[0][:, 1] for k in np.unique(t) if (t == k).sum() > 1]
    return 0.5 * float(np.median(np.concatenate(near)))

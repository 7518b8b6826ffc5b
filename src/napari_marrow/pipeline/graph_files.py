"""Detections and tracks of graph files: TrackMate XML and GEFF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from napari_marrow.errors import TableError
from napari_marrow.export.geff import geff_points
from napari_marrow.export.trackmate import read_trackmate
from napari_marrow.tracking.scores import tracks_of

GRAPHS = (".geff", ".xml")
"""Endings of their names."""
_OF_TRACKING = (
    "track_id", "parent_track_id", "link_probability", "start_probability", "end_probability",
)  # fmt: skip


def is_graph(path: Path) -> bool:
    """Whether a name is that of a graph file."""
    return path.suffix.lower() in GRAPHS


def read_detections(path: Path) -> pd.DataFrame:
    """Return the points of a graph file with their measurements; what an earlier tracking left is dropped.

    Parameters
    ----------
    path : Path
        A TrackMate file or a GEFF folder.

    Raises
    ------
    PathMissingError, InputFileError
        If there is none, or it is something else.
    """
    points, _ = _read(path)
    return points.drop(columns=[name for name in _OF_TRACKING if name in points.columns])


def read_tracks(path: Path) -> pd.DataFrame:
    """Return the points of a graph file with the tracks that its edges make.

    Returns
    -------
    DataFrame
        ``t, (z,) y, x, track_id, parent_track_id``.

    Raises
    ------
    PathMissingError, InputFileError
        If there is none, or it is something else.
    TableError
        If it holds no edge.
    """
    points, links = _read(path)
    if not len(links) and len(points):
        raise TableError(f"{path} holds points but no edges: there are no tracks to score.")
    t = points["t"].to_numpy(np.int64)
    if (t[links[:, 0]] == t[links[:, 1]]).any():
        raise TableError(f"{path} has an edge within one frame: links lead from frame to frame.")
    track, parent = tracks_of(t, links)
    axes = [name for name in ("t", "z", "y", "x") if name in points.columns]
    return points[axes].assign(track_id=track, parent_track_id=parent)


def _read(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Return points, and links as pairs of their rows."""
    if path.suffix.lower() == ".geff":
        points, edges = geff_points(path)
        return points, edges.to_numpy(np.int64).reshape(-1, 2)
    spots, edges = read_trackmate(path)
    row = pd.Series(np.arange(len(spots)), index=spots["spot_id"].to_numpy())
    pairs = [row.loc[edges[end].to_numpy()].to_numpy(np.int64) for end in ("source", "target")]
    return spots, np.column_stack(pairs).reshape(-1, 2)

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
OF_TRACKING = (
    "track_id", "parent_track_id", "link_probability", "start_probability", "end_probability",
)  # fmt: skip
"""Columns that a tracking leaves with points."""


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
    points, _ = read_graph(path)
    return points.drop(columns=[name for name in OF_TRACKING if name in points.columns])


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
    points, edges = read_graph(path)
    links = edges[["parent_row", "child_row"]].to_numpy(np.int64)
    if not len(links) and len(points):
        raise TableError(f"{path} holds points but no edges: there are no tracks to score.")
    t = points["t"].to_numpy(np.int64)
    if (t[links[:, 0]] == t[links[:, 1]]).any():
        raise TableError(f"{path} has an edge within one frame: links lead from frame to frame.")
    track, parent = tracks_of(t, links)
    axes = [name for name in ("t", "z", "y", "x") if name in points.columns]
    return points[axes].assign(track_id=track, parent_track_id=parent)


def read_graph(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the points of a graph file and its edges.

    Returns
    -------
    points : DataFrame
        ``t, (z,) y, x`` and every measurement, also what an earlier tracking left.
    edges : DataFrame
        ``parent_row, child_row``, of a GEFF with the properties of its edges.

    Raises
    ------
    PathMissingError, InputFileError
        If there is none, or it is something else.
    """
    if path.suffix.lower() == ".geff":
        points, edges = geff_points(path)
        return points, edges.rename(columns={"source": "parent_row", "target": "child_row"})
    spots, edges = read_trackmate(path)
    row = pd.Series(np.arange(len(spots)), index=spots["spot_id"].to_numpy())
    ends = {"parent_row": "source", "child_row": "target"}
    return spots, pd.DataFrame({name: row.loc[edges[end].to_numpy()].to_numpy(np.int64) for name, end in ends.items()})

"""Tracks of a study's session as Cell Tracking Challenge files, as a GEFF graph and as a TrackMate file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow.errors import StudyError
from napari_marrow.export.ctc import ctc_tracks, write_ctc
from napari_marrow.export.geff import write_geff
from napari_marrow.export.new_places import new_file
from napari_marrow.export.trackmate import trackmate_text
from napari_marrow.progress import Progress, no_progress
from napari_marrow.tracking.scores import tracks_of

if TYPE_CHECKING:
    from napari_marrow.study import Study


def write_session_ctc(study: Study, position: str, session: int, out: Path, *, progress: Progress = no_progress) -> int:
    """Write the tracks of a session as ``maskNNN.tif`` and ``res_track.txt`` and return how many there are.

    Parameters
    ----------
    study : Study
    position : str
    session : int
    out : Path
        New folder.
    progress : callable

    Raises
    ------
    StudyError
        If the session was not tracked.
    """
    nodes = _nodes(study, position, session)
    tracks = study.table("tracks")
    parent_of = dict(zip(tracks["track_id"], tracks["parent_track_id"], strict=True))
    # The format counts tracks from 1 in every sequence
    numbers = {track: k + 1 for k, track in enumerate(sorted(set(nodes["track_id"])))}
    track = nodes["track_id"].map(numbers).to_numpy(np.int64)
    parent = np.array([numbers.get(parent_of.get(t, 0), 0) for t in nodes["track_id"]], np.int64)
    t = nodes["t"].to_numpy(np.int64)
    found = ctc_tracks(t, track, parent)
    labels = study.labels("cells", study.active.get("paint", study.active["segment"]), position, session)
    n_frames = labels.shape[0]
    frames = (frame[0] if frame.shape[0] == 1 else frame for frame in map(labels.read, range(n_frames)))
    write_ctc(
        out, frames, t, nodes["label"].to_numpy(np.int64), found, n_frames=n_frames,
        on_frame=lambda number: progress(number + 1, n_frames, "Writing masks"),
    )  # fmt: skip
    return len(numbers)


def write_session_geff(study: Study, position: str, session: int, out: Path) -> int:
    """Write the tracks of a session as a graph with the cells' measures and return the number of its nodes.

    Parameters
    ----------
    study : Study
    position : str
    session : int
    out : Path
        New folder.

    Raises
    ------
    StudyError
        If the session was not tracked.
    """
    nodes, graph = _graph(study, position, session)
    about = {"study": study.name, "study_id": study.id, "position": position, "session": session, "unit": "micrometer"}
    write_geff(out, nodes, graph, unit="micrometer", extra={"napari_marrow": about})
    return len(nodes)


def write_session_trackmate(study: Study, position: str, session: int, out: Path) -> int:
    """Write the tracks of a session as a TrackMate file and return the number of its spots.

    Parameters
    ----------
    study : Study
    position : str
    session : int
    out : Path
        New file.

    Raises
    ------
    StudyError
        If the session was not tracked.
    """
    nodes, graph = _graph(study, position, session)
    links = graph[["parent_row", "child_row"]].to_numpy(np.int64)
    track, parent = tracks_of(nodes["t"].to_numpy(np.int64), links)
    with new_file(out) as scratch:
        text = trackmate_text(nodes, graph, track.astype(np.int32), parent.astype(np.int32), unit="µm")
        scratch.write_text(text, encoding="utf-8")
    return len(nodes)


def _graph(study: Study, position: str, session: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a session's cells with their measures, and its edges as pairs of their rows."""
    nodes = _nodes(study, position, session)
    unit = {"position": position, "session": session}
    cells = study.table("cells", unit=unit).drop(columns=["position", "session", "time_h", "y", "x"], errors="ignore")
    known = [c for c in cells.columns if c not in nodes.columns or c in ("t", "label")]
    nodes = nodes.merge(cells[known], on=["t", "label"], how="left", validate="one_to_one").reset_index(drop=True)
    row = {(t, label): k for k, (t, label) in enumerate(zip(nodes["t"], nodes["label"], strict=True))}
    edges = _of(study.table("track_edges"), position, session)
    graph = pd.DataFrame(
        {
            "parent_row": [row[place] for place in zip(edges["t_parent"], edges["label_parent"], strict=True)],
            "child_row": [row[place] for place in zip(edges["t_child"], edges["label_child"], strict=True)],
            "probability": edges["probability"].to_numpy(np.float64),
        }
    ).astype({"parent_row": np.int64, "child_row": np.int64})
    return nodes, graph


def _nodes(study: Study, position: str, session: int) -> pd.DataFrame:
    nodes = _of(study.table("track_nodes"), position, session)
    nodes = nodes[nodes["track_id"] > 0].sort_values(["t", "label"], ignore_index=True)
    if not len(nodes):
        raise StudyError(
            f"'{study.path}' has no tracks in {position} session {session}: it has one frame, or no cells."
        )
    if "y" not in nodes.columns:
        places = study.table("cells", unit={"position": position, "session": session})[["t", "label", "z", "y", "x"]]
        nodes = nodes.merge(places, on=["t", "label"], how="left", validate="one_to_one")
    return nodes


def _of(table: pd.DataFrame, position: str, session: int) -> pd.DataFrame:
    return table[(table["position"] == position) & (table["session"] == session)]

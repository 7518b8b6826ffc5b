"""Tracks that exist already, in another format; nothing is linked anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import InputFileError, PathExistsError, PathMissingError, SettingsError, TableError
from napari_marrow.export.ctc import ctc_tracks, write_ctc
from napari_marrow.export.geff import write_geff
from napari_marrow.export.trackmate import trackmate_text
from napari_marrow.pipeline.ctc_folders import read_ctc_folder
from napari_marrow.pipeline.graph_files import OF_TRACKING, is_graph, read_graph
from napari_marrow.pipeline.label_files import LabelFrames, open_labels
from napari_marrow.pipeline.new_file import refuse_unusable, write_new
from napari_marrow.pipeline.track_tables import read_track_table
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.tracking import label_points
from napari_marrow.tracking.scores import links_of, tracks_of

Ints = npt.NDArray[np.int64]
_CTC_TABLES = ("res_track.txt", "man_track.txt", "TRA/man_track.txt")


@dataclass(frozen=True)
class _Tracks:
    """Points with their links; `masks` are the label images that they are of, if any."""

    points: pd.DataFrame
    edges: pd.DataFrame
    track: Ints
    parent: Ints
    masks: LabelFrames | None = None


def convert_tracks(
    source: Path,
    out: Path,
    *,
    labels: Path | Sequence[Path] | None = None,
    spacing: Sequence[float] | None = None,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> int:
    """Write the tracks of a file in another format and return how many there are.

    Parameters
    ----------
    source : Path
        A folder in Cell Tracking Challenge format (``res_track.txt`` or ``man_track.txt``), a CSV with ``t, y, x,
        track_id`` (and ``parent_track_id``), a TrackMate file (``.xml``) or a GEFF folder (``.geff``).
    out : Path
        New: ``.csv``, ``.xml``, ``.geff``, or a folder for Cell Tracking Challenge files, which need masks: those of
        such a folder, or `labels`.
    labels : Path or sequence of Path, optional
        Label images, one per frame from t = 0, in which every point lies on its object.
    spacing : sequence of float, optional
        Size of a voxel (z, y, x) or pixel (y, x) of the label images; 1 by default.
    progress, cancel : optional

    Returns
    -------
    int

    Raises
    ------
    PathMissingError, InputFileError, TableError
        If there is nothing to read, or it holds no tracks, or a point lies on no object.
    PathExistsError
        If something is at `out`.
    SettingsError
        If masks are missing.

    Notes
    -----
    In the Cell Tracking Challenge format a track that skips frames is two, the later one with the earlier as its
    parent: read again, they are one track. Of a TrackMate file the links are taken, its costs are not.
    """
    source, out = Path(source), Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise PathExistsError(f"{out} exists: give a new name, nothing is overwritten.")
    refuse_unusable(out)
    if not source.exists():
        raise PathMissingError(f"There is nothing at {source}.")
    cancel = cancel or CancelToken()
    found = _read(source, spacing, cancel)
    kind = out.suffix.lower()
    if kind in (".csv", ".xml", ".geff") and labels is not None:
        raise SettingsError(f"Label images serve Cell Tracking Challenge files, but '{out}' is a {kind} file.")
    if kind == ".csv":
        write_new(out, _table(found).to_csv(index=False))
    elif kind == ".xml":
        track, parent = tracks_of(found.points["t"].to_numpy(np.int64), _pairs(found.edges))
        write_new(out, trackmate_text(found.points, found.edges, track.astype(np.int32), parent.astype(np.int32)))
    elif kind == ".geff":
        write_geff(out, found.points.assign(track_id=found.track, parent_track_id=found.parent), found.edges)
    else:
        masks = found.masks if labels is None else open_labels(labels)
        if masks is None:
            raise SettingsError(
                f"A folder of Cell Tracking Challenge files needs masks, and {source} has none: give the label images."
            )
        _write_masks(out, found, masks, spacing, progress, cancel)
    return len(np.unique(found.track[found.track > 0]))


def _pairs(edges: pd.DataFrame) -> Ints:
    return edges[["parent_row", "child_row"]].to_numpy(np.int64).reshape(-1, 2)


def _read(source: Path, spacing: Sequence[float] | None, cancel: CancelToken) -> _Tracks:
    if is_graph(source):
        points, edges = read_graph(source)
        if not len(edges) and len(points):
            raise TableError(f"{source} holds points but no edges: there are no tracks to convert.")
        _refuse_backward(source, points["t"].to_numpy(np.int64), _pairs(edges))
        points = points.drop(columns=[name for name in OF_TRACKING if name in points.columns])
        return _Tracks(points, edges, *tracks_of(points["t"].to_numpy(np.int64), _pairs(edges)))
    if source.is_dir():
        return _read_masks(source, spacing, cancel)
    table = read_track_table(source)
    t, track, parent = (table[name].to_numpy(np.int64) for name in ("t", "track_id", "parent_track_id"))
    _refuse_twice(source, t, track)
    within, born = links_of(t, track, parent)
    edges = pd.DataFrame(np.concatenate([within, born]), columns=["parent_row", "child_row"])
    if "link_probability" in table.columns:
        known = np.full(len(edges), np.nan)
        known[: len(within)] = table["link_probability"].to_numpy(np.float64)[within[:, 1]]
        edges["probability"] = known
    points = table.drop(columns=[name for name in OF_TRACKING if name in table.columns])
    return _Tracks(points, edges, track, parent)


def _refuse_backward(source: Path, t: Ints, links: Ints) -> None:
    if (t[links[:, 0]] == t[links[:, 1]]).any():
        raise TableError(f"{source} has an edge within one frame: links lead from frame to frame.")


def _refuse_twice(source: Path, t: Ints, track: Ints) -> None:
    """Refuse a track with two points in a frame."""
    own = np.flatnonzero(track > 0)
    pairs, count = np.unique(np.column_stack([track[own], t[own]]), axis=0, return_counts=True)
    if (count > 1).any():
        number, frame = pairs[count > 1][0]
        raise TableError(f"{source} has the track {number} twice in frame {frame}: a track has one point per frame.")


def _read_masks(folder: Path, spacing: Sequence[float] | None, cancel: CancelToken) -> _Tracks:
    """Read a folder in Cell Tracking Challenge format: a point per mask and frame, linked as its table says."""
    table = next((folder / name for name in _CTC_TABLES if (folder / name).is_file()), None)
    if table is None:
        raise PathMissingError(
            f"{folder} holds neither res_track.txt nor man_track.txt: give a folder in Cell Tracking Challenge format."
        )
    ctc = read_ctc_folder(table.parent, table.name)
    masks = open_labels(ctc.masks)
    steps = tuple(spacing) if spacing is not None else (1.0,) * masks.ndim
    points = label_points(masks, spacing=steps, cancel=cancel)
    t, label = points["t"].to_numpy(np.int64), points["label"].to_numpy(np.int64)
    parent = pd.Series(ctc.tracks[:, 3], index=ctc.tracks[:, 0]).reindex(label).to_numpy()
    links = np.concatenate(links_of(t, label, parent.astype(np.int64)))
    edges = pd.DataFrame(links, columns=["parent_row", "child_row"])
    return _Tracks(points, edges, *tracks_of(t, links), masks)


def _table(found: _Tracks) -> pd.DataFrame:
    """Return the points with their tracks, and the probability of the link to the point before where it is known."""
    out = found.points.assign(track_id=found.track, parent_track_id=found.parent)
    if "probability" in found.edges.columns:
        parent, child = _pairs(found.edges).T
        within = found.track[parent] == found.track[child]
        chance = np.full(len(out), np.nan)
        chance[child[within]] = found.edges["probability"].to_numpy(np.float64)[within]
        out["link_probability"] = chance
    return out


def _write_masks(
    out: Path,
    found: _Tracks,
    masks: LabelFrames,
    spacing: Sequence[float] | None,
    progress: Progress,
    cancel: CancelToken,
) -> None:
    tracked = np.flatnonzero(found.track > 0)
    points = found.points.iloc[tracked].reset_index(drop=True)
    t = points["t"].to_numpy(np.int64)
    label = points["label"].to_numpy(np.int64) if masks is found.masks else _labels_at(points, masks, spacing, cancel)
    tracks = ctc_tracks(t, found.track[tracked], found.parent[tracked])

    def on_frame(number: int) -> None:
        cancel.raise_if_cancelled()
        progress(number + 1, len(masks), "writing masks")

    write_ctc(out, masks, t, label, tracks, n_frames=len(masks), on_frame=on_frame)


def _labels_at(points: pd.DataFrame, masks: LabelFrames, spacing: Sequence[float] | None, cancel: CancelToken) -> Ints:
    """Return the label on which each point lies."""
    axes = ["z", "y", "x"][-masks.ndim :]
    steps = np.asarray(spacing if spacing is not None else (1.0,) * masks.ndim, np.float64)
    if len(steps) != masks.ndim or not set(axes) <= set(points.columns):
        raise InputFileError(
            f"Label images have {masks.ndim} axes, the spacing {len(steps)}, the points {', '.join(axes)} or fewer: "
            "they must agree."
        )
    t = points["t"].to_numpy(np.int64)
    if len(t) and not 0 <= t.min() <= t.max() < len(masks):
        raise InputFileError(f"The tracks go from frame {t.min()} to {t.max()}, but there are {len(masks)} masks.")
    at = np.rint(points[axes].to_numpy(np.float64) / steps).astype(np.int64)
    out = np.zeros(len(points), np.int64)
    for number, frame in enumerate(masks):
        cancel.raise_if_cancelled()
        rows = np.flatnonzero(t == number)
        inside = ((at[rows] >= 0) & (at[rows] < frame.shape)).all(1)
        out[rows[inside]] = frame[tuple(at[rows[inside]].T)]
        off = rows[out[rows] == 0]
        if len(off):
            place = ", ".join(f"{axis} = {points[axis].iloc[off[0]]:g}" for axis in axes)
            raise InputFileError(
                f"A point of frame {number} lies on no object of the label images ({place}): give the images that the "
                "points were made of, and their spacing."
            )
        names, count = np.unique(out[rows], return_counts=True)
        if (count > 1).any():
            raise InputFileError(f"Two points of frame {number} lie on the label {names[count > 1][0]}.")
    return out

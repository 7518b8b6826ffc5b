"""Track plain files: label images to Cell Tracking Challenge format, a CSV of points to a CSV with tracks."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from napari_marrow.errors import (
    InputFileError,
    PathExistsError,
    PathMissingError,
    SettingsError,
    TableError,
)
from napari_marrow.export.ctc import ctc_tracks, write_ctc
from napari_marrow.export.geff import write_geff
from napari_marrow.export.trackmate import trackmate_text
from napari_marrow.pipeline.graph_files import is_graph, read_detections
from napari_marrow.pipeline.label_files import open_labels
from napari_marrow.pipeline.new_file import refuse_unusable, write_new
from napari_marrow.pipeline.track_outputs import TrackOutputs, beside
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.tracking import Tracking, TrackingSettings, label_points, track_points

ADDED = ("track_id", "parent_track_id", "link_probability")
"""Columns that `track_points_file` adds."""


def track_labels_files(
    paths: Path | Sequence[Path],
    out_dir: Path,
    *,
    spacing: Sequence[float] | None = None,
    settings: TrackingSettings | None = None,
    times_h: Sequence[float] | None = None,
    outputs: TrackOutputs | None = None,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> Tracking:
    """Track the objects of label images and write Cell Tracking Challenge files.

    Parameters
    ----------
    paths : Path or sequence of Path
        A TIFF stack over time, a folder of TIFF files (in natural order), or a list of TIFF files.
    out_dir : Path
        New folder for ``maskNNN.tif`` (16 bit, the value is the track) and ``res_track.txt`` (L B E P). A track that
        skips frames goes on under a new label whose parent is the piece before, as the format asks. A name that ends
        in ``.xml`` gives a TrackMate file, one in ``.geff`` a GEFF folder instead.
    spacing : sequence of float, optional
        Size of a voxel (z, y, x) or pixel (y, x); 1 along every axis by default. Only its proportions matter.
    times_h : sequence of float, optional
        Time of every frame from t = 0, hours.
    outputs : TrackOutputs, optional
        Further files; by default the record of settings and of what was learned, beside the result.
    settings, progress, cancel :
        As for `napari_marrow.tracking.track_points`.

    Returns
    -------
    Tracking

    Raises
    ------
    PathMissingError, InputFileError
        If there is nothing to read, or no labels.
    PathExistsError
        If `out_dir` exists and is not empty.
    """
    out_dir = Path(out_dir)
    if out_dir.exists() and not (out_dir.is_dir() and not any(out_dir.iterdir())):
        raise PathExistsError(f"{out_dir} exists: give the name of a new folder, nothing is overwritten.")
    if out_dir.suffix.lower() == ".csv":
        raise SettingsError(f"'{out_dir}' is the name of a CSV, but label images give a folder: name a folder.")
    refuse_unusable(out_dir)
    outputs = outputs or TrackOutputs(beside(out_dir))
    outputs.check()
    frames = open_labels(paths)
    cancel = cancel or CancelToken()
    progress(0, len(frames), "reading labels")
    steps = tuple(spacing) if spacing is not None else (1.0,) * frames.ndim
    try:
        points = label_points(frames, spacing=steps, times_h=times_h, cancel=cancel)
    except (SettingsError, TableError) as error:
        first = frames.files[0].path
        raise type(error)(f"{first if len(frames.files) == 1 else first.parent}: {error}") from error
    tracking = track_points(points, settings=settings, progress=progress, cancel=cancel)
    t, label = points["t"].to_numpy(np.int64), points["label"].to_numpy(np.int64)
    tracks = ctc_tracks(t, tracking.track_id.astype(np.int64), tracking.parent_track_id.astype(np.int64))

    def on_frame(number: int) -> None:
        cancel.raise_if_cancelled()
        progress(number + 1, len(frames), "writing masks")

    if is_graph(out_dir):
        _write_graph(out_dir, points, tracking)
    else:
        write_ctc(out_dir, frames, t, label, tracks, n_frames=len(frames), on_frame=on_frame)
    outputs.write(tracking, points)
    return tracking


def track_points_file(
    csv_path: Path,
    out_csv: Path,
    *,
    settings: TrackingSettings | None = None,
    times_h: Sequence[float] | None = None,
    outputs: TrackOutputs | None = None,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> Tracking:
    """Track a CSV of points and write it again with ``track_id, parent_track_id, link_probability`` behind its columns.

    Rows keep their order and their text; a track without mother has the parent 0; the first row of a track has no link
    and an empty probability.

    Parameters
    ----------
    csv_path : Path
        Columns ``t, y, x``, optionally ``z``, ``time_h``, ``area`` and any measurements; separated by comma, semicolon
        or tab. A TrackMate file (``.xml``) gives its spots, a GEFF folder (``.geff``) its nodes.
    out_csv : Path
        New file: ``.csv``, ``.xml`` for TrackMate; or a new folder ``.geff``.
    times_h : sequence of float, optional
        Time of every frame from t = 0, hours.
    outputs : TrackOutputs, optional
        Further files; by default the record of settings and of what was learned, beside the result.
    settings, progress, cancel :
        As for `napari_marrow.tracking.track_points`.

    Returns
    -------
    Tracking

    Raises
    ------
    PathMissingError, PathExistsError, InputFileError, TableError
        One sentence on what is wrong.
    """
    csv_path, out_csv = Path(csv_path), Path(out_csv)
    if out_csv.exists():
        raise PathExistsError(f"{out_csv} exists: give the name of a new file, nothing is overwritten.")
    refuse_unusable(out_csv)
    outputs = outputs or TrackOutputs(beside(out_csv))
    outputs.check()
    if is_graph(csv_path):
        return _track_graph(csv_path, out_csv, settings, times_h, outputs, progress, cancel)
    header, rows, separator = read_rows(csv_path)
    there = [name for name in ADDED if name in header]
    if there:
        raise TableError(f"{csv_path} has the column(s) {', '.join(there)} already: rename or remove them first.")
    points = numeric_table(csv_path, header, rows)
    points = _timed(points, times_h, csv_path)
    try:
        tracking = track_points(points, settings=settings, progress=progress, cancel=cancel)
    except TableError as error:
        raise TableError(f"{csv_path}: {error}") from error
    if is_graph(out_csv):
        _write_graph(out_csv, points, tracking)
        outputs.write(tracking, points)
        return tracking
    added = zip(tracking.track_id, tracking.parent_track_id, tracking.link_probability, strict=True)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
    writer.writerow([*header, *ADDED])
    for row, (track, parent, chance) in zip(rows, added, strict=True):
        writer.writerow([*row, int(track), int(parent), "" if np.isnan(chance) else f"{chance:.4f}"])
    write_new(out_csv, text.getvalue())
    outputs.write(tracking, points)
    return tracking


def _track_graph(
    path: Path,
    out: Path,
    settings: TrackingSettings | None,
    times_h: Sequence[float] | None,
    outputs: TrackOutputs,
    progress: Progress,
    cancel: CancelToken | None,
) -> Tracking:
    """Track the points of a graph file: no text need be kept."""
    points = _timed(read_detections(path), times_h, path)
    try:
        tracking = track_points(points, settings=settings, progress=progress, cancel=cancel)
    except TableError as error:
        raise TableError(f"{path}: {error}") from error
    if is_graph(out):
        _write_graph(out, points, tracking)
    else:
        found = points.assign(
            track_id=tracking.track_id,
            parent_track_id=tracking.parent_track_id,
            link_probability=tracking.link_probability.round(4),
        )
        write_new(out, found.to_csv(index=False))
    outputs.write(tracking, points)
    return tracking


def _timed(points: pd.DataFrame, times_h: Sequence[float] | None, path: Path) -> pd.DataFrame:
    """Points with the time of their frames."""
    if times_h is None or len(points) == 0:
        return points
    if "time_h" in points.columns:
        raise TableError(f"{path} has a column 'time_h' already: leave the times out, or the column.")
    t = points["t"].to_numpy(np.float64) if "t" in points.columns else np.zeros(len(points))
    if not (np.isfinite(t).all() and t.min() >= 0 and t.max() < len(times_h)):
        raise TableError(f"{path} has frames from {t.min():g} to {t.max():g}, but {len(times_h)} times were given.")
    return points.assign(time_h=np.asarray(times_h, np.float64)[t.astype(np.int64)])


def _write_graph(out: Path, points: pd.DataFrame, tracking: Tracking) -> None:
    """Write a GEFF folder or a TrackMate file, by the ending of the name."""
    if out.suffix.lower() == ".xml":
        write_new(out, trackmate_text(points, tracking.edges, tracking.track_id, tracking.parent_track_id))
        return
    nodes = points.assign(
        track_id=tracking.track_id,
        parent_track_id=tracking.parent_track_id,
        start_probability=tracking.start_probability,
        end_probability=tracking.end_probability,
    )
    kinds = {"link": 0, "gap": 1, "division": 2}
    edges = tracking.edges.assign(kind=tracking.edges["kind"].map(kinds).astype(np.int64))
    write_geff(out, nodes, edges, extra={"edge_kinds": kinds})


def read_times(path: Path) -> list[float]:
    """Read a text file with the time of a frame, in hours, in every line.

    Raises
    ------
    PathMissingError, InputFileError
        If there is no file, or a line is no number, or times do not increase.
    """
    if not path.is_file():
        raise PathMissingError(f"There is no file {path}.")
    times: list[float] = []
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").split(), start=1):
        try:
            value = float(text)
        except ValueError as error:
            raise InputFileError(f"{path} has '{_shown(text)}' as time {number}: give hours, one per frame.") from error
        if not np.isfinite(value) or (times and value <= times[-1]):
            raise InputFileError(f"{path} has {text} as time {number}: times have to increase from frame to frame.")
        times.append(value)
    return times


def read_rows(path: Path) -> tuple[list[str], list[list[str]], str]:
    """Return the header, the rows as text and the separator of a CSV.

    Raises
    ------
    PathMissingError
        If there is no file.
    InputFileError
        If it is no text, empty, or rows differ in length.
    """
    if not path.is_file():
        raise PathMissingError(f"There is no file {path}.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputFileError(f"{path} is no text file: a CSV with a header line is needed.") from error
    if not text.strip():
        raise InputFileError(f"{path} is empty: a CSV with a header line is needed.")
    if "\0" in text:
        raise InputFileError(f"{path} is no text file: a CSV with a header line is needed.")
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    try:
        lines = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
    except csv.Error as error:
        raise InputFileError(f"{path} cannot be read as CSV: {error}.") from error
    header = [name.strip() for name in lines[0]]
    for number, row in enumerate(lines[1:], start=2):
        if len(row) != len(header):
            raise InputFileError(f"{path} has {len(row)} values in line {number} for {len(header)} columns.")
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise InputFileError(f"{path} has the column '{twice}' twice: name each differently.")
    return header, lines[1:], separator


def numeric_table(path: Path, header: list[str], rows: list[list[str]]) -> pd.DataFrame:
    """Return the columns of a CSV that hold numbers; ``t, y, x, z, time_h`` and ``area`` have to.

    Raises
    ------
    TableError
        If one of these holds something else.
    """
    table = {}
    for k, name in enumerate(header):
        text = pd.Series([row[k] for row in rows], dtype=object)
        values = pd.to_numeric(text, errors="coerce")
        spoiled = values.isna() & ~text.str.strip().str.lower().isin(
            ["", "nan", "na", "n/a", "null", "none", "inf", "-inf"]
        )
        if spoiled.any():
            if name in ("t", "y", "x", "z", "time_h", "area", "volume"):
                line = int(np.flatnonzero(spoiled.to_numpy())[0])
                raise TableError(
                    f"{path} has '{_shown(text.iloc[line])}' in column '{name}', line {line + 2}: a number is needed."
                )
            continue
        known = len(values) > 0 and bool(np.isfinite(values).all() and (values.abs() < 2**53).all())
        whole = known and bool((~text.str.contains(r"[.eE]")).all())
        table[name] = values.astype(np.int64 if whole else np.float64)
    return pd.DataFrame(table, index=range(len(rows)))


def _shown(text: str) -> str:
    """Return a value as one short line: an unclosed quote takes the rest of its file."""
    line = " ".join(text.split())
    return line if len(line) <= 40 else line[:40] + "..."

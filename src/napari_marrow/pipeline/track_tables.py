"""Tables of tracks in CSV files: whatever their columns are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import TableError
from napari_marrow.pipeline.track_files import numeric_table, read_rows

_TRACK_NAMES = ("track_id", "track", "TrackID", "cell_id", "id")
_PARENT_NAMES = ("parent_track_id", "parent", "parent_id", "mother", "mother_id")


def read_track_table(path: Path) -> pd.DataFrame:
    """Read a CSV of points with their tracks.

    Parameters
    ----------
    path : Path

    Returns
    -------
    DataFrame
        ``t, (z,) y, x, track_id, parent_track_id`` (0 for none), and the other columns that hold numbers.

    Raises
    ------
    PathMissingError, InputFileError
        If there is no such file, or it is no CSV.
    TableError
        If a column is missing, or a frame, a place or a track is no number.
    """
    header, rows, _ = read_rows(path)
    table = numeric_table(path, header, rows)
    track = next((name for name in _TRACK_NAMES if name in table.columns), None)
    missing = [c for c in ("t", "y", "x") if c not in table.columns]
    if missing or track is None:
        need = [*missing, *([] if track else ["track_id"])]
        raise TableError(f"{path} lacks the column(s) {', '.join(need)}: it has {header}.")
    parent = next((name for name in _PARENT_NAMES if name in table.columns), None)
    out = table[[c for c in ("t", "z", "y", "x") if c in table.columns]].copy()
    out["track_id"] = _whole_numbers(path, table, track)
    out["parent_track_id"] = _whole_numbers(path, table, parent) if parent else 0
    if not np.isfinite(out.to_numpy(np.float64)).all():
        raise TableError(f"{path} holds NaN or infinity in t, y or x: remove these rows.")
    out["t"] = _whole_numbers(path, table, "t")
    rest = [name for name in table.columns if name not in (*out.columns, track, parent)]
    return pd.concat([out, table[rest]], axis=1)


def _whole_numbers(path: Path, table: pd.DataFrame, name: str) -> npt.NDArray[np.int64]:
    """Return a column of frames or tracks; an empty cell is no track."""
    values = table[name].fillna(0)
    wrong = np.flatnonzero((values % 1 != 0) | (values.abs() >= 2**53))
    if len(wrong):
        raise TableError(f"{path} has {values.iloc[wrong[0]]:g} in column '{name}': a whole number is needed.")
    return values.to_numpy().astype(np.int64)

"""Trees that were annotated by hand or come from elsewhere: tracks and onsets from one table of cells."""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_marrow.errors import TableError
from napari_marrow.lineage.pedigree import BIRTHS, FATES, Pedigree
from napari_marrow.schemas import ONSETS, TRACKS


def annotated_trees(cells: pd.DataFrame) -> tuple[Pedigree, pd.DataFrame]:
    """Build a pedigree and its onsets from one row per cell.

    Parameters
    ----------
    cells : pandas.DataFrame
        track_id (1, 2, ...), start_h, end_h [h]; as far as known parent_track_id (0 or empty: none), fate (division,
        death, loss, exit, end), birth, position, session; and for cells in which a marker came on `lineage` with
        `onset_h` (exact), or `onset_left_h` and `onset_right_h` (last seen without, first seen with). An empty
        `onset_left_h` says that the cell had it when first seen. Where `fate` is empty, a cell with daughters divides,
        one seen to the last time of its position is at its end, and any other is lost.

    Returns
    -------
    pedigree : Pedigree
    onsets : pandas.DataFrame
        ONSETS table; descendants of a cell with an onset are positive by inheritance and have no row.

    Raises
    ------
    TableError
        If a column is missing, a value is no number, an onset has no lineage, or lies outside its cell's time.
    """
    missing = [c for c in ("track_id", "start_h", "end_h") if c not in cells.columns]
    if missing:
        raise TableError(f"The table of cells lacks the column(s) {', '.join(missing)}: it has {list(cells.columns)}.")
    table = _numbers(cells)
    pedigree = Pedigree.from_tracks(_tracks(table))
    return pedigree, _onsets(pedigree, table)


def _numbers(cells: pd.DataFrame) -> pd.DataFrame:
    table = cells.reset_index(drop=True).copy()
    defaults = {"parent_track_id": 0, "session": 1, "onset_h": np.nan, "onset_left_h": np.nan, "onset_right_h": np.nan}
    for column in ("track_id", "start_h", "end_h", *defaults):
        if column not in table.columns:
            table[column] = defaults[column]
        values = pd.to_numeric(table[column], errors="coerce")
        wrong = values.isna() & table[column].notna() & (table[column].astype(str).str.strip() != "")
        if wrong.any():
            raise TableError(f"'{table.loc[wrong, column].iloc[0]}' in the column {column} is no number.")
        table[column] = values.fillna(defaults[column]) if column in ("parent_track_id", "session") else values
    for column in ("position", "lineage", "fate", "birth"):
        if column not in table.columns:
            table[column] = "all" if column == "position" else ""
        table[column] = table[column].fillna("").astype(str).str.strip()
    for column in ("track_id", "start_h", "end_h"):
        if table[column].isna().any():
            raise TableError(f"The column {column} has an empty cell in row {int(table[column].isna().argmax()) + 1}.")
    for column, known in (("fate", FATES), ("birth", BIRTHS)):
        strange = ~table[column].isin([*known, ""])
        if strange.any():
            value = table.loc[strange, column].iloc[0]
            raise TableError(f"The {column} {value!r} is unknown: it must be one of {', '.join(known)}, or empty.")
    return table


def _tracks(table: pd.DataFrame) -> pd.DataFrame:
    place = ["position", "session"]
    mothers = set(zip(*(table[c] for c in (*place, "parent_track_id")), strict=True))
    cells = zip(*(table[c] for c in (*place, "track_id")), strict=True)
    has_daughters = np.array([cell in mothers for cell in cells], dtype=bool)
    last = table.groupby(place)["end_h"].transform("max")
    first = table.groupby(place)["start_h"].transform("min")
    guessed = np.where(has_daughters, "division", np.where(table["end_h"] >= last, "end", "loss"))
    begun = np.where(table["start_h"] <= first, "start", "appearance")
    born = np.where(table["parent_track_id"] > 0, "division", begun)
    out = table[[*place, "track_id", "parent_track_id", "start_h", "end_h"]].copy()
    out["birth"] = np.where(table["birth"] != "", table["birth"], born)
    out["fate"] = np.where(table["fate"] != "", table["fate"], guessed)
    out["founder_track_id"], out["generation"] = out["track_id"], 0  # Pedigree works them out
    out["t_start"], out["t_end"], out["n_nodes"], out["mean_probability"] = 0, 1, 2, 1.0
    return TRACKS.conform(out)


def _onsets(pedigree: Pedigree, table: pd.DataFrame) -> pd.DataFrame:
    start, end = table["start_h"].to_numpy(dtype=np.float64), table["end_h"].to_numpy(dtype=np.float64)
    exact = table["onset_h"].to_numpy(dtype=np.float64)
    left = np.where(np.isfinite(exact), exact, table["onset_left_h"].to_numpy(dtype=np.float64))
    right = np.where(np.isfinite(exact), exact, table["onset_right_h"].to_numpy(dtype=np.float64))
    named = (table["lineage"] != "").to_numpy()
    on = np.isfinite(right)
    for wrong, what in ((on & ~named, "an onset but no lineage"), (named & ~on, "a lineage but no time of onset")):
        if wrong.any():
            raise TableError(f"Cell {int(table.loc[wrong, 'track_id'].iloc[0])} has {what}.")
    outside = on & ((right > end + 1e-9) | (right < start - 1e-9) | (left > right))
    if outside.any():
        i = int(np.argmax(outside))
        raise TableError(
            f"The onset of cell {int(table['track_id'].iloc[i])} at {right[i]:g} h lies outside its time "
            f"({start[i]:g} to {end[i]:g} h), or ends before it begins."
        )
    mother = pedigree.mother
    inherited = np.zeros(len(table), dtype=bool)
    for level in pedigree.levels()[1:]:
        inherited[level] = (on | inherited)[mother[level]]
    prevalent = on & np.isnan(left)
    entry = np.where(mother >= 0, end[mother], start)
    out = pedigree.tracks[["position", "session", "track_id", "founder_track_id", "generation"]].copy()
    out["lineage"] = np.where(on, table["lineage"], "")
    out["event"] = np.where(prevalent, "prevalent", np.where(on, "onset", pedigree.tracks["fate"].astype(str)))
    out["entry_h"] = entry
    out["left_h"] = np.where(prevalent, -np.inf, np.where(on, np.maximum(left, entry), end))
    out["right_h"] = np.where(on, right, np.inf)
    out["followed_from_h"], out["followed_to_h"] = entry, end
    return ONSETS.conform(out[~inherited].reset_index(drop=True))

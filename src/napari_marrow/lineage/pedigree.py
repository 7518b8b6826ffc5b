"""Pedigrees: who is whose daughter, how each cell begins and how its record ends.

Everything is held as flat arrays over the rows of the tracks table (mother's row, founder's row, generation), so that
10^5 cells cost a few vector operations and no Python object per cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import TableError
from napari_marrow.schemas import TRACKS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

BIRTHS = ("division", "start", "entry", "appearance")
FATES = ("division", "end", "exit", "loss", "death")
CENSORING = {
    "division": "none",
    "death": "none",
    "end": "administrative",
    "exit": "exit",
    "loss": "loss",
}
"""How a record that ends with each fate is censored for the fates that it did not reach.

``administrative`` (the movie ends) is independent of the cell; ``exit`` and ``loss`` may not be (motile or dim cells
are lost more often), so they are kept apart."""


@dataclass(frozen=True, eq=False)
class Pedigree:
    """Division trees over the rows of a TRACKS table.

    Attributes
    ----------
    tracks : pandas.DataFrame
        The validated TRACKS table with index 0..n-1; its `generation` and `founder_track_id` are recomputed.
    mother : (n,) int64
        Row of the mother, -1 for none.
    founder : (n,) int64
        Row of the founder of the clone.
    generation : (n,) int64
        Divisions since the founder. The founder has 0; whether it had divided before the movie is not known.
    first_daughter, n_daughters : (n,) int64
        Daughters of row i are ``order[first_daughter[i] : first_daughter[i] + n_daughters[i]]``.
    order : (n,) int64
        Rows sorted by mother.
    """

    tracks: pd.DataFrame
    mother: Ints
    founder: Ints
    generation: Ints
    first_daughter: Ints
    n_daughters: Ints
    order: Ints

    @classmethod
    def from_tracks(cls, tracks: pd.DataFrame) -> Pedigree:
        """Validate a TRACKS table and build its trees.

        A track is named by (position, session, track_id); mothers are looked up within position and session, for no
        single cell is followed from one session into the next.

        Raises
        ------
        TableError
            If a track stands twice (two mothers), a mother is missing, a track is its own ancestor, times run
            backwards, a daughter starts before its mother ends, or a birth or fate is unknown.
        """
        table = TRACKS.conform(tracks).reset_index(drop=True)
        _check_rows(table)
        keys = _keys(table, "track_id", table)
        mother = _mothers(table, keys)
        order, first, count = _daughters(mother)
        founder, generation = _descend(table, mother, order, first, count)
        _check_times(table, mother)
        table["generation"] = generation.astype(np.int32)
        table["founder_track_id"] = table["track_id"].to_numpy()[founder].astype(np.int32)
        return cls(table, mother, founder, generation, first, count, order)

    def __len__(self) -> int:
        return len(self.mother)

    def rows_of(self, table: pd.DataFrame, column: str = "track_id") -> Ints:
        """Return the row of each (position, session, track) of another table, -1 where there is none."""
        keys = _keys(self.tracks, "track_id", self.tracks)
        wanted = _keys(table, column, self.tracks)
        sorter = np.argsort(keys, kind="stable")
        if len(keys) == 0:
            return np.full(len(wanted), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(keys, wanted, sorter=sorter), len(keys) - 1)
        rows = sorter[at]
        return np.where((keys[rows] == wanted) & (wanted >= 0), rows, -1).astype(np.int64)

    def levels(self) -> list[Ints]:
        """Rows of each generation, founders first: the order in which anything is inherited."""
        if len(self) == 0:
            return []
        by_generation = np.argsort(self.generation, kind="stable")
        cuts = np.cumsum(np.bincount(self.generation))[:-1]
        return [part.astype(np.int64) for part in np.split(by_generation, cuts)]

    def sisters(self) -> npt.NDArray[np.int64]:
        """Return the (m, 2) rows of each pair of sisters; a division with three daughters gives three pairs."""
        return _pairs_within(self.mother)

    def division_h(self) -> Floats:
        """Return the time of division of each track [h], NaN where it does not divide.

        A division lies between the mother's last and her daughters' first frame; the daughters' first frame is taken,
        as births are too, so that a cycle is not shortened by one frame interval. Without a daughter in the table it is
        the mother's last frame.
        """
        time = np.full(len(self), np.nan)
        divides = (self.tracks["fate"] == "division").to_numpy()
        time[divides] = self.tracks["end_h"].to_numpy()[divides]
        children = np.flatnonzero(self.mother >= 0)
        earliest = np.full(len(self), np.inf)
        np.minimum.at(earliest, self.mother[children], self.tracks["start_h"].to_numpy()[children])
        seen = divides & np.isfinite(earliest)
        time[seen] = earliest[seen]
        return time

    def lifetimes(self) -> pd.DataFrame:
        """Return one row per track: how long it was under observation and what ended it.

        Returns
        -------
        pandas.DataFrame
            position, session, track_id, founder_track_id, generation; `birth_seen` (bool: born by a division in the
            movie, so its age is known); `age_h` (time from its first frame to division or last frame); `entry_h` and
            `exit_h` (the same on the study's clock); `event` (division, death or ""); `censoring` (none,
            administrative, exit, loss).
        """
        table = self.tracks
        exit_h = table["end_h"].to_numpy(dtype=np.float64).copy()
        division = self.division_h()
        exit_h[np.isfinite(division)] = division[np.isfinite(division)]
        fate = table["fate"].astype(str)
        out = table[["position", "session", "track_id", "founder_track_id", "generation"]].copy()
        out["birth_seen"] = (table["birth"] == "division").to_numpy() & (self.mother >= 0)
        out["entry_h"] = table["start_h"].to_numpy(dtype=np.float64)
        out["exit_h"] = exit_h
        out["age_h"] = exit_h - out["entry_h"]
        out["event"] = fate.where(fate.isin(["division", "death"]), "").to_numpy()
        out["censoring"] = fate.map(CENSORING).to_numpy()
        return out


def _check_rows(table: pd.DataFrame) -> None:
    doubled = table.duplicated(["position", "session", "track_id"], keep=False)
    if doubled.any():
        row = table[doubled].iloc[0]
        same = (
            (table["position"] == row["position"])
            & (table["session"] == row["session"])
            & (table["track_id"] == row["track_id"])
        )
        mothers = sorted(set(table.loc[same, "parent_track_id"]))
        what = f"has the mothers {mothers}: a cell has one" if len(mothers) > 1 else "stands twice: keep one row"
        raise TableError(f"Track {row['track_id']} of {row['position']}, session {row['session']}, {what}.")
    for column, known in (("birth", BIRTHS), ("fate", FATES)):
        strange = ~table[column].isin(known)
        if strange.any():
            row = table[strange].iloc[0]
            raise TableError(f"Track {row['track_id']} has the {column} {row[column]!r}: it must be one of {known}.")
    if (table["track_id"] < 1).any() or (table["parent_track_id"] < 0).any():
        raise TableError("Track ids must be 1 or more, and parent_track_id 0 where there is no mother.")
    times = table[["start_h", "end_h"]].to_numpy(dtype=np.float64)
    wrong = ~np.isfinite(times).all(axis=1) | (times[:, 1] < times[:, 0])
    if wrong.any():
        row = table[wrong].iloc[0]
        raise TableError(
            f"Track {row['track_id']} runs from {row['start_h']} h to {row['end_h']} h: time goes forward."
        )


def _keys(table: pd.DataFrame, column: str, reference: pd.DataFrame) -> Ints:
    """One integer per (position, session, id) with the positions and sessions of a reference; -1 if not in there."""
    positions = pd.Index(pd.unique(reference["position"]))
    sessions = pd.Index(pd.unique(reference["session"]))
    width = int(reference["track_id"].max()) + 1 if len(reference) else 1
    places = table["position"].astype("category")
    to_code = positions.get_indexer(places.cat.categories)
    codes = places.cat.codes.to_numpy().astype(np.int64)
    place = np.where(codes >= 0, to_code[codes] if len(to_code) else -1, -1)
    session = sessions.get_indexer(pd.Index(table["session"]))
    ids = table[column].to_numpy(dtype=np.int64)
    known = (place >= 0) & (session >= 0) & (ids >= 1) & (ids < width)
    return np.where(known, (place * len(sessions) + session) * width + ids, -1).astype(np.int64)


def _mothers(table: pd.DataFrame, keys: Ints) -> Ints:
    wanted = _keys(table, "parent_track_id", table)
    mother = np.full(len(table), -1, dtype=np.int64)
    has = table["parent_track_id"].to_numpy() > 0
    if has.any():
        sorter = np.argsort(keys, kind="stable")
        at = np.minimum(np.searchsorted(keys, wanted[has], sorter=sorter), len(keys) - 1)
        rows = sorter[at]
        missing = keys[rows] != wanted[has]
        if missing.any():
            row = table[has].iloc[int(np.argmax(missing))]
            raise TableError(
                f"Track {row['track_id']} of {row['position']}, session {row['session']}, names the mother "
                f"{row['parent_track_id']}, which is not in the table: add it or set parent_track_id to 0."
            )
        mother[has] = rows
    return mother


def _daughters(mother: Ints) -> tuple[Ints, Ints, Ints]:
    order = np.argsort(mother, kind="stable").astype(np.int64)
    count = np.bincount(mother[mother >= 0], minlength=len(mother)).astype(np.int64)
    first = np.searchsorted(mother[order], np.arange(len(mother)), side="left").astype(np.int64)
    return order, first, count


def _descend(table: pd.DataFrame, mother: Ints, order: Ints, first: Ints, count: Ints) -> tuple[Ints, Ints]:
    """Walk down from the founders one generation at a time; what is never reached is its own ancestor."""
    founder = np.full(len(mother), -1, dtype=np.int64)
    generation = np.zeros(len(mother), dtype=np.int64)
    frontier = np.flatnonzero(mother < 0)
    founder[frontier] = frontier
    level = 0
    while frontier.size:
        generation[frontier] = level
        n = count[frontier]
        offsets = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        children = order[np.repeat(first[frontier], n) + offsets]
        founder[children] = founder[mother[children]]
        frontier = children
        level += 1
    lost = founder < 0
    if lost.any():
        row = table[lost].iloc[0]
        raise TableError(
            f"Track {row['track_id']} of {row['position']}, session {row['session']}, is its own ancestor: "
            "the pedigree has a cycle."
        )
    return founder, generation


def _check_times(table: pd.DataFrame, mother: Ints) -> None:
    child = np.flatnonzero(mother >= 0)
    start = table["start_h"].to_numpy()[child]
    end = table["end_h"].to_numpy()[mother[child]]
    wrong = start < end
    if wrong.any():
        row = table.iloc[int(child[np.argmax(wrong)])]
        raise TableError(
            f"Track {row['track_id']} starts at {row['start_h']} h, before its mother {row['parent_track_id']} ends "
            f"at {end[np.argmax(wrong)]} h: time goes forward."
        )


def _pairs_within(group: Ints) -> npt.NDArray[np.int64]:
    """All pairs of rows with the same group >= 0, each once."""
    order = np.argsort(group, kind="stable")
    order = order[group[order] >= 0]
    value = group[order]
    pairs = []
    step = 1
    while step < len(value):
        same = value[step:] == value[:-step]
        if not same.any():
            break
        pairs.append(np.column_stack([order[:-step][same], order[step:][same]]))
        step += 1
    return np.concatenate(pairs).astype(np.int64) if pairs else np.empty((0, 2), dtype=np.int64)

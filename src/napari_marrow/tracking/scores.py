"""Scores of tracks of points against truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from napari_marrow.errors import TableError
from napari_marrow.tracking.points import Floats, Ints


@dataclass(frozen=True)
class TrackScore:
    """Agreement of links and divisions with truth.

    Attributes
    ----------
    n_true, n_predicted, n_right : int
        Links (from each detection of a track to the next, and from mothers to daughters).
    divisions_true, divisions_predicted, divisions_right : int
        A division is right if both daughters are and the mother is off by no more than one frame.
    """

    n_true: int
    n_predicted: int
    n_right: int
    divisions_true: int
    divisions_predicted: int
    divisions_right: int

    @property
    def precision(self) -> float:
        """Share of predicted links that are right, NaN without any."""
        return self.n_right / self.n_predicted if self.n_predicted else float("nan")

    @property
    def recall(self) -> float:
        """Share of true links that were found, NaN without any."""
        return self.n_right / self.n_true if self.n_true else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, NaN without links on either side."""
        total = self.n_true + self.n_predicted
        return 2 * self.n_right / total if total else float("nan")

    @property
    def division_f1(self) -> float:
        """F1 of divisions, NaN without any on either side."""
        total = self.divisions_true + self.divisions_predicted
        return 2 * self.divisions_right / total if total else float("nan")


def links_of(t: Ints, track: Ints, parent: Ints) -> tuple[Ints, Ints]:
    """Links of a table of tracks: (e, 2) rows within tracks, (m, 2) rows from mothers' last to daughters' first rows.

    Parameters
    ----------
    t, track, parent : (n,) int64
        Frame, track and the track's mother (0 for none) of every row; rows of track 0 stand alone.
    """
    rows = np.flatnonzero(track > 0)
    order = rows[np.lexsort((t[rows], track[rows]))]
    same = track[order][1:] == track[order][:-1]
    within = np.column_stack([order[:-1][same], order[1:][same]])
    begins = order[np.concatenate([[True], ~same])] if len(order) else order
    ends = order[np.concatenate([~same, [True]])] if len(order) else order
    born = begins[parent[begins] > 0]
    known = track[ends]
    at = np.searchsorted(known, parent[born])
    ok = (at < len(known)) & (known[np.minimum(at, max(len(known) - 1, 0))] == parent[born]) if len(known) else at < 0
    mothers = ends[at[ok]]
    later = t[born[ok]] > t[mothers]
    return within, np.column_stack([mothers[later], born[ok][later]])


def tracks_of(t: Ints, links: Ints) -> tuple[Ints, Ints]:
    """Tracks of a graph: the inverse of `links_of`.

    A detection goes on in its track as long as it has one successor, which has one predecessor. A daughter begins a
    track with the mother's as parent; what several detections lead to begins one whose parent is the first of theirs.

    Parameters
    ----------
    t : (n,) int64
    links : (e, 2) int64
        Rows, the earlier one first.

    Returns
    -------
    track, parent : (n,) int64
        Numbered from 1 by the first frame, then by row; parent 0 for none.
    """
    n = len(t)
    links = np.unique(links.reshape(-1, 2), axis=0)
    source, target = links[:, 0], links[:, 1]
    alone = (np.bincount(source, minlength=n)[source] == 1) & (np.bincount(target, minlength=n)[target] == 1)
    previous = np.full(n, -1, np.int64)
    previous[target[alone]] = source[alone]
    mother = np.full(n, -1, np.int64)
    others = links[~alone][::-1]  # the first of several stays
    mother[others[:, 1]] = others[:, 0]
    track = np.zeros(n, np.int64)
    begins = 0
    for row in np.argsort(t, kind="stable"):
        if previous[row] >= 0:
            track[row] = track[previous[row]]
        else:
            begins += 1
            track[row] = begins
    of_track = np.zeros(begins + 1, np.int64)
    born = np.flatnonzero(mother >= 0)
    of_track[track[born]] = track[mother[born]]
    return track, of_track[track]


def score_tracks(truth: pd.DataFrame, predicted: pd.DataFrame, *, max_gap: int | None = None) -> TrackScore:
    """Score predicted tracks on the same detections.

    Parameters
    ----------
    truth, predicted : DataFrame
        Row by row the same detections: ``t, track_id, parent_track_id`` (0 for none). Rows of truth with ``track_id`` 0
        are false detections.
    max_gap : int, optional
        Links of truth over more frames do not count: no tracker is asked for them.

    Returns
    -------
    TrackScore

    Raises
    ------
    TableError
        If the tables have not the same frames row by row, or lack a column.
    """
    a, b = _arrays(truth, "true"), _arrays(predicted, "predicted")
    if not np.array_equal(a[0], b[0]):
        raise TableError(
            "True and predicted tracks have not the same frames row by row: they must list the same detections."
        )
    n = len(a[0])
    true_links, true_born = links_of(*a)
    if max_gap is not None:
        true_links, true_born = (x[a[0][x[:, 1]] - a[0][x[:, 0]] <= max_gap] for x in (true_links, true_born))
    links, born = links_of(*b)
    true_keys = _keys(np.concatenate([true_links, true_born]), n)
    keys = _keys(np.concatenate([links, born]), n)
    right = int(np.isin(keys, true_keys).sum())
    found, n_true, n_found = _divisions(a, true_born, b[0], born)
    return TrackScore(len(true_keys), len(keys), right, n_true, n_found, found)


def _arrays(table: pd.DataFrame, kind: str) -> tuple[Ints, Ints, Ints]:
    missing = [c for c in ("t", "track_id", "parent_track_id") if c not in table.columns]
    if missing:
        raise TableError(f"The table of {kind} tracks lacks the column(s) {', '.join(missing)}.")
    t, track, parent = (table[c].to_numpy(dtype=np.int64) for c in ("t", "track_id", "parent_track_id"))
    return t, track, parent


def _keys(links: Ints, n: int) -> Ints:
    return np.asarray(links[:, 0] * n + links[:, 1])


def _divisions(truth: tuple[Ints, Ints, Ints], true_born: Ints, t: Ints, born: Ints) -> tuple[int, int, int]:
    """Right, true and predicted divisions (mothers with two daughters)."""
    track = truth[1]
    true = {}
    for mother, kids in _families(true_born):
        true[frozenset(track[kids].tolist())] = int(truth[0][mother])
    right = predicted = 0
    for mother, kids in _families(born):
        predicted += 1
        pair = frozenset(track[kids].tolist())
        if pair in true and abs(true[pair] - int(t[mother])) <= 1:
            right += 1
            del true[pair]
    return right, len({m for m, _ in _families(true_born)}), predicted


def _families(born: Ints) -> list[tuple[int, Ints]]:
    order = np.argsort(born[:, 0], kind="stable")
    mothers, start = np.unique(born[order, 0], return_index=True)
    groups = np.split(born[order, 1], start[1:]) if len(mothers) else []
    return [(int(m), g) for m, g in zip(mothers, groups, strict=True) if len(g) == 2]


def match_rows(truth: tuple[Ints, Floats], found: tuple[Ints, Floats], limit: float) -> Ints:
    """For every true point the nearest found one of its frame within `limit`, each at most once; -1 for none.

    Parameters
    ----------
    truth, found : (t (n,), xyz (n, d))
    limit : float
        Largest distance, in the unit of the coordinates.

    Returns
    -------
    (n,) int64
        Rows of `found`.
    """
    from scipy.spatial import cKDTree

    out = np.full(len(truth[0]), -1, np.int64)
    for frame in np.unique(truth[0]):
        mine, theirs = np.flatnonzero(truth[0] == frame), np.flatnonzero(found[0] == frame)
        if len(theirs) == 0:
            continue
        pairs = cKDTree(truth[1][mine]).sparse_distance_matrix(cKDTree(found[1][theirs]), limit, output_type="ndarray")
        taken = set()
        for k in np.lexsort((pairs["j"], pairs["i"], pairs["v"])):
            i, j = mine[pairs["i"][k]], int(theirs[pairs["j"][k]])
            if out[i] < 0 and j not in taken:
                out[i] = j
                taken.add(j)
    return out

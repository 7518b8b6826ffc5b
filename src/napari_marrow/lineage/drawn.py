"""Pedigrees drawn from the probabilities of their links: how much of a result hangs on tracking.

The most probable tracks are one guess. Here every link is kept with its probability; a wrong one is exchanged with that
of the nearest neighbour, or cut where there is none near enough, and everything is computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import TRACK_EDGES, TRACKS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Result = TypeVar("Result")
_NODE = ["position", "session", "t", "label"]
_TRACK = ["position", "session", "track_id"]


@dataclass(frozen=True, eq=False)
class DrawnPedigree:
    """One possible history: TRACKS table, and the nodes with the `track_id` that they have in it."""

    tracks: pd.DataFrame
    nodes: pd.DataFrame


class PedigreeDraws:
    """Draws pedigrees from link probabilities.

    Parameters
    ----------
    tracks : pandas.DataFrame
        TRACKS table, the most probable one.
    nodes : pandas.DataFrame
        TRACK_NODES, with any further columns (intensities), and `y`, `x` [µm] for exchanges between neighbours.
    edges : pandas.DataFrame
        TRACK_EDGES with the probability of each; NaN counts as certain (links confirmed by a person).
    losses : pandas.DataFrame, optional
        LOSSES table: lost cells die with their probability instead of by the most probable call; those that could not
        be judged die with the mean probability of the others.
    reach : float, optional
        Furthest neighbour that a cell is exchanged with [µm]; by default twice the 99th percentile of the steps.

    Raises
    ------
    TableError
        If an edge names a node that is not there, a node has two parents, or a probability is none.

    Notes
    -----
    Cells that segmentation missed or invented are not drawn: nothing gives their probability. Links are drawn
    independently but for pairs that exchange with each other, which understates how often one crowded frame spoils
    several.
    """

    def __init__(
        self,
        tracks: pd.DataFrame,
        nodes: pd.DataFrame,
        edges: pd.DataFrame,
        *,
        losses: pd.DataFrame | None = None,
        reach: float | None = None,
    ) -> None:
        self.tracks = TRACKS.conform(tracks).reset_index(drop=True)
        self.nodes = nodes.sort_values(["position", "session", "t"], kind="stable").reset_index(drop=True)
        table = TRACK_EDGES.conform(edges)
        place = pd.MultiIndex.from_frame(self.nodes[_NODE])
        if place.has_duplicates:
            raise TableError("A cell stands twice among the track nodes: one frame and label is one node.")
        ends = [
            place.get_indexer(pd.MultiIndex.from_frame(table[["position", "session", f"t_{side}", f"label_{side}"]]))
            for side in ("parent", "child")
        ]
        known = (ends[0] >= 0) & (ends[1] >= 0)
        if not known.all() and len(tracks) == tracks["track_id"].nunique():
            # Edges of tracks that were left out as too short go with them.
            table, ends = table[known], [e[known] for e in ends]
        self.parent_node, self.child_node = (e.astype(np.int64) for e in ends)
        if len(np.unique(self.child_node)) < len(self.child_node):
            raise TableError("A track node has two parents: a cell has one.")
        p = table["probability"].to_numpy(dtype=np.float64)
        self.probability = np.where(np.isfinite(p), p, 1.0)
        if ((self.probability < 0) | (self.probability > 1)).any():
            raise TableError("Link probabilities must lie between 0 and 1.")
        self.division = (table["kind"] == "division").to_numpy()
        named = pd.MultiIndex.from_frame(self.tracks[_TRACK])
        # A track is named within position and session: its row in the table is the one number that names it everywhere.
        self._row = named.get_indexer(pd.MultiIndex.from_frame(self.nodes[_TRACK]))
        self._partner = self._nearest_links(reach)
        self._paired = (self._partner >= 0) & (self._partner[self._partner] == np.arange(len(self._partner)))
        self._mutual = np.flatnonzero(self._paired)
        self._last_fate = self._fates(losses)

    @property
    def expected_wrong(self) -> float:
        """Expected number of wrong links."""
        return float((1 - self.probability).sum())

    def draw(self, rng: np.random.Generator) -> DrawnPedigree:
        """Draw one pedigree."""
        chance = rng.random(len(self.probability))
        # Two links that would be exchanged with each other are wrong together: one number decides for both.
        chance[self._mutual] = chance[np.minimum(self._mutual, self._partner[self._mutual])]
        wrong = chance >= self.probability
        parent = self.parent_node.copy()
        taken = np.zeros(len(parent), dtype=bool)
        cut = np.zeros(len(parent), dtype=bool)
        for edge in np.flatnonzero(wrong):
            if taken[edge]:
                continue
            other = self._partner[edge]
            # Of a pair whose links are not equally sure, the less sure one may be wrong by itself.
            alone = self._paired[edge] and not wrong[other]
            if other >= 0 and not taken[other] and not self.division[edge] and not alone:
                parent[edge], parent[other] = parent[other], parent[edge]
                taken[edge] = taken[other] = True
            else:
                cut[edge] = True
        return self._rebuild(parent[~cut], self.child_node[~cut], rng)

    def _nearest_links(self, reach: float | None) -> Ints:
        """For each link the one of the nearest other cell in the same step, -1 where none is within reach."""
        partner = np.full(len(self.parent_node), -1, dtype=np.int64)
        if not {"y", "x"} <= set(self.nodes.columns) or len(partner) == 0:
            return partner
        from scipy.spatial import cKDTree

        columns = [c for c in ("z", "y", "x") if c in self.nodes.columns]
        places = self.nodes[columns].to_numpy(dtype=np.float64)
        step = np.linalg.norm(places[self.child_node] - places[self.parent_node], axis=1)
        furthest = 2 * float(np.quantile(step, 0.99)) if reach is None else reach
        links = np.flatnonzero(~self.division)
        t = self.nodes["t"].to_numpy()
        frame = self.nodes.groupby(["position", "session"], sort=False).ngroup().to_numpy()
        key = np.column_stack([frame[self.parent_node], t[self.parent_node], t[self.child_node]])[links]
        _, group = np.unique(key, axis=0, return_inverse=True)
        group = group.ravel()
        # Steps are set far apart along one more axis: one tree finds neighbours within each of them.
        apart = np.column_stack([places[self.parent_node[links]], group * (10.0 * furthest + 1.0)])
        distance, nearest = cKDTree(apart).query(apart, k=2, distance_upper_bound=furthest + 1e-9)
        found = np.isfinite(distance[:, 1])
        partner[links[found]] = links[nearest[found, 1]]
        return partner

    def _fates(self, losses: pd.DataFrame | None) -> tuple[npt.NDArray[np.object_], Floats]:
        """Fate of each node that was the last of its track, and its probability of death; "" for others."""
        fate = np.full(len(self.nodes), "", dtype=object)
        death = np.full(len(self.nodes), np.nan)
        # Nodes are in order of time within a session, so the last writer of a track is its last node.
        last = np.full(len(self.tracks), -1, dtype=np.int64)
        inside = self._row >= 0
        last[self._row[inside]] = np.flatnonzero(inside)
        has = last >= 0
        fate[last[has]] = self.tracks["fate"].to_numpy()[has]
        if losses is not None and len(losses):
            named = pd.MultiIndex.from_frame(self.tracks[_TRACK])
            row = named.get_indexer(pd.MultiIndex.from_frame(losses[_TRACK]))
            usable = (row >= 0) & has[row]
            probability = losses["death_probability"].to_numpy(dtype=np.float64)[usable]
            # Losses that nobody could judge die as often as those that could be: left out, they would all have lived.
            judged = np.isfinite(probability)
            share = float(probability[judged].mean()) if judged.any() else np.nan
            death[last[row[usable]]] = np.where(judged, probability, share)
        return fate, death

    def _rebuild(self, parent: Ints, child: Ints, rng: np.random.Generator) -> DrawnPedigree:
        n = len(self.nodes)
        parent_of = np.full(n, -1, dtype=np.int64)
        parent_of[child] = parent
        children = np.bincount(parent, minlength=n)
        starts = (parent_of < 0) | (children[parent_of] > 1)
        root = np.where(starts, np.arange(n), parent_of)
        while True:
            up = root[root]
            if np.array_equal(up, root):
                break
            root = up
        first = np.flatnonzero(starts)
        number = np.zeros(n, dtype=np.int64)
        number[first] = np.arange(1, len(first) + 1)
        track = number[root]
        nodes = self.nodes.assign(track_id=track.astype(np.int32))
        return DrawnPedigree(self._summarise(track, first, parent_of, children, rng), nodes)

    def _summarise(
        self, track: Ints, first: Ints, parent_of: Ints, children: Ints, rng: np.random.Generator
    ) -> pd.DataFrame:
        n = len(first)
        # Nodes are in order of time within a session, so the last writer of a track is its last node.
        last = np.zeros(n, dtype=np.int64)
        last[track - 1] = np.arange(len(track))
        mother = parent_of[first]
        by_division = mother >= 0
        fate, death = self._last_fate
        dies = rng.random(len(death)) < np.where(np.isfinite(death), death, -1.0)
        end = fate[last]
        drawn = np.isfinite(death[last]) & np.isin(end.astype(str), ["loss", "death"])
        end = np.where(drawn, np.where(dies[last], "death", "loss"), end)
        end = np.where(children[last] > 1, "division", np.where((end == "") | (end == "division"), "loss", end))
        before = self._row[first]
        old_start = np.where(before >= 0, self.tracks["t_start"].to_numpy()[before], -1)
        old_birth = np.where(before >= 0, self.tracks["birth"].astype(str).to_numpy()[before], "appearance")
        t = self.nodes["t"].to_numpy()
        same = (t[first] == old_start) & (old_birth != "division")
        birth = np.where(by_division, "division", np.where(same, old_birth, "appearance"))
        hours = self.nodes["time_h"].to_numpy(dtype=np.float64)
        table = self.nodes.loc[first, ["position", "session"]].reset_index(drop=True)
        table["track_id"] = np.arange(1, n + 1)
        table["parent_track_id"] = np.where(by_division, track[mother], 0)
        table["founder_track_id"], table["generation"] = table["track_id"], 0  # Pedigree works them out
        table["t_start"], table["t_end"] = t[first], t[last]
        table["start_h"], table["end_h"] = hours[first], hours[last]
        table["birth"], table["fate"] = birth, end
        table["n_nodes"] = np.bincount(track - 1, minlength=n)
        table["mean_probability"] = 1.0
        return TRACKS.conform(table)


def drawn_results(
    draws: PedigreeDraws,
    compute: Callable[[DrawnPedigree], Result],
    *,
    n_draws: int = 20,
    seed: int = 0,
    cancel: CancelToken | None = None,
) -> list[Result]:
    """Compute something for each of several drawn pedigrees.

    Parameters
    ----------
    draws : PedigreeDraws
    compute : callable
        From a drawn pedigree to a table, always with the same key columns, or to several.
    n_draws, seed
        Number of pedigrees, 2 or more, and seed.
    cancel : CancelToken, optional
    """
    if n_draws < 2:
        raise SettingsError(f"n_draws is {n_draws}: the scatter of pedigrees needs 2 or more.")
    return list(_each(draws, compute, n_draws, seed, cancel))


def _each(
    draws: PedigreeDraws,
    compute: Callable[[DrawnPedigree], Result],
    n_draws: int,
    seed: int,
    cancel: CancelToken | None,
) -> Iterator[Result]:
    for i in range(n_draws):
        if cancel is not None:
            cancel.raise_if_cancelled()
        yield compute(draws.draw(np.random.default_rng([seed, i])))

"""Tracks of a session that is being edited: which track each cell belongs to, renewed only where an edit reached.

Knows no Qt.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.gui.lazy_labels import TrackLookup
from napari_marrow.tracking.edit_graph import Change, Node, TrackGraph


class Numbering:
    """Numbers the tracks of one session as `tracking.curation.curated_tables` does, an edit at a time.

    A track keeps its number as long as its first cell is the first one with it; a piece that came off gets a new one.
    An edit costs the pedigrees that it touches, whatever the size of the session.

    Parameters
    ----------
    nodes : DataFrame
        Rows of `track_nodes` of one session: session, t, label, track_id.
    graph : TrackGraph
        The tracks as they stand.
    """

    def __init__(self, nodes: pd.DataFrame, graph: TrackGraph) -> None:
        self._columns = [nodes[name].to_numpy(np.int64) for name in ("session", "t", "label")]
        keys = [Node(*row) for row in zip(*(c.tolist() for c in self._columns), strict=True)]
        self.row = {key: k for k, key in enumerate(keys)}
        self.original: npt.NDArray[np.int64] = nodes["track_id"].to_numpy(np.int64)
        self.track = self.original.copy()
        self.present = np.array([key in graph.nodes for key in keys], dtype=bool)
        self._fresh = int(self.track.max(initial=0)) + 1
        self._begins: dict[int, Node] = {}
        for key in keys:
            number = int(self.track[self.row[key]])
            if number not in self._begins or key < self._begins[number]:
                self._begins[number] = key

    def update(self, graph: TrackGraph, touched: set[Node]) -> None:
        """Renew the pedigrees that hold one of some cells.

        Parameters
        ----------
        graph : TrackGraph
        touched : set of Node
            Cells of the change, as `Change.touched` returns them.
        """
        here = {node for node in touched if node in self.row}
        for node in here:
            self.present[self.row[node]] = node in graph.nodes
        concerned = {node for node in graph.component(here) if node in self.row}
        for number in {int(self.track[self.row[node]]) for node in concerned}:
            if self._begins.get(number) in concerned:
                del self._begins[number]
        for node in sorted(concerned & graph.nodes):
            parents = [p for p in graph.parents(node) if graph.edges[(p, node)].kind != "division"]
            if parents and parents[0] in self.row:
                self.track[self.row[node]] = self.track[self.row[parents[0]]]
                continue
            number = int(self.original[self.row[node]])
            if number in self._begins:
                number, self._fresh = self._fresh, self._fresh + 1
            self._begins[number] = node
            self.track[self.row[node]] = number

    def table(self) -> pd.DataFrame:
        """Return session, t, label and track_id of every cell that is there."""
        session, t, label = (column[self.present] for column in self._columns)
        return pd.DataFrame({"session": session, "t": t, "label": label, "track_id": self.track[self.present]})

    def lookup(self, n_frames: int) -> TrackLookup:
        """Return the track of each label of each frame."""
        return TrackLookup(self.table(), n_frames)

    def node_of(self, t: int, track_id: int) -> Node | None:
        """Return the cell of a track in a frame, None where it was not seen."""
        rows = np.flatnonzero((self.track == track_id) & (self._columns[1] == t) & self.present)
        return Node(*(int(column[rows[0]]) for column in self._columns)) if len(rows) else None

    def track_of(self, node: Node) -> int:
        """Return the track of a cell, 0 where it is none."""
        k = self.row.get(node)
        return int(self.track[k]) if k is not None and self.present[k] else 0

    def graph_of(self, graph: TrackGraph) -> dict[int, list[int]]:
        """Return napari's graph of tracks: daughter to mother."""
        found: dict[int, list[int]] = {}
        for (mother, daughter), edge in graph.edges.items():
            if edge.kind == "division" and mother in self.row and daughter in self.row:
                found[self.track_of(daughter)] = [self.track_of(mother)]
        return found


def touched_by(changes: list[Change]) -> set[Node]:
    """Return every cell that some changes concern."""
    return set().union(*(change.touched() for change in changes)) if changes else set()

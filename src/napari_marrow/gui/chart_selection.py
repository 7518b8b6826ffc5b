"""Charts share the window's selection: a lasso selects in the image, what is picked elsewhere stands out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from qtpy.QtCore import QObject, Signal

from napari_marrow.gui.colony_place import colony_tracks
from napari_marrow.gui.selection import Crowd, Selection
from napari_marrow.tracking.edit_graph import Node

if TYPE_CHECKING:
    from napari_marrow.gui.chart_panel import ChartPanel
    from napari_marrow.gui.curation import Curation
    from napari_marrow.gui.session_view import SessionView

Rows = npt.NDArray[np.int64]
_ONE_BY_ONE = 20


class ChartSelection(QObject):
    """Connects the handles of charts with what is selected in the session on display.

    Parameters
    ----------
    selection : Selection
    view : SessionView
    curation : callable
        Returns the session's tracks as they stand, None where there are none.
    panels : sequence of ChartPanel

    Signals
    -------
    said : str
        What a lasso has selected, or why nothing.
    picked : (str, int, Node)
        Position, session and cell of a point that was clicked.
    """

    said = Signal(str)
    picked = Signal(str, int, object)

    def __init__(
        self,
        selection: Selection,
        view: SessionView,
        curation: Callable[[], Curation | None],
        panels: Sequence[ChartPanel],
    ) -> None:
        super().__init__(panels[0])
        self._selection, self._view, self._curation = selection, view, curation
        self._panels = tuple(panels)
        self._founder: dict[int, int] = {}
        self._clone: dict[int, list[int]] = {}
        self._colonies: dict[int, frozenset[int]] = {}
        self._state: tuple[Any, Any] = (None, None)
        for panel in self._panels:
            panel.plot.lassoed.connect(partial(self._on_lasso, panel))
            panel.plot.handled.connect(partial(self._on_click, panel))
            panel.plot.drawn.connect(partial(self._mark, panel))
        selection.changed.connect(self.renew)

    def set_tracks(self, tracks: pd.DataFrame | None) -> None:
        """Take over the tracks of the session on display, each with the founder of its clone.

        Parameters
        ----------
        tracks : DataFrame or None
            Rows of the table `tracks`.
        """
        self._founder = {}
        if tracks is not None and len(tracks):
            pairs = tracks[["track_id", "founder_track_id"]].astype(np.int64)
            self._founder = dict(zip(pairs["track_id"].tolist(), pairs["founder_track_id"].tolist(), strict=True))
        self._clone = {}
        for track, founder in self._founder.items():
            self._clone.setdefault(founder, []).append(track)
        self.renew()

    def renew(self) -> None:
        """Bring out in every chart what is selected now."""
        for panel in self._panels:
            self._mark(panel)

    # --- from the charts

    def _on_lasso(self, panel: ChartPanel, rows: Rows, more: bool) -> None:
        handles = panel.chart.handles
        here = rows[self._here(handles)[rows]]
        if len(rows) and not len(here):
            self.said.emit("Nothing of this is in the session on display: choose the session that the plot is of.")
            return
        if more:
            here = np.union1d(here, self._selected(handles))
        if "label" in handles:
            self._select_cells(handles.iloc[here])
            self.said.emit(f"{len(here)} cells selected.")
            return
        tracks: set[int] = set()
        for row in handles.iloc[here].itertuples(index=False):
            tracks.update(self._tracks_of(row))
        self._selection.select(tracks=tracks)
        what = "colonies" if "colony" in handles else "clones"
        things = handles.iloc[here][["position", "colony"]].drop_duplicates() if "colony" in handles else here
        self.said.emit(f"{len(things)} {what}, {len(tracks)} tracks selected.")

    def _on_click(self, panel: ChartPanel, row: int, more: bool) -> None:
        handles = panel.chart.handles
        if row < 0:
            if not more:
                self._selection.clear()
            return
        if more or "founder" in handles:
            places = handles[["x", "y"]].to_numpy(np.float64)
            alike = (places == places[row]).all(axis=1)
            self._on_lasso(panel, np.flatnonzero(alike) if "founder" in handles else np.array([row]), more)
            return
        cell = handles.iloc[row]
        self.picked.emit(
            str(cell["position"]), int(cell["session"]), Node(int(cell["session"]), int(cell["t"]), int(cell["label"]))
        )

    def _select_cells(self, chosen: pd.DataFrame) -> None:
        nodes = [Node(*map(int, row)) for row in chosen[["session", "t", "label"]].itertuples(index=False)]
        curation = self._curation()
        tracks = [0 if curation is None else curation.numbering.track_of(node) for node in nodes]
        known = {track for track in tracks if track}
        if len(nodes) <= _ONE_BY_ONE and all(tracks):
            self._selection.select(nodes, known)
            return
        rows = [None if curation is None else curation.row_of(node) for node in nodes]
        place = chosen[["x", "y"]].to_numpy(np.float64)[:, ::-1]
        depth = np.array([float(row["z"]) if row is not None else 0.0 for row in rows])
        area = np.array([float(row["area"]) if row is not None else np.nan for row in rows])
        t, label = (chosen[name].to_numpy(np.int64) for name in ("t", "label"))
        self._selection.select_crowd(Crowd(t, label, np.column_stack([depth, place]), area), known)

    def _tracks_of(self, row: Any) -> frozenset[int] | list[int]:
        if hasattr(row, "colony"):
            return self._tracks_by_colony().get(int(row.colony), frozenset())
        return self._clone.get(int(row.founder), [])

    # --- into the charts

    def _mark(self, panel: ChartPanel) -> None:
        handles = panel.chart.handles
        if len(handles):
            panel.plot.mark(self._selected(handles))

    def _here(self, handles: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """Return which handles are of the position on display, and of its session where they are of one."""
        place = self._view.place()
        if place is None:
            return np.zeros(len(handles), bool)
        here = (handles["position"] == place[1]).to_numpy(bool)
        if "session" in handles:
            here &= (handles["session"] == place[2]).to_numpy(bool)
        return here

    def _selected(self, handles: pd.DataFrame) -> Rows:
        chosen = self._selection
        if not (chosen.tracks or chosen.cells or len(chosen.crowd)):
            return np.zeros(0, np.int64)
        here = self._here(handles)
        if "label" in handles:
            return np.flatnonzero(here & self._selected_cells(handles)) if here.any() else np.zeros(0, np.int64)
        if "colony" in handles:
            wanted = {colony for colony, tracks in self._tracks_by_colony().items() if tracks & chosen.tracks}
            return np.flatnonzero(here & handles["colony"].isin(wanted).to_numpy(bool))
        founders = {self._founder[track] for track in chosen.tracks if track in self._founder}
        return np.flatnonzero(here & handles["founder"].isin(founders).to_numpy(bool))

    def _selected_cells(self, handles: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """Return which cells are selected, or belong to a selected track where no cell of this frame was picked."""
        crowd, frame = self._selection.crowd, int(handles["t"].iloc[0])
        labels = {cell.label for cell in self._selection.cells if cell.t == frame}
        labels |= set(crowd.label[crowd.in_frame(frame)].tolist())
        curation = self._curation()
        if labels or curation is None or len(crowd):
            return handles["label"].isin(labels).to_numpy(bool)
        tracks = [
            curation.numbering.track_of(Node(*map(int, row)))
            for row in handles[["session", "t", "label"]].itertuples(index=False)
        ]
        return np.isin(tracks, list(self._selection.tracks))

    def _tracks_by_colony(self) -> dict[int, frozenset[int]]:
        colonies, tracks = self._view.layer("colonies"), self._view.layer("tracks")
        if colonies is None or tracks is None:
            return {}
        state = colonies.metadata["marrow"], tracks.metadata["marrow"]  # other ones whenever a layer's data are others
        if self._state[0] is not state[0] or self._state[1] is not state[1]:
            self._state, self._colonies = state, colony_tracks(colonies, tracks)
        return self._colonies

"""Leads to cells, tracks and colonies of a study, wherever they were picked: the frame, the place, the selection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_marrow.gui.colony_place import find_colony
from napari_marrow.gui.napari_names import camera
from napari_marrow.gui.track_window import every_vertex

if TYPE_CHECKING:
    import napari

    from napari_marrow.gui.canvas_picks import CanvasPicks
    from napari_marrow.gui.charts import Pick
    from napari_marrow.gui.selection import Selection
    from napari_marrow.gui.session_view import SessionView
    from napari_marrow.tracking.edit_graph import Node


class Navigation(QObject):
    """Moves the view of one study.

    Parameters
    ----------
    parent : QObject
    viewer : napari.Viewer
    view : SessionView
    selection : Selection
    picks : CanvasPicks

    Signals
    -------
    place_asked : (str, int)
        What was picked lies in this position and session, which has to be shown first; `go_on` goes there afterwards.
    said : str
        What was found.
    """

    place_asked = Signal(str, int)
    said = Signal(str)

    def __init__(
        self, parent: QObject, viewer: napari.Viewer, view: SessionView, selection: Selection, picks: CanvasPicks
    ) -> None:
        super().__init__(parent)
        self._viewer, self._view, self._selection, self._picks = viewer, view, selection, picks
        self._wanted_colony: Pick | None = None
        self._wanted_cell: tuple[str, int, Node] | None = None

    def to_track(self, track_id: int, time_h: float) -> None:
        """Go to a cell: its frame, its place in the middle, its label chosen.

        Parameters
        ----------
        track_id : int
        time_h : float
            Hours since t0; the nearest frame in which the track was seen is shown.
        """
        tracks, cells = self._view.layer("tracks"), self._view.layer("cells")
        if tracks is None:
            return
        vertices = every_vertex(tracks)
        rows = vertices[vertices[:, 0] == track_id]
        times = tracks.metadata["marrow"]["times_h"]
        if not len(rows):
            return
        row = min(rows, key=lambda r: abs(times[int(r[1])] - time_h))
        self._viewer.dims.set_current_step(0, int(row[1]))
        self._centre(tracks, [float(value) for value in row[1:]])
        if cells is not None:
            cells.selected_label = track_id
        node = self._picks.node_at(int(row[1]), track_id)
        self._selection.select([] if node is None else [node], [track_id])

    def to_cell(self, cell: Node) -> None:
        """Go to a cell: its frame, its place in the middle."""
        curation = self._picks.curation
        row = None if curation is None else curation.row_of(cell)
        layer = self._view.layer("tracks")
        if row is not None and layer is not None:
            self._viewer.dims.set_current_step(0, cell.t)
            self._centre(layer, [float(cell.t), *(float(row[name]) for name in ("z", "y", "x"))][-layer.ndim :])

    def to_point(self, position: str, session: int, cell: Node) -> None:
        """Go to the cell of a plot's point; another session is opened first."""
        if self._place() != (position, session):
            self._wanted_cell = position, session, cell
            self.place_asked.emit(position, session)
            return
        self._wanted_cell = None
        layer, curation = self._view.layer("cells"), self._picks.curation
        track = 0 if curation is None else curation.numbering.track_of(cell)
        if track and layer is not None:
            self.to_track(track, float(layer.metadata["marrow"]["times_h"][cell.t]))
            return
        self._viewer.dims.set_current_step(0, cell.t)
        self.to_cell(cell)

    def to_colony(self, pick: Pick) -> None:
        """Go to a colony of a plot: its place in the middle, its tracks selected; another position is opened first.

        Parameters
        ----------
        pick : Pick
        """
        place = self._place()
        if place is None or not pick.colony:
            return
        if place[0] != pick.position:
            self._wanted_colony = pick
            self.place_asked.emit(pick.position, place[1])
            return
        self._wanted_colony = None
        layer = self._view.layer("colonies")
        t = int(self._viewer.dims.current_step[0])
        found = None if layer is None else find_colony(layer, self._view.layer("tracks"), pick.colony, t)
        if found is None:
            self.said.emit(f"Colony {pick.colony} was not seen in session {place[1]}.")
            return
        self._viewer.dims.set_current_step(0, int(found.point[0]))
        self._centre(layer, list(found.point))
        self._selection.select(tracks=found.tracks)
        self.said.emit(f"Colony {pick.colony}: {len(found.tracks)} tracks.")

    def go_on(self) -> None:
        """Go where another session had to be shown first."""
        colony, self._wanted_colony = self._wanted_colony, None
        cell, self._wanted_cell = self._wanted_cell, None
        place = self._place()
        if colony is not None and place is not None and place[0] == colony.position:
            self.to_colony(colony)
        if cell is not None and place == cell[:2]:
            self.to_point(*cell)

    def _place(self) -> tuple[str, int] | None:
        place = self._view.place()
        return None if place is None else place[1:]

    def _centre(self, layer: Any, place: list[float]) -> None:
        """Bring a place of a layer in µm into the middle of the image, and its plane on display."""
        world = [float(v) for v in layer.data_to_world(place)]
        if len(world) == 4:
            self._viewer.dims.set_point(1, world[1])
        depth = world[-3] if self._viewer.dims.ndisplay == 3 else 0.0
        camera(self._viewer).center = (depth, *world[-2:])

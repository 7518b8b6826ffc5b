"""What is selected: every view of a study shows the same cells and tracks, wherever they were picked."""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtCore import QObject, Signal

from napari_marrow.tracking.edit_graph import Node


class Selection(QObject):
    """Cells and tracks that are selected in the session on display.

    Signals
    -------
    changed
        Something else is selected.

    Attributes
    ----------
    cells : tuple of Node
        In the order in which they were picked.
    tracks : frozenset of int
        Their tracks, or tracks that were picked as such (a pedigree's line, a table's rows, a lasso).
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.cells: tuple[Node, ...] = ()
        self.tracks: frozenset[int] = frozenset()

    def select(self, cells: Iterable[Node] = (), tracks: Iterable[int] = ()) -> None:
        """Select these and nothing else."""
        wanted = tuple(dict.fromkeys(cells)), frozenset(int(k) for k in tracks)
        if wanted != (self.cells, self.tracks):
            self.cells, self.tracks = wanted
            self.changed.emit()

    def toggle(self, cell: Node, track_id: int) -> None:
        """Add a cell to what is selected, or take it out."""
        if cell in self.cells:
            self.select((c for c in self.cells if c != cell), self.tracks - {track_id})
        else:
            self.select((*self.cells, cell), self.tracks | {track_id})

    def clear(self) -> None:
        """Select nothing."""
        self.select()

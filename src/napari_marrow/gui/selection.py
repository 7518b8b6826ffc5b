"""What is selected: every view of a study shows the same cells and tracks, wherever they were picked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QObject, Signal

from napari_marrow.tracking.edit_graph import Node


@dataclass(frozen=True, eq=False)
class Crowd:
    """Cells that were selected together and are too many to be edited one by one.

    Attributes
    ----------
    t, label : (n,) int64
        Frame and label of each, by frame.
    place : (n, 3) float64
        z, y and x in µm.
    area : (n,) float64
        µm².
    """

    t: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    place: npt.NDArray[np.float64]
    area: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.t)

    def in_frame(self, t: int) -> slice:
        """Return which of them are in a frame."""
        return slice(*np.searchsorted(self.t, [t, t + 1]).tolist())


_NOBODY = Crowd(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0))


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
    crowd : Crowd
        What a lasso in a plot holds, where these are more than a handful; `cells` are then none.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.cells: tuple[Node, ...] = ()
        self.tracks: frozenset[int] = frozenset()
        self.crowd = _NOBODY

    def select(self, cells: Iterable[Node] = (), tracks: Iterable[int] = ()) -> None:
        """Select these and nothing else."""
        wanted = tuple(dict.fromkeys(cells)), frozenset(int(k) for k in tracks)
        if wanted != (self.cells, self.tracks) or len(self.crowd):
            self.cells, self.tracks = wanted
            self.crowd = _NOBODY
            self.changed.emit()

    def select_crowd(self, crowd: Crowd, tracks: Iterable[int]) -> None:
        """Select many cells together, and nothing else.

        Parameters
        ----------
        crowd : Crowd
        tracks : iterable of int
            Their tracks.
        """
        self.cells, self.tracks, self.crowd = (), frozenset(tracks), crowd
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

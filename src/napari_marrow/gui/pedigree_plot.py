"""The pedigree plot: division trees over time; a click leads to the cell in the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_marrow.gui.pedigree import Branch, clones, lay_out
from napari_marrow.gui.plot_style import ThemeFollower, empty_note, shown_colour, styled_plot, wear_theme
from napari_marrow.palette import GREY, LINEAGE_COLOURS

if TYPE_CHECKING:
    import pandas as pd


_LARGEST = 6
_MARK = ("#F0E44288",)  # yellow of the palette, seen through


class PedigreePlot(QWidget):
    """Clones of the session on display.

    Signals
    -------
    picked : (int, float)
        Track and time (h) that were clicked.

    Attributes
    ----------
    branches : list of Branch
        What is drawn.
    """

    picked = Signal(int, float)

    def __init__(self) -> None:
        super().__init__()
        self.branches: list[Branch] = []
        self._tracks: pd.DataFrame | None = None
        self._onsets: pd.DataFrame | None = None
        self._clone = QComboBox()
        self._clone.setToolTip("Clone that is drawn; click a line to go to that cell and time in the image.")
        self._clone.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._clone.currentIndexChanged.connect(self._draw)
        self._plot: Any = None
        self._now: Any = None
        self._marked: Any = None
        self._selected: frozenset[int] = frozenset()
        self._founder: dict[int, int] = {}
        self._time_h = 0.0
        self._note = empty_note("Run the recipe: the pedigrees of this session are drawn here.")
        row = QHBoxLayout()
        row.addWidget(QLabel("Show"))
        row.addWidget(self._clone, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self._note, 1)
        self._plot_place = QVBoxLayout()
        layout.addLayout(self._plot_place, 1)
        self._legend = QLabel("")
        self._legend.setWordWrap(True)
        layout.addWidget(self._legend)
        self._tell_colours()
        ThemeFollower(self).changed.connect(self._on_theme)
        self.set_tables(None, None)

    def set_tables(self, tracks: pd.DataFrame | None, onsets: pd.DataFrame | None) -> None:
        """Draw the pedigrees of one session.

        Parameters
        ----------
        tracks, onsets : DataFrame or None
            Rows of the session.
        """
        self._tracks = tracks if tracks is not None and len(tracks) else None
        self._onsets = onsets
        before = self._clone.currentData()
        self._founder = {}
        if self._tracks is not None:
            pairs = self._tracks[["track_id", "founder_track_id"]].astype(int)
            self._founder = dict(pairs.itertuples(index=False, name=None))
        self._clone.blockSignals(True)
        self._clone.clear()
        if self._tracks is not None:
            found = clones(self._tracks)
            largest = [clone.founder for clone in found[:_LARGEST]]
            self._clone.addItem(f"the {len(largest)} largest clones", largest)
            for clone in found[:200]:
                self._clone.addItem(str(clone), [clone.founder])
        if before is not None and len(before) == 1:
            self._clone.setCurrentIndex(max(0, self._clone.findData(before)))
        self._clone.blockSignals(False)
        self._draw()

    def _tell_colours(self) -> None:
        """Name the colours as they are drawn on the current theme."""
        items = [*LINEAGE_COLOURS.items(), ("no marker", GREY)]
        marks = (f'<span style="color:{shown_colour(colour)}">▬</span>&nbsp;{name}' for name, colour in items)
        self._legend.setText(" &nbsp;".join(marks))

    def _on_theme(self) -> None:
        self._tell_colours()
        if self._plot is not None:
            wear_theme(self._plot)
            self._draw()

    def select(self, tracks: frozenset[int]) -> None:
        """Mark tracks; where none of them is drawn, draw the clone of the first.

        Parameters
        ----------
        tracks : frozenset of int
        """
        self._selected = tracks
        known = [track for track in sorted(tracks) if track in self._founder]
        drawn = {b.track_id for b in self.branches}
        if known and not drawn & tracks:
            self._show_clone(self._founder[known[0]])
        self._mark()

    @property
    def marked(self) -> set[int]:
        """Selected tracks that are drawn."""
        return {b.track_id for b in self.branches if b.track_id in self._selected}

    def _show_clone(self, founder: int) -> None:
        index = self._clone.findData([founder])
        if index < 0:
            assert self._tracks is not None
            size = int((self._tracks["founder_track_id"] == founder).sum())
            self._clone.addItem(f"Clone {founder}: {size} cells", [founder])
            index = self._clone.count() - 1
        self._clone.setCurrentIndex(index)

    def _mark(self) -> None:
        if self._marked is None:
            return
        lines = [((b.start_h, b.y), (b.end_h, b.y)) for b in self.branches if b.track_id in self._selected]
        xy = np.array(lines, float).reshape(-1, 2)
        self._marked.setData(xy[:, 0], xy[:, 1], connect="pairs")

    def set_time(self, time_h: float) -> None:
        """Move the line that marks the frame on display."""
        self._time_h = time_h
        if self._now is not None:
            self._now.setValue(time_h)

    def branch_at(self, time_h: float, y: float) -> Branch | None:
        """Return the branch nearest to a place in the plot, None where none is within half a line."""
        if not self.branches:
            return None
        inside = [b for b in self.branches if b.start_h - 1e-9 <= time_h <= b.end_h + 1e-9 and abs(b.y - y) <= 0.5]
        return min(inside, key=lambda b: abs(b.y - y), default=None)

    def _draw(self, *_: Any) -> None:
        founders = self._clone.currentData() or []
        self.branches = [] if self._tracks is None else lay_out(self._tracks, self._onsets, founders)
        self._note.setVisible(not self.branches)
        self._clone.setEnabled(bool(self.branches))
        if self._plot is not None:
            self._plot.clear()
            self._plot.setVisible(bool(self.branches))
        if self.branches:
            self._make_plot()
            self._draw_branches()

    def _make_plot(self) -> None:
        """Make the plot when there is something to draw: pyqtgraph takes most of a second to import."""
        if self._plot is not None:
            return
        import pyqtgraph as pg

        self._plot = styled_plot("time (h)", "")
        self._plot.getAxis("left").setTicks([])
        self._plot.scene().sigMouseClicked.connect(self._on_click)
        self._now = pg.InfiniteLine(angle=90, pen=pg.mkPen(GREY, style=Qt.PenStyle.DotLine))
        self._now.setValue(self._time_h)
        self._marked = pg.PlotDataItem(pen=pg.mkPen(*_MARK, width=7))
        self._plot_place.addWidget(self._plot)

    def _draw_branches(self) -> None:
        import pyqtgraph as pg

        self._plot.addItem(self._marked, ignoreBounds=True)
        self._mark()
        for colour, xy in _strokes(self.branches).items():
            self._plot.plot(xy[:, 0], xy[:, 1], connect="pairs", pen=pg.mkPen(shown_colour(colour), width=2))
        ends = [(b.end_h, b.y) for b in self.branches if b.fate == "death"]
        if ends:
            grey = shown_colour(GREY)
            self._plot.plot(*np.transpose(ends), pen=None, symbol="x", symbolSize=8, symbolBrush=grey, symbolPen=grey)
        self._plot.addItem(self._now, ignoreBounds=True)
        self._plot.enableAutoRange()

    def _on_click(self, event: Any) -> None:
        place = self._plot.getPlotItem().vb.mapSceneToView(event.scenePos())
        branch = self.branch_at(place.x(), place.y())
        if branch is not None:
            self.picked.emit(branch.track_id, float(place.x()))


def _strokes(branches: list[Branch]) -> dict[str, Any]:
    """Return, per colour, the end points of all lines, two rows each: three items draw any number of cells."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for b in branches:
        change = min(max(b.onset_h, b.start_h), b.end_h)
        first = b.colour if b.onset_h <= b.start_h else GREY
        lines.setdefault(GREY, []).extend([(b.start_h, b.y), (change, b.y)])
        lines.setdefault(b.colour, []).extend([(change, b.y), (b.end_h, b.y)])
        if np.isfinite(b.mother_y):
            lines.setdefault(first, []).extend(
                [(b.mother_end_h, b.mother_y), (b.start_h, b.mother_y), (b.start_h, b.mother_y), (b.start_h, b.y)]
            )
    return {colour: np.array(points) for colour, points in lines.items()}

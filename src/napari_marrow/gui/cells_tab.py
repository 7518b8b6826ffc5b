"""The *Cells* tab: any two columns of the cells against each other, with a lasso that selects in the image."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_marrow.gui.cell_columns import Colouring, cells_chart, colouring, describe_cell, titled
from napari_marrow.gui.cells_reading import SCOPES, CellsRead, Wanted, read_cells
from napari_marrow.gui.export_button import ExportButton, Figure
from napari_marrow.gui.job import Job
from napari_marrow.gui.plot_style import ThemeFollower, empty_note, shown_colour
from napari_marrow.gui.selection import Crowd, Selection
from napari_marrow.gui.sentences import sentence
from napari_marrow.tracking.edit_graph import Node

if TYPE_CHECKING:
    from napari_marrow.gui.point_cloud import PointCloud

_EMPTY = "Run the recipe: the cells are plotted here, any measurement against any other."
_HINT = "Drag: lasso. Shift adds. Wheel: zoom. Double click: all."
_ONE_BY_ONE = 20


class CellsTab(QWidget):
    """A scatter plot of cells that shares the selection of the window.

    Parameters
    ----------
    selection : Selection

    Signals
    -------
    picked : (str, int, Node)
        Position, session and cell of a point that was clicked.
    refused : str
        Nothing could be shown or written; the sentence says why.
    exported : str
        What was written.
    """

    picked = Signal(str, int, object)
    refused = Signal(str)
    exported = Signal(str)

    def __init__(self, selection: Selection) -> None:
        super().__init__()
        self.selection = selection
        self.table = pd.DataFrame()
        self.cloud: PointCloud | None = None
        self._here: npt.NDArray[np.bool_] = np.zeros(0, bool)
        self._cells: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._sorted: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._rows: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._track: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._stride = 1
        self._where, self._area = np.zeros((0, 3)), np.zeros(0)
        self._lassoed: tuple[Crowd | None, npt.NDArray[np.int64]] = (None, self._rows)
        self._colouring = Colouring(np.zeros(0, np.int64), [], [])
        self._wanted: Wanted | None = None
        self._shown: Wanted | None = None
        self._serving: Wanted | None = None
        self._name = self._recipe = ""
        self._job: Job | None = None
        self.x, self.y, self.colour, self.scope = QComboBox(), QComboBox(), QComboBox(), QComboBox()
        self.scope.addItems(SCOPES)
        self.export_button = ExportButton(self._figure)
        self.export_button.setEnabled(False)
        self.legend, self.told = QLabel(""), QLabel("")
        self._note = empty_note(_EMPTY)
        self._lay_out()
        for box in (self.x, self.y, self.colour):
            box.activated.connect(self._draw)
        self.scope.activated.connect(self._on_scope)
        self.export_button.exported.connect(self.exported)
        self.export_button.refused.connect(self.refused)
        selection.changed.connect(self._on_selection)
        ThemeFollower(self).changed.connect(self._tell_colours)

    def _lay_out(self) -> None:
        grid = QGridLayout()
        for k, (name, box, tip) in enumerate((
            ("across", self.x, "What the horizontal axis tells."),
            ("up", self.y, "What the vertical axis tells."),
            ("colour", self.colour, "What the colours tell; numbers have six steps with as many cells in each."),
            ("cells of", self.scope, "Which cells are drawn."),
        )):  # fmt: skip
            box.setToolTip(tip)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            grid.addWidget(QLabel(name), k // 2, 2 * (k % 2))
            grid.addWidget(box, k // 2, 2 * (k % 2) + 1)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        bottom = QHBoxLayout()
        bottom.addWidget(self.told, 1)
        bottom.addWidget(self.export_button)
        self._place = QVBoxLayout()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(grid)
        layout.addWidget(self._note, 1)
        layout.addLayout(self._place, 1)
        layout.addWidget(self.legend)
        layout.addLayout(bottom)
        for label in (self.legend, self.told):
            label.setWordWrap(True)

    @property
    def busy(self) -> bool:
        """Whether something is read or written."""
        return self._job is not None or self.export_button.busy

    # --- what is shown

    def set_study(self, path: Path, name: str, recipe: str, position: str, session: int) -> None:
        """Show a study's cells; what it holds is looked at anew.

        Parameters
        ----------
        path : Path
        name, recipe : str
            Its name and the digest of its recipe; an exported figure carries both.
        position : str
        session : int
            What is on display.
        """
        self._name, self._recipe = name, recipe
        opened = 0 if self._wanted is None else self._wanted.opened + 1
        self._wanted = Wanted(path, position, session, opened, self.scope.currentText())
        self._read()

    def set_nodes(self, nodes: pd.DataFrame) -> None:
        """Take over the tracks of the session on display as edits leave them.

        Parameters
        ----------
        nodes : DataFrame
            Rows of `track_nodes`.
        """
        if not len(self.table):
            return
        stride = self._stride
        order = np.argsort(keys := nodes["t"].to_numpy(np.int64) * stride + nodes["label"].to_numpy(np.int64))
        at = np.searchsorted(keys[order], self._cells)
        at = np.minimum(at, max(len(keys) - 1, 0))
        known = (keys[order][at] == self._cells) if len(keys) else np.zeros(len(self._cells), bool)
        found = nodes["track_id"].to_numpy(np.int64)[order][at] if len(keys) else np.zeros_like(self._cells)
        self._track = self._track.copy()
        self._track[self._here] = np.where(known, found, 0)[self._here]
        self._on_selection()

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Read the cells when they are first looked at."""
        super().showEvent(event)
        self._read()

    def _on_scope(self, *_: Any) -> None:
        wanted = self._wanted
        if wanted is not None:
            self._wanted = replace(wanted, scope=self.scope.currentText())
            self._read()

    def _read(self) -> None:
        wanted = self._wanted
        if wanted is None or wanted == self._shown or self._job is not None or not self.isVisible():
            return
        self._serving = wanted
        job = Job(partial(read_cells, wanted), name="cells")
        self._job = job
        job.succeeded.connect(self._on_read)
        job.failed.connect(self._on_failed)
        job.ended.connect(self._on_ended)
        job.start()

    def _on_read(self, read: CellsRead) -> None:
        self._shown, self.table = read.wanted, read.table
        self._here, self._stride, self._cells = read.here, read.stride, read.cells
        self._rows, self._sorted = read.rows, read.cells[read.rows]
        self._where, self._area, self._track = read.place, read.area, read.track
        self._lassoed = None, self._rows
        _fill(self.x, read.axes, "area")
        marker = next((n for n in read.axes if n.startswith("intensity_CD")), "")
        _fill(self.y, read.axes, marker or (read.axes[-1] if read.axes else ""))
        _fill(self.colour, ["", *read.colours], "lineage")
        self._draw()

    def _on_failed(self, error: BaseException) -> None:
        self._shown = self._serving
        self.refused.emit(sentence(error))

    def _on_ended(self) -> None:
        self._job = None
        self._read()

    def _draw(self, *_: Any) -> None:
        x, y = self.x.currentData(), self.y.currentData()
        there = bool(len(self.table)) and bool(x) and bool(y)
        self._note.setVisible(not there)
        self.export_button.setEnabled(there)
        if self.cloud is not None:
            self.cloud.plot.setVisible(there)
        if not there:
            self.legend.setText("")
            self.told.setText("")
            return
        if self.cloud is None:
            from napari_marrow.gui.point_cloud import PointCloud

            self.cloud = PointCloud()
            self._place.addWidget(self.cloud.plot)
            self.cloud.lassoed.connect(self._on_lasso)
            self.cloud.clicked.connect(self._on_click)
        self._colouring = colouring(self.table, self.colour.currentData() or "")
        self.cloud.set_points(
            self.table[x].to_numpy(np.float64), self.table[y].to_numpy(np.float64), self._colouring.code,
            list(self._colouring.colours), (titled(x), titled(y)),
        )  # fmt: skip
        self._tell_colours()
        self._on_selection()

    def _tell_colours(self) -> None:
        """Name the colours as they are drawn on the current theme."""
        marks = zip(self._colouring.names, self._colouring.colours, strict=True)
        self.legend.setText(
            " &nbsp;".join(f'<span style="color:{shown_colour(c)}">●</span>&nbsp;{escape(n)}' for n, c in marks if n)
        )

    # --- selection, both ways

    def _on_selection(self) -> None:
        """Bring out what is selected, wherever it was picked."""
        if self.cloud is None or not len(self.table):
            return
        rows = self._rows_of_selection()
        self.cloud.select(rows)
        n = len(self.table)
        if len(rows) == 1:
            self.told.setText(describe_cell(self.table.iloc[int(rows[0])]))
        else:
            self.told.setText(f"{len(rows)} of {n} cells selected." if len(rows) else f"{n} cells. {_HINT}")

    def _rows_of_selection(self) -> npt.NDArray[np.int64]:
        crowd, session = self.selection.crowd, None if self._shown is None else self._shown.session
        if crowd is self._lassoed[0]:
            return self._lassoed[1]
        if len(crowd):
            return self._rows_at(crowd.t, crowd.label)
        cells = [cell for cell in self.selection.cells if cell.session == session]
        if cells:
            return self._rows_at(np.array([c.t for c in cells]), np.array([c.label for c in cells]))
        tracks = np.fromiter(self.selection.tracks, np.int64, len(self.selection.tracks))
        if not len(tracks):
            return self._rows[:0]
        return np.flatnonzero(np.isin(self._track, tracks[tracks > 0]) & self._here)

    def _rows_at(self, t: npt.NDArray[np.int64], label: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        keys = t * self._stride + label
        at = np.minimum(np.searchsorted(self._sorted, keys), max(len(self._sorted) - 1, 0))
        return self._rows[at[self._sorted[at] == keys]] if len(self._sorted) else self._rows

    def _on_lasso(self, points: npt.NDArray[np.int64], more: bool) -> None:
        """Select what the lasso holds; of the whole study, what is on display."""
        rows = points[self._here[points]]
        if more:
            rows = np.union1d(self._rows_of_selection(), rows)
        if len(points) and not len(rows):
            self.told.setText("None of these cells is in the session on display: a click on one leads to its session.")
            return
        self._select(rows)

    def _select(self, rows: npt.NDArray[np.int64]) -> None:
        t, label = np.divmod(self._cells[rows], self._stride)
        if (np.diff(t) < 0).any():
            order = np.argsort(t, kind="stable")
            rows, t, label = rows[order], t[order], label[order]
        tracks = np.flatnonzero(np.bincount(self._track[rows], minlength=1))
        tracks = tracks[tracks > 0].tolist()
        if len(rows) <= _ONE_BY_ONE and (self._track[rows] > 0).all():
            session = 0 if self._shown is None else self._shown.session
            cells = [Node(session, *cell) for cell in zip(t.tolist(), label.tolist(), strict=True)]
            self.selection.select(cells, tracks)
            return
        crowd = Crowd(t, label, self._where[rows], self._area[rows])
        self._lassoed = crowd, rows
        self.selection.select_crowd(crowd, tracks)

    def _on_click(self, point: int, more: bool) -> None:
        if point < 0:
            if not more:
                self.selection.clear()
            return
        if more:
            self._on_lasso(np.array([point]), True)
            return
        row = self.table.iloc[point]
        node = Node(int(row["session"]), int(row["t"]), int(row["label"]))
        if self._here[point]:
            self._select(np.array([point]))
        self.picked.emit(str(row["position"]), int(row["session"]), node)

    # --- export

    def export(self, path: Path | str) -> Job:
        """Write what is drawn beside the window; what cannot be written is told in a sentence.

        Parameters
        ----------
        path : path
            Ends in ``.pdf``, ``.svg`` or ``.png``.
        """
        return self.export_button.write(path)

    def _figure(self) -> Figure:
        table, colour, x, y = self.table, self._colouring, self.x.currentData(), self.y.currentData()
        return Figure(f"{y}_over_{x}", lambda: cells_chart(table, x, y, colour, ""), self._name, self._recipe)


def _fill(box: QComboBox, columns: list[str], usual: str) -> None:
    """Offer columns; what was chosen before stays chosen where it is there."""
    before = box.currentData() if box.count() else usual
    box.clear()
    for name in columns:
        box.addItem(titled(name) if name else "one colour", name)
    box.setCurrentIndex(max(0, box.findData(before), box.findData(usual) if box.findData(before) < 0 else 0))

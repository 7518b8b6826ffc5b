"""The emergence plot: when how many cells have shown each lineage's marker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_marrow.errors import MarrowError
from napari_marrow.gui.emergence import Curve, as_steps, conditions, emergence_curves
from napari_marrow.gui.figure_export import export_curves
from napari_marrow.gui.plot_style import empty_note, styled_plot
from napari_marrow.gui.sentences import sentence

if TYPE_CHECKING:
    import pandas as pd


_PENS = {
    "solid": Qt.PenStyle.SolidLine,
    "dash": Qt.PenStyle.DashLine,
    "dot": Qt.PenStyle.DotLine,
    "dashdot": Qt.PenStyle.DashDotLine,
}
_ALL = "every condition"


class EmergencePlot(QWidget):
    """Cumulative incidence by lineage and condition, with 95 % bands.

    Signals
    -------
    exported : str
        What was written.
    refused : str
        Nothing could be written; the sentence says why.

    Attributes
    ----------
    curves : list of Curve
        What is drawn.
    study, recipe : str
        Name and digest that an exported figure carries.
    """

    exported = Signal(str)
    refused = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.curves: list[Curve] = []
        self.study = self.recipe = ""
        self.export_button = QPushButton("Export...")
        self.export_button.setToolTip("Write what is drawn as PDF, SVG or PNG, and its numbers as CSV beside it.")
        self.export_button.clicked.connect(self._ask_export)
        self._table: pd.DataFrame | None = None
        self._condition = QComboBox()
        self._condition.setToolTip("Condition that is drawn.")
        self._condition.currentTextChanged.connect(self._draw)
        self._plot: Any = None
        self._note = empty_note("Run the recipe: the emergence of each lineage is drawn here.")
        self._legend = QLabel("")
        self._legend.setWordWrap(True)
        row = QHBoxLayout()
        row.addWidget(QLabel("Show"))
        row.addWidget(self._condition, 1)
        row.addWidget(self.export_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self._note, 1)
        self._plot_place = QVBoxLayout()
        layout.addLayout(self._plot_place, 1)
        layout.addWidget(self._legend)
        self.set_table(None)

    def set_table(self, table: pd.DataFrame | None) -> None:
        """Draw a table `emergence`; None or an empty one leaves a note instead of axes.

        Parameters
        ----------
        table : DataFrame or None
        """
        self._table = table if table is not None and len(table) else None
        chosen = self._condition.currentText()
        self._condition.blockSignals(True)
        self._condition.clear()
        if self._table is not None:
            self._condition.addItems([_ALL, *conditions(self._table)])
            self._condition.setCurrentIndex(max(0, self._condition.findText(chosen)))
        self._condition.blockSignals(False)
        self._draw()

    def _draw(self, *_: Any) -> None:
        chosen = self._condition.currentText()
        self.curves = [] if self._table is None else emergence_curves(self._table, None if chosen == _ALL else chosen)
        self._note.setVisible(not self.curves)
        self._condition.setEnabled(bool(self.curves))
        self.export_button.setEnabled(bool(self.curves))
        self._legend.setText(legend(self.curves))
        if self.curves:
            self._make_plot()
        if self._plot is None:
            return
        self._plot.clear()
        self._plot.setVisible(bool(self.curves))
        for curve in self.curves:
            self._add(curve)
        if self.curves:
            top = max(float(np.nanmax([*c.value, *c.high])) for c in self.curves)
            self._plot.setYRange(0, min(1.0, max(top * 1.05, 0.05)), padding=0)

    def export(self, path: Path | str) -> None:
        """Write what is drawn as a figure, and its numbers beside it; what cannot be written is told in a sentence.

        Parameters
        ----------
        path : path
            Ends in ``.pdf``, ``.svg`` or ``.png``.
        """
        try:
            numbers = export_curves(self.curves, path, study=self.study, recipe=self.recipe)
        except (MarrowError, OSError) as error:
            self.refused.emit(sentence(error))
            return
        self.exported.emit(f"Written: {Path(path).name} and {numbers.name}.")

    def _ask_export(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export the figure", "emergence.pdf", "Figures (*.pdf *.svg *.png)")
        if path:
            self.export(path)

    def _make_plot(self) -> None:
        """Make the plot when there is something to draw: pyqtgraph takes most of a second to import."""
        if self._plot is None:
            self._plot = styled_plot("time since the start of observation (h)", "cumulative incidence")
            self._plot_place.addWidget(self._plot)

    def _add(self, curve: Curve) -> None:
        import pyqtgraph as pg

        time, value, low, high = as_steps(curve.time_h, curve.value, curve.low, curve.high)
        if curve.has_band:
            colour = pg.mkColor(curve.colour)
            colour.setAlpha(45)
            edges = [pg.PlotCurveItem(time, np.nan_to_num(edge), pen=None) for edge in (low, high)]
            for edge in edges:
                self._plot.addItem(edge)
            self._plot.addItem(pg.FillBetweenItem(*edges, brush=colour))
        pen = pg.mkPen(curve.colour, width=2, style=_PENS[curve.dash])
        self._plot.plot(time, value, pen=pen)


def legend(curves: list[Curve]) -> str:
    """Return what the colours (lineages) and the dashes (conditions) mean, as rich text."""
    marks = {"solid": "━━", "dash": "╍╍", "dot": "┈┈", "dashdot": "━┈"}
    lineages = {curve.lineage: f'<span style="color:{curve.colour}">▬</span>&nbsp;{curve.lineage}' for curve in curves}
    shown = {curve.condition: f"{marks[curve.dash]}&nbsp;{curve.condition}" for curve in curves}
    return "<br>".join(" &nbsp;".join(parts.values()) for parts in (lineages, shown) if parts)

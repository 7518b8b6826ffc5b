"""Draws a chart in the window."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QFrame, QLabel, QScrollArea, QSizePolicy, QVBoxLayout, QWidget
from skimage.measure import points_in_poly

from napari_marrow.gui.charts import Chart, Key, Pick, Series, as_steps, risk_counts, tick_times
from napari_marrow.gui.plot_style import ThemeFollower, empty_note, shown_colour, styled_plot, theme_colours

_PENS = {
    "solid": Qt.PenStyle.SolidLine,
    "dash": Qt.PenStyle.DashLine,
    "dot": Qt.PenStyle.DotLine,
    "dashdot": Qt.PenStyle.DashDotLine,
}
_MARKS = {"solid": "━━", "dash": "╍╍", "dot": "┈┈", "dashdot": "━┈"}
_NEAR_PX = 12.0


class _Texts(QScrollArea):
    """Texts under each other, as high as they are at their width where there is room, scrolled where there is not."""

    def __init__(self, *labels: QLabel) -> None:
        super().__init__()
        inside = QWidget()
        self._column = QVBoxLayout(inside)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(3)
        for label in labels:
            self._column.addWidget(label)
        self.setWidget(inside)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the height that the texts take at the width there is."""
        width = max(self.width(), 1)
        slack = self.fontMetrics().lineSpacing() // 2  # rich text is a few pixels higher than it says
        return QSize(width, self._column.totalHeightForWidth(width) + slack)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return two lines."""
        return QSize(0, min(2 * self.fontMetrics().lineSpacing(), self.sizeHint().height()))

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        """Ask for another height at another width."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.updateGeometry()


class ChartView(QWidget):
    """A plot with its legend, numbers at risk and note; an empty chart shows its note only.

    Attributes
    ----------
    marks : list or None
        Items of the plot that bring handles out; the last one are their rings.

    Signals
    -------
    picked : Pick
        A line that stands for something in the image was clicked.
    handled : (int, bool)
        The handle that was clicked, -1 for none, and whether Shift was held.
    lassoed : (array of int64, bool)
        Handles inside of a lasso, and whether they are to be added to what is selected.
    drawn
        Another chart is drawn.
    """

    picked = Signal(object)
    handled = Signal(int, bool)
    lassoed = Signal(object, bool)
    drawn = Signal()

    def __init__(self, empty: str) -> None:
        super().__init__()
        self.chart = Chart("", "", "", note=empty)
        self._plot: Any = None
        self.marks: list[Any] | None = None
        self._line: Any = None
        self._empty = empty_note(empty)
        self.legend, self.note = QLabel(""), QLabel("")
        for label in (self.legend, self.note):
            label.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self._empty, 1)
        self._place = QVBoxLayout()
        layout.addLayout(self._place, 1)
        self._texts = _Texts(self.legend, self.note)
        layout.addWidget(self._texts)
        self.draw(self.chart)
        ThemeFollower(self).changed.connect(lambda: self.draw(self.chart))

    def draw(self, chart: Chart) -> None:
        """Show a chart."""
        self.chart = chart
        self._empty.setText(chart.note)
        self._empty.setVisible(chart.empty)
        for label, text in ((self.legend, legend(chart)), (self.note, "" if chart.empty else escape(chart.note))):
            label.setText(text)
            label.setVisible(bool(text))
        self._texts.updateGeometry()
        if self._plot is not None:
            self._place.removeWidget(self._plot)
            self._plot.setVisible(False)  # it is not to be drawn any more: its parts go before it does
            self._plot.deleteLater()
            self._plot = None
        if not chart.empty:
            self._make_plot(chart)
        self.drawn.emit()

    def _make_plot(self, chart: Chart) -> None:
        """Make the plot when there is something to draw: pyqtgraph takes most of a second to import."""
        self.marks, box = None, None
        if len(chart.handles):
            from napari_marrow.gui.point_cloud import LassoBox

            box = LassoBox()
            box.drawn.connect(self._on_lasso)
            box.ended.connect(self._on_lassoed)
        self._plot = styled_plot(chart.x_label, chart.y_label, view_box=box)
        self._place.addWidget(self._plot)
        self._plot.setLogMode(y=chart.log_y)
        for series in chart.series:
            self._add(series)
        if chart.y_range is not None:
            self._plot.setYRange(*chart.y_range, padding=0)
        if chart.x_ticks:
            self._plot.getAxis("bottom").setTicks([list(chart.x_ticks)])
            self._plot.getAxis("bottom").setHeight(44 if any("\n" in name for _, name in chart.x_ticks) else None)
        if chart.same_scale:
            self._plot.setAspectLocked(True)
            self._plot.invertY(True)
        self._plot.scene().sigMouseClicked.connect(self._on_click)

    def _add(self, s: Series) -> None:
        import pyqtgraph as pg

        colour = pg.mkColor(shown_colour(s.colour))
        if s.kind == "bars":
            faint = pg.mkColor(colour)
            faint.setAlpha(170)
            self._plot.addItem(pg.BarGraphItem(x=s.x, height=np.nan_to_num(s.y), width=s.width, brush=faint, pen=None))
            if s.low is not None and s.high is not None and s.has_band:
                ends = np.column_stack([s.low, s.high]).ravel()
                self._plot.plot(np.repeat(s.x, 2), ends, connect="pairs", pen=pg.mkPen(theme_colours()[1], width=1.5))
            return
        if s.kind == "points":
            self._plot.plot(s.x, s.y, pen=None, symbol="o", symbolSize=s.width, symbolBrush=colour, symbolPen=None)
            return
        if s.kind == "pieces":
            self._plot.plot(s.x, s.y, connect="pairs", pen=pg.mkPen(colour, width=s.width))
            return
        low, high = (s.y if end is None else end for end in (s.low, s.high))
        x, y, low, high = as_steps(s.x, s.y, low, high) if s.kind == "steps" else (s.x, s.y, low, high)
        if s.has_band:
            band = pg.mkColor(colour)
            band.setAlpha(45)
            edges = [pg.PlotCurveItem(x, np.nan_to_num(edge), pen=None) for edge in (low, high)]
            for edge in edges:
                self._plot.addItem(edge)
            self._plot.addItem(pg.FillBetweenItem(*edges, brush=band))
        if s.faint:
            colour.setAlpha(130)
        pen = pg.mkPen(colour, width=s.width, style=_PENS[s.dash])
        dots = {"symbol": "o", "symbolSize": 5, "symbolBrush": colour, "symbolPen": None}
        self._plot.plot(x, y, pen=pen, **(dots if s.dotted else {}))

    # --- handles: what is selected, wherever it was picked

    def mark(self, handles: npt.NDArray[np.int64]) -> None:
        """Bring handles out: rings around them, and a line through those of one colony."""
        import pyqtgraph as pg

        if self._plot is None or not len(self.chart.handles):
            return
        if self.marks is not None:
            for item in self.marks:
                self._plot.removeItem(item)
        self.marks = []
        ink = theme_colours()[1]
        x, y = (place[handles] for place in self._places())
        if "colony" in self.chart.handles:
            rows = self.chart.handles.iloc[handles]
            for part in rows.groupby(["position", "colony"], sort=False).indices.values():
                self.marks.append(pg.PlotCurveItem(x[part], y[part], pen=pg.mkPen(ink, width=3.5)))
        self.marks.append(pg.ScatterPlotItem(x, y, size=12, pen=pg.mkPen(ink, width=1.8), brush=None))
        for item in self.marks:
            self._plot.addItem(item, ignoreBounds=True)

    def _places(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return where the handles are in the plot."""
        x, y = (self.chart.handles[name].to_numpy(np.float64) for name in ("x", "y"))
        return x, np.log10(np.maximum(y, 1e-12)) if self.chart.log_y else y

    def place_of(self, handle: int) -> Any:
        """Return where a handle is in the plot's own pixels."""
        import pyqtgraph as pg

        x, y = self._places()
        box = self._plot.getPlotItem().vb
        return self._plot.mapFromScene(box.mapViewToScene(pg.Point(float(x[handle]), float(y[handle]))))

    @property
    def plot(self) -> Any:
        """The plot, None where there is nothing to draw."""
        return self._plot

    def _on_lasso(self, way: npt.NDArray[np.float64], more: bool) -> None:
        import pyqtgraph as pg

        if self._line is None:
            self._line = pg.PlotCurveItem(pen=pg.mkPen(theme_colours()[1], width=1.2, style=Qt.PenStyle.DashLine))
            self._plot.addItem(self._line, ignoreBounds=True)
        self._line.setData(*np.vstack([way, way[:1]]).T)

    def _on_lassoed(self, way: npt.NDArray[np.float64], more: bool) -> None:
        if self._line is not None:
            self._plot.removeItem(self._line)
            self._line = None
        self.lassoed.emit(np.flatnonzero(points_in_poly(np.column_stack(self._places()), way)), more)

    def _nearest_handle(self, place: tuple[float, float], pixel: tuple[float, float]) -> int:
        if not len(self.chart.handles):
            return -1
        x, y = self._places()
        away = np.hypot((x - place[0]) / pixel[0], (y - place[1]) / pixel[1])
        nearest = int(np.argmin(away))
        return nearest if away[nearest] <= _NEAR_PX else -1

    def _on_click(self, event: Any) -> None:
        box = self._plot.getPlotItem().vb
        if event.double():
            box.autoRange()
            return
        place = box.mapSceneToView(event.scenePos())
        if len(self.chart.handles) and "colony" not in self.chart.handles:
            more = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self.handled.emit(self._nearest_handle((place.x(), place.y()), box.viewPixelSize()), more)
            return
        found = nearest_pick(self.chart, (place.x(), place.y()), box.viewPixelSize())
        if found is not None:
            self.picked.emit(found)


def nearest_pick(chart: Chart, place: tuple[float, float], pixel: tuple[float, float]) -> Pick | None:
    """Return what the line nearest to a place stands for, None where none passes within 12 px.

    Parameters
    ----------
    chart : Chart
    place : (float, float)
        x and y in the plot; y is its decadic logarithm where the scale is logarithmic.
    pixel : (float, float)
        How large a pixel is, in the same units.
    """
    best: tuple[float, Pick | None] = (_NEAR_PX, None)
    for s in chart.series:
        if s.pick is None or not len(s.x):
            continue
        y = np.log10(np.maximum(s.y, 1e-12)) if chart.log_y else s.y
        x = float(np.clip(place[0], s.x.min(), s.x.max()))
        away = float(np.hypot((x - place[0]) / pixel[0], (np.interp(x, s.x, y) - place[1]) / pixel[1]))
        if away < best[0]:
            best = away, s.pick
    return best[1]


def _mark(series: Series) -> str:
    return {"points": "●", "bars": "▬"}.get(series.kind, series.dash)


def legend(chart: Chart) -> str:
    """Return what colours and dashes mean, and the numbers at risk, as rich text."""
    keys = chart.keys or tuple(Key(s.name, s.colour, _mark(s)) for s in chart.series if s.name)
    colours = [key.colour if chart.empty else shown_colour(key.colour) for key in keys]
    text = " &nbsp;".join(
        f'<span style="color:{colour}">{_MARKS.get(key.dash, key.dash or "▬")}</span>&nbsp;{escape(key.name)}'
        for key, colour in zip(keys, colours, strict=True)
    )
    if chart.at_risk:
        ticks = tick_times(max(float(time.max()) for time, _ in chart.at_risk.values()))
        rows = [("at risk at (h)", [f"{t:g}" for t in ticks])]
        rows += [(name, [str(n) for n in found]) for name, found in risk_counts(chart, ticks).items()]
        cells = "".join(
            f"<tr><td>{escape(name)}&nbsp;</td>{''.join(f'<td align=right>&nbsp;{n}&nbsp;</td>' for n in found)}</tr>"
            for name, found in rows
        )
        text += f"<table>{cells}</table>"
    return text

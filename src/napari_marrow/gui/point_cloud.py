"""A plot of very many points in which a lasso selects. To be imported when it is first drawn: pyqtgraph takes its time.

Points are drawn into one image of the plot's own pixels, so that a selection, a lasso under the mouse or another
widget over the plot costs the same whether there are a hundred points or a million.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from qtpy.QtCore import QObject, QRectF, Qt, Signal
from skimage.draw import polygon

from napari_marrow.gui.plot_style import ThemeFollower, shown_colour, styled_plot, theme_colours, wear_theme

_FEW, _MANY = 3_000, 30_000
_NEAR_PX = 8.0
_FAINT = 70
_RINGED = 50
_STRIDE_PX = 3.0


class LassoBox(pg.ViewBox):
    """A view in which the left button draws a lasso; the wheel zooms, the middle button moves."""

    drawn = Signal(object, bool)
    ended = Signal(object, bool)

    def __init__(self) -> None:
        super().__init__(enableMenu=False)
        self._way: list[tuple[float, float]] = []

    def mouseDragEvent(self, event: Any, axis: int | None = None) -> None:  # noqa: N802
        """Take the left button; leave the others to pyqtgraph."""
        if event.button() != Qt.MouseButton.LeftButton or axis is not None:
            super().mouseDragEvent(event, axis)
            return
        event.accept()
        if event.isStart():
            self._way = [_xy(event.buttonDownPos())]
        place = _xy(event.pos())
        if event.isFinish() or np.hypot(*np.subtract(place, self._way[-1])) >= _STRIDE_PX:
            self._way.append(place)
        more = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        way = np.array([_xy(self.mapToView(pg.Point(*p))) for p in self._way])
        (self.ended if event.isFinish() else self.drawn).emit(way, more)


class PointCloud(QObject):
    """Points with colours, some of them selected.

    Signals
    -------
    lassoed : (array of int64, bool)
        Points inside of a lasso, and whether they are to be added to what is selected.
    clicked : (int, bool)
        The point that was clicked, -1 for none, and whether Shift was held.

    Attributes
    ----------
    plot : PlotWidget
    """

    lassoed = Signal(object, bool)
    clicked = Signal(int, bool)

    def __init__(self) -> None:
        super().__init__()
        self.box = LassoBox()
        self.plot = styled_plot("", "", view_box=self.box)
        self._points, self._chosen = pg.ImageItem(axisOrder="row-major"), pg.ImageItem(axisOrder="row-major")
        ink = theme_colours()[1]
        self._rings = pg.ScatterPlotItem(size=13, pen=pg.mkPen(ink, width=1.5), brush=None)
        self._line = pg.PlotDataItem(pen=pg.mkPen(ink, width=1.2, style=Qt.PenStyle.DashLine))
        for item in (self._points, self._chosen, self._rings, self._line):
            self.plot.addItem(item, ignoreBounds=True)
        self._x = self._y = np.zeros(0)
        self._ink = np.zeros(0, np.uint32)
        self._code, self._colours = np.zeros(0, np.int64), list[str]()
        self._order = np.zeros(0, np.int64)
        self._selected = np.zeros(0, np.int64)
        self._at = np.zeros((2, 0), np.int64)
        self._picture = np.zeros((1, 1, 4), np.uint8)
        self.box.drawn.connect(self._on_drawn)
        self.box.ended.connect(self._on_ended)
        self.box.sigRangeChanged.connect(self._redraw)
        self.box.sigResized.connect(self._redraw)
        self.plot.scene().sigMouseClicked.connect(self._on_click)
        ThemeFollower(self.plot).changed.connect(self._on_theme)

    def set_points(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        code: npt.NDArray[np.int64],
        colours: list[str],
        titles: tuple[str, str],
    ) -> None:
        """Show points.

        Parameters
        ----------
        x, y : (n,) array-like
            A point with NaN is not drawn and never selected.
        code : (n,) int64
            Index of each point's colour.
        colours : list of str
            ``#rrggbb``.
        titles : (str, str)
            Titles of the axes.
        """
        self._x, self._y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        self._code, self._colours = code, list(colours)
        self._dye()
        # in random order, so that no class covers the others
        self._order = np.random.default_rng(0).permutation(len(self._x))
        self._selected = np.zeros(0, np.int64)
        for side, title in zip(("bottom", "left"), titles, strict=True):
            self.plot.getAxis(side).setLabel(title, color=theme_colours()[1])
        self.show_all()

    def _dye(self) -> None:
        """Give every point its colour as it can be seen on the theme."""
        colours = [[*pg.mkColor(shown_colour(c)).getRgb()[:3], 255] for c in self._colours]
        table = np.array(colours, np.uint8).reshape(-1, 4).view(np.uint32).ravel()
        self._ink = table[self._code]

    def _on_theme(self) -> None:
        wear_theme(self.plot)
        self._rings.setPen(pg.mkPen(theme_colours()[1], width=1.5))
        self._line.setPen(pg.mkPen(theme_colours()[1], width=1.2, style=Qt.PenStyle.DashLine))
        if len(self._code):
            self._dye()
            self._redraw()

    def show_all(self) -> None:
        """Show the range of all points."""
        known = np.isfinite(self._x) & np.isfinite(self._y)
        if known.any():
            x, y = self._x[known], self._y[known]
            self.box.setRange(xRange=(x.min(), x.max()), yRange=(y.min(), y.max()), padding=0.04)
        self._redraw()

    def select(self, points: npt.NDArray[np.int64]) -> None:
        """Bring points out; all others stand back while some are selected."""
        was = len(self._selected) > 0
        self._selected = points
        if was != (len(points) > 0):
            self._shade_points()
        self._draw_chosen()

    @property
    def selected(self) -> npt.NDArray[np.int64]:
        """The points that are brought out."""
        return self._selected

    def place_of(self, point: int) -> tuple[float, float]:
        """Return where a point is in the scene, in pixels."""
        found = self.box.mapViewToScene(pg.Point(float(self._x[point]), float(self._y[point])))
        return float(found.x()), float(found.y())

    def inside(self, way: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return the points inside of a closed line, to the pixel.

        Parameters
        ----------
        way : (m, 2) float64
            Its corners in the plot.
        """
        height, width = self._shape()
        x, y = self._pixels(way[:, 0], way[:, 1])
        mask = np.zeros((height, width), bool)
        mask[polygon(y, x, mask.shape)] = True
        column, row = self._at
        seen = column >= 0
        found = np.flatnonzero(seen)
        return found[mask[row[seen], column[seen]]]

    # --- drawing

    def _shape(self) -> tuple[int, int]:
        return max(int(self.box.height()), 1), max(int(self.box.width()), 1)

    def _pixels(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[Any, Any]:
        height, width = self._shape()
        (x0, x1), (y0, y1) = self.box.viewRange()
        return (x - x0) / max(x1 - x0, 1e-300) * width, (y - y0) / max(y1 - y0, 1e-300) * height

    def _redraw(self, *_: Any) -> None:
        height, width = self._shape()
        with np.errstate(invalid="ignore"):
            x, y = self._pixels(self._x, self._y)
            seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)  # NaN is nowhere
            self._at = np.where(seen, np.stack([x, y]), -1).astype(np.int64)
        self._draw_points()
        self._draw_chosen()

    def _draw_points(self) -> None:
        self._picture = self._stamped(self._order, 0)
        self._shade_points()

    def _shade_points(self) -> None:
        """Let all points stand back while some are selected."""
        picture = self._picture.copy()
        if len(self._selected):
            picture[..., 3] = np.minimum(picture[..., 3], _FAINT)
        self._put(self._points, picture)

    def _draw_chosen(self) -> None:
        self._put(self._chosen, self._stamped(self._selected, 1 if len(self._selected) <= _FEW else 0))
        few = self._selected if len(self._selected) <= _RINGED else self._selected[:0]
        self._rings.setData(self._x[few], self._y[few])

    def _stamped(self, points: npt.NDArray[np.int64], wider: int) -> npt.NDArray[np.uint8]:
        """Return a picture of points as (height, width, RGBA), the later ones over the earlier ones."""
        height, width = self._shape()
        centres = np.zeros((height, width), np.uint32)
        column, row = self._at[0][points], self._at[1][points]
        seen = column >= 0
        centres[row[seen], column[seen]] = self._ink[points[seen]]
        row, column = np.nonzero(centres)  # never more than the plot has pixels
        ink = centres[row, column]
        picture = centres.copy()
        n = len(self._x)
        radius = (3 if n <= _FEW else 2 if n <= _MANY else 1) + wider
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                if dx * dx + dy * dy <= radius * radius:
                    picture[np.clip(row + dy, 0, height - 1), np.clip(column + dx, 0, width - 1)] = ink
        return picture.view(np.uint8).reshape(height, width, 4)

    def _put(self, item: Any, picture: npt.NDArray[np.uint8]) -> None:
        item.setImage(picture, autoLevels=False)
        (x0, x1), (y0, y1) = self.box.viewRange()
        item.setRect(QRectF(x0, y0, x1 - x0, y1 - y0))

    # --- the mouse

    def _on_drawn(self, way: npt.NDArray[np.float64], more: bool) -> None:
        closed = np.vstack([way, way[:1]])
        self._line.setData(closed[:, 0], closed[:, 1])

    def _on_ended(self, way: npt.NDArray[np.float64], more: bool) -> None:
        self._line.setData([], [])
        self.lassoed.emit(self.inside(way), more)

    def _on_click(self, event: Any) -> None:
        if event.double():
            self.show_all()
            return
        if event.button() != Qt.MouseButton.LeftButton:
            return
        place = self.box.mapSceneToView(event.scenePos())
        x, y = self._pixels(np.array([place.x()]), np.array([place.y()]))
        away = np.hypot(self._at[0] - x, self._at[1] - y)
        away[self._at[0] < 0] = np.inf
        nearest = int(np.argmin(away)) if len(away) else -1
        found = nearest if nearest >= 0 and away[nearest] <= _NEAR_PX else -1
        self.clicked.emit(found, bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier))


def _xy(point: Any) -> tuple[float, float]:
    return float(point.x()), float(point.y())

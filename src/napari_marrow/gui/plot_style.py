"""How plots look: napari's own colours, readable axes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QLabel, QWidget

from napari_marrow.gui.contrast import GRAPHICS, TEXT, readable


def styled_plot(bottom: str, left: str, *, view_box: Any = None) -> Any:
    """Return an empty plot in the colours of napari's current theme.

    Parameters
    ----------
    bottom, left : str
        Titles of the axes, with their units.
    view_box : pyqtgraph.ViewBox, optional
        Another view than pyqtgraph's own.
    """
    import pyqtgraph as pg

    background, text = theme_colours()
    plot = pg.PlotWidget(background=background, viewBox=view_box)
    plot.setMenuEnabled(False)
    plot.hideButtons()
    plot.showGrid(x=True, y=True, alpha=0.12)
    for side, title in (("bottom", bottom), ("left", left)):
        axis = plot.getAxis(side)
        axis.setLabel(title, color=text)
        axis.setTextPen(text)
        axis.setPen(text)
        axis.enableAutoSIPrefix(False)
    plot.setMinimumHeight(72)
    return plot


def theme_colours() -> tuple[str, str]:
    """Return background and text colour of napari's current theme as ``#rrggbb``."""
    from napari.settings import get_settings

    return _colours_of(get_settings().appearance.theme)


@lru_cache
def _colours_of(name: str) -> tuple[str, str]:
    from napari.utils.theme import get_theme

    theme = get_theme(name)
    return theme.background.as_hex(format="long"), theme.text.as_hex(format="long")


def shown_colour(colour: str, *, text: bool = False) -> str:
    """Return a colour of the palette as it is drawn on the current theme: as much lighter or darker as it has to be.

    Parameters
    ----------
    colour : str
        ``#rrggbb``; pure black stands for the theme's own text colour.
    text : bool
        Whether letters have that colour, which want more contrast than lines.
    """
    background, ink = theme_colours()
    return ink if colour.lower() == "#000000" else readable(colour.lower(), background, TEXT if text else GRAPHICS)


class ThemeFollower(QObject):
    """Tells when napari's theme becomes another one: plots have colours of their own.

    Parameters
    ----------
    widget : QWidget
        Any widget of the window: napari gives all of them another style with the theme.

    Signals
    -------
    changed
        The theme's colours are others than before.
    """

    changed = Signal()

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._colours = theme_colours()
        self._later = QTimer(self)  # napari gives the whole window its style in one go: what is drawn anew waits
        self._later.setSingleShot(True)
        self._later.timeout.connect(self.changed)
        widget.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802
        """Look at the theme when the style changes."""
        if event.type() == QEvent.Type.StyleChange and theme_colours() != self._colours:
            self._colours = theme_colours()
            self._later.start(0)
        return bool(super().eventFilter(watched, event))


def symbol_icon(symbol: str) -> QIcon:
    """Return a letter as an icon in the theme's text colour.

    Parameters
    ----------
    symbol : str
    """
    pixmap = QPixmap(32, 32)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setPen(QColor(theme_colours()[1]))
    font = painter.font()
    font.setPixelSize(28)
    painter.setFont(font)
    painter.drawText(pixmap.rect(), Qt.AlignmentFlag.AlignCenter, symbol)
    painter.end()
    return QIcon(pixmap)


def wear_theme(plot: Any) -> None:
    """Give a plot's background and axes the colours of the current theme.

    Parameters
    ----------
    plot : pyqtgraph.PlotWidget
    """
    background, text = theme_colours()
    plot.setBackground(background)
    for side in ("bottom", "left"):
        axis = plot.getAxis(side)
        axis.setLabel(axis.labelText, color=text)
        axis.setTextPen(text)
        axis.setPen(text)


def empty_note(text: str) -> QLabel:
    """Return what stands where a plot will be."""
    note = QLabel(text)
    note.setWordWrap(True)
    note.setAlignment(Qt.AlignmentFlag.AlignCenter)
    note.setMinimumHeight(60)
    return note

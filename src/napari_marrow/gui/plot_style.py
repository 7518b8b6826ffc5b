"""How plots look: napari's own colours, readable axes."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel


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
    plot.setMinimumHeight(160)
    return plot


def theme_colours() -> tuple[str, str]:
    """Return background and text colour of napari's current theme as ``#rrggbb``."""
    from napari.settings import get_settings
    from napari.utils.theme import get_theme

    theme = get_theme(get_settings().appearance.theme)
    return theme.background.as_hex(format="long"), theme.text.as_hex(format="long")


def empty_note(text: str) -> QLabel:
    """Return what stands where a plot will be."""
    note = QLabel(text)
    note.setWordWrap(True)
    note.setAlignment(Qt.AlignmentFlag.AlignCenter)
    note.setMinimumHeight(120)
    return note

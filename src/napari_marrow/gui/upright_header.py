"""A table's header whose words stand upright: many narrow columns with their whole names."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QHeaderView, QWidget

from napari_marrow.gui.plot_style import theme_colours

_MARGIN = 4


class UprightHeader(QHeaderView):
    """Horizontal header with names that are read from below.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.setSectionsClickable(True)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a height that holds the longest name."""
        names = [self._name(k) for k in range(self.count())]
        longest = max((self.fontMetrics().horizontalAdvance(name) for name in names), default=0)
        return QSize(super().sizeHint().width(), longest + 4 * _MARGIN)

    def paintSection(self, painter: QPainter | None, rect: QRect, logicalIndex: int) -> None:  # noqa: N802
        """Draw a name, turned by a quarter."""
        if painter is None:
            return
        painter.save()
        painter.setPen(QColor(theme_colours()[1]))
        painter.translate(rect.left(), rect.bottom())
        painter.rotate(-90)
        place = QRect(_MARGIN, 0, rect.height() - 2 * _MARGIN, rect.width())
        painter.drawText(
            place, int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft), self._name(logicalIndex)
        )
        painter.restore()

    def _name(self, section: int) -> str:
        model: Any = self.model()
        found = model.headerData(section, Qt.Orientation.Horizontal, Qt.ItemDataRole.DisplayRole)
        return "" if found is None else str(found)

"""A person's hand: real mouse and key events at the places where widgets are, counted as they arrive."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import QEvent, QObject, QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QComboBox, QFileDialog, QLineEdit, QScrollArea, QWidget

from napari_marrow.gui.napari_names import camera


class ActionCounter(QObject):
    """Counts what arrives at the application: clicks, keys, and fields that were filled (a text counts as one).

    Attributes
    ----------
    clicks, keys, fields : int
    """

    def __init__(self) -> None:
        super().__init__()
        self.clicks = self.keys = self.fields = 0
        self._seen: tuple[Any, ...] = ()
        self._field: QWidget | None = None
        QApplication.instance().installEventFilter(self)

    def stop(self) -> None:
        QApplication.instance().removeEventFilter(self)

    @property
    def total(self) -> int:
        return self.clicks + self.keys + self.fields

    def __str__(self) -> str:
        parts = [
            f"{n} {name}{'s' * (n != 1)}"
            for n, name in ((self.clicks, "click"), (self.fields, "field"), (self.keys, "key"))
            if n
        ]
        return f"{self.total} ({', '.join(parts)})"

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Count an event once, however many widgets it is offered to."""
        kind = event.type()
        if isinstance(watched, QWidget) and kind in (QEvent.Type.MouseButtonPress, QEvent.Type.KeyPress):
            what = event.button() if kind == QEvent.Type.MouseButtonPress else event.key()
            seen = (kind, event.timestamp(), what)
            if seen != self._seen:
                self._seen = seen
                self._count(watched, event)
        return False

    def _count(self, watched: QWidget, event: Any) -> None:
        if event.type() == QEvent.Type.MouseButtonPress:
            self.clicks += 1
            self._field = None
        elif isinstance(watched, QLineEdit) and (
            (event.text().isprintable() and event.text()) or event.key() == Qt.Key.Key_V
        ):
            self.fields += self._field is not watched
            self._field = watched
        elif event.key() not in (Qt.Key.Key_Shift, Qt.Key.Key_Control):
            self.keys += 1
            self._field = None


class Hand:
    """Does what a person does in one window.

    Parameters
    ----------
    viewer : napari.Viewer
    dock : StudyDock
    settle : callable
        Waits until a condition holds, while the window lives.
    """

    def __init__(self, viewer: Any, dock: Any, settle: Callable[[Callable[[], bool]], None]) -> None:
        self.viewer, self.dock, self._settle = viewer, dock, settle
        self.missed = 0  # clicks that a slow machine took for others

    def click(self, widget: QWidget, at: QPoint | None = None, *, shift: bool = False) -> None:
        """Click a widget that can be seen and used, in its middle or at a place of it."""
        assert widget.isVisible(), widget
        assert widget.isEnabled(), widget
        self._scroll_to(widget)
        place = widget.rect().center() if at is None else at
        assert widget.rect().contains(place)
        # what lies there is the widget or a part of it, and no other widget over it
        there = QApplication.widgetAt(widget.mapToGlobal(place))
        assert there is not None
        assert there is widget or widget.isAncestorOf(there) or there.isAncestorOf(widget), (widget, there)
        modifier = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier
        QTest.mouseClick(widget, Qt.MouseButton.LeftButton, modifier, place)
        self.wait()

    def _scroll_to(self, widget: QWidget) -> None:
        """Turn the wheel, as it were, until a widget can be seen."""
        area = widget.parentWidget()
        while area is not None and not isinstance(area, QScrollArea):
            area = area.parentWidget()
        if area is not None and area.widget() is not None and area.widget().isAncestorOf(widget):
            area.ensureWidgetVisible(widget)
            QTest.qWait(20)

    def tab(self, page: QWidget) -> None:
        """Click the tab of a page."""
        bar = self.dock.tabs.tabBar()
        self.click(bar, bar.tabRect(self.dock.tabs.indexOf(page)).center())

    def choose(self, box: QComboBox, text: str) -> None:
        """Open a list and click one of its entries; once more where the list has closed before that."""
        row = next(k for k in range(box.count()) if box.itemText(k).startswith(text))
        for _ in range(4):
            self.click(box)
            # a second click before that would be one on the box
            QTest.qWait(QApplication.doubleClickInterval() + 300)
            view = box.view()
            index = view.model().index(row, box.modelColumn())
            view.scrollTo(index)
            place = view.visualRect(index).center()
            QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
            self.wait()
            if box.currentIndex() == row:
                return
            box.hidePopup()
            self.missed += 2
        raise AssertionError(f"'{text}' was not chosen")

    def key(self, key: Any) -> None:
        """Press a key in the window."""
        QTest.keyClick(self.viewer.window._qt_window, key)
        self.wait()

    def type(self, field: QLineEdit, text: str) -> None:
        """Click a field and type into it."""
        self.click(field)
        QTest.keyClicks(field, text)

    def canvas(self, y: float, x: float, *, shift: bool = False) -> None:
        """Click the image at a place of the world, in µm."""
        QTest.qWait(200)
        canvas = self.viewer.window._qt_viewer.canvas.native
        view = camera(self.viewer)
        middle = view.center[-2:]
        place = QPoint(
            round(canvas.width() / 2 + (x - middle[1]) * view.zoom),
            round(canvas.height() / 2 + (y - middle[0]) * view.zoom),
        )
        self.click(canvas, place, shift=shift)

    def answer_file_dialog(self, path: Path | str) -> None:
        """Paste a path into the file dialog that the next click opens, and press Enter."""
        deadline = time.monotonic() + 30

        def answer() -> None:
            dialog = QApplication.activeModalWidget()
            if not isinstance(dialog, QFileDialog):
                assert time.monotonic() < deadline, "no file dialog came"
                QTimer.singleShot(50, answer)
                return
            field = dialog.findChild(QLineEdit, "fileNameEdit")
            QTimer.singleShot(10_000, dialog.reject)  # one that does not take the path would never end
            field.selectAll()
            # pasted: the dialog proposes names while one types, and takes some of the keys for that
            QApplication.clipboard().setText(str(path))
            QTest.keyClick(field, Qt.Key.Key_V, Qt.KeyboardModifier.ControlModifier)
            QTest.keyClick(field, Qt.Key.Key_Return)

        QTimer.singleShot(50, answer)

    def wait(self) -> None:
        """Let the window come to rest."""
        self._settle(lambda: self.dock.idle)


def draw_lasso(qtbot: Any, plot: Any, pixels: list[Any]) -> None:
    """Draw a lasso through pixels of a plot with the mouse."""
    from qtpy.QtCore import QEvent, QPointF
    from qtpy.QtGui import QMouseEvent

    port = plot.viewport()
    qtbot.mousePress(port, Qt.MouseButton.LeftButton, pos=pixels[0])
    for place in pixels[1:]:
        event = QMouseEvent(
            QEvent.Type.MouseMove, QPointF(place), QPointF(port.mapToGlobal(place)), Qt.MouseButton.NoButton,
            Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier,
        )  # fmt: skip
        QApplication.sendEvent(port, event)
        qtbot.wait(15)  # pyqtgraph leaves out moves that come faster than it draws
    qtbot.mouseRelease(port, Qt.MouseButton.LeftButton, pos=pixels[-1])

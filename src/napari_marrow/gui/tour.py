"""First steps: a card that points at one part of the dock after the other, and can be closed at any time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtpy.QtCore import QEvent, QPoint, QRect, Qt
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_marrow.pipeline.preferences import config_folder

_SEEN = "first-steps-seen"
_GAP = 6


@dataclass(frozen=True)
class Step:
    """What the card says, and where it points.

    Attributes
    ----------
    title, text : str
    target : callable
        Returns a widget, and the part of it that is meant (None for all).
    """

    title: str
    text: str
    target: Callable[[], tuple[QWidget, QRect | None]]


class Tour(QFrame):
    """A card over a widget that leads through its parts.

    Right and Left (or the buttons) go on and back, Escape closes; the keyboard goes back to where it was.

    Parameters
    ----------
    host : QWidget
        Over which the card lies.
    steps : sequence of Step

    Attributes
    ----------
    button : QPushButton
        Opens the tour again; stands where the host puts it.
    """

    def __init__(self, host: QWidget, steps: Sequence[Step]) -> None:
        super().__init__(host)
        self._host, self._steps, self._at = host, tuple(steps), 0
        self._before: QWidget | None = None
        self.button = QPushButton("First steps")
        self.button.setToolTip("A short tour of this dock.")
        self.button.clicked.connect(self.begin)
        self.setObjectName("marrow_tour")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.title, self.text, self.count = QLabel(""), QLabel(""), QLabel("")
        self.text.setWordWrap(True)
        self.back, self.next, self.close_button = QPushButton("Back"), QPushButton("Next"), QPushButton("Close")
        self.back.clicked.connect(lambda: self.go(self._at - 1))
        self.next.clicked.connect(lambda: self.go(self._at + 1))
        self.close_button.clicked.connect(self.end)
        row = QHBoxLayout()
        for widget in (self.count, self.back, self.next, self.close_button):
            row.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 8, 10, 8)
        for widget in (self.title, self.text):
            layout.addWidget(widget)
        layout.addLayout(row)
        self._frame = QFrame(host)
        self._frame.setObjectName("marrow_tour_frame")
        self._frame.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setVisible(False)
        self._frame.setVisible(False)
        for watched in (host, self, self.back, self.next, self.close_button):
            watched.installEventFilter(self)

    @property
    def running(self) -> bool:
        """Whether the card is there."""
        return not self.isHidden()

    @property
    def at(self) -> int:
        """Number of the step, from 0."""
        return self._at

    def offer(self) -> None:
        """Begin, unless the user has seen the tour before."""
        if not seen_file().exists():
            self.begin()

    def begin(self) -> None:
        """Begin with the first step; from now on the tour counts as seen."""
        with suppress(OSError):  # a config folder that cannot be written to is no reason to withhold the tour
            seen_file().parent.mkdir(parents=True, exist_ok=True)
            seen_file().touch()
        self._before = self._host.window().focusWidget()
        self._wear_theme()
        self.setVisible(True)
        self._frame.setVisible(True)
        self.go(0)

    def end(self) -> None:
        """Close the card."""
        self.setVisible(False)
        self._frame.setVisible(False)
        if self._before is not None:
            with suppress(RuntimeError):  # it may be gone meanwhile
                self._before.setFocus()
        self._before = None

    def go(self, step: int) -> None:
        """Show a step; behind the last one the tour ends.

        Parameters
        ----------
        step : int
        """
        if step >= len(self._steps):
            self.end()
            return
        self._at = max(step, 0)
        shown = self._steps[self._at]
        self.title.setText(f"<b>{shown.title}</b>")
        self.text.setText(shown.text)
        self.count.setText(f"{self._at + 1} of {len(self._steps)}")
        self.setAccessibleName(f"First steps, {self.count.text()}: {shown.title}")
        self.setAccessibleDescription(shown.text)
        self.back.setEnabled(self._at > 0)
        self.next.setText("Done" if self._at == len(self._steps) - 1 else "Next")
        self._place()
        self.next.setFocus()

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802
        """Go on, back or close by key; stay beside the target when the dock gets another size."""
        if watched is not self._host and event.type() == QEvent.Type.KeyPress:
            return self._on_key(event.key())
        if self.running and watched is self._host and event.type() in (QEvent.Type.Resize, QEvent.Type.LayoutRequest):
            self._place()
        return bool(super().eventFilter(watched, event))

    def _on_key(self, key: Any) -> bool:
        """Take a key; return whether it meant something: buttons take arrows for a way to the next one."""
        if key == Qt.Key.Key_Escape:
            self.end()
        elif key in (Qt.Key.Key_Right, Qt.Key.Key_Left):
            self.go(self._at + (1 if key == Qt.Key.Key_Right else -1))
        else:
            return False
        return True

    def _place(self) -> None:
        """Put the frame around the target, and the card below it, or above where there is no room."""
        widget, part = self._steps[self._at].target()
        area = widget.rect() if part is None else part
        target = QRect(widget.mapTo(self._host, area.topLeft()), area.size())
        around = target.adjusted(-3, -3, 3, 3).intersected(self._host.rect())
        self._frame.setGeometry(around)
        width = min(self._host.width() - 2 * _GAP, 360)
        self.setFixedWidth(width)
        height = self.heightForWidth(width) if self.hasHeightForWidth() else self.sizeHint().height()
        self.resize(width, height)
        below, above = around.bottom() + _GAP, around.top() - _GAP - height
        top = below if below + height <= self._host.height() else above if above >= 0 else self._host.height() - height
        left = min(max(around.center().x() - width // 2, _GAP), max(self._host.width() - width - _GAP, 0))
        self.move(QPoint(left, max(top, 0)))
        self._frame.raise_()
        self.raise_()

    def _wear_theme(self) -> None:
        from napari_marrow.gui.plot_style import theme_colours

        background, text = theme_colours()
        self.setStyleSheet(
            f"#marrow_tour {{ background-color: {background}; border: 2px solid {text}; border-radius: 4px; }}"
        )
        self._frame.setStyleSheet(f"#marrow_tour_frame {{ background: transparent; border: 2px solid {text}; }}")


def seen_file() -> Path:
    """Return the file that says that the tour was seen, beside the user's preferences."""
    return config_folder() / _SEEN


def dock_tour(dock: Any) -> Tour:
    """Return the tour of the study dock.

    Parameters
    ----------
    dock : StudyDock
    """

    def tab(page: QWidget) -> Callable[[], tuple[QWidget, QRect | None]]:
        def find() -> tuple[QWidget, QRect | None]:
            index, bar = dock.tabs.indexOf(page), dock.tabs.tabBar()
            dock.tabs.setCurrentIndex(index)
            return bar, bar.tabRect(index)

        return find

    def whole(widget: QWidget) -> Callable[[], tuple[QWidget, QRect | None]]:
        return lambda: (widget, None)

    return Tour(
        dock,
        (
            Step("Open a study", "Open sample makes a study of two simulated organoids on this computer, offline. "
                 "Open study... takes a *.marrow folder (or drop it here), Import... makes one of microscope files.",
                 whole(dock.picker.sample_button.parentWidget())),
            Step("What is computed", "Every parameter of the analysis with its unit and meaning: hover over one. "
                 "The defaults are a good start.", tab(dock.form)),
            Step("Try it on what you see", "Segments what is in view, twice side by side if you like. "
                 "Nothing is written.", tab(dock.preview)),
            Step("Run", "Computes every step beside the window. Cancel keeps what is finished, Run goes on from there.",
                 whole(dock.runner.run_button)),
            Step("Correct what is uncertain", "The least certain links and divisions come first: N for the next, "
                 "Y if it is right, K to break it, U to undo, also next month.", tab(dock.curate)),
            Step("Look at everything together", "Cells, Lineage and Niche draw what was found. Drag a lasso in a plot: "
                 "the image follows. What you click anywhere stands out everywhere.", tab(dock.cells)),
            Step("Take it along", "The report holds figures, numbers and methods. "
                 "3D and movie turns a volume, clips it and films it.", whole(dock.report_button)),
        ),
    )  # fmt: skip

"""Segmentation of the current view with two settings, side by side."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_marrow.gui.recipe_text import differences

if TYPE_CHECKING:
    from napari_marrow.pipeline.preview import Preview
    from napari_marrow.pipeline.recipe import Recipe

NAMES = ("A", "B")


class Picture(QLabel):
    """A picture that keeps its proportions and takes the room there is."""

    def __init__(self) -> None:
        super().__init__()
        self._pixmap = QPixmap()
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setMinimumSize(80, 80)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)

    def show_picture(self, pixels: np.ndarray) -> None:
        """Show (Y, X, 3) uint8."""
        pixels = np.ascontiguousarray(pixels)
        height, width = pixels.shape[:2]
        image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
        self._pixmap = QPixmap.fromImage(image)
        self._fit()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a size that two of fit into a dock."""
        return QSize(160, 160)

    def resizeEvent(self, event: object) -> None:  # noqa: N802
        """Fit the picture again."""
        self._fit()

    def _fit(self) -> None:
        if not self._pixmap.isNull():
            keep, smooth = Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
            self.setPixmap(self._pixmap.scaled(self.size(), keep, smooth))


class PreviewTab(QWidget):
    """Two previews.

    Signals
    -------
    asked : int
        The preview of that number should be made with the settings that the form shows.
    use_asked : Recipe
        The form should show the settings of a preview again.

    Attributes
    ----------
    previews : list of Preview or None
    """

    asked = Signal(int)
    use_asked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.previews: list[Preview | None] = [None, None]
        self.pictures = [Picture(), Picture()]
        self.texts = [QLabel(""), QLabel("")]
        self.buttons = [QPushButton(f"Preview {name}") for name in NAMES]
        self.use_buttons = [QPushButton(f"Use {name}") for name in NAMES]
        about = QLabel(
            "Segments what is in view, at most 512 x 512 pixels, with the settings of the Recipe tab. "
            "Change one there and press the other button to compare."
        )
        about.setWordWrap(True)
        grid = QGridLayout()
        grid.setSpacing(4)
        for k, name in enumerate(NAMES):
            self.buttons[k].setToolTip(f"Segment the current view; the cells come as the layer Preview {name}.")
            self.buttons[k].clicked.connect(partial(self._ask, k))
            self.use_buttons[k].setToolTip(f"Show the settings of preview {name} in the Recipe tab.")
            self.use_buttons[k].clicked.connect(partial(self._use, k))
            self.use_buttons[k].setEnabled(False)
            self.texts[k].setWordWrap(True)
            self.texts[k].setAlignment(Qt.AlignmentFlag.AlignTop)
            for row, widget in enumerate((self.buttons[k], self.pictures[k], self.texts[k], self.use_buttons[k])):
                grid.addWidget(widget, row, k)
            grid.setColumnStretch(k, 1)
        grid.setRowStretch(1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addWidget(about)
        layout.addLayout(grid, 1)
        self.allow(False)

    def allow(self, allowed: bool) -> None:
        """Enable the buttons that make previews."""
        for button in self.buttons:
            button.setEnabled(allowed)

    def show_preview(self, k: int, preview: Preview) -> None:
        """Show a preview.

        Parameters
        ----------
        k : int
            0 for A, 1 for B.
        preview : Preview
        """
        from napari_marrow.pipeline.overlays import overlay

        self.previews[k] = preview
        self.pictures[k].show_picture(overlay(preview.image, preview.labels))
        changed = differences(preview.recipe).get("segment", {})
        settings = ", ".join(f"{name} {value}" for name, value in changed.items()) or "default settings"
        found = f"<b>{preview.n_cells} cells</b>, diameter {preview.diameter_um:.1f} µm, {preview.seconds:.1f} s"
        self.texts[k].setText(f"{found}<br>{settings}")
        self.use_buttons[k].setEnabled(True)

    def clear(self) -> None:
        """Forget the previews: another study is open."""
        self.previews = [None, None]
        for picture, text, button in zip(self.pictures, self.texts, self.use_buttons, strict=True):
            picture.clear()
            text.clear()
            button.setEnabled(False)

    def _ask(self, k: int, *_: object) -> None:
        self.asked.emit(k)

    def _use(self, k: int, *_: object) -> None:
        preview = self.previews[k]
        if preview is not None:
            recipe: Recipe = preview.recipe
            self.use_asked.emit(recipe)

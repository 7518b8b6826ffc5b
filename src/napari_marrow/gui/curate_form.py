"""The buttons of the Curate tab, without what they do."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_marrow.gui.picked_edits import NEEDS
from napari_marrow.gui.queue_view import QueueView
from napari_marrow.study.process import user_name

KEYS = {"next": "N", "previous": "Shift-N", "accept": "Y", "break": "K", "undo": "U", "redo": "Shift-U"}
"""Keys in the window by what they do."""

QUEUES = {
    "uncertain": "least certain links and divisions",
    "division": "least certain divisions",
    "onset": "least certain marker onsets",
    "audit": "audit sample",
}


class CurateForm(QWidget):
    """Widgets of the tab, by name; `CurateTab` gives them their meaning."""

    def __init__(self) -> None:
        super().__init__()
        self.queue_choice = QComboBox()
        for key, text in QUEUES.items():
            self.queue_choice.addItem(text, key)
        self.queue = QueueView()
        self.picked = QElidingLabel("")
        self.picked.setToolTip("Cells that an edit concerns: a click in the image picks one, Shift and a click more.")
        self.previous_button = _button("Previous", "Go to the entry before.", "previous")
        self.next_button = _button("Next", "Go to the next entry of which nothing was said yet.", "next")
        self.edit_buttons = {
            kind: _button(kind.capitalize(), f"{_SAYS[kind]} Pick {NEEDS[kind]}.", kind) for kind in NEEDS
        }
        self.undo_button = _button("Undo", "Take the last edit of this study back, whenever it was made.", "undo")
        self.redo_button = _button("Redo", "Make the edit again that was taken back last.", "redo")
        self.bulk_from = QDoubleSpinBox()
        self.bulk_from.setRange(0.5, 1.0)
        self.bulk_from.setDecimals(4)
        self.bulk_from.setSingleStep(0.01)
        self.bulk_from.setValue(0.999)
        self.bulk_button = _button("Accept all", "Accept every open link of this session from that chance up, at once.")
        self.sample_size = QSpinBox()
        self.sample_size.setRange(10, 1000)
        self.sample_size.setValue(100)
        self.draw_button = _button("Draw", "Draw links of this session at random, to find out how many are wrong.")
        self.right_button = _button("Right", "This link of the sample is right.")
        self.wrong_button = _button("Wrong", "This link of the sample is wrong.")
        self.rate = QLabel("")
        self.author = QLineEdit(user_name())
        self.author.setToolTip("Who edits: kept with every edit.")
        self.blinded = QCheckBox("Blinded")
        self.blinded.setToolTip(
            "Hide conditions and names of positions, show them in random order, and hide what would tell them."
        )
        self.state = QLabel("")
        self.update_button = _button("Update results", "Run the recipe: only what the edits concern is computed again.")
        self.train_button = _button(
            "Fine-tune on my corrections",
            "Train the recipe's model on with the frames whose labels you painted, as a new model (needs torch).",
        )
        for label in (self.rate, self.state):
            label.setWordWrap(True)
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self._lay_out()

    def _lay_out(self) -> None:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 4, 4, 0)
        column.setSpacing(4)
        column.addLayout(_row(QLabel("Show"), (self.queue_choice, 1)))
        column.addWidget(self.queue, 1)
        accept = self.edit_buttons["accept"]
        column.addLayout(_row((self.previous_button, 1), (self.next_button, 1), (accept, 1)))
        column.addWidget(self.picked)
        grid = QGridLayout()
        grid.setSpacing(4)
        for k, kind in enumerate(("break", "link", "swap", "divide", "merge", "delete")):
            grid.addWidget(self.edit_buttons[kind], k // 3, k % 3)
        column.addLayout(grid)
        column.addLayout(_row((self.undo_button, 1), (self.redo_button, 1), QLabel("by"), (self.author, 1)))
        column.addLayout(_row(QLabel("Chance from"), (self.bulk_from, 1), (self.bulk_button, 1)))
        verdict = (self.right_button, 1), (self.wrong_button, 1)
        column.addLayout(_row(QLabel("Audit"), self.sample_size, (self.draw_button, 1), *verdict))
        column.addWidget(self.rate)
        column.addLayout(_row(self.blinded, (self.update_button, 1)))
        column.addWidget(self.train_button)
        column.addWidget(self.state)
        scroll = QScrollArea()
        scroll.setWidget(inner)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scroll)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a size that a small screen can give."""
        return QSize(350, 380)


_SAYS = {
    "accept": "The link is right: it stays when the recipe runs again.",
    "link": "The earlier cell goes on as the later one.",
    "break": "The earlier cell does not go on as the later one, and never will.",
    "swap": "The two cells exchange where they come from.",
    "divide": "The earlier cell is the mother of the two later ones.",
    "merge": "The two labels are one cell that was cut in two; the second one goes into the first.",
    "delete": "This is no cell.",
}


def _button(text: str, tip: str, key: str = "") -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(f"{tip} [{KEYS[key]}]" if key in KEYS else tip)
    button.setMinimumWidth(40)
    return button


def _row(*items: QWidget | tuple[QWidget, int]) -> QLayout:
    row = QHBoxLayout()
    row.setSpacing(4)
    for item in items:
        widget, stretch = item if isinstance(item, tuple) else (item, 0)
        row.addWidget(widget, stretch)
    return row

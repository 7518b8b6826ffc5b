"""The board of a study: every session of every position, and how far each step is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_marrow.gui.plot_style import ThemeFollower, shown_colour
from napari_marrow.gui.upright_header import UprightHeader
from napari_marrow.palette import GREEN, GREY, ORANGE, VERMILLION

if TYPE_CHECKING:
    from napari_marrow.gui.study_reader import Contents
    from napari_marrow.pipeline.status import Board

_COLOURS = {"done": GREEN, "stale": ORANGE, "failed": VERMILLION, "missing": "", "nothing": GREY}
_MARKS = {"done": "\u25a0", "stale": "\u25b2", "failed": "\u2717", "missing": "\u25a1", "nothing": "\u2013"}
_WORDS = {
    "done": "done", "stale": "older settings", "failed": "failed", "missing": "to do", "nothing": "nothing to do",
}  # fmt: skip


class BoardTab(QWidget):
    """The board.

    Signals
    -------
    picked : (str, int)
        A session was double-clicked.
    run_asked : str
        The recipe should be run up to this step.
    """

    picked = Signal(str, int)
    run_asked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._places: list[tuple[str, int]] = []
        self._steps: list[str] = []
        self.table = QTableWidget(0, 0)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setShowGrid(False)
        self.table.setHorizontalHeader(UprightHeader(self.table))
        self.table.cellDoubleClicked.connect(self._on_double_click)
        self.table.currentCellChanged.connect(self._on_current)
        self.run_button = QPushButton("Run up to this step")
        self.run_button.setToolTip(
            "Compute what is missing up to the step of the chosen column; a failed unit is tried again."
        )
        self.run_button.clicked.connect(self._on_run)
        self.run_button.setEnabled(False)
        self.about = QLabel("")
        self.about.setWordWrap(True)
        self.legend = QLabel("")
        self.legend.setWordWrap(True)
        row = QHBoxLayout()
        row.addWidget(self.about, 1)
        row.addWidget(self.run_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addWidget(self.table, 1)
        layout.addLayout(row)
        layout.addWidget(self.legend)
        self._shown: tuple[Board, Contents, dict[str, str]] | None = None
        ThemeFollower(self).changed.connect(self._on_theme)
        self._tell_colours()

    def _tell_colours(self) -> None:
        self.legend.setText(
            " &nbsp;".join(
                f'<span style="color:{shown_colour(_COLOURS[state] or GREY, text=True)}">{_MARKS[state]}</span>'
                f"&nbsp;{_WORDS[state]}"
                for state in _COLOURS
            )
        )

    def _on_theme(self) -> None:
        self._tell_colours()
        if self._shown is not None:
            self.set_board(*self._shown)

    def set_board(self, board: Board, contents: Contents, names: dict[str, str]) -> None:
        """Show how far each step is.

        Parameters
        ----------
        board : Board
        contents : Contents
        names : dict of str to str
            What each position is called on display, and its condition.
        """
        self._shown = board, contents, names
        self._steps = list(board.keys)
        self._places = list(dict.fromkeys((field.position, field.session) for field in board.fields))
        days = {(place.position, place.session): place for place in contents.places}
        table = self.table
        table.setUpdatesEnabled(False)
        table.setRowCount(len(self._places))
        table.setColumnCount(len(self._steps))
        table.setHorizontalHeaderLabels([step.replace("_", " ") for step in self._steps])
        for column, step in enumerate(self._steps):
            table.horizontalHeaderItem(column).setToolTip(step)
        row_of = {place: k for k, place in enumerate(self._places)}
        for (position, session), k in row_of.items():
            place = days.get((position, session))
            name, _, about = names.get(position, position).partition(", ")
            head = QTableWidgetItem(f"{name}  {session}")
            told = f"{name}, {about}" if about else name
            head.setToolTip(f"{told}; session {place}" if place is not None else told)
            table.setVerticalHeaderItem(k, head)
        for field in board.fields:
            item = QTableWidgetItem(_MARKS[field.state])
            item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
            if _COLOURS[field.state]:
                item.setForeground(QBrush(QColor(shown_colour(_COLOURS[field.state], text=True))))
            place_name = names.get(field.position, field.position)
            told = f"{place_name}, session {field.session}, {field.step}: {_WORDS[field.state]}"
            told += f", {field.done} of {field.units}" if field.units > 1 else ""
            item.setToolTip(f"{told}. {field.reason}" if field.reason else told)
            table.setItem(row_of[field.position, field.session], self._steps.index(field.step), item)
        header, side = table.horizontalHeader(), table.verticalHeader()
        header.setMinimumSectionSize(16)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        side.setDefaultSectionSize(20)
        table.setUpdatesEnabled(True)

    def clear(self) -> None:
        """Show nothing."""
        self.table.setRowCount(0)
        self.about.clear()

    def state(self, position: str, session: int, step: str) -> str:
        """Return what the board says of a step of a session, as a person reads it (its tooltip)."""
        item = self.table.item(self._places.index((position, session)), self._steps.index(step))
        return "" if item is None else str(item.toolTip())

    def _on_current(self, row: int, column: int, *_: Any) -> None:
        item = self.table.item(row, column)
        self.about.setText("" if item is None else item.toolTip())
        self.run_button.setEnabled(item is not None)

    def _on_run(self) -> None:
        column = self.table.currentColumn()
        if 0 <= column < len(self._steps):
            self.run_asked.emit(self._steps[column])

    def _on_double_click(self, row: int, column: int) -> None:
        self.picked.emit(*self._places[row])

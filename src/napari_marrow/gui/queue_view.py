"""The queue of uncertain decisions as a table."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from napari_marrow.gui.plot_style import shown_colour
from napari_marrow.palette import GREEN, GREY, ORANGE

_HEADERS = ("Chance", "What", "Frame", "Why", "")
_WIDTHS = (52, 64, 46, 120, 24)
_WHY, _SAID = 3, 4
_MARKS = {"open": "", "accepted": "\u2713", "right": "\u2713", "wrong": "\u2717", "changed": "\u270e"}
_STATE_COLOURS = {"accepted": GREEN, "right": GREEN, "changed": ORANGE, "wrong": ORANGE}
_INVALID = QModelIndex()


class QueueModel(QAbstractTableModel):
    """Rows of a queue with what a person said of each.

    Attributes
    ----------
    rows : DataFrame
        `review_queue.COLUMNS`.
    states : list of str
        Of each row: open, accepted, changed; in an audit open, right, wrong.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows = pd.DataFrame()
        self._records: list[dict[Hashable, Any]] = []
        self.states: list[str] = []

    def set_rows(self, rows: pd.DataFrame, states: list[str]) -> None:
        """Show other rows."""
        self.beginResetModel()
        self.rows, self.states = rows.reset_index(drop=True), states
        self._records = self.rows.to_dict("records")
        self.endResetModel()

    def set_states(self, states: list[str]) -> None:
        """Say again what was said of each row."""
        self.states = states
        if states:
            self.dataChanged.emit(self.index(0, 0), self.index(len(states) - 1, len(_HEADERS) - 1))

    def rowCount(self, parent: QModelIndex = _INVALID) -> int:  # noqa: N802
        """Return how many rows there are."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = _INVALID) -> int:  # noqa: N802
        """Return how many columns there are."""
        return 0 if parent.isValid() else len(_HEADERS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: N802
        """Return a column's title."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return _HEADERS[section]
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell of the table shows."""
        row, state = self._records[index.row()], self.states[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return _text(row, state, index.column())
        if role == Qt.ItemDataRole.ForegroundRole and state in _STATE_COLOURS and index.column() == _SAID:
            return QColor(shown_colour(_STATE_COLOURS[state], text=True))
        if role == Qt.ItemDataRole.ForegroundRole and state != "open":
            return QColor(shown_colour(GREY, text=True))
        if role == Qt.ItemDataRole.ToolTipRole:
            return describe(row) + ("" if state == "open" else f" ({state})")
        return None


def _text(row: Any, state: str, column: int) -> str:
    if column == 0:
        chance = float(row["probability"])
        return "" if np.isnan(chance) else ("<.001" if chance < 0.001 else f"{min(chance, 0.999):.3f}"[1:])
    if column == 1:
        return str(row["lineage"] or row["kind"])
    if column == 2:
        return str(int(row["t"]) + 1)
    return str(row["reason"]) if column == _WHY else _MARKS[state]


def describe(row: Any) -> str:
    """Return an entry of the queue as a sentence; frames count from 1 as on the time slider's text."""
    chance = float(row["probability"])
    told = "" if np.isnan(chance) else f", right with a chance of {chance:.3f}"
    at = f"label {int(row['label'])} in frame {int(row['t']) + 1}"
    if row["kind"] == "onset":
        return f"{row['lineage']} marker comes on in {at}{told}: {row['reason']}."
    parent = f"label {int(row['label_parent'])} in frame {int(row['t_parent']) + 1}"
    if int(row["second_label"]):
        other = f"label {int(row['second_label'])} in frame {int(row['second_t']) + 1}"
        return f"L{parent[1:]} divides into {at} and {other}{told}."
    word = "goes on as" if row["kind"] == "link" else "is lost and found again as"
    return f"L{parent[1:]} {word} {at}{told}: {row['reason']}."


class QueueView(QTableView):
    """The table; Up and Down go from row to row.

    Signals
    -------
    chosen : int
        A row was chosen.
    """

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.queue = QueueModel()
        self.setModel(self.queue)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setMinimumHeight(90)
        vertical, horizontal = self.verticalHeader(), self.horizontalHeader()
        assert vertical is not None
        assert horizontal is not None
        vertical.setVisible(False)
        vertical.setDefaultSectionSize(20)
        for column, width in enumerate(_WIDTHS):
            self.setColumnWidth(column, width)
        horizontal.setSectionResizeMode(_WHY, QHeaderView.ResizeMode.Stretch)
        horizontal.setHighlightSections(False)
        horizontal.setMinimumSectionSize(20)
        self.selectionModel().currentRowChanged.connect(self._on_current)

    @property
    def current(self) -> int:
        """The chosen row, -1 for none."""
        return int(self.currentIndex().row())

    def choose(self, row: int) -> None:
        """Choose a row, and tell."""
        if row == self.current:
            self.chosen.emit(row)
        else:
            self.setCurrentIndex(self.queue.index(row, 0))

    def _on_current(self, index: QModelIndex, *_: Any) -> None:
        if index.isValid():
            self.chosen.emit(int(index.row()))

"""The tracks of the session on display as a table that shares its selection with image and pedigree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QItemSelection, QItemSelectionModel, QModelIndex, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QTableView

_COLUMNS = {
    "track_id": "Track", "founder_track_id": "Clone", "generation": "Gen.", "start_h": "From (h)", "end_h": "To (h)",
    "fate": "Ends by", "mean_probability": "Chance",
}  # fmt: skip
_INVALID = QModelIndex()


class TrackModel(QAbstractTableModel):
    """Rows of the table `tracks`.

    Attributes
    ----------
    rows : DataFrame
        In the order in which they are shown.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows = pd.DataFrame(columns=list(_COLUMNS))

    def set_rows(self, rows: pd.DataFrame) -> None:
        """Show other rows."""
        self.beginResetModel()
        self.rows = rows[list(_COLUMNS)].reset_index(drop=True)
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = _INVALID) -> int:  # noqa: N802
        """Return how many rows there are."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = _INVALID) -> int:  # noqa: N802
        """Return how many columns there are."""
        return 0 if parent.isValid() else len(_COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: N802
        """Return a column's title."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return list(_COLUMNS.values())[section]
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell of the table shows."""
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        value = self.rows.iloc[index.row(), index.column()]
        if isinstance(value, float | np.floating):
            return (
                "" if np.isnan(value) else (f"{value:.3f}" if index.column() == len(_COLUMNS) - 1 else f"{value:.1f}")
            )
        return str(value)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column."""
        self.beginResetModel()
        ascending = order == Qt.SortOrder.AscendingOrder
        self.rows = self.rows.sort_values(list(_COLUMNS)[column], ascending=ascending, kind="stable", ignore_index=True)
        self.endResetModel()


class TrackTable(QTableView):
    """The table; a click on a column's title sorts by it.

    Signals
    -------
    picked : list of int
        Tracks of the rows that a person selected.
    """

    picked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.tracks = TrackModel()
        self.setModel(self.tracks)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setShowGrid(False)
        self.setSortingEnabled(True)
        self.setMinimumHeight(50)
        side, top = self.verticalHeader(), self.horizontalHeader()
        assert side is not None
        assert top is not None
        side.setVisible(False)
        side.setDefaultSectionSize(20)
        top.setStretchLastSection(True)
        for column in range(len(_COLUMNS)):
            self.setColumnWidth(column, 52)
        self._quiet = False
        self.selectionModel().selectionChanged.connect(self._on_selection)

    def set_tracks(self, tracks: pd.DataFrame | None) -> None:
        """Show the tracks of a session, the first ones first.

        Parameters
        ----------
        tracks : DataFrame or None
            Rows of the table `tracks`.
        """
        self._quiet = True
        self.tracks.set_rows(pd.DataFrame(columns=list(_COLUMNS)) if tracks is None else tracks)
        self._quiet = False

    def select(self, tracks: frozenset[int]) -> None:
        """Select the rows of tracks, and show the first of them."""
        model = self.selectionModel()
        if not len(self.tracks.rows) or set(self.selected()) == set(tracks):
            return
        self._quiet = True
        found = np.flatnonzero(self.tracks.rows["track_id"].isin(list(tracks)).to_numpy())
        rows = QItemSelection()
        last = self.tracks.columnCount() - 1
        for run in np.split(found, np.flatnonzero(np.diff(found) > 1) + 1) if len(found) else []:
            rows.select(self.tracks.index(int(run[0]), 0), self.tracks.index(int(run[-1]), last))
        model.select(rows, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        if len(found):
            self.scrollTo(self.tracks.index(int(found[0]), 0))
        self._quiet = False

    def selected(self) -> list[int]:
        """Return the tracks of the selected rows."""
        rows = sorted({index.row() for index in self.selectionModel().selectedRows()})
        return [int(k) for k in self.tracks.rows["track_id"].to_numpy()[rows].tolist()]

    def _on_selection(self, *_: Any) -> None:
        if not self._quiet:
            self.picked.emit(self.selected())

"""The cells of a study as the *Cells* tab draws them and looks them up, read beside the window. Knows no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.gui.cell_columns import cell_columns, colour_columns, numeric_columns

if TYPE_CHECKING:
    from napari_marrow.progress import CancelToken, Progress

SCOPES = ("session on display", "whole study")


@dataclass(frozen=True)
class Wanted:
    """Which cells are to be shown; equal ones need no second look."""

    path: Path
    position: str
    session: int
    opened: int
    scope: str


@dataclass(frozen=True, eq=False)
class CellsRead:
    """Cells as they are drawn and looked up, prepared beside the window.

    Attributes
    ----------
    wanted : Wanted
    table : DataFrame
        See `cell_columns`.
    here : (n,) bool
        In the session on display.
    stride : int
        One more than the largest label.
    cells : (n,) int64
        Frame times stride plus label.
    rows : (m,) int64
        Rows of the session on display by `cells`.
    track : (n,) int64
        0 for none.
    place : (n, 3) float64
        z, y, x in µm.
    area : (n,) float64
        µm².
    axes, colours : list of str
        Columns that can be an axis, and a colour.
    """

    wanted: Wanted
    table: pd.DataFrame
    here: npt.NDArray[np.bool_]
    stride: int
    cells: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    track: npt.NDArray[np.int64]
    place: npt.NDArray[np.float64]
    area: npt.NDArray[np.float64]
    axes: list[str]
    colours: list[str]

    @classmethod
    def of(cls, table: pd.DataFrame, wanted: Wanted) -> CellsRead:
        """Prepare a table of cells."""
        t, label = (table[name].to_numpy(np.int64) for name in ("t", "label"))
        here = ((table["position"] == wanted.position) & (table["session"] == wanted.session)).to_numpy(bool)
        stride = int(label.max(initial=0)) + 1
        cells, rows = t * stride + label, np.flatnonzero(here)
        tracked = "track_id" in table.columns
        return cls(
            wanted,
            table,
            here,
            stride,
            cells,
            rows[np.argsort(cells[rows], kind="stable")],
            table["track_id"].fillna(0).to_numpy(np.int64) if tracked else np.zeros(len(table), np.int64),
            table.reindex(columns=["z", "y", "x"]).to_numpy(np.float64),
            table.reindex(columns=["area"])["area"].to_numpy(np.float64),
            numeric_columns(table),
            colour_columns(table),
        )


def read_cells(wanted: Wanted, progress: Progress, cancel: CancelToken) -> CellsRead:
    """Return the cells that are wanted; to be called beside the window."""
    from napari_marrow.gui.warm_up import warm_up_plots
    from napari_marrow.study import Study

    table = cell_columns(Study.open(wanted.path))
    warm_up_plots()
    if wanted.scope == SCOPES[0]:
        table = table[(table["position"] == wanted.position) & (table["session"] == wanted.session)]
    return CellsRead.of(table.reset_index(drop=True), wanted)

"""The features of the cells of one frame at a time.

napari's labels layer has one row of features per label value and knows no time, so that a tracked cell would show the
row of its last frame everywhere: the rows of the current frame have to be swapped in when the frame changes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

_LEFT_OUT = ("position", "session", "t", "time_h", "z_reg", "y_reg", "x_reg", "touches_border")


class FrameFeatures:
    """The cells of a session, cut into frames.

    Parameters
    ----------
    cells : DataFrame
        Rows of the table `cells` (or any with columns t and label), of one session.
    n_frames : int
        Frames of the session.
    nodes : DataFrame, optional
        Rows of `track_nodes`; with them a cell's index is its track.
    """

    def __init__(self, cells: pd.DataFrame, n_frames: int, nodes: pd.DataFrame | None = None) -> None:
        table = cells.drop(columns=[name for name in _LEFT_OUT if name in cells.columns and name != "t"])
        if nodes is not None and len(nodes):
            table = table.merge(nodes[["t", "label", "track_id", "link_probability"]], on=["t", "label"], how="left")
            spare = int(nodes["track_id"].max())
            index = table["track_id"].fillna(table["label"] + spare).astype(np.int64)
        else:
            index = table["label"].astype(np.int64)
        table.insert(0, "index", index.to_numpy())
        table = table.sort_values("t", kind="stable", ignore_index=True)
        self._table = table.drop(columns=[name for name in ("t", "track_id") if name in table.columns])
        self._starts: npt.NDArray[np.int64] = np.searchsorted(table["t"].to_numpy(), np.arange(n_frames + 1))

    def at(self, t: int) -> pd.DataFrame:
        """Return the rows of a frame, none outside of the session; `index` is the value in the labels layer."""
        if not 0 <= t < len(self._starts) - 1:
            return self._table.iloc[:0]
        return self._table.iloc[self._starts[t] : self._starts[t + 1]].reset_index(drop=True)

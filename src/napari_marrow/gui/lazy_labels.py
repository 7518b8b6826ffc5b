"""Label images of a study as lazy arrays for display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

    from napari_marrow.study import SessionLabels


class TrackLookup:
    """The track of each label of each frame.

    Labels without a track are shown as ``spare + label``, which no track has.

    Parameters
    ----------
    nodes : DataFrame
        Rows of the table `track_nodes`, of one session, at least one.
    n_frames : int
        Frames of the session.

    Attributes
    ----------
    spare : int
        The largest track.
    """

    def __init__(self, nodes: pd.DataFrame, n_frames: int) -> None:
        self.spare = int(nodes["track_id"].max())
        self._tables = [np.zeros(1, np.int32)] * n_frames
        for _, rows in nodes.groupby("t"):
            table = np.arange(int(rows["label"].max()) + 1, dtype=np.int32) + self.spare
            table[0] = 0
            table[rows["label"].to_numpy()] = rows["track_id"].to_numpy()
            self._tables[int(rows["t"].iloc[0])] = table

    @property
    def largest_label(self) -> int:
        """The largest label that any frame's table has."""
        return max(len(table) for table in self._tables) - 1

    def label_of(self, t: int, value: int) -> int | None:
        """Return the label that is shown as a value in a frame, also one that is to come; None for another's track."""
        if value == 0:
            return 0
        found = np.flatnonzero(self._tables[t] == value)
        if len(found):
            return int(found[0])
        label = value - self.spare
        return label if label >= len(self._tables[t]) else None

    def show(self, t: int, label: int, value: int) -> None:
        """Show a label that is new in a frame as a value from now on."""
        table = self._tables[t]
        further = np.arange(len(table), max(len(table), label + 1), dtype=np.int32) + self.spare
        table = np.concatenate([table, further])
        table[label] = value
        self._tables[t] = table

    def apply(self, t: int, labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Return the labels of frame `t` with each label replaced by its track."""
        table = self._tables[t]
        largest = int(labels.max(initial=0))
        if largest >= len(table):
            table = np.concatenate([table, np.arange(len(table), largest + 1, dtype=np.int32) + self.spare])
        return table[labels]


class _Frames:
    """What dask slices, one frame at a time."""

    def __init__(self, labels: SessionLabels, source: Sequence[int | None], lookup: TrackLookup | None) -> None:
        self._labels, self._source, self._lookup = labels, source, lookup
        self.shape, self.dtype, self.ndim = labels.shape, np.dtype(np.int32), 4

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[np.int32]:
        return np.stack([self._frame(t)[tuple(key[1:])] for t in range(*key[0].indices(self.shape[0]))])

    def _frame(self, t: int) -> npt.NDArray[np.int32]:
        source = self._source[t]
        if source is None:
            return np.zeros(self.shape[1:], np.int32)
        labels = self._labels.read(source)
        return labels if self._lookup is None else self._lookup.apply(t, labels)


def lazy_labels(labels: SessionLabels, *, flat: bool, lookup: TrackLookup | None = None, hold: bool = False) -> Any:
    """Return a dask array (T, Z, Y, X), without Z where `flat`, that reads a frame when it is looked at.

    Parameters
    ----------
    labels : SessionLabels
    flat : bool
        Drop the single plane's axis.
    lookup : TrackLookup, optional
        Show tracks instead of labels.
    hold : bool
        Show the last written frame where none was written; else nothing.
    """
    import dask.array as da

    written = set(labels.times)
    source: list[int | None] = []
    last: int | None = min(written, default=None) if hold else None
    for t in range(labels.shape[0]):
        if t in written:
            last = t
        source.append(t if t in written else last if hold else None)
    frames = _Frames(labels, source, lookup)
    chunks = (1, *labels.shape[1:])
    array = da.from_array(
        frames, chunks=chunks, asarray=False, fancy=False, meta=np.empty((0,) * 4, np.int32), name=False
    )
    return array[:, 0] if flat else array

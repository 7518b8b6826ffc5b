"""Stored arrays as lazy dask arrays, for viewers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.study.arrays import TimeShards


class _Planes:
    """What dask slices: opens the array where it is used, so that it can be sent to another process."""

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any], drop_channel: bool) -> None:
        self.folder, self.shape, self.dtype, self.drop_channel = folder, shape, dtype, drop_channel
        self.ndim = len(shape)
        self._array: TimeShards | None = None

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        if self._array is None:
            self._array = TimeShards(self.folder)
        times = range(*key[0].indices(self.shape[0]))
        rest = ((0,) if self.drop_channel else ()) + key[1:]
        return np.stack([self._array.read(t, rest) for t in times])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}


def lazy_array(folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any], *, drop_channel: bool = False) -> Any:
    """Return a dask array over a stored array (T, C, Z, Y, X); `drop_channel` leaves out the C axis of labels."""
    import dask.array as da

    if drop_channel:
        shape = (shape[0], *shape[2:])
    planes = _Planes(folder, shape, dtype, drop_channel)
    chunks = (*(1,) * (len(shape) - 2), shape[-2], shape[-1])
    meta = np.empty((0,) * len(shape), dtype)
    return da.from_array(planes, chunks=chunks, asarray=False, fancy=False, meta=meta)

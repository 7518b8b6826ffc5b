"""Judging a session while its frames pass by, in any order and from several threads."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError
from napari_marrow.imaging.field import FieldTracker, small_pictures
from napari_marrow.imaging.frame_statistics import FrameStatistics, frame_statistics, statistics_table
from napari_marrow.imaging.quality import QualitySettings, quality_flags


class SessionQuality:
    """Measures frames one at a time and judges them against each other at the end.

    Of a frame only its statistics stay, and small pictures until those before it have come: the field is followed in
    order of time.

    Parameters
    ----------
    channels : sequence of str
    spacing : (float, float), µm
        Pixel size (y, x).
    n_frames : int
        Frames of the session.
    """

    def __init__(self, channels: Sequence[str], spacing: tuple[float, float], n_frames: int) -> None:
        self._channels, self._spacing, self._n_frames = tuple(channels), spacing, n_frames
        self._statistics: dict[int, list[FrameStatistics]] = {}
        self._waiting: dict[int, list[npt.NDArray[np.float32]]] = {}
        self._tracker: FieldTracker | None = None
        self._next = 0
        self._lock = Lock()

    def add(self, t: int, time_s: float, frame: npt.NDArray[Any]) -> None:
        """Measure a frame.

        Parameters
        ----------
        t : int
            Frame number within the session.
        time_s : float, s
            Time since the session's first frame.
        frame : ndarray, shape (C, Z, Y, X), counts
        """
        statistics = frame_statistics(frame, t=t, time_s=time_s, channels=self._channels)
        planes, factor = small_pictures(frame)
        with self._lock:
            self._statistics[t] = statistics
            self._waiting[t] = planes
            if self._tracker is None:
                self._tracker = FieldTracker(spacing=(factor * self._spacing[0], factor * self._spacing[1]))
            while self._next in self._waiting:
                self._tracker.add(self._waiting.pop(self._next))
                self._next += 1

    @property
    def complete(self) -> bool:
        """Whether every frame was measured."""
        return self._next == self._n_frames

    def flags(self, settings: QualitySettings | None = None) -> pd.DataFrame:
        """Return the flags of all frames, see `quality_flags`.

        Raises
        ------
        SettingsError
            If frames are missing.
        """
        if not self.complete or self._tracker is None:
            raise SettingsError(f"{len(self._statistics)} of {self._n_frames} frames were measured: add the others.")
        rows = [row for t in sorted(self._statistics) for row in self._statistics[t]]
        return quality_flags(statistics_table(rows), shifts=self._tracker.path(), settings=settings)

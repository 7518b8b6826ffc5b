"""Following the field through a session before anything is known of its channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.imaging.drift import DriftTracker
from napari_marrow.imaging.filtering import as_plane
from napari_marrow.imaging.transform import Transform


def small_pictures(frame: npt.NDArray[Any], *, side: int = 256) -> tuple[list[npt.NDArray[np.float32]], int]:
    """Return each channel of a frame as a small plane: its maximum projection, averaged over blocks.

    Parameters
    ----------
    frame : ndarray, shape (C, Z, Y, X), counts
    side : int, pixels
        The longer side of a plane is below twice this.

    Returns
    -------
    planes : list of ndarray of float32, shape (Y // factor, X // factor)
    factor : int
        Pixels of the frame that one of a plane stands for, in y and x.

    Raises
    ------
    SettingsError
        If the frame is not 4D.
    """
    from napari_marrow.imaging.plane_kernels import block_mean

    if frame.ndim != 4:
        raise SettingsError(f"A frame must have shape (C, Z, Y, X), not {frame.shape}.")
    factor = min(max(1, max(frame.shape[2:]) // side), *frame.shape[2:])
    planes = []
    for channel in frame:
        plane = channel[0] if len(channel) == 1 else channel.max(axis=0)
        planes.append(as_plane(block_mean(np.ascontiguousarray(plane), factor)))
    return planes, factor


class FieldTracker:
    """Follow the field in every channel, and believe the one whose structures stay.

    Cells wander, and in company: on nuclei alone a field that rests may seem to move by several µm. Vessels and
    scaffold stay, and a channel that shows them keeps a higher correlation with its key frame.

    Parameters
    ----------
    spacing : (float, float), µm
        Pixel size (y, x) of the planes.
    """

    def __init__(self, *, spacing: tuple[float, float]) -> None:
        self._spacing = spacing
        self._trackers: list[DriftTracker] = []
        self._found: list[list[Transform]] = []

    def add(self, planes: list[npt.NDArray[np.float32]]) -> None:
        """Take in the next frame.

        Parameters
        ----------
        planes : list of ndarray, shape (Y, X)
            One per channel, the same channels in each frame.
        """
        if not self._trackers:
            self._trackers = [DriftTracker(spacing=self._spacing, upsample=4, still=False) for _ in planes]
        self._found.append([t.add(plane) for t, plane in zip(self._trackers, planes, strict=True)])

    def path(self) -> npt.NDArray[np.float64]:
        """Return the displacement (y, x) in µm of each frame from the first, shape (T, 2)."""
        if not self._found:
            return np.zeros((0, 2))
        correlation = np.array([[found.correlation for found in frame] for frame in self._found])
        best = int(np.argmax(np.median(correlation, axis=0)))
        return np.array([frame[best].shift for frame in self._found])

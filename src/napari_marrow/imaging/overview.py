"""A small picture of a whole frame, to follow the field through a session cheaply."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.imaging.filtering import as_plane, shrink


def overview(frame: npt.NDArray[Any], *, side: int = 512) -> tuple[npt.NDArray[np.float32], int]:
    """Return all channels of a frame in one small plane.

    Each channel's maximum projection is averaged over blocks, its median taken off, and divided by its robust spread,
    so that no channel outweighs another; the planes are added.

    Parameters
    ----------
    frame : ndarray, shape (C, Z, Y, X), counts
    side : int, pixels
        The longer side of the result is below twice this.

    Returns
    -------
    plane : ndarray of float32, shape (Y // factor, X // factor)
    factor : int
        Pixels of the frame that one of the plane stands for, in y and x.

    Raises
    ------
    SettingsError
        If the frame is not 4D.
    """
    if frame.ndim != 4:
        raise SettingsError(f"A frame must have shape (C, Z, Y, X), not {frame.shape}.")
    factor = max(1, max(frame.shape[2:]) // side)
    factor = min(factor, *frame.shape[2:])
    total = np.zeros((frame.shape[2] // factor, frame.shape[3] // factor), dtype=np.float32)
    for channel in frame:
        plane = shrink(as_plane(channel.max(axis=0)), factor)
        plane = plane - np.float32(np.median(plane))
        spread = float(np.median(np.abs(plane)))
        if spread > 0:
            total += plane / np.float32(spread)
    return total, factor

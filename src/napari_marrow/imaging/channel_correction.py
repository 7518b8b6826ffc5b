"""Everything that is taken off a channel's pixels when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.imaging.shading import Shading, correct, estimate_background, shading_from_nodes

Background = Literal["none", "level", "map"]


@dataclass(frozen=True, eq=False)
class ChannelCorrection:
    """The correction of one channel in a session.

    Attributes
    ----------
    factors : ndarray of float64, shape (T,)
        Factor of each frame, for bleaching and gain.
    shading : Shading or None
        Illumination.
    dark : float, counts
        Camera offset: light does not scale it.
    background : {"none", "level", "map"}
        What is taken off every plane: nothing, its commonest level, or a map that follows the background.
    background_um : float
        Length over which the map follows, µm.
    """

    factors: npt.NDArray[np.float64]
    shading: Shading | None = None
    dark: float = 0.0
    background: Background = "none"
    background_um: float = 25.0

    def apply(self, volume: npt.NDArray[Any], t: int, spacing: Sequence[float]) -> npt.NDArray[np.float32]:
        """Return a frame's corrected counts.

        Parameters
        ----------
        volume : array, shape (Z, Y, X), counts
        t : int
            Frame.
        spacing : sequence of float
            Voxel size, µm, x last.

        Returns
        -------
        float32 array, shape (Z, Y, X)
            ``factor * ((frame - dark) / field - background)``.
        """
        gain = float(self.factors[t])
        if self.background == "none":
            return correct(volume, shading=self.shading, gain=gain, dark=self.dark)
        flat = correct(volume, shading=self.shading, dark=self.dark)
        sigma = self.background_um / spacing[-1] if self.background == "map" else None
        for plane in flat:
            plane -= estimate_background(plane, sigma=sigma)
        flat *= np.float32(gain)
        return flat


def correction_from_row(row: pd.Series, shape: tuple[int, int]) -> ChannelCorrection:
    """Return the correction that a row of the table `corrections` states.

    Parameters
    ----------
    row : Series
        With accepted, field (nodes), dark, depth, factors, background and background_um.
    shape : (int, int)
        Rows and columns of the image.
    """
    shading, dark = None, float(row["dark"])
    if row["accepted"]:
        shading = Shading(shading_from_nodes(row["field"], shape), dark, float(row["depth"]), 1.0, True)
    factors = np.asarray(row["factors"], dtype=np.float64)
    return ChannelCorrection(factors, shading, dark, row["background"], float(row["background_um"]))

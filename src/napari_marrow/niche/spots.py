"""Structures given as spots of another program instead of masks, and the window that spots alone suggest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.niche.distances import Field, distance_to_points
from napari_marrow.niche.geometry import BoolArray, FloatArray, as_spacing, voxel_of


@dataclass(frozen=True, eq=False)
class Spots:
    """A structure known by points on it.

    Distances are to the nearest spot: they are too long by up to half the gap between spots, and never negative.

    Attributes
    ----------
    points : ndarray (n, ndim) float64
        µm.
    """

    points: FloatArray

    def distance(self, points: FloatArray) -> FloatArray:
        """Return the distance of each point (n, ndim) to the nearest spot, µm; ``inf`` without a spot."""
        known = np.isfinite(points).all(axis=1)
        result = np.full(len(points), np.nan)
        result[known] = distance_to_points(points[known], self.points)
        return result

    def voxels(self, shape: tuple[int, ...], spacing: Sequence[float]) -> BoolArray:
        """Return the voxels that hold a spot."""
        mask = np.zeros(shape, dtype=bool)
        index = voxel_of(self.points, spacing)
        index = index[((index >= 0) & (index < np.asarray(shape))).all(axis=1)]
        mask[tuple(index.T)] = True
        return mask

    def field(self, shape: tuple[int, ...], spacing: Sequence[float]) -> Field:
        """Return the distance of every voxel centre to the nearest spot, µm."""
        if len(self.points) == 0:
            return np.full(shape, np.inf, dtype=np.float32)
        field = np.empty(shape, dtype=np.float32)
        plane = np.stack(np.meshgrid(*[np.arange(n) * s for n, s in zip(shape[1:], spacing[1:], strict=True)],
                                     indexing="ij"), -1).reshape(-1, len(shape) - 1)  # fmt: skip
        for k in range(shape[0]):
            centres = np.concatenate([np.full((len(plane), 1), k * spacing[0]), plane], axis=1)
            field[k] = distance_to_points(centres, self.points).reshape(shape[1:])
        return field


def window_of_points(
    points: npt.ArrayLike, *, voxel: float, closing: float
) -> tuple[BoolArray, tuple[float, ...], FloatArray]:
    """Guess the tissue from where anything was seen: a morphological closing of all points.

    Parameters
    ----------
    points : array (n, ndim)
        Every point of every kind, µm.
    voxel : float
        Edge of the window's voxels, µm.
    closing : float
        Radius of the closing, µm: holes and bays narrower than twice this count as tissue.

    Returns
    -------
    mask : ndarray bool (Z, Y, X) or (Y, X)
    spacing : tuple of float
        µm.
    origin : ndarray (ndim,) float64
        Position of voxel 0; subtract it from the points.

    Raises
    ------
    SettingsError
        If there is no point, a length is not positive, or the window would have more than 4e8 voxels.

    Notes
    -----
    This is no measured outline: where tissue holds none of the marked cells it is missing from the window, and the
    uniform null then places cells too near to each other. Re-labelling does not hang on it but for edge correction.
    """
    where = np.atleast_2d(np.asarray(points, dtype=np.float64))
    where = where[np.isfinite(where).all(axis=1)]
    if where.size == 0:
        raise SettingsError("There is no point to guess the tissue from.")
    if not (voxel > 0 and closing > 0):
        raise SettingsError(f"voxel {voxel} and closing {closing}: give positive lengths in µm.")
    import edt

    spacing = as_spacing((voxel,) * where.shape[1], where.shape[1])
    origin = where.min(axis=0) - closing - voxel
    shape = tuple(int(n) for n in np.ceil((where.max(axis=0) + closing + voxel - origin) / voxel) + 1)
    if np.prod(shape) > 4e8:
        raise SettingsError(f"A window of {shape} voxels is too large: give a coarser voxel than {voxel} µm.")
    seeds = Spots(where - origin).voxels(shape, spacing)
    grown = edt.edt(~seeds, anisotropy=spacing, parallel=1) <= closing
    closed = edt.edt(grown, anisotropy=spacing, parallel=1) > closing
    return np.ascontiguousarray(closed | seeds), spacing, origin

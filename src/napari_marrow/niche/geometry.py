"""Spacing, masks and points of the niche room: one convention, checked once.

Voxel ``i`` of an axis with spacing ``s`` is centred at ``i · s`` and reaches from ``(i - ½) s`` to ``(i + ½) s``, which
is the convention of centroids measured as *mean index times spacing*. Arrays have one axis per dimension: 2D work is
done on (Y, X) arrays with (y, x) spacing, never on a stack of one plane, so that no distance runs into a third axis
that was not imaged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def as_spacing(spacing: Sequence[float], ndim: int) -> tuple[float, ...]:
    """Return the spacing as a tuple of positive floats.

    Parameters
    ----------
    spacing : sequence of float
        Voxel size in µm, one number per axis, ordered (z, y, x) or (y, x).
    ndim : int
        Number of axes, 2 or 3.

    Raises
    ------
    SettingsError
        If the number of entries is wrong or one is not a positive finite number.
    """
    values = tuple(float(s) for s in spacing)
    if ndim not in (2, 3):
        raise SettingsError(f"Niche measures work in 2 or 3 dimensions, not {ndim}: give a (Y, X) or (Z, Y, X) array.")
    if len(values) != ndim:
        raise SettingsError(
            f"The spacing {values} has {len(values)} entries for {ndim} axes: give one µm value per axis."
        )
    if not all(np.isfinite(s) and s > 0 for s in values):
        raise SettingsError(f"The spacing {values} must be positive on every axis: give the voxel size in µm.")
    return values


def as_mask(mask: npt.ArrayLike, name: str = "mask") -> BoolArray:
    """Return a C-contiguous boolean array of 2 or 3 axes.

    Raises
    ------
    SettingsError
        If it has another number of axes or an axis of length 0.
    """
    given = np.asarray(mask)
    array = np.ascontiguousarray(given if given.dtype == np.bool_ else given != 0)
    if array.ndim not in (2, 3) or array.size == 0:
        raise SettingsError(f"The {name} has shape {array.shape}: give a non-empty (Y, X) or (Z, Y, X) array.")
    return array


def as_points(points: npt.ArrayLike, ndim: int, name: str = "points") -> FloatArray:
    """Return points as a float64 array (n, ndim) in µm.

    Raises
    ------
    SettingsError
        If the shape does not fit.
    """
    array = np.ascontiguousarray(points, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, ndim))
    if array.ndim != 2 or array.shape[1] != ndim:
        raise SettingsError(f"The {name} have shape {array.shape}: give (n, {ndim}) coordinates in µm.")
    return array


def measure_of(mask: BoolArray, spacing: Sequence[float]) -> float:
    """Return the area (µm²) or volume (µm³) of a mask."""
    return float(np.count_nonzero(mask)) * float(np.prod(spacing))


def voxel_of(points: FloatArray, spacing: Sequence[float]) -> npt.NDArray[np.int64]:
    """Return the voxel index (n, ndim) int64 that holds each point; it may lie outside the array."""
    return np.asarray(np.floor(points / np.asarray(spacing) + 0.5), dtype=np.int64)


def inside(points: FloatArray, mask: BoolArray, spacing: Sequence[float]) -> BoolArray:
    """Say which points lie in a mask.

    Parameters
    ----------
    points : ndarray (n, ndim) float64
        Coordinates in µm; a NaN coordinate is outside.
    mask : ndarray bool
    spacing : sequence of float
        µm per axis.

    Returns
    -------
    ndarray (n,) bool
        False for points outside the array.
    """
    known: BoolArray = np.asarray(np.isfinite(points).all(axis=1))
    index = voxel_of(np.where(known[:, None], points, 0.0), spacing)
    within: BoolArray = known & np.all((index >= 0) & (index < np.asarray(mask.shape)), axis=1)
    result = np.zeros(len(points), dtype=bool)
    result[within] = mask[tuple(index[within].T)]
    return result

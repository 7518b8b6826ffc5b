"""Distance to a structure: anisotropic distance fields, read at points, and distances between points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.niche.geometry import BoolArray, FloatArray, as_mask, as_points, as_spacing

Field = npt.NDArray[np.float32]


def signed_distance(mask: npt.ArrayLike, spacing: Sequence[float], *, parallel: int = 1) -> Field:
    """Distance of every voxel centre to the surface of a structure, negative inside it.

    Parameters
    ----------
    mask : array bool (Y, X) or (Z, Y, X)
        The structure.
    spacing : sequence of float
        Voxel size in µm per axis.
    parallel : int
        Threads.

    Returns
    -------
    ndarray float32, shape of `mask`
        µm. ``+inf`` everywhere for an empty mask; ``-inf`` where the structure fills the array.

    Notes
    -----
    Exact anisotropic Euclidean distance transform (Felzenszwalb & Huttenlocher 2012, library `edt`) between voxel
    centres. The surface lies between the last centre inside and the first outside, so half the smallest spacing is
    taken off both sides; the remaining error is below half a voxel of the coarsest axis. The image border is no
    surface.
    """
    import edt

    structure = as_mask(mask, "structure mask")
    sampling = as_spacing(spacing, structure.ndim)
    if not structure.any():
        return np.full(structure.shape, np.inf, dtype=np.float32)
    if structure.all():
        return np.full(structure.shape, -np.inf, dtype=np.float32)
    # With both sides labelled one transform measures each voxel to the other side: half the time of two transforms.
    field: Field = edt.edt(structure.view(np.uint8) + np.uint8(1), anisotropy=sampling, parallel=parallel)
    half = np.float32(0.5 * min(sampling))
    # Plane by plane, so that no second volume is held.
    for plane, held in zip(field, structure, strict=True):
        plane -= half
        np.negative(plane, out=plane, where=held)
    return field


def edge_distance(window: npt.ArrayLike, spacing: Sequence[float]) -> Field:
    """Distance of every voxel centre inside a window to its edge; 0 outside.

    The image border is an edge: nothing is known beyond it. In a volume this holds for the first and last plane too.

    Parameters
    ----------
    window : array bool (Y, X) or (Z, Y, X)
        Where the structure would have been seen.
    spacing : sequence of float
        µm per axis.

    Returns
    -------
    ndarray float32, shape of `window`
        µm.
    """
    import edt

    region = as_mask(window, "window")
    sampling = as_spacing(spacing, region.ndim)
    field: Field = edt.edt(region, anisotropy=sampling, black_border=True, parallel=1)
    return np.maximum(field - np.float32(0.5 * min(sampling)), np.float32(0.0))


def read_at(
    field: npt.NDArray[np.floating], points: npt.ArrayLike, spacing: Sequence[float], *, interpolate: bool = True
) -> FloatArray:
    """Read a field at points.

    Parameters
    ----------
    field : ndarray (Y, X) or (Z, Y, X)
        Values at voxel centres.
    points : array (n, ndim)
        µm.
    spacing : sequence of float
        µm per axis.
    interpolate : bool
        Linear between voxel centres (sub-voxel), else the value of the voxel that holds the point.

    Returns
    -------
    ndarray (n,) float64
        NaN for points outside the array (beyond the outer half voxel) or with a NaN coordinate.
    """
    from napari_marrow.niche._kernels import read_linear

    sampling = as_spacing(spacing, field.ndim)
    where = as_points(points, field.ndim) / np.asarray(sampling)
    size = np.asarray(field.shape)
    with np.errstate(invalid="ignore"):
        known = ((where >= -0.5) & (where < size - 0.5)).all(axis=1)
    result = np.full(len(where), np.nan)
    if not known.any():
        return result
    kept = where[known]
    if interpolate and np.isfinite(field.flat[0]):
        volume = np.ascontiguousarray(field, dtype=np.float32).reshape((1,) * (3 - field.ndim) + field.shape)
        flat = np.zeros((len(kept), 3))
        flat[:, 3 - field.ndim :] = kept
        result[known] = read_linear(volume, flat)
    else:
        index = np.clip(np.floor(kept + 0.5).astype(np.int64), 0, size - 1)
        result[known] = field[tuple(index.T)]
    return result


def surface_distance(labels: npt.NDArray[np.integer], field: Field) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Smallest value of a distance field over each labelled cell: the gap between the cell's surface and the structure.

    Parameters
    ----------
    labels : ndarray int, shape of `field`
        Label image, 0 background.
    field : ndarray float32
        `signed_distance` of the structure, µm.

    Returns
    -------
    label : ndarray (n,) int64
        Labels present, ascending.
    distance : ndarray (n,) float64
        µm, negative where the cell overlaps the structure.
    """
    from scipy import ndimage

    if labels.shape != field.shape:
        raise SettingsError(f"The label image {labels.shape} and the distance field {field.shape} differ in shape.")
    present = np.unique(labels[labels > 0]).astype(np.int64)
    if len(present) == 0:
        return present, np.zeros(0)
    return present, np.asarray(ndimage.minimum(field, labels, present), dtype=np.float64)


def distance_to_points(points: npt.ArrayLike, targets: npt.ArrayLike, *, exclude_self: bool = False) -> FloatArray:
    """Distance of each point to the nearest target point.

    For structures that are given as spots instead of masks (bone or vessel points of a segmentation elsewhere).

    Parameters
    ----------
    points : array (n, ndim)
        µm, 2 or 3 coordinates.
    targets : array (m, ndim)
        µm.
    exclude_self : bool
        Row i of both is the same point and no neighbour of itself; needs n == m. Duplicates at the same place stay
        neighbours.

    Returns
    -------
    ndarray (n,) float64
        µm; ``inf`` without a target.
    """
    from scipy.spatial import cKDTree

    x = np.atleast_2d(np.asarray(points, dtype=np.float64))
    if x.size == 0:
        return np.zeros(0)
    y = as_points(targets, x.shape[1], "targets")
    if exclude_self and len(x) != len(y):
        raise SettingsError(f"exclude_self needs the same points on both sides: {len(x)} points, {len(y)} targets.")
    if len(y) <= int(exclude_self):
        return np.full(len(x), np.inf)
    distance, index = cKDTree(y).query(x, k=2 if exclude_self else 1)
    if not exclude_self:
        return np.asarray(distance, dtype=np.float64)
    # With duplicates the point itself may come second: take the entry that is another row.
    first_is_self = index[:, 0] == np.arange(len(x))
    return np.where(first_is_self, distance[:, 1], distance[:, 0])


def window_of(tissue: BoolArray, structure: BoolArray, blind: BoolArray | None = None) -> BoolArray:
    """Return where a structure would have been seen: the tissue and the structure itself, without blind regions."""
    region = tissue if blind is None else tissue & ~blind
    return region | structure

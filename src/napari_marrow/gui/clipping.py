"""A slab of a volume: what lies outside of it along one axis is left out of the 3D view. Knows no Qt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

AXES = ("z", "y", "x")


@dataclass(frozen=True)
class Slab:
    """What is shown along an axis.

    Attributes
    ----------
    axis : str
        z, y or x.
    low, high : float
        µm in the world.
    """

    axis: str
    low: float
    high: float


def extent_um(layers: Iterable[Any], axis: str) -> tuple[float, float] | None:
    """Return where layers of four axes begin and end along an axis, µm; None where there are none.

    Parameters
    ----------
    layers : iterable of napari.layers.Layer
    axis : str
        z, y or x.
    """
    k = AXES.index(axis) - len(AXES)
    ends = np.array([layer.extent.world[:, k] for layer in layers if layer.ndim == 4], np.float64)
    ends = ends[np.isfinite(ends).all(axis=1)] if len(ends) else ends
    return (float(ends.min()), float(ends.max())) if len(ends) else None


def clip(layer: Any, slab: Slab | None) -> None:
    """Show what a layer has in a slab, or all of it again.

    Parameters
    ----------
    layer : napari.layers.Layer
        Of the axes t, z, y, x; others are shown whole.
    slab : Slab or None
    """
    if slab is None or layer.ndim != 4:
        if len(layer.experimental_clipping_planes):
            layer.experimental_clipping_planes = None
        return
    matrix, offset = _to_world(layer)
    k = AXES.index(slab.axis)
    inverse = np.linalg.inv(matrix)
    planes = []
    for at, sign in ((slab.low, 1.0), (slab.high, -1.0)):
        point = offset.copy()
        point[k] = at
        # n · (A d + b - p) >= 0 in the world is (A^T n) · (d - A^-1 (p - b)) >= 0 in the layer's own coordinates
        planes.append({"position": tuple(inverse @ (point - offset)), "normal": tuple(sign * matrix[k])})
    layer.experimental_clipping_planes = planes


def _to_world(layer: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return matrix and offset that bring a layer's z, y, x into the world."""
    origin = np.asarray(layer.data_to_world((0.0,) * 4), np.float64)[-3:]
    ends = [np.asarray(layer.data_to_world((0.0, *row)), np.float64)[-3:] for row in np.eye(3)]
    return np.column_stack([end - origin for end in ends]), origin


def label_on_ray(
    layer: Any, position: npt.ArrayLike, view_direction: npt.ArrayLike, displayed: list[int], t: int
) -> int:
    """Return the first label that a ray through a volume meets and that is not clipped away, 0 for none.

    Parameters
    ----------
    layer : napari.layers.Labels
        Of the axes t, z, y, x.
    position, view_direction : (4,) array-like
        Of the ray, in the world.
    displayed : list of int
        Axes on display.
    t : int
        Frame.
    """
    start, end = layer.get_ray_intersections(position, view_direction, displayed, world=True)
    if start is None or end is None:
        return 0
    first, last = (np.asarray(point, np.float64)[-3:] for point in (start, end))
    steps = int(np.ceil(2 * np.linalg.norm(last - first))) + 1
    places = first + np.linspace(0.0, 1.0, steps)[:, None] * (last - first)
    for plane in layer.experimental_clipping_planes:
        if plane.enabled:
            places = places[(places - plane.position) @ np.asarray(plane.normal) >= 0]
    volume = np.asarray(layer.data[t])
    voxels = np.rint(places).astype(np.int64)
    voxels = voxels[((voxels >= 0) & (voxels < volume.shape)).all(axis=1)]
    met = volume[tuple(voxels.T)]
    met = met[met != 0]
    return int(met[0]) if len(met) else 0

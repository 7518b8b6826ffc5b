"""The outline of a group of cells."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError


def outline_area(points: npt.NDArray[np.float64], *, margin: float) -> float:
    """Return the area of the convex hull of points, widened by a margin.

    A convex body of area A and perimeter P, widened by r, has the area A + P r + π r² (Steiner's formula).

    Parameters
    ----------
    points : float array, shape (n, 2)
        Centroids of cells, µm.
    margin : float
        Radius of a cell, µm.

    Returns
    -------
    float
        µm²; 0 without points.

    Raises
    ------
    SettingsError
        If the margin is negative or not a number.
    """
    if not margin >= 0:
        raise SettingsError(f"The margin of an outline is {margin}: give 0 or more.")
    if len(points) == 0:
        return 0.0
    area, perimeter = _hull(np.unique(np.asarray(points, dtype=np.float64), axis=0))
    return float(area + perimeter * margin + np.pi * margin**2)


def _hull(points: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return area and perimeter of the hull; points in a line have the way there and back."""
    from scipy.spatial import ConvexHull, QhullError

    if len(points) < 2:
        return 0.0, 0.0
    if len(points) > 2:
        try:
            hull = ConvexHull(points)
        except QhullError:
            pass
        else:
            return float(hull.volume), float(hull.area)
    axis = np.linalg.svd(points - points.mean(axis=0))[2][0]
    along = points @ axis
    return 0.0, 2.0 * float(along.max() - along.min())

"""Pericyte coverage: how much of a vessel's surface has the marker beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.niche.distances import signed_distance
from napari_marrow.niche.geometry import BoolArray, FloatArray, as_mask, as_spacing
from napari_marrow.niche.null_models import monte_carlo_p


@dataclass(frozen=True)
class Coverage:
    """Covered fraction of a surface.

    Attributes
    ----------
    fraction : float
        0..1; NaN without surface.
    null_mean, low, high : float
        Mean and central 95 % with the marker shifted and turned at random; NaN without simulations.
    p_value : float
        Monte-Carlo p for more coverage than by chance.
    """

    fraction: float
    null_mean: float
    low: float
    high: float
    p_value: float


def surface_area(mask: npt.ArrayLike, spacing: Sequence[float]) -> FloatArray:
    """Area (3D, µm²) or length (2D, µm) of each voxel's exposed faces; faces on the image border are cuts, not surface.

    Notes
    -----
    The sum over a smooth body exceeds its true surface (1.5 in 3D, 4/π in 2D for a ball) by the same factor everywhere
    on average; use it for weights and fractions.
    """
    body = as_mask(mask)
    sampling = as_spacing(spacing, body.ndim)
    area = np.zeros(body.shape)
    for axis, step in enumerate(sampling):
        face = float(np.prod(sampling)) / step
        low = [slice(None)] * body.ndim
        high = [slice(None)] * body.ndim
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        a, b = tuple(low), tuple(high)
        area[a] += face * (body[a] & ~body[b])
        area[b] += face * (body[b] & ~body[a])
    return area


def surface_coverage(
    vessel: npt.ArrayLike,
    marker: npt.ArrayLike,
    spacing: Sequence[float],
    *,
    delta: float,
    n_simulations: int = 0,
    seed: int = 0,
) -> Coverage:
    """Fraction of the vessel's surface that lies within `delta` of the marker.

    Parameters
    ----------
    vessel, marker : array bool, same shape
    spacing : sequence of float
        µm per axis.
    delta : float
        µm; not below the width of the point spread function, else blur decides.
    n_simulations : int
        Null model: the marker's image mirrored and shifted around the torus at random. 0 for none.
    seed : int

    Raises
    ------
    SettingsError
        If shapes differ or `delta` is not positive.

    Notes
    -----
    Bleed-through of the vessel channel into the marker channel is full coverage: check a single-stained control first.
    """
    body, cover = as_mask(vessel, "vessel mask"), as_mask(marker, "marker mask")
    sampling = as_spacing(spacing, body.ndim)
    if body.shape != cover.shape:
        raise SettingsError(f"Vessel mask {body.shape} and marker mask {cover.shape} differ in shape.")
    if not delta > 0:
        raise SettingsError(f"delta is {delta}: give a positive distance in µm.")
    area = surface_area(body, sampling)
    where = np.flatnonzero(area)
    nan = float("nan")
    if len(where) == 0:
        return Coverage(nan, nan, nan, nan, nan)
    weight = area.flat[where] / area.sum()
    near: BoolArray = signed_distance(cover, sampling) <= delta
    fraction = float(weight @ near.flat[where])
    if n_simulations < 1:
        return Coverage(fraction, nan, nan, nan, nan)
    rng = np.random.default_rng(seed)
    null = np.empty(n_simulations)
    for k in range(n_simulations):
        flips = tuple(a for a in range(body.ndim) if rng.random() < 0.5)
        moved = np.roll(np.flip(near, flips), [int(rng.integers(n)) for n in near.shape], axis=tuple(range(body.ndim)))
        null[k] = weight @ moved.flat[where]
    low, high = np.quantile(null, [0.025, 0.975])
    return Coverage(fraction, float(null.mean()), float(low), float(high), monte_carlo_p(fraction, null))

"""Outline of the organoid, porous scaffold and stroma texture, on a grid in the tissue's own coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_marrow.simulation.scenario import Geometry

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

GRID_UM = 2.0
"""Grid spacing of the static fields, µm; they are smooth on this scale and interpolated linearly."""


@dataclass(frozen=True)
class Outline:
    """Star-shaped outline r(θ) = R (1 + Σ a_k cos(kθ + φ_k)).

    Attributes
    ----------
    centre : tuple of float
        y, x in µm.
    radius : float
        R, µm.
    amplitudes, phases : (K,) float64
        Of the harmonics 2, 3, ... K+1.
    """

    centre: tuple[float, float]
    radius: float
    amplitudes: Float
    phases: Float

    def radius_at(self, angle: Float) -> Float:
        """Return the outline's radius in µm at angles in rad."""
        order = np.arange(2, 2 + len(self.amplitudes))
        lobes: Float = np.cos(order * np.asarray(angle)[..., None] + self.phases) @ self.amplitudes
        return self.radius * (1.0 + lobes)

    def depth(self, y: Float, x: Float) -> Float:
        """Return how far inside the outline points lie along their radius, µm (negative outside)."""
        v, u = np.asarray(y) - self.centre[0], np.asarray(x) - self.centre[1]
        return self.radius_at(np.arctan2(v, u)) - np.hypot(v, u)

    @property
    def area(self) -> float:
        """Area in µm², exact for the series: π R² (1 + Σ a_k² / 2)."""
        return float(np.pi * self.radius**2 * (1.0 + 0.5 * np.sum(self.amplitudes**2)))

    @property
    def largest_radius(self) -> float:
        """Upper bound of the radius, µm."""
        return float(self.radius * (1.0 + np.abs(self.amplitudes).sum()))


@dataclass(frozen=True)
class Tissue:
    """Static fields of one organoid.

    Attributes
    ----------
    outline : Outline
    origin, spacing : (3,) float64
        Place of grid point (0, 0, 0) and grid spacing, µm.
    scaffold : (Z, Y, X) float32
        Signed distance to the scaffold's surface, µm, negative inside the scaffold.
    texture : (Z, Y, X) float32
        Stroma texture, mean 1.
    inside : (1, Y, X) float32
        Depth inside the outline, µm.
    """

    outline: Outline
    origin: Float
    spacing: Float
    scaffold: Float32
    texture: Float32
    inside: Float32

    def sample(self, grid: Float32, points: Float) -> Float:
        """Interpolate a grid linearly at points (n, 3) z, y, x in µm; the edge value holds outside."""
        return sample_grid(grid, points, self.origin, self.spacing)

    @property
    def has_scaffold(self) -> bool:
        """Whether there is any scaffold."""
        return bool((self.scaffold < 0).any())


def sample_grid(grid: Float32, points: Float, origin: Float, spacing: Float) -> Float:
    """Interpolate a (Z, Y, X) grid linearly at points (n, 3) in µm; the edge value holds outside."""
    where = ((points - origin) / spacing).T
    if grid.shape[0] == 1:
        return ndimage.map_coordinates(grid[0], where[1:], order=1, mode="nearest").astype(np.float64)
    return ndimage.map_coordinates(grid, where, order=1, mode="nearest").astype(np.float64)


def grow_tissue(geometry: Geometry, centre: tuple[float, float], rng: np.random.Generator) -> Tissue:
    """Draw the outline and the static fields of one organoid.

    Parameters
    ----------
    geometry : Geometry
    centre : tuple of float
        Centre of the organoid y, x, µm.
    rng : numpy.random.Generator

    Returns
    -------
    Tissue
    """
    order = np.arange(2, 6)
    outline = Outline(
        centre, geometry.radius_um, rng.normal(0.0, 0.09, order.size) / order, rng.uniform(0, 2 * np.pi, order.size)
    )
    margin = outline.largest_radius + 30.0
    spacing = np.array([GRID_UM, GRID_UM, GRID_UM])
    side = int(np.ceil(2 * margin / GRID_UM)) + 1
    planes = int(np.ceil(geometry.depth_um / GRID_UM)) + 1 if geometry.depth_um > 0 else 1
    origin = np.array([0.0, centre[0] - margin, centre[1] - margin])
    shape = (planes, side, side)
    y = origin[1] + GRID_UM * np.arange(side)[:, None]
    x = origin[2] + GRID_UM * np.arange(side)[None, :]
    inside = outline.depth(y, x).astype(np.float32)[None]
    scaffold = _scaffold(geometry, inside, shape, rng)
    return Tissue(outline, origin, spacing, scaffold, _stroma(shape, rng), inside)


def _smooth_noise(shape: tuple[int, int, int], sigma: tuple[float, ...], rng: np.random.Generator) -> Float32:
    """Gaussian random field of unit SD."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    if shape[0] == 1:
        sigma = (0.0, *sigma[1:])
    field: Float32 = ndimage.gaussian_filter(noise, sigma, mode="wrap")
    return (field - field.mean()) / field.std()


def _scaffold(geometry: Geometry, depth: Float32, shape: tuple[int, int, int], rng: np.random.Generator) -> Float32:
    """Signed distance to a thresholded random field whose solid share inside the outline is 1 - porosity."""
    far = np.full(shape, 1e3, np.float32)
    if geometry.porosity >= 1.0:
        return far
    # A Gaussian field of smoothing σ alternates about every 2.2 π σ / 2; pores are the wider phase.
    sigma = geometry.pore_um / 5.0 / GRID_UM
    field = _smooth_noise(shape, (sigma, sigma, sigma), rng)
    inside = np.broadcast_to(depth > 0, shape)
    solid = (field > np.quantile(field[inside], geometry.porosity)) & inside
    if not solid.any():
        return far
    distance = ndimage.distance_transform_edt(~solid) - ndimage.distance_transform_edt(solid)
    return ndimage.gaussian_filter(distance * GRID_UM, (0, 1, 1)).astype(np.float32)


def _stroma(shape: tuple[int, int, int], rng: np.random.Generator) -> Float32:
    """Cloudy and fibrous texture of mean about 1."""
    clouds = _smooth_noise(shape, (10, 14, 14), rng)
    # Zero lines of a smooth field wander like reticular fibres.
    fibres = np.exp(-((_smooth_noise(shape, (3, 5, 5), rng) / 0.18) ** 2))
    texture = 1.0 + 0.2 * clouds + 0.3 * (fibres - fibres.mean())
    return np.clip(texture, 0.25, None).astype(np.float32)

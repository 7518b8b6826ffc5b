"""Texture of bright-field images, and what in them cannot be judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_marrow.segmentation.background import fit_background
from napari_marrow.segmentation.gaps import distance_to
from napari_marrow.segmentation.thresholds import Floats, Mask, as_pixels

_TOO_DIFFERENT = 0.25
"""Share of the background by which scaffold, bubbles and the well's edge are darker or brighter over a cell's width."""


@dataclass(frozen=True)
class BrightfieldTexture:
    """Texture of a bright-field image.

    Attributes
    ----------
    energy : (Y, X) float32
        Root mean square of the relief over about a cell's width, relative to the background's brightness; 0 where
        it cannot be judged.
    usable : (Y, X) bool
        Where it can: not in or beside what is much darker or brighter than the background in any plane.
    """

    energy: Floats
    usable: Mask


def brightfield_texture(
    image: npt.ArrayLike, *, spacing: Sequence[float], cell_diameter: float = 11.0
) -> BrightfieldTexture:
    """Return how textured a bright-field image is at the scale of cells.

    Parameters
    ----------
    image : array, shape (Y, X) or (Z, Y, X)
        Of a stack, the plane with the strongest texture counts at each place.
    spacing : sequence of float
        Pixel size (y, x) or (z, y, x), µm.
    cell_diameter : float
        µm.

    Notes
    -----
    The image is divided by its background (a cubic polynomial). What deviates from it by more than a quarter over half
    a cell's width is too dark or too bright to be a cell - scaffold, bubbles, the well's edge - and is left out with
    half a cell around it. The relief is the difference of Gaussians of 1/12 and 1/3 of a cell's diameter; the strongest
    half per cent counts as the rest, so that a bright speck is no colony.
    """
    pixels, size = as_pixels(image, spacing, what="bright-field image")
    planes = pixels[np.newaxis] if pixels.ndim == 2 else pixels
    energy = np.zeros(planes.shape[1:], dtype=np.float32)
    usable = np.ones(planes.shape[1:], dtype=np.bool_)
    for plane in planes:
        here, fit = _plane_energy(plane, size[-2:], cell_diameter)
        energy = np.maximum(energy, here)
        usable &= fit
    return BrightfieldTexture(np.where(usable, energy, np.float32(0)), usable)


def _plane_energy(plane: Floats, size: tuple[float, ...], diameter: float) -> tuple[Floats, Mask]:
    everywhere = np.ones(plane.shape, dtype=np.bool_)
    background, _ = fit_background(plane, everywhere, bright_only=False)
    if float(background.min()) <= 0 or float(plane.max()) <= float(plane.min()):
        return np.zeros(plane.shape, dtype=np.float32), everywhere
    flat = plane / background
    broad = _gaussian(flat, diameter / 4, size)
    odd = np.abs(broad - 1) > _TOO_DIFFERENT
    away = distance_to(odd, size)
    usable: Mask = away > diameter / 2
    flat[away <= diameter / 4] = 1  # or its edge would be the strongest relief of all
    relief = _gaussian(flat, diameter / 12, size) - _gaussian(flat, diameter / 3, size)
    weight = usable.astype(np.float32)
    if usable.any():
        limit = float(np.quantile(np.abs(relief[usable]), 0.995))
        relief = np.clip(relief, -limit, limit)
    squares = _gaussian(relief**2 * weight, diameter / 3, size)
    share = _gaussian(weight, diameter / 3, size)
    energy = np.sqrt(np.maximum(squares, 0) / np.maximum(share, 1e-3))
    return np.where(usable, energy, 0).astype(np.float32), usable


def _gaussian(image: npt.NDArray[np.float32], sigma: float, size: tuple[float, ...]) -> Floats:
    smooth: Floats = ndimage.gaussian_filter(image, [sigma / s for s in size], mode="reflect")
    return smooth

"""Vessels: a multiscale ridge filter with hysteresis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_marrow.errors import SettingsError
from napari_marrow.segmentation.blocks import BLOCK_VOXELS, Block, blocks
from napari_marrow.segmentation.curvature import hessian_eigenvalues
from napari_marrow.segmentation.lumens import fill_lumens
from napari_marrow.segmentation.resolution import LARGEST_FACTOR, block_mean, enlarge, factors_for, smooth_coarse
from napari_marrow.segmentation.thresholds import Floats, Mask, as_pixels, drop_short, hysteresis, median_and_noise

_NOISE_BLOCKS = 4
"""Blocks that the noise of a scale is estimated from where an image has more."""

_ROUNDING = 0.5
"""Standard deviation of the Gaussian that rounds masks of volumes off, in radii of the thinnest vessel looked for."""


def vessel_mask(
    image: npt.ArrayLike,
    *,
    spacing: Sequence[float],
    radii: Sequence[float] = (4.0, 8.0, 16.0, 32.0),
    within: npt.ArrayLike | None = None,
    high: float = 6.0,
    low: float = 3.0,
    min_brightness: float = 0.25,
    min_length: float = 20.0,
    fill_lumen: bool = True,
    block_voxels: int = BLOCK_VOXELS,
) -> Mask:
    """Return where the vessels are in an image of an endothelial marker.

    Parameters
    ----------
    image : array, shape (Y, X) or (Z, Y, X)
        Bright vessels on a darker background.
    spacing : sequence of float
        Pixel size (y, x) or (z, y, x), µm.
    radii : sequence of float
        Radii of the tubes that are looked for, µm. Those below a pixel, beyond a quarter of the image or a third of the
        stack are left out.
    within : bool array, same shape, optional
        The tissue. Noise is estimated in it, and vessels are looked for in it: medium is darker and more even, and the
        tissue's edge is no vessel.
    high, low : float
        Thresholds of the ridge response in units of its noise: a vessel begins where it exceeds `high` and continues
        while it exceeds `low`.
    min_brightness : float
        A vessel begins where the response also exceeds this share of that of the strongest half per cent of the
        tissue, and continues down to half of it: bleed-through of cells and fibres of the tissue stay below.
    min_length : float
        Shorter pieces (largest side of their box, µm) are dropped.
    fill_lumen : bool
        In a volume, take what walls enclose for vessel as well (`fill_lumens`), and round the mask off.
    block_voxels : int
        Voxels that are filtered at once; beyond the image and its mask, memory stays at some twenty times four bytes
        per voxel of a block.

    Returns
    -------
    bool array of the image's shape

    Raises
    ------
    SettingsError
        If image, tissue and spacing do not fit or the image holds values that are not finite.

    Notes
    -----
    The response at radius r is the strongest negative curvature (in a volume the weaker of the two that a tube has)
    of the image smoothed with sigma = r / √2 (2D) or r / √3 per axis, times sigma² (Lindeberg 1998, IJCV 30:117). Its
    noise is 1.4826 times the median absolute deviation at that scale. A ridge extends sideways to half of the local
    contrast. Wide filters run on coarser grids.
    """
    pixels, size = as_pixels(image, spacing)
    tissue = _tissue(within, pixels.shape)
    lumen = None
    if fill_lumen and pixels.ndim == 3:
        filled = fill_lumens(pixels, size)
        lumen = filled - pixels > (filled - np.median(pixels)) / 2
        pixels = filled
    wide, core = np.zeros(pixels.shape, dtype=np.bool_), np.zeros(pixels.shape, dtype=np.bool_)
    usable = _usable_radii(radii, pixels.shape, size)
    filters = {radius: _Ridges(pixels, radius, size, block_voxels) for radius in usable}
    levels = {radius: ridges.levels(tissue) for radius, ridges in filters.items()}
    bright = max((level.top for level in levels.values()), default=0.0)
    for radius, ridges in filters.items():
        level = levels[radius]
        begin = max(high * level.noise, min_brightness * bright)
        go_on = max(low * level.noise, min_brightness / 2 * bright)
        for part in ridges.parts:
            strength = ridges.response(part) - level.middle
            # Only where the contrast reaches half of the local one: a wide filter also answers beside a thin tube.
            body = _above_half_contrast(pixels[part.outer], radius, size)[part.within]
            wide[part.inner] |= (strength > go_on) & body
            core[part.inner] |= (strength > begin) & body
    mask = hysteresis(wide, core)
    if lumen is not None and mask.any():
        mask = _rounded(mask, lumen & mask, size, min(usable))
    if tissue is not None:
        mask &= tissue
    return drop_short(mask, size, min_length)


def _rounded(mask: Mask, lumen: Mask, size: tuple[float, ...], radius: float) -> Mask:
    """Fill cavities and round walls off around lumens, where thinning would turn each hole into a loop."""
    import edt

    if not lumen.any():
        return mask
    solid = ndimage.binary_fill_holes(mask).astype(np.float32)
    rounded: Mask = ndimage.gaussian_filter(solid, [_ROUNDING * radius / s for s in size], mode="nearest") > 0.5
    near = edt.edt(~lumen, anisotropy=size, parallel=1) < 2 * radius
    return np.where(near, rounded, mask)


def _tissue(within: npt.ArrayLike | None, shape: tuple[int, ...]) -> Mask | None:
    if within is None:
        return None
    tissue = np.asarray(within, dtype=np.bool_)
    if tissue.shape != shape:
        raise SettingsError(f"The image has shape {shape}, the tissue {tissue.shape}: they must be alike.")
    return tissue if tissue.any() and not tissue.all() else None


@dataclass(frozen=True)
class _Levels:
    """Response of a scale: its median, its noise, and what its strongest half per cent exceeds (over the median)."""

    middle: float
    noise: float
    top: float


class _Ridges:
    """The ridge filter of one radius, block by block."""

    def __init__(self, pixels: Floats, radius: float, size: tuple[float, ...], block_voxels: int) -> None:
        self.pixels, self.radius, self.size = pixels, radius, size
        margin = [int(np.ceil(4 * radius / s)) + 2 for s in size]
        self.parts = list(blocks(pixels.shape, margin, multiple=LARGEST_FACTOR, voxels=block_voxels))
        self.sigma = radius / np.sqrt(pixels.ndim)
        self.factors = factors_for(self.sigma, size)
        self._only: Floats | None = None

    def response(self, part: Block) -> Floats:
        """Return sigma² times the negative curvature across a ridge, on the image's grid."""
        return enlarge(self._coarse(part), self.factors, self.pixels[part.outer].shape)[part.within]

    def levels(self, tissue: Mask | None) -> _Levels:
        """Return median, noise and height of the response in the tissue."""
        chosen = [self.parts[i] for i in _spread(len(self.parts))]
        values = [
            self._coarse(part)[_here(tissue, part, self.factors)] if tissue is not None else self._coarse(part).ravel()
            for part in chosen
        ]
        together = np.concatenate(values)
        if not together.size:
            return _Levels(0.0, np.inf, 0.0)
        middle, noise = median_and_noise(together)
        noise = max(noise, 1e-6 * float(np.abs(together).max()), 1e-30)
        return _Levels(middle, noise, float(np.quantile(together, 0.995)) - middle)

    def _coarse(self, part: Block) -> Floats:
        if self._only is not None:
            return self._only
        smooth = smooth_coarse(self.pixels[part.outer], self.sigma, self.size, self.factors)
        curvature = hessian_eigenvalues(smooth, [s * f for s, f in zip(self.size, self.factors, strict=True)])
        # A tube has two strong negative curvatures, a sheet only one: the weaker of the two tells them apart.
        across = (-(self.sigma**2) * curvature[1]).astype(np.float32)
        if len(self.parts) == 1:
            self._only = across
        return across


def _here(tissue: Mask, part: Block, factors: tuple[int, ...]) -> Mask:
    mask: Mask = block_mean(tissue[part.outer], factors) > 0.5
    return mask


def _usable_radii(radii: Sequence[float], shape: tuple[int, ...], size: tuple[float, ...]) -> list[float]:
    reach = min(shape[-2] * size[-2], shape[-1] * size[-1]) / 4
    if len(shape) == 3:
        reach = min(reach, shape[0] * size[0] / 3)
    return [float(r) for r in radii if max(size[-2:]) <= r <= reach]


def _spread(n: int) -> list[int]:
    """Return the numbers of a few blocks spread evenly over all."""
    return sorted({int(i) for i in np.linspace(0, n - 1, min(n, _NOISE_BLOCKS)).round()})


def _above_half_contrast(pixels: Floats, radius: float, size: tuple[float, ...]) -> Mask:
    """Return where the lightly smoothed image is above the middle between local background and local peak."""
    sigma = radius / 4
    factors = factors_for(sigma, size, cells=1.0)
    coarse = [s * f for s, f in zip(size, factors, strict=True)]
    smooth = smooth_coarse(pixels, max(sigma, 0.5 * min(size)), size, factors)
    near = [max(3, 2 * int(np.ceil(radius / s)) + 1) for s in coarse]
    far = [max(3, 2 * int(np.ceil(3 * radius / s)) + 1) for s in coarse]
    peak = ndimage.maximum_filter(smooth, near, mode="reflect")
    floor = ndimage.minimum_filter(smooth, far, mode="reflect")
    floor = ndimage.uniform_filter(floor, near, mode="reflect")
    half: Mask = enlarge(smooth - (peak + floor) / 2, factors, pixels.shape) > 0
    return half

"""From light to counts: blur, haze, bleed-through, shading, bleaching, camera noise."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_marrow.simulation.microscope import Imaging

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

EMISSION_UM: dict[str, float] = {
    "nuclei": 0.46, "CD31": 0.52, "CD235a": 0.58, "CD41": 0.62, "CD11b": 0.67, "CD45": 0.71, "CD34": 0.52,
    "scaffold": 0.45, "brightfield": 0.55,
}  # fmt: skip
"""Emission wavelengths, µm."""

FWHM = 2.3548200450309493
"""Full width at half maximum of a Gaussian of unit SD."""


def psf_sigma_um(imaging: Imaging, channel: str, depth_um: float = 0.0) -> tuple[float, float]:
    """SD of the Gaussian point spread function.

    Parameters
    ----------
    imaging : Imaging
    channel : str
        Sets the wavelength.
    depth_um : float
        Depth in the tissue, µm.

    Returns
    -------
    axial, lateral : float
        µm; lateral FWHM = 0.51 λ / NA, axial `axial_ratio` times that.
    """
    growth = 1.0 + imaging.axial_growth_per_100um * depth_um / 100.0
    lateral = 0.51 * EMISSION_UM[channel] / imaging.numerical_aperture / FWHM * growth
    return lateral * imaging.axial_ratio, lateral


def blur(light: Float32, imaging: Imaging, channel: str, *, defocus_um: float = 0.0) -> Float32:
    """Blur a (Z, Y, X) image by the PSF, growing with depth, and add haze from out of focus."""
    _, dy, dx = imaging.spacing_um
    result = light
    if light.shape[0] > 1:
        axial, _ = psf_sigma_um(imaging, channel, 0.5 * (light.shape[0] - 1) * imaging.spacing_um[0])
        result = ndimage.gaussian_filter1d(light, axial / imaging.spacing_um[0], axis=0, mode="nearest")
    planes = []
    for z in range(light.shape[0]):
        sigma = float(np.hypot(psf_sigma_um(imaging, channel, z * imaging.spacing_um[0])[1], defocus_um))
        plane = ndimage.gaussian_filter(result[z], (sigma / dy, sigma / dx), mode="nearest", truncate=3.0)
        planes.append((1.0 - imaging.haze) * plane + imaging.haze * _haze(result[z], imaging))
    return np.stack(planes).astype(np.float32)


def _haze(plane: Float32, imaging: Imaging) -> Float32:
    """Wide Gaussian, computed on a grid coarser by 4 (its SD is many pixels)."""
    ny, nx = plane.shape
    py, px = (-ny) % 4, (-nx) % 4
    padded = np.pad(plane, ((0, py), (0, px)), mode="edge")
    coarse = padded.reshape(padded.shape[0] // 4, 4, padded.shape[1] // 4, 4).mean(axis=(1, 3))
    sigma = imaging.haze_sigma_um / 4.0
    coarse = ndimage.gaussian_filter(coarse, (sigma / imaging.spacing_um[1], sigma / imaging.spacing_um[2]))
    fine: Float32 = np.repeat(np.repeat(coarse, 4, axis=0), 4, axis=1)[:ny, :nx]
    return ndimage.uniform_filter(fine, 4)


def shading_field(imaging: Imaging, channel_index: int, seed: int) -> Float32:
    """Illumination (Y, X), 1 at most and 1 - `imaging.shading` in the farthest corner, by channel and seed."""
    rng = np.random.default_rng([seed, 77, channel_index])
    ny, nx = imaging.shape[1:]
    cy, cx = rng.uniform(-0.25, 0.25, 2)
    y = np.linspace(-1, 1, ny)[:, None] - cy
    x = np.linspace(-1, 1, nx)[None, :] - cx
    r2 = y**2 + x**2
    return (1.0 - imaging.shading * r2 / r2.max()).astype(np.float32)


def mix_channels(light: Float32, names: tuple[str, ...], share: float) -> Float32:
    """Add to each fluorescence channel a share of the channel listed before it (bleed-through)."""
    mixed = light.copy()
    fluorescent = [i for i, n in enumerate(names) if n not in ("scaffold", "brightfield")]
    for before, after in pairwise(fluorescent):
        mixed[after] += share * light[before]
    return mixed


def expose(electrons: Float32, imaging: Imaging, rng: np.random.Generator) -> npt.NDArray[np.uint16]:
    """Read a camera: Poisson light, Gaussian read noise, offset, clipping.

    Parameters
    ----------
    electrons : (...) float32
        Expected photo-electrons.
    imaging : Imaging
    rng : numpy.random.Generator

    Returns
    -------
    (...) uint16
        Mean ``gain x electrons + offset``, variance about ``gain² (electrons + read_noise²) + 1/12``.
    """
    counts = poisson(electrons, rng)
    counts += np.float32(imaging.read_noise_electrons) * rng.standard_normal(electrons.shape, dtype=np.float32)
    counts *= np.float32(imaging.gain)
    counts += np.float32(imaging.offset + 0.5)
    np.clip(counts, 0, imaging.full_scale, out=counts)
    return counts.astype(np.uint16)


def poisson(mean: Float32, rng: np.random.Generator) -> Float32:
    """Poisson-like light: exact below a mean of 4, else the Cornish-Fisher expansion of the Poisson quantiles.

    Parameters
    ----------
    mean : (...) float32
        Expected photo-electrons.
    rng : numpy.random.Generator

    Returns
    -------
    (...) float32
        ``m + √m z + (z² - 1)/6`` with z standard normal: mean m, variance m + 1/18, skewness 1/√m as for Poisson; not
        rounded, since read noise follows. Ten times faster than drawing Poisson numbers.
    """
    flat = np.maximum(mean, np.float32(0.0)).astype(np.float32, copy=False).ravel()
    z = rng.standard_normal(flat.shape, dtype=np.float32)
    result: Float32 = z * z
    result -= np.float32(1.0)
    result *= np.float32(1.0 / 6.0)
    result += flat
    z *= np.sqrt(flat)
    result += z
    few = np.flatnonzero(flat < 4.0)
    if len(few):
        result[few] = rng.poisson(flat[few])
    return result.reshape(mean.shape)

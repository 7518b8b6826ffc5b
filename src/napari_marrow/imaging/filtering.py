"""Filters that prepare images for registration: texture kept, illumination and bright single cells tamed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError

Plane = npt.NDArray[np.float32]


def as_plane(image: npt.ArrayLike, *, name: str = "image") -> npt.NDArray[np.float32]:
    """Return a 2D image as float32 with NaN and infinity replaced by the median of the finite pixels.

    Raises
    ------
    SettingsError
        If the image is not 2D or has no pixel.
    """
    array = np.asarray(image)
    if array.ndim != 2 or array.size == 0:
        raise SettingsError(
            f"The {name} must be a 2D plane (Y, X), not of shape {array.shape}: project or pick a plane."
        )
    plane = array.astype(np.float32)
    finite = np.isfinite(plane)
    if not finite.all():
        plane[~finite] = np.median(plane[finite]) if finite.any() else 0.0
    return plane


def band_pass(plane: Plane, *, fine: tuple[float, float], coarse: tuple[float, float]) -> Plane:
    """Take away noise and illumination by a difference of Gaussians.

    Parameters
    ----------
    plane : ndarray of float32, shape (Y, X)
    fine, coarse : (float, float), pixels
        Standard deviations (y, x) of the two Gaussians.

    Returns
    -------
    ndarray of float32, shape (Y, X)
        All zero for an image without texture.
    """
    from napari_marrow.imaging.plane_kernels import difference_of_gaussians, half_kernel

    band = difference_of_gaussians(plane, *(half_kernel(s) for s in (*fine, *coarse)))
    spread = float(np.mean(np.abs(band)))
    if not np.isfinite(spread) or spread <= 1e-6 * max(1.0, float(np.abs(plane).max())):
        return np.zeros_like(band)
    return band


def compress(band: Plane) -> Plane:
    """Divide a band-passed plane by its robust spread and pass it through ``tanh(x / 3)``.

    A few bright cells that moved then do not outweigh the many structures that stayed.
    """
    # Mean absolute value, not a median: in a dark field with few cells more than half the pixels are plain background.
    spread = float(np.mean(np.abs(band)))
    return np.asarray(np.tanh(band / np.float32(3.0 * spread))) if spread > 0 else np.zeros_like(band)


def texture(plane: Plane, *, fine: tuple[float, float], coarse: tuple[float, float]) -> Plane:
    """Band-pass an image and compress its extremes, see `band_pass` and `compress`.

    Parameters
    ----------
    plane : ndarray of float32, shape (Y, X)
    fine, coarse : (float, float), pixels
        Standard deviations (y, x) of the two Gaussians.

    Returns
    -------
    ndarray of float32, shape (Y, X)
        All zero for an image without texture.
    """
    return compress(band_pass(plane, fine=fine, coarse=coarse))


def shrink(plane: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    """Average blocks of `factor` x `factor` pixels, the incomplete rest cut off; pixel 0 then lies at (factor-1)/2."""
    if factor == 1:
        return plane
    from napari_marrow.imaging.plane_kernels import block_mean

    return block_mean(plane, factor)


@lru_cache(maxsize=8)
def taper(shape: tuple[int, int], fraction: float = 0.15) -> npt.NDArray[np.float32]:
    """Return a Tukey window (Y, X) that falls to zero over the outer `fraction` of each side."""
    from scipy.signal.windows import tukey

    y, x = (tukey(n, 2 * fraction).astype(np.float32) for n in shape)
    window = np.asarray(y[:, None] * x[None, :])
    window.setflags(write=False)
    return window

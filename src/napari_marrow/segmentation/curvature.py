"""First and second differences of smoothed images, and the eigenvalues of what they form, in closed form.

All kernels work in float32, voxel by voxel, without temporary arrays of the image's size. At the image's edge the edge
value goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float32]

_THIRD_TURN = 2.0 * np.pi / 3.0


def gradient(smooth: Floats, spacing: Sequence[float]) -> Floats:
    """Return the central differences along each axis.

    Parameters
    ----------
    smooth : float32 array, shape (Y, X) or (Z, Y, X)
    spacing : sequence of float
        Pixel size per axis.

    Returns
    -------
    float32 array, shape (ndim, ...)
        Per unit of `spacing`.
    """
    volume, size = _as_volume(smooth, spacing)
    out = np.empty((3, *volume.shape), dtype=np.float32)
    _gradient(volume, size, out)
    return out.reshape(3, *smooth.shape) if smooth.ndim == 3 else out[1:, 0]


def hessian_eigenvalues(smooth: Floats, spacing: Sequence[float]) -> Floats:
    """Return the eigenvalues of the matrix of second differences, largest first.

    Parameters
    ----------
    smooth : float32 array, shape (Y, X) or (Z, Y, X)
    spacing : sequence of float
        Pixel size per axis.

    Returns
    -------
    float32 array, shape (ndim, ...)
        Per squared unit of `spacing`. On a bright ridge in a plane the last is negative, on a bright tube in a volume
        the last two are.

    Notes
    -----
    2 x 2: half the trace plus and minus the root of the discriminant. 3 x 3: the trigonometric solution (Smith 1961,
    Communications of the ACM 4:168).
    """
    volume, size = _as_volume(smooth, spacing)
    out = np.empty((smooth.ndim, *volume.shape), dtype=np.float32)
    _hessian_eigenvalues(volume, size, out)
    return out.reshape(smooth.ndim, *smooth.shape)


def symmetric_eigenvalues(components: Floats) -> Floats:
    """Return the eigenvalues of symmetric matrices, largest first.

    Parameters
    ----------
    components : float32 array, shape (3, ...) or (6, ...)
        Upper triangle, row by row: yy, yx, xx, or zz, zy, zx, yy, yx, xx.

    Returns
    -------
    float32 array, shape (2, ...) or (3, ...)
    """
    flat = np.ascontiguousarray(components.reshape(len(components), -1), dtype=np.float32)
    out = np.empty((2 if len(components) == 3 else 3, flat.shape[1]), dtype=np.float32)
    _symmetric_eigenvalues(flat, out)
    return out.reshape(len(out), *components.shape[1:])


def _as_volume(smooth: Floats, spacing: Sequence[float]) -> tuple[Floats, npt.NDArray[np.float64]]:
    volume = np.ascontiguousarray(smooth if smooth.ndim == 3 else smooth[np.newaxis], dtype=np.float32)
    size = np.ones(3)
    size[3 - smooth.ndim :] = spacing
    return volume, size


@njit(cache=True, nogil=True)
def _gradient(a: Floats, size: npt.NDArray[np.float64], out: Floats) -> None:
    nz, ny, nx = a.shape
    rz, ry, rx = np.float32(0.5 / size[0]), np.float32(0.5 / size[1]), np.float32(0.5 / size[2])
    for z in range(nz):
        z0, z1 = max(z - 1, 0), min(z + 1, nz - 1)
        for y in range(ny):
            y0, y1 = max(y - 1, 0), min(y + 1, ny - 1)
            for x in range(nx):
                x0, x1 = max(x - 1, 0), min(x + 1, nx - 1)
                out[0, z, y, x] = (a[z1, y, x] - a[z0, y, x]) * rz
                out[1, z, y, x] = (a[z, y1, x] - a[z, y0, x]) * ry
                out[2, z, y, x] = (a[z, y, x1] - a[z, y, x0]) * rx


@njit(cache=True, nogil=True)
def _hessian_eigenvalues(a: Floats, size: npt.NDArray[np.float64], out: Floats) -> None:
    nz, ny, nx = a.shape
    dz, dy, dx = size
    flat = out.shape[0] == 2
    for z in range(nz):
        z0, z1 = max(z - 1, 0), min(z + 1, nz - 1)
        for y in range(ny):
            y0, y1 = max(y - 1, 0), min(y + 1, ny - 1)
            for x in range(nx):
                x0, x1 = max(x - 1, 0), min(x + 1, nx - 1)
                middle = a[z, y, x]
                yy = (a[z, y1, x] - 2 * middle + a[z, y0, x]) / (dy * dy)
                xx = (a[z, y, x1] - 2 * middle + a[z, y, x0]) / (dx * dx)
                yx = (a[z, y1, x1] - a[z, y1, x0] - a[z, y0, x1] + a[z, y0, x0]) / (4 * dy * dx)
                if flat:
                    out[0, z, y, x], out[1, z, y, x] = _two(yy, yx, xx)
                else:
                    zz = (a[z1, y, x] - 2 * middle + a[z0, y, x]) / (dz * dz)
                    zy = (a[z1, y1, x] - a[z1, y0, x] - a[z0, y1, x] + a[z0, y0, x]) / (4 * dz * dy)
                    zx = (a[z1, y, x1] - a[z1, y, x0] - a[z0, y, x1] + a[z0, y, x0]) / (4 * dz * dx)
                    e = _three(zz, zy, zx, yy, yx, xx)
                    out[0, z, y, x], out[1, z, y, x], out[2, z, y, x] = e


@njit(cache=True, nogil=True)
def _symmetric_eigenvalues(a: Floats, out: Floats) -> None:
    if out.shape[0] == 2:
        for i in range(a.shape[1]):
            out[0, i], out[1, i] = _two(a[0, i], a[1, i], a[2, i])
    else:
        for i in range(a.shape[1]):
            out[0, i], out[1, i], out[2, i] = _three(a[0, i], a[1, i], a[2, i], a[3, i], a[4, i], a[5, i])


@njit(cache=True, nogil=True)
def _two(yy: float, yx: float, xx: float) -> tuple[float, float]:
    mean = 0.5 * (yy + xx)
    root = np.sqrt((0.5 * (yy - xx)) ** 2 + yx * yx)
    return mean + root, mean - root


@njit(cache=True, nogil=True)
def _three(zz: float, zy: float, zx: float, yy: float, yx: float, xx: float) -> tuple[float, float, float]:
    mean = (zz + yy + xx) / 3.0
    a, b, c = zz - mean, yy - mean, xx - mean
    spread = np.sqrt((a * a + b * b + c * c + 2.0 * (zy * zy + zx * zx + yx * yx)) / 6.0)
    if spread <= 0.0:
        return mean, mean, mean
    half = (a * (b * c - yx * yx) - zy * (zy * c - yx * zx) + zx * (zy * yx - b * zx)) / (2.0 * spread**3)
    angle = np.arccos(min(1.0, max(-1.0, half))) / 3.0
    first = mean + 2.0 * spread * np.cos(angle)
    last = mean + 2.0 * spread * np.cos(angle + _THIRD_TURN)
    return first, 3.0 * mean - first - last, last

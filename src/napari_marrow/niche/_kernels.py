"""Compiled loops of the niche room; everything is written for 3D, a plane is a volume with one z.

The leaf module is imported inside functions so that importing the room does not load numba.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def read_linear(field: Float32Array, points: Float64Array) -> Float64Array:  # pragma: no cover - compiled
    """Read a field (Z, Y, X) by linear interpolation at points (n, 3) in voxel units, clamped to the voxel centres."""
    n = points.shape[0]
    nz, ny, nx = field.shape
    out = np.empty(n)
    for i in range(n):
        z = min(max(points[i, 0], 0.0), nz - 1.0)
        y = min(max(points[i, 1], 0.0), ny - 1.0)
        x = min(max(points[i, 2], 0.0), nx - 1.0)
        z0, y0, x0 = int(z), int(y), int(x)
        z1, y1, x1 = min(z0 + 1, nz - 1), min(y0 + 1, ny - 1), min(x0 + 1, nx - 1)
        fz, fy, fx = z - z0, y - y0, x - x0
        low = (field[z0, y0, x0] * (1 - fx) + field[z0, y0, x1] * fx) * (1 - fy)
        low += (field[z0, y1, x0] * (1 - fx) + field[z0, y1, x1] * fx) * fy
        if fz > 0.0:
            high = (field[z1, y0, x0] * (1 - fx) + field[z1, y0, x1] * fx) * (1 - fy)
            high += (field[z1, y1, x0] * (1 - fx) + field[z1, y1, x1] * fx) * fy
            low = low * (1 - fz) + high * fz
        out[i] = low
    return out


@njit(cache=True, nogil=True)
def _covariance(table: Float64Array, hz: float, hy: float, hx: float) -> float:  # pragma: no cover - compiled
    """Read the set covariance at a lag given in voxels, counted from the table's centre."""
    nz, ny, nx = table.shape
    z = min(max(hz + (nz // 2), 0.0), nz - 1.0)
    y = min(max(hy + (ny // 2), 0.0), ny - 1.0)
    x = min(max(hx + (nx // 2), 0.0), nx - 1.0)
    z0, y0, x0 = int(z), int(y), int(x)
    y1, x1 = min(y0 + 1, ny - 1), min(x0 + 1, nx - 1)
    fz, fy, fx = z - z0, y - y0, x - x0
    value = (table[z0, y0, x0] * (1 - fx) + table[z0, y0, x1] * fx) * (1 - fy)
    value += (table[z0, y1, x0] * (1 - fx) + table[z0, y1, x1] * fx) * fy
    if fz > 0.0:
        z1 = min(z0 + 1, nz - 1)
        high = (table[z1, y0, x0] * (1 - fx) + table[z1, y0, x1] * fx) * (1 - fy)
        high += (table[z1, y1, x0] * (1 - fx) + table[z1, y1, x1] * fx) * fy
        value = value * (1 - fz) + high * fz
    return value


@njit(cache=True, nogil=True)
def pair_histogram(
    x: Float64Array,
    y: Float64Array,
    identity_x: IntArray,
    identity_y: IntArray,
    labels_x: Float32Array,
    labels_y: Float32Array,
    first: IntArray,
    grid: IntArray,
    origin: Float64Array,
    cell: float,
    reach: int,
    covariance: Float64Array,
    spacing: Float64Array,
    r_max: float,
    n_bins: int,
    symmetric: bool,
) -> Float64Array:  # pragma: no cover - compiled
    """Sum 1/γ_W(x-y) over pairs by distance, for many labellings at once.

    Parameters
    ----------
    x, y : (n, 3), (m, 3) float64
        Points in µm; `y` sorted by grid cell.
    identity_x, identity_y : (n,), (m,) int64
        Pairs of equal identity are the same point and left out.
    labels_x, labels_y : (n, S), (m, S) float32
        Weight of each point in each of S labellings.
    first : (cells + 1,) int64
        Where each cell's points begin in `y`.
    grid : (3,) int64; origin : (3,); cell : float; reach : int
        Cell grid, its corner and edge in µm, and how many cells a pair may span.
    covariance : (Lz, Ly, Lx) float64
        Set covariance in µm^d, lag 0 at the centre; `spacing` its voxel in µm.
    symmetric : bool
        `x` and `y` are the same points: each unordered pair is met once and counted both ways (γ_W is even).

    Returns
    -------
    (n_bins, S) float64
        Sum of the weights of pairs with distance in ((k - 1) dr, k dr], dr = r_max / n_bins; pairs at distance 0 in bin
        0.
    """
    total = np.zeros((n_bins, labels_x.shape[1]))
    n_sets = labels_x.shape[1]
    smallest = spacing[0] * spacing[1] * spacing[2] * 1e-6
    centre = covariance[covariance.shape[0] // 2, covariance.shape[1] // 2, covariance.shape[2] // 2]
    smallest = min(max(smallest, centre * 1e-9), centre)
    scale = n_bins / r_max
    # In the symmetric case identities are row numbers of `x`, and this holds the labels of `y` in that order.
    by_identity = np.empty_like(labels_y)
    if symmetric:
        for j in range(y.shape[0]):
            by_identity[identity_y[j]] = labels_y[j]
    for i in range(x.shape[0]):
        cz = int((x[i, 0] - origin[0]) // cell)
        cy = int((x[i, 1] - origin[1]) // cell)
        cx = int((x[i, 2] - origin[2]) // cell)
        for gz in range(max(cz - reach, 0), min(cz + reach + 1, grid[0])):
            for gy in range(max(cy - reach, 0), min(cy + reach + 1, grid[1])):
                row = (gz * grid[1] + gy) * grid[2]
                low, high = max(cx - reach, 0), min(cx + reach, grid[2] - 1)
                if low > high:
                    continue
                for j in range(first[row + low], first[row + high + 1]):
                    dz, dy, dx = x[i, 0] - y[j, 0], x[i, 1] - y[j, 1], x[i, 2] - y[j, 2]
                    squared = dz * dz + dy * dy + dx * dx
                    if squared > r_max * r_max or identity_x[i] == identity_y[j]:
                        continue
                    if symmetric and identity_x[i] > identity_y[j]:
                        continue
                    k = max(int(np.ceil(np.sqrt(squared) * scale)) - 1, 0)
                    k = min(k, n_bins - 1)
                    gamma = _covariance(covariance, dz / spacing[0], dy / spacing[1], dx / spacing[2])
                    weight = 1.0 / max(gamma, smallest)
                    if symmetric:
                        p = identity_y[j]
                        for s in range(n_sets):
                            both = labels_x[i, s] * labels_y[j, s] + labels_x[p, s] * by_identity[i, s]
                            total[k, s] += weight * both
                    else:
                        for s in range(n_sets):
                            total[k, s] += weight * labels_x[i, s] * labels_y[j, s]
    return total

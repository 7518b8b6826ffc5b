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
def _covariance(table: Float32Array, hz: float, hy: float, hx: float) -> float:  # pragma: no cover - compiled
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
    first_x: IntArray,
    first_y: IntArray,
    grid: IntArray,
    offsets: IntArray,
    covariance: Float32Array,
    spacing: Float64Array,
    r_max: float,
    n_bins: int,
    symmetric: bool,
) -> Float64Array:  # pragma: no cover - compiled
    """Sum 1/γ_W(x-y) over pairs by distance, for many labellings at once.

    Offsets between cells of the grid are the outer loop: all pairs of one offset have nearly the same lag, so the part
    of the set covariance that they read stays in the processor's cache.

    Parameters
    ----------
    x, y : (n, 3), (m, 3) float64
        Points in µm, both sorted by grid cell.
    identity_x, identity_y : (n,), (m,) int64
        Pairs of equal identity are the same point and left out.
    labels_x, labels_y : (n, S), (m, S) float32
        Weight of each point in each of S labellings.
    first_x, first_y : (cells + 1,) int64
        Where each cell's points begin.
    grid : (3,) int64
        Cells along each axis.
    offsets : (k, 3) int64
        From the cell of the first point to that of the second; for `symmetric` only those not below (0, 0, 0).
    covariance : (Lz, Ly, Lx) float32
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
    farthest = r_max * r_max
    for o in range(offsets.shape[0]):
        oz, oy, ox = offsets[o, 0], offsets[o, 1], offsets[o, 2]
        within = oz == 0 and oy == 0 and ox == 0
        for gz in range(max(0, -oz), min(grid[0], grid[0] - oz)):
            for gy in range(max(0, -oy), min(grid[1], grid[1] - oy)):
                for gx in range(max(0, -ox), min(grid[2], grid[2] - ox)):
                    a = (gz * grid[1] + gy) * grid[2] + gx
                    b = ((gz + oz) * grid[1] + gy + oy) * grid[2] + gx + ox
                    for i in range(first_x[a], first_x[a + 1]):
                        begin = i + 1 if symmetric and within else first_y[b]
                        for j in range(begin, first_y[b + 1]):
                            dz, dy, dx = x[i, 0] - y[j, 0], x[i, 1] - y[j, 1], x[i, 2] - y[j, 2]
                            squared = dz * dz + dy * dy + dx * dx
                            if squared > farthest or identity_x[i] == identity_y[j]:
                                continue
                            k = min(max(int(np.ceil(np.sqrt(squared) * scale)) - 1, 0), n_bins - 1)
                            gamma = _covariance(covariance, dz / spacing[0], dy / spacing[1], dx / spacing[2])
                            weight = 1.0 / max(gamma, smallest)
                            if symmetric:
                                for s in range(n_sets):
                                    both = labels_x[i, s] * labels_y[j, s] + labels_x[j, s] * labels_y[i, s]
                                    total[k, s] += weight * both
                            else:
                                for s in range(n_sets):
                                    total[k, s] += weight * labels_x[i, s] * labels_y[j, s]
    return total


@njit(cache=True, nogil=True)
def class_pairs(code: IntArray, pairs: IntArray, k: int) -> IntArray:  # pragma: no cover - compiled
    """Count the ordered class pairs (S, k, k) of neighbours (p, 2) for labellings (S, n) with classes 0..k-1."""
    out = np.zeros((code.shape[0], k, k), dtype=np.int64)
    for s in range(code.shape[0]):
        for p in range(pairs.shape[0]):
            a, b = code[s, pairs[p, 0]], code[s, pairs[p, 1]]
            out[s, a, b] += 1
            out[s, b, a] += 1
    return out

"""Drawing kernels: cells into label and light images, tubes into a distance field."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]


@njit(cache=True, nogil=True)
def draw_cells(
    centres: Float,
    axes: Float,
    angles: Float,
    phases: Float,
    ids: Int32,
    nuclear: Float,
    levels: Float,
    body_ratio: float,
    spacing: Float,
    labels: Int32,
    nearest: Float32,
    nuclei: Float32,
    bodies: Float32,
) -> None:
    """Draw ellipsoidal cells: nuclei compete for pixels, bodies (membrane stains) add up.

    Parameters
    ----------
    centres : (n, 3) float64
        Centres z, y, x in µm in the frame of the image; voxel i has its centre at i x spacing.
    axes : (n, 3) float64
        Semi-axes of the nucleus across planes, along and across its long axis, µm.
    angles : (n,) float64
        Angle of the long axis from +x towards +y, rad.
    phases : (n, 4) float64
        Phases of the outline's lobes and of the chromatin texture, rad.
    ids : (n,) int32
        Label values.
    nuclear : (n,) float64
        Brightness of the nucleus.
    levels : (n, K) float64
        Brightness of the body in K stains.
    body_ratio : float
        Size of the body over that of the nucleus.
    spacing : (3,) float64
        Voxel size, µm.
    labels, nearest, nuclei : (Z, Y, X) int32, float32, float32
        Results, changed in place; `nearest` starts at infinity.
    bodies : (K, Z, Y, X) float32
        Result, changed in place.
    """
    nz, ny, nx = labels.shape
    stains = levels.shape[1]
    dz, dy, dx = spacing[0], spacing[1], spacing[2]
    for i in range(centres.shape[0]):
        az, aa, ab = axes[i, 0], axes[i, 1], axes[i, 2]
        reach = max(aa, ab) * body_ratio * 1.15 + dx
        lit = False
        for k in range(stains):
            lit = lit or levels[i, k] > 0.0
        z_reach = az * body_ratio
        z0 = max(0, int(np.ceil((centres[i, 0] - z_reach) / dz)))
        z1 = min(nz - 1, int(np.floor((centres[i, 0] + z_reach) / dz)))
        if nz == 1:
            z0, z1 = 0, 0
        y0 = max(0, int(np.floor((centres[i, 1] - reach) / dy)))
        y1 = min(ny - 1, int(np.ceil((centres[i, 1] + reach) / dy)))
        x0 = max(0, int(np.floor((centres[i, 2] - reach) / dx)))
        x1 = min(nx - 1, int(np.ceil((centres[i, 2] + reach) / dx)))
        ca, sa = np.cos(angles[i]), np.sin(angles[i])
        soft = 0.5 * (aa + ab) / dx
        for z in range(z0, z1 + 1):
            w = (z * dz - centres[i, 0]) / az if nz > 1 else 0.0
            for y in range(y0, y1 + 1):
                py = y * dy - centres[i, 1]
                for x in range(x0, x1 + 1):
                    px = x * dx - centres[i, 2]
                    u = (px * ca + py * sa) / aa
                    v = (-px * sa + py * ca) / ab
                    theta = np.arctan2(v, u)
                    lobe = 1.0 + 0.05 * np.cos(2 * theta + phases[i, 0]) + 0.05 * np.cos(3 * theta + phases[i, 1])
                    q = np.sqrt(u * u + v * v + w * w) / lobe
                    cover = (1.0 - q) * soft + 0.5
                    if cover > 0.0:
                        dome = 0.7 + 0.3 * np.sqrt(max(0.0, 1.0 - q * q))
                        texture = (
                            1.0
                            + 0.13 * np.cos(5.0 * u + phases[i, 2]) * np.cos(4.0 * v + phases[i, 3])
                            + 0.10 * np.cos(7.5 * v - 3.0 * u + phases[i, 0])
                        )
                        light = nuclear[i] * min(cover, 1.0) * dome * texture
                        if light > nuclei[z, y, x]:
                            nuclei[z, y, x] = light
                        if q <= 1.0 and q < nearest[z, y, x]:
                            nearest[z, y, x] = q
                            labels[z, y, x] = ids[i]
                    if lit:
                        p = q / body_ratio
                        body = min(1.0, (1.0 - p) * soft * body_ratio + 0.5)
                        if body > 0.0:
                            rim = 0.62 + 0.38 * min(p, 1.0) ** 4
                            for k in range(stains):
                                bodies[k, z, y, x] += levels[i, k] * body * rim


@njit(cache=True, nogil=True)
def tube_distance(
    starts: Float, ends: Float, radii: Float, spacing: Float, origin: Float, cutoff: float, out: Float32
) -> None:
    """Signed distance to the surface of round tubes (negative inside), exact within `cutoff` of a surface.

    Parameters
    ----------
    starts, ends : (n, 3) float64
        Ends of straight pieces z, y, x, µm.
    radii : (n,) float64
        Radius of each piece, µm.
    spacing, origin : (3,) float64
        Voxel size and place of voxel (0, 0, 0), µm.
    cutoff : float
        Farthest distance of interest, µm.
    out : (Z, Y, X) float32
        Lowered in place where a tube is nearer.
    """
    nz, ny, nx = out.shape
    for i in range(starts.shape[0]):
        reach = radii[i] + cutoff
        low = np.empty(3)
        high = np.empty(3)
        for k in range(3):
            low[k] = (min(starts[i, k], ends[i, k]) - reach - origin[k]) / spacing[k]
            high[k] = (max(starts[i, k], ends[i, k]) + reach - origin[k]) / spacing[k]
        bz, by, bx = ends[i, 0] - starts[i, 0], ends[i, 1] - starts[i, 1], ends[i, 2] - starts[i, 2]
        length2 = max(bz * bz + by * by + bx * bx, 1e-12)
        for z in range(max(0, int(low[0])), min(nz - 1, int(high[0]) + 1) + 1):
            pz = z * spacing[0] + origin[0] - starts[i, 0]
            for y in range(max(0, int(low[1])), min(ny - 1, int(high[1]) + 1) + 1):
                py = y * spacing[1] + origin[1] - starts[i, 1]
                for x in range(max(0, int(low[2])), min(nx - 1, int(high[2]) + 1) + 1):
                    px = x * spacing[2] + origin[2] - starts[i, 2]
                    along = min(1.0, max(0.0, (pz * bz + py * by + px * bx) / length2))
                    ez, ey, ex = pz - along * bz, py - along * by, px - along * bx
                    d = np.sqrt(ez * ez + ey * ey + ex * ex) - radii[i]
                    if d < out[z, y, x]:
                        out[z, y, x] = d


@njit(cache=True, nogil=True)
def warp_fields(fields: Float32, matrix: Float, offset: Float, z_step: float, out: Float32) -> None:
    """Sample fields linearly at an affine grid; the edge value holds outside.

    Parameters
    ----------
    fields : (K, Zg, Yg, Xg) float32
    matrix : (2, 2) float64
        Field rows and columns per image row and column.
    offset : (2,) float64
        Field row and column of image pixel (0, 0).
    z_step : float
        Field planes per image plane.
    out : (K, Z, Y, X) float32
        Result, changed in place.
    """
    kinds, gz, gy, gx = fields.shape
    _, nz, ny, nx = out.shape
    for z in range(nz):
        pz = min(max(z * z_step, 0.0), gz - 1.0)
        z0 = min(int(pz), max(gz - 2, 0))
        z1 = min(z0 + 1, gz - 1)
        fz = pz - z0
        for y in range(ny):
            for x in range(nx):
                py = min(max(matrix[0, 0] * y + matrix[0, 1] * x + offset[0], 0.0), gy - 1.001)
                px = min(max(matrix[1, 0] * y + matrix[1, 1] * x + offset[1], 0.0), gx - 1.001)
                y0, x0 = int(py), int(px)
                fy, fx = py - y0, px - x0
                for k in range(kinds):
                    low = (1 - fy) * ((1 - fx) * fields[k, z0, y0, x0] + fx * fields[k, z0, y0, x0 + 1]) + fy * (
                        (1 - fx) * fields[k, z0, y0 + 1, x0] + fx * fields[k, z0, y0 + 1, x0 + 1]
                    )
                    if z1 > z0:
                        high = (1 - fy) * ((1 - fx) * fields[k, z1, y0, x0] + fx * fields[k, z1, y0, x0 + 1]) + fy * (
                            (1 - fx) * fields[k, z1, y0 + 1, x0] + fx * fields[k, z1, y0 + 1, x0 + 1]
                        )
                        low = (1 - fz) * low + fz * high
                    out[k, z, y, x] = low

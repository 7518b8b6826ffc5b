"""Movement: run and tumble, soft contact between cells, cohesion of clones, walls of vessels and scaffold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Float = npt.NDArray[np.float64]


def run_and_tumble_msd(lag_h: float | Float, *, speed: float, persistence: float) -> float | Float:
    """Mean squared displacement of runs of exponential length at constant speed.

    Parameters
    ----------
    lag_h : float or (n,) float64
        Time lag, h.
    speed : float
        µm/h.
    persistence : float
        Mean run length, h.

    Returns
    -------
    float or (n,) float64
        ``2 v² P² (t/P - 1 + exp(-t/P))`` in µm² (Fürth 1920), whatever the number of dimensions.
    """
    x = np.asarray(lag_h, dtype=float) / persistence
    result: Float = 2.0 * (speed * persistence) ** 2 * (x - 1.0 + np.exp(-x))
    return float(result) if result.ndim == 0 else result


def random_directions(rng: np.random.Generator, n: int, *, flat: bool) -> Float:
    """Return n isotropic unit vectors (z, y, x); with `flat` their z is 0."""
    vectors = rng.standard_normal((n, 3))
    if flat:
        vectors[:, 0] = 0.0
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norm, 1e-12)


def wander(
    directions: Float, speeds: Float, dt: float, *, persistence: float, flat: bool, rng: np.random.Generator
) -> tuple[Float, Float]:
    """One step of run and tumble, exact for any step length.

    Parameters
    ----------
    directions : (n, 3) float64
        Present unit directions.
    speeds : (n,) float64
        Run speeds, µm/h.
    dt : float
        Step, h.
    persistence : float
        Mean run length, h.
    flat : bool
        Whether cells stay in their plane.
    rng : numpy.random.Generator

    Returns
    -------
    displacements, directions : (n, 3) float64
        Displacement of the step, µm, and the directions afterwards.

    Notes
    -----
    Tumbles are a Poisson process of rate 1 / persistence, hence their times within the step are uniform; each starts a
    run in a fresh isotropic direction.
    """
    n = len(speeds)
    tumbles = rng.poisson(dt / persistence, n)
    cell = np.repeat(np.arange(n), tumbles)
    when = rng.uniform(0.0, dt, len(cell))
    when = when[np.lexsort((when, cell))]
    fresh = random_directions(rng, len(cell), flat=flat)
    last = np.cumsum(tumbles) - 1
    until = np.append(when[1:], dt)
    turned = tumbles > 0
    until[last[turned]] = dt
    first = np.full(n, dt)
    first[turned] = when[(last - tumbles + 1)[turned]]
    runs = fresh * (until[: len(cell)] - when)[:, None]
    path = directions * first[:, None]
    path += np.stack([np.bincount(cell, runs[:, k], n) for k in range(3)], axis=1)
    after = directions.copy()
    after[turned] = fresh[last[turned]]
    return path * speeds[:, None], after


def cohesion(positions: Float, clones: npt.NDArray[np.int64], radii: Float, *, packing: float, flat: bool) -> Float:
    """Vector from each cell back to its clone's packing sphere, zero inside it.

    Parameters
    ----------
    positions : (n, 3) float64
        µm.
    clones : (n,) int64
        Clone of each cell, 0-based.
    radii : (n,) float64
        Cell radii, µm.
    packing : float
        Radius of the sphere = packing x mean cell radius x n^(1/2) (flat) or n^(1/3).

    Returns
    -------
    (n, 3) float64
    """
    count = np.bincount(clones)
    size = np.maximum(count, 1)
    centre = np.stack([np.bincount(clones, positions[:, k]) / size for k in range(3)], axis=1)
    mean_radius = np.bincount(clones, radii) / size
    allowed = packing * mean_radius * size ** (0.5 if flat else 1.0 / 3.0)
    away = centre[clones] - positions
    distance = np.linalg.norm(away, axis=1)
    excess = np.maximum(distance - allowed[clones], 0.0)
    return away * (excess / np.maximum(distance, 1e-9))[:, None]


@njit(cache=True, nogil=True)
def separate(positions: Float, radii: Float, overlap: float, iterations: int, flat: bool) -> None:
    """Push overlapping cells apart (in place) by relaxation over a grid of neighbours.

    Parameters
    ----------
    positions : (n, 3) float64
        µm; moved in place.
    radii : (n,) float64
        µm.
    overlap : float
        Overlap that soft cells tolerate, as a share of the sum of their radii.
    iterations : int
        Sweeps.
    flat : bool
        Whether z stays as it is.
    """
    n = positions.shape[0]
    if n < 2:
        return
    size = 0.0
    for i in range(n):
        size = max(size, 2.0 * radii[i])
    for _ in range(iterations):
        y0, x0 = positions[:, 1].min(), positions[:, 2].min()
        ny = int((positions[:, 1].max() - y0) / size) + 1
        nx = int((positions[:, 2].max() - x0) / size) + 1
        head = np.full(ny * nx, -1, np.int64)
        following = np.full(n, -1, np.int64)
        for i in range(n):
            box = int((positions[i, 1] - y0) / size) * nx + int((positions[i, 2] - x0) / size)
            following[i] = head[box]
            head[box] = i
        push = np.zeros((n, 3))
        for i in range(n):
            by, bx = int((positions[i, 1] - y0) / size), int((positions[i, 2] - x0) / size)
            for cy in range(max(0, by - 1), min(ny, by + 2)):
                for cx in range(max(0, bx - 1), min(nx, bx + 2)):
                    j = head[cy * nx + cx]
                    while j >= 0:
                        if j > i:
                            ez = positions[i, 0] - positions[j, 0]
                            ey = positions[i, 1] - positions[j, 1]
                            ex = positions[i, 2] - positions[j, 2]
                            gap = (radii[i] + radii[j]) * (1.0 - overlap)
                            d2 = ez * ez + ey * ey + ex * ex
                            if d2 < gap * gap:
                                d = np.sqrt(d2)
                                if d < 1e-9:
                                    ey, d = 1e-3, 1e-3
                                f = 0.35 * (gap - d) / d
                                if not flat:
                                    push[i, 0] += f * ez
                                    push[j, 0] -= f * ez
                                push[i, 1] += f * ey
                                push[j, 1] -= f * ey
                                push[i, 2] += f * ex
                                push[j, 2] -= f * ex
                        j = following[j]
        for i in range(n):
            for k in range(3):
                positions[i, k] += push[i, k]

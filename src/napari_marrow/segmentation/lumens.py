"""The insides of vessels in volumes: an endothelial marker shows the wall, and the middle of a wide vessel is dark."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from napari_marrow.segmentation.resolution import enlarge, smooth_coarse

Floats = npt.NDArray[np.float32]
Step = tuple[int, ...]

LARGEST_LUMEN = 40.0
"""How far a wall is looked for on either side, µm. Beyond, what lies between vessels would be closed in, too."""

_VOXEL = 2.0
"""Size of the grid's voxels, µm, where the image's are smaller."""

_OPEN_LINES = 2
"""How many of the 13 lines through a voxel may lack a wall: one runs along the vessel, one may meet a gap."""

_LINES: tuple[Step, ...] = tuple(step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0))


def fill_lumens(image: Floats, spacing: Sequence[float], *, reach: float = LARGEST_LUMEN) -> Floats:
    """Return a volume in which what walls enclose is as bright as the walls.

    Parameters
    ----------
    image : float32 array, shape (Z, Y, X)
        Bright walls on a darker background.
    spacing : sequence of float
        Voxel size (z, y, x), µm.
    reach : float
        How far a wall is looked for, µm.

    Returns
    -------
    float32 array of the image's shape
        Nowhere darker than the image.

    Notes
    -----
    Thirteen lines run through a voxel, to its neighbours and on. The height of a line is the lower one of the brightest
    places on both sides of the voxel within `reach`; a voxel is raised to the height that all but two lines reach. In
    a tube every line but those along it meets the wall twice; between vessels most do not. Where a line leaves the
    image one wall is enough: a vessel may be cut lengthwise by the field.
    """
    factors = tuple(max(1, round(max(_VOXEL, spacing[0]) / s)) for s in spacing)
    size = [s * f for s, f in zip(spacing, factors, strict=True)]
    sigma = 0.5 * max(size[1:])
    small = smooth_coarse(image, sigma, spacing, factors)
    lowest: list[Floats] = []
    for step in _LINES:
        cells = int(np.ceil(reach / np.linalg.norm(np.multiply(step, size))))
        lowest = _keep_lowest(lowest, _height(small, step, cells))
    return np.maximum(image, enlarge(np.maximum(lowest[-1], small.min()), factors, image.shape))


def _height(image: Floats, step: Step, cells: int) -> Floats:
    """Return the height of the line along a step at every place."""
    back = tuple(-k for k in step)
    ahead, behind = _brightest(image, step, cells), _brightest(image, back, cells)
    out_ahead, out_behind = _leaves(image.shape, step, cells), _leaves(image.shape, back, cells)
    one_side = np.where(out_ahead, np.where(out_behind, np.maximum(ahead, behind), behind), ahead)
    return np.where(out_ahead | out_behind, one_side, np.minimum(ahead, behind))


def _leaves(shape: tuple[int, ...], step: Step, cells: int) -> npt.NDArray[np.bool_]:
    """Return whether so many steps lead out of the image."""
    out = np.zeros((1, 1, 1), dtype=np.bool_)
    for axis, (n, k) in enumerate(zip(shape, step, strict=True)):
        end = np.arange(n) + k * cells
        out = out | ((end < 0) | (end >= n)).reshape([-1 if a == axis else 1 for a in range(3)])
    return out


def _keep_lowest(lowest: list[Floats], line: Floats) -> list[Floats]:
    """Return the lowest heights so far in rising order, one more than lines may be open."""
    result: list[Floats] = []
    for held in lowest:
        result.append(np.minimum(held, line))
        line = np.maximum(held, line)
    return result if len(result) > _OPEN_LINES else [*result, line]


def _brightest(image: Floats, step: Step, cells: int) -> Floats:
    """Return the maximum over the next cells along a step, by doubling."""
    result, seen = _moved(image, step), 1
    while seen < cells:
        more = min(seen, cells - seen)
        result = np.maximum(result, _moved(result, tuple(more * k for k in step)))
        seen += more
    return result


def _moved(image: Floats, by: Step) -> Floats:
    """Return the image's value at each place plus `by`; beyond the image there is nothing."""
    result = np.full_like(image, -np.inf)
    here, there = [], []
    for n, k in zip(image.shape, by, strict=True):
        here.append(slice(min(max(-k, 0), n), n - min(max(k, 0), n)))
        there.append(slice(min(max(k, 0), n), n - min(max(-k, 0), n)))
    result[tuple(here)] = image[tuple(there)]
    return result

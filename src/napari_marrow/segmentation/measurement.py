"""Position, size, shape and background-corrected intensity of labelled cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from numba import njit

Labels = npt.NDArray[np.int32]
Doubles = npt.NDArray[np.float64]


def measure_cells(
    labels: npt.NDArray[np.integer],
    image: npt.NDArray[np.generic],
    channels: Sequence[str],
    *,
    spacing: Sequence[float],
    ring_gap: int = 1,
    ring_width: int = 4,
) -> pd.DataFrame:
    """Measure every cell of one frame.

    Parameters
    ----------
    labels : integer array, shape (Z, Y, X) or (Y, X)
        0 is background. A plane has Z = 1.
    image : array, shape (C, Z, Y, X) or (C, Y, X)
        Counts.
    channels : sequence of str
        Names of the C channels.
    spacing : (z, y, x) or (y, x)
        Pixel size, µm.
    ring_gap, ring_width : int
        The local background is the median over pixels outside all cells that are more than `ring_gap` and at most
        `ring_gap + ring_width` px away from the cell and nearest to it. A cell without such pixels gets the median
        over all pixels outside cells.

    Returns
    -------
    DataFrame
        One row per label, ascending: `label`; centroid `z, y, x` (µm, pixel centres at index times spacing); `area`
        (µm², or µm³ where Z > 1); `eccentricity` of the ellipse of the same second moments, 0 circle to 1 line (NaN
        where Z > 1); `touches_border`; per channel `intensity_<name>` (mean minus local background, counts) and
        `sd_<name>`.

    Raises
    ------
    ValueError
        If shapes or the number of names do not fit.
    """
    volume = np.ascontiguousarray(labels if labels.ndim == 3 else labels[None], dtype=np.int32)
    stack = np.asarray(image)
    stack = stack[:, None] if stack.ndim == 3 else stack
    if volume.ndim != 3 or stack.shape[1:] != volume.shape or len(channels) != len(stack):
        raise ValueError(
            f"Labels {labels.shape}, image {np.shape(image)} and {len(channels)} channel names do not belong together."
        )
    if len(spacing) not in (2, 3):
        raise ValueError(f"Spacing {tuple(spacing)} must have two (y, x) or three (z, y, x) values.")
    size = (1.0, *map(float, spacing)) if len(spacing) == 2 else tuple(map(float, spacing))
    top = int(volume.max(initial=0))
    where = np.nonzero(volume)
    owner = volume[where]
    count = np.bincount(owner, minlength=top + 1)
    present = np.flatnonzero(count)
    table = _shape_columns(where, owner, count, present, size, volume.shape)
    rings = np.stack([background_rings(plane, ring_gap, ring_width) for plane in volume])
    ring_where = np.nonzero(rings)
    ring_owner = rings[ring_where]
    outside = volume == 0
    for name, channel in zip(channels, stack, strict=True):
        values = channel[where].astype(np.float64)
        mean, sd = _mean_and_sd(values, owner, count, present)
        background = _grouped_median(channel[ring_where].astype(np.float64), ring_owner, top)[present]
        missing = np.isnan(background)
        if missing.any():
            rest = channel[outside]
            background[missing] = float(np.median(rest)) if rest.size else 0.0
        table[f"intensity_{name}"] = mean - background
        table[f"sd_{name}"] = sd
    return table


def _shape_columns(
    where: tuple[npt.NDArray[np.intp], ...],
    owner: Labels,
    count: npt.NDArray[np.intp],
    present: npt.NDArray[np.intp],
    size: tuple[float, ...],
    shape: tuple[int, ...],
) -> pd.DataFrame:
    n = count[present].astype(np.float64)
    centre = [np.bincount(owner, weights=index, minlength=count.size)[present] / n for index in where]
    table = pd.DataFrame({"label": present.astype(np.int32)})
    for axis, name in enumerate("zyx"):
        table[name] = centre[axis] * size[axis]
    flat = shape[0] == 1
    table["area"] = n * size[1] * size[2] * (1.0 if flat else size[0])
    table["eccentricity"] = _eccentricity(where, owner, count, present, centre, size) if flat else np.nan
    edge = np.zeros(owner.shape, dtype=np.bool_)
    for axis, index in enumerate(where):
        if axis > 0 or not flat:
            edge |= (index == 0) | (index == shape[axis] - 1)
    table["touches_border"] = np.bincount(owner, weights=edge, minlength=count.size)[present] > 0
    return table


def _eccentricity(
    where: tuple[npt.NDArray[np.intp], ...],
    owner: Labels,
    count: npt.NDArray[np.intp],
    present: npt.NDArray[np.intp],
    centre: list[Doubles],
    size: tuple[float, ...],
) -> Doubles:
    """Return sqrt(1 - small / large eigenvalue) of the second central moments in µm."""
    mean = np.zeros((2, count.size))
    mean[0, present], mean[1, present] = centre[1], centre[2]
    dy = (where[1] - mean[0, owner]) * size[1]
    dx = (where[2] - mean[1, owner]) * size[2]
    n = count[present]
    yy, xx, yx = (np.bincount(owner, weights=w, minlength=count.size)[present] / n for w in (dy * dy, dx * dx, dy * dx))
    half, root = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + yx**2)
    large, small = half + root, np.maximum(half - root, 0)
    ratio = np.divide(small, large, out=np.ones_like(large), where=large > 0)
    result: Doubles = np.sqrt(1 - ratio)
    return result


def _mean_and_sd(
    values: Doubles, owner: Labels, count: npt.NDArray[np.intp], present: npt.NDArray[np.intp]
) -> tuple[Doubles, Doubles]:
    n = count[present]
    sums = np.bincount(owner, weights=values, minlength=count.size)
    mean = sums / np.maximum(count, 1)
    # Deviations from each cell's own mean: the difference of large squares would lose digits.
    variance = np.bincount(owner, weights=(values - mean[owner]) ** 2, minlength=count.size)[present] / n
    return mean[present], np.sqrt(variance)


def _grouped_median(values: Doubles, group: Labels, top: int) -> Doubles:
    """Return the median of every group 0..top, NaN for an empty one."""
    median = np.full(top + 1, np.nan)
    if values.size:
        order = np.lexsort((values, group))
        values, group = values[order], group[order]
        first = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
        n = np.diff(np.r_[first, group.size])
        median[group[first]] = (values[first + (n - 1) // 2] + values[first + n // 2]) / 2
    return median


@njit(cache=True, nogil=True)
def background_rings(labels: Labels, gap: int, width: int) -> Labels:
    """Return for each background pixel of a plane the label whose ring it belongs to, 0 for none.

    Labels grow step by step over the background, alternately over 4 and 8 neighbours (octagons). A pixel that two
    labels reach in the same step goes to the one whose front was met first in raster order.
    """
    height, width_x = labels.shape
    grown = labels.copy()
    rings = np.zeros(labels.shape, dtype=np.int32)
    front = np.empty((labels.size, 2), dtype=np.int32)
    n = 0
    for y in range(height):
        for x in range(width_x):
            k = labels[y, x]
            if k > 0:
                at_edge = False
                for v in range(max(y - 1, 0), min(y + 2, height)):
                    for u in range(max(x - 1, 0), min(x + 2, width_x)):
                        if labels[v, u] == 0:
                            at_edge = True
                if at_edge:
                    front[n, 0], front[n, 1] = y, x
                    n += 1
    fresh = np.empty((labels.size, 2), dtype=np.int32)
    for step in range(1, gap + width + 1):
        m = 0
        for i in range(n):
            y, x = front[i, 0], front[i, 1]
            for v in range(max(y - 1, 0), min(y + 2, height)):
                for u in range(max(x - 1, 0), min(x + 2, width_x)):
                    if step % 2 == 1 and v != y and u != x:
                        continue
                    if grown[v, u] == 0:
                        grown[v, u] = grown[y, x]
                        if step > gap:
                            rings[v, u] = grown[y, x]
                        fresh[m, 0], fresh[m, 1] = v, u
                        m += 1
        front, fresh = fresh, front
        n = m
    return rings

"""From flows in three dimensions to labels of a volume: what `dynamics` does for a plane, with the same rules.

As ``cellpose.dynamics.compute_masks(do_3D=True)`` 4.2: trilinear steps, seeds at peaks of the histogram of end points,
no flow-error check, holes of every label filled, small labels dropped. Labels are numbered in raster order.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
from numba import njit

from napari_marrow.segmentation.stitching import keep_large
from napari_marrow.segmentation.threads import in_chunks

Labels = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

_REACH = 5  # a seed grows at most this many voxels; also the margin of histogram and basins


def compute_volume_masks(
    flows: Floats,
    cellprob: Floats,
    *,
    n_steps: int = 200,
    cellprob_threshold: float = 0.0,
    min_size: int = 15,
    max_size_fraction: float = 0.4,
    threads: int | None = None,
    out: Labels | None = None,
) -> Labels:
    """Return the labels that a flow field describes.

    Parameters
    ----------
    flows : float32 array, shape (3, Z, Y, X)
        Flow (z, y, x) as Cellpose gives it: sums over orientations, five times a unit vector per network.
    cellprob : float32 array, shape (Z, Y, X)
        Logit of the probability that a voxel belongs to a cell.
    n_steps : int
        Euler steps of about one voxel.
    cellprob_threshold : float
        Voxels with a higher logit are followed.
    min_size : int
        Labels of fewer voxels are dropped; 0 also leaves holes unfilled.
    max_size_fraction : float
        Labels that cover more of the volume are dropped.
    threads : int or None
        None takes what the machine has. The labels are the same for any number.
    out : int32 array, shape (Z, Y, X), optional
        Where the labels are written.

    Returns
    -------
    int32 array, shape (Z, Y, X)
        0 background, 1..n.

    Notes
    -----
    Holds 12 bytes per voxel for the field, 8 for histogram and basins, and 24 per voxel in cells.
    """
    labels = np.empty(cellprob.shape, dtype=np.int32) if out is None else out
    labels[...] = 0
    inside = cellprob > cellprob_threshold
    if not inside.any():
        return labels
    workers = threads or min(8, os.cpu_count() or 1)
    starts = np.argwhere(inside).astype(np.int32)
    ends = _follow(flows, inside, starts, n_steps, workers)
    del inside
    basins = _basins(ends, labels.shape)
    _assign(starts, ends, basins, labels)
    del starts, ends, basins
    counts = np.zeros(int(labels.max()) + 1, dtype=np.int64)
    count_voxels(labels, counts)
    drop_labels(labels, counts <= max_size_fraction * labels.size)
    # Holes are filled in the order of the numbers, which is that of the raster.
    keep_large(labels, max(min_size, 1))
    if min_size > 0:
        fill_volume_holes(labels, volume_boxes(labels, int(labels.max())))
        keep_large(labels, min_size)
    return labels


def _follow(
    flows: Floats, inside: npt.NDArray[np.bool_], starts: Labels, n_steps: int, workers: int
) -> npt.NDArray[np.int32]:
    depth, height, width = inside.shape
    field = np.zeros((depth + 2, height + 2, width + 2, 3), dtype=np.float32)
    for z in range(depth):
        for axis in range(3):
            field[z + 1, 1:-1, 1:-1, axis] = flows[axis, z] * inside[z] / np.float32(5)
    ends = np.empty_like(starts)
    in_chunks(lambda a, b: follow_in_volume(field, starts, n_steps, a, b, ends), len(starts), workers, least=2000)
    return ends


@njit(cache=True, nogil=True)
def follow_in_volume(field: Floats, starts: Labels, n_steps: int, first: int, last: int, ends: Labels) -> None:
    """Move points first..last - 1 along a field (Z + 2, Y + 2, X + 2, 3) with a border of zeros, by Euler steps.

    Sampling is trilinear at p * size / (size - 1) - 1/2 (see `dynamics.follow`).
    """
    one, half, zero = np.float32(1), np.float32(0.5), np.float32(0)
    depth, height, width = field.shape[0] - 2, field.shape[1] - 2, field.shape[2] - 2
    z_scale = np.float32(depth / max(depth - 1, 1))
    y_scale = np.float32(height / max(height - 1, 1))
    x_scale = np.float32(width / max(width - 1, 1))
    z_top, y_top, x_top = np.float32(depth - 1), np.float32(height - 1), np.float32(width - 1)
    for i in range(first, last):
        z, y, x = np.float32(starts[i, 0]), np.float32(starts[i, 1]), np.float32(starts[i, 2])
        z1, y1, x1 = np.float32(-1), np.float32(-1), np.float32(-1)
        for step in range(n_steps):
            sz, sy, sx = z * z_scale + half, y * y_scale + half, x * x_scale + half  # + 1 for the border
            iz, iy, ix = int(sz), int(sy), int(sx)
            wz, wy, wx = sz - np.float32(iz), sy - np.float32(iy), sx - np.float32(ix)
            near, far = (one - wx), wx
            dz, dy, dx = zero, zero, zero
            for row in range(4):
                kz, ky = row >> 1, row & 1
                w = (wz if kz else one - wz) * (wy if ky else one - wy)
                a, b = w * near, w * far
                line = field[iz + kz, iy + ky]
                dz += a * line[ix, 0] + b * line[ix + 1, 0]
                dy += a * line[ix, 1] + b * line[ix + 1, 1]
                dx += a * line[ix, 2] + b * line[ix + 1, 2]
            z2, y2, x2 = z1, y1, x1
            z1, y1, x1 = z, y, x
            z = min(max(z + dz, zero), z_top)
            y = min(max(y + dy, zero), y_top)
            x = min(max(x + dx, zero), x_top)
            # A point that stands, or swings between two places, needs no more steps.
            if z == z2 and y == y2 and x == x2:
                if (n_steps - 1 - step) % 2 == 1:
                    z, y, x = z1, y1, x1
                break
            if z == z1 and y == y1 and x == x1:
                break
        ends[i, 0], ends[i, 1], ends[i, 2] = int(z), int(y), int(x)


def _basins(ends: Labels, shape: tuple[int, ...]) -> Labels:
    """Return, with a margin, the number of the seed whose basin a voxel lies in."""
    histogram = np.zeros(tuple(side + 2 * _REACH for side in shape), dtype=np.int32)
    count_volume_ends(ends, histogram)
    seeds = find_volume_seeds(histogram)
    basins = np.zeros_like(histogram)
    grow_volume_seeds(histogram, seeds, basins)
    return basins


@njit(cache=True, nogil=True)
def count_volume_ends(ends: Labels, histogram: Labels) -> None:
    """Count end points per voxel."""
    for i in range(ends.shape[0]):
        histogram[ends[i, 0] + _REACH, ends[i, 1] + _REACH, ends[i, 2] + _REACH] += 1


@njit(cache=True, nogil=True)
def find_volume_seeds(histogram: Labels) -> Labels:
    """Return (z, y, x) of voxels with more than 10 end points and none fuller within 5 x 5 x 5, in raster order."""
    found = []
    for z in range(_REACH, histogram.shape[0] - _REACH):
        for y in range(_REACH, histogram.shape[1] - _REACH):
            for x in range(_REACH, histogram.shape[2] - _REACH):
                h = histogram[z, y, x]
                if h > 10 and h >= histogram[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3].max():
                    found.append((z, y, x))
    seeds = np.empty((len(found), 3), dtype=np.int32)
    for i in range(len(found)):
        seeds[i, 0], seeds[i, 1], seeds[i, 2] = found[i]
    return seeds


@njit(cache=True, nogil=True)
def grow_volume_seeds(histogram: Labels, seeds: Labels, basins: Labels) -> None:
    """Grow each seed for five steps over voxels with more than two end points.

    Where two meet, the one with the higher peak wins, then the later one.
    """
    side = 2 * _REACH + 1
    peaks = np.zeros(seeds.shape[0] + 1, dtype=np.int32)
    queue = np.empty((side**3, 3), dtype=np.int32)
    steps = np.empty(side**3, dtype=np.int32)
    for n in range(seeds.shape[0]):
        z0, y0, x0 = seeds[n, 0], seeds[n, 1], seeds[n, 2]
        peaks[n + 1] = histogram[z0, y0, x0]
        reached = np.zeros((side, side, side), dtype=np.bool_)
        reached[_REACH, _REACH, _REACH] = True
        queue[0, 0], queue[0, 1], queue[0, 2] = z0, y0, x0
        steps[0] = 0
        head, tail = 0, 1
        while head < tail:
            z, y, x, step = queue[head, 0], queue[head, 1], queue[head, 2], steps[head]
            head += 1
            other = basins[z, y, x]
            if other == 0 or peaks[n + 1] >= peaks[other]:
                basins[z, y, x] = n + 1
            if step == _REACH:
                continue
            for w in range(z - 1, z + 2):
                for v in range(y - 1, y + 2):
                    for u in range(x - 1, x + 2):
                        a, b, c = w - z0 + _REACH, v - y0 + _REACH, u - x0 + _REACH
                        if histogram[w, v, u] > 2 and not reached[a, b, c]:
                            reached[a, b, c] = True
                            queue[tail, 0], queue[tail, 1], queue[tail, 2] = w, v, u
                            steps[tail] = step + 1
                            tail += 1


@njit(cache=True, nogil=True)
def _assign(starts: Labels, ends: Labels, basins: Labels, labels: Labels) -> None:
    for i in range(starts.shape[0]):
        labels[starts[i, 0], starts[i, 1], starts[i, 2]] = basins[
            ends[i, 0] + _REACH, ends[i, 1] + _REACH, ends[i, 2] + _REACH
        ]


@njit(cache=True, nogil=True)
def count_voxels(labels: Labels, counts: npt.NDArray[np.int64]) -> None:
    """Add the number of voxels of every label."""
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                counts[labels[z, y, x]] += 1


@njit(cache=True, nogil=True)
def drop_labels(labels: Labels, kept: npt.NDArray[np.bool_]) -> None:
    """Make labels that are not kept background, in place."""
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                if not kept[labels[z, y, x]]:
                    labels[z, y, x] = 0


@njit(cache=True, nogil=True)
def volume_boxes(labels: Labels, top: int) -> Labels:
    """Return (z0, z1, y0, y1, x0, x1) with exclusive ends for labels 1..top; z1 = 0 where a label is absent."""
    boxes = np.zeros((top + 1, 6), dtype=np.int32)
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                k = labels[z, y, x]
                if k <= 0:
                    continue
                if boxes[k, 1] == 0:
                    boxes[k, 0], boxes[k, 2], boxes[k, 3], boxes[k, 4], boxes[k, 5] = z, y, y + 1, x, x + 1
                boxes[k, 1] = z + 1
                boxes[k, 2] = min(boxes[k, 2], y)
                boxes[k, 3] = max(boxes[k, 3], y + 1)
                boxes[k, 4] = min(boxes[k, 4], x)
                boxes[k, 5] = max(boxes[k, 5], x + 1)
    return boxes


@njit(cache=True, nogil=True)
def fill_volume_holes(labels: Labels, boxes: Labels) -> None:
    """Fill, in place, what a label encloses (background 6-connected); enclosed other labels are swallowed."""
    for k in range(1, boxes.shape[0]):
        if boxes[k, 1] == 0:
            continue
        z0, y0, x0 = boxes[k, 0], boxes[k, 2], boxes[k, 4]
        depth, height, width = boxes[k, 1] - z0 + 2, boxes[k, 3] - y0 + 2, boxes[k, 5] - x0 + 2
        outside = np.zeros((depth, height, width), dtype=np.bool_)
        stack = np.empty((depth * height * width, 3), dtype=np.int32)
        stack[0, 0] = stack[0, 1] = stack[0, 2] = 0
        outside[0, 0, 0] = True
        n = 1
        while n > 0:
            n -= 1
            z, y, x = stack[n, 0], stack[n, 1], stack[n, 2]
            for move in range(6):
                w = z + (1 if move == 0 else -1 if move == 1 else 0)
                v = y + (1 if move == 2 else -1 if move == 3 else 0)
                u = x + (1 if move == 4 else -1 if move == 5 else 0)
                if w < 0 or v < 0 or u < 0 or w >= depth or v >= height or u >= width or outside[w, v, u]:
                    continue
                within = 0 < w < depth - 1 and 0 < v < height - 1 and 0 < u < width - 1
                if within and labels[z0 + w - 1, y0 + v - 1, x0 + u - 1] == k:
                    continue
                outside[w, v, u] = True
                stack[n, 0], stack[n, 1], stack[n, 2] = w, v, u
                n += 1
        for z in range(depth - 2):
            for y in range(height - 2):
                for x in range(width - 2):
                    if not outside[z + 1, y + 1, x + 1]:
                        labels[z0 + z, y0 + y, x0 + x] = k

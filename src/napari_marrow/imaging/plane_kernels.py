"""Loops over the pixels of a plane that the judging of frames spends its time in: band energies, block means, counts.

Each reads a plane once, row by row, without copies of it, and lets other threads run meanwhile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Float = npt.NDArray[np.float32]


@njit(cache=True, nogil=True)
def count_values(pixels: npt.NDArray[Any], counts: npt.NDArray[np.int64]) -> None:
    """Add how often each value occurs to `counts`, shape (4, number of values): its rows are added up afterwards.

    Four tables take turns, so that equal neighbours do not wait for each other.
    """
    n = pixels.size // 4 * 4
    for i in range(0, n, 4):
        counts[0, pixels[i]] += 1
        counts[1, pixels[i + 1]] += 1
        counts[2, pixels[i + 2]] += 1
        counts[3, pixels[i + 3]] += 1
    for i in range(n, pixels.size):
        counts[0, pixels[i]] += 1


@njit(cache=True, nogil=True)
def halve(planes: npt.NDArray[Any], half: npt.NDArray[Any]) -> None:
    """Write rounded means of 2 x 2 pixels of planes (n, Y, X) of at most 16 bits; an odd last pixel counts twice."""
    last_y, last_x = planes.shape[1] - 1, planes.shape[2] - 1
    pairs = planes.shape[2] // 2
    for k in range(planes.shape[0]):
        for y in range(half.shape[1]):
            above, below = planes[k, 2 * y], planes[k, min(2 * y + 1, last_y)]
            for x in range(pairs):
                total = np.uint32(above[2 * x]) + above[2 * x + 1] + below[2 * x] + below[2 * x + 1]
                half[k, y, x] = (total + np.uint32(2)) >> np.uint32(2)
            if pairs < half.shape[2]:
                half[k, y, pairs] = (np.uint32(above[last_x]) + below[last_x] + np.uint32(1)) >> np.uint32(1)


@njit(cache=True, nogil=True, fastmath=True)
def pair_mean(plane: npt.NDArray[Any]) -> Float:
    """Return the means of 2 x 2 pixels as float32, an odd last row or column cut off; `block_mean` for any size."""
    height, width = plane.shape[0] // 2, plane.shape[1] // 2
    means = np.empty((height, width), np.float32)
    for y in range(height):
        above, below = plane[2 * y], plane[2 * y + 1]
        for x in range(width):
            left = np.float32(above[2 * x]) + np.float32(below[2 * x])
            means[y, x] = np.float32(0.25) * (left + np.float32(above[2 * x + 1]) + np.float32(below[2 * x + 1]))
    return means


@njit(cache=True, nogil=True, fastmath=True)
def block_mean(plane: npt.NDArray[Any], factor: int) -> Float:
    """Return the means of blocks of `factor` x `factor` pixels as float32, the incomplete rest cut off."""
    height, width = plane.shape[0] // factor, plane.shape[1] // factor
    means = np.empty((height, width), np.float32)
    line = np.empty(width * factor, np.float32)
    share = np.float32(1.0 / (factor * factor))
    for y in range(height):
        for x in range(width * factor):
            line[x] = plane[y * factor, x]
        for k in range(1, factor):
            for x in range(width * factor):
                line[x] += np.float32(plane[y * factor + k, x])
        for x in range(width):
            total = np.float32(0.0)
            for k in range(factor):
                total += line[x * factor + k]
            means[y, x] = total * share
    return means


@njit(cache=True, nogil=True, fastmath=True)
def mean_diagonal(plane: Float) -> float:
    """Return the mean absolute second difference over 2 x 2 pixels, of every second pair of rows."""
    total, rows = 0.0, 0
    for y in range(0, plane.shape[0] - 1, 2):
        row = np.float32(0.0)
        for x in range(plane.shape[1] - 1):
            row += abs(plane[y, x] - plane[y + 1, x] - plane[y, x + 1] + plane[y + 1, x + 1])
        total += float(row)
        rows += 1
    return total / (rows * (plane.shape[1] - 1))


@njit(cache=True, nogil=True, fastmath=True)
def survey(plane: npt.NDArray[Any], counts: npt.NDArray[np.int64], half: Float) -> float:
    """Do at one reading of a plane of at most 16 bits what `count_values`, `pair_mean` and `mean_diagonal` do.

    Parameters
    ----------
    plane : ndarray of uint8 or uint16, shape (Y, X)
    counts : ndarray of int64, shape (4, number of values)
        Is added to.
    half : ndarray of float32, shape (Y // 2, X // 2)
        Is written.

    Returns
    -------
    float
        The mean diagonal.
    """
    height, width = plane.shape
    above, below = np.empty(width, np.float32), np.empty(width, np.float32)
    total, rows = 0.0, 0
    for y in range(0, height - 1, 2):
        count_values(plane[y], counts)
        count_values(plane[y + 1], counts)
        for x in range(width):
            above[x] = plane[y, x]
            below[x] = plane[y + 1, x]
        for x in range(width // 2):
            left = above[2 * x] + below[2 * x]
            half[y // 2, x] = np.float32(0.25) * (left + above[2 * x + 1] + below[2 * x + 1])
        row = np.float32(0.0)
        for x in range(width - 1):
            row += abs(above[x] - below[x] - above[x + 1] + below[x + 1])
        total += float(row)
        rows += 1
    if height % 2:
        count_values(plane[height - 1], counts)
    return total / (rows * (width - 1))


@njit(cache=True, nogil=True)
def _mirrored(index: int, length: int) -> int:
    """Return the pixel that an index beyond the edge stands for: the plane is mirrored at its edges."""
    while index < 0 or index >= length:
        index = -index - 1 if index < 0 else 2 * length - index - 1
    return index


@njit(cache=True, nogil=True, fastmath=True)
def _add_pair(total: Float, a: Float, b: Float, weight: float) -> None:
    """Add two rows times a weight; of slices that begin at 0, so that the loop runs in vectors."""
    for x in range(len(total)):
        total[x] += weight * (a[x] + b[x])


@njit(cache=True, nogil=True)
def _neighbour(index: int, length: int, mirror: bool) -> int:
    """Return the row or pixel that an index beyond an edge stands for."""
    return _mirrored(index, length) if mirror else min(max(index, 0), length - 1)


@njit(cache=True, nogil=True, fastmath=True)
def _smooth_row(plane: Float, y: int, along_y: Float, along_x: Float, mirror: bool, column: Float, row: Float) -> None:
    """Smooth one row of a plane.

    Beyond its edges the plane is mirrored, or goes on as its edge pixels. `column` is work space of a row and both
    overhangs, `along_y` and `along_x` are half kernels.
    """
    height, width = plane.shape
    reach = len(along_x) - 1
    inner = column[reach : reach + width]
    inner[:] = along_y[0] * plane[y]
    for k in range(1, len(along_y)):
        _add_pair(inner, plane[_neighbour(y - k, height, mirror)], plane[_neighbour(y + k, height, mirror)], along_y[k])
    for k in range(1, reach + 1):
        column[reach - k] = inner[_neighbour(-k, width, mirror)]
        column[reach + width + k - 1] = inner[_neighbour(width + k - 1, width, mirror)]
    row[:] = along_x[0] * inner
    for k in range(1, reach + 1):
        _add_pair(row, column[reach - k : reach - k + width], column[reach + k : reach + k + width], along_x[k])


@njit(cache=True, nogil=True, fastmath=True)
def band_energies(plane: Float, fine: Float, coarse: Float, limit: float, every: int) -> tuple[float, float, float]:
    """Return mean square, mean square clipped at `limit`, and largest absolute value of a difference of Gaussians.

    Parameters
    ----------
    plane : ndarray of float32, shape (Y, X)
    fine, coarse : ndarray of float32
        Half kernels from the centre outwards, see `half_kernel`.
    limit : float
        Squares count for no more than this in the second value.
    every : int
        Only each such row is looked at: neighbouring rows tell nearly the same.
    """
    height, width = plane.shape
    column = np.empty(width + 2 * max(len(fine), len(coarse)), np.float32)
    first, second = np.empty(width, np.float32), np.empty(width, np.float32)
    top = np.float32(limit)
    total, clipped, largest = 0.0, 0.0, 0.0
    for y in range(0, height, every):
        _smooth_row(plane, y, fine, fine, True, column, first)
        _smooth_row(plane, y, coarse, coarse, True, column, second)
        row, short = np.float32(0.0), np.float32(0.0)
        for x in range(width):
            square = (first[x] - second[x]) ** 2
            row += square
            short += min(square, top)
            largest = max(largest, square)
        total += float(row)
        clipped += float(short)
    size = (height + every - 1) // every * width
    return total / size, clipped / size, np.sqrt(largest)


@njit(cache=True, nogil=True, fastmath=True)
def sampled_energy(plane: npt.NDArray[Any], fine: Float, coarse: Float, blocks: int, rows: int) -> float:
    """Return the mean square of a difference of Gaussians over blocks of rows, spread evenly over a plane.

    Parameters
    ----------
    plane : ndarray, shape (Y, X)
        At least as high as the blocks with what the kernels need around them.
    fine, coarse : ndarray of float32
        Half kernels from the centre outwards, see `half_kernel`.
    blocks, rows : int
        How many, and how high.
    """
    height, width = plane.shape
    reach = max(len(fine), len(coarse)) - 1
    part = np.empty((rows + 2 * reach, width), np.float32)
    column = np.empty(width + 2 * reach + 2, np.float32)
    first, second = np.empty(width, np.float32), np.empty(width, np.float32)
    total = 0.0
    for block in range(blocks):
        start = (height - rows - 2 * reach) * block // max(1, blocks - 1)
        for y in range(rows + 2 * reach):
            for x in range(width):
                part[y, x] = plane[start + y, x]
        for y in range(reach, reach + rows):
            _smooth_row(part, y, fine, fine, True, column, first)
            _smooth_row(part, y, coarse, coarse, True, column, second)
            row = np.float32(0.0)
            for x in range(width):
                row += (first[x] - second[x]) ** 2
            total += float(row)
    return total / (blocks * rows * width)


@njit(cache=True, nogil=True, fastmath=True)
def difference_of_gaussians(plane: Float, fine_y: Float, fine_x: Float, coarse_y: Float, coarse_x: Float) -> Float:
    """Return the difference of two Gaussians whose kernels may differ between y and x; the edge pixels go on beyond it.

    Parameters
    ----------
    plane : ndarray of float32, shape (Y, X)
    fine_y, fine_x, coarse_y, coarse_x : ndarray of float32
        Half kernels from the centre outwards, see `half_kernel`.
    """
    height, width = plane.shape
    column = np.empty(width + 2 * max(len(fine_x), len(coarse_x)), np.float32)
    smooth = np.empty(width, np.float32)
    band = np.empty((height, width), np.float32)
    for y in range(height):
        _smooth_row(plane, y, fine_y, fine_x, False, column, band[y])
        _smooth_row(plane, y, coarse_y, coarse_x, False, column, smooth)
        band[y] -= smooth
    return band


@njit(cache=True, nogil=True, fastmath=True)
def fourier_sums(
    along_y: npt.NDArray[np.complex64], spectrum: npt.NDArray[np.complex64], along_x: npt.NDArray[np.complex64]
) -> npt.NDArray[np.float64]:
    """Return the real part of ``along_y @ spectrum @ along_x.T``, shape (n, m), in this thread alone.

    The products are small; a threaded linear algebra library spends several times as long on waiting for its threads.

    Parameters
    ----------
    along_y, spectrum, along_x : ndarray of complex64, shapes (n, Y), (Y, X), (m, X)
    """
    width = spectrum.shape[1]
    sums = np.empty((along_y.shape[0], along_x.shape[0]))
    real, imaginary = np.empty(width, np.float32), np.empty(width, np.float32)
    for i in range(along_y.shape[0]):
        real[:] = 0.0
        imaginary[:] = 0.0
        for y in range(spectrum.shape[0]):
            a, b = along_y[i, y].real, along_y[i, y].imag
            row = spectrum[y]
            for x in range(width):
                real[x] += a * row[x].real - b * row[x].imag
                imaginary[x] += a * row[x].imag + b * row[x].real
        for j in range(along_x.shape[0]):
            total = 0.0
            for x in range(width):
                total += real[x] * along_x[j, x].real - imaginary[x] * along_x[j, x].imag
            sums[i, j] = total
    return sums


def half_kernel(sigma: float, truncate: float = 3.0) -> Float:
    """Return a Gaussian's weights from its centre to `truncate` standard deviations; mirrored, they add up to 1."""
    reach = int(truncate * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    return np.asarray(weights / (weights[0] + 2 * weights[1:].sum()), dtype=np.float32)

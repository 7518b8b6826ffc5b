"""What a registration left over: local displacements of blocks of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

Float = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class BlockDisplacements:
    """Displacement of each block that has something to show.

    Attributes
    ----------
    centre : ndarray of float64, shape (n, 2), pixels
    displacement : ndarray of float64, shape (n, 2), pixels
        From the registered image to the reference.
    correlation : ndarray of float64, shape (n,)
        Height of each block's correlation peak.
    """

    centre: npt.NDArray[np.float64]
    displacement: npt.NDArray[np.float64]
    correlation: npt.NDArray[np.float64]


def block_displacements(
    fixed: Float,
    image: Float,
    inside: npt.NDArray[np.bool_],
    *,
    reach: int,
    size: int,
    min_correlation: float = 0.4,
) -> BlockDisplacements:
    """Measure how far each block of the registered image lies from its place in the reference.

    Parameters
    ----------
    fixed, image : ndarray of float32, shape (Y, X)
        Texture of the reference, and of the moving image resampled onto it.
    inside : ndarray of bool, shape (Y, X)
        Where both are defined.
    reach : int, pixels
        Longest displacement that is looked for.
    size : int, pixels
        Side of a block.
    min_correlation : float
        Blocks whose best match is worse say nothing and are left out, as are blocks without texture.

    Returns
    -------
    BlockDisplacements
    """
    corners = [
        (y, x)
        for y in range(reach, fixed.shape[0] - size - reach + 1, size)
        for x in range(reach, fixed.shape[1] - size - reach + 1, size)
        if inside[y - reach : y + size + reach, x - reach : x + size + reach].mean() > 0.98
    ]
    nothing = BlockDisplacements(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
    if not corners:
        return nothing
    outer = size + 2 * reach
    blocks = np.stack([fixed[y : y + size, x : x + size] for y, x in corners]).astype(np.float64)
    windows = np.stack(
        [image[y - reach : y - reach + outer, x - reach : x - reach + outer] for y, x in corners]
    ).astype(np.float64)
    blocks -= blocks.mean(axis=(1, 2), keepdims=True)
    energy = np.sqrt(np.square(blocks).sum(axis=(1, 2)))
    busy = energy > 0.3 * np.median(energy)
    if not busy.any() or float(np.median(energy)) == 0.0:
        return nothing
    correlation = _window_correlation(blocks[busy], windows[busy], energy[busy])
    flat = correlation.reshape(len(correlation), -1)
    peak = np.stack(np.unravel_index(np.argmax(flat, axis=1), correlation.shape[1:]), axis=1)
    height = flat.max(axis=1)
    # A peak on the rim of the search is the flank of something further away.
    rim = ((peak == 0) | (peak == 2 * reach)).any(axis=1)
    good = (height >= min_correlation) & ~rim
    offset = np.array([peak[i] + _parabola(correlation[i], peak[i]) for i in np.flatnonzero(good)]).reshape(-1, 2)
    centre = np.asarray(corners, dtype=np.float64)[busy][good] + (size - 1) / 2
    return BlockDisplacements(centre, reach - offset, height[good])


def _window_correlation(
    blocks: npt.NDArray[np.float64], windows: npt.NDArray[np.float64], energy: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Normalised correlation of each block at each place of its window, shape (n, 2 reach + 1, 2 reach + 1)."""
    size, outer = blocks.shape[1], windows.shape[1]
    lags = outer - size + 1
    shape = (fft.next_fast_len(outer, real=True),) * 2
    template = np.conj(fft.rfft2(blocks, shape))
    cross = fft.irfft2(fft.rfft2(windows, shape) * template, shape)[:, :lags, :lags]
    total, squares = _box_sums(windows, size), _box_sums(np.square(windows), size)
    variance = np.maximum(squares - total**2 / size**2, 1e-9 * size**2)
    return np.asarray(cross / (np.sqrt(variance) * energy[:, None, None]))


def _box_sums(stack: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.float64]:
    cumulated = np.pad(stack.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
    return np.asarray(
        cumulated[:, size:, size:]
        - cumulated[:, :-size, size:]
        - cumulated[:, size:, :-size]
        + cumulated[:, :-size, :-size]
    )


def _parabola(surface: npt.NDArray[np.float64], peak: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Sub-pixel offset of a peak from parabolas through its neighbours along each axis."""
    y, x = int(peak[0]), int(peak[1])
    middle = surface[y, x]
    sides = ((surface[y - 1, x], surface[y + 1, x]), (surface[y, x - 1], surface[y, x + 1]))
    result = np.zeros(2)
    for axis, (before, after) in enumerate(sides):
        curvature = before - 2 * middle + after
        if curvature < 0:
            result[axis] = np.clip(0.5 * (before - after) / curvature, -0.5, 0.5)
    return result

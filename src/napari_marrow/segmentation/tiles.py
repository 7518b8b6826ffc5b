"""Before and after the network: normalisation, resizing, tiles and their blending, as Cellpose 3 does them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float32]
Network = Callable[[Floats], Floats]

TILE = 224
"""Side of a tile, px."""
WHOLE_PIXELS = 500_000
"""A plane of at most so many pixels goes through the network as one tile: half the work, and no seams."""
OVERLAP = 0.1
"""Fraction of a tile that its neighbour covers as well."""


def normalise(image: npt.NDArray[np.generic]) -> Floats | None:
    """Return the image as float32 with its percentiles 1 and 99 at 0 and 1; None for a constant image.

    Where both percentiles are equal (few cells on an even background) the maximum takes the place of the upper one.
    """
    values = image.astype(np.float32)
    low, high = (float(p) for p in np.percentile(values, (1, 99)))
    if high <= low:
        high = float(values.max())
    if high <= low:
        return None
    values -= np.float32(low)
    values /= np.float32(high - low)
    return values


def normalise_channels(image: npt.NDArray[np.generic], second: npt.NDArray[np.generic] | None) -> Floats | None:
    """Return one or two channels, each normalised on its own as Cellpose does, stacked along a new first axis.

    None if the first is constant; a constant second channel counts as absent.
    """
    first = normalise(image)
    if first is None:
        return None
    other = None if second is None else normalise(second)
    return first[None] if other is None else np.stack([first, other])


def resize(planes: Floats, shape: tuple[int, int]) -> Floats:
    """Return planes (C, Y, X) in another size by linear interpolation between pixel centres, edges repeated.

    The same as OpenCV's ``INTER_LINEAR``: no smoothing before a reduction.
    """
    if planes.shape[1:] == shape:
        return planes
    out = np.empty((planes.shape[0], *shape), dtype=np.float32)
    _resize(np.ascontiguousarray(planes, dtype=np.float32), out)
    return out


@njit(cache=True, nogil=True)
def _source(i: int, n_in: int, n_out: int) -> tuple[int, int, np.float32]:
    """Return the two source positions of target position i and the weight of the second."""
    place = (i + 0.5) * n_in / n_out - 0.5
    low = int(np.floor(place))
    if low < 0:
        return 0, 0, np.float32(0)
    if low >= n_in - 1:
        return n_in - 1, n_in - 1, np.float32(0)
    return low, low + 1, np.float32(place - low)


@njit(cache=True, nogil=True)
def _resize(planes: Floats, out: Floats) -> None:
    height, width = out.shape[1], out.shape[2]
    left = np.empty(width, dtype=np.int64)
    right = np.empty(width, dtype=np.int64)
    weight = np.empty(width, dtype=np.float32)
    for x in range(width):
        left[x], right[x], weight[x] = _source(x, planes.shape[2], width)
    one = np.float32(1)
    for c in range(planes.shape[0]):
        for y in range(height):
            a, b, w = _source(y, planes.shape[1], height)
            for x in range(width):
                top = planes[c, a, left[x]] * (one - weight[x]) + planes[c, a, right[x]] * weight[x]
                bottom = planes[c, b, left[x]] * (one - weight[x]) + planes[c, b, right[x]] * weight[x]
                out[c, y, x] = top * (one - w) + bottom * w


def taper(height: int, width: int, *, sigma: float = 7.5) -> Floats:
    """Return the weight of a tile's pixels: a logistic fall over the outer 20 px, product of both directions."""
    size = max(TILE, height, width)
    place = np.arange(size)
    place = np.abs(place - place.mean())
    edge = 1 / (1 + np.exp((place - (size / 2 - 20)) / sigma))
    mask = edge[:, None] * edge[None, :]
    y0, x0 = size // 2 - height // 2, size // 2 - width // 2
    cut: Floats = mask[y0 : y0 + height, x0 : x0 + width].astype(np.float32)
    return cut


def tile_starts(length: int) -> list[int]:
    """Return where tiles of side `TILE` begin along an axis of this length; one at 0 if it is shorter."""
    n = 1 if length <= TILE else int(np.ceil((1 + 2 * OVERLAP) * length / TILE))
    return [int(start) for start in np.linspace(0, max(length - TILE, 0), n).astype(int)]


def run_network(
    network: Network,
    planes: Floats,
    *,
    n_channels: int = 2,
    whole_pixels: int = WHOLE_PIXELS,
    on_tile: Callable[[int, int], None] | None = None,
) -> Floats:
    """Return the network's output (3, Y, X) for normalised and resized channels (C, Y, X) of a plane.

    Parameters
    ----------
    network : callable
        Takes float32 (1, n_channels, H, W) with sides that divide by 16, returns (1, 3, H, W).
    planes : float32 array, shape (C, Y, X) or (Y, X)
    n_channels : int
        Input channels of the network; those beyond C are 0.
    whole_pixels : int
        Planes up to this size are one tile. With 0 the tiles are Cellpose's.
    on_tile : callable, optional
        Called as ``on_tile(done, total)`` before each tile; what it raises ends the work.

    Notes
    -----
    The plane is padded with zeros to sides that divide by 16, plus 8 px all around. Larger ones are cut into tiles of
    224 px that overlap by a tenth and are blended with `taper`.
    """
    planes = planes if planes.ndim == 3 else planes[None]
    height, width = planes.shape[1:]
    padded_height, padded_width = (16 * (-(-side // 16)) + 16 for side in (height, width))
    top, left = (padded_height - height) // 2, (padded_width - width) // 2
    padded = np.zeros((n_channels, padded_height, padded_width), dtype=np.float32)
    padded[: len(planes), top : top + height, left : left + width] = planes
    if padded_height * padded_width <= whole_pixels:
        if on_tile is not None:
            on_tile(0, 1)
        output = network(padded[None])[0]
    else:
        output = _run_tiles(network, padded, on_tile)
    return np.ascontiguousarray(output[:, top : top + height, left : left + width])


def _run_tiles(network: Network, padded: Floats, on_tile: Callable[[int, int], None] | None) -> Floats:
    starts = [(y, x) for y in tile_starts(padded.shape[1]) for x in tile_starts(padded.shape[2])]
    height, width = min(TILE, padded.shape[1]), min(TILE, padded.shape[2])
    mask = taper(height, width)
    total = np.zeros((3, *padded.shape[1:]), dtype=np.float32)
    weight = np.zeros(padded.shape[1:], dtype=np.float32)
    for n, (y, x) in enumerate(starts):
        if on_tile is not None:
            on_tile(n, len(starts))
        place = (slice(y, y + height), slice(x, x + width))
        total[:, *place] += network(padded[None, :, *place])[0] * mask
        weight[place] += mask
    total /= weight
    return total

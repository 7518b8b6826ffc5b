"""A plane through the network: padding, tiles and their blending as Cellpose 3 does them, in strips of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from napari_marrow.segmentation.resizing import RowSource

Floats = npt.NDArray[np.float32]
Network = Callable[[Floats], Floats]

TILE = 224
"""Side of a tile, px."""
WHOLE_PIXELS = 500_000
"""A plane of at most so many pixels goes through the network as one tile: half the work, and no seams."""
OVERLAP = 0.1
"""Fraction of a tile that its neighbour covers as well."""


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
    whole_pixels: int | None = None,
    on_tile: Callable[[int, int], None] | None = None,
) -> Floats:
    """Return the network's output (3, Y, X) for normalised and resized channels (C, Y, X) of a plane.

    Parameters
    ----------
    planes : float32 array, shape (C, Y, X) or (Y, X)
    network, n_channels, whole_pixels, on_tile
        See `network_rows`.
    """
    planes = planes if planes.ndim == 3 else planes[None]
    shape = (planes.shape[1], planes.shape[2])
    strips = network_rows(
        network,
        lambda first, last: planes[:, first:last],
        shape,
        n_channels=n_channels,
        whole_pixels=whole_pixels,
        on_tile=on_tile,
    )
    return join_strips(strips, shape)


def join_strips(strips: Iterable[Floats], shape: tuple[int, int]) -> Floats:
    """Return the output (3, Y, X) of which strips come from the top."""
    output = np.empty((3, *shape), dtype=np.float32)
    y = 0
    for strip in strips:
        output[:, y : y + strip.shape[1]] = strip
        y += strip.shape[1]
    return output


def network_rows(
    network: Network,
    source: RowSource,
    shape: tuple[int, int],
    *,
    n_channels: int = 2,
    whole_pixels: int | None = None,
    on_tile: Callable[[int, int], None] | None = None,
) -> Iterator[Floats]:
    """Yield the network's output for a plane in strips (3, n, X) from the top; little more than a strip is held.

    Parameters
    ----------
    network : callable
        Takes float32 (N, n_channels, H, W) with sides that divide by 16, returns (N, 3, H, W). Its attribute `batch`,
        if it has one, says how many tiles it is best given at once.
    source : callable
        Gives rows of the normalised and resized channels; asked from the top, each row once.
    shape : (int, int)
        Height and width of that plane.
    n_channels : int
        Input channels of the network; those beyond the plane's are 0.
    whole_pixels : int or None
        Planes up to this size are one tile; None is `WHOLE_PIXELS`. With 0 the tiles are Cellpose's.
    on_tile : callable, optional
        Called as ``on_tile(done, total)`` before each call of the network; what it raises ends the work.

    Notes
    -----
    The plane is padded with zeros to sides that divide by 16, plus 8 px all around. Larger ones are cut into tiles of
    224 px that overlap by a tenth and are blended with `taper`.
    """
    height, width = shape
    padded = Padded(source, shape, n_channels)
    inner = slice(padded.left, padded.left + width)
    if padded.height * padded.width <= (WHOLE_PIXELS if whole_pixels is None else whole_pixels):
        if on_tile is not None:
            on_tile(0, 1)
        output = network(padded.rows(0, padded.height)[None])[0]
        yield output[:, padded.top : padded.top + height, inner]
        return
    for top, strip in _blended(network, padded, on_tile):
        first, last = max(top, padded.top), min(top + strip.shape[1], padded.top + height)
        if last > first:
            yield strip[:, first - top : last - top, inner]


class Padded:
    """A plane with zeros around it, given in rows from the top.

    Attributes
    ----------
    height, width : int
        With the zeros.
    top, left : int
        Where the plane begins.
    """

    def __init__(self, source: RowSource, shape: tuple[int, int], n_channels: int) -> None:
        self.source = source
        self.shape = shape
        self.n_channels = n_channels
        self.height, self.width = (16 * (-(-side // 16)) + 16 for side in shape)
        self.top, self.left = (self.height - shape[0]) // 2, (self.width - shape[1]) // 2

    def rows(self, first: int, last: int) -> Floats:
        """Return padded rows first..last - 1, (n_channels, last - first, width)."""
        out = np.zeros((self.n_channels, last - first, self.width), dtype=np.float32)
        low, high = max(first, self.top), min(last, self.top + self.shape[0])
        if high > low:
            part = self.source(low - self.top, high - self.top)
            out[: len(part), low - first : high - first, self.left : self.left + self.shape[1]] = part
        return out


def _blended(
    network: Network, padded: Padded, on_tile: Callable[[int, int], None] | None
) -> Iterator[tuple[int, Floats]]:
    """Yield (first row, output (3, n, width)) of the padded plane, one strip per row of tiles."""
    height, width = min(TILE, padded.height), min(TILE, padded.width)
    down, across = tile_starts(padded.height), tile_starts(padded.width)
    mask = taper(height, width)
    batch = int(getattr(network, "batch", 1))
    rows = padded.rows(0, height)
    total = np.zeros((3, height, padded.width), dtype=np.float32)
    weight = np.zeros((height, padded.width), dtype=np.float32)
    for n, y in enumerate(down):
        for m in range(0, len(across), batch):
            group = across[m : m + batch]
            if on_tile is not None:
                on_tile(n * len(across) + m, len(down) * len(across))
            outputs = network(np.stack([rows[:, :, x : x + width] for x in group]))
            for x, output in zip(group, outputs, strict=True):
                total[:, :, x : x + width] += output * mask
                weight[:, x : x + width] += mask
        step = (down[n + 1] if n + 1 < len(down) else padded.height) - y
        yield y, total[:, :step] / weight[:step]
        if n + 1 < len(down):
            for held in (rows, total, weight):  # in place: these are wide
                _shift(held, step)
            rows[:, height - step :] = padded.rows(y + height, y + height + step)


def _shift(held: Floats, step: int) -> None:
    """Move rows (second axis from the end) up by `step` and clear the last ones."""
    n = held.shape[-2] - step
    for y in range(0, n, step):
        last = min(y + step, n)
        held[..., y:last, :] = held[..., y + step : last + step, :]
    held[..., n:, :] = 0

"""Grey values brought to a common range, a few rows at a time: no copy of a large image is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[Any]

_BLOCK = 2_000_000  # pixels that are converted at once
_HALF = 1 << 16


def exact_percentiles(image: Pixels, percents: Sequence[float]) -> list[float]:
    """Return ``np.percentile(image.astype(np.float32), percents)``, to the last bit, in little memory.

    Parameters
    ----------
    image : array of finite numbers
        Any shape, at least one pixel; may lie on disk (a memory map).
    percents : sequence of float
        0 to 100.

    Notes
    -----
    The bits of a float32, the sign turned, sort as the numbers do. One pass counts the upper 16 bits, a second one the
    lower bits within the few upper ones that hold the wanted ranks.
    """
    places = [(image.size - 1) * (percent / 100) for percent in percents]
    ranks = sorted({rank for place in places for rank in (int(place), min(int(place) + 1, image.size - 1))})
    upper = np.zeros(_HALF, dtype=np.int64)
    for block in _blocks(image):
        _count_upper(block, upper)
    below = np.concatenate([[0], np.cumsum(upper)])
    wanted = {rank: int(np.searchsorted(below, rank, side="right")) - 1 for rank in ranks}
    slots = sorted(set(wanted.values()))
    slot_of = np.full(_HALF, -1, dtype=np.int16)
    slot_of[slots] = np.arange(len(slots))
    lower = np.zeros((len(slots), _HALF), dtype=np.int64)
    for block in _blocks(image):
        _count_lower(block, slot_of, lower)
    values = {}
    for rank, high in wanted.items():
        counts = np.cumsum(lower[slots.index(high)])
        low = int(np.searchsorted(counts, rank - below[high], side="right"))
        values[rank] = _value(high << 16 | low)
    return [_between(values, place, image.size) for place in places]


def _value(key: int) -> np.float32:
    bits = key ^ 0x80000000 if key & 0x80000000 else key ^ 0xFFFFFFFF
    return np.float32(np.array(bits, dtype=np.uint32).view(np.float32))


def _between(values: dict[int, np.float32], place: float, size: int) -> float:
    """Interpolate as numpy does."""
    low, high, part = values[int(place)], values[min(int(place) + 1, size - 1)], np.float64(place - int(place))
    gap = high - low
    return float(high - gap * (1 - part) if part >= 0.5 else low + gap * part)


def _blocks(image: Pixels) -> Iterator[Floats]:
    """Yield all values as float32, a few rows at a time."""
    for part in image if image.ndim > 2 else (image,):
        if image.ndim > 3:
            yield from _blocks(part)
            continue
        rows = max(1, _BLOCK // max(1, int(np.prod(part.shape[1:]))))
        for y in range(0, len(part), rows):
            yield np.ascontiguousarray(part[y : y + rows], dtype=np.float32).ravel()


@njit(cache=True, nogil=True)
def _key(bits: np.uint32) -> np.uint32:
    """Return bits that sort as the float that they come from."""
    return np.uint32(~bits) if bits & np.uint32(0x80000000) else np.uint32(bits | np.uint32(0x80000000))


@njit(cache=True, nogil=True)
def _count_upper(values: Floats, counts: npt.NDArray[np.int64]) -> None:
    bits = values.view(np.uint32)
    for i in range(bits.size):
        counts[_key(bits[i]) >> np.uint32(16)] += 1


@njit(cache=True, nogil=True)
def _count_lower(values: Floats, slot_of: npt.NDArray[np.int16], counts: npt.NDArray[np.int64]) -> None:
    bits = values.view(np.uint32)
    for i in range(bits.size):
        key = _key(bits[i])
        slot = slot_of[key >> np.uint32(16)]
        if slot >= 0:
            counts[slot, key & np.uint32(0xFFFF)] += 1


@dataclass(frozen=True)
class Channel:
    """An image and the range of its values that becomes 0 to 1.

    Attributes
    ----------
    values : array, shape (Y, X) or (Z, Y, X)
    low, span : float32
    """

    values: Pixels
    low: np.float32
    span: np.float32

    def scaled(self, where: Any) -> Floats:
        """Return a part of the image as float32, brought to its range."""
        part = self.values[where].astype(np.float32)
        part -= self.low
        part /= self.span
        return part


@dataclass(frozen=True)
class ScaledImage:
    """One or two channels of an image whose values are brought to a common range when they are asked for.

    Attributes
    ----------
    channels : tuple of Channel
        All of one shape.
    """

    channels: tuple[Channel, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape without the channels: (Y, X) or (Z, Y, X)."""
        return self.channels[0].values.shape

    def part(self, *where: Any) -> Floats:
        """Return a part of all channels, (C, ...), as float32."""
        return np.stack([channel.scaled(where) for channel in self.channels])

    def view(self, *where: Any) -> ScaledImage:
        """Return a part that is not converted yet: a plane of a volume, or a window of a plane."""
        return ScaledImage(tuple(Channel(c.values[where], c.low, c.span) for c in self.channels))


def scale_channels(image: Pixels, second: Pixels | None = None) -> ScaledImage | None:
    """Return one or two channels with percentiles 1 and 99 at 0 and 1, each on its own, as Cellpose does.

    Where both percentiles are equal (few cells on an even background) the maximum takes the place of the upper one.
    None if the first channel is constant; a constant second channel counts as absent.
    """
    channels = [_channel(image), None if second is None else _channel(second)]
    if channels[0] is None:
        return None
    return ScaledImage(tuple(channel for channel in channels if channel is not None))


def _channel(image: Pixels) -> Channel | None:
    low, high = exact_percentiles(image, (1, 99))
    if high <= low:
        high = float(np.float32(image.max()))
    return None if high <= low else Channel(image, np.float32(low), np.float32(high - low))


def normalise(image: npt.NDArray[np.generic]) -> Floats | None:
    """Return the image as float32 with its percentiles 1 and 99 at 0 and 1; None for a constant image."""
    channel = _channel(image)
    return None if channel is None else channel.scaled(...)

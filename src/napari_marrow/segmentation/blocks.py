"""Blocks of a large image with a margin around each, so that a filter's memory does not grow with the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

BLOCK_VOXELS = 1 << 23
"""Voxels that are filtered at once, margin not counted."""


@dataclass(frozen=True)
class Block:
    """A part of an image.

    Attributes
    ----------
    outer : tuple of slice
        What has to be read: the block and its margin, cut at the image's edge.
    inner : tuple of slice
        The block itself; the blocks of an image cover it once.
    within : tuple of slice
        `inner` as seen from `outer`.
    """

    outer: tuple[slice, ...]
    inner: tuple[slice, ...]
    within: tuple[slice, ...]


def blocks(
    shape: Sequence[int], margin: Sequence[int], *, multiple: int = 1, voxels: int = BLOCK_VOXELS
) -> Iterator[Block]:
    """Cut an image into blocks of at most about so many voxels.

    Parameters
    ----------
    shape : sequence of int
    margin : sequence of int
        Pixels around a block, per axis; rounded up to `multiple`.
    multiple : int
        Blocks begin at multiples of this, so that coarser grids of all blocks agree.
    voxels : int
    """
    sides = list(shape)
    while _volume(sides) > voxels and max(sides) > multiple:
        longest = max(range(len(sides)), key=lambda a: sides[a])
        sides[longest] = -(-sides[longest] // 2)
        sides[longest] = -(-sides[longest] // multiple) * multiple
    around = [-(-m // multiple) * multiple for m in margin]
    for corner in product(*(range(0, n, side) for n, side in zip(shape, sides, strict=True))):
        ends = [min(c + side, n) for c, side, n in zip(corner, sides, shape, strict=True)]
        first = [max(c - m, 0) for c, m in zip(corner, around, strict=True)]
        last = [min(e + m, n) for e, m, n in zip(ends, around, shape, strict=True)]
        yield Block(
            tuple(slice(a, b) for a, b in zip(first, last, strict=True)),
            tuple(slice(a, b) for a, b in zip(corner, ends, strict=True)),
            tuple(slice(c - a, e - a) for c, e, a in zip(corner, ends, first, strict=True)),
        )


def _volume(sides: Sequence[int]) -> int:
    result = 1
    for side in sides:
        result *= side
    return result

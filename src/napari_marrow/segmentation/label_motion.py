"""Where labels of one frame are in the next: local displacements without tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Labels = npt.NDArray[np.int32]
Pixels = npt.NDArray[np.int64]

_NEIGHBOURS = 6  # matched cells whose displacements are averaged (median) at a place


@dataclass(frozen=True)
class Cells:
    """The labels of a frame as lists of pixels.

    Attributes
    ----------
    shape : tuple of int
        Of the frame.
    numbers : int array (n,)
        Labels.
    areas : float array (n,)
        Pixels of each.
    centroids : float array (n, ndim)
    pixels : list of int64 arrays
        Flat indices of the pixels of each.
    """

    shape: tuple[int, ...]
    numbers: npt.NDArray[np.int64]
    areas: npt.NDArray[np.float64]
    centroids: npt.NDArray[np.float64]
    pixels: list[Pixels]

    @property
    def n(self) -> int:
        """Number of cells."""
        return len(self.numbers)

    @classmethod
    def of(cls, labels: Labels) -> Cells:
        """Return the cells of a frame."""
        flat = labels.ravel()
        place = np.flatnonzero(flat)
        order = np.argsort(flat[place], kind="stable")
        place = place[order]
        numbers, first, counts = np.unique(flat[place], return_index=True, return_counts=True)
        pixels = np.split(place, first[1:]) if numbers.size else []
        at = np.stack(np.unravel_index(place, labels.shape), axis=1).astype(np.float64)
        sums = np.add.reduceat(at, first, axis=0) if numbers.size else np.zeros((0, labels.ndim))
        return cls(
            labels.shape,
            numbers.astype(np.int64),
            counts.astype(np.float64),
            sums / np.maximum(counts, 1)[:, None],
            pixels,
        )

    @property
    def radius(self) -> float:
        """Median radius of the circle (ball) of a cell's size, px; 0 without cells."""
        if not self.n:
            return 0.0
        if len(self.shape) == 2:
            return float(np.sqrt(np.median(self.areas) / np.pi))
        return float((3 * np.median(self.areas) / (4 * np.pi)) ** (1 / 3))


@dataclass(frozen=True)
class Shift:
    """Displacements that were measured at some places.

    Attributes
    ----------
    places, shifts : float arrays (n, ndim)
    """

    places: npt.NDArray[np.float64]
    shifts: npt.NDArray[np.float64]

    def at(self, places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return, for places (m, ndim), the median displacement of the nearest measured ones; 0 without any."""
        if not len(self.places) or not len(places):
            return np.zeros(places.shape)
        _, near = cKDTree(self.places).query(places, k=list(range(1, min(_NEIGHBOURS, len(self.places)) + 1)))
        shifts: npt.NDArray[np.float64] = np.median(self.shifts[near], axis=1)
        return shifts

    def scaled(self, factor: float) -> Shift:
        """Return the shift times a factor."""
        return Shift(self.places, factor * self.shifts)


def link(a: Cells, b: Cells) -> Shift:
    """Return the displacements of cells that are each other's nearest, at most a diameter apart and of like size."""
    empty = np.zeros((0, len(a.shape)))
    if not a.n or not b.n:
        return Shift(empty, empty)
    distance, there = cKDTree(b.centroids).query(a.centroids)
    _, back = cKDTree(a.centroids).query(b.centroids)
    mutual = back[there] == np.arange(a.n)
    ratio = a.areas / b.areas[there]
    good = mutual & (distance < 2 * max(a.radius, b.radius)) & (ratio > 0.5) & (ratio < 2)
    return Shift(a.centroids[good], b.centroids[there[good]] - a.centroids[good])


def moved(cells: Cells, shift: Shift) -> list[Pixels]:
    """Return the pixels of every cell after the displacement of its place, those inside the frame."""
    shape = np.array(cells.shape)
    steps = np.rint(shift.at(cells.centroids)).astype(np.int64)
    everywhere = []
    for pixels, step in zip(cells.pixels, steps, strict=True):
        at = np.stack(np.unravel_index(pixels, cells.shape), axis=1) + step
        inside = ((at >= 0) & (at < shape)).all(axis=1)
        everywhere.append(np.ravel_multi_index(tuple(at[inside].T), cells.shape).astype(np.int64))
    return everywhere


def match(a: Sequence[Pixels], b: Sequence[Pixels]) -> list[tuple[int, int, float]]:
    """Return pairs of shapes that overlap each other most, with their intersection over union."""
    size_a, size_b = np.array([p.size for p in a]), np.array([p.size for p in b])
    if not size_a.sum() or not size_b.sum():
        return []
    owner_a, owner_b = np.repeat(np.arange(len(a)), size_a), np.repeat(np.arange(len(b)), size_b)
    flat_a, flat_b = np.concatenate(list(a)), np.concatenate(list(b))
    order = np.argsort(flat_b, kind="stable")
    flat_b, owner_b = flat_b[order], owner_b[order]
    # After the shift, shapes of one frame may overlap: every pair of owners of a pixel counts.
    low, high = np.searchsorted(flat_b, flat_a, "left"), np.searchsorted(flat_b, flat_a, "right")
    n = high - low
    left = np.repeat(owner_a, n)
    right = owner_b[np.repeat(low - np.r_[0, np.cumsum(n)[:-1]], n) + np.arange(n.sum())]
    pairs, common = np.unique(left * len(b) + right, return_counts=True)
    i, j = pairs // len(b), pairs % len(b)
    iou = common / (size_a[i] + size_b[j] - common)
    best_a, best_b = np.zeros(len(a)), np.zeros(len(b))
    np.maximum.at(best_a, i, iou)
    np.maximum.at(best_b, j, iou)
    mutual = (iou == best_a[i]) & (iou == best_b[j])
    return [(int(p), int(q), float(v)) for p, q, v in zip(i[mutual], j[mutual], iou[mutual], strict=True)]

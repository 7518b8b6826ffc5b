"""Mend the labels of one frame by the frames before and after: cells missed, merged or split for a single frame.

A cell that both neighbours show at one place, and that the frame between them lacks, is looked for there again at a
lower threshold; a label that both neighbours show as two cells is divided; two labels that both neighbours show as one
are joined. The image decides: without enough cell probability nothing is added, and nothing is copied from a neighbour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation
from scipy.ndimage import label as connected

from napari_marrow.segmentation.label_motion import Cells, Pixels, Shift, link, match, moved

Labels = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Box = tuple[slice, ...]
Floats = npt.NDArray[np.floating]
Kind = Literal["missed", "merged", "split"]


@dataclass(frozen=True)
class RepairSettings:
    """When a repair is made.

    Attributes
    ----------
    low_probability : float
        A missed cell is looked for among pixels of at least this cell probability (the network's own threshold is .5).
    mean_probability : float
        Mean probability that a recovered cell has at least.
    contrast : float
        By how much that is above the mean of the background around it: haze without an edge is no cell.
    overlap : float
        Intersection over union that a recovered, divided or joined cell has at least with where both neighbours say it
        is, and that the neighbours have with each other.
    largest_change : float
        Factor by which areas may differ from the mean of both neighbours.
    """

    low_probability: float = 0.15
    mean_probability: float = 0.3
    contrast: float = 0.15
    overlap: float = 0.4
    largest_change: float = 1.6


@dataclass(frozen=True)
class Repair:
    """One repair.

    Attributes
    ----------
    t : int
        Frame.
    kind : {"missed", "merged", "split"}
    labels : tuple of int
        Labels of the mended frame that it made.
    place : tuple of float
        Centroid (y, x) or (z, y, x), px.
    probability : float
        Mean cell probability of its pixels.
    overlap : float
        Smallest intersection over union of the new labels with where the neighbours say they are.
    """

    t: int
    kind: Kind
    labels: tuple[int, ...]
    place: tuple[float, ...]
    probability: float
    overlap: float


def repair_sequence(
    frames: Iterable[tuple[Labels, Floats]], settings: RepairSettings | None = None
) -> Iterator[tuple[Labels, list[Repair]]]:
    """Yield each frame's labels, mended where there is a frame on either side, and what was mended.

    Parameters
    ----------
    frames : iterable of (labels, probability)
        In order of time, as `Segmenter.segment(..., return_probability=True)` gives them. Three are held at a time.
    settings : RepairSettings, optional

    Notes
    -----
    Neighbours are taken as they were segmented, not as they were mended, so that a mistake cannot walk through the
    frames.
    """
    window: deque[tuple[Labels, Floats, Cells]] = deque(maxlen=3)
    t = -1
    for labels, probability in frames:
        window.append((labels, probability, Cells.of(labels)))
        t += 1
        if len(window) == 2:
            yield window[0][0], []
        elif len(window) == 3:
            (_, _, before), (here, middle, cells), (_, _, after) = window
            yield _mend(before, cells, after, here, middle, t - 1, settings or RepairSettings())
    if len(window) > 1:
        yield window[-1][0], []
    elif window:
        yield window[0][0], []


def repair_frame(
    before: Labels,
    here: Labels,
    after: Labels,
    probability: Floats,
    settings: RepairSettings | None = None,
    *,
    t: int = 0,
) -> tuple[Labels, list[Repair]]:
    """Return the labels of a frame mended by its neighbours, and what was mended.

    Parameters
    ----------
    before, here, after : int32 arrays (Y, X) or (Z, Y, X)
        Labels of three successive frames.
    probability : float array of the same shape
        Cell probability of the middle frame, 0..1.
    settings : RepairSettings, optional
    t : int
        Number of the middle frame, for the list.

    Returns
    -------
    int32 array, list of Repair
        Labels that were not mended keep their numbers and new ones come after the largest, unless labels were joined:
        then all are numbered anew from 1, in the same order.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if not before.shape == here.shape == after.shape == probability.shape:
        shapes = ", ".join(str(a.shape) for a in (before, here, after, probability))
        raise ValueError(f"Frames that mend each other have one shape, not {shapes}.")
    cells = (Cells.of(before), Cells.of(here), Cells.of(after))
    return _mend(*cells, here, probability, t, settings or RepairSettings())


@dataclass(frozen=True)
class _Place:
    """A cell that both neighbours have, and where it should be in the frame between them.

    `shapes` are flat indices of its pixels as either neighbour has them, moved; `core` are those of both.
    """

    shapes: tuple[Pixels, Pixels]
    core: Pixels
    area: float

    def overlap(self, mask: Mask, shape: tuple[int, ...], box: Box) -> float:
        """Return the mean intersection over union of a mask within a box with both shapes."""
        return float(np.mean([_iou(mask, _within(pixels, shape, box)) for pixels in self.shapes]))


def _mend(
    before: Cells, here: Cells, after: Cells, labels: Labels, probability: Floats, t: int, settings: RepairSettings
) -> tuple[Labels, list[Repair]]:
    if not before.n or not after.n:
        return labels, []
    places = _expected(before, here, after, settings)
    if not places:
        return labels, []
    mended, repairs = labels.copy(), list[Repair]()
    owners = [_shares(place, mended) for place in places]
    done = np.zeros(len(places), dtype=np.bool_)
    for kind, group, old in _suspects(places, owners, here):
        if done[group].any():
            continue
        if kind == "missed":
            repair = _recover(places[group[0]], mended, probability, t, settings)
        elif kind == "merged":
            repair = _divide([places[g] for g in group], old[0], mended, probability, t, settings)
        else:
            repair = _join(places[group[0]], old, mended, probability, t, settings)
        if repair is not None:
            repairs.append(repair)
            done[group] = True
    if any(repair.kind == "split" for repair in repairs):  # a number has become free
        numbers, inverse = np.unique(mended, return_inverse=True)
        mended = inverse.reshape(mended.shape).astype(np.int32)
        repairs = [replace(r, labels=tuple(int(k) for k in np.searchsorted(numbers, r.labels))) for r in repairs]
    return mended, repairs


def _expected(before: Cells, here: Cells, after: Cells, settings: RepairSettings) -> list[_Place]:
    """Return the cells that both neighbours have at one place, seen from the frame between them."""
    forward, backward = _shift(before, here, after), _shift(after, here, before)
    from_before, from_after = moved(before, forward), moved(after, backward)
    places = []
    for k, j, agreement in match(from_before, from_after):
        a, b = before.areas[k], after.areas[j]
        if agreement >= settings.overlap and max(a, b) <= settings.largest_change * min(a, b):
            core = np.intersect1d(from_before[k], from_after[j], assume_unique=True)
            places.append(_Place((from_before[k], from_after[j]), core, (a + b) / 2))
    return places


def _shift(a: Cells, here: Cells, other: Cells) -> Shift:
    """Return how cells of a neighbour move to the frame at hand: measured there, or half the way to the other one."""
    direct = link(a, here)
    if direct.places.size:
        return direct
    return link(a, other).scaled(0.5)


def _shares(place: _Place, labels: Labels) -> list[tuple[int, int]]:
    """Return (label, pixels) of what lies at the core of a place, without the background."""
    found, counts = np.unique(labels.ravel()[place.core], return_counts=True)
    return [(int(k), int(n)) for k, n in zip(found, counts, strict=True) if k > 0]


def _suspects(
    places: list[_Place], owners: list[list[tuple[int, int]]], here: Cells
) -> Iterator[tuple[Kind, list[int], list[int]]]:
    """Yield what may be wrong: the kind, the places concerned, and the labels that are there now."""
    area = dict(zip(here.numbers.tolist(), here.areas.tolist(), strict=True))
    holders: dict[int, list[int]] = {}
    for g, (place, shares) in enumerate(zip(places, owners, strict=True)):
        if sum(n for _, n in shares) < 0.3 * place.core.size:
            yield "missed", [g], []
            continue
        main, n_main = max(shares, key=lambda s: s[1])
        if n_main > 0.5 * place.core.size:
            holders.setdefault(main, []).append(g)
        parts = [k for k, n in shares if n > 0.4 * area[k] and n > 0.1 * place.core.size]
        if len(parts) == 2:
            yield "split", [g], parts
    for k, group in holders.items():
        if len(group) == 2 and area[k] > 1.4 * max(places[g].area for g in group):
            yield "merged", group, [k]


def _recover(place: _Place, labels: Labels, probability: Floats, t: int, settings: RepairSettings) -> Repair | None:
    """Add the cell that the image shows at a place at a low threshold, if it does.

    Its edge is where the probability falls to half of what it is at the core.
    """
    everything = np.union1d(*place.shapes)
    box = _window(everything, labels.shape, margin=7)
    wanted = _within(everything, labels.shape, box)
    free, here = labels[box] == 0, np.asarray(probability[box], dtype=np.float32)
    peak = float(np.percentile(probability.ravel()[place.core], 90))
    candidate = free & binary_dilation(wanted, iterations=2) & (here >= max(settings.low_probability, peak / 2))
    pieces, n = connected(candidate)
    if n == 0:
        return None
    sizes = np.bincount(pieces[wanted], minlength=n + 1)
    sizes[0] = 0
    cell = pieces == int(np.argmax(sizes))
    overlap, mean = place.overlap(cell, labels.shape, box), float(here[cell].mean())
    if not _fits(int(cell.sum()), place, settings) or overlap < settings.overlap or mean < settings.mean_probability:
        return None
    around = free & binary_dilation(cell, iterations=6) & ~binary_dilation(cell, iterations=2)
    if around.any() and mean - float(here[around].mean()) < settings.contrast:
        return None
    number = int(labels.max()) + 1
    labels[box][cell] = number
    return Repair(t, "missed", (number,), _centroid(cell, box), mean, overlap)


def _divide(
    places: list[_Place], old: int, labels: Labels, probability: Floats, t: int, settings: RepairSettings
) -> Repair | None:
    """Divide a label between the places of two cells, along the valley of the probability."""
    from skimage.segmentation import watershed

    box = _window(np.flatnonzero(labels.ravel() == old), labels.shape, margin=1)
    whole = labels[box] == old
    cores = [_within(p.core, labels.shape, box) & whole for p in places]
    seeds = np.zeros(whole.shape, dtype=np.int32)
    seeds[cores[0] & ~cores[1]] = 1
    seeds[cores[1] & ~cores[0]] = 2
    if set(np.unique(seeds)) != {0, 1, 2}:
        return None
    parts = watershed(-np.asarray(probability[box], dtype=np.float32), seeds, mask=whole)
    sizes = [int((parts == k).sum()) for k in (1, 2)]
    overlap = min(p.overlap(parts == k, labels.shape, box) for k, p in enumerate(places, start=1))
    if not all(_fits(n, p, settings) for n, p in zip(sizes, places, strict=True)) or overlap < settings.overlap:
        return None
    number = int(labels.max()) + 1
    labels[box][parts == 1 + int(np.argmin(sizes))] = number
    return Repair(t, "merged", (old, number), _centroid(whole, box), float(probability[box][whole].mean()), overlap)


def _join(
    place: _Place, old: list[int], labels: Labels, probability: Floats, t: int, settings: RepairSettings
) -> Repair | None:
    """Join two labels that touch and are together the cell at a place better than either alone."""
    box = _window(np.flatnonzero(np.isin(labels.ravel(), old)), labels.shape, margin=2)
    a, b = (labels[box] == k for k in old)
    gap = binary_dilation(a) & binary_dilation(b) & (labels[box] == 0) & (probability[box] >= 0.5)
    joined = a | b | gap
    overlap = place.overlap(joined, labels.shape, box)
    alone = max(place.overlap(part, labels.shape, box) for part in (a, b))
    if connected(joined)[1] != 1 or not _fits(int(joined.sum()), place, settings):
        return None
    if overlap < settings.overlap or overlap <= alone:
        return None
    labels[box][joined] = old[0]
    return Repair(t, "split", (old[0],), _centroid(joined, box), float(probability[box][joined].mean()), overlap)


def _fits(size: int, place: _Place, settings: RepairSettings) -> bool:
    return place.area / settings.largest_change <= size <= place.area * settings.largest_change


def _window(pixels: Pixels, shape: tuple[int, ...], *, margin: int) -> Box:
    """Return the box around flat pixels with a margin."""
    at = np.unravel_index(pixels, shape)
    return tuple(
        slice(max(0, int(c.min()) - margin), min(side, int(c.max()) + margin + 1))
        for c, side in zip(at, shape, strict=True)
    )


def _within(pixels: Pixels, shape: tuple[int, ...], box: Box) -> Mask:
    """Return the mask of flat pixels within a box."""
    at = [c - s.start for c, s in zip(np.unravel_index(pixels, shape), box, strict=True)]
    sides = [s.stop - s.start for s in box]
    inside = np.all([(c >= 0) & (c < side) for c, side in zip(at, sides, strict=True)], axis=0)
    mask = np.zeros(sides, dtype=np.bool_)
    mask[tuple(c[inside] for c in at)] = True
    return mask


def _iou(a: Mask, b: Mask) -> float:
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 0.0


def _centroid(mask: Mask, box: Box) -> tuple[float, ...]:
    return tuple(float(c.mean()) + s.start for c, s in zip(np.nonzero(mask), box, strict=True))

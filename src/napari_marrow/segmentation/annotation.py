"""Annotated images as training data: checks and repairs of hand-made labels, and what a network is to learn of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError
from napari_marrow.segmentation.diameter import median_diameter
from napari_marrow.segmentation.dynamics import renumber
from napari_marrow.segmentation.flows import bounding_boxes, labels_to_flows
from napari_marrow.segmentation.holes import fill_holes
from napari_marrow.segmentation.intensities import normalise
from napari_marrow.segmentation.resizing import resize

if TYPE_CHECKING:
    from napari_marrow.segmentation.augmentation import AugmentationSettings, Example

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

SMALLEST = 12
"""Labels of fewer pixels are slips of the brush: nothing is learned from them."""
_LARGEST = 2.0  # images are reduced beforehand to so many times the network's cell diameter
_TRIES = 8  # for a crop with annotated pixels


@dataclass(frozen=True)
class AnnotatedImage:
    """A plane and the cells that somebody outlined in it.

    Attributes
    ----------
    name : str
        For messages and lists.
    image : array (Y, X)
    labels : int32 array (Y, X)
        0 background, 1..n; 0 where `ignored`.
    ignored : bool array (Y, X) or None
        Where nobody annotated; None where everything was.
    """

    name: str
    image: npt.NDArray[Any]
    labels: Labels
    ignored: Mask | None = None

    @property
    def n_cells(self) -> int:
        """Number of labels."""
        return int(self.labels.max(initial=0))


def annotate(
    name: str, image: npt.NDArray[Any], labels: npt.NDArray[np.integer[Any]], ignored: Mask | None = None
) -> tuple[AnnotatedImage, list[str]]:
    """Check and mend the labels of a plane.

    Parameters
    ----------
    name : str
        Stands in messages.
    image : array (Y, X)
    labels : integer array (Y, X)
        0 background; negative values: not annotated.
    ignored : bool array (Y, X), optional
        More places that are not annotated.

    Returns
    -------
    AnnotatedImage, list of str
        The second has one sentence for each kind of thing that was mended: holes filled, pieces of a label apart from
        its largest left out of the training, slips of the brush left out.

    Raises
    ------
    InputFileError
        If shapes differ, pixels are not finite or all equal, or the labels are one mask of many cells.
    """
    if image.ndim != 2 or labels.shape != image.shape or (ignored is not None and ignored.shape != image.shape):
        shapes = " and ".join(str(a.shape) for a in (labels, ignored) if a is not None)
        raise InputFileError(f"{name} has shape {image.shape}, its labels {shapes}: they must be equal planes.")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise InputFileError(f"{name} holds pixels that are NaN or infinite: replace them before training.")
    if normalise(image) is None:
        raise InputFileError(f"{name} is constant: there is nothing to learn from it.")
    hidden = labels < 0
    if ignored is not None:
        hidden = hidden | ignored
    plain = np.where(hidden, 0, labels).astype(np.int64)
    _, compact = np.unique(plain, return_inverse=True)
    cells = compact.reshape(plain.shape).astype(np.int32)
    if plain.min(initial=1) > 0:  # no background: `unique` gave the first label 0
        cells += 1
    cells, notes = _mend(name, cells, hidden)
    return AnnotatedImage(name, image, cells, hidden if hidden.any() else None), notes


def _mend(name: str, cells: Labels, hidden: Mask) -> tuple[Labels, list[str]]:
    """Return tidy labels; what is dropped is hidden (in place), so that it is not learned as background."""
    from skimage.measure import label as connected

    notes = []
    pieces = connected(cells, background=0, connectivity=2).astype(np.int32)
    n_labels, n_pieces = int(cells.max(initial=0)), int(pieces.max(initial=0))
    if n_labels == 1 and n_pieces >= 5:
        raise InputFileError(
            f"{name}: its labels are one number in {n_pieces} separate pieces, a mask and no labels: give every cell a "
            "number of its own."
        )
    if n_pieces > n_labels:
        size = np.bincount(pieces.ravel())
        owner = np.zeros(size.size, dtype=np.int64)
        owner[pieces.ravel()] = cells.ravel()
        order = np.lexsort((-size, owner))
        first = np.r_[True, owner[order][1:] != owner[order][:-1]]
        kept = np.zeros(size.size, dtype=np.bool_)
        kept[order[first]] = True
        lost = ~kept[pieces] & (cells > 0)
        hidden |= lost
        cells = np.where(lost, 0, cells).astype(np.int32)
        notes.append(
            f"{name}: {n_pieces - n_labels} piece(s) lie apart from the rest of their label and were left out."
        )
    size = np.bincount(cells.ravel())
    small = size < SMALLEST
    small[0] = False
    if (n_small := int((small & (size > 0)).sum())) > 0:
        hidden |= small[cells]
        notes.append(f"{name}: {n_small} label(s) of less than {SMALLEST} px were left out.")
    cells = renumber(cells, ~small)
    before = int((cells > 0).sum())
    if before:
        # Only background is filled: a label within another one stays.
        filled = cells.copy()
        fill_holes(filled, bounding_boxes(filled, int(filled.max())))
        cells = np.where(cells == 0, filled, cells).astype(np.int32)
        if (n_filled := int((cells > 0).sum()) - before) > 0:
            notes.append(f"{name}: holes of {n_filled} px in all were filled.")
            hidden &= cells == 0
    return cells, notes


@dataclass(frozen=True)
class PreparedImage:
    """What a network learns of an annotated image.

    Attributes
    ----------
    example : Example
        Image, flows and cell mask, reduced where cells are large.
    annotated : Example or None
        The same image with the annotated places as its mask; None where everything is annotated.
    diameter : float
        Median diameter of the cells in the original image, px.
    """

    example: Example
    annotated: Example | None
    diameter: float

    def random_crop(self, rng: np.random.Generator, settings: AugmentationSettings) -> tuple[Floats, Floats, Floats]:
        """Return an augmented crop: image (S, S), target (3, S, S), and 1 where it is annotated (S, S)."""
        from napari_marrow.segmentation.augmentation import random_crop

        if self.annotated is None:
            image, target = random_crop(self.example, rng, settings)
            return image, target, np.ones(image.shape, dtype=np.float32)
        for _ in range(_TRIES):
            state = rng.bit_generator.state
            image, target = random_crop(self.example, rng, settings)
            again = np.random.default_rng()
            again.bit_generator.state = state  # the same turns and shifts once more, for the annotated places
            known = random_crop(self.annotated, again, settings)[1][2]
            if known.mean() > 0.05:
                break
        return image, target, known


def prepare(annotated: AnnotatedImage, diam_mean: float) -> PreparedImage | None:
    """Return what a network whose cells measure `diam_mean` px learns of an image; None for one without a label."""
    from napari_marrow.segmentation.augmentation import Example

    diameter = median_diameter(annotated.labels)
    pixels = normalise(annotated.image)
    if diameter == 0 or pixels is None:
        return None
    labels, hidden, scaled = annotated.labels, annotated.ignored, diameter
    if diameter > _LARGEST * diam_mean:
        # Crops are reduced anyway; doing most of it once saves the smoothing of large images at every crop.
        from scipy.ndimage import gaussian_filter

        factor = _LARGEST * diam_mean / diameter
        shape = (max(1, round(pixels.shape[0] * factor)), max(1, round(pixels.shape[1] * factor)))
        pixels = resize(gaussian_filter(pixels, 0.35 / factor, mode="nearest")[None], shape)[0]
        labels = _nearest(labels, shape)
        hidden = None if hidden is None else _nearest(hidden, shape)
        scaled = diameter * factor
    target = np.concatenate([labels_to_flows(labels), (labels > 0)[None].astype(np.float32)])
    known = None
    if hidden is not None:
        mask = np.zeros_like(target)
        mask[2] = ~hidden
        known = Example(pixels, mask, scaled)
    return PreparedImage(Example(pixels, target, scaled), known, diameter)


def _nearest(plane: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Return a plane in another size, each pixel the nearest one of before."""
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * old / n).astype(int), old - 1)
        for n, old in zip(shape, plane.shape, strict=True)
    )
    return plane[np.ix_(rows, columns)]

"""A picture per label file: the image in grey with the outline of every cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.pipeline.image_files import ImageFile, describe
from napari_marrow.pipeline.label_folder import write_atomically

OVERLAYS = "overlays"
"""Folder beside the labels."""
LARGEST_SIDE = 4096
"""Larger images are thinned out."""


def overlay(image: npt.NDArray[Any], labels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
    """Return an image in grey with the outlines of its labels in colour.

    Parameters
    ----------
    image : array (Y, X) or (Z, Y, X)
        Of a volume the brightest pixel along z is shown, and the outlines of its middle plane.
    labels : integer array of the same shape

    Returns
    -------
    uint8 array (Y, X, 3)
        Percentiles 0.5 and 99.8 become black and white; neighbours have different colours most often.
    """
    if image.ndim == 3:
        image, labels = image.max(axis=0), labels[len(labels) // 2]
    step = -(-max(labels.shape) // LARGEST_SIDE)
    image, labels = image[::step, ::step], labels[::step, ::step]
    pixels = image.astype(np.float32)
    low, high = np.percentile(pixels, (0.5, 99.8))
    grey = np.clip((pixels - low) / max(float(high - low), 1e-6), 0, 1) ** 0.8
    picture = np.repeat((230 * grey).astype(np.uint8)[..., None], 3, axis=2)
    edge = np.zeros(labels.shape, dtype=np.bool_)
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge &= labels > 0  # the outline lies within the cell, so that nothing beside it is hidden
    picture[edge] = _COLORS[labels[edge] % len(_COLORS)]
    return picture


# Light enough for a dark ground, told apart under every common colour vision (after Okabe and Ito).
_COLORS = np.array([[86, 180, 233], [240, 228, 66], [230, 159, 0], [0, 190, 140], [214, 140, 190]], dtype=np.uint8)


def overlay_path(labels: Path) -> Path:
    """Return where the picture of a label file is written."""
    return labels.parent / OVERLAYS / f"{labels.stem}.png"


def add_overlay(image: ImageFile, labels: Path) -> None:
    """Write the picture of an image whose labels are on disk, unless it is there."""
    if not overlay_path(labels).exists():
        t = image.n_frames // 2
        axes = ("T" if image.n_frames > 1 else "") + ("ZYX" if len(image.frame_shape) == 3 else "YX")
        write_overlay(overlay_path(labels), image.frame(t), describe(labels, axes=axes).frame(t))


def write_overlay(path: Path, image: npt.NDArray[Any], labels: npt.NDArray[np.integer[Any]]) -> None:
    """Write the picture as PNG; its folder is made.

    Raises
    ------
    StorageError
        If the disk does not take it.
    """
    import imagecodecs

    content = imagecodecs.png_encode(overlay(image, labels))

    def write(partial: Path) -> None:
        partial.parent.mkdir(exist_ok=True)
        partial.write_bytes(content)

    write_atomically(path, write)

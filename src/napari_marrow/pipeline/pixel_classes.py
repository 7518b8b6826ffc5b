"""Pixel classifiers in files, and masks by them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import ModelError, PathMissingError, SettingsError
from napari_marrow.pipeline.label_folder import write_atomically
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.segmentation.pixel_classifier import PixelClassifier

_MOST_BYTES = 1 << 30


def read_pixel_classifier(path: Path | str) -> PixelClassifier:
    """Read a classifier that `marrow pixels train` wrote; nothing of the file is run.

    Raises
    ------
    PathMissingError
        If there is no file.
    ModelError
        If it is no pixel classifier, or damaged.
    """
    from napari_marrow.segmentation.pixel_classifier_data import pixel_classifier_from_bytes

    path = Path(path)
    if not path.is_file():
        raise PathMissingError(f"There is no pixel classifier at '{path}': `marrow pixels train` writes one.")
    if path.stat().st_size > _MOST_BYTES:
        raise ModelError(f"{path} is no pixel classifier: it has {path.stat().st_size / 1e9:.1f} GB.")
    return pixel_classifier_from_bytes(path.read_bytes(), name=str(path))


def write_pixel_classifier(classifier: PixelClassifier, path: Path | str) -> None:
    """Write a classifier whole, or not at all.

    Raises
    ------
    StorageError
        If the disk does not take it.
    """
    from napari_marrow.segmentation.pixel_classifier_data import pixel_classifier_to_bytes

    content = pixel_classifier_to_bytes(classifier)
    write_atomically(Path(path), lambda partial: partial.write_bytes(content))


def classifier_digest(path: str | None) -> str | None:
    """Return the SHA-256 of a classifier's file, None without one.

    Raises
    ------
    PathMissingError
        If there is no file.
    """
    if path is None:
        return None
    if not Path(path).is_file():
        raise PathMissingError(f"There is no pixel classifier at '{path}' (recipe: structures, colonies).")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def class_mask(
    path: str,
    structure: str,
    read: Callable[[str], npt.NDArray[np.float32]],
    *,
    available: Sequence[str],
    spacing: Sequence[float],
    cancel: CancelToken | None = None,
) -> tuple[npt.NDArray[np.bool_], str]:
    """Return where a structure is by a classifier, and the classifier's name.

    Parameters
    ----------
    path : str
    structure : str
        Name of the class; of two classes the second, whatever its name.
    read : callable
        Returns a channel, (Y, X) or (Z, Y, X), by its name.
    available : sequence of str
        Channels that there are.
    spacing : sequence of float
        Pixel size, µm.
    cancel : CancelToken, optional

    Raises
    ------
    PathMissingError, ModelError
        See `read_pixel_classifier`.
    SettingsError
        If a channel of the classifier is missing, or it has no such class.
    """
    classifier = _read_once(path, os.stat(path).st_mtime_ns if Path(path).is_file() else 0)
    if not classifier.channels:
        raise SettingsError(
            f"The classifier '{path}' does not say which channels it takes: train it with --channel-names."
        )
    missing = [name for name in classifier.channels if name not in available]
    if missing:
        raise SettingsError(
            f"The classifier '{path}' takes the channel '{missing[0]}', which is not there: there are "
            f"{', '.join(available)}."
        )
    channels = np.stack([read(name) for name in classifier.channels])
    number = classifier.class_number(structure)
    return classifier.predict(channels, spacing=spacing, cancel=cancel) == number, Path(path).name


@lru_cache(maxsize=4)
def _read_once(path: str, _changed: int) -> PixelClassifier:
    return read_pixel_classifier(path)

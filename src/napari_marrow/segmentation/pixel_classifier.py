"""Pixel classification: a random forest that learns from scribbles."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import SettingsError
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.segmentation.blocks import blocks
from napari_marrow.segmentation.forest import Forest
from napari_marrow.segmentation.pixel_features import PixelFeatures
from napari_marrow.segmentation.resolution import LARGEST_FACTOR

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

FEATURE_VALUES = 1 << 26
"""Values of features that are held at once, margin not counted: a quarter of a gigabyte."""


@dataclass(frozen=True)
class PixelClassifier:
    """A trained pixel classifier.

    Attributes
    ----------
    forest : Forest
    features : PixelFeatures
    classes : tuple of str
        Names of the classes; the first is the background. Class k has the label k + 1.
    channels : tuple of str
        Names of the channels in order; empty where they had none.
    card : dict
        How it was trained and how well it does: plain values (JSON).
    """

    forest: Forest
    features: PixelFeatures
    classes: tuple[str, ...]
    channels: tuple[str, ...] = ()
    card: dict[str, Any] = field(default_factory=dict)

    def probabilities(
        self,
        image: npt.ArrayLike,
        *,
        spacing: Sequence[float],
        threads: int | None = None,
        progress: Progress = no_progress,
        cancel: CancelToken | None = None,
        feature_values: int = FEATURE_VALUES,
    ) -> Floats:
        """Return the probability of every class in every pixel.

        Parameters
        ----------
        image : array, shape (Y, X) or (Z, Y, X), with several channels (C, Y, X) or (C, Z, Y, X)
        spacing : sequence of float
            Pixel size (y, x) or (z, y, x), µm.
        threads : int, optional
            By default, as many as there are cores.
        progress, cancel
            Called and asked after each block.
        feature_values : int
            How many values of features are held at once: sets the size of a block, and so the memory.

        Returns
        -------
        float32 array, shape (classes, ...)

        Raises
        ------
        SettingsError
            If the image has other axes or another number of channels than the classifier was trained on, or holds
            values that are not finite.
        Cancelled
            When asked to stop.
        """
        channels, size = as_channels(image, spacing, self.features)
        out = np.empty((len(self.classes), *channels.shape[1:]), dtype=np.float32)
        workers = threads or os.cpu_count() or 1
        parts = _parts(channels.shape[1:], self.features, size, feature_values)
        for done, part in enumerate(parts):
            if cancel is not None:
                cancel.raise_if_cancelled()
            found = _features_of(channels, part, self.features, size)
            shape = found.shape[1:]
            shares = self.forest.probabilities(found.reshape(len(found), -1), threads=workers)
            out[(slice(None), *part.inner)] = shares.reshape(-1, *shape)
            progress(done + 1, len(parts), "Classifying pixels")
        return out

    def predict(
        self,
        image: npt.ArrayLike,
        *,
        spacing: Sequence[float],
        threads: int | None = None,
        progress: Progress = no_progress,
        cancel: CancelToken | None = None,
        feature_values: int = FEATURE_VALUES,
    ) -> Labels:
        """Return the most probable class of every pixel, 1 for the first; of equals, the first.

        Parameters, errors: see `probabilities`. Memory beyond the image is that of one block and of the result.

        Returns
        -------
        int32 array, shape (Y, X) or (Z, Y, X)
        """
        channels, size = as_channels(image, spacing, self.features)
        out = np.empty(channels.shape[1:], dtype=np.int32)
        workers = threads or os.cpu_count() or 1
        parts = _parts(channels.shape[1:], self.features, size, feature_values)
        for done, part in enumerate(parts):
            if cancel is not None:
                cancel.raise_if_cancelled()
            found = _features_of(channels, part, self.features, size)
            shares = self.forest.probabilities(found.reshape(len(found), -1), threads=workers)
            out[part.inner] = shares.argmax(axis=0).reshape(found.shape[1:]) + 1
            progress(done + 1, len(parts), "Classifying pixels")
        return out

    def class_number(self, name: str) -> int:
        """Return the label of a class by its name; of two classes the second, whatever its name.

        Raises
        ------
        SettingsError
            If there is no such class.
        """
        if name in self.classes:
            return self.classes.index(name) + 1
        if len(self.classes) == 2:
            return 2
        raise SettingsError(f"The classifier has no class '{name}': it has {', '.join(self.classes)}.")


def as_channels(
    image: npt.ArrayLike, spacing: Sequence[float], features: PixelFeatures
) -> tuple[Floats, tuple[float, ...]]:
    """Return an image as float32 (C, ...) and its pixel size, checked against what a classifier takes.

    Raises
    ------
    SettingsError
        Naming what does not fit.
    """
    pixels = np.asarray(image)
    if pixels.ndim == features.ndim and features.n_channels == 1:
        pixels = pixels[np.newaxis]
    axes = "plane" if features.ndim == 2 else "volume"
    if pixels.ndim != features.ndim + 1:
        raise SettingsError(
            f"The image has shape {pixels.shape}: the classifier takes a {axes} of {features.n_channels} channel(s)."
        )
    if len(pixels) != features.n_channels:
        raise SettingsError(
            f"The image has {len(pixels)} channel(s), the classifier takes {features.n_channels}: give the channels "
            "that it was trained on."
        )
    if pixels.dtype.kind not in "uifb" or pixels.size == 0:
        raise SettingsError(f"An image of {pixels.dtype} and shape {pixels.shape} cannot be classified.")
    if len(spacing) < features.ndim or not all(0 < s < np.inf for s in spacing):
        raise SettingsError(f"The pixel size {tuple(spacing)} µm does not fit a {axes}.")
    pixels = pixels.astype(np.float32, copy=False)
    if not np.isfinite(pixels).all():
        raise SettingsError("The image holds values that are not finite (NaN or infinity): replace them first.")
    return pixels, tuple(float(s) for s in spacing[-features.ndim :])


def _parts(shape: Sequence[int], features: PixelFeatures, size: Sequence[float], feature_values: int) -> list[Any]:
    voxels = max(feature_values // len(features.names), LARGEST_FACTOR**features.ndim)
    return list(blocks(shape, features.margin(size), multiple=LARGEST_FACTOR, voxels=voxels))


def _features_of(channels: Floats, part: Any, features: PixelFeatures, size: Sequence[float]) -> Floats:
    found = features.compute(channels[(slice(None), *part.outer)], size)
    return np.ascontiguousarray(found[(slice(None), *part.within)])

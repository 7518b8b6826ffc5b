"""Find and read what a user annotated: images with their labels, in any of several layouts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError, PathMissingError, SettingsError
from napari_marrow.pipeline.image_files import describe
from napari_marrow.pipeline.label_files import natural_key
from napari_marrow.pipeline.pictures import PICTURES, is_picture, read_picture
from napari_marrow.segmentation.annotation import AnnotatedImage, annotate

IMAGE_ENDINGS = (".tif", ".tiff", *PICTURES)
LABEL_FOLDERS = ("labels", "masks")
LABEL_MARKS = ("_masks", "_cp_masks", "_labels", "_label", "_mask", "_seg")
"""What the name of a label file adds to that of its image; ``_seg`` for Cellpose's ``.npy``."""
IGNORE, CORRECTED = "_ignore", "_corrected"
"""Marks of masks beside the labels: where nobody annotated, or where alone somebody did."""


@dataclass(frozen=True)
class TrainingFile:
    """An image and where its labels are.

    Attributes
    ----------
    image, labels : Path
    ignored, corrected : Path or None
        Masks (not 0 inside) of what was not annotated, or of what alone was.
    """

    image: Path
    labels: Path
    ignored: Path | None = None
    corrected: Path | None = None


@dataclass(frozen=True)
class TrainingPlane:
    """A plane to learn from, and the file or session it belongs to.

    Attributes
    ----------
    annotated : AnnotatedImage
    group : str
        Planes of one group are alike: they are held back together.
    """

    annotated: AnnotatedImage
    group: str


@dataclass
class TrainingData:
    """Everything that was read.

    Attributes
    ----------
    planes : list of TrainingPlane
    files : list of dict
        For the model's card: what was read, with SHA-256.
    notes : list of str
        What was mended or left out.
    """

    planes: list[TrainingPlane] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, group: str, annotated: AnnotatedImage, notes: Sequence[str], *, of_many: bool = False) -> None:
        """Take a plane, or leave it out if it holds no label."""
        self.notes += notes
        if annotated.n_cells == 0:
            if not of_many:
                self.notes.append(f"{annotated.name}: it holds no label and was left out.")
            return
        self.planes.append(TrainingPlane(annotated, group))


def find_files(data: Sequence[Path], labels: Path | None = None) -> list[TrainingFile]:
    """Return images with their labels.

    Parameters
    ----------
    data : sequence of Path
        One folder with ``images/`` and ``labels/`` (or ``masks/``); or folders and image files whose labels lie beside
        them (``a.tif`` and ``a_masks.tif``, ``a_cp_masks.png``, ``a_labels.tif``, ``a_seg.npy``); or, with `labels`,
        folders and image files whose labels have the same name in that folder.
    labels : Path, optional
        Folder of label files, as ``marrow segment`` writes them.

    Raises
    ------
    PathMissingError
        If there is no image, or one has no labels.
    SettingsError
        If two images would have the same labels.
    """
    if labels is not None and not labels.is_dir():
        raise PathMissingError(f"There is no folder of labels '{labels}'.")
    images: list[Path] = []
    for path in data:
        if not path.exists():
            raise PathMissingError(f"There is nothing at '{path}': give a folder of images and labels, or images.")
        if path.is_dir() and (path / "images").is_dir():
            beside = next((path / name for name in LABEL_FOLDERS if (path / name).is_dir()), None)
            if beside is None and labels is None:
                raise PathMissingError(f"{path} has images/ but no labels/: give the labels' folder with --labels.")
            images += _images_in(path / "images")
            labels = labels or beside
        elif path.is_dir():
            images += _images_in(path)
        else:
            images.append(path)
    if not images:
        raise PathMissingError(f"'{data[0]}' holds no image ({', '.join(IMAGE_ENDINGS)}).")
    files = [_pair(image, labels) for image in images]
    first: dict[Path, Path] = {}
    for file in files:
        if file.labels in first:
            raise SettingsError(f"{first[file.labels]} and {file.image} would both take their labels of {file.labels}.")
        first[file.labels] = file.image
    return files


def _images_in(folder: Path) -> list[Path]:
    inside = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_ENDINGS and not p.name.startswith(".")]
    stems = {p.stem for p in inside}

    def is_mark(path: Path) -> bool:
        marks = (*LABEL_MARKS, IGNORE, CORRECTED)
        return any(path.stem.endswith(m) and path.stem.removesuffix(m).removesuffix("_masks") in stems for m in marks)

    return sorted((p for p in inside if not is_mark(p)), key=natural_key)


def _pair(image: Path, labels: Path | None) -> TrainingFile:
    stem = image.name.removesuffix(image.suffix)
    if labels is not None:
        names = [image.name, *(stem + e for e in IMAGE_ENDINGS), f"{stem}.npy"]
        names += [f"{stem}{m}{e}" for m in LABEL_MARKS for e in (*IMAGE_ENDINGS, ".npy")]
        folder = labels
    else:
        names = [f"{stem}{m}{e}" for m in LABEL_MARKS for e in (*IMAGE_ENDINGS, ".npy")]
        folder = image.parent
    found = next((folder / n for n in names if (folder / n).is_file()), None)
    if found is None:
        where = f"of its name in {labels}" if labels is not None else f"beside it, such as {stem}_masks.tif"
        raise PathMissingError(f"{image} has no labels {where}.")
    ignored, corrected = (
        next((p for s in (stem, found.stem) for e in IMAGE_ENDINGS if (p := folder / f"{s}{mark}{e}").is_file()), None)
        for mark in (IGNORE, CORRECTED)
    )
    return TrainingFile(image, found, ignored, corrected)


def read_files(
    files: Sequence[TrainingFile],
    *,
    channel: int | str | None = None,
    axes: str | None = None,
    frames: Sequence[int] | None = None,
) -> TrainingData:
    """Read images and labels and check them.

    Parameters
    ----------
    files : sequence of TrainingFile
    channel, axes
        See `describe`.
    frames : sequence of int, optional
        Time points that were annotated; by default all that hold a label.

    Raises
    ------
    InputFileError, SettingsError, PathMissingError
        One sentence on the first file that cannot be used.
    """
    data = TrainingData()
    for file in files:
        image = describe(file.image, channel=channel, axes=axes)
        shape = ((image.n_frames,) if image.n_frames > 1 else ()) + image.frame_shape
        labels = read_label_array(file.labels, shape, image.path)
        hidden = _read_hidden(file, shape)
        n_before = len(data.planes)
        for t in range(image.n_frames):
            if frames is not None and image.n_frames > 1 and t not in frames:
                continue
            at = (t,) if image.n_frames > 1 else ()
            name = file.image.name + (f", frame {t}" if at else "")
            mask = None if hidden is None else hidden[at]
            add_frame(data, str(file.image), name, image.frame(t), labels[at], mask, of_many=image.n_frames > 1)
        if frames is not None and image.n_frames > 1 and (beyond := [t for t in frames if not 0 <= t < image.n_frames]):
            raise SettingsError(f"{file.image.name} has no frame {beyond[0]}: it has frames 0 to {image.n_frames - 1}.")
        data.files.append(_entry(file, data.planes[n_before:]))
    return data


def add_frame(
    data: TrainingData,
    group: str,
    name: str,
    pixels: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    hidden: npt.NDArray[np.bool_] | None,
    *,
    of_many: bool,
) -> None:
    """Take a frame, a volume plane by plane."""
    if pixels.ndim == 2:
        if of_many and not (labels > 0).any():
            return  # a frame of a stack that nobody annotated
        data.add(group, *annotate(name, pixels, labels, hidden), of_many=of_many)
        return
    for z in range(len(pixels)):
        mask = None if hidden is None else hidden[z]
        add_frame(data, group, f"{name}, plane {z}", pixels[z], labels[z], mask, of_many=True)


def _entry(file: TrainingFile, planes: Sequence[TrainingPlane]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "image": os.fspath(file.image),
        "sha256": _sha256(file.image),
        "labels": os.fspath(file.labels),
        "labels_sha256": _sha256(file.labels),
        "planes": len(planes),
        "cells": sum(p.annotated.n_cells for p in planes),
    }
    for name, path in (("ignored", file.ignored), ("corrected", file.corrected)):
        if path is not None:
            entry |= {name: os.fspath(path), f"{name}_sha256": _sha256(path)}
    return entry


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _read_hidden(file: TrainingFile, shape: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
    hidden = None
    if file.ignored is not None:
        hidden = read_label_array(file.ignored, shape, file.image) != 0
    if file.corrected is not None:
        outside = read_label_array(file.corrected, shape, file.image) == 0
        hidden = outside if hidden is None else hidden | outside
    return hidden


def read_label_array(path: Path, shape: tuple[int, ...], image: Path) -> npt.NDArray[np.int64]:
    """Return the labels of an image as whole numbers, of the image's shape; negative ones are kept.

    Raises
    ------
    InputFileError
        If they cannot be read, are no whole numbers, or do not fit the image.
    """
    pixels = np.squeeze(_read_array(path))
    wanted = tuple(n for n in shape if n > 1)
    if tuple(n for n in pixels.shape if n > 1) != wanted:
        if pixels.ndim == len(wanted) + 1 and pixels.shape[-1] in (3, 4):
            raise InputFileError(f"{path} is a colour picture: labels are one number per pixel, save them as TIFF.")
        raise InputFileError(f"{path} has shape {pixels.shape}, its image {image.name} {shape}: they must be equal.")
    if pixels.dtype.kind == "f":
        if not (np.isfinite(pixels).all() and np.array_equal(pixels, np.round(pixels))):
            raise InputFileError(f"{path} holds {pixels.dtype} values that are no labels: labels are whole numbers.")
    elif pixels.dtype.kind not in "iub":
        raise InputFileError(f"{path} holds {pixels.dtype} values: labels are whole numbers.")
    return pixels.reshape(shape).astype(np.int64)


def _read_array(path: Path) -> npt.NDArray[Any]:
    if path.suffix.lower() == ".npy":
        from napari_marrow.pipeline.cellpose_files import read_cellpose_masks

        return read_cellpose_masks(path)
    if is_picture(path):
        return read_picture(path)
    import tifffile

    from napari_marrow.ingest.tifffile_log import warnings_of_tifffile

    try:
        with warnings_of_tifffile():
            array: npt.NDArray[Any] = tifffile.imread(path)
    except Exception as error:  # tifffile and its decoders raise many kinds
        raise InputFileError(f"{path} is no TIFF image, or it is damaged: {error}.") from error
    return array


def split(data: TrainingData, fraction: float, seed: int) -> tuple[list[AnnotatedImage], list[AnnotatedImage]]:
    """Return the planes to train on and those to hold back.

    Whole files (sessions of a study) are held back, drawn by the seed. Of a single file with several frames the last
    ones are; of a single plane a strip at the end of its longer side, so that nothing is on both sides.

    Raises
    ------
    SettingsError
        If the fraction is outside 0..0.8, or there is nothing to train on.
    """
    if not 0 <= fraction <= 0.8:
        raise SettingsError(f"A held-out fraction of {fraction:g} cannot be: give 0 (none) to 0.8.")
    planes = [p.annotated for p in data.planes]
    if not planes:
        raise SettingsError("There is no label to train on: every label image is empty.")
    if fraction == 0:
        return planes, []
    groups = sorted({p.group for p in data.planes})
    if len(groups) > 1:
        n = min(len(groups) - 1, max(1, round(fraction * len(groups))))
        drawn = {groups[i] for i in np.random.default_rng(seed).permutation(len(groups))[:n]}
        held = [p.group in drawn for p in data.planes]
    elif len(planes) > 1:
        n = min(len(planes) - 1, max(1, round(fraction * len(planes))))
        held = [i >= len(planes) - n for i in range(len(planes))]
    else:
        return _cut(planes[0], fraction)
    return [p for p, h in zip(planes, held, strict=True) if not h], [p for p, h in zip(planes, held, strict=True) if h]


def _cut(plane: AnnotatedImage, fraction: float) -> tuple[list[AnnotatedImage], list[AnnotatedImage]]:
    """Cut a plane in two; cells on the cut belong to neither side."""
    axis = int(np.argmax(plane.image.shape))
    at = round((1 - fraction) * plane.image.shape[axis])
    image, labels = np.moveaxis(plane.image, axis, 0), np.moveaxis(plane.labels, axis, 0)
    hidden = np.zeros(labels.shape, bool) if plane.ignored is None else np.moveaxis(plane.ignored, axis, 0).copy()
    both = np.intersect1d(labels[:at], labels[at:])
    hidden |= np.isin(labels, both[both > 0])
    sides = []
    for part, where in (("first part", slice(None, at)), ("last part", slice(at, None))):
        cut = np.where(hidden[where], -1, labels[where])
        side, _ = annotate(f"{plane.name}, {part}", *(np.moveaxis(a, 0, axis) for a in (image[where], cut)))
        sides.append(side)
    if not all(side.n_cells for side in sides):
        raise SettingsError(
            f"{plane.name} alone has too few labels to hold some back: give more images, or --validation 0."
        )
    return [sides[0]], [sides[1]]

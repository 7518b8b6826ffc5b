"""Pixel classifiers on plain files: ``marrow pixels train`` and ``marrow pixels apply``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial as bound
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tifffile

from napari_marrow.errors import InputFileError, PathExistsError, SettingsError
from napari_marrow.pipeline.image_files import ImageFile, describe
from napari_marrow.pipeline.label_files import _whole_numbers
from napari_marrow.pipeline.label_folder import write_atomically
from napari_marrow.pipeline.pixel_classes import read_pixel_classifier, write_pixel_classifier
from napari_marrow.progress import CancelToken, Progress, no_progress

if TYPE_CHECKING:
    from napari_marrow.segmentation.pixel_classifier import PixelClassifier


@dataclass(frozen=True)
class _Channels:
    """The channels of a file that are classified together."""

    files: tuple[ImageFile, ...]

    @property
    def path(self) -> Path:
        return self.files[0].path

    @property
    def n_frames(self) -> int:
        return self.files[0].n_frames

    @property
    def frame_shape(self) -> tuple[int, ...]:
        return self.files[0].frame_shape

    def frame(self, t: int) -> npt.NDArray[Any]:
        """Return a time point: (..., Y, X), with several channels (C, ..., Y, X)."""
        frames = [file.frame(t) for file in self.files]
        return frames[0] if len(frames) == 1 else np.stack(frames)


def train_pixels_files(
    images: Sequence[Path | str],
    scribbles: Sequence[Path | str],
    out: Path | str,
    *,
    classes: Sequence[str] = (),
    channels: Sequence[int | str] = (),
    channel_names: Sequence[str] = (),
    axes: str | None = None,
    pixel_size: float = 1.0,
    z_step: float | None = None,
    sigmas: Sequence[float] | None = None,
    trees: int = 64,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> PixelClassifier:
    """Train a pixel classifier on image files and files of scribbles, and write it.

    Parameters
    ----------
    images : sequence of path
        TIFF; planes, T stacks or Z stacks.
    scribbles : sequence of path
        One for each image, of its shape without channels: 0 nothing, 1 background, 2 and on the other classes. Frames
        without a scribble are not read.
    out : path
        The file to write, by custom ``.safetensors``.
    classes : sequence of str
        Names of the classes in order; the recipe knows ``organoid``, ``scaffold``, ``vessels`` and ``colonies``.
    channels : sequence of int or str
        Channels of the images, numbers from 0 or names; all of them when left out.
    channel_names : sequence of str
        What the channels are called in a study; the names in `channels` where they are names.
    axes : str, optional
        Order of the axes where a file does not say.
    pixel_size, z_step : float
        µm; the z step is the pixel size when left out.
    sigmas : sequence of float, optional
        Scales of the features, µm; by default 1, 2, 4 and 8 pixels.
    trees, seed : int
    overwrite : bool
        Replace a file that is there.
    progress, cancel
        As everywhere.

    Returns
    -------
    PixelClassifier

    Raises
    ------
    InputFileError, PathMissingError, PathExistsError, SettingsError
        One sentence on what is wrong.
    """
    from napari_marrow.segmentation.pixel_training import train_pixel_classifier

    out = Path(out)
    if out.exists() and not overwrite:
        raise PathExistsError(f"'{out}' exists already: choose another name, or allow it to be replaced.")
    if not images or len(images) != len(scribbles):
        raise SettingsError(
            f"There are {len(images)} image(s) and {len(scribbles)} file(s) of scribbles: give one each."
        )
    frames, drawn, flat = [], [], True
    for image, scribble in zip(images, scribbles, strict=True):
        channel_set = _open(Path(image), channels, axes)
        lines = describe(Path(scribble), axes=axes if axes is not None and "C" not in axes.upper() else None)
        if (lines.n_frames, lines.frame_shape) != (channel_set.n_frames, channel_set.frame_shape):
            raise InputFileError(
                f"{scribble} has {lines.n_frames} frame(s) of shape {lines.frame_shape}, the image {image} "
                f"{channel_set.n_frames} of {channel_set.frame_shape}: scribbles have the shape of their image."
            )
        flat = len(channel_set.frame_shape) == 2
        for t in range(lines.n_frames):
            marks = _whole_numbers(lines.frame(t), lines.path, t)
            if marks.any():
                frames.append(channel_set.frame(t))
                drawn.append(marks)
    if not drawn:
        raise SettingsError(f"{scribbles[0]} holds no scribble: draw 1 on background and 2 on what you look for.")
    names = list(channel_names) or [c for c in channels if isinstance(c, str)]
    size = _spacing(pixel_size, z_step, flat)
    classifier = train_pixel_classifier(
        frames, drawn, spacing=size, classes=classes, channels=names,
        sigmas=tuple(sigmas) if sigmas else tuple(k * pixel_size for k in (1.0, 2.0, 4.0, 8.0)),
        n_trees=trees, seed=seed, progress=progress, cancel=cancel,
    )  # fmt: skip
    write_pixel_classifier(classifier, out)
    return classifier


def apply_pixels_files(
    images: Sequence[Path | str],
    classifier: Path | str,
    out: Path | str,
    *,
    only: str | None = None,
    probabilities: bool = False,
    channels: Sequence[int | str] = (),
    axes: str | None = None,
    pixel_size: float | None = None,
    z_step: float | None = None,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> list[Path]:
    """Classify the pixels of image files; a TIFF of the same name for each.

    Parameters
    ----------
    images : sequence of path
    classifier : path
        From `train_pixels_files`.
    out : path
        Folder. Files that are there are left as they are, so that a run that was stopped goes on.
    only : str, optional
        Name of a class: its mask (0 and 1, uint8) instead of the number of each pixel's class.
    probabilities : bool
        Write the probabilities of all classes (float32, channels), or with `only` that of one.
    channels, axes
        As for training.
    pixel_size, z_step : float, optional
        µm; those of the training when left out.
    progress, cancel
        As everywhere.

    Returns
    -------
    list of Path
        What was written, or was there.

    Raises
    ------
    InputFileError, PathMissingError, ModelError, SettingsError
        One sentence on what is wrong.
    """
    chosen = read_pixel_classifier(classifier)
    number = None if only is None else chosen.class_number(only)
    trained = chosen.card.get("spacing_um", [1.0] * chosen.features.ndim)
    size = list(trained)
    if pixel_size is not None:
        size = list(_spacing(pixel_size, z_step, chosen.features.ndim == 2))
    jobs = [_open(Path(image), channels, axes) for image in images]
    names = [job.path.name for job in jobs]
    if len(set(names)) < len(names):
        raise SettingsError("Two images have the same file name: classify them into different folders.")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    total = sum(job.n_frames for job in jobs)
    done = 0
    for job in jobs:
        target = folder / (job.path.name.split(".")[0] + ".tif")
        if not target.exists():
            _check_shape(job, chosen)
            shown = (_result(chosen, job.frame(t), size, number, probabilities, cancel) for t in range(job.n_frames))
            counted = _counted(shown, bound(_tell, progress, done, total))
            _write(target, job, counted, chosen, number, probabilities)
        done += job.n_frames
        progress(done, total, "Classifying pixels")
        written.append(target)
    return written


def _open(path: Path, channels: Sequence[int | str], axes: str | None) -> _Channels:
    """Return the chosen channels of a file, all of them without a choice."""
    if channels:
        return _Channels(tuple(describe(path, channel=channel, axes=axes) for channel in channels))
    first = describe(path, channel=_first_of_many(path, axes), axes=axes)
    sizes = dict(zip(first.axes, first.shape, strict=True))
    n = sizes.get("S", sizes.get("C", 1))
    return _Channels(tuple(describe(path, channel=k if n > 1 else None, axes=axes) for k in range(n)))


def _first_of_many(path: Path, axes: str | None) -> int | None:
    try:
        describe(path, axes=axes)
    except InputFileError as error:
        if "channel" in str(error):
            return 0
        raise
    return None


def _spacing(pixel_size: float, z_step: float | None, flat: bool) -> tuple[float, ...]:
    if not pixel_size > 0 or (z_step is not None and not z_step > 0):
        raise SettingsError(f"Pixel size and z step are lengths above 0 µm, not {pixel_size} and {z_step}.")
    return (pixel_size, pixel_size) if flat else (z_step or pixel_size, pixel_size, pixel_size)


def _check_shape(job: _Channels, classifier: PixelClassifier) -> None:
    kind = {2: "planes", 3: "volumes"}
    if len(job.frame_shape) != classifier.features.ndim:
        raise InputFileError(
            f"{job.path} holds {kind[len(job.frame_shape)]}, the classifier was trained on "
            f"{kind[classifier.features.ndim]}: say with axes which axis is z and which time."
        )
    if len(job.files) != classifier.features.n_channels:
        raise InputFileError(
            f"{job.path} gives {len(job.files)} channel(s), the classifier takes {classifier.features.n_channels}: "
            "choose the channels that it was trained on."
        )


def _result(
    classifier: PixelClassifier,
    frame: npt.NDArray[Any],
    size: Sequence[float],
    number: int | None,
    probabilities: bool,
    cancel: CancelToken | None,
) -> npt.NDArray[Any]:
    if probabilities:
        shares = classifier.probabilities(frame, spacing=size, cancel=cancel)
        return shares if number is None else shares[number - 1]
    classes = classifier.predict(frame, spacing=size, cancel=cancel)
    return (classes if number is None else classes == number).astype(np.uint8)


def _tell(progress: Progress, before: int, total: int, n: int) -> None:
    progress(before + n, total, "Classifying pixels")


def _counted(results: Iterator[npt.NDArray[Any]], tell: Callable[[int], None]) -> Iterator[npt.NDArray[Any]]:
    """Pass results on and say how many there were."""
    for n, result in enumerate(results, start=1):
        yield result
        tell(n)


def _write(
    target: Path,
    job: _Channels,
    results: Iterator[npt.NDArray[Any]],
    classifier: PixelClassifier,
    number: int | None,
    probabilities: bool,
) -> None:
    many = probabilities and number is None
    space = "ZYX" if len(job.frame_shape) == 3 else "YX"
    axes = ("T" if job.n_frames > 1 else "") + ("C" if many else "") + space
    shape = (
        ((job.n_frames,) if job.n_frames > 1 else ()) + ((len(classifier.classes),) if many else ()) + job.frame_shape
    )
    dtype = np.float32 if probabilities else np.uint8

    def planes() -> Iterator[npt.NDArray[Any]]:
        for result in results:
            for plane in result.reshape(-1, *result.shape[-2:]):
                yield np.ascontiguousarray(plane, dtype=dtype)

    def write(partial: Path) -> None:
        big = int(np.prod(shape)) * np.dtype(dtype).itemsize > 3_000_000_000
        with tifffile.TiffWriter(partial, bigtiff=big) as writer:
            writer.write(
                planes(), shape=shape, dtype=dtype, compression="zlib", compressionargs={"level": 1},
                photometric="minisblack", metadata={"axes": axes},
            )  # fmt: skip

    write_atomically(target, write)

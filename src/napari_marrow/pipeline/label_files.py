"""Label images in plain TIFF files: a stack, a folder or a list, read frame by frame."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError, PathMissingError
from napari_marrow.ingest.tifffile_log import warnings_of_tifffile
from napari_marrow.pipeline.image_files import ImageFile, describe, open_tiff

_SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True)
class LabelFrames:
    """Label frames of one or many files; can be gone through any number of times.

    Attributes
    ----------
    files : tuple of ImageFile
        One stack over time, or one file per frame.
    """

    files: tuple[ImageFile, ...]

    def __len__(self) -> int:
        return sum(file.n_frames for file in self.files)

    @property
    def ndim(self) -> int:
        """Number of axes of a frame, 2 or 3."""
        return len(self.files[0].frame_shape)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        for file in self.files:
            for t in range(file.n_frames):
                yield _whole_numbers(file.frame(t), file.path, t)


def _whole_numbers(frame: npt.NDArray[Any], path: Path, t: int) -> npt.NDArray[Any]:
    if frame.dtype.kind in "iub":
        if frame.dtype.kind == "i" and frame.size and frame.min() < 0:
            raise InputFileError(f"{path} holds negative values (frame {t}): labels are positive, 0 is background.")
        return frame
    if (
        frame.dtype.kind == "f"
        and np.isfinite(frame).all()
        and np.array_equal(frame, np.round(frame))
        and frame.min() >= 0
    ):
        return frame.astype(np.int64)
    raise InputFileError(f"{path} holds {frame.dtype} values that are no labels (frame {t}): labels are whole numbers.")


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which ``mask2`` comes before ``mask10``."""
    parts = re.split(r"(\d+)", path.name.lower())
    return tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts if p)


def open_labels(paths: Path | Sequence[Path]) -> LabelFrames:
    """Find the label frames of a TIFF stack, a folder of TIFF files (in natural order) or a list of TIFF files.

    Parameters
    ----------
    paths : Path or sequence of Path

    Returns
    -------
    LabelFrames

    Raises
    ------
    PathMissingError
        If there is nothing at a path, or no TIFF file in the folder.
    InputFileError
        If a file is no TIFF of labels, or frames have different shapes.
    """
    if isinstance(paths, str | Path):
        paths = [Path(paths)]
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted((p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES), key=natural_key)
            if not inside:
                raise PathMissingError(f"The folder {path} holds no TIFF file (.tif, .tiff).")
            found += inside
        else:
            found.append(path)
    if not found:
        raise PathMissingError("No label image was given.")
    files = [_describe(path, alone=len(found) == 1) for path in found]
    for file in files:
        if file.frame_shape != files[0].frame_shape:
            raise InputFileError(
                f"{file.path} has frames of shape {file.frame_shape}, {files[0].path.name} of "
                f"{files[0].frame_shape}: all frames must have the same."
            )
    return LabelFrames(tuple(files))


def _describe(path: Path, *, alone: bool) -> ImageFile:
    """Describe a file of labels: three axes that it does not name are a time series if it is alone, else a volume.

    Stacks of three or four frames are often stored as if these were colours.
    """
    with warnings_of_tifffile(), open_tiff(path) as tif:  # `describe` says what is wrong
        axes = str(tif.series[0].axes) if tif.series else ""
    if len(axes) == 3 and axes.endswith("YX") and axes[0] not in "TZC":
        return describe(path, axes="TYX" if alone else "ZYX")
    if len(axes) == 3 and axes.endswith("YX") and alone:
        return describe(path, axes="TYX")
    return describe(path)

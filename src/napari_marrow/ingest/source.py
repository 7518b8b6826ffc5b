"""What a reader of a microscope's files offers: the facts that the file states, and one frame at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError

STORED_AXES = "TCZYX"
UNKNOWN_AXIS = "?"


@dataclass(frozen=True)
class ImageFacts:
    """What a file says of one image in it; None stands for what it does not say.

    Attributes
    ----------
    path : Path
        File or OME-Zarr folder.
    image : int
        Number of the image within the file.
    axes : str
        One letter per axis, of ``TCZYX``, or ``?`` for an axis that the file does not name. Ends in ``YX``.
    sizes : tuple of int
        Length of each axis.
    dtype : numpy.dtype
    pixel_um : (y, x), optional
        Pixel size, µm.
    z_um : float, optional
        Distance of planes, µm.
    channels : tuple of str, optional
    time_s : tuple of float, optional
        Time of each frame since the first, seconds.
    start_utc : str, optional
        Acquisition time of the first frame, ISO 8601 with time zone.
    stage_um : tuple of (z, y, x), optional
        Stage position of each frame, µm; NaN where unknown.
    position, session : optional
        Place in a plate, where the file says so.
    files : tuple of Path
        Every file that holds a part of the image.
    """

    path: Path
    axes: str
    sizes: tuple[int, ...]
    dtype: np.dtype[Any]
    image: int = 0
    pixel_um: tuple[float, float] | None = None
    z_um: float | None = None
    channels: tuple[str, ...] | None = None
    time_s: tuple[float, ...] | None = None
    start_utc: str | None = None
    stage_um: tuple[tuple[float, float, float], ...] | None = None
    position: str | None = None
    session: int | None = None
    files: tuple[Path, ...] = ()

    def size(self, axis: str, axes: str | None = None) -> int:
        """Return the length of an axis, 1 where there is none."""
        axes = self.axes if axes is None else axes
        return self.sizes[axes.index(axis)] if axis in axes else 1


class SourceReader(Protocol):
    """An opened source. Use it in a ``with`` block."""

    @property
    def images(self) -> list[ImageFacts]:
        """The images in it."""
        ...

    def read(self, image: int, t: int, axes: str) -> npt.NDArray[Any]:
        """Read a frame of an image as (C, Z, Y, X), with the axes named as in `axes` (of ``TCZYX``)."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def to_czyx(block: npt.NDArray[Any], axes: str) -> npt.NDArray[Any]:
    """Return a block with the named axes (a part of ``CZYX`` in any order) as (C, Z, Y, X)."""
    order = [axes.index(axis) for axis in "CZYX" if axis in axes]
    block = block.transpose(order)
    for place, axis in enumerate("CZ"):
        if axis not in axes:
            block = np.expand_dims(block, place)
    return block


def frame_of_planes(
    facts: ImageFacts, axes: str, t: int, plane: Callable[[dict[str, int]], npt.NDArray[Any]]
) -> npt.NDArray[Any]:
    """Read a frame plane by plane.

    Parameters
    ----------
    facts : ImageFacts
    axes : str
        What the axes mean to the user, as many letters as `facts.axes`.
    t : int
        Frame, along what the user calls T.
    plane : callable
        Returns the (Y, X) plane at an index per axis in the file's own letters.

    Returns
    -------
    ndarray, shape (C, Z, Y, X)
    """
    leading, own, named = facts.sizes[:-2], facts.axes[:-2], axes[:-2]
    kept = [n for n, axis in zip(leading, named, strict=True) if axis != "T"]
    block = np.empty((*kept, *facts.sizes[-2:]), dtype=facts.dtype.newbyteorder("="))
    for index in np.ndindex(*kept):
        rest = iter(index)
        values = [t if axis == "T" else next(rest) for axis in named]
        block[index] = plane(dict(zip(own, values, strict=True)))
    return to_czyx(block, axes.replace("T", ""))


def check_size(path: Path, sizes: tuple[int, ...], dtype: np.dtype[Any], axes: str) -> None:
    """Refuse an image whose single frame would not fit into half of this machine's memory.

    Raises
    ------
    InputFileError
        Before anything of that size is allocated.
    """
    if min(sizes, default=0) < 1:
        raise InputFileError(f"'{path.name}' has an empty axis ({axes}: {sizes}): there is nothing to import.")
    frame = math.prod(n for n, axis in zip(sizes, axes, strict=True) if axis != "T" and axis != UNKNOWN_AXIS)
    needed = frame * dtype.itemsize
    if needed > memory_bytes() // 2:
        raise InputFileError(
            f"'{path.name}' claims frames of {needed / 2**30:.3g} GiB ({axes}: {sizes}): this machine has "
            f"{memory_bytes() / 2**30:.3g} GiB of memory. Split the image, or check that the file is what it should be."
        )


def memory_bytes() -> int:
    """Return the size of the main memory; 8 GiB where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30


def stored_dtype(path: Path, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the pixel type that the study keeps an image in.

    Floats are kept as float32, truth values as uint8, integers as they are.

    Raises
    ------
    InputFileError
        For 64-bit integers, complex numbers and anything else.
    """
    native = dtype.newbyteorder("=")
    if native.kind == "f":
        return np.dtype(np.float32)
    if native.kind == "b":
        return np.dtype(np.uint8)
    if native.kind in "iu" and native.itemsize <= 4:
        return native
    raise InputFileError(
        f"'{path.name}' has pixels of type {dtype}: convert it to 8-, 16- or 32-bit integers or 32-bit floats."
    )

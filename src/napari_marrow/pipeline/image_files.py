"""Read plain TIFF files (and pictures) frame by frame, for the commands that work without a study."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from napari_marrow.errors import InputFileError, PathMissingError, SettingsError
from napari_marrow.ingest.tifffile_log import warnings_of_tifffile
from napari_marrow.pipeline.pictures import is_picture, read_picture

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_DAMAGE = ("invalid page offset", "invalid offset", "invalid page", "corrupted", "truncated", "failed to re")
GREY = ("grey", "gray", "luminance")


@dataclass(frozen=True)
class ImageFile:
    """A TIFF file or picture of which one channel is read frame by frame.

    Attributes
    ----------
    path : Path
    axes : str
        Axes of the whole array, e.g. "TZCYX"; S stands for colour samples.
    shape : tuple of int
        Its shape.
    channel : int or None
        Which channel or colour sample; None for luminance or where there is but one.
    n_frames : int
        Time points.
    frame_shape : tuple of int
        (Y, X), or (Z, Y, X) where there is more than one plane.
    """

    path: Path
    axes: str
    shape: tuple[int, ...]
    channel: int | None
    n_frames: int
    frame_shape: tuple[int, ...]

    def frame(self, t: int) -> npt.NDArray[Any]:
        """Return time point t, (Y, X) or (Z, Y, X).

        Raises
        ------
        InputFileError
            If the file is truncated or its pixels cannot be decoded.
        """
        if is_picture(self.path):
            return self._picture()
        n_planes = self.frame_shape[0] if len(self.frame_shape) == 3 else 1
        with open_tiff(self.path) as tif:
            planes = [self._plane(tif, t, z) for z in range(n_planes)]
        return planes[0] if len(self.frame_shape) == 2 else np.stack(planes)

    def _picture(self) -> npt.NDArray[Any]:
        pixels = read_picture(self.path)
        if pixels.shape != self.shape:
            raise InputFileError(f"{self.path} was changed while it was being read.")
        if pixels.ndim == 2:
            return pixels
        if self.channel is not None:
            return np.ascontiguousarray(pixels[..., self.channel])
        luminance: npt.NDArray[Any] = pixels.astype(np.float32) @ _LUMINANCE
        return luminance

    def _plane(self, tif: tifffile.TiffFile, t: int, z: int) -> npt.NDArray[Any]:
        at = {"T": t, "Z": z, "C": self.channel or 0}
        if "S" not in self.axes:
            return self._stored(tif, at)
        if self.channel is not None:
            return self._stored(tif, {**at, "C": 0, "S": self.channel})
        red, green, blue = (self._stored(tif, {**at, "C": 0, "S": s}).astype(np.float32) for s in range(3))
        luminance: npt.NDArray[Any] = red * _LUMINANCE[0] + green * _LUMINANCE[1] + blue * _LUMINANCE[2]
        return luminance

    def _stored(self, tif: tifffile.TiffFile, at: dict[str, int]) -> npt.NDArray[Any]:
        """Read one plane (Y, X) without touching more of the file than the block that it is stored in."""
        series = tif.series[0]
        if series.dataoffset is not None:
            first = self.axes.index("Y")
            block = _read_bytes(tif, self.path, self._number(at, first), self.shape[first:])
        else:
            n_pages = len(series.pages)
            first = next(k for k in range(len(self.shape) + 1) if int(np.prod(self.shape[:k])) == n_pages)
            block = _read_page(tif, self.path, self._number(at, first), self.shape[first:])
        where = tuple(slice(None) if axis in "YX" else at.get(axis, 0) for axis in self.axes[first:])
        plane: npt.NDArray[Any] = np.ascontiguousarray(block[where])
        return plane

    def _number(self, at: dict[str, int], first: int) -> int:
        """Return the number of the block that these leading indices mean."""
        number = 0
        for axis, size in zip(self.axes[:first], self.shape[:first], strict=True):
            number = number * size + at.get(axis, 0)
        return number


def _read_bytes(tif: tifffile.TiffFile, path: Path, number: int, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Read a block of a file whose pixels lie one after the other."""
    series = tif.series[0]
    n = int(np.prod(shape))
    dtype = series.dtype if series.dtype.itemsize == 1 else series.dtype.newbyteorder(tif.byteorder)
    values = np.fromfile(path, dtype, n, offset=series.dataoffset + number * n * dtype.itemsize)
    if values.size < n:
        raise _truncated(path)
    return values.reshape(shape).astype(series.dtype, copy=False)


def _read_page(tif: tifffile.TiffFile, path: Path, number: int, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Read a block that is a page of its own."""
    try:
        page: Any = tif.series[0].pages[number]
        if page is None:  # a page that its writer left out holds nothing
            return np.zeros(shape, tif.series[0].dtype)
        if max(o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)) > path.stat().st_size:
            raise _truncated(path)
        block: npt.NDArray[Any] = page.asarray().reshape(shape)
    except InputFileError:
        raise
    except Exception as error:  # decoders raise many kinds; each means that the pixels are damaged
        raise InputFileError(f"{path} cannot be decoded ({type(error).__name__}: {error}).") from error
    return block


def _truncated(path: Path) -> InputFileError:
    return InputFileError(f"{path} is truncated: it ends within its pixels. Copy it again from its source.")


@contextmanager
def open_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF file.

    Raises
    ------
    PathMissingError
        If there is none.
    InputFileError
        If it is no TIFF file, or its chain of pages is broken.
    """
    if not path.is_file():
        raise PathMissingError(f"There is no image file {path}.")
    try:
        tif = tifffile.TiffFile(path)
    except Exception as error:
        raise InputFileError(f"{path} is no TIFF image, or it is damaged: {error}.") from error
    with tif:
        yield tif


def describe(path: Path, *, channel: int | str | None = None, axes: str | None = None) -> ImageFile:
    """Return what is in a TIFF file (or a PNG, JPEG or BMP picture) and which channel of it is meant.

    Parameters
    ----------
    path : Path
    channel : int, str or None
        Number (from 0) or OME name of the channel, or "grey" for the luminance of a colour image. None is enough
        where there is but one channel.
    axes : str or None
        Axes of the stored array, e.g. "ZYX", where the file does not say or says wrong. A plain stack whose file does
        not say is taken for a time series.

    Raises
    ------
    InputFileError, PathMissingError, SettingsError
        One sentence on what is wrong with the file or the choice of channel.
    """
    names: list[str] = []
    if is_picture(path):
        shape = read_picture(path).shape
        stored, axes = "YXS"[: len(shape)], None  # a picture has no other
    else:
        stored, shape, names = _read_head(path)
    stored, shape = _name_axes(path, stored, shape, axes)
    sizes = dict(zip(stored, shape, strict=True))
    chosen = _choose_channel(path, sizes, names, channel)
    planes = sizes.get("Z", 1)
    frame = (sizes["Y"], sizes["X"]) if planes == 1 else (planes, sizes["Y"], sizes["X"])
    return ImageFile(path, stored, shape, chosen, sizes.get("T", 1), frame)


def _read_head(path: Path) -> tuple[str, tuple[int, ...], list[str]]:
    """Return axes, shape and channel names of a TIFF file."""
    try:
        with warnings_of_tifffile() as complaints, open_tiff(path) as tif:
            if not tif.series:
                raise InputFileError(f"{path} holds no image.")
            shapes = [tuple(s.shape) for s in tif.series]
            series = tif.series[0]
            stored, shape = str(series.axes), tuple(int(n) for n in series.shape)
            names = _channel_names(tif)
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, InputFileError):
            raise
        raise InputFileError(f"{path} is a damaged TIFF image: {error}.") from error
    if any(word in text for text in complaints for word in _DAMAGE):
        raise InputFileError(f"{path} is truncated or damaged: its chain of pages is broken. Copy it again.")
    if len(shapes) > 1:
        raise InputFileError(
            f"{path} holds {len(shapes)} images of different kinds ({', '.join(map(str, shapes[:4]))}): save the one "
            "that is meant as a file of its own."
        )
    return stored, shape, names


def _name_axes(path: Path, stored: str, shape: tuple[int, ...], axes: str | None) -> tuple[str, tuple[int, ...]]:
    if axes is not None:
        wish = axes.upper()
        if len(wish) != len(shape) or not set(wish) <= set("TZCYXS") or len(set(wish)) != len(wish):
            raise SettingsError(f"{path.name} has shape {shape}: axes '{axes}' do not name its {len(shape)} axes.")
        stored = wish
    else:
        # Q, I and others: a sequence that the file does not explain.
        unknown = [a for a in stored if a not in "TZCYXS"]
        if len(unknown) == 1 and "T" not in stored:
            stored = stored.replace(unknown[0], "T")
        elif unknown:
            raise InputFileError(
                f"{path.name} has axes '{stored}' of shape {shape}: say what they are with axes, e.g. TZCYX."
            )
    if not stored.rstrip("S").endswith("YX"):
        raise InputFileError(f"{path.name} has axes '{stored}': an image that can be segmented ends in Y, X.")
    return stored, shape


def _channel_names(tif: tifffile.TiffFile) -> list[str]:
    if not tif.is_ome or tif.ome_metadata is None:
        return []
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(tif.ome_metadata)
    except ElementTree.ParseError:
        return []
    return [c.get("Name") or "" for c in root.iter() if c.tag.endswith("}Channel")]


def _choose_channel(path: Path, sizes: dict[str, int], names: list[str], wish: int | str | None) -> int | None:
    """Return the channel's number; None for luminance or a single channel."""
    if "S" in sizes and sizes.get("C", 1) == 1 and sizes["S"] > 1:
        if isinstance(wish, str) and wish.lower() in GREY:
            return None
        if wish is None:
            raise InputFileError(
                f"{path.name} is a colour image: say which of its channels 0 to {sizes['S'] - 1} is meant, or "
                "'grey' for its luminance."
            )
        return _number(path, wish, sizes["S"], [])
    n = sizes.get("C", 1)
    if wish is None and n > 1:
        have = ", ".join(f"{i} ({name})" if name else str(i) for i, name in enumerate((names + [""] * n)[:n]))
        raise InputFileError(f"{path.name} has {n} channels: say which one shows the cells, {have}.")
    if wish is None or (n == 1 and isinstance(wish, str) and wish.lower() in GREY):
        return 0
    return _number(path, wish, n, names)


def _number(path: Path, wish: int | str, n: int, names: list[str]) -> int:
    if isinstance(wish, str) and wish in names:
        return names.index(wish)
    try:
        number = int(wish)
    except ValueError:
        have = f"its channels are {', '.join(names)}" if names else f"it has {n}, numbered from 0"
        raise SettingsError(f"{path.name} has no channel '{wish}': {have}.") from None
    if not 0 <= number < n:
        raise SettingsError(f"{path.name} has no channel {number}: it has {n}, numbered from 0.")
    return number

"""TIFF, ImageJ TIFF and OME-TIFF, read plane by plane through tifffile."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError
from napari_marrow.ingest import ome_xml
from napari_marrow.ingest.metaseries import with_metaseries
from napari_marrow.ingest.source import STORED_AXES, UNKNOWN_AXIS, ImageFacts, check_size, to_czyx
from napari_marrow.ingest.tifffile_log import warnings_of_tifffile

TIFF_SUFFIXES = (".tif", ".tiff")
_DAMAGED = "'{}' is truncated or damaged ({}): copy it again from the microscope."


class TiffReader:
    """A TIFF file as a source.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputFileError
        If it is no TIFF, is damaged, or holds what cannot be imported (colour, no image).
    """

    def __init__(self, path: Path) -> None:
        import tifffile

        self.path = path
        self._name = path.name
        # tifffile does not close what it opened when the header turns out to be damaged.
        self._file = path.open("rb")
        self._siblings: set[Any] = set()
        try:
            with _damage(path):
                self._tif: Any = tifffile.TiffFile(self._file)
                self._series, self._ome = self._open_series()
                self._images = [self._facts(number) for number in range(len(self._series))]
                for number in range(len(self._series)):
                    self._check_planes(number)
        except BaseException as error:
            self._file.close()
            if isinstance(error, InputFileError) or not isinstance(error, Exception):
                raise
            if isinstance(error, tifffile.TiffFileError) and "not a TIFF file" in str(error):
                raise InputFileError(f"'{path.name}' is no TIFF image: give TIFF, OME-TIFF or OME-Zarr.") from error
            # tifffile raises whatever it likes on damaged tags
            raise InputFileError(_DAMAGED.format(path.name, error)) from error

    @property
    def images(self) -> list[ImageFacts]:
        """The images in the file: one per OME image, one in any other TIFF."""
        return self._images

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._siblings:
            handle.close()
        self._tif.close()
        self._file.close()

    # --- what is in the file

    def _open_series(self) -> tuple[list[Any], list[ome_xml.OmeImage]]:
        description = self._tif.ome_metadata if self._tif.is_ome else None
        images = ome_xml.parse(description, self._name) if description else []
        n_planes = sum(math.prod(i.sizes[a] for a in "TCZ") for i in images)
        n_pages = len(self._tif.pages)
        if images and not any(set(i.files) - {self._name} for i in images) and n_planes > n_pages * 4:
            # A page can hold up to four samples; tifffile would reserve room for every claimed plane.
            raise InputFileError(
                f"'{self._name}' holds {n_pages} planes, but its OME-XML claims {n_planes}: "
                "copy it again from the microscope."
            )
        series = [s for s in self._tif.series if s.keyframe is not None]
        if not series:
            raise InputFileError(f"'{self._name}' holds no image.")
        if images and len(images) != len(series):
            raise InputFileError(
                f"'{self._name}' holds {len(series)} of the {len(images)} images that its OME-XML lists: "
                "put all files of the set into one folder."
            )
        if not images and len(series) > 1:
            shapes = ", ".join(str(s.shape) for s in series[:4])
            raise InputFileError(
                f"'{self._name}' holds {len(series)} images of different kinds ({shapes}): save the one that is meant "
                "as a file of its own."
            )
        return series, images

    def _facts(self, number: int) -> ImageFacts:
        series = self._series[number]
        axes, sizes = self._axes(series)
        check_size(self.path, sizes, series.dtype, axes)
        facts = ImageFacts(path=self.path, image=number, axes=axes, sizes=sizes, dtype=series.dtype, files=(self.path,))
        if self._ome:
            return _with_ome(facts, self._ome[number])
        if self._tif.is_imagej:
            return _with_imagej(facts, dict(self._tif.imagej_metadata or {}), series.keyframe)
        if self._tif.is_metaseries:
            return with_metaseries(facts, self._tif.metaseries_metadata)
        return facts

    def _axes(self, series: Any) -> tuple[str, tuple[int, ...]]:
        """Return the axes in our letters; axes of length 1 that are no Y or X are left out."""
        letters, sizes = "", []
        for letter, size in zip(series.axes, series.shape, strict=True):
            if letter == "S" and size in (3, 4):
                raise InputFileError(
                    f"'{self._name}' is a colour (RGB) picture: save its channels as separate grey planes."
                )
            if size == 1 and letter not in "YX":
                continue
            letters += letter if letter in STORED_AXES else UNKNOWN_AXIS
            sizes.append(int(size))
        if not letters.endswith("YX") or letters.count("Y") + letters.count("X") != 2:
            raise InputFileError(
                f"'{self._name}' has the axes {series.axes}: an image needs planes (Y, X), and they must come last."
            )
        return letters, tuple(sizes)

    # --- reading

    def _check_planes(self, number: int) -> None:
        """Look, before anything is written, whether the bytes of the planes are there."""
        series = self._series[number]
        size = self._tif.filehandle.size
        if self._is_one_block(series):
            end = series.dataoffset + math.prod(series.shape) * series.dtype.itemsize
            if end > size:
                raise InputFileError(_DAMAGED.format(self._name, f"it ends {end - size} bytes too early"))
            return
        pages = series.pages
        needed = math.prod(self._images[number].sizes[:-2])
        if len(pages) < needed:
            raise InputFileError(_DAMAGED.format(self._name, f"{len(pages)} of {needed} planes are there"))
        for index in range(needed) if needed <= 5000 else (0, needed // 2, needed - 1):
            self._check_page(pages[index], index)

    def _check_page(self, page: Any, index: int) -> None:
        if page is None:
            raise InputFileError(_DAMAGED.format(self._name, f"plane {index} is missing"))
        handle = page.parent.filehandle
        ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if not ends or (not handle.closed and max(ends) > handle.size):
            raise InputFileError(_DAMAGED.format(self._name, f"the pixels of plane {index} are not all there"))

    @staticmethod
    def _is_one_block(series: Any) -> bool:
        """Whether the planes lie uncompressed behind one another without a directory entry for each."""
        return series.dataoffset is not None and len(series.pages) == 1 and math.prod(series.shape[:-2]) > 1

    def read(self, image: int, t: int, axes: str) -> npt.NDArray[Any]:
        """Read a frame as (C, Z, Y, X).

        Raises
        ------
        InputFileError
            If its planes cannot be decoded.
        """
        facts = self._images[image]
        leading = facts.sizes[:-2]
        keep = tuple(n for n, axis in zip(leading, axes, strict=False) if axis != "T")
        block = np.empty((*keep, *facts.sizes[-2:]), dtype=facts.dtype.newbyteorder("="))
        for index in np.ndindex(*keep):
            rest = iter(index)
            full = [t if axis == "T" else next(rest) for axis in axes[:-2]]
            number = int(np.ravel_multi_index(full, leading)) if full else 0
            block[index] = self.plane(image, number)
        return to_czyx(block, axes.replace("T", ""))

    def plane(self, image: int, index: int) -> npt.NDArray[Any]:
        """Read plane `index` of an image, counted along all axes before (Y, X).

        Raises
        ------
        InputFileError
            If it cannot be decoded.
        """
        series, shape = self._series[image], self._images[image].sizes[-2:]
        try:
            if self._is_one_block(series):
                handle, count = self._tif.filehandle, math.prod(shape)
                handle.seek(series.dataoffset + index * count * series.dtype.itemsize)
                plane = np.frombuffer(
                    handle.read(count * series.dtype.itemsize), series.dtype.newbyteorder(self._order)
                )
            else:
                page = series.pages[index]
                handle = page.parent.filehandle
                if handle.closed:  # another file of the set: tifffile closes it after reading its tags
                    handle.open()
                    self._siblings.add(handle)
                self._check_page(page, index)
                plane = np.asarray(page.asarray())
            return plane.reshape(shape)
        except InputFileError:
            raise
        except Exception as error:  # codecs raise whatever they like on damaged bytes
            raise InputFileError(_DAMAGED.format(self._name, f"plane {index}: {error}")) from error

    @property
    def _order(self) -> str:
        return str(self._tif.byteorder)


def _with_ome(facts: ImageFacts, said: ome_xml.OmeImage) -> ImageFacts:
    from dataclasses import replace

    siblings = tuple(facts.path.parent / file for file in said.files)
    n_frames = facts.size("T")
    return replace(
        facts,
        pixel_um=said.pixel_um,
        z_um=said.z_um,
        channels=said.channels if said.channels and len(said.channels) == facts.size("C") else None,
        time_s=said.time_s if said.time_s and len(said.time_s) == n_frames else None,
        start_utc=said.start_utc,
        stage_um=said.stage_um if said.stage_um and len(said.stage_um) == n_frames else None,
        files=tuple({facts.path, *(file for file in siblings if file.is_file())}),
    )


def _with_imagej(facts: ImageFacts, said: dict[str, Any], page: Any) -> ImageFacts:
    """Add what ImageJ writes: ``unit`` and resolution tags, ``spacing``, ``finterval`` (seconds), channel labels."""
    from dataclasses import replace

    unit = str(said.get("unit", ""))
    y, x = (_pixel_um(page, tag, unit) for tag in ("YResolution", "XResolution"))
    z_um = _positive(said.get("spacing"), lambda v: ome_xml.length_um(v, unit))
    interval = _positive(said.get("finterval"), lambda v: ome_xml.seconds(v, str(said.get("tunit", "s"))))
    n_frames = facts.size("T")
    return replace(
        facts,
        pixel_um=None if y is None or x is None else (y, x),
        z_um=z_um,
        time_s=None if interval is None else tuple(interval * t for t in range(n_frames)),
    )


def _pixel_um(page: Any, tag: str, unit: str) -> float | None:
    try:
        numerator, denominator = page.tags[tag].value
        return ome_xml.length_um(denominator / numerator, unit)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def _positive(value: Any, convert: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return convert(number) if math.isfinite(number) and number > 0 else None


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Raise `InputFileError` for damage that tifffile reports to its log only."""
    with warnings_of_tifffile() as said:
        yield
    for message in said:
        if any(
            word in message for word in ("invalid page offset", "corrupted", "truncated", "missing", "failed to read")
        ):
            raise InputFileError(_DAMAGED.format(path.name, message.splitlines()[0][:120]))

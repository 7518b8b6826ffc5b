"""TIFF series: a folder of planes whose names say well, field, channel, z and time."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError
from napari_marrow.ingest.ome_xml import as_utc_date
from napari_marrow.ingest.pattern import SeriesFile, match_files, tiff_files
from napari_marrow.ingest.plate_exports import EXPORTS, detect
from napari_marrow.ingest.plate_metadata import Said
from napari_marrow.ingest.source import ImageFacts, check_size, frame_of_planes
from napari_marrow.ingest.tiff import TiffReader


def known_export(folder: Path) -> str:
    """Return the name of the high-content export that a folder is, ``""`` when it is none.

    All TIFF files in it must be named as that system names them.
    """
    found = detect(folder, list(tiff_files(folder)))
    return found.export.name if found is not None else ""


@dataclass(frozen=True)
class _Grid:
    """The files of one position and session, ordered."""

    well: str
    site: int | None
    session: int | None
    times: tuple[int, ...]
    channels: tuple[str, ...]
    depths: tuple[int, ...]
    files: dict[tuple[int, str, int], SeriesFile]


class SeriesReader:
    """A folder of TIFF files as a source: one image per field (and session, where the names hold one).

    Parameters
    ----------
    folder : Path
    pattern : str
        Name of an export that is known (``harmony``, ``imagexpress``, ``incell``, ``cellvoyager``, ``incucyte``), or
        names with placeholders, such as ``"{well}_s{site}_w{channel}_t{time}.tif"``. A file may hold several planes:
        what is in it goes inside what its name says.

    Raises
    ------
    InputFileError
        If no file fits, a plane is missing or there twice, or the first file of a field cannot be imported.
    SettingsError
        If the pattern is wrong.
    """

    def __init__(self, folder: Path, pattern: str) -> None:
        self.path = folder
        self._opened: tuple[Path, TiffReader] | None = None
        files, said = _files(folder, pattern)
        self._said = said
        self._grids = [_grid(folder, group) for group in _groups(files)]
        self._inner: list[ImageFacts] = []
        self._images: list[ImageFacts] = []
        try:
            for number in range(len(self._grids)):
                self._images.append(self._facts(number))
        except BaseException:
            self.__exit__(None, None, None)
            raise

    @property
    def images(self) -> list[ImageFacts]:
        """One image per field and session."""
        return self._images

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            self._opened[1].__exit__(None, None, None)
            self._opened = None

    # --- what is in the folder

    def _facts(self, number: int) -> ImageFacts:
        grid = self._grids[number]
        first = self._at(grid, 0, 0, 0)
        inner = self._open(first.path).images
        if len(inner) != 1:
            raise InputFileError(
                f"'{first.path.name}' holds {len(inner)} images: a file of a series holds one. Import it by itself."
            )
        self._inner.append(inner[0])
        outer = {"T": len(grid.times), "C": len(grid.channels), "Z": len(grid.depths)}
        twice = [axis for axis in "TCZ" if outer[axis] > 1 and axis in inner[0].axes]
        if twice:
            raise InputFileError(
                f"'{first.path.name}' has the axis {twice[0]} inside, which is in the names of the files, too: import "
                "the files one by one, or leave it out of --pattern."
            )
        names = "".join(axis for axis in "TCZ" if outer[axis] > 1)
        axes = names + inner[0].axes
        sizes = (*(outer[axis] for axis in names), *inner[0].sizes)
        check_size(self.path, sizes, inner[0].dtype, axes)
        facts = ImageFacts(
            path=self.path,
            image=number,
            axes=axes,
            sizes=sizes,
            dtype=inner[0].dtype,
            pixel_um=self._said.pixel_um or inner[0].pixel_um,
            z_um=self._said.z_um or inner[0].z_um,
            channels=self._channels(grid, inner[0]),
            position=f"{grid.well}_f{grid.site or 0:02d}" if grid.well else None,
            session=grid.session,
            files=tuple(dict.fromkeys(f.path for f in grid.files.values())),
        )
        return self._with_times(facts, grid, inner[0])

    def _channels(self, grid: _Grid, inner: ImageFacts) -> tuple[str, ...] | None:
        """Return names of channels: those that the plate's metadata give, else the files', else those in the names."""
        if len(grid.channels) == 1 and inner.size("C") > 1:
            return inner.channels
        said = [self._said.channels.get(c) or self._said.channels.get(c.lstrip("0")) for c in grid.channels]
        if all(said):
            return tuple(str(name) for name in said)
        own: list[str] = []
        for c in range(len(grid.channels)):
            names = self._open(self._at(grid, 0, c, 0).path).images[0].channels
            own += names if names is not None and len(names) == 1 else []
        if len(own) == len(grid.channels) and len(set(own)) == len(own):
            return tuple(own)
        return grid.channels if all(grid.channels) else None

    def _with_times(self, facts: ImageFacts, grid: _Grid, inner: ImageFacts) -> ImageFacts:
        """Add times, date and places: from the plate's metadata or the names, else from the first file of each time."""
        if len(grid.times) == 1 and inner.size("T") > 1:
            return replace(facts, time_s=inner.time_s, start_utc=inner.start_utc, stage_um=inner.stage_um)
        firsts = [self._at(grid, t, 0, 0) for t in range(len(grid.times))]
        own: list[ImageFacts] = []
        if not _timed(firsts):
            own = [inner, *(self._open(f.path).images[0] for f in firsts[1:])]
            firsts = [
                replace(f, utc=f.utc or o.start_utc, stage_um=f.stage_um or (o.stage_um[0] if o.stage_um else None))
                for f, o in zip(firsts, own, strict=True)
            ]
        stages = [f.stage_um for f in firsts]
        dates = [as_utc_date(f.utc, 0.0) for f in firsts]
        return replace(
            facts,
            time_s=_times(firsts, dates),
            start_utc=dates[0],
            stage_um=tuple(s or (math.nan,) * 3 for s in stages) if any(stages) else None,
        )

    @staticmethod
    def _at(grid: _Grid, t: int, c: int, z: int) -> SeriesFile:
        return grid.files[grid.times[t], grid.channels[c], grid.depths[z]]

    def _open(self, path: Path) -> TiffReader:
        """Return a file's reader; the last one is kept, since neighbouring planes may lie in one file."""
        if self._opened is None or self._opened[0] != path:
            self.__exit__(None, None, None)
            self._opened = path, TiffReader(path)
        return self._opened[1]

    # --- reading

    def read(self, image: int, t: int, axes: str) -> npt.NDArray[Any]:
        """Read a frame as (C, Z, Y, X).

        Raises
        ------
        InputFileError
            If a file is damaged, or has another size or pixel type than the first.
        """
        facts, inner, grid = self._images[image], self._inner[image], self._grids[image]
        outside = facts.axes[: len(facts.axes) - len(inner.axes)]

        def plane(index: dict[str, int]) -> npt.NDArray[Any]:
            place = {axis: index[axis] if axis in outside else 0 for axis in "TCZ"}
            path = self._at(grid, place["T"], place["C"], place["Z"]).path
            reader = self._open(path)
            found = reader.images[0]
            if len(reader.images) != 1 or found.sizes != inner.sizes or found.dtype != inner.dtype:
                raise InputFileError(
                    f"'{path.name}' holds {found.dtype} of the shape {found.sizes}, the first file of its field "
                    f"{inner.dtype} of {inner.sizes}: a series has one size and pixel type."
                )
            inside = [index[axis] for axis in inner.axes[:-2]]
            return reader.plane(0, int(np.ravel_multi_index(inside, inner.sizes[:-2])) if inside else 0)

        return frame_of_planes(facts, axes, t, plane)


def _files(folder: Path, pattern: str) -> tuple[list[SeriesFile], Said]:
    """Return the files of a series, and what stands beside them."""
    export = next((e for e in EXPORTS if e.name == pattern), None)
    if export is None:
        return match_files(folder, pattern), Said(folder)
    found = detect(folder, list(tiff_files(folder)), export.name)
    if found is None:
        raise InputFileError(f"The folder '{folder}' holds no TIFF files as {export.system} names them.")
    said = (export.metadata(folder) if export.metadata is not None else None) or Said(folder)
    files = []
    for file in found.files:
        more = said.files.get(file.path.name)
        if more is not None:
            time = file.time if more.time is None else more.time
            file = replace(file, time_s=more.time_s, utc=more.utc, stage_um=more.stage_um, time=time)
        files.append(file)
    return files, said


def _groups(files: Sequence[SeriesFile]) -> list[list[SeriesFile]]:
    groups: dict[tuple[str, int, int], list[SeriesFile]] = defaultdict(list)
    for file in files:
        site, session = (-1 if number is None else number for number in (file.site, file.session))
        groups[file.well, site, session].append(file)
    return [groups[key] for key in sorted(groups)]


def _grid(folder: Path, files: list[SeriesFile]) -> _Grid:
    placed: dict[tuple[int, str, int], SeriesFile] = {}
    for file in files:
        key = file.time, file.channel, file.z
        if key in placed:
            raise InputFileError(
                f"'{file.path.name}' and '{placed[key].path.name}' in '{folder}' are the same field, time, channel and "
                "plane by their names: give --pattern with what tells them apart."
            )
        placed[key] = file
    times = tuple(sorted({time for time, _, _ in placed}))
    channels = tuple(sorted({channel for _, channel, _ in placed}))
    depths = tuple(sorted({z for _, _, z in placed}))
    for t in times:
        for c in channels:
            for z in depths:
                if (t, c, z) not in placed:
                    where = f"{files[0].well or 'the series'} field {files[0].site or 0}"
                    raise InputFileError(
                        f"'{folder}' lacks the image of {where}, time {t}, channel '{c}', plane {z}: copy it again, or "
                        "move the files of that time away."
                    )
    first = files[0]
    return _Grid(first.well, first.site, first.session, times, channels, depths, placed)


def _timed(files: Sequence[SeriesFile]) -> bool:
    return all(f.time_s is not None for f in files) or all(as_utc_date(f.utc, 0.0) is not None for f in files)


def _times(files: Sequence[SeriesFile], dates: Sequence[str | None]) -> tuple[float, ...] | None:
    """Return the seconds since the first frame, from a common clock or from dates; None where neither says."""
    if len(files) == 1:
        return (0.0,)
    seconds = [f.time_s for f in files if f.time_s is not None]
    if len(seconds) < len(files):
        known = [datetime.fromisoformat(d).timestamp() for d in dates if d is not None]
        seconds = known if len(known) == len(files) else []
    if not seconds or seconds[-1] <= seconds[0]:
        return None
    return tuple(s - seconds[0] for s in seconds)

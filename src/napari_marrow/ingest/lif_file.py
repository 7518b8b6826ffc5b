"""Leica LIF and LOF, read a plane at a time through ``liffile``."""

from __future__ import annotations

import logging
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError
from napari_marrow.ingest.damage import damage_is_told
from napari_marrow.ingest.library_file import LibraryFile
from napari_marrow.ingest.ome_xml import MAX_PLANES, length_um, seconds
from napari_marrow.ingest.source import ImageFacts, check_size, frame_of_planes
from napari_marrow.ingest.wells import positions_of

_DIMENSION = {"1": "X", "2": "Y", "3": "Z", "4": "T"}
"""Leica's DimID → axis."""


class LifReader(LibraryFile):
    """A LIF or LOF file as a source: one image per series and, in a series of several tiles or places, per tile.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputFileError
        If it is no such file, is damaged, or holds what cannot be imported (colour, lifetimes, other dimensions).
    """

    def __init__(self, path: Path) -> None:
        import liffile

        self.path = path
        logging.getLogger("liffile").setLevel(logging.CRITICAL)
        with damage_is_told(path, "LIF"):
            self._file = liffile.LifFile(path)
        with self._looking("LIF"):
            self._places = [(image, tile) for image in self._file.images for tile in range(_tiles(image))]
            if not self._places:
                raise InputFileError(f"'{path.name}' holds no image.")
            positions = positions_of([_place_name(image) for image, _ in self._places])
            self._images = [self._read_facts(n, positions[n]) for n in range(len(self._places))]

    # --- what is in the file

    def _read_facts(self, number: int, position: str | None) -> ImageFacts:
        image, tile = self._places[number]
        lengths = {str(axis): int(n) for axis, n in image.sizes.items()}
        strange = [a for a in lengths if a not in "TCZYXMS"]
        if "S" in lengths or strange or not {"Y", "X"} <= set(lengths) or image.is_flim:
            what = "colour pixels" if "S" in lengths else f"the dimensions {', '.join(lengths)}"
            raise InputFileError(
                f"'{self.path.name}' holds the series '{image.name}' with {what}: grey planes over time, channel, z "
                "and tile are read. Export the series that are meant as OME-TIFF."
            )
        axes = "".join(a for a in "TCZ" if lengths.get(a, 1) > 1) + "YX"
        sizes = tuple(lengths[a] for a in axes)
        check_size(self.path, sizes, image.dtype, axes)
        planes = math.prod(lengths.values()) // (lengths["Y"] * lengths["X"])
        there = int(image.memory_block.size)
        if planes > MAX_PLANES or there < math.prod(lengths.values()) * image.dtype.itemsize:
            raise InputFileError(
                f"'{self.path.name}' holds only a part of the series '{image.name}' ({there} bytes of {planes} "
                "planes): it was stopped early or is damaged. Copy it again, or export the part that is complete."
            )
        steps = _steps(image)
        times, start = self._times(image, tile, lengths)
        if times is None and "T" in steps:
            times = tuple(steps["T"] * t for t in range(lengths.get("T", 1)))
        stage = _stage(image, tile)
        return ImageFacts(
            path=self.path,
            image=number,
            axes=axes,
            sizes=sizes,
            dtype=image.dtype,
            pixel_um=(steps["Y"], steps["X"]) if {"Y", "X"} <= set(steps) else None,
            z_um=steps.get("Z"),
            channels=_dyes(image, lengths.get("C", 1)),
            time_s=times,
            start_utc=start,
            stage_um=None if stage is None else (stage,) * lengths.get("T", 1),
            position=position,
            files=(self.path,),
        )

    def _times(self, image: Any, tile: int, lengths: dict[str, int]) -> tuple[tuple[float, ...] | None, str | None]:
        """Return times since the first frame (s), and the first frame's date (Leica's stamps are UTC).

        There is a stamp per plane; a frame's is its earliest.
        """
        stamps = image.timestamps
        n_frames = lengths.get("T", 1)
        if stamps is None or len(stamps) == 0:
            return None, None
        milliseconds: npt.NDArray[np.int64] = np.asarray(stamps).astype(np.int64)
        order = [a for a in image.sizes if a in "TMZC"]
        counts = [lengths[a] for a in order]
        if len(milliseconds) == math.prod(counts):
            planes = milliseconds.reshape(counts or [1])
            if "M" in order:
                planes = np.moveaxis(planes, order.index("M"), 0)[tile]
                order.remove("M")
            if "T" in order:
                planes = np.moveaxis(planes, order.index("T"), 0)
            of_frame = planes.reshape(n_frames, -1).min(axis=1)
        elif len(milliseconds) % n_frames == 0:
            of_frame = milliseconds.reshape(n_frames, -1).min(axis=1)
        else:
            return None, None
        try:
            start = datetime.fromtimestamp(int(of_frame[0]) / 1000.0, UTC).isoformat() if of_frame[0] > 0 else None
        except (ValueError, OverflowError, OSError):
            start = None
        if n_frames > 1 and of_frame[-1] <= of_frame[0]:
            return None, start
        return tuple((of_frame - of_frame[0]) / 1000.0), start

    # --- reading

    def read(self, image: int, t: int, axes: str) -> npt.NDArray[Any]:
        """Read a frame as (C, Z, Y, X).

        Raises
        ------
        InputFileError
            If a plane is damaged.
        """
        facts = self._images[image]
        series, tile = self._places[image]

        def plane(index: dict[str, int]) -> npt.NDArray[Any]:
            if "M" in series.sizes:
                index = {**index, "M": tile}
            found = np.asarray(series.frame(**index))
            if found.shape != facts.sizes[-2:]:
                raise InputFileError(
                    f"'{self.path.name}' holds the series '{series.name}', whose planes are no images in x and y: "
                    "export it as OME-TIFF."
                )
            return found

        with damage_is_told(self.path, "LIF", f"frame {t} of '{series.name}'"):
            return frame_of_planes(facts, axes, t, plane)


def _place_name(image: Any) -> str:
    """Return a series' name with its folders; a plate's series lie in folders of row and column, such as ``B/2/R1``."""
    return re.sub(r"(^|/)([A-P])/([0-9]{1,2})(?=/|$)", r"\1\2\3", str(image.path))


def _tiles(image: Any) -> int:
    return int(image.sizes.get("M", 1))


def _steps(image: Any) -> dict[str, float]:
    """Return the distance of neighbours along each axis: µm, for time seconds."""
    steps: dict[str, float] = {}
    for said in image.xml_element.iterfind("./Data/Image/ImageDescription/Dimensions/DimensionDescription"):
        axis = _DIMENSION.get(said.get("DimID", ""))
        count = int(said.get("NumberOfElements", "1"))
        if axis is None or count < 2:
            continue
        length, unit = float(said.get("Length", "nan")), said.get("Unit", "")
        # From the first to the last element; a stack may run downwards.
        step = abs(length) / (count - 1)
        value = seconds(step, unit) if axis == "T" else length_um(step, unit)
        if value is not None and value > 0:
            steps[axis] = value
    return steps


def _dyes(image: Any, n_channels: int) -> tuple[str, ...] | None:
    """Return the dye of each channel, else its colour table, where they tell the channels apart."""
    channels = image.xml_element.findall("./Data/Image/ImageDescription/Channels/ChannelDescription")
    if len(channels) != n_channels:
        return None
    dyes = []
    for channel in channels:
        properties = {p.findtext("Key"): p.findtext("Value") for p in channel.iterfind("ChannelProperty")}
        dyes.append(properties.get("DyeName") or "")
    for names in (dyes, [c.get("LUTName") or "" for c in channels]):
        if all(names) and len(set(names)) == len(names):
            return tuple(str(n) for n in names)
    return None


def _stage(image: Any, tile: int) -> tuple[float, float, float] | None:
    """Return the stage position (z, y, x) in µm; Leica states metres."""
    scan = image.tilescan
    if scan is not None and tile < len(scan):
        row = scan.tiles[tile]
        values = (float(row["pos_z"]), float(row["pos_y"]), float(row["pos_x"]))
    else:
        said = next((e for e in image.xml_element.iter() if "StagePosX" in e.attrib and "StagePosY" in e.attrib), None)
        if said is None:
            return None
        try:
            values = (math.nan, float(said.get("StagePosY", "")), float(said.get("StagePosX", "")))
        except ValueError:
            return None
    return values[0] * 1e6, values[1] * 1e6, values[2] * 1e6

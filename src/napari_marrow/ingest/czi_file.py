"""Zeiss CZI, read a plane at a time through ``pylibCZIrw``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError
from napari_marrow.ingest.czi_times import time_stamps
from napari_marrow.ingest.damage import damage_is_told
from napari_marrow.ingest.library_file import LibraryFile
from napari_marrow.ingest.ome_xml import MAX_PLANES, as_utc_date
from napari_marrow.ingest.source import ImageFacts, check_size, frame_of_planes
from napari_marrow.ingest.wells import positions_of
from napari_marrow.ingest.xml_text import parse_xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_PIXELS = {"Gray8": np.uint8, "Gray16": np.uint16, "Gray32Float": np.float32}


class CziReader(LibraryFile):
    """A CZI file as a source: one image per scene, tiles of a scene put together.

    A frame's time is that of the file's attachment of time stamps; without it, the regular interval in the metadata.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputFileError
        If it is no CZI file, is damaged, lacks planes, or holds what cannot be imported (colour, phases, rotations).
    """

    def __init__(self, path: Path) -> None:
        from pylibCZIrw import czi

        self.path = path
        with damage_is_told(path, "CZI"):
            self._file = czi.CziReader(str(path))
        with self._looking("CZI"):
            self._first, lengths = self._read_lengths()
            self._rectangles = self._read_rectangles()
            self._check_planes(lengths)
            self._images = self._read_facts(lengths)

    # --- what is in the file

    def _read_lengths(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return first index and length of time, channel and z."""
        box = self._file.total_bounding_box_no_pyramid
        ranges = {axis: (int(first), int(end)) for axis, (first, end) in box.items()}
        for axis, (first, end) in ranges.items():
            if axis not in "TCZXY" and end - first > 1:
                raise InputFileError(
                    f"'{self.path.name}' has {end - first} values along its dimension {axis}: time, channel, z and "
                    "scene are read. Export the file as OME-TIFF."
                )
        first_index = {axis: ranges.get(axis, (0, 1))[0] for axis in "TCZ"}
        lengths = {axis: ranges[axis][1] - ranges[axis][0] if axis in ranges else 1 for axis in "TCZ"}
        if math.prod(lengths.values()) > MAX_PLANES or min(lengths.values()) < 1:
            raise InputFileError(f"'{self.path.name}' claims {lengths} frames, channels and planes: that cannot be.")
        return first_index, lengths

    def _read_rectangles(self) -> list[tuple[int | None, Any]]:
        """Return number and rectangle (pixels) of each scene."""
        scenes = self._file.scenes_bounding_rectangle_no_pyramid
        return list(scenes.items()) or [(None, self._file.total_bounding_rectangle_no_pyramid)]

    def _check_planes(self, lengths: dict[str, int]) -> None:
        """Refuse a file in which a plane has no pixels at all: libCZI would show it black."""
        seen: set[tuple[int, ...]] = set()

        def note(_: int, block: Any) -> bool:
            where = block.coordinate.to_dict()
            seen.add(tuple(int(where.get(axis, 0)) for axis in "STCZ"))
            return True

        self._file.enumerate_subblocks(note)
        scenes = [0 if number is None else number for number, _ in self._rectangles]
        for t in range(lengths["T"]):
            for c in range(lengths["C"]):
                for z in range(lengths["Z"]):
                    plane = (self._first["T"] + t, self._first["C"] + c, self._first["Z"] + z)
                    lacking = next((s for s in scenes if (s, *plane) not in seen), None)
                    if lacking is not None:
                        raise InputFileError(
                            f"'{self.path.name}' has no pixels for frame {t}, channel {c}, plane {z} of scene "
                            f"{lacking}: it was stopped early or is damaged. Export the part that is complete."
                        )

    def _read_facts(self, lengths: dict[str, int]) -> list[ImageFacts]:
        kinds = {self._file.get_channel_pixel_type(self._first["C"] + c) for c in range(lengths["C"])}
        if len(kinds) > 1 or not kinds <= set(_PIXELS):
            raise InputFileError(
                f"'{self.path.name}' has pixels of the kind {', '.join(sorted(kinds))}: 8- and 16-bit grey and 32-bit "
                "floats are read, the same in all channels. Save its channels as grey planes."
            )
        dtype = np.dtype(_PIXELS[kinds.pop()])
        said = parse_xml(self._file.raw_metadata, self.path.name)
        scale = {axis: _scale_um(said, axis) for axis in "XYZ"}
        names = _channel_names(said)
        times = self._times(said, lengths["T"])
        places = _scenes(said)
        axes = "".join(a for a in "TCZ" if lengths[a] > 1) + "YX"
        scenes = [number for number, _ in self._rectangles]
        positions = positions_of([places.get(0 if s is None else s, (None, None))[0] for s in scenes])
        facts = []
        for number, (scene, rectangle) in enumerate(self._rectangles):
            sizes = (*(lengths[a] for a in axes[:-2]), int(rectangle.h), int(rectangle.w))
            check_size(self.path, sizes, dtype, axes)
            stage = places.get(0 if scene is None else scene, (None, None))[1]
            facts.append(
                ImageFacts(
                    path=self.path,
                    image=number,
                    axes=axes,
                    sizes=sizes,
                    dtype=dtype,
                    pixel_um=None if scale["Y"] is None or scale["X"] is None else (scale["Y"], scale["X"]),
                    z_um=scale["Z"],
                    channels=names if names is not None and len(names) == lengths["C"] else None,
                    time_s=times,
                    start_utc=as_utc_date(_text(said, "Metadata/Information/Image/AcquisitionDateAndTime"), 0.0),
                    stage_um=None if stage is None else (stage,) * lengths["T"],
                    position=positions[number],
                    files=(self.path,),
                )
            )
        return facts

    def _times(self, said: Element, n_frames: int) -> tuple[float, ...] | None:
        if n_frames == 1:
            return (0.0,)
        stamps = time_stamps(self.path)
        if stamps is not None and len(stamps) >= n_frames and stamps[n_frames - 1] > stamps[0]:
            return tuple(float(s - stamps[0]) for s in stamps[:n_frames])
        step = _number(said, "Metadata/Information/Image/Dimensions/T/Positions/Interval/Increment")
        return None if step is None or step <= 0 else tuple(step * t for t in range(n_frames))

    # --- reading

    def read(self, image: int, t: int, axes: str) -> npt.NDArray[Any]:
        """Read a frame as (C, Z, Y, X).

        Raises
        ------
        InputFileError
            If a plane is damaged.
        """
        facts = self._images[image]
        scene, _ = self._rectangles[image]

        def plane(index: dict[str, int]) -> npt.NDArray[Any]:
            where = {axis: self._first[axis] + index.get(axis, 0) for axis in "TCZ"}
            return np.asarray(self._file.read(plane=where, scene=scene))[..., 0]

        with damage_is_told(self.path, "CZI", f"frame {t}"):
            return frame_of_planes(facts, axes, t, plane)


def _text(root: Element, path: str) -> str | None:
    found = root.find(path)
    return None if found is None or not found.text else found.text.strip()


def _number(root: Element, path: str) -> float | None:
    try:
        value = float(_text(root, path) or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _scale_um(said: Element, axis: str) -> float | None:
    """Return a pixel's size; CZI states it in metres, and 0 where it is unknown."""
    value = _number(said, f"Metadata/Scaling/Items/Distance[@Id='{axis}']/Value")
    return value * 1e6 if value is not None and value > 0 else None


def _channel_names(said: Element) -> tuple[str, ...] | None:
    found = [c.get("Name") or "" for c in said.iterfind("Metadata/Information/Image/Dimensions/Channels/Channel")]
    return tuple(found) if found and all(found) else None


def _scenes(said: Element) -> dict[int, tuple[str | None, tuple[float, float, float] | None]]:
    """Return name (the well, where there is one) and centre (z, y, x; µm) of each scene."""

    def each() -> Iterator[tuple[int, tuple[str | None, tuple[float, float, float] | None]]]:
        for number, scene in enumerate(said.iterfind("Metadata/Information/Image/Dimensions/S/Scenes/Scene")):
            index = scene.get("Index", "")
            shape = scene.find("Shape")
            name = (shape.get("Name") if shape is not None else None) or scene.get("Name")
            centre = (_text(scene, "CenterPosition") or "").split(",")
            try:
                x, y = float(centre[0]), float(centre[1])
                stage = (math.nan, y, x) if math.isfinite(x) and math.isfinite(y) else None
            except (ValueError, IndexError):
                stage = None
            yield int(index) if index.isdigit() else number, (name, stage)

    return dict(each())

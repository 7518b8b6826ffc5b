"""The facts in an OME-XML block: sizes, units, channels, frame times, acquisition date, stage positions.

Source: OME Data Model 2016-06, elements Image, Pixels, Channel, Plane and TiffData.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from napari_marrow.errors import InputFileError
from napari_marrow.ingest.xml_text import parse_xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_LENGTH_UM = {
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "\\u00b5m": 1.0, "nm": 1e-3, "nanometer": 1e-3, "pm": 1e-6, "å": 1e-4, "angstrom": 1e-4,
    "mm": 1e3, "millimeter": 1e3, "cm": 1e4,
    "centimeter": 1e4, "m": 1e6, "meter": 1e6, "in": 25400.0, "inch": 25400.0,
}  # fmt: skip
_TIME_S = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3, "µs": 1e-6,
    "μs": 1e-6, "us": 1e-6, "microsecond": 1e-6, "ns": 1e-9, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0,
    "hr": 3600.0, "d": 86400.0, "day": 86400.0,
}  # fmt: skip
MAX_PLANES = 10_000_000


@dataclass(frozen=True)
class OmeImage:
    """What the XML says of one image; None where it says nothing usable."""

    sizes: dict[str, int]
    pixel_um: tuple[float, float] | None
    z_um: float | None
    channels: tuple[str, ...] | None
    time_s: tuple[float, ...] | None
    start_utc: str | None
    stage_um: tuple[tuple[float, float, float], ...] | None
    files: tuple[str, ...]


def length_um(value: float, unit: str) -> float | None:
    """Return a positive length in µm, None when it or its unit makes no sense."""
    factor = _LENGTH_UM.get(unit.strip().lower())
    return value * factor if factor and math.isfinite(value) and value > 0 else None


def seconds(value: float, unit: str) -> float | None:
    """Return a time in seconds, None when it or its unit makes no sense."""
    factor = _TIME_S.get(unit.strip().lower())
    return value * factor if factor and math.isfinite(value) else None


def parse(xml: str, name: str) -> list[OmeImage]:
    """Read an OME-XML block.

    Parameters
    ----------
    xml : str
    name : str
        The file's name, for errors.

    Raises
    ------
    InputFileError
        If it is no OME-XML, declares entities, has impossible sizes, or refers to files outside its folder.
    """
    root = parse_xml(xml, name, "OME-XML")
    return [_image(element, name) for element in root.iter() if _local(element) == "Image"]


def _image(element: Element, name: str) -> OmeImage:
    pixels = next((child for child in element if _local(child) == "Pixels"), None)
    if pixels is None:
        raise InputFileError(f"'{name}' has an OME image without Pixels: export the file again.")
    sizes = {axis: _whole(pixels, f"Size{axis}", name) for axis in "TCZYX"}
    if math.prod(sizes[a] for a in "TCZ") > MAX_PLANES:
        raise InputFileError(
            f"'{name}' claims {sizes['T']} frames of {sizes['C']} x {sizes['Z']} planes: that cannot be."
        )
    planes = [child for child in pixels if _local(child) == "Plane"]
    first, time_s = _times(pixels, planes, sizes["T"])
    date = next((c.text for c in element if _local(c) in ("AcquisitionDate", "AcquiredDate") and c.text), None)
    y, x = (_length(pixels, f"PhysicalSize{axis}") for axis in "YX")
    names = [child.get("Name") or "" for child in pixels if _local(child) == "Channel"]
    return OmeImage(
        sizes=sizes,
        pixel_um=None if y is None or x is None else (y, x),
        z_um=_length(pixels, "PhysicalSizeZ"),
        channels=tuple(names) if names and all(names) else None,
        time_s=time_s,
        start_utc=as_utc_date(date, first),
        stage_um=_stage(planes, sizes["T"]),
        files=_files(pixels, name),
    )


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _whole(pixels: Element, attribute: str, name: str) -> int:
    text = pixels.get(attribute, "")
    if re.fullmatch(r"[0-9]{1,9}", text) is None or int(text) < 1:
        raise InputFileError(f"'{name}' has OME-XML with {attribute}=\"{text[:40]}\": export the file again.")
    return int(text)


def _number(element: Element, attribute: str) -> float | None:
    try:
        value = float(element.get(attribute, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _length(element: Element, attribute: str) -> float | None:
    value = _number(element, attribute)
    return None if value is None else length_um(value, element.get(f"{attribute}Unit", "µm"))


def _times(pixels: Element, planes: list[Element], n_frames: int) -> tuple[float, tuple[float, ...] | None]:
    """Return the first frame's delay after the acquisition date, and the times since the first frame.

    A frame's time is that of its first plane (smallest DeltaT); all frames must have one.
    """
    found: dict[int, float] = {}
    for plane in planes:
        delta, t = _number(plane, "DeltaT"), plane.get("TheT", "")
        value = None if delta is None else seconds(delta, plane.get("DeltaTUnit", "s"))
        if value is not None and t.isdigit():
            found[int(t)] = min(value, found.get(int(t), math.inf))
    if n_frames > 0 and len(found) >= n_frames and all(t in found for t in range(n_frames)):
        return found[0], tuple(found[t] - found[0] for t in range(n_frames))
    increment = _number(pixels, "TimeIncrement")
    step = None if increment is None else seconds(increment, pixels.get("TimeIncrementUnit", "s"))
    if step is not None and step > 0:
        return found.get(0, 0.0), tuple(step * t for t in range(n_frames))
    return found.get(0, 0.0), None


def as_utc_date(text: str | None, delay_s: float) -> str | None:
    """Return an ISO 8601 date plus a delay in UTC, which is taken where no zone is named; None for what is no date."""
    if text is None:
        return None
    try:
        date = datetime.fromisoformat(text.strip())
        date = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        return (date + timedelta(seconds=delay_s)).isoformat()
    except (ValueError, OverflowError):
        return None


def _stage(planes: list[Element], n_frames: int) -> tuple[tuple[float, float, float], ...] | None:
    """Return the stage position of each frame's first plane; positions in "reference frame" units are no lengths."""
    found: dict[int, tuple[float, float, float]] = {}
    for plane in planes:
        t = plane.get("TheT", "")
        if t.isdigit() and int(t) not in found:
            z, y, x = (_coordinate(plane, f"Position{axis}") for axis in "ZYX")
            if not all(map(math.isnan, (z, y, x))):
                found[int(t)] = (z, y, x)
    if not found:
        return None
    return tuple(found.get(t, (math.nan,) * 3) for t in range(n_frames))


def _coordinate(plane: Element, attribute: str) -> float:
    value = _number(plane, attribute)
    factor = _LENGTH_UM.get(plane.get(f"{attribute}Unit", "reference frame").strip().lower())
    return math.nan if value is None or factor is None else value * factor


def _files(pixels: Element, name: str) -> tuple[str, ...]:
    files = []
    for data in pixels:
        for uuid in data:
            file = uuid.get("FileName") if _local(uuid) == "UUID" else None
            if file and file not in files:
                if re.search(r"[/\\]|^\.\.?$|^[A-Za-z]:", file):
                    raise InputFileError(
                        f"'{name}' refers to the file '{file[:80]}' outside its folder: it is refused."
                    )
                files.append(file)
    return tuple(files)

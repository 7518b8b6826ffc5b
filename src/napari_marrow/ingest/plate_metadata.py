"""What the files beside a plate's images say: pixel size, names of channels, true times, stage positions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from napari_marrow.errors import InputFileError
from napari_marrow.ingest.ome_xml import length_um
from napari_marrow.ingest.xml_text import parse_xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_MAX_BYTES = 2 << 30


@dataclass
class OfFile:
    """What is said of one file."""

    time_s: float | None = None
    utc: str | None = None
    stage_um: tuple[float, float, float] | None = None
    time: int | None = None
    """Number of the time point, where the file's name does not hold it as such."""


@dataclass
class Said:
    """What a plate's own metadata say.

    Attributes
    ----------
    source : Path
        The file that says it.
    pixel_um : (y, x), optional
    z_um : float, optional
    channels : dict of str to str
        Channel as in the file names → its name.
    files : dict of str to OfFile
        By file name.
    """

    source: Path
    pixel_um: tuple[float, float] | None = None
    z_um: float | None = None
    channels: dict[str, str] = field(default_factory=dict)
    files: dict[str, OfFile] = field(default_factory=dict)


def harmony(folder: Path) -> Said | None:
    """Read ``Index.idx.xml`` (or ``Index.xml``) of a Harmony export; its lengths are metres.

    Raises
    ------
    InputFileError
        If it is no XML, or names files outside its folder.
    """
    path = _find(folder, "Index.idx.xml", "Index.xml", "Index.ref.xml")
    if path is None:
        return None
    said, depths = Said(path), defaultdict[str, set[float]](set)
    for element in _root(path).iter():
        tag = _local(element)
        if tag == "Image":
            _harmony_image(said, element, depths)
        elif tag == "Entry":  # newer files state a channel's facts once
            _harmony_channel(said, element.get("ChannelID", ""), {_local(c): c for c in element})
    said.z_um = _step([sorted(d) for d in depths.values()])
    return said


def _harmony_image(said: Said, element: Element, depths: dict[str, set[float]]) -> None:
    parts = {_local(child): child for child in element}
    name = _bare(said.source, _text(parts.get("URL")))
    if not name:
        return
    _harmony_channel(said, _text(parts.get("ChannelID")), parts)
    z, y, x = (_length(parts.get(f"Position{axis}")) for axis in "ZYX")
    if math.isfinite(z):
        depths["-".join(_text(parts.get(k)) for k in ("Row", "Col", "FieldID", "TimepointID", "ChannelID"))].add(z)
    time = _text(parts.get("TimepointID"))
    said.files[name] = OfFile(
        time_s=_number(_text(parts.get("MeasurementTimeOffset"))),
        utc=_text(parts.get("AbsTime")) or None,
        stage_um=(z, y, x) if math.isfinite(y) and math.isfinite(x) else None,
        time=int(time) if time.isdigit() else None,
    )


def _harmony_channel(said: Said, channel: str, parts: dict[str, Element]) -> None:
    name = _text(parts.get("ChannelName"))
    if channel and name:
        said.channels[channel] = name
    y, x = (_length(parts.get(f"ImageResolution{axis}")) for axis in "YX")
    if y > 0 and x > 0:
        said.pixel_um = (y, x)


def cellvoyager(folder: Path) -> Said | None:
    """Read ``MeasurementData.mlf`` (times, places; µm) and ``MeasurementDetail.mrf`` (pixel size; µm) of a CellVoyager.

    Raises
    ------
    InputFileError
        If one is no XML, or names files outside its folder.
    """
    path = _find(folder, "MeasurementData.mlf")
    detail = _find(folder, "MeasurementDetail.mrf")
    if path is None and detail is None:
        return None
    said, depths = Said(path or detail or folder), defaultdict[str, set[float]](set)
    for record in _root(path).iter() if path is not None else ():
        if _local(record) != "MeasurementRecord" or _attribute(record, "Type") == "ERR":
            continue
        z, y, x = (_float(_attribute(record, axis)) for axis in "ZYX")
        group = [_attribute(record, k) for k in ("Row", "Column", "FieldIndex", "TimePoint", "Ch", "ActionIndex")]
        if math.isfinite(z):
            depths["-".join(group)].add(z)
        name = _bare(said.source, (record.text or "").strip())
        stage = (z, y, x) if math.isfinite(y) and math.isfinite(x) else None
        said.files[name] = OfFile(utc=_attribute(record, "Time") or None, stage_um=stage)
    for channel in _root(detail).iter() if detail is not None else ():
        if _local(channel) == "MeasurementChannel":
            y, x = (_float(_attribute(channel, f"{a}PixelDimension")) for a in ("Vertical", "Horizontal"))
            if y > 0 and x > 0:
                said.pixel_um = (y, x)
    said.z_um = _step([sorted(d) for d in depths.values()])
    return said


def in_cell(folder: Path) -> Said | None:
    """Read the ``.xdce`` of an IN Cell Analyzer: the pixel size (µm) of its ``ObjectiveCalibration``.

    Raises
    ------
    InputFileError
        If it is no XML.
    """
    path = next(iter(sorted(folder.rglob("*.xdce"))), None)
    if path is None:
        return None
    said = Said(path)
    for element in _root(path).iter():
        if _local(element) == "ObjectiveCalibration":
            y, x = (_float(element.get(f"pixel_{side}", "")) for side in ("height", "width"))
            if y > 0 and x > 0:
                said.pixel_um = (y, x)
    return said


# --- reading


def _find(folder: Path, *names: str) -> Path | None:
    for place in (folder, folder / "Images", folder.parent):
        for name in names:
            if (place / name).is_file():
                return place / name
    return None


def _root(path: Path) -> Element:
    if path.stat().st_size > _MAX_BYTES:
        raise InputFileError(f"'{path.name}' has more than {_MAX_BYTES >> 30} GiB, which no index of a plate has.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputFileError(f"'{path.name}' is no XML text in UTF-8 ({error.reason}): export it again.") from error
    return parse_xml(text, path.name)


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _attribute(element: Element, name: str) -> str:
    return next((v for k, v in element.attrib.items() if k.rpartition("}")[2] == name), "")


def _text(element: Element | None) -> str:
    return "" if element is None else (element.text or "").strip()


def _float(text: str) -> float:
    value = _number(text)
    return math.nan if value is None else value


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _length(element: Element | None) -> float:
    """Return a length in µm, NaN where there is none; it may be negative, as positions are."""
    if element is None:
        return math.nan
    factor = length_um(1.0, element.get("Unit", "m"))
    return math.nan if factor is None else _float(_text(element)) * factor


def _bare(source: Path, name: str) -> str:
    """Return a file's name, refusing one that leads out of its folder."""
    if "/" in name or "\\" in name or name in (".", "..") or "\0" in name:
        raise InputFileError(f"'{source.name}' refers to '{name[:80]}', which is no file beside it: it is refused.")
    return name


def _step(stacks: list[list[float]]) -> float | None:
    """Return the median distance of neighbouring planes, µm."""

    def distances() -> Iterator[float]:
        for planes in stacks:
            yield from (b - a for a, b in pairwise(planes))

    found = sorted(d for d in distances() if d > 1e-4)
    return found[len(found) // 2] if found else None

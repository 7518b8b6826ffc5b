"""Folders that common high-content systems export: how their files are named, and which file of theirs says more.

The names follow the systems' published conventions: Harmony (Operetta, Opera Phenix), MetaXpress (ImageXpress),
IN Cell Analyzer, CellVoyager (Yokogawa), and Incucyte.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_marrow.ingest.pattern import SeriesFile, placed
from napari_marrow.ingest.plate_metadata import Said, cellvoyager, harmony, in_cell

_WELL = r"(?P<well>[A-P][0-9]{2})"
_TIME_OF_INCUCYTE = re.compile(r"(?:(?P<d>\d{1,3})d)(?P<h>\d{1,2})h(?P<m>\d{1,2})m")
_DATE_OF_INCUCYTE = re.compile(r"(\d{4})y(\d{2})m(\d{2})d_(\d{2})h(\d{2})m(?:(\d{2})s)?")


@dataclass(frozen=True)
class PlateExport:
    """How a system names the files of a plate.

    Attributes
    ----------
    name : str
        What ``--pattern`` takes for it.
    system : str
    expression : re.Pattern
        Matched against the path below the folder.
    metadata : callable, optional
        Returns what a file beside the images says, from the folder; None where there is no such file.
    """

    name: str
    system: str
    expression: re.Pattern[str]
    metadata: Callable[[Path], Said | None] | None = None

    def match(self, folder: Path, path: Path) -> SeriesFile | None:
        """Return a file with its place, None when it is not named in this way."""
        found = self.expression.fullmatch(path.relative_to(folder).as_posix())
        if found is None:
            return None
        groups = {k: v for k, v in found.groupdict().items() if v is not None}
        if self.name == "incell":
            groups.update(_in_cell_groups(groups.pop("rest", "")))
        clock = groups.pop("clock", None)
        file = placed(path, groups)
        return file if clock is None else _clocked(file, clock)


def _in_cell_groups(rest: str) -> dict[str, str]:
    """Return the parts of an IN Cell name's parentheses: ``fld 1 wv DAPI - DAPI z 2 time 3 - 1200 ms``."""
    named = {"fld": "site", "z": "z", "time": "time"}
    groups = {named[k]: n for k, n in re.findall(r"\b(fld|z|time)\s+(\d+)", rest)}
    wave = re.search(r"\bwv\s+(.+?)(?=\s+(?:fld|z|time)\s+\d|$)", rest)
    return {**groups, **({"channel": wave[1]} if wave else {})}


def _clocked(file: SeriesFile, clock: str) -> SeriesFile:
    """Put the time of an Incucyte name in: days, hours and minutes since the first scan, or a date of the clock."""
    date = _DATE_OF_INCUCYTE.fullmatch(clock)
    if date is not None:
        year, month, day, hour, minute = (int(date[i]) for i in range(1, 6))
        seconds = int(date[6] or 0)
        number = ((((year * 12 + month) * 31 + day) * 24 + hour) * 60 + minute) * 60 + seconds
        return replace(file, time=number, utc=f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{seconds:02d}")
    passed = _TIME_OF_INCUCYTE.fullmatch(clock)
    assert passed is not None  # the expression of the names lets nothing else through
    minutes = (int(passed["d"]) * 24 + int(passed["h"])) * 60 + int(passed["m"])
    return replace(file, time=minutes, time_s=60.0 * minutes)


def _expression(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


EXPORTS = (
    PlateExport(
        "harmony",
        "Operetta and Opera Phenix (Harmony)",
        _expression(
            r"(?:.*/)?r(?P<row>[0-9]{2})c(?P<column>[0-9]{2})f(?P<site>[0-9]{1,4})p(?P<z>[0-9]{1,4})"
            r"-ch(?P<channel>[0-9]{1,2})sk(?P<time>[0-9]{1,5})(?:fk[0-9]+)?(?:fl[0-9]+)?\.tiff?"
        ),
        harmony,
    ),
    PlateExport(
        "imagexpress",
        "ImageXpress (MetaXpress)",
        _expression(
            r"(?:.+?/)??(?:TimePoint_(?P<time>[0-9]{1,5})/)?(?:ZStep_(?P<z>[0-9]{1,4})/)?[^/]*_"
            + _WELL
            # a site, a wavelength or both, then perhaps the GUID that MetaXpress adds
            + r"(?=_[sw][0-9])(?:_s(?P<site>[0-9]{1,4}))?(?:_w(?P<channel>[0-9]{1,2}))?"
            r"(?:[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12})?\.tiff?"
        ),
    ),
    PlateExport(
        "incell",
        "IN Cell Analyzer",
        _expression(r"(?:.*/)?(?P<row>[A-P]) - (?P<column>[0-9]{1,2})\((?P<rest>fld [^)]*)\)\.tiff?"),
        in_cell,
    ),
    PlateExport(
        "cellvoyager",
        "CellVoyager (Yokogawa)",
        _expression(
            r"(?:.*/)?[^/]*_" + _WELL + r"_T(?P<time>[0-9]{4})F(?P<site>[0-9]{3})L[0-9]{2}A[0-9]{2}Z(?P<z>[0-9]{2,3})"
            r"C(?P<channel>[0-9]{2})\.tiff?"
        ),
        cellvoyager,
    ),
    PlateExport(
        "incucyte",
        "Incucyte",
        _expression(
            r"(?:.*/)?(?P<channel>[^/]+)_(?P<well>[A-P][0-9]{1,2})_(?P<site>[0-9]{1,3})_"
            r"(?P<clock>[0-9]{1,3}d[0-9]{1,2}h[0-9]{1,2}m|[0-9]{4}y[0-9]{2}m[0-9]{2}d_[0-9]{2}h[0-9]{2}m(?:[0-9]{2}s)?)\.tiff?"
        ),
    ),
)
"""Every export that is known, in the order in which they are tried."""


@dataclass(frozen=True)
class Detected:
    """A folder that was recognised."""

    export: PlateExport
    files: list[SeriesFile] = field(default_factory=list)


def detect(folder: Path, paths: list[Path], name: str | None = None) -> Detected | None:
    """Return the export that a folder is, None when it is none.

    Parameters
    ----------
    folder : Path
    paths : list of Path
        Its TIFF files.
    name : str, optional
        Only this export; files that are named otherwise are then left out. Without it, all files must fit.
    """
    for export in EXPORTS:
        if name is not None and export.name != name:
            continue
        matched = [export.match(folder, path) for path in paths]
        files = [file for file in matched if file is not None]
        if files and (name is not None or (len(files) == len(paths) and len(files) > 1)):
            return Detected(export, files)
    return None

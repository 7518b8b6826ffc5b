"""File names of a series: a pattern with placeholders, and the places that it finds in the names of a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from napari_marrow.errors import InputFileError, SettingsError
from napari_marrow.ingest.tiff import TIFF_SUFFIXES

PLACEHOLDERS = {
    "well": r"(?P<well>[A-Pa-p]0?[1-9][0-9]?|[A-Pa-p]0[1-9])",
    "row": r"(?P<row>[A-Pa-p]|[0-9]{1,2})",
    "column": r"(?P<column>[0-9]{1,2})",
    "site": r"(?P<site>[0-9]{1,4})",
    "channel": r"(?P<channel>[^/]+?)",
    "z": r"(?P<z>[0-9]{1,5})",
    "time": r"(?P<time>[0-9]{1,9})",
    "session": r"(?P<session>[0-9]{1,4})",
    "*": r"[^/]*?",
}
"""What a pattern may hold in braces, and what each stands for."""
MAX_FILES = 5_000_000


@dataclass(frozen=True)
class SeriesFile:
    """A file of a series and its place; None for what nothing says.

    Attributes
    ----------
    path : Path
    well : str
        Such as ``"B02"``; empty where the names hold none.
    site : int, optional
        Field within the well.
    channel : str
        As it is told apart in the names; empty where there is one.
    z, time : int
        Numbers of plane and time point as in the names; 0 where there is one.
    session : int, optional
    time_s : float, optional
        Seconds since an origin that all files share.
    utc : str, optional
        ISO 8601.
    stage_um : (z, y, x), optional
    """

    path: Path
    well: str = ""
    site: int | None = None
    channel: str = ""
    z: int = 0
    time: int = 0
    session: int | None = None
    time_s: float | None = None
    utc: str | None = None
    stage_um: tuple[float, float, float] | None = None


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern such as ``"{well}_s{site}_w{channel}_t{time}.tif"``.

    A pattern with ``/`` is matched against the path below the folder, any other against the file's name alone.

    Raises
    ------
    SettingsError
        If it has an unknown placeholder, one twice, or none.
    """
    parts = re.split(r"\{([^{}]*)\}", pattern.strip())
    seen: list[str] = []
    expression = ""
    for number, part in enumerate(parts):
        if number % 2 == 0:
            expression += re.escape(part)
            continue
        if part not in PLACEHOLDERS:
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            raise SettingsError(f"--pattern has '{{{part}}}': it may hold {known}.")
        if part != "*" and part in seen:
            raise SettingsError(f"--pattern '{pattern}' has {{{part}}} twice: use {{*}} for the second one.")
        seen.append(part)
        expression += PLACEHOLDERS[part]
    if not set(seen) - {"*"}:
        raise SettingsError(f"--pattern '{pattern}' has no placeholder: give one such as {{well}}_t{{time}}.tif.")
    if ("row" in seen) != ("column" in seen) or {"well", "row"} <= set(seen):
        raise SettingsError(f"--pattern '{pattern}': give either {{well}} or both {{row}} and {{column}}.")
    return re.compile(expression, re.IGNORECASE)


def tiff_files(folder: Path) -> Iterator[Path]:
    """Yield every TIFF below a folder, sorted, without thumbnails, hidden files and the folders of studies.

    Raises
    ------
    InputFileError
        If there are more than five million.
    """
    found = 0
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder).parts
        if any(part.startswith(".") or part.endswith(".marrow") for part in below):
            continue
        if path.suffix.lower() in TIFF_SUFFIXES and "_thumb" not in path.name.lower() and path.is_file():
            found += 1
            if found > MAX_FILES:
                raise InputFileError(f"The folder '{folder}' holds more than {MAX_FILES} images: import parts of it.")
            yield path


def match_files(folder: Path, pattern: str) -> list[SeriesFile]:
    """Return the files of a folder that a user's pattern matches.

    Raises
    ------
    InputFileError
        If none does.
    SettingsError
        If the pattern is wrong.
    """
    expression = compile_pattern(pattern)
    whole = "/" in pattern
    found, example = [], ""
    for path in tiff_files(folder):
        name = path.relative_to(folder).as_posix() if whole else path.name
        example = example or name
        match = expression.fullmatch(name)
        if match is not None:
            found.append(placed(path, {k: v for k, v in match.groupdict().items() if v is not None}))
    if not found:
        seen = f"the first file is '{example}'" if example else "there are no TIFF files"
        raise InputFileError(f"No file in '{folder}' matches --pattern '{pattern}': {seen}.")
    return found


def placed(path: Path, groups: dict[str, str]) -> SeriesFile:
    """Return a file with the place that the named parts of its name state."""
    well = groups.get("well", "")
    if "row" in groups:
        row = groups["row"]
        row = chr(ord("A") + int(row) - 1) if row.isdigit() else row.upper()
        well = f"{row}{int(groups['column']):02d}"
    elif well:
        well = f"{well[0].upper()}{int(well[1:]):02d}"
    return SeriesFile(
        path=path,
        well=well,
        site=int(groups["site"]) if "site" in groups else None,
        channel=groups.get("channel", "").strip(" _-."),
        z=int(groups.get("z", 0)),
        time=int(groups.get("time", 0)),
        session=int(groups["session"]) if "session" in groups else None,
    )

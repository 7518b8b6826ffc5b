"""What things are called on disk. The only place where a name from outside becomes part of a path.

Every name is checked against a narrow pattern first, so that nothing that a file's metadata says can leave the study.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from napari_marrow.errors import SettingsError

_POSITION = re.compile(r"(?P<row>[A-Z]{1,2})(?P<column>\d{2})_f(?P<field>\d{2,4})")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,63}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_PART = re.compile(r"part(?:-s(?P<session>\d{2,}))?(?:-t(?P<t>\d{5,}))?\.parquet")
_UNIT_KEYS = ("position", "session", "t")
MAX_SESSION = 9999


def split_position(position: str) -> tuple[str, str, int]:
    """Return (row, column, field) of a position id such as ``"B02_f00"``.

    Raises
    ------
    SettingsError
        If it is not of that form.
    """
    found = _POSITION.fullmatch(position) if isinstance(position, str) else None
    if found is None:
        raise SettingsError(f"'{position}' is no position: give row, column and field of the plate, such as B02_f00.")
    return found["row"], found["column"], int(found["field"])


def is_position(text: str) -> bool:
    """Whether the text is a position id."""
    return _POSITION.fullmatch(text) is not None


def well_of(position: str) -> str:
    """Return the well of a position: ``"B02"`` of ``"B02_f00"``."""
    row, column, _ = split_position(position)
    return row + column


def image_name(session: int, field: int) -> str:
    """Return the name of an image group in its well: alphanumeric, as OME-Zarr asks."""
    return f"s{session:02d}f{field:02d}"


def image_path(position: str, session: int) -> str:
    """Return the image's path within the plate: ``"B/02/s00f00"``."""
    row, column, field = split_position(position)
    return f"{row}/{column}/{image_name(check_session(session), field)}"


def check_session(session: int) -> int:
    """Return the session number as int.

    Raises
    ------
    SettingsError
        If it is negative or above 9999.
    """
    if isinstance(session, bool) or int(session) != session or not 0 <= session <= MAX_SESSION:
        raise SettingsError(f"Session {session} is no session number: give a whole number from 0 to {MAX_SESSION}.")
    return int(session)


def check_word(word: str, what: str) -> str:
    """Return the word when it is safe as a part of a path.

    Raises
    ------
    SettingsError
        Otherwise.
    """
    if not isinstance(word, str) or _WORD.fullmatch(word) is None:
        raise SettingsError(f"'{word}' is no {what}: use letters, digits and '_'.")
    return word


def check_key(key: str) -> str:
    """Return the key of a step when it is safe as a part of a path (letters, digits and '-')."""
    if not isinstance(key, str) or _KEY.fullmatch(key) is None:
        raise SettingsError(f"'{key}' is no key of a step: use letters, digits and '-'.")
    return key


def is_word(text: str) -> bool:
    """Whether the text can be the name of a table or of labels."""
    return _WORD.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Whether the text can be the key of a step."""
    return _KEY.fullmatch(text) is not None


def part_path(unit: Mapping[str, Any]) -> str:
    """Return the path of a unit's part file below its table and key.

    Examples
    --------
    >>> part_path({"position": "B02_f00", "session": 0, "t": 12})
    'position=B02_f00/part-s00-t00012.parquet'
    >>> part_path({})
    'part.parquet'
    """
    unknown = [key for key in unit if key not in _UNIT_KEYS]
    if unknown:
        raise SettingsError(f"A unit of work has no '{unknown[0]}': it has {', '.join(_UNIT_KEYS)} or a part of them.")
    name = "part"
    if "session" in unit:
        name += f"-s{check_session(unit['session']):02d}"
    if "t" in unit:
        name += f"-t{_check_time(unit['t']):05d}"
    folder = ""
    if "position" in unit:
        split_position(unit["position"])
        folder = f"position={unit['position']}/"
    return f"{folder}{name}.parquet"


def unit_of(path: str) -> dict[str, Any] | None:
    """Return the unit that a part path belongs to, None when it is none; the inverse of `part_path`."""
    folder, _, name = path.rpartition("/")
    found = _PART.fullmatch(name)
    if found is None:
        return None
    unit: dict[str, Any] = {}
    if folder:
        start, _, position = folder.partition("=")
        if start != "position" or not is_position(position):
            return None
        unit["position"] = position
    if found["session"] is not None:
        unit["session"] = int(found["session"])
    if found["t"] is not None:
        unit["t"] = int(found["t"])
    return unit


def _check_time(t: int) -> int:
    if int(t) != t or t < 0:
        raise SettingsError(f"Frame {t} is no frame number: give a whole number from 0.")
    return int(t)


def printable(text: str, *, limit: int = 200) -> str:
    """Return the text without control characters and lone surrogates, cut to a sane length: for names from metadata."""
    clean = "".join(c for c in str(text) if c.isprintable())
    return clean.encode("utf-8", "replace").decode()[:limit].strip()

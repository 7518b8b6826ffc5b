"""What a channel of an image shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from napari_marrow.errors import SettingsError
from napari_marrow.study.naming import printable

_COLORS = {
    "nuclei": "4F7CFF",
    "CD31": "FF4FD8",
    "CD235a": "FF4040",
    "CD41": "FFD23F",
    "CD11b": "3FD97F",
    "CD45": "40E0D0",
    "CD34": "FF9F40",
    "scaffold": "C8C8C8",
    "brightfield": "FFFFFF",
}
ROLES: tuple[str, ...] = (*_COLORS, "other")
"""What steps look channels up by: a name of this list, or ``"other"``."""


@dataclass(frozen=True)
class Channel:
    """A channel of a session.

    Attributes
    ----------
    name : str
        As shown, and as in the columns ``intensity_<name>``; unique within a session.
    role : str
        One of `ROLES`; by default the name where it is one (in any case), else ``"other"``.
    color : str
        Six hexadecimal digits for display; by default the role's.

    Raises
    ------
    SettingsError
        If the name is empty, the role unknown or the colour malformed.
    """

    name: str
    role: str = ""
    color: str = ""

    def __post_init__(self) -> None:
        name = printable(self.name)
        if not name:
            raise SettingsError("A channel has an empty name: name every channel.")
        role = self.role or next((r for r in ROLES if r.lower() == name.lower()), "other")
        if role not in ROLES:
            raise SettingsError(f"Channel '{name}' has the role '{role}': choose one of {', '.join(ROLES)}.")
        color = (self.color or _COLORS.get(role, "FFFFFF")).lstrip("#").upper()
        if re.fullmatch(r"[0-9A-F]{6}", color) is None:
            raise SettingsError(f"Channel '{name}' has the colour '{self.color}': give six hexadecimal digits.")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "role", role)
        object.__setattr__(self, "color", color)

    def to_dict(self) -> dict[str, str]:
        """Return the channel as stored."""
        return {"name": self.name, "role": self.role, "color": self.color}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Channel:
        """Return the channel that was stored."""
        return cls(stored["name"], stored["role"], stored["color"])


def as_channels(channels: list[Channel] | list[str]) -> tuple[Channel, ...]:
    """Return channels, made from names where names were given, and check that the names differ."""
    result = tuple(c if isinstance(c, Channel) else Channel(c) for c in channels)
    names = [c.name for c in result]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise SettingsError(f"Two channels are called '{twice[0]}': give every channel its own name.")
    return result

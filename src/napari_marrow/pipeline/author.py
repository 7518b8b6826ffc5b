"""Who works at this machine."""

from __future__ import annotations

import getpass

UNKNOWN = "unknown"


def user_name() -> str:
    """Return the name of the user on this machine, `UNKNOWN` where there is none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return UNKNOWN

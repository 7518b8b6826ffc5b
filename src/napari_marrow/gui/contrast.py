"""Contrast of colours, and colours that can be told from what they lie on. Knows no Qt.

Source: W3C, Web Content Accessibility Guidelines 2.2, success criteria 1.4.3 (text: 4.5) and 1.4.11 (graphics: 3).
"""

from __future__ import annotations

from functools import lru_cache

TEXT, GRAPHICS = 4.5, 3.0
"""Least contrast of text, and of lines and points."""


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 (the same) to 21 (black and white).

    Parameters
    ----------
    one, other : str
        ``#rrggbb``.

    Examples
    --------
    >>> contrast("#000000", "#ffffff")
    21.0
    """
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@lru_cache(maxsize=512)
def readable(colour: str, background: str, ratio: float = GRAPHICS) -> str:
    """Return a colour, mixed with as little white or black as gives it a contrast to its background.

    Hue stays, so that a colour goes on meaning what it means elsewhere.

    Parameters
    ----------
    colour, background : str
        ``#rrggbb``.
    ratio : float
        Contrast that is wanted; black on white where it cannot be had.

    Returns
    -------
    str
        ``#rrggbb``; the colour itself where its contrast is enough.
    """
    if contrast(colour, background) >= ratio:
        return colour
    end = max(("#000000", "#ffffff"), key=lambda c: contrast(c, background))
    for step in range(1, 64):
        mixed = _mixed(colour, end, step / 64)
        if contrast(mixed, background) >= ratio:
            return mixed
    return end


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in _channels(colour))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _mixed(one: str, other: str, share: float) -> str:
    mixed = (round(a + share * (b - a)) for a, b in zip(_channels(one), _channels(other), strict=True))
    return "#" + "".join(f"{v:02x}" for v in mixed)

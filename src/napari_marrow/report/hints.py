"""Names and values that a figure tells under the pointer.

An artist is marked while the figure is drawn; in the SVG its element then carries a title, which browsers show without
any script, the name of its series, and the scale of its axes, from which the page's script reads values off a curve.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

_MARKED = re.compile(r'<g id="hint:([^:"]*):([^:"]*):([^:"]*)">')


def hint(artist: Artist, text: str, *, series: str = "", curve: bool = False) -> None:
    """Mark an artist of an axis with linear scales.

    Parameters
    ----------
    artist : Artist
    text : str
        What the pointer tells; nothing if empty.
    series : str
        What it is hidden and shown with, such as its condition.
    curve : bool
        Whether values can be read off it: a line whose x never decreases.
    """
    artist.set_gid(":".join(("hint", *(quote(part, safe="") for part in (series, text, "curve" if curve else "")))))


def place_scales(figure: Figure) -> None:
    """Write the final place and limits of its axes into each marked curve; to be called when the layout is settled."""
    width, height = figure.get_size_inches() * 72.0
    for axis in figure.axes:
        for line in axis.lines:
            gid = line.get_gid()
            if gid and gid.startswith("hint:") and gid.endswith(":curve"):
                box, (left, right), (low, high) = axis.get_position(), axis.get_xlim(), axis.get_ylim()
                # SVG counts points from the upper edge
                numbers = (box.x0 * width, box.x1 * width, (1 - box.y0) * height, (1 - box.y1) * height)
                scale = " ".join(f"{v:.6g}" for v in (*numbers, left, right, low, high))
                line.set_gid(f"{gid.removesuffix('curve')}{quote(scale, safe='')}")


def with_hints(document: str) -> str:
    """Return an SVG document in which marked elements carry their title, series and scale, and numbers as names."""
    names = iter(range(1, document.count('<g id="hint:') + 1))

    def element(match: re.Match[str]) -> str:
        series, text, scale = (escape(unquote(part)) for part in match.groups())
        kept = f' data-series="{series}"' if series else ""
        kept += f' data-scale="{scale}"' if scale not in ("", "curve") else ""
        title = f"<title>{text}</title>" if text else ""
        return f'<g id="hint-{next(names)}" class="hint"{kept}>{title}'

    return _MARKED.sub(element, document)

"""Colours, fonts and export of the report's figures."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_marrow import palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINEAGE_COLORS = palette.LINEAGE_COLOURS
NEGATIVE = palette.GREY
DEATH = palette.BLACK
lineage_colors = palette.lineage_colours
condition_colors = palette.condition_colours
condition_order = palette.condition_order
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
INK = "#1A1A1A"
FAINT = "#6B6B6B"

_RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    # Verdana and Bitstream Vera have the widths that matplotlib lays DejaVu Sans out with.
    "font.sans-serif": ["DejaVu Sans", "Bitstream Vera Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.edgecolor": "#4D4D4D",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "napari-marrow",
    "mathtext.default": "regular",
}

WIDTH = 9.4
"""Width of a full figure, inches; 1 inch is 96 CSS pixels."""


@contextmanager
def drawing() -> Iterator[None]:
    """Give matplotlib the report's fonts and lines within the block."""
    import matplotlib as mpl

    with mpl.rc_context(dict(_RC)):
        yield


def new_figure(height: float, *, width: float = WIDTH) -> Figure:
    """Return an empty figure that lays itself out; sizes in inches. No window, no global state of pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def grid_shape(count: int, most: int) -> tuple[int, int]:
    """Return rows and columns for `count` panels with at most `most` beside each other."""
    columns = max(1, min(count, most))
    return -(-max(count, 1) // columns), columns


def panels(figure: Figure, count: int, most: int, *, share: Literal["none", "all", "row", "col"] = "all") -> list[Axes]:
    """Return `count` axes in a grid; the rest of the grid is left empty."""
    rows, columns = grid_shape(count, most)
    axes = list(figure.subplots(rows, columns, sharex=share, sharey=share, squeeze=False).ravel())
    for unused in axes[count:]:
        unused.remove()
    for axis in axes[:count]:
        axis.tick_params(labelbottom=True, labelleft=True)
    return axes[:count]


def evenly(values: Sequence[str], most: int) -> list[str]:
    """Return at most so many values, spread over all of them, so that no condition is left out for its place."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def nice_length(extent: float) -> float:
    """Return the 1, 2 or 5 times a power of ten that is nearest below a third of `extent`, for a scale bar."""
    target = extent / 3.0
    power = 10.0 ** np.floor(np.log10(target))
    return float(max(step * power for step in (1, 2, 5) if step * power <= target * 1.0001))


def settle(figure: Figure) -> None:
    """Lay the figure out once and for all: otherwise each format that it is written in solves the layout anew."""
    from napari_marrow.report.hints import place_scales

    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")
    place_scales(figure)


def to_svg(figure: Figure) -> str:
    """Return the figure as an SVG document with text as text; the same figure gives the same bytes."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    from napari_marrow.report.hints import with_hints

    return with_hints(_numbered_ids(stream.getvalue()))


def to_pdf(figure: Figure) -> bytes:
    """Return the figure as PDF with its fonts in it (TrueType: its text can be edited); equal figures, equal bytes."""
    import matplotlib as mpl

    stream = io.BytesIO()
    with mpl.rc_context({"pdf.fonttype": 42}):
        figure.savefig(stream, format="pdf", metadata={"CreationDate": None})
    return stream.getvalue()


def _numbered_ids(document: str) -> str:
    """Replace hashed identifiers by numbers: the hashes take in the last bits of the layout solver's results."""
    hashed = dict.fromkeys(re.findall(r'\bid="([A-Za-z_]*[0-9a-f]{10})"', document))
    names = {name: f"{re.sub(r'[0-9a-f]{10}$', '', name)}-{i}" for i, name in enumerate(hashed, 1)}
    return re.sub(
        r'(\bid="|url\(#|href="#)([A-Za-z_]*[0-9a-f]{10})\b', lambda m: m[1] + names.get(m[2], m[2]), document
    )


def inline_svg(document: str, *, prefix: str, title: str, description: str) -> str:
    """Return an SVG document as an element for an HTML page.

    Identifiers get a prefix, as those of several figures would collide in one page; title and description are for
    readers who do not see it.
    """
    from html import escape

    body = document[document.index("<svg") :]
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', body)
    opening, rest = body.split(">", 1)
    width = re.search(r'width="([\d.]+)pt"', opening)
    opening = re.sub(r'\s(width|height)="[\d.]+pt"', "", opening)
    size = f' style="width:{float(width.group(1)) * 96 / 72:.0f}px"' if width else ""
    label = f' role="img" aria-labelledby="{prefix}-title {prefix}-desc"'
    head = f'<title id="{prefix}-title">{escape(title)}</title><desc id="{prefix}-desc">{escape(description)}</desc>'
    return f"{opening}{label}{size}>{head}{rest}"

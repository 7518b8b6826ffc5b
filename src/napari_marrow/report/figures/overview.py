"""Every organoid in every session, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_marrow.report.style import INK, WIDTH, new_figure, nice_length

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Tile:
    """A small picture of one organoid in one session.

    Attributes
    ----------
    organoid, condition, position : str
    session : int
    day : float
        Days since t0.
    rgb : ndarray of uint8, shape (H, W, 3)
    um_per_px : float
    """

    organoid: str
    condition: str
    position: str
    session: int
    day: float
    rgb: npt.NDArray[np.uint8]
    um_per_px: float


def organoid_overview(tiles: Sequence[Tile], channels: Sequence[tuple[str, str]]) -> Figure:
    """Draw a row per imaged field and a column per session, with a scale bar in µm and the day of each session.

    Parameters
    ----------
    tiles : sequence of Tile
        At least one. Rows keep the order in which fields first appear.
    channels : sequence of (str, str)
        Name and colour of every channel shown.

    Returns
    -------
    Figure
    """
    rows = list(dict.fromkeys((t.organoid, t.position, t.condition) for t in tiles))
    columns = sorted({t.session for t in tiles})
    height, width = (max(t.rgb.shape[i] for t in tiles) for i in (0, 1))
    gap = max(3, round(0.025 * width))
    mosaic = np.full((len(rows) * (height + gap) - gap, len(columns) * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for tile in tiles:
        top = rows.index((tile.organoid, tile.position, tile.condition)) * (height + gap)
        left = columns.index(tile.session) * (width + gap)
        mosaic[top : top + height, left : left + width] = 0
        mosaic[top : top + tile.rgb.shape[0], left : left + tile.rgb.shape[1]] = tile.rgb
    margin_left, margin_top, margin_bottom = 1.25, 0.42, 0.3
    shown = min(WIDTH - margin_left - 0.05, 2.2 * len(columns))
    tall = shown * mosaic.shape[0] / mosaic.shape[1]
    full = (margin_left + shown + 0.05, margin_top + tall + margin_bottom)
    figure = new_figure(full[1], width=max(full[0], 5.0))
    figure.set_layout_engine("none")
    axes = figure.add_axes(
        (margin_left / max(full[0], 5.0), margin_bottom / full[1], shown / max(full[0], 5.0), tall / full[1])
    )
    axes.imshow(mosaic, interpolation="nearest", aspect="equal")
    axes.axis("off")
    for i, (organoid, position, condition) in enumerate(rows):
        y = i * (height + gap) + height / 2
        where = f"{condition}\n{position}" if condition else position
        axes.text(-2 * gap, y - 3, organoid, ha="right", va="bottom", fontsize=8.5, fontweight="bold")
        axes.text(-2 * gap, y, where, ha="right", va="top", fontsize=7.5, color=INK, linespacing=1.4)
    for j, session in enumerate(columns):
        days = [t.day for t in tiles if t.session == session]
        same = max(days) - min(days) < 0.05
        text = f"Session {session}\nday {np.mean(days):.1f}" if same else f"Session {session}"
        axes.text(j * (width + gap) + width / 2, -gap, text, ha="center", va="bottom", fontsize=8, linespacing=1.35)
        if not same:
            _label_days([t for t in tiles if t.session == session], rows, j * (width + gap), height + gap, axes)
    _scale_bar(axes, tiles[0], height, gap)
    _channel_legend(figure, channels, margin_left / max(full[0], 5.0))
    return figure


def _label_days(tiles: list[Tile], rows: list[tuple[str, str, str]], left: int, step: int, axes: object) -> None:
    for tile in tiles:
        y = rows.index((tile.organoid, tile.position, tile.condition)) * step
        axes.text(left + 5, y + 5, f"day {tile.day:.1f}", color="white", fontsize=7, ha="left", va="top")  # type: ignore[attr-defined]


def _scale_bar(axes: object, tile: Tile, height: int, gap: int) -> None:
    length = nice_length(tile.rgb.shape[1] * tile.um_per_px)
    pixels = length / tile.um_per_px
    y = height - 2 * gap
    axes.plot([2 * gap, 2 * gap + pixels], [y, y], color="white", lw=2.5, solid_capstyle="butt")  # type: ignore[attr-defined]
    axes.text(2 * gap, y - gap, f"{length:g} µm", color="white", fontsize=7.5, ha="left", va="bottom")  # type: ignore[attr-defined]


def _channel_legend(figure: Figure, channels: Sequence[tuple[str, str]], left: float) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=color, edgecolor="#4D4D4D", linewidth=0.5, label=name) for name, color in channels]
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(left - 0.01, 0.0),
        ncols=max(1, len(handles)),
        handlelength=1.0,
        handleheight=1.0,
        columnspacing=1.2,
        borderaxespad=0.2,
    )

"""Map of the vessel network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow.report.outlines import Outline
from napari_marrow.report.style import FAINT, WIDTH, evenly, new_figure, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

MOST_PANELS = 8


def vessel_map(
    vessels: pd.DataFrame,
    colonies: pd.DataFrame,
    names: dict[str, str],
    outlines: Mapping[tuple[str, int], list[Outline]] | None = None,
) -> Figure:
    """Draw the vessels of each field at its last measured frame, coloured by radius, over the colonies' outlines.

    Parameters
    ----------
    vessels : DataFrame
        Points along the centre lines: ``position, session, t, branch, y, x`` (µm), ``radius`` (µm), in order along each
        branch; at least one row.
    colonies : DataFrame
        Table ``colonies``; may be empty. Those of the same session are drawn.
    names : dict
        Title of each position.
    outlines : mapping, optional
        The lines around colonies by position and session; those without one are drawn as circles of their area.

    Returns
    -------
    Figure
        Eight fields at most, spread over all.
    """
    from matplotlib.colors import Normalize

    last = last_frames(vessels)
    positions = evenly(list(dict.fromkeys(last["position"])), MOST_PANELS)
    radius = last["radius"].to_numpy(float)
    radius = radius[np.isfinite(radius)]
    low, high = np.percentile(radius, (2, 98)) if radius.size else (0.0, 1.0)
    norm = Normalize(float(low), float(max(high, low + 0.1)))
    extent = float(max(last["y"].max(), last["x"].max()))
    count = len(positions)
    columns = min(4, count)
    width = min(WIDTH, 1.6 + 2.6 * columns)
    figure = new_figure(0.2 + (0.45 + (width - 1.5) / columns) * -(-count // columns), width=width)
    figure.set_layout_engine("compressed")
    axes = panels(figure, count, columns)
    for i, (axis, position) in enumerate(zip(axes, positions, strict=True)):
        part = last[last["position"] == position]
        session = int(part["session"].iloc[0])
        lines = _draw(axis, part, norm)
        known = (outlines or {}).get((position, session), [])
        _lines(axis, known)
        _circles(axis, colonies, position, session, without={number for number, _ in known})
        axis.set_title(f"{names.get(position, position)}, session {session}", fontsize=8.5)
        axis.set(xlim=(0, extent), ylim=(extent, 0), aspect="equal")
        if i % columns == 0:
            axis.set_ylabel("y (µm)")
        if i >= count - columns:
            axis.set_xlabel("x (µm)")
    bar = figure.colorbar(lines, ax=axes, shrink=0.8, pad=0.015, aspect=24)
    bar.set_label("Vessel radius (µm)")
    bar.outline.set_visible(False)
    return figure


def last_frames(vessels: pd.DataFrame) -> pd.DataFrame:
    """Return the vessels' rows of each position's last session and frame."""
    if "structure" in vessels.columns:
        vessels = vessels[vessels["structure"] == "vessel"]
    if vessels.empty:
        return vessels
    order = vessels[["session", "t"]].astype(np.int64) @ np.array([1_000_000, 1])
    return vessels[order == order.groupby(vessels["position"]).transform("max")]


def _draw(axis: Axes, part: pd.DataFrame, norm: Normalize) -> LineCollection:
    from matplotlib.collections import LineCollection

    segments, values = [], []
    for _, branch in part.groupby("branch", sort=False):
        xy = branch[["x", "y"]].to_numpy(float)
        r = branch["radius"].to_numpy(float)
        segments.append(np.stack([xy[:-1], xy[1:]], axis=1))
        values.append((r[:-1] + r[1:]) / 2)
    pieces = np.concatenate(segments) if segments else np.zeros((0, 2, 2))
    radius = np.concatenate(values) if values else np.zeros(0)
    width = 0.8 + 0.22 * np.nan_to_num(radius)
    lines = LineCollection(list(pieces), array=radius, cmap="viridis", norm=norm, linewidths=width, capstyle="round")
    axis.add_collection(lines)
    return lines


def _lines(axis: Axes, outlines: list[Outline]) -> None:
    from matplotlib.collections import LineCollection

    lines = [line for _, line in outlines]
    axis.add_collection(LineCollection(lines, colors=FAINT, linewidths=0.8, linestyles=[(0, (2, 2))]))


def _circles(axis: Axes, colonies: pd.DataFrame, position: str, session: int, *, without: set[int]) -> None:
    from matplotlib.collections import EllipseCollection

    here = colonies[(colonies["position"] == position) & (colonies["session"] == session)]
    here = here[(here["t"] == here["t"].max()) & ~here["colony"].isin(without)]
    if here.empty:
        return
    size = 2 * here["radius"].to_numpy(float)
    axis.add_collection(
        EllipseCollection(
            size, size, np.zeros(len(size)), units="xy", offsets=here[["x", "y"]].to_numpy(float),
            offset_transform=axis.transData, facecolors="none", edgecolors=FAINT, linewidths=0.8,
            linestyles=(0, (2, 2)),
        )
    )  # fmt: skip

"""One pedigree with what was measured along it: how bright each marker was in every cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow.report.style import DEATH, INK, lineage_colors, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def single_tree(
    tracks: pd.DataFrame,
    nodes: pd.DataFrame,
    founder: int,
    *,
    markers: Mapping[str, str],
    thresholds: Mapping[str, float] | None = None,
) -> Figure:
    """Draw the tree of one clone once per marker, every frame shaded by the marker's brightness.

    Parameters
    ----------
    tracks : DataFrame
        Table ``tracks`` of one position and session, founders worked out.
    nodes : DataFrame
        Track nodes joined with ``intensity_<channel>``.
    founder : int
        Track of the clone's founder.
    markers : mapping
        Lineage to channel; a panel each.
    thresholds : mapping, optional
        Channel to the brightness from which it is on: the shade turns there.

    Returns
    -------
    Figure
    """
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

    clone = tracks[tracks["founder_track_id"] == founder]
    height = _heights(clone)
    names = list(markers)
    leaves = max(height.values()) + 1
    figure = new_figure(min(9.0, 1.1 + 0.2 * leaves * 1.2), width=min(9.4, 1.0 + 3.0 * len(names)))
    axes = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    colors = lineage_colors(names)
    mine = nodes[nodes["track_id"].isin(clone["track_id"])].sort_values(["track_id", "time_h"])
    births = clone.set_index("track_id")["start_h"]
    for axis, name in zip(axes, names, strict=True):
        channel = markers[name]
        value = mine[f"intensity_{channel}"].to_numpy(dtype=float)
        level = float((thresholds or {}).get(channel, np.nanmedian(value)))
        low, high = float(np.nanmin(value, initial=0.0)), float(np.nanmax(value, initial=1.0))
        shade = LinearSegmentedColormap.from_list(name, ["#D9D9D9", "#8C8C8C", colors[name]])
        norm = TwoSlopeNorm(level, min(low, level - 1e-6), max(high, level + 1e-6))
        pieces, amounts = [], []
        for track, part in mine.assign(value=value).groupby("track_id"):
            t = part["time_h"].to_numpy(dtype=float)
            half = np.median(np.diff(t)) / 2 if len(t) > 1 else 0.25
            y = height[int(str(track))]
            pieces += [[(a - half, y), (a + half, y)] for a in t]
            amounts += part["value"].tolist()
        lines = LineCollection(pieces, cmap=shade, norm=norm, linewidths=5.0, capstyle="butt")
        lines.set_array(np.ma.masked_invalid(np.array(amounts)))
        axis.add_collection(lines)
        for mother, part in clone[clone["parent_track_id"] > 0].groupby("parent_track_id"):
            ends = [height[i] for i in part["track_id"].astype(int)] + [height[int(str(mother))]]
            x = float(births[part["track_id"]].min())
            axis.plot([x, x], [min(ends), max(ends)], color=INK, lw=0.8, zorder=1)
        dead = clone[clone["fate"] == "death"]
        axis.plot(dead["end_h"], [height[i] for i in dead["track_id"].astype(int)], "x", color=DEATH, ms=6, mew=1.4)
        axis.autoscale_view()
        axis.set_ylim(leaves - 0.4, -0.6)
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        axis.set_title(f"{name} ({channel})")
        axis.set_xlabel("Time (h)")
        figure.colorbar(lines, ax=axis, orientation="horizontal", shrink=0.85, pad=0.02, label="brightness (counts)")
    return figure


def _heights(clone: pd.DataFrame) -> dict[int, float]:
    """Height of each track: leaves below each other, mothers between their daughters."""
    children: dict[int, list[int]] = {}
    for track, mother in zip(clone["track_id"], clone["parent_track_id"], strict=True):
        children.setdefault(int(mother), []).append(int(track))
    height: dict[int, float] = {}
    order = clone.sort_values("generation", ascending=False)["track_id"].astype(int).tolist()
    stack = [int(clone["track_id"].to_numpy()[int(clone["generation"].to_numpy().argmin())])]
    leaf = 0.0
    while stack:
        track = stack.pop()
        daughters = children.get(track, [])
        if not daughters:
            height[track] = leaf
            leaf += 1.0
        stack += sorted(daughters, reverse=True)
    for track in order:
        if track in children:
            height[track] = float(np.mean([height[d] for d in children[track]]))
    return height

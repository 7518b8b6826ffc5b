"""Pedigrees: who divided when, and which marker came on in whom."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_marrow.errors import SettingsError
from napari_marrow.palette import lineage_order
from napari_marrow.report.style import DEATH, INK, NEGATIVE, condition_order, lineage_colors, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LEAVES = 160
SORTED_BY = ("size", "generation", "start", "onset")


@dataclass
class Forest:
    """Line pieces of drawn trees: coloured time intervals, vertical joints and end marks."""

    intervals: list[tuple[float, float, float, str]] = field(default_factory=list)
    joints: list[tuple[float, float, float, str]] = field(default_factory=list)
    ends: list[tuple[float, float, str]] = field(default_factory=list)
    height: float = 0.0
    trees: int = 0


def choose_clones(
    tracks: pd.DataFrame, *, leaves: int = MOST_LEAVES, sort_by: str = "size", onsets: pd.DataFrame | None = None
) -> list[tuple[str, int]]:
    """Return (position, founder) of the largest clones with a division, as many as fit in `leaves` leaves.

    They are in the order `sort_by`: ``size`` (leaves, largest first), ``generation`` (deepest first), ``start`` or
    ``onset`` (earliest first; clones without a marker last).
    """
    if sort_by not in SORTED_BY:
        raise SettingsError(f"Unknown order {sort_by!r} of pedigrees: choose one of {', '.join(SORTED_BY)}.")
    if tracks.empty:
        return []
    ends = tracks[tracks["fate"] != "division"]
    size = ends.groupby(["position", "founder_track_id"]).size()
    divided = tracks.groupby(["position", "founder_track_id"])["generation"].max()
    size = size[divided.reindex(size.index) > 0]
    ordered = size.reset_index(name="n").sort_values(
        ["n", "position", "founder_track_id"], ascending=[False, True, True]
    )
    kept = ordered[ordered["n"].cumsum() <= leaves]
    if kept.empty:
        kept = ordered.head(1)
    clones = [(str(p), int(f)) for p, f in zip(kept["position"], kept["founder_track_id"], strict=True)]
    if sort_by == "size":
        return clones
    clone = ["position", "founder_track_id"]
    if sort_by == "onset":
        came = onsets[onsets["event"] == "onset"] if onsets is not None else tracks.iloc[:0].assign(right_h=np.nan)
        first = came.groupby(clone, as_index=False).agg(key=("right_h", "min"))
    elif sort_by == "start":
        first = tracks.groupby(clone, as_index=False).agg(key=("start_h", "min"))
    else:
        first = tracks.groupby(clone, as_index=False).agg(key=("generation", "max"))
        first["key"] = -first["key"]
    places = zip(first["position"].astype(str), first["founder_track_id"].astype(int), strict=True)
    order = dict(zip(places, first["key"].astype(float), strict=True))
    return sorted(clones, key=lambda one: order.get(one, np.inf))


def pedigree_forest(
    tracks: pd.DataFrame,
    onsets: pd.DataFrame,
    layout: pd.DataFrame,
    *,
    leaves: int = MOST_LEAVES,
    sort_by: str = "size",
) -> Figure:
    """Draw the largest pedigrees, a panel per condition, trees sorted and coloured by lineage marker.

    Parameters
    ----------
    tracks : DataFrame
        Table ``tracks`` with at least one division.
    onsets : DataFrame
        Table ``onsets``; may be empty. A line turns to the lineage's colour when the marker is first seen (dashed
        between the last negative and the first positive frame) and stays so in the offspring.
    layout : DataFrame
        Table ``layout``.
    leaves : int
        Last cells that are drawn in all; some hundreds of trees stay legible.
    sort_by : str
        As for `choose_clones`.

    Returns
    -------
    Figure
    """
    condition = dict(zip(layout["position"].astype(str), layout["condition"].astype(str), strict=True))
    conditions = condition_order([condition.get(str(p), "") for p in layout["position"]]) or [""]
    per_panel = max(leaves // len(conditions), 1)
    by_condition = {
        c: tracks[[condition.get(str(p), conditions[0]) == c for p in tracks["position"]]] for c in conditions
    }
    names = lineage_order(onsets.loc[onsets["lineage"] != "", "lineage"]) if len(onsets) else []
    colors = lineage_colors(names)
    forests = {
        c: _forest(part, onsets, colors, choose_clones(part, leaves=per_panel, sort_by=sort_by, onsets=onsets))
        for c, part in by_condition.items()
    }
    forests = {c: f for c, f in forests.items() if f.trees}
    tallest = max(f.height for f in forests.values())
    figure = new_figure(min(10.0, 1.3 + 0.075 * tallest), width=9.4)
    axes = figure.subplots(1, len(forests), squeeze=False, sharex=True)[0]
    for axis, (name, forest) in zip(axes, forests.items(), strict=True):
        _draw(axis, forest)
        axis.set_title(f"{name}\n{_counts(by_condition[name], forest.trees)}".strip())
        axis.set_ylim(tallest, -1)
        axis.set_xlabel("Time (h)")
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
    figure.legend(
        handles=_handles(colors, forests), loc="outside lower center", ncols=8, columnspacing=1.1, handlelength=1.5
    )
    return figure


def _counts(tracks: pd.DataFrame, shown: int) -> str:
    """Return how many clones there are, divided and are shown."""
    clones = tracks.groupby(["position", "founder_track_id"])["generation"].max()
    divided = int((clones > 0).sum())
    some = f"{shown} largest of {divided}" if shown < divided else f"{divided}"
    return f"{some} that divided,\nof {len(clones)} clones"


def _forest(
    tracks: pd.DataFrame, onsets: pd.DataFrame, colors: dict[str, str], clones: list[tuple[str, int]]
) -> Forest:
    forest = Forest()
    wanted = set(clones)
    keys = list(zip(tracks["position"].astype(str), tracks["founder_track_id"].astype(int), strict=True))
    part = tracks[[k in wanted for k in keys]]
    marks = _onset_marks(onsets)
    rows = {(str(r["position"]), int(r["track_id"])): r for r in part.to_dict("records")}
    children: dict[tuple[str, int], list[tuple[str, int]]] = {}
    for key, row in rows.items():
        if int(row["parent_track_id"]):
            children.setdefault((key[0], int(row["parent_track_id"])), []).append(key)
    for siblings in children.values():
        siblings.sort()
    for clone in clones:
        if clone in rows:
            _place(clone, rows, children, marks, colors, forest, "")
            forest.height += 1.2
            forest.trees += 1
    return forest


def _onset_marks(onsets: pd.DataFrame) -> dict[tuple[str, int], tuple[str, float, float]]:
    """Return lineage, last negative and first positive time of each track in which a marker came on."""
    if onsets.empty:
        return {}
    # Cells that were positive when first seen have no last negative frame: their line is coloured from the start.
    known = onsets[onsets["event"].isin(["onset", "prevalent"]) & (onsets["lineage"] != "")]
    real = known.assign(
        left_h=known["left_h"].where(known["event"] == "onset", -np.inf),
        right_h=known["right_h"].where(known["event"] == "onset", -np.inf),
    ).sort_values("right_h", kind="stable")
    marks: dict[tuple[str, int], tuple[str, float, float]] = {}
    for row in real.to_dict("records"):
        key = (str(row["position"]), int(row["track_id"]))
        marks.setdefault(key, (str(row["lineage"]), float(row["left_h"]), float(row["right_h"])))
    return marks


def _place(
    key: tuple[str, int],
    rows: Mapping[tuple[str, int], Mapping[Hashable, Any]],
    children: dict[tuple[str, int], list[tuple[str, int]]],
    marks: dict[tuple[str, int], tuple[str, float, float]],
    colors: dict[str, str],
    forest: Forest,
    inherited: str,
) -> float:
    """Lay out a subtree, leaves below each other, and return the height of its root."""
    row = rows[key]
    start, end, fate = float(row["start_h"]), float(row["end_h"]), str(row["fate"])
    lineage = inherited
    offspring = children.get(key, [])
    own = marks.get(key)
    after = own[0] if own and not inherited else inherited
    if offspring:
        heights = [_place(k, rows, children, marks, colors, forest, after) for k in offspring]
        y = float(np.mean(heights))
        birth = min(float(rows[k]["start_h"]) for k in offspring)
        forest.joints.append((birth, min(heights), max(heights), colors.get(after, NEGATIVE)))
        end = max(end, birth)
    else:
        y = forest.height
        forest.height += 1.0
        forest.ends.append((end, y, fate))
    if own and not inherited:
        _, left, right = own
        left, right = min(max(left, start), end), min(max(right, start), end)
        forest.intervals.append((start, left, y, NEGATIVE))
        forest.intervals.append((left, right, y, colors[after] + "~"))
        forest.intervals.append((right, end, y, colors[after]))
    else:
        forest.intervals.append((start, end, y, colors.get(lineage, NEGATIVE)))
    return y


def _draw(axis: Axes, forest: Forest) -> None:
    from matplotlib.collections import LineCollection

    solid = [(a, b, y, c) for a, b, y, c in forest.intervals if not c.endswith("~") and b > a]
    dashed = [(a, b, y, c[:-1]) for a, b, y, c in forest.intervals if c.endswith("~") and b > a]
    for pieces, style, width in ((solid, "solid", 1.5), (dashed, (0, (1.2, 0.8)), 1.5)):
        axis.add_collection(
            LineCollection(
                [[(a, y), (b, y)] for a, b, y, _ in pieces],
                colors=[c for *_, c in pieces],
                linewidths=width,
                linestyles=style,
            )
        )
    axis.add_collection(
        LineCollection(
            [[(x, low), (x, high)] for x, low, high, _ in forest.joints],
            colors=[c for *_, c in forest.joints],
            linewidths=0.8,
        )
    )
    for fate, look in _END_MARKS.items():
        points = [(x, y) for x, y, f in forest.ends if f == fate]
        if points:
            axis.plot(*zip(*points, strict=True), ls="none", zorder=3, **look)
    axis.autoscale_view()


_END_MARKS: dict[str, dict[str, Any]] = {
    "death": {"marker": "x", "color": DEATH, "ms": 4.5, "mew": 1.3},
    "loss": {"marker": "o", "mfc": "white", "mec": INK, "ms": 3.5, "mew": 0.8},
    "exit": {"marker": ">", "color": INK, "ms": 3.5, "mew": 0},
}


def _handles(colors: dict[str, str], forests: dict[str, Forest]) -> list[object]:
    from matplotlib.lines import Line2D

    present = {fate for forest in forests.values() for *_, fate in forest.ends}
    handles = [Line2D([], [], color=NEGATIVE, lw=2, label="no marker yet")]
    handles += [Line2D([], [], color=c, lw=2, label=name) for name, c in colors.items()]
    if colors:
        handles.append(Line2D([], [], color=INK, lw=1.5, ls=(0, (1.2, 0.8)), label="last − to first + frame"))
    words = {"death": "death", "loss": "lost", "exit": "left the field"}
    handles += [Line2D([], [], ls="none", label=words[f], **style) for f, style in _END_MARKS.items() if f in present]
    return list(handles)

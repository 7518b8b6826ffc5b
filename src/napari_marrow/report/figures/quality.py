"""Quality of frames, registration, segmentation and links at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow.report.style import FAINT, INK, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FLAG_STYLE = {
    "blank": ("#000000", "s"),
    "defocus": ("#0072B2", "o"),
    "saturation": ("#D55E00", "^"),
    "drift": ("#56B4E9", ">"),
    "duplicate": ("#CC79A7", "D"),
    "media_change": ("#E69F00", "v"),
    "gap": ("#009E73", "X"),
}


def frame_timeline(frames: pd.DataFrame, names: dict[str, str]) -> Figure:
    """Draw when each field was imaged, and which frames carry a flag.

    Parameters
    ----------
    frames : DataFrame
        Table ``frames`` (``position, session, t, time_h, flags``), at least one row.
    names : dict
        Title of each position.

    Returns
    -------
    Figure
    """
    positions = list(dict.fromkeys(frames["position"].astype(str)))
    figure = new_figure(min(8.0, 1.3 + 0.24 * len(positions)))
    axis = figure.subplots()
    present: set[str] = set()
    for i, position in enumerate(positions):
        part = frames[frames["position"] == position]
        days = part["time_h"].to_numpy(float) / 24.0
        axis.plot(days, np.full(len(days), i), "|", color="#9A9A9A", ms=9, mew=0.9, zorder=1)
        for day, flags in zip(days, part["flags"].astype(str), strict=True):
            for k, flag in enumerate(f for f in flags.split(",") if f):
                color, marker = _FLAG_STYLE.get(flag, (INK, "*"))
                axis.plot(day, i - 0.16 * k, marker, color=color, ms=5.5, mec="white", mew=0.5, zorder=3)
                present.add(flag)
    axis.set_yticks(range(len(positions)), [names.get(p, p) for p in positions])
    axis.set_ylim(len(positions) - 0.4, -0.6)
    axis.set_xlabel("Time (days)")
    axis.tick_params(left=False)
    axis.spines["left"].set_visible(False)
    figure.legend(handles=_flag_handles(present), loc="outside lower center", ncols=8, columnspacing=1.3)
    return figure


def _flag_handles(present: set[str]) -> list[object]:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], ls="none", marker="|", color="#9A9A9A", ms=9, label="frame without a flag")]
    for flag in [*_FLAG_STYLE, *sorted(present - set(_FLAG_STYLE))]:
        if flag in present:
            color, marker = _FLAG_STYLE.get(flag, (INK, "*"))
            handles.append(Line2D([], [], ls="none", marker=marker, color=color, ms=6, label=flag.replace("_", " ")))
    return list(handles)


def confidence(transforms: pd.DataFrame, cells: pd.DataFrame, edges: pd.DataFrame) -> Figure:
    """Draw registration residuals, cells per frame and link probabilities; what is empty is left out.

    Parameters
    ----------
    transforms : DataFrame
        First frame of every session but a position's first: ``session, residual, accepted``.
    cells : DataFrame
        Cells per frame: ``position, session, time_h, n``.
    edges : DataFrame
        Table ``track_edges``.

    Returns
    -------
    Figure
        At least one of the tables must have rows.
    """
    drawn = [name for name, table in (("r", transforms), ("c", cells), ("e", edges)) if len(table)]
    figure = new_figure(2.9, width=min(9.4, 0.4 + 3.1 * len(drawn)))
    axes = dict(zip(drawn, figure.subplots(1, len(drawn), squeeze=False)[0], strict=True))
    if "r" in axes:
        _residuals(axes["r"], transforms)
    if "c" in axes:
        _counts(axes["c"], cells)
    if "e" in axes:
        _probabilities(axes["e"], edges)
    return figure


def _residuals(axis: Axes, transforms: pd.DataFrame) -> None:
    finite = transforms[np.isfinite(transforms["residual"].to_numpy(float))]
    for accepted, color, marker, word in ((True, "#0072B2", "o", "accepted"), (False, "#D55E00", "X", "not accepted")):
        part = finite[finite["accepted"].astype(bool) == accepted]
        if len(part):
            offsets = 0.25 * (np.linspace(-1, 1, len(part)) if len(part) > 1 else np.zeros(1))
            axis.scatter(
                part["session"] + offsets, part["residual"], s=26, color=color, marker=marker, label=word,
                edgecolors="white", linewidths=0.5,
            )  # fmt: skip
    axis.set_xticks(sorted(transforms["session"].unique()))
    axis.set_ylim(bottom=0)
    axis.set(xlabel="Session", ylabel="Median residual (µm)", title="Registration to the first session")
    if finite["accepted"].any() and not finite["accepted"].all():
        axis.legend(loc="upper left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)
        axis.margins(y=0.25)
        axis.set_ylim(bottom=0)
    if finite.empty:
        axis.text(0.5, 0.5, "no residual was measured", transform=axis.transAxes, ha="center", color=FAINT)


def _counts(axis: Axes, cells: pd.DataFrame) -> None:
    for _, part in cells.groupby(["position", "session"]):
        ordered = part.sort_values("time_h")
        axis.plot(ordered["time_h"] / 24.0, ordered["n"], "-", color="#0072B2", lw=0.9, marker="o", ms=2.2, alpha=0.7)
    axis.set(xlabel="Time (days)", ylabel="Cells per frame", title="Segmentation")
    axis.set_ylim(bottom=0)


def _probabilities(axis: Axes, edges: pd.DataFrame) -> None:
    probability = edges["probability"].to_numpy(float)
    probability = probability[np.isfinite(probability)]
    axis.hist(probability, bins=[i / 20 for i in range(21)], color="#56B4E9", edgecolor="white", linewidth=0.5)
    axis.set_yscale("log")
    axis.set_xlim(0, 1)
    axis.set(xlabel="Probability that the link is right", ylabel="Links (log scale)", title="Confidence of cell links")

"""Emergence of lineages: cumulative incidence with competing fates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow.palette import lineage_order
from napari_marrow.report.hints import hint
from napari_marrow.report.style import condition_colors, condition_order, lineage_colors, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def emergence_curves(emergence: pd.DataFrame, *, subject: str = "cells") -> Figure:
    """Draw the cumulative incidence of each lineage by condition, with 95 % bands and the numbers at risk.

    Parameters
    ----------
    emergence : DataFrame
        Table ``emergence``, at least one row. Rows of organoid "all" are drawn as lines with bands, single organoids as
        thin lines.
    subject : str
        What is at risk: cells, or colonies.

    Returns
    -------
    Figure
    """
    table = emergence
    if (table["condition"] != "all").any():
        table = table[table["condition"] != "all"]
    lineages = lineage_order(table["lineage"])
    conditions = condition_order(table["condition"])
    colors = condition_colors(conditions)
    columns = min(4, len(lineages))
    rows = -(-len(lineages) // columns)
    risk_height = 0.35 + 0.17 * len(conditions)
    figure = new_figure(rows * (2.5 + risk_height), width=min(9.4, 1.4 + 2.7 * columns))
    grid = figure.subplots(
        2 * rows, columns, squeeze=False, sharex=True, height_ratios=[2.5, risk_height] * rows,
    )  # fmt: skip
    top = _top(table)
    ticks = _ticks(float(table["time_h"].max()))
    for k, lineage in enumerate(lineages):
        row, column = divmod(k, columns)
        axis, risk = grid[2 * row, column], grid[2 * row + 1, column]
        part = table[table["lineage"].astype(str) == lineage]
        for condition in conditions:
            _condition(axis, part[part["condition"].astype(str) == condition], condition, colors[condition])
        axis.set_title(lineage, color=_readable(lineage))
        axis.set_ylim(0, top)
        axis.set_xlim(0, float(table["time_h"].max()))
        axis.set_xticks(ticks)
        axis.tick_params(labelbottom=True)
        if column == 0:
            axis.set_ylabel("Cumulative incidence")
        _numbers_at_risk(risk, part, conditions, colors, ticks, subject, first=column == 0)
    for k in range(len(lineages), rows * columns):
        row, column = divmod(k, columns)
        grid[2 * row, column].remove()
        grid[2 * row + 1, column].remove()
    handles, words = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, words, loc="outside upper center", ncols=max(1, len(words)), handlelength=1.6)
    return figure


def _readable(lineage: str) -> str:
    color = lineage_colors([lineage])[lineage]
    return "#A3447F" if color == "#CC79A7" else ("#7A6F00" if color == "#F0E442" else color)


def _top(table: pd.DataFrame) -> float:
    pooled = table[table["organoid"] == "all"]
    values = np.concatenate([table["cumulative_incidence"].to_numpy(float), pooled["high"].to_numpy(float)])
    values = values[np.isfinite(values)]
    return float(min(1.02, max(0.1, 1.08 * values.max()))) if values.size else 1.02


def _ticks(end: float) -> list[float]:
    step = next((s for s in (1, 2, 4, 6, 12, 24, 48, 72, 96, 168, 336) if end / s <= 5.5), max(end / 4, 1e-3))
    return [float(v) for v in np.arange(0, end + 1e-6, step)]


def _condition(axis: Axes, part: pd.DataFrame, condition: str, color: str) -> None:
    for organoid, curve in part[part["organoid"] != "all"].groupby("organoid"):
        curve = curve.sort_values("time_h")
        (line,) = axis.step(
            curve["time_h"], curve["cumulative_incidence"], where="post", color=color, lw=0.6, alpha=0.55
        )
        hint(line, f"{organoid}, {condition}", series=condition, curve=True)
    pooled = part[part["organoid"] == "all"].sort_values("time_h")
    if pooled.empty:
        return
    band = axis.fill_between(pooled["time_h"], pooled["low"], pooled["high"], step="post", color=color, alpha=0.2, lw=0)
    hint(band, "", series=condition)
    if "low_total" in pooled.columns:
        # Drawn from the link probabilities: where the dotted lines leave the band, tracking matters.
        for side in ("low_total", "high_total"):
            (line,) = axis.step(pooled["time_h"], pooled[side], where="post", color=color, lw=0.8, ls=(0, (1, 1.5)))
            hint(line, "", series=condition)
    (line,) = axis.step(
        pooled["time_h"], pooled["cumulative_incidence"], where="post", color=color, lw=2.0, label=condition
    )
    hint(line, f"{condition}, all organoids", series=condition, curve=True)


def _numbers_at_risk(
    axis: Axes, part: pd.DataFrame, conditions: list[str], colors: dict[str, str], ticks: list[float], subject: str, *,
    first: bool,
) -> None:  # fmt: skip
    axis.set_ylim(len(conditions) - 0.4, -1.2)
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)
    axis.tick_params(left=False, bottom=False, labelleft=first, labelbottom=False)
    axis.set_yticks(range(len(conditions)), conditions if first else [])
    axis.tick_params(axis="y", pad=14)
    axis.set_title(f"Time (h)   ·   {subject} at risk:", fontsize=8, fontweight="normal", loc="center", pad=1)
    for i, condition in enumerate(conditions):
        curve = part[(part["condition"].astype(str) == condition) & (part["organoid"] == "all")].sort_values("time_h")
        if curve.empty:
            continue
        time, at_risk = curve["time_h"].to_numpy(float), curve["at_risk"].to_numpy(int)
        for tick in ticks:
            # At risk just before the tick: the first row at or after it, and none behind the last row.
            k = int(np.searchsorted(time, tick - 1e-9))
            value = at_risk[k] if k < len(at_risk) else 0
            axis.text(tick, i, f"{value}", ha="center", va="center", fontsize=7.5, color=colors[condition])

"""Clones: their sizes, hazards by generation and time, and blood output over weeks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow.palette import lineage_order
from napari_marrow.report.style import condition_colors, condition_order, lineage_colors, new_figure, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_GENERATIONS = 8


def clone_sizes(clones: pd.DataFrame, layout: pd.DataFrame) -> Figure:
    """Draw how many clones are larger than n cells at the end, by condition, and what became of them.

    Parameters
    ----------
    clones : DataFrame
        Table ``clones``, at least one row: n_end, n_escaped, extinct.
    layout : DataFrame
        Table ``layout``.

    Returns
    -------
    Figure
        Left: share of clones with at least n cells (logarithmic); extinct clones count with 0. Right: share of clones
        extinct, with escaped cells (their size is a lower bound) and fully seen.
    """
    table = _placed(clones, layout)
    conditions = condition_order(table["condition"])
    colors = condition_colors(conditions)
    figure = new_figure(3.2, width=8.2)
    left, right = figure.subplots(1, 2, width_ratios=[1.6, 1.0])
    for name in conditions:
        size = np.sort(table.loc[table["condition"] == name, "n_end"].to_numpy(dtype=float))
        steps = np.arange(0, size.max() + 1)
        share = [(size >= n).mean() for n in steps]
        label = f"{name} (n = {len(size)})"
        left.step(np.append(steps, steps[-1] + 1), [*share, 0.0], where="pre", color=colors[name], label=label, lw=1.8)
    least = 0.5 / max(len(table), 1)
    left.set_yscale("log")
    left.set_ylim(max(least, 1e-4), 1.3)
    left.set_xlim(-0.2, max(2.0, float(table["n_end"].max()) + 1.2))
    left.xaxis.get_major_locator().set_params(integer=True)
    left.set_xlabel("Cells of the clone at the end, n")
    left.set_ylabel("Share of clones ≥ n")
    left.set_title("Clone sizes")
    left.legend()
    _became(right, table, conditions)
    return figure


def _became(axis: Axes, table: pd.DataFrame, conditions: list[str]) -> None:
    kinds = {"extinct": ("#1A1A1A", table["extinct"].astype(bool))}
    kinds["with cells that escaped"] = ("#C9C9C9", ~kinds["extinct"][1] & (table["n_escaped"] > 0))
    kinds["fully seen"] = ("#6FA8C9", ~kinds["extinct"][1] & (table["n_escaped"] == 0))
    left = np.zeros(len(conditions))
    for label, (color, mask) in kinds.items():
        share = np.array([mask[table["condition"] == c].mean() for c in conditions])
        axis.barh(range(len(conditions)), share, left=left, color=color, label=label, height=0.6)
        left += share
    axis.set_yticks(range(len(conditions)), conditions)
    axis.set_ylim(len(conditions) - 0.4, -1.3)
    axis.set_xlim(0, 1)
    axis.set_xlabel("Share of clones")
    axis.set_title("What became of them")
    axis.legend(loc="upper left", ncols=1, fontsize=7.5, bbox_to_anchor=(0.0, 1.0))


def generation_time_map(onsets: pd.DataFrame) -> Figure:
    """Draw onsets by generation and time: one map per lineage, hazard per cell-hour, cells at risk written in.

    Parameters
    ----------
    onsets : DataFrame
        Table ``onsets``, at least one row at risk.

    Returns
    -------
    Figure
    """
    table = onsets[onsets["event"] != "prevalent"]
    entry = table["entry_h"].to_numpy(dtype=float)
    right = table["right_h"].to_numpy(dtype=float)
    left = np.maximum(table["left_h"].to_numpy(dtype=float), entry)
    leave = np.where(np.isfinite(right), (left + np.where(np.isfinite(right), right, 0)) / 2, left)
    edges = np.linspace(entry.min(), max(leave.max(), entry.min() + 1e-6), 9)
    generation = np.minimum(table["generation"].to_numpy(dtype=int), MOST_GENERATIONS)
    top = int(generation.max())
    hours = np.zeros((top + 1, len(edges) - 1))
    for k in range(len(edges) - 1):
        inside = np.clip(np.minimum(leave, edges[k + 1]) - np.maximum(entry, edges[k]), 0, None)
        hours[:, k] = np.bincount(generation, weights=inside, minlength=top + 1)
    names = lineage_order(table.loc[table["lineage"] != "", "lineage"]) or ["any"]
    hazards = {}
    for name in names:
        mine = (table["lineage"] == name).to_numpy()
        events, _, _ = np.histogram2d(generation[mine], leave[mine], bins=[np.arange(top + 2), edges])
        with np.errstate(divide="ignore", invalid="ignore"):
            hazards[name] = (np.where(hours > 0, events / np.where(hours > 0, hours, 1), np.nan), events)
    most = max(float(np.nanmax(np.where(hours >= 10, h, np.nan), initial=1e-6)) for h, _ in hazards.values())
    figure = new_figure(1.4 + 0.42 * (top + 1), width=min(9.4, 1.4 + 3.3 * len(names)))
    axes = panels(figure, len(names), 3)
    for axis, name in zip(axes, names, strict=True):
        value, events = hazards[name]
        shade = axis.pcolormesh(edges, np.arange(-0.5, top + 1), np.where(hours > 0, value, np.nan), cmap="viridis",
                                vmin=0, vmax=most)  # fmt: skip
        for g in range(top + 1):
            for k in range(len(edges) - 1):
                if hours[g, k] >= 1:
                    dark = np.nan_to_num(value[g, k]) < 0.6 * most
                    axis.text((edges[k] + edges[k + 1]) / 2, g, f"{int(events[g, k])}", ha="center", va="center",
                              fontsize=7, color="white" if dark else "black")  # fmt: skip
        axis.set_title(name)
        axis.set_xlabel("Time (h)")
        axis.set_yticks(range(top + 1), [f"{g}{'+' * (g == MOST_GENERATIONS)}" for g in range(top + 1)])
        axis.set_facecolor("#EDEDED")
    axes[0].set_ylabel("Generation")
    figure.colorbar(shade, ax=axes, label="Onsets per cell-hour", shrink=0.9)
    return figure


def blood_output_curves(output: pd.DataFrame) -> Figure:
    """Draw the cells of every lineage over the weeks, a panel per lineage, organoids as lines.

    Parameters
    ----------
    output : DataFrame
        Table ``blood_output``, at least one row.

    Returns
    -------
    Figure
        Thin lines with points: organoids; thick: mean of a condition at sessions that all its organoids have.
    """
    table = output[output["source"] == "held"]
    names = ["all", *lineage_order(table.loc[table["lineage"] != "all", "lineage"])]
    conditions = condition_order(table["condition"])
    colors = condition_colors(conditions)
    figure = new_figure(2.9 if len(names) <= 4 else 5.4)
    axes = panels(figure, len(names), 4, share="none")
    tints = lineage_colors(names[1:])
    for axis, name in zip(axes, names, strict=True):
        part = table[table["lineage"] == name]
        for condition in conditions:
            mine = part[part["condition"] == condition]
            for _, one in mine.groupby("organoid"):
                axis.plot(one["time_h"] / 24, one["n_cells"], "-o", color=colors[condition], lw=0.7, ms=2.5, alpha=0.6)
            mean = mine.groupby("session").agg(time=("time_h", "mean"), n=("n_cells", "mean"), k=("organoid", "size"))
            mean = mean[mean["k"] == mine["organoid"].nunique()]
            axis.plot(mean["time"] / 24, mean["n"], color=colors[condition], lw=2.2, label=condition)
        axis.set_title("all cells" if name == "all" else name, color=_dark(tints.get(name, "#1A1A1A")))
        axis.set_xlabel("Time (days)")
        axis.set_ylim(bottom=0)
    axes[0].set_ylabel("Cells per organoid in the field")
    axes[0].legend()
    return figure


def _dark(color: str) -> str:
    return {"#CC79A7": "#A3447F", "#F0E442": "#7A6F00"}.get(color, color)


def _placed(table: pd.DataFrame, layout: pd.DataFrame) -> pd.DataFrame:
    where = layout[["position", "condition"]].drop_duplicates("position").astype(str)
    out = table.merge(where, on="position", how="left")
    out["condition"] = out["condition"].fillna("not in the layout").replace("", "no condition")
    return out

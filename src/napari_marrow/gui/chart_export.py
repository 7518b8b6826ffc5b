"""A chart as a figure for a paper, with its numbers beside it. Knows no Qt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_marrow.errors import SettingsError
from napari_marrow.gui.charts import Chart, Series, as_steps, risk_counts, tick_times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".pdf", ".svg", ".png")
_STYLES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}


def export_chart(chart: Chart, path: Path | str, *, study: str, recipe: str) -> Path:
    """Write a chart as a figure, and its numbers as a CSV file of the same name.

    Parameters
    ----------
    chart : Chart
    path : path
        Ends in ``.pdf``, ``.svg`` or ``.png``.
    study : str
        Name of the study.
    recipe : str
        Digest of the recipe; it stands in the figure's metadata and in a column of the numbers.

    Returns
    -------
    Path
        The CSV file.

    Raises
    ------
    SettingsError
        If there is nothing to export, or the format is another.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise SettingsError(f"'{path.name}' is no figure's name: let it end in {', '.join(FORMATS)}.")
    if chart.empty:
        raise SettingsError("There is nothing to export: run the recipe, or choose another part of the study.")
    figure = draw_figure(chart)
    key = {".pdf": "Subject", ".svg": "Description", ".png": "Description"}[path.suffix.lower()]
    figure.savefig(path, dpi=300, metadata={key: f"Study {study}, recipe {recipe}"})
    numbers = path.with_suffix(".csv")
    chart.numbers.assign(study=study, recipe=recipe).to_csv(numbers, index=False)
    return numbers


def draw_figure(chart: Chart) -> Figure:
    """Return a chart drawn with matplotlib, numbers at risk below it."""
    from matplotlib.figure import Figure

    extra = 0.18 * len(chart.at_risk) + (0.3 if chart.at_risk else 0.0)
    figure = Figure(figsize=(4.8, 3.4 + extra), layout="constrained")
    axes, below = figure.add_subplot(), None
    if chart.at_risk:
        figure.clear()
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.1, extra])
    for series in chart.series:
        _draw(axes, series)
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    axes.spines[["top", "right"]].set_visible(False)
    if chart.log_y:
        axes.set_yscale("log")
    if chart.y_range is not None:
        axes.set_ylim(*chart.y_range)
    if chart.x_ticks:
        axes.set_xticks([at for at, _ in chart.x_ticks], [name for _, name in chart.x_ticks], fontsize=8)
    if chart.same_scale:
        axes.set_aspect("equal")
        axes.invert_yaxis()
    if any(series.name for series in chart.series):
        axes.legend(frameon=False, fontsize=7)
    if below is not None:
        _at_risk(axes, below, chart)
    return figure


def _draw(axes: Axes, s: Series) -> None:
    from matplotlib.collections import LineCollection

    alpha, label = (0.5 if s.faint else 1.0), s.name or None
    if s.kind == "bars":
        axes.bar(s.x, s.y, s.width, color=s.colour, alpha=0.65, label=label)
        if s.low is not None and s.high is not None:
            axes.vlines(s.x, s.low, s.high, color="black", linewidth=1)
    elif s.kind == "points":
        axes.plot(s.x, s.y, ".", color=s.colour, ms=s.width, label=label)
    elif s.kind == "pieces":
        pieces = np.column_stack([s.x, s.y]).reshape(-1, 2, 2)
        axes.add_collection(LineCollection(list(pieces), colors=s.colour, linewidths=s.width, label=s.name))
    else:
        low, high = (s.y if end is None else end for end in (s.low, s.high))
        x, y, low, high = as_steps(s.x, s.y, low, high) if s.kind == "steps" else (s.x, s.y, low, high)
        if s.has_band:
            axes.fill_between(x, low, high, color=s.colour, alpha=0.18, linewidth=0)
        marker = "." if s.dotted else None
        axes.plot(
            x, y, color=s.colour, linestyle=_STYLES[s.dash], linewidth=0.75 * s.width, alpha=alpha, label=label,
            marker=marker,
        )  # fmt: skip


def _at_risk(axes: Axes, below: Axes, chart: Chart) -> None:
    ticks = tick_times(max(float(time.max()) for time, _ in chart.at_risk.values()))
    axes.set_xlim(left=0)
    axes.set_xticks(ticks)
    axes.tick_params(labelbottom=True)
    counted = risk_counts(chart, ticks)
    below.set_ylim(len(counted) - 0.5, -0.5)
    below.set_yticks(range(len(counted)), list(counted), fontsize=8)
    below.set_title("tracks at risk", fontsize=8)
    below.tick_params(left=False, bottom=False, labelbottom=False)
    below.spines[:].set_visible(False)
    for row, numbers in enumerate(counted.values()):
        for at, number in zip(ticks, numbers, strict=True):
            below.text(at, row, str(number), ha="center", va="center", fontsize=8)

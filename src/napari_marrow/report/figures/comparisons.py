"""Estimation plots: every organoid, the difference of means and its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.report.hints import hint
from napari_marrow.report.style import FAINT, INK, condition_colors, condition_order, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ENDPOINTS = 12


def endpoint_words(endpoint: str) -> str:
    """Return an endpoint's name for a reader: underscores and ``|`` become spaces and commas."""
    return endpoint.replace("|", ", ").replace("_", " ").replace(":", ": ").replace("  ", " ")


def p_words(p: float) -> str:
    """Return "p = .031" in two significant digits, "p < .001" for smaller ones, with spaces that do not break."""
    if not np.isfinite(p):
        return "p not available"
    return "p\u00a0< .001" if p < 0.001 else f"p\u00a0=\u00a0{p_digits(p)}"


def p_digits(p: float) -> str:
    """Return ".031", "1", "< .001", or "n/a"."""
    if not np.isfinite(p):
        return "n/a"
    if p < 0.001:
        return "< .001"
    text = f"{p:.2f}" if p >= 0.1 else (f"{p:.3f}" if p >= 0.01 else f"{p:.4f}")
    return text.removeprefix("0") if p < 0.995 else "1"


def estimation_plots(comparisons: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Draw, for each compared endpoint, all organoids by condition and the difference of means with its interval.

    Parameters
    ----------
    comparisons : DataFrame
        Table ``comparisons``, at least one row; the first twelve are drawn.
    summary : DataFrame
        Table ``organoid_summary``: the points.

    Returns
    -------
    Figure
    """
    rows = comparisons.head(MOST_ENDPOINTS)
    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    wide, tall = 3.12, 2.8
    figure = new_figure(tall * lines, width=wide * columns)
    # Every panel is alike, so its places are known: a layout solver would take seconds for two dozen axes.
    figure.set_layout_engine("none")
    colors = condition_colors(condition_order([*comparisons["condition_a"], *comparisons["condition_b"]]))
    for k, (_, row) in enumerate(rows.iterrows()):
        left, bottom = wide * (k % columns), tall * (lines - 1 - k // columns)

        def place(x: float, width: float, left: float = left, bottom: float = bottom) -> Axes:
            box = ((left + x) / (wide * columns), (bottom + 0.5) / (tall * lines))
            return figure.add_axes((*box, width / (wide * columns), 1.6 / (tall * lines)))

        points, difference = place(0.66, 1.22), place(1.98, 0.62)
        _points(points, row, summary[summary["endpoint"] == row["endpoint"]], colors)
        _difference(difference, row)
        _align(points, difference, row)
        at = ((left + 0.08) / (wide * columns), (bottom + tall - 0.1) / (tall * lines))
        figure.text(*at, _title(row), ha="left", va="top", fontsize=9, fontweight="bold")
    return figure


def _title(row: pd.Series) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(endpoint_words(str(row["endpoint"])), 40)[:2])


def _label(row: pd.Series) -> str:
    return f"Value ({row['unit']})" if str(row["unit"]) else "Value (no unit)"


def _points(axis: Axes, row: pd.Series, values: pd.DataFrame, colors: dict[str, str]) -> None:
    for i, side in enumerate("ab"):
        condition = str(row[f"condition_{side}"])
        shown = values[(values["condition"].astype(str) == condition) & np.isfinite(values["value"].to_numpy(float))]
        shown = shown.sort_values("value", kind="stable")
        y = shown["value"].to_numpy(float)
        for x, value, organoid in zip(i + spread(y), y, shown["organoid"], strict=True):
            point = axis.scatter(
                x, value, s=26, color=colors[condition], alpha=0.85, edgecolors="white", linewidths=0.7, zorder=3
            )
            hint(point, f"{organoid}, {condition}: {value:.3g} {row['unit']}".rstrip(), series=condition)
        axis.plot([i - 0.28, i + 0.28], [row[f"mean_{side}"]] * 2, color=INK, lw=1.6, zorder=4)
    names = [f"{row[f'condition_{side}']}\nn = {row[f'n_{side}']}" for side in "ab"]
    axis.set_xticks([0, 1], names, fontsize=7.5)
    axis.set_xlim(-0.6, 1.6)
    axis.set_ylabel(_label(row))
    # Ticks are kept narrow, as the panel's margins are fixed.
    axis.locator_params(axis="y", nbins=6)


def spread(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return sideways offsets that keep points of nearly equal height apart."""
    offsets = np.zeros(len(values))
    if len(values) < 2:
        return offsets
    near = 0.04 * max(float(np.ptp(values)), 1e-12)
    run = 0
    for i in range(1, len(values)):
        run = run + 1 if values[i] - values[i - 1] < near else 0
        offsets[i] = 0.1 * (-1) ** run * ((run + 1) // 2)
    return offsets


def _align(points: Axes, difference: Axes, row: pd.Series) -> None:
    """Give both axes one scale, zero difference beside the reference's mean."""
    low, high = points.get_ylim()
    reference = float(row["mean_a"])
    if not np.isfinite(reference):
        return
    ends = [reference + v for v in (float(row["low"]), float(row["high"]), float(row["difference"])) if np.isfinite(v)]
    low, high = min([low, *ends]), max([high, *ends])
    margin = 0.04 * (high - low)
    points.set_ylim(low - margin, high + margin)
    difference.set_ylim(low - margin - reference, high + margin - reference)


def _difference(axis: Axes, row: pd.Series) -> None:
    low, high = float(row["low"]), float(row["high"])
    axis.axhline(0, color=FAINT, lw=0.8, ls=(0, (3, 3)))
    if np.isfinite(low) and np.isfinite(high):
        axis.plot([0, 0], [low, high], color=INK, lw=2.2, solid_capstyle="butt")
    axis.plot(0, row["difference"], "D", color=INK, ms=6, mec="white", mew=0.7)
    axis.set_xlim(-0.6, 0.6)
    axis.set_xticks([0], ["difference\n(95 % interval)"], fontsize=7.5)
    axis.yaxis.tick_right()
    axis.spines["left"].set_visible(False)
    axis.spines["right"].set_visible(True)
    smallest = float(row["smallest_p"])
    note = p_words(float(row["p_value"]))
    if np.isfinite(smallest):
        note += f"\nleast possible {p_digits(smallest)}"
    axis.set_title(note, fontsize=7.5, fontweight="normal", loc="center", linespacing=1.3, pad=4)
    axis.locator_params(axis="y", nbins=6)

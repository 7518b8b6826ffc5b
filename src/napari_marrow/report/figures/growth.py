"""Growth of colonies over days."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow.report.style import MARKERS, condition_colors, condition_order, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def colony_growth(colonies: pd.DataFrame, growth: pd.DataFrame, layout: pd.DataFrame) -> Figure:
    """Draw the cell number of every colony over time, a panel per condition, and the growth rates per organoid.

    Parameters
    ----------
    colonies : DataFrame
        Table ``colonies``, at least one row.
    growth : DataFrame
        Table ``colony_growth``; may be empty.
    layout : DataFrame
        Table ``layout``.

    Returns
    -------
    Figure
        Thin lines are colonies, thick lines with symbols the geometric mean of an organoid.
    """
    table = series(colonies, layout)
    conditions = condition_order(table["condition"])
    colors = condition_colors(conditions)
    symbols = organoid_symbols(table)
    rates = growth[np.isfinite(growth["growth_rate"].to_numpy(dtype=float))] if len(growth) else growth
    count = len(conditions) + (len(rates) > 0)
    figure = new_figure(3.5, width=min(9.4, 1.2 + 3.0 * count))
    axes = figure.subplots(1, count, squeeze=False, width_ratios=[1.0] * len(conditions) + [0.9] * (len(rates) > 0))[0]
    top = float(table["n_cells"].max()) * 1.6
    for axis, condition in zip(axes, conditions, strict=False):
        _condition_panel(axis, table[table["condition"] == condition], colors[condition], symbols)
        organoids = table.loc[table["condition"] == condition, "organoid"].nunique()
        colony_count = len(table.loc[table["condition"] == condition, ["position", "colony_id"]].drop_duplicates())
        gap = "," + ("\n" if len(conditions) > 2 else " ")
        axis.set_title(f"{condition}\n{organoids} organoid{'s' * (organoids != 1)}{gap}{colony_count} colonies")
        axis.set_xlabel("Time (days)")
        axis.set_ylim(0.9 * float(table["n_cells"].clip(lower=1).min()), top)
        axis.set_xlim(table["day"].min() - 0.3, table["day"].max() + 0.3)
    axes[0].set_ylabel("Cells per colony (log scale)")
    if len(rates):
        _rate_panel(axes[-1], rates, conditions, colors, symbols)
    return figure


def series(colonies: pd.DataFrame, layout: pd.DataFrame) -> pd.DataFrame:
    """Return one row per colony identity and frame: ``position, organoid, condition, colony_id, day, n_cells``."""
    where = layout[["position", "organoid", "condition"]].drop_duplicates("position")
    table = colonies.merge(where, on="position", how="left")
    table["organoid"] = table["organoid"].fillna(table["position"])
    table["condition"] = table["condition"].fillna("not in the layout").replace("", "no condition")
    table["day"] = table["time_h"] / 24.0
    columns = ["position", "organoid", "condition", "colony_id", "day", "n_cells"]
    return table[columns].sort_values(columns[:5]).reset_index(drop=True)


def organoid_symbols(table: pd.DataFrame) -> dict[str, str]:
    """Return a marker for every organoid, counted anew in each condition."""
    symbols: dict[str, str] = {}
    for _, group in table.groupby("condition", sort=False):
        for i, organoid in enumerate(sorted(group["organoid"].unique())):
            symbols[str(organoid)] = MARKERS[i % len(MARKERS)]
    return symbols


def _condition_panel(axis: Axes, table: pd.DataFrame, color: str, symbols: dict[str, str]) -> None:
    from matplotlib.collections import LineCollection

    lines = [g[["day", "n_cells"]].to_numpy(float) for _, g in table.groupby(["position", "colony_id"])]
    axis.add_collection(LineCollection(lines, colors=color, linewidths=0.8, alpha=0.45))
    alone = np.array([line[0] for line in lines if len(line) == 1]).reshape(-1, 2)
    axis.scatter(alone[:, 0], alone[:, 1], s=4, color=color, alpha=0.4, linewidths=0)
    for organoid, group in table.groupby("organoid"):
        # Frames of a dense session lie minutes apart: one mean per half day shows the trend.
        bins = (group["day"] * 2).round() / 2 if group["day"].nunique() > 15 else group["day"].round(3)
        logs = np.log(group["n_cells"].clip(lower=1))
        mean = logs.groupby(bins).mean()
        axis.plot(
            mean.index,
            np.exp(mean),
            color=color,
            marker=symbols[str(organoid)],
            ms=5.5,
            mec="white",
            mew=0.6,
            label=str(organoid),
        )
    axis.set_yscale("log")
    plain_log(axis)
    if table["organoid"].nunique() <= 12:
        axis.legend(loc="upper left", fontsize=7, handlelength=1.4, labelspacing=0.25)


def plain_log(axis: Axes) -> None:
    """Write numbers, not powers of ten, on a logarithmic y axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=12))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def _rate_panel(
    axis: Axes, rates: pd.DataFrame, conditions: list[str], colors: dict[str, str], symbols: dict[str, str]
) -> None:
    place = 0.0
    ticks: list[tuple[float, str]] = []
    for condition in conditions:
        organoids = sorted(rates.loc[rates["condition"].astype(str) == condition, "organoid"].unique())
        for organoid in organoids:
            values = rates.loc[rates["organoid"] == organoid, "growth_rate"].to_numpy(float) * 24.0
            spread = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(1)
            axis.scatter(place + spread, np.sort(values), s=9, color=colors[condition], alpha=0.45, linewidths=0)
            axis.plot(place, values.mean(), symbols.get(str(organoid), "o"), color=colors[condition], ms=7, mec="white")
            ticks.append((place, str(organoid)))
            place += 1
        place += 0.6 if organoids else 0
    axis.axhline(0, color="#4D4D4D", lw=0.7, ls=(0, (3, 3)))
    if len(ticks) > 10:
        # Names of so many organoids would overlap; the colours say the condition.
        ticks = []
        axis.set_xlabel("Organoids, by condition")
    axis.set_xticks([t for t, _ in ticks], [n for _, n in ticks], rotation=45, ha="right", rotation_mode="anchor")
    axis.set_ylabel("Growth rate of a colony (1/day)")
    axis.set_title("Growth rate\nlarge: means")

"""The niche over the weeks: metrics by organoid, and vessels lost and gained between sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.report.style import INK, MARKERS, WIDTH, condition_colors, new_figure, panels
from napari_marrow.report.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 6
_OF_TISSUE = ("vessel_length_density", "vessel_mean_radius")
_OF_CELLS = "proximity_effect_vessel"
SHARES = {"lost_share": "lost, share of the length before", "gained_share": "new, share of the length after"}


def pick_trends(by_organoid: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are drawn: length density, radius and cell density, then proximity of each kind of cell.

    Metrics that no organoid has at two sessions are left out; at most six remain.
    """
    known = by_organoid[np.isfinite(by_organoid["value"].to_numpy(dtype=float))]
    cells = (known["metric"] == "cell_density") & (known["subject"] == "all")
    parts = [known[known["metric"] == name] for name in _OF_TISSUE] + [known[cells]]
    near = known[known["metric"] == _OF_CELLS]
    parts += [near[near["subject"] == s] for s in dict.fromkeys(near["subject"].astype(str))]
    usable = [p for p in parts if len(p) and p.groupby("organoid")["session"].nunique().max() > 1]
    return pd.concat(usable[:MOST_PANELS], ignore_index=True) if usable else known.head(0)


def niche_trends(chosen: pd.DataFrame, trends: pd.DataFrame) -> Figure:
    """Draw each organoid over the sessions, and the mean of each condition with its 95 % interval over organoids.

    Parameters
    ----------
    chosen : DataFrame
        Rows of ``niche_by_organoid`` as `pick_trends` gives them; at least one.
    trends : DataFrame
        Table ``niche_trends``; its slopes stand above the panels, and may be missing.
    """
    names = list(chosen[["metric", "subject"]].drop_duplicates().itertuples(index=False, name=None))
    colors = condition_colors(chosen["condition"])
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    height = 0.45 + rows * (2.2 + 0.14 * len(colors))
    figure = new_figure(height, width=min(WIDTH, 1.0 + 2.8 * columns))
    for axis, (metric, subject) in zip(panels(figure, len(names), columns, share="none"), names, strict=True):
        part = chosen[(chosen["metric"] == metric) & (chosen["subject"] == subject)]
        for k, (condition, color) in enumerate(colors.items()):
            _condition(axis, part[part["condition"] == condition], color, MARKERS[k % len(MARKERS)])
        if metric == _OF_CELLS:
            axis.axhline(0, color="#8C8C8C", lw=0.6, zorder=0)
        words = "near vessels" if metric == _OF_CELLS else metric.replace("_", " ")
        _fit(axis, part["value"].to_numpy(dtype=float))
        axis.set_title(words if subject == "tissue" else f"{words}: {subject}", fontsize=8.5, pad=4 + 10 * len(colors))
        _slopes(axis, trends, metric, subject, colors)
        axis.set_ylabel(str(part["unit"].iloc[0]) or "effect")
        axis.set_xlabel("Time (days)")
    figure.legend(handles=_legend(chosen, colors), loc="outside upper right", ncols=3)
    return figure


def _condition(axis: Axes, part: pd.DataFrame, color: str, marker: str) -> None:
    from napari_marrow.statistics import unit_mean

    for _, organoid in part.groupby("organoid"):
        ordered = organoid.sort_values("time_h")
        axis.plot(ordered["time_h"] / 24, ordered["value"], color=color, lw=0.8, alpha=0.5, marker=marker, ms=2.5)
    sessions = part.groupby("session")
    days = (sessions["time_h"].mean() / 24).to_numpy(dtype=float)
    means = [unit_mean(values.to_numpy(dtype=float)) for _, values in sessions["value"]]
    order = np.argsort(days)
    axis.plot(days[order], [means[i].mean for i in order], color=color, lw=2.0)
    for day, mean in zip(days, means, strict=True):
        if np.isfinite(mean.low):
            axis.plot([day, day], [mean.low, mean.high], color=color, lw=1.2, alpha=0.8)


def _fit(axis: Axes, values: npt.NDArray[np.float64]) -> None:
    """Scale a panel to its organoids: the interval of two organoids may be many times wider than the panel."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.4 * (high - low) or 0.1 * max(abs(high), 1.0)
    axis.set_ylim(0 if 0 <= low < margin else low - margin, high + margin)


def _slopes(axis: Axes, trends: pd.DataFrame, metric: str, subject: str, colors: dict[str, str]) -> None:
    """Write the change per week of each condition between the title and the panel."""
    here = trends[(trends["metric"] == metric) & (trends["subject"] == subject)]
    for k, (condition, color) in enumerate(colors.items()):
        row = here.loc[here["condition"] == condition, ["slope", "low", "high", "n_units"]].to_numpy(dtype=float)
        if len(row) == 0 or not np.isfinite(row[0, 0]):
            continue
        slope, low, high, n = row[0]
        span = f" ({number(low, 2)} to {number(high, 2)})" if np.isfinite(low) else ""
        text = f"{number(slope, 2)}{span} per week, n = {int(n)}"
        axis.annotate(
            text, (0, 1), (0, 3 + 10 * (len(colors) - 1 - k)), xycoords="axes fraction", textcoords="offset points",
            color=color, fontsize=7.5,
        )  # fmt: skip


def remodelling_by_organoid(changes: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over an organoid's fields of the shares lost and gained, where vessels could be compared."""
    known = changes[np.isfinite(changes[list(SHARES)].to_numpy(dtype=float)).any(axis=1)]
    keys = ["condition", "organoid", "session_parent", "session_child"]
    return known.groupby(keys, sort=True)[["gap_h", "stable_um", "lost_um", "gained_um", *SHARES]].mean().reset_index()


def vessel_remodelling(by_organoid: pd.DataFrame) -> Figure:
    """Draw the shares of vessel length lost and gained from session to session.

    Parameters
    ----------
    by_organoid : DataFrame
        What `remodelling_by_organoid` gives; at least one row. Symbols are organoids, bars their means, whiskers 95 %
        intervals over organoids.
    """
    from napari_marrow.statistics import unit_mean

    pairs = list(
        by_organoid[["session_parent", "session_child"]].drop_duplicates().sort_values("session_parent")
        .itertuples(index=False, name=None)
    )  # fmt: skip
    colors = condition_colors(by_organoid["condition"])
    figure = new_figure(3.0, width=min(WIDTH, 1.8 + 2 * (0.7 + 0.45 * len(pairs) * (0.5 + len(colors)))))
    width = 0.8 / len(colors)
    for axis, (column, words) in zip(panels(figure, 2, 2), SHARES.items(), strict=True):
        for k, (condition, color) in enumerate(colors.items()):
            for i, (before, after) in enumerate(pairs):
                here = by_organoid[by_organoid["condition"] == condition]
                here = here[(here["session_parent"] == before) & (here["session_child"] == after)]
                value = here[column].dropna().to_numpy(dtype=float)
                if len(value) == 0:
                    continue
                x, mean = i + (k + 0.5) * width - 0.4, unit_mean(value)
                axis.bar(x, mean.mean, 0.9 * width, color=color, alpha=0.5, lw=0)
                if np.isfinite(mean.low):
                    axis.plot([x, x], [max(mean.low, 0), min(mean.high, 1)], color=INK, lw=1)
                spread = x + 0.25 * width * np.linspace(-1, 1, len(value) + 2)[1:-1]
                axis.plot(spread, value, MARKERS[k % len(MARKERS)], color=color, ms=3.5, mec="white", mew=0.4)
        axis.set_title(words)
        axis.set_xticks(range(len(pairs)), [f"{a} to {b}" for a, b in pairs])
        axis.set_xlabel("Sessions")
        axis.set_ylim(0, 1)
    figure.axes[0].set_ylabel("Share of vessel length")
    figure.legend(handles=_legend(by_organoid, colors), loc="outside upper right", ncols=3)
    return figure


def _legend(table: pd.DataFrame, colors: dict[str, str]) -> list[object]:
    from matplotlib.patches import Patch

    count = table.groupby("condition")["organoid"].nunique()
    return [
        Patch(facecolor=color, alpha=0.6, label=f"{c}: n = {count[c]} organoid{'' if count[c] == 1 else 's'}")
        for c, color in colors.items()
    ]

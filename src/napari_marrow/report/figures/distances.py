"""Distances to a structure against their null model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow.report.figures.comparisons import p_words
from napari_marrow.report.style import INK, LINEAGE_COLORS, evenly, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SUBJECTS = 4
MOST_FIELDS = 6


def pick_curves(curves: pd.DataFrame, kind: str = "distance_cdf_vessel") -> pd.DataFrame:
    """Return the curves of a kind at each field's last measured frame, at most four subjects and six fields."""
    chosen = curves[curves["curve"] == kind]
    if chosen.empty:
        return chosen
    time = chosen.groupby("position")["time_h"].transform("max")
    chosen = chosen[chosen["time_h"] == time]
    subjects = list(dict.fromkeys(chosen["subject"].astype(str)))[:MOST_SUBJECTS]
    fields = evenly(list(dict.fromkeys(chosen["position"].astype(str))), MOST_FIELDS)
    return chosen[chosen["subject"].isin(subjects) & chosen["position"].isin(fields)]


def distance_distributions(
    curves: pd.DataFrame, metrics: pd.DataFrame, names: dict[str, str], *, structure: str = "vessel"
) -> Figure:
    """Draw the observed distribution over the null model's band, a row per kind of cell and a column per field.

    Parameters
    ----------
    curves : DataFrame
        Rows of ``niche_curves`` as `pick_curves` gives them; at least one.
    metrics : DataFrame
        Table ``niche_metrics``: its ``proximity_effect_<structure>`` gives the p-values; may be empty.
    names : dict
        Title of each position.
    structure : str
        What the distances are to.

    Returns
    -------
    Figure
    """
    subjects = list(dict.fromkeys(curves["subject"].astype(str)))
    fields = list(dict.fromkeys(curves["position"].astype(str)))
    figure = new_figure(0.8 + 2.0 * len(subjects), width=min(9.4, 2.0 + 2.2 * len(fields)))
    longest = float(curves.loc[curves["observed"].notna(), "r"].max())
    axes = figure.subplots(len(subjects), len(fields), sharex=True, sharey=True, squeeze=False)
    for i, subject in enumerate(subjects):
        color = LINEAGE_COLORS.get(subject, "#0072B2")
        for j, field in enumerate(fields):
            axis = axes[i, j]
            part = curves[(curves["subject"] == subject) & (curves["position"] == field)].sort_values("r")
            if i == 0:
                axis.set_title(names.get(field, field), fontsize=8.5)
            if j == 0:
                axis.set_ylabel(f"{subject}\nfraction of cells within")
            if part.empty:
                axis.text(0.5, 0.5, "too few cells", transform=axis.transAxes, ha="center", color=INK, fontsize=8)
                continue
            r = part["r"].to_numpy(float)
            axis.fill_between(r, part["low"], part["high"], color="#BDBDBD", lw=0, label="null: 95 % global envelope")
            axis.plot(r, part["null_mean"], color="#5A5A5A", lw=1.0, ls=(0, (4, 2)), label="null: mean")
            axis.plot(r, part["observed"], color=color, lw=1.8, label="observed")
            axis.set_ylim(0, 1.02)
            axis.set_xlim(0, longest)
            p = _p_value(metrics, subject, part, structure)
            if np.isfinite(p):
                axis.text(0.97, 0.05, p_words(p), transform=axis.transAxes, ha="right", va="bottom", fontsize=8)
    figure.supxlabel(f"Distance to the nearest {structure} (µm)", fontsize=9)
    handles = _handles()
    figure.legend(handles=handles, loc="outside upper center", ncols=3 if len(fields) > 1 else 1)
    return figure


def _p_value(metrics: pd.DataFrame, subject: str, part: pd.DataFrame, structure: str) -> float:
    if metrics.empty:
        return float("nan")
    first = part.iloc[0]
    hit = metrics[
        (metrics["metric"] == f"proximity_effect_{structure}")
        & (metrics["subject"].astype(str) == subject)
        & (metrics["position"] == first["position"])
        & (metrics["session"] == first["session"])
        & (metrics["t"] == first["t"])
    ]
    return float(hit["p_value"].iloc[0]) if len(hit) else float("nan")


def _handles() -> list[object]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Line2D([], [], color=INK, lw=1.8, label="observed"),
        Line2D([], [], color="#5A5A5A", lw=1.0, ls=(0, (4, 2)), label="null model: mean"),
        Patch(facecolor="#BDBDBD", label="null model: 95 % global envelope"),
    ]

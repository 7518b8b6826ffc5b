"""The emergence plot as a figure for a paper, with its numbers beside it. Knows no Qt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from napari_marrow.errors import SettingsError
from napari_marrow.gui.emergence import Curve, as_steps

FORMATS = (".pdf", ".svg", ".png")
_STYLES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}


def curve_table(curves: Sequence[Curve]) -> pd.DataFrame:
    """Return the numbers of curves: condition, lineage, time_h, cumulative_incidence, low, high, at_risk."""
    rows = [
        pd.DataFrame(
            {
                "condition": c.condition,
                "lineage": c.lineage,
                "time_h": c.time_h,
                "cumulative_incidence": c.value,
                "low": c.low,
                "high": c.high,
                "at_risk": c.at_risk,
            }
        )
        for c in curves
    ]
    return pd.concat(rows, ignore_index=True)


def export_curves(curves: Sequence[Curve], path: Path | str, *, study: str, recipe: str) -> Path:
    """Write curves as a figure, and their numbers as a CSV file of the same name.

    Parameters
    ----------
    curves : sequence of Curve
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
    from matplotlib.figure import Figure

    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise SettingsError(f"'{path.name}' is no figure's name: let it end in {', '.join(FORMATS)}.")
    if not curves:
        raise SettingsError("There are no curves to export yet: run the recipe first.")
    figure = Figure(figsize=(4.5, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for curve in curves:
        time, value, low, high = as_steps(curve.time_h, curve.value, curve.low, curve.high)
        if curve.has_band:
            axes.fill_between(time, low, high, color=curve.colour, alpha=0.15, linewidth=0)
        name = f"{curve.lineage}, {curve.condition}"
        axes.plot(time, value, color=curve.colour, linestyle=_STYLES[curve.dash], linewidth=1.5, label=name)
    top = max(float(np.nanmax([*c.value, *c.high])) for c in curves)
    axes.set(xlabel="time since the start of observation (h)", ylabel="cumulative incidence")
    axes.set_ylim(0, min(1.0, max(top * 1.05, 0.05)))
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7)
    said = f"Study {study}, recipe {recipe}"
    key = {".pdf": "Subject", ".svg": "Description", ".png": "Description"}[path.suffix.lower()]
    figure.savefig(path, dpi=300, metadata={key: said})
    numbers = path.with_suffix(".csv")
    curve_table(curves).assign(study=study, recipe=recipe).to_csv(numbers, index=False)
    return numbers

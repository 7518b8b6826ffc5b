"""Experiments: dose-response curves, and cells with their organoids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow.report.style import FAINT, INK, MARKERS, condition_order, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_marrow.statistics import DoseResponse


def dose_response_curve(
    doses: pd.DataFrame, fit: DoseResponse, *, endpoint: str, unit: str = "", dose_unit: str = ""
) -> Figure:
    """Draw organoids over dose with the fitted four-parameter logistic and the interval of its EC50.

    Parameters
    ----------
    doses : DataFrame
        organoid, donor, dose (0 or NaN for untreated), value.
    fit : DoseResponse
        As `statistics.dose_response` returns it.
    endpoint, unit, dose_unit : str
        For the axes.

    Returns
    -------
    Figure
        Untreated organoids stand left of the break; donors have symbols, and their offsets are taken off.
    """
    figure = new_figure(3.4, width=5.6)
    axis = figure.subplots()
    dose = doses["dose"].fillna(0.0).to_numpy(dtype=float)
    positive = dose[dose > 0]
    zero = positive.min() / 6
    offsets = fit.donor_offsets
    for i, (donor, part) in enumerate(doses.assign(dose=dose).groupby(doses["donor"].fillna("").astype(str))):
        x = np.where(part["dose"] > 0, part["dose"], zero)
        y = part["value"] - offsets.get(str(donor), 0.0)
        axis.plot(x, y, MARKERS[i % len(MARKERS)], color="#0072B2", mec="white", mew=0.6, ms=6, alpha=0.85,
                  label=str(donor) or None)  # fmt: skip
    grid = np.geomspace(positive.min() / 2, positive.max() * 1.5, 200)
    axis.plot(grid, fit.at(grid), color=INK, lw=1.8)
    axis.plot([zero / 1.5, zero * 1.5], [float(fit.at(0.0))] * 2, color=INK, lw=1.8)
    axis.set_xscale("log")
    ends = axis.get_xlim()
    low, high = fit.ec50_low, fit.ec50_high
    axis.axvspan(max(low, ends[0]), min(high, ends[1]), color=FAINT, alpha=0.15, lw=0)
    ec50 = fit.ec50
    axis.axvline(ec50, color=FAINT, lw=1.0, ls=(0, (3, 3)))
    axis.set_xlim(ends)
    shown = [positive.min() * 10.0**k for k in range(int(np.log10(positive.max() / positive.min())) + 1)]
    axis.set_xticks([zero, *shown], ["0", *(f"{d:g}" for d in shown)])
    axis.minorticks_off()
    axis.set_xlabel(f"Dose ({dose_unit})" if dose_unit else "Dose (unit of the layout)")
    axis.set_ylabel(f"{endpoint} ({unit})" if unit else endpoint)
    axis.set_title(f"EC50 {ec50:.3g} (95 % {low:.3g} to {high:.3g}), hill {fit.hill:.2g}")
    if len(offsets) > 1:
        axis.legend(title="donor, offset taken off", title_fontsize=7.5)
    return figure


def super_plot(values: pd.DataFrame, summary: pd.DataFrame, *, label: str) -> Figure:
    """Draw every cell as a small point and every organoid's mean as a large one, by condition (SuperPlot).

    Parameters
    ----------
    values : DataFrame
        organoid, condition, value: a row per cell.
    summary : DataFrame
        organoid, condition, value: a row per organoid; tests and bars are of these.
    label : str
        Of the vertical axis.

    Returns
    -------
    Figure

    References
    ----------
    Lord et al. 2020, J Cell Biol 219:e202001064.
    """
    conditions = condition_order(summary["condition"])
    figure = new_figure(3.6, width=1.6 + 1.6 * len(conditions))
    axis = figure.subplots()
    rng = np.random.default_rng(0)
    shades = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7A5195", "#9C8A00")
    for k, condition in enumerate(conditions):
        organoids = sorted(summary.loc[summary["condition"] == condition, "organoid"].astype(str))
        means = []
        for i, organoid in enumerate(organoids):
            cells = values.loc[values["organoid"].astype(str) == organoid, "value"].to_numpy(dtype=float)
            cells = cells[np.isfinite(cells)]
            color = shades[i % len(shades)]
            few = len(cells) < 100
            size, alpha = (6.0, 0.55) if few else (3.0, 0.35)
            axis.plot(k + rng.uniform(-0.3, 0.3, len(cells)), cells, ".", color=color, ms=size, alpha=alpha, mew=0)
            mean = float(summary.loc[summary["organoid"].astype(str) == organoid, "value"].iloc[0])
            means.append(mean)
            place = k + (i - (len(organoids) - 1) / 2) * 0.13
            axis.plot(place, mean, "o", color=color, ms=10, mec="white", mew=1.2, zorder=4)
        known = np.array([m for m in means if np.isfinite(m)])
        if len(known):
            axis.plot([k - 0.35, k + 0.35], [known.mean()] * 2, color=INK, lw=1.8, zorder=5)
        if len(known) > 1:
            error = known.std(ddof=1) / np.sqrt(len(known))
            axis.errorbar(k, known.mean(), error, color=INK, capsize=4, lw=1.2, zorder=5)
    counts = [int((summary["condition"] == c).sum()) for c in conditions]
    axis.set_xticks(
        range(len(conditions)), [f"{c}\nn = {n} organoids" for c, n in zip(conditions, counts, strict=True)]
    )
    axis.set_xlim(-0.6, len(conditions) - 0.4)
    axis.set_ylabel(label)
    return figure

"""Compartments, pair correlations and vessels in space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_marrow.report.style import INK, MARKERS, WIDTH, condition_colors, evenly, new_figure, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PAIRS = 6
MOST_FIELDS = 6
_USE = "compartment_use_"


def compartment_bars(by_organoid: pd.DataFrame) -> Figure:
    """Draw which share of each class lies in each compartment, beside the compartment's share of the tissue.

    Parameters
    ----------
    by_organoid : DataFrame
        Table ``niche_by_organoid``; of each organoid its last session counts. Bars are means over organoids, symbols
        are organoids, whiskers 95 % intervals over organoids.

    Returns
    -------
    Figure
        A panel per compartment.
    """
    from napari_marrow.statistics import unit_mean

    last = by_organoid[by_organoid["session"] == by_organoid.groupby("organoid")["session"].transform("max")]
    use = last[last["metric"].str.startswith(_USE)]
    found = list(dict.fromkeys(use["metric"].str.removeprefix(_USE)))
    names = sorted(found, key=lambda name: (name == "elsewhere", name != "vessel"))
    subjects = list(dict.fromkeys(use["subject"].astype(str)))
    conditions = condition_colors(use["condition"])
    figure = new_figure(3.3, width=min(WIDTH, 1.2 + 0.9 * len(names) * (1 + 0.35 * len(subjects))))
    for axis, name in zip(panels(figure, len(names), len(names)), names, strict=True):
        rows = [("tissue", last[last["metric"] == f"compartment_fraction_{name}"])]
        rows += [(s, use[(use["metric"] == f"{_USE}{name}") & (use["subject"] == s)]) for s in subjects]
        width = 0.8 / len(conditions)
        for k, (condition, color) in enumerate(conditions.items()):
            for i, (subject, part) in enumerate(rows):
                value = part.loc[part["condition"] == condition, "value"].dropna().to_numpy(dtype=float)
                if len(value) == 0:
                    continue
                x = i + (k + 0.5) * width - 0.4
                mean = unit_mean(value)
                axis.bar(x, mean.mean, 0.9 * width, color=color, alpha=0.25 if subject == "tissue" else 0.6, lw=0)
                if np.isfinite(mean.low):
                    axis.plot([x, x], [max(mean.low, 0), min(mean.high, 1)], color=INK, lw=1)
                spread = x + 0.25 * width * np.linspace(-1, 1, len(value) + 2)[1:-1]
                axis.plot(spread, value, MARKERS[k % len(MARKERS)], color=color, ms=3.5, mec="white", mew=0.4)
        axis.set_title("elsewhere" if name == "elsewhere" else f"near {name}")
        axis.set_xticks(range(len(rows)), [s for s, _ in rows], rotation=40, ha="right")
        axis.set_ylim(0, 1)
    figure.axes[0].set_ylabel("share of tissue, share of cells")
    n = [f"{c}: n = {use.loc[use['condition'] == c, 'organoid'].nunique()} organoids" for c in conditions]
    figure.legend(handles=_patches(dict(zip(n, conditions.values(), strict=True))), loc="outside upper right", ncols=3)
    return figure


def _patches(colors: dict[str, str]) -> list[object]:
    from matplotlib.patches import Patch

    return [Patch(facecolor=color, alpha=0.6, label=label) for label, color in colors.items()]


def pick_pairs(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the pair correlations of each field's last frame, at most six pairs of classes and six fields."""
    chosen = curves[curves["curve"].str.startswith("cross_g_")]
    if chosen.empty:
        return chosen
    chosen = chosen[chosen["time_h"] == chosen.groupby("position")["time_h"].transform("max")]
    pairs = list(dict.fromkeys(chosen["subject"].astype(str)))[:MOST_PAIRS]
    fields = evenly(list(dict.fromkeys(chosen["position"].astype(str))), MOST_FIELDS)
    return chosen[chosen["subject"].isin(pairs) & chosen["position"].isin(fields)]


def pair_correlations(curves: pd.DataFrame, names: dict[str, str]) -> Figure:
    """Draw g(r) over the global envelope of its null, a row per pair of classes and a column per field.

    Parameters
    ----------
    curves : DataFrame
        Rows of ``niche_curves`` as `pick_pairs` gives them; at least one.
    names : dict
        Title of each position.
    """
    pairs = list(dict.fromkeys(curves["subject"].astype(str)))
    fields = list(dict.fromkeys(curves["position"].astype(str)))
    figure = new_figure(0.9 + 1.7 * len(pairs), width=min(WIDTH, 2.0 + 2.2 * len(fields)))
    axes = figure.subplots(len(pairs), len(fields), sharex=True, sharey="row", squeeze=False)
    for i, pair in enumerate(pairs):
        for j, field in enumerate(fields):
            axis: Axes = axes[i, j]
            if i == 0:
                axis.set_title(names.get(field, field), fontsize=8.5)
            if j == 0:
                axis.set_ylabel(f"{_two_lines(pair)}\ng(r)", fontsize=8)
            part = curves[(curves["subject"] == pair) & (curves["position"] == field)].sort_values("r")
            if part.empty:
                axis.text(0.5, 0.5, "too few cells", transform=axis.transAxes, ha="center", color=INK, fontsize=8)
                continue
            r = part["r"].to_numpy(dtype=float)
            axis.fill_between(r, part["low"], part["high"], color="#BDBDBD", lw=0)
            axis.plot(r, part["null_mean"], color="#5A5A5A", lw=1.0, ls=(0, (4, 2)))
            axis.plot(r, part["observed"], color="#0072B2", lw=1.6)
            axis.axhline(1, color="#8C8C8C", lw=0.6, zorder=0)
            axis.set_xlim(0, float(curves["r"].max()))
        # The envelope of the first few µm, where there is next to no pair, must not set the scale.
        row = curves[(curves["subject"] == pair) & (curves["r"] > 0.1 * curves["r"].max())]
        axes[i, 0].set_ylim(0, max(1.5, 1.05 * float(np.nanmax(row[["high", "observed"]].to_numpy(dtype=float)))))
    figure.supxlabel("Distance between cells r (µm); grey: 95 % global envelope of the null", fontsize=9)
    return figure


def _two_lines(pair: str) -> str:
    """Break the names of two classes at the hyphen nearest to the middle."""
    cuts = [k for k, letter in enumerate(pair) if letter == "-"]
    cut = min(cuts, key=lambda k: abs(k - len(pair) / 2), default=-1)
    return pair if len(pair) < 14 or cut < 0 else f"{pair[:cut]}\n{pair[cut + 1 :]}"


def vessels_in_space(vessels: pd.DataFrame, cells: pd.DataFrame) -> Figure:
    """Draw the centrelines of one frame in space, coloured by radius, with the cells coloured by their distance.

    Parameters
    ----------
    vessels : DataFrame
        branch, z, y, x, radius (µm) in order along each branch; at least one row.
    cells : DataFrame
        z, y, x (µm) and, where known, distance_vessel (µm); may be empty.
    """
    from matplotlib.colors import Normalize
    from mpl_toolkits.mplot3d.art3d import Line3DCollection  # type: ignore[import-untyped]

    figure = new_figure(5.2, width=7.0)
    axis = figure.add_subplot(projection="3d")
    segments, radii = [], []
    for _, branch in vessels.groupby("branch", sort=False):
        points, r = branch[["x", "y", "z"]].to_numpy(dtype=float), branch["radius"].to_numpy(dtype=float)
        segments.append(np.stack([points[:-1], points[1:]], axis=1))
        radii.append((r[1:] + r[:-1]) / 2)
    pieces, radius = np.concatenate(segments), np.concatenate(radii)
    norm = Normalize(*np.nanpercentile(radius, (2, 98))) if len(radius) else None
    lines = Line3DCollection(list(pieces), array=radius, cmap="viridis", norm=norm, linewidths=1 + 0.25 * radius)
    axis.add_collection3d(lines)
    if len(cells):
        distance = cells["distance_vessel"] if "distance_vessel" in cells.columns else "#8C8C8C"
        dots = axis.scatter(cells["x"], cells["y"], cells["z"], c=distance, cmap="magma_r", s=5, alpha=0.7, lw=0)
        if "distance_vessel" in cells.columns:
            figure.colorbar(dots, ax=axis, shrink=0.55, label="Cells: distance to the nearest vessel (µm)")
    figure.colorbar(lines, ax=axis, shrink=0.55, pad=0.12, label="Vessel radius (µm)")
    every = np.concatenate([pieces.reshape(-1, 3), cells[["x", "y", "z"]].to_numpy(dtype=float).reshape(-1, 3)])
    low, high = np.nanmin(every, axis=0), np.nanmax(every, axis=0)
    axis.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), zlim=(low[2], max(high[2], low[2] + 1)))
    axis.set_box_aspect(np.maximum(high - low, 0.1 * (high - low).max()))
    axis.set(xlabel="x (µm)", ylabel="y (µm)", zlabel="z (µm)")
    return figure

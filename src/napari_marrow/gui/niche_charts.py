"""Charts of the *Niche* dock: distances, pair correlations, compartments, trends and the map of vessels. No Qt."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from napari_marrow.gui.charts import INK, Chart, ChartKind, Series, Tables, View, floats
from napari_marrow.gui.lineage_charts import conditions_of, over_organoids, with_organoid
from napari_marrow.palette import GREY, SKY, condition_colours, condition_order

MOST_FIELDS = 6
_USE, _SHARE = "compartment_use_", "compartment_fraction_"
_NEAR = ((20.0, "#D45087"), (50.0, "#FFA600"), (100.0, "#58A55C"), (np.inf, GREY))
"""Upper ends of classes of distance, µm, and their colours, seen on a dark and on a white ground."""


def _curve_names(tables: Tables, start: str) -> list[str]:
    if "niche_curves" not in tables:
        return []
    rows = tables["niche_curves"][["curve", "subject"]].drop_duplicates()
    rows = rows[rows["curve"].str.startswith(start)]
    return list(dict.fromkeys(_said(*pair) for pair in rows.itertuples(index=False)))


def _said(curve: str, subject: str) -> str:
    """Name a curve: ``erythroid to vessel``, or the pair of classes."""
    structure = re.sub(r"^distance_cdf_", "", curve)
    return f"{subject} to {structure}" if structure != curve else str(subject)


def distance_options(tables: Tables) -> list[str]:
    """Return the cells and structures whose distances are known."""
    return _curve_names(tables, "distance_cdf_")


def pair_options(tables: Tables) -> list[str]:
    """Return the pairs of classes whose pair correlation is known."""
    return _curve_names(tables, "cross_g_")


def distances(tables: Tables, view: View) -> Chart:
    """Share of cells within a distance of a structure, over the 95 % global envelope of the null model.

    Parameters
    ----------
    tables : mapping
        ``niche_curves`` and ``layout``.
    view : View
        Every field has its own null, so that at most six are drawn: of the chosen session, else of each field's last.
    """
    chart = _over_null(tables, view, "distance_cdf_", "Distances", "distance (µm)", "share of cells within")
    return Chart(**{**chart.__dict__, "y_range": (0.0, 1.02)})


def pair_correlation(tables: Tables, view: View) -> Chart:
    """g(r) of two classes of cells over the 95 % global envelope of its null; see `distances`."""
    chart = _over_null(tables, view, "cross_g_", "Pair correlation", "distance between cells r (µm)", "g(r)")
    if chart.empty:
        return chart
    # the envelope of the first few µm, where there is next to no pair, must not set the scale
    r = chart.numbers["r"]
    behind = chart.numbers.loc[r > 0.1 * r.max(), ["observed", "high"]].to_numpy(np.float64)
    top = float(np.nanmax(behind)) if np.isfinite(behind).any() else 1.5
    flat = Series(np.array([0.0, float(r.max())]), np.ones(2), GREY, width=1.0, dash="dot")
    return Chart(**{**chart.__dict__, "series": (flat, *chart.series), "y_range": (0.0, max(1.5, 1.05 * top))})


def _over_null(tables: Tables, view: View, start: str, title: str, x_label: str, y_label: str) -> Chart:
    from napari_marrow.report.style import evenly

    table = with_organoid(tables["niche_curves"], tables["layout"])
    colours = condition_colours(conditions_of(tables, table))
    rows = view.subset.of(table[table["curve"].str.startswith(start)])
    rows = rows[[_said(c, s) == view.option for c, s in zip(rows["curve"], rows["subject"], strict=True)]]
    rows = rows[rows["time_h"] == rows.groupby("position")["time_h"].transform("max")]
    fields = list(dict.fromkeys(rows["position"].astype(str)))
    kept = evenly(fields, MOST_FIELDS)
    rows = rows[rows["position"].isin(kept)].sort_values(["position", "r"])
    bands: list[Series] = []
    lines: list[Series] = []
    for _, part in rows.groupby("position", sort=False):
        organoid, condition = str(part["organoid"].iloc[0]), str(part["condition"].iloc[0])
        r, null = floats(part, "r"), floats(part, "null_mean")
        name = "" if bands else "null model: mean, 95 % envelope"
        bands.append(
            Series(r, null, GREY, name, low=floats(part, "low"), high=floats(part, "high"), dash="dash", width=1.0)
        )
        said = f"{organoid}, {condition}, day {float(part['time_h'].iloc[0]) / 24:.1f}"
        lines.append(Series(r, floats(part, "observed"), colours[condition], said))
    note = "" if kept == fields else f"{len(kept)} of {len(fields)} fields are drawn: choose an organoid for another."
    columns = ["condition", "organoid", "position", "session", "t", "time_h", "curve", "subject", "r", "observed",
               "null_mean", "low", "high"]  # fmt: skip
    empty = "Too few cells of this kind in this part of the study."
    return Chart(
        title, x_label, y_label, (*bands, *lines), rows[columns].reset_index(drop=True), note if lines else empty
    )


def compartments(tables: Tables, view: View) -> Chart:
    """Share of each class of cells in a compartment beside the compartment's share of the tissue, by condition.

    Parameters
    ----------
    tables : mapping
        ``niche_by_organoid``.
    view : View
        Of the chosen session, else of each organoid's last. `option`: the compartment.
    """
    from napari_marrow.statistics import unit_mean

    table = tables["niche_by_organoid"]
    colours = condition_colours(conditions_of(tables, table))
    rows = view.subset.of(table)
    rows = rows[rows["metric"].isin([_USE + view.option, _SHARE + view.option])]
    rows = rows[rows["session"] == rows.groupby("organoid")["session"].transform("max")]
    subjects = ["tissue", *(s for s in dict.fromkeys(rows["subject"].astype(str)) if s != "tissue")]
    shown = condition_order(rows["condition"])
    width = 0.8 / max(len(shown), 1)
    series: list[Series] = []
    for k, condition in enumerate(shown):
        parts = [floats(rows[(rows["condition"] == condition) & (rows["subject"] == s)], "value") for s in subjects]
        means = [unit_mean(part) for part in parts]
        mean, low, high = np.array([(m.mean, m.low, m.high) for m in means], np.float64).T
        x = np.arange(len(subjects), dtype=np.float64) + (k + 0.5) * width - 0.4
        count = rows.loc[rows["condition"] == condition, "organoid"].nunique()
        series.append(
            Series(
                x, mean, colours[condition],
                f"{condition} ({count} organoid{'s' if count > 1 else ''})", "bars",
                np.clip(low, 0, 1), np.clip(high, 0, 1), width=0.9 * width,
            )
        )  # fmt: skip
        spots = [(at, v) for at, part in zip(x, parts, strict=True) for v in part[np.isfinite(part)]]
        if spots and count > 1:
            at, values = np.array(spots, np.float64).T
            series.append(Series(at, values, INK, kind="points", width=5.0))
    columns = ["condition", "organoid", "session", "time_h", "metric", "subject", "value"]
    title = "Cells elsewhere" if view.option == "elsewhere" else f"Cells near {view.option}"
    return Chart(
        title, "", "share of tissue, share of cells",
        tuple(series), rows[columns].reset_index(drop=True),
        "" if series else "No compartments in this part of the study.",
        x_ticks=tuple((float(i), _short(s)) for i, s in enumerate(subjects)), y_range=(0.0, 1.0),
    )  # fmt: skip


def _short(name: str) -> str:
    if len(name) <= 10:
        return name
    return name.replace("-", "-\n", 1) if "-" in name else f"{name[:8]}-\n{name[8:]}"


def compartment_options(tables: Tables) -> list[str]:
    """Return the compartments, vessels first."""
    if "niche_by_organoid" not in tables:
        return []
    metric = tables["niche_by_organoid"]["metric"].astype(str)
    found = dict.fromkeys(name.removeprefix(_USE) for name in metric if name.startswith(_USE))
    return sorted(found, key=lambda name: (name == "elsewhere", name != "vessel"))


_TRENDS = (
    "cell_density", "median_distance_", "proximity_effect_", "compartment_use_", "vessel_length_density",
    "vessel_fraction", "vessel_mean_radius", "vessel_tortuosity", "selection_index_", "n_cells",
)  # fmt: skip


def trend_options(tables: Tables) -> list[str]:
    """Return the measures that can be followed over weeks, each with its cells."""
    if "niche_by_organoid" not in tables:
        return []
    pairs = tables["niche_by_organoid"][["metric", "subject"]].drop_duplicates()
    order = {name: k for k, name in enumerate(_TRENDS)}
    rank = {m: min((k for n, k in order.items() if m.startswith(n)), default=len(order)) for m in pairs["metric"]}
    return [_measure(m, s) for m, s in sorted(pairs.itertuples(index=False), key=lambda p: (rank[p[0]], p[0], p[1]))]


def _measure(metric: str, subject: str) -> str:
    said = metric.replace("_", " ")
    return said if subject == "tissue" or subject.replace("-", " ") in said else f"{said}, {subject}"


def trends(tables: Tables, view: View) -> Chart:
    """Follow a measure of the niche over the weeks: organoids faint, means of conditions with 95 % intervals.

    Parameters
    ----------
    tables : mapping
        ``niche_by_organoid``; ``niche_trends``, where it is there, tells the slope.
    view : View
        `option`: the measure.
    """
    table = tables["niche_by_organoid"]
    colours = condition_colours(conditions_of(tables, table))
    rows = _of_measure(view.subset.of(table), view.option).dropna(subset="value")
    series: list[Series] = []
    for condition in condition_order(rows["condition"]):
        series += over_organoids(rows[rows["condition"] == condition], "value", colours[condition], condition)
    unit = str(rows["unit"].iloc[0]) if len(rows) else ""
    told = []
    if "niche_trends" in tables:
        for row in _of_measure(view.subset.of(tables["niche_trends"]), view.option).to_dict("records"):
            told.append(f"{row['condition']}: {row['slope']:.3g} {row['unit']}")
            if np.isfinite(row["low"]):
                told[-1] += f" ({row['low']:.3g} to {row['high']:.3g})"
    note = "Slope " + "; ".join(told) if told else ""
    columns = ["condition", "organoid", "session", "time_h", "metric", "subject", "value", "unit"]
    return Chart(
        "Trends", "day", f"{view.option} ({unit})" if unit else view.option, tuple(series),
        rows[columns].reset_index(drop=True), note if series else "Not measured in this part of the study.",
    )  # fmt: skip


def _of_measure(rows: pd.DataFrame, option: str) -> pd.DataFrame:
    return rows[[_measure(m, s) == option for m, s in zip(rows["metric"], rows["subject"], strict=True)]]


def vessel_map(tables: Tables, view: View) -> Chart:
    """Centrelines of the vessels of one field, as wide as the vessel is, with the cells by their distance to them.

    Parameters
    ----------
    tables : mapping
        ``vessels`` and ``layout``; ``niche_cells`` and ``cells`` for the cells.
    view : View
        The field on display if it belongs to what is chosen, else the first that does; of the chosen session or the
        one on display, else the last one with vessels.
    """
    rows = view.subset.of(with_organoid(tables["vessels"], tables["layout"]), sessions=False)
    fields = list(dict.fromkeys(rows["position"].astype(str)))
    if not fields:
        return Chart("Vessel map", "x (µm)", "y (µm)", note="No vessel was found in this part of the study.")
    field = view.position if view.position in fields else fields[0]
    rows = rows[rows["position"] == field]
    session = view.subset.session if view.subset.session is not None else view.session
    known = set(rows["session"])
    if session not in known and view.subset.session is not None:
        return Chart("Vessel map", "x (µm)", "y (µm)", note="No vessel was found in this session.")
    rows = rows[rows["session"] == (session if session in known else max(known))]
    rows = rows[rows["t"] == rows["t"].max()]
    cells = _cells_of(tables, rows)
    series = [*_centrelines(rows), *_cells_by_distance(cells)]
    where = f"{field}, session {int(rows['session'].iloc[0])}, day {float(rows['time_h'].iloc[0]) / 24:.1f}"
    columns = ["organoid", "position", "session", "t", "structure", "branch", "vertex", "z", "y", "x", "radius"]
    return Chart(
        f"Vessel map of {where}", "x (µm)", "y (µm)", tuple(series), rows[columns].reset_index(drop=True),
        f"{where}: lines are centrelines, as wide as their vessels are relative to each other.", same_scale=True,
        handles=cells[["x", "y", "position", "session", "t", "label"]] if len(cells) else pd.DataFrame(),
    )  # fmt: skip


def _centrelines(rows: pd.DataFrame) -> list[Series]:
    """Return centrelines as pieces, in four classes of radius."""
    pieces, radius = [], []
    for _, part in rows.sort_values("vertex").groupby(["structure", "branch"], sort=False):
        xy = part[["x", "y"]].to_numpy(np.float64)
        pieces.append(np.stack([xy[:-1], xy[1:]], axis=1))
        radii = floats(part, "radius")
        radius.append((radii[1:] + radii[:-1]) / 2)
    lines, width = np.concatenate(pieces), np.concatenate(radius)
    edges = np.nanquantile(width, (0.25, 0.5, 0.75)) if len(width) else np.zeros(3)
    which = np.searchsorted(edges, width)
    series: list[Series] = []
    for k in range(4):
        chosen = lines[which == k].reshape(-1, 2)
        if len(chosen):
            name = "" if series else "vessels"
            series.append(Series(chosen[:, 0], chosen[:, 1], SKY, name, "pieces", width=2.0 + 2.0 * k))
    return series


def _cells_of(tables: Tables, vessels: pd.DataFrame) -> pd.DataFrame:
    """Return the cells in the frame of the vessels with their distances to them; none where these are not known."""
    if "niche_cells" not in tables or "cells" not in tables or "distance_vessel" not in tables["niche_cells"].columns:
        return pd.DataFrame()
    place = {name: vessels[name].iloc[0] for name in ("position", "session", "t")}
    near, cells = (
        table[
            (table["position"] == place["position"])
            & (table["session"] == place["session"])
            & (table["t"] == place["t"])
        ]
        for table in (tables["niche_cells"], tables["cells"])
    )
    return cells[["label", "y", "x"]].merge(near[["label", "distance_vessel"]], on="label").assign(**place)


def _cells_by_distance(cells: pd.DataFrame) -> list[Series]:
    series: list[Series] = []
    if not len(cells):
        return series
    distance, start = floats(cells, "distance_vessel"), 0.0
    for end, colour in _NEAR:
        part = cells[(distance >= start) & (distance < end)] if start else cells[distance < end]
        if len(part):
            name = f"cells over {start:.0f} µm away" if np.isinf(end) else f"cells within {start:.0f} to {end:.0f} µm"
            series.append(Series(floats(part, "x"), floats(part, "y"), colour, name, "points", width=7.0))
        start = end
    return series


NICHE_CHARTS = (
    ChartKind("Distances", ("niche_curves", "layout"), distances, distance_options),
    ChartKind("Pair correlation g(r)", ("niche_curves", "layout"), pair_correlation, pair_options),
    ChartKind("Compartments", ("niche_by_organoid",), compartments, compartment_options),
    ChartKind("Trends over weeks", ("niche_by_organoid",), trends, trend_options, ("niche_trends",)),
    ChartKind("Vessel map", ("vessels", "layout"), vessel_map, also=("niche_cells", "cells")),
)
NICHE_TABLES = {
    "niche_curves": "niche", "niche_by_organoid": "niche_over_time", "niche_trends": "niche_over_time",
    "vessels": "niche", "niche_cells": "niche", "cells": "measure",
}  # fmt: skip
"""Tables that the charts read, each with the step whose result it is."""

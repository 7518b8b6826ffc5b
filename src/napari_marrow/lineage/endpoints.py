"""One value per organoid: what conditions are compared on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from napari_marrow.lineage.divisions import division_times
from napari_marrow.lineage.places import with_organoid
from napari_marrow.lineage.rates import transition_rates
from napari_marrow.schemas import ORGANOID_SUMMARY

Row = tuple[str, str, float, str, str]  # organoid, endpoint, value, unit, note


def organoid_endpoints(
    onsets: pd.DataFrame | None,
    emergence: pd.DataFrame | None,
    colonies: pd.DataFrame | None,
    growth: pd.DataFrame | None,
    tracks: pd.DataFrame | None,
    layout: pd.DataFrame | None,
    *,
    cells: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Summarise each organoid by one value per endpoint.

    Parameters
    ----------
    onsets, emergence, colonies, growth, tracks : pandas.DataFrame or None
        Tables of their schemas; None leaves their endpoints out.
    layout : pandas.DataFrame or None
        LAYOUT table.
    cells : pandas.DataFrame, optional
        CELLS table with a column `lineage` (`classify_cells`); gives the composition over all cells. Without it the
        composition is that of the colonies.

    Returns
    -------
    pandas.DataFrame
        ORGANOID_SUMMARY table and `note` (why a value is NaN). Endpoints: ``cumulative incidence <lineage>`` at the
        end of the curve, ``death rate`` [1/h], ``median division time`` [h, Kaplan-Meier, first divisions left out],
        ``colony doubling time`` [h, median over colonies before merging], ``colonies``, ``cells`` and ``fraction
        <lineage>`` in the last session.
    """
    organoids = _organoids([onsets, colonies, tracks, cells], layout)
    rows: list[Row] = []
    if emergence is not None:
        rows += _incidences(emergence)
    if onsets is not None:
        rows += _by_organoid(onsets, layout, _death_rate)
    if tracks is not None and len(tracks):
        times = division_times(tracks, layout)
        later = times[times["which"] == "later"]
        rows += [
            (str(o), "median division time", float(m), "h", str(note))
            for o, m, note in zip(later["organoid"], later["median_h"], later["note"], strict=True)
        ]
    if growth is not None:
        rows += _doubling(growth)
    if colonies is not None:
        rows += _by_organoid(colonies, layout, _colony_counts)
    if cells is not None:
        rows += _by_organoid(cells, layout, _composition)
    elif colonies is not None:
        rows += _by_organoid(colonies, layout, _colony_composition)
    table = pd.DataFrame(rows, columns=["organoid", "endpoint", "value", "unit", "note"])
    table["condition"] = table["organoid"].map(organoids)
    table = _complete(table, organoids)
    return ORGANOID_SUMMARY.conform(table.sort_values(["endpoint", "condition", "organoid"], ignore_index=True))


def _organoids(tables: list[pd.DataFrame | None], layout: pd.DataFrame | None) -> dict[str, str]:
    """Condition of each organoid that has data."""
    found: dict[str, str] = {}
    for table in tables:
        if table is not None and len(table):
            places = with_organoid(table[["position"]].drop_duplicates(), layout)
            found.update(zip(places["organoid"], places["condition"], strict=True))
    return found


def _complete(table: pd.DataFrame, organoids: dict[str, str]) -> pd.DataFrame:
    """Give every organoid a row for every endpoint: one that has no data must not vanish unseen."""
    if table.empty:
        return table
    units = table.groupby("endpoint")["unit"].first()
    wanted = pd.MultiIndex.from_product([sorted(organoids), units.index], names=["organoid", "endpoint"])
    missing = wanted.difference(pd.MultiIndex.from_frame(table[["organoid", "endpoint"]]))
    if len(missing) == 0:
        return table
    extra = missing.to_frame(index=False)
    extra["value"] = np.nan
    extra["unit"] = extra["endpoint"].map(units)
    extra["condition"] = extra["organoid"].map(organoids)
    extra["note"] = "no data in this organoid"
    # A lineage that no cell of a measured organoid has is a fraction of 0, not unknown.
    measured = set(table.loc[table["endpoint"] == "cells", "organoid"])
    zero = extra["endpoint"].str.startswith("fraction ") & extra["organoid"].isin(measured)
    extra.loc[zero, "value"] = 0.0
    extra.loc[zero, "note"] = ""
    return pd.concat([table, extra], ignore_index=True)


def _by_organoid(
    table: pd.DataFrame, layout: pd.DataFrame | None, summarise: Callable[[str, pd.DataFrame], list[Row]]
) -> list[Row]:
    rows: list[Row] = []
    for organoid, part in with_organoid(table, layout).groupby("organoid", sort=True):
        rows += summarise(str(organoid), part)
    return rows


def _incidences(emergence: pd.DataFrame) -> list[Row]:
    own = emergence[(emergence["organoid"] != "all") & (emergence["lineage"] != "death")]
    rows: list[Row] = []
    # All organoids are read at the same time: the last one at which every one is still observed.
    ends = own.dropna(subset="cumulative_incidence").groupby("organoid")["time_h"].max()
    if ends.empty:
        return rows
    until = float(ends.min())
    at = own[own["time_h"] == until]
    for row in at.itertuples():
        value = float(row.cumulative_incidence)  # type: ignore[arg-type]
        note = f"at {until:.4g} h" if np.isfinite(value) else str(getattr(row, "note", "")) or "not observed that long"
        rows.append((str(row.organoid), f"cumulative incidence {row.lineage}", value, "", note))
    return rows


def _death_rate(organoid: str, onsets: pd.DataFrame) -> list[Row]:
    rates = transition_rates(onsets, lineages=[])
    return [(organoid, "death rate", float(rates["rate"].iloc[0]), "1/h", str(rates["note"].iloc[0]))]


def _doubling(growth: pd.DataFrame) -> list[Row]:
    rows: list[Row] = []
    for organoid, colonies in growth.groupby("organoid", sort=True):
        times = colonies["doubling_time"].dropna()
        value = float(times.median()) if len(times) else float("nan")
        note = f"{len(times)} of {len(colonies)} colonies grow" if len(times) else "no colony is seen to grow"
        rows.append((str(organoid), "colony doubling time", value, "h", note))
    return rows


def _last_frames(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the last frame of each position's last session."""
    last = table[table["session"] == table["session"].max()]
    return last[last["t"] == last.groupby("position")["t"].transform("max")]


def _colony_counts(organoid: str, colonies: pd.DataFrame) -> list[Row]:
    last = _last_frames(colonies)
    return [(organoid, "colonies", float(len(last)), "", "")]


def _composition(organoid: str, cells: pd.DataFrame) -> list[Row]:
    last = _last_frames(cells)
    rows: list[Row] = [(organoid, "cells", float(len(last)), "", "")]
    if "lineage" in last.columns:
        share = last["lineage"].value_counts(normalize=True)
        names = sorted(set(cells["lineage"]) - {"", "ambiguous"})
        rows += [(organoid, f"fraction {name}", float(share.get(name, 0.0)), "", "") for name in names]
    return rows


def _colony_composition(organoid: str, colonies: pd.DataFrame) -> list[Row]:
    last = _last_frames(colonies)
    size = last["n_cells"].to_numpy(dtype=np.float64)
    rows: list[Row] = [(organoid, "cells", float(size.sum()), "", "in colonies")]
    for column in [c for c in last.columns if str(c).startswith("fraction_")]:
        part = last[column].to_numpy(dtype=np.float64)
        known = np.isfinite(part) & (size > 0)
        value = float(np.average(part[known], weights=size[known])) if known.any() else float("nan")
        note = "in colonies" if known.any() else "no lineage fraction measured"
        rows.append((organoid, f"fraction {column.removeprefix('fraction_')}", value, "", note))
    return rows

"""Exact values of what the analysis estimates, computed from the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.simulation import colonies
from napari_marrow.simulation.kinetics import DEAD, Population
from napari_marrow.simulation.scenario import LINEAGES
from napari_marrow.simulation.vessels import VesselGraph

if TYPE_CHECKING:
    from napari_marrow.simulation.experiment import Experiment, SimulatedSession

Float = npt.NDArray[np.float64]

METRIC_COLUMNS = ["position", "session", "t", "metric", "subject", "argument", "value", "unit"]
"""Columns of the metrics table; `argument` is a time in h since the session's start, NaN where there is none."""

EDGE_COLUMNS = [
    "position", "session_parent", "t_parent", "colony_parent", "session_child", "t_child", "colony_child", "n_cells",
    "kind",
]  # fmt: skip
"""Columns of the table of colony edges."""

COLONY_COLUMNS = [
    "position", "session", "t", "time_h", "colony", "n_cells", "y", "x", "y_reg", "x_reg", "radius", "founders",
    "n_founders", "merged", *(f"fraction_{name}" for name in LINEAGES),
]  # fmt: skip
"""Columns of the table of colonies."""


def colony_tables(cells: pd.DataFrame, pedigree: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Colonies at the first frame of every session (dense ones at the last too), and edges between successive ones.

    Parameters
    ----------
    cells, pedigree : pandas.DataFrame
        Truth tables.

    Returns
    -------
    colonies, edges : pandas.DataFrame
    """
    rows: list[pd.DataFrame] = []
    edges: list[pd.DataFrame] = []
    blood = cells[cells["founder"].to_numpy() > 0]
    for (position, source), group in blood.groupby(["position", "source_position"], sort=True):
        parent = pedigree.loc[pedigree["position"] == source, "parent"].to_numpy(dtype=np.int64)
        before: tuple[int, int, npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None
        for session, t in _moments(group):
            frame = group[(group["session"] == session) & (group["t"] == t)]
            colony = colonies.group_cells(frame[["z_reg", "y_reg", "x_reg"]].to_numpy(dtype=float))
            rows.append(_colony_rows(frame, colony))
            ids = frame["cell_id"].to_numpy(dtype=np.int64)
            if before is not None:
                links = colonies.colony_edges(before[3], colony, colonies.descent(before[2], ids, parent))
                links.insert(0, "position", str(position))
                links.insert(1, "session_parent", before[0])
                links.insert(2, "t_parent", before[1])
                links.insert(4, "session_child", session)
                links.insert(5, "t_child", t)
                edges.append(links)
            before = (session, t, ids, colony)
    edge_table = pd.concat(edges, ignore_index=True)[EDGE_COLUMNS] if edges else pd.DataFrame(columns=EDGE_COLUMNS)
    filled = [part for part in rows if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=COLONY_COLUMNS), edge_table


def _moments(group: pd.DataFrame) -> list[tuple[int, int]]:
    span = group.groupby("session")["t"].agg(["min", "max"])
    moments = []
    for session, first, last in zip(span.index, span["min"], span["max"], strict=True):
        moments.append((int(session), int(first)))
        if last > first:
            moments.append((int(session), int(last)))
    return moments


def _colony_rows(frame: pd.DataFrame, colony: npt.NDArray[np.int64]) -> pd.DataFrame:
    founders = colonies.founder_sets(colony, frame["founder"].to_numpy(dtype=np.int64))
    place = frame[["y", "x", "y_reg", "x_reg"]].to_numpy(dtype=float)
    lineage = frame["lineage"].to_numpy()
    on = frame["marker_on"].to_numpy(dtype=bool)
    rows = []
    for number, who in founders.items():
        mine = colony == number
        centre = place[mine].mean(axis=0)
        row = {
            "position": frame["position"].iloc[0], "session": int(frame["session"].iloc[0]),
            "t": int(frame["t"].iloc[0]),
            "time_h": float(frame["time_h"].iloc[0]), "colony": number, "n_cells": int(mine.sum()),
            "y": centre[0], "x": centre[1], "y_reg": centre[2], "x_reg": centre[3],
            "radius": float(np.sqrt(((place[mine, :2] - centre[:2]) ** 2).sum(axis=1).mean())),
            "founders": ";".join(str(f) for f in who), "n_founders": len(who), "merged": len(who) > 1,
        }  # fmt: skip
        for name in LINEAGES:
            row[f"fraction_{name}"] = float((on & (lineage == name))[mine].mean())
        rows.append(row)
    return pd.DataFrame(rows)


def cumulative_incidence(cells: Population, start_h: float, times_h: Float) -> dict[str, Float]:
    """Aalen-Johansen cumulative incidence of marker onset and death among all marker-negative cells of an organoid.

    Parameters
    ----------
    cells : Population
    start_h : float
        Begin of observation, h since seeding; cells born later enter at their birth, divided ones leave.
    times_h : (n,) float64
        Times since `start_h` at which to evaluate.

    Returns
    -------
    dict of str to (n,) float64
        By lineage and ``"death"``. Continuous times, nothing missed: what an ideal observer of the organoid finds.
    """
    end_of_time = start_h + float(np.max(times_h))
    leave = np.where(np.isfinite(cells.end), cells.end, np.inf)
    onset_here = np.isfinite(cells.onset) & (cells.onset >= cells.birth)
    negative_until = np.where(np.isfinite(cells.onset), np.minimum(cells.onset, leave), leave)
    entry = np.maximum(cells.birth, start_h)
    # a daughter whose marker comes on at her very birth was at risk, for no time at all
    at_birth = onset_here & (cells.onset == cells.birth) & (cells.birth >= start_h)
    entry = np.where(at_birth, np.nextafter(entry, -np.inf), entry)
    observed = (negative_until > entry) & (entry < end_of_time)
    cause = np.full(len(cells), -1)
    cause[onset_here & (cells.onset <= leave)] = cells.lineage[onset_here & (cells.onset <= leave)]
    cause[(cause < 0) & (cells.fate == DEAD)] = len(LINEAGES)
    entry, exit_h, cause = entry[observed], negative_until[observed], cause[observed]
    events = np.flatnonzero((cause >= 0) & (exit_h <= end_of_time))
    events = events[np.argsort(exit_h[events], kind="stable")]
    when = exit_h[events]
    at_risk = np.searchsorted(np.sort(entry), when, side="left") - np.searchsorted(np.sort(exit_h), when, side="left")
    survival = np.concatenate([[1.0], np.cumprod(1.0 - 1.0 / at_risk)])[:-1]
    result = {}
    for k, name in enumerate([*LINEAGES, "death"]):
        steps = np.concatenate([[0.0], np.cumsum(np.where(cause[events] == k, survival / at_risk, 0.0))])
        result[name] = steps[np.searchsorted(when, start_h + np.asarray(times_h), side="right")]
    return result


def vessel_length_inside(graph: VesselGraph, session: SimulatedSession, t: int, *, step_um: float = 0.5) -> float:
    """Length of centrelines within a frame's field, µm, in steps of `step_um` (error below one per crossing)."""
    starts, ends, _ = graph.pieces()
    if len(starts) == 0:
        return 0.0
    lengths = np.linalg.norm(ends - starts, axis=1)
    n = np.maximum(1, np.ceil(lengths / step_um).astype(int))
    row = np.repeat(np.arange(len(n)), n)
    part = (np.arange(len(row)) - np.repeat(np.cumsum(n) - n, n) + 0.5) / n[row]
    middle = starts[row] + part[:, None] * (ends - starts)[row]
    place = session.acquisition.to_image(t, middle[:, 1:])
    size = np.array(session.shape[3:]) * np.array(session.spacing[1:])
    half = 0.5 * np.array(session.spacing[1:])
    inside = ((place >= -half) & (place < size - half)).all(axis=1)
    if session.shape[2] > 1:
        z = middle[:, 0] * session.acquisition.scale[t]
        inside &= z < session.shape[2] * session.spacing[0]
    return float((lengths / n)[row][inside].sum() * session.acquisition.scale[t])


def tissue_size(experiment: Experiment, session: SimulatedSession, t: int) -> float:
    """Tissue in the field without scaffold: µm² in 2D, µm³ in 3D."""
    tissue = experiment.history(session.source_position).tissue
    dz, dy, dx = session.spacing
    planes, rows, columns = session.shape[2:]
    grid = np.stack(np.meshgrid(np.arange(rows) * dy, np.arange(columns) * dx, indexing="ij"), axis=-1).reshape(-1, 2)
    back = session.acquisition.to_tissue(t, grid)
    total = 0.0
    for z in range(planes):
        points = np.concatenate([np.full((len(back), 1), z * dz / session.acquisition.scale[t]), back], axis=1)
        keep = tissue.outline.depth(back[:, 0], back[:, 1]) > 0
        keep &= tissue.sample(tissue.scaffold, points) > 0
        total += float(keep.sum()) * dy * dx * (dz if planes > 1 else 1.0)
    return total


def metric_table(experiment: Experiment, cells: pd.DataFrame, colony: pd.DataFrame) -> pd.DataFrame:
    """Exact values per session (first frame), cumulative incidence over dense sessions; columns `METRIC_COLUMNS`."""
    rows: list[tuple[object, ...]] = []
    frames = dict(list(cells.groupby(["position", "session", "t"], sort=True)))
    for position in experiment.positions:
        for session in experiment.sessions(position):
            place = (position, session.session, 0)
            rows += _niche_rows(experiment, session, place, frames.get(place))
            mine = colony[
                (colony["position"] == position) & (colony["session"] == session.session) & (colony["t"] == 0)
            ]
            rows.append((*place, "n_colonies", "all", np.nan, float(len(mine)), ""))
            if session.kind == "dense":
                rows += _emergence_rows(experiment, session, place)
    return pd.DataFrame(rows, columns=METRIC_COLUMNS)


def _niche_rows(
    experiment: Experiment, session: SimulatedSession, place: tuple[str, int, int], frame: pd.DataFrame | None
) -> list[tuple[object, ...]]:
    history = experiment.history(session.source_position)
    flat = session.shape[2] == 1
    size = tissue_size(experiment, session, 0)
    length = vessel_length_inside(history.vessels, session, 0)
    density = length / size * (1e3 if flat else 1e6) if size > 0 else np.nan
    rows: list[tuple[object, ...]] = [
        (*place, "tissue_area" if flat else "tissue_volume", "all", np.nan, size, "µm²" if flat else "µm³"),
        (*place, "vessel_length", "all", np.nan, length, "µm"),
        (*place, "vessel_length_density", "all", np.nan, density, "mm/mm²" if flat else "mm/mm³"),
    ]
    lengths, radii = history.vessels.lengths, np.array(history.vessels.radii)
    if len(lengths):
        rows.append((*place, "vessel_radius", "all", np.nan, float((lengths * radii).sum() / lengths.sum()), "µm"))
    if frame is None:
        rows.append((*place, "n_cells", "all", np.nan, 0.0, ""))
        return rows
    blood = frame[frame["founder"].to_numpy() > 0]
    rows.append((*place, "n_cells", "all", np.nan, float(len(blood)), ""))
    points = blood[["z_reg", "y_reg", "x_reg"]].to_numpy(dtype=float)
    distance = np.maximum(history.tissue.sample(history.vessel_distance, points), 0.0) if len(points) else np.zeros(0)
    rows.append(
        (*place, "median_distance_vessel", "all", np.nan, float(np.median(distance)) if len(distance) else np.nan, "µm")
    )
    for name in LINEAGES:
        mine = (blood["lineage"] == name).to_numpy() & blood["marker_on"].to_numpy(dtype=bool)
        rows.append((*place, "fraction", name, np.nan, float(mine.mean()) if len(mine) else np.nan, ""))
        if mine.any():
            rows.append((*place, "median_distance_vessel", name, np.nan, float(np.median(distance[mine])), "µm"))
    return rows


def _emergence_rows(
    experiment: Experiment, session: SimulatedSession, place: tuple[str, int, int]
) -> list[tuple[object, ...]]:
    cells = experiment.history(session.source_position).population
    times = np.unique(session.true_h - session.start_h)
    curves = cumulative_incidence(cells, session.start_h, times)
    return [
        (*place, "cumulative_incidence", name, float(h), float(value), "")
        for name, curve in curves.items()
        for h, value in zip(times, curve, strict=True)
    ]

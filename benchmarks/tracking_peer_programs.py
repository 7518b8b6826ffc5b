"""What the interpreter of a peer runs: one tracker on the detections of a CSV, with each of the settings given to it.

``python tracking_peer_programs.py NAME POINTS.csv FOLDER SETTINGS LIMIT``, called by `tracking_peers.run_peer`.
SETTINGS is a JSON list of numbers and settings; one that takes more than LIMIT CPU seconds ends the process. Knows
numpy, pandas and the peer only. ``FOLDER/k.tried`` says that a setting was begun; ``FOLDER/k.npz`` holds ``track,
parent`` (per row, 0 for none) or ``links`` (pairs of rows), the CPU seconds of the tracking itself and the peak memory
in MB.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Found = dict[str, np.ndarray]


def _coordinates(points: pd.DataFrame, weight: float) -> pd.DataFrame:
    """Return the columns that distances are taken in: places, and logs of measurements if they count."""
    table = points[["y", "x"]].copy()
    for name in ("area", "intensity") if weight > 0 else ():
        if name in points.columns:
            table[name] = weight * np.log(points[name])
    return table


def trackpy(points: pd.DataFrame, chosen: dict[str, float]) -> Found:
    """Crocker-Grier linking with memory; it knows no divisions."""
    import trackpy

    trackpy.quiet()
    table = _coordinates(points, chosen["weight"])
    columns = list(table.columns)
    # where too many cells lie within reach of each other it tries again with a radius a tenth smaller, down to a fifth
    linked = trackpy.link(
        table.assign(frame=points["t"]), chosen["radius"], memory=2, pos_columns=columns,
        adaptive_stop=0.2 * chosen["radius"], adaptive_step=0.9,
    )  # fmt: skip
    track = linked["particle"].reindex(points.index).to_numpy() + 1
    return {"track": track, "parent": np.zeros(len(track), np.int64)}


def laptrack(points: pd.DataFrame, chosen: dict[str, float]) -> Found:
    """Linear assignment (Jaqaman 2008) with gap closing and splitting."""
    from laptrack import LapTrack

    table = _coordinates(points, chosen["weight"])
    columns = list(table.columns)
    limit = chosen["radius"] ** 2
    tracker = LapTrack(cutoff=limit, gap_closing_cutoff=limit, gap_closing_max_frame_count=2, splitting_cutoff=limit)
    # laptrack returns rows sorted by frame: carry the row number through
    carried = table.assign(t=points["t"], row=np.arange(len(points)))
    found, split, *_ = tracker.predict_dataframe(carried, columns, frame_col="t", only_coordinate_cols=False)
    found = found.sort_values("row")
    mother = dict(zip(split["child_track_id"], split["parent_track_id"], strict=True)) if len(split) else {}
    track = found["track_id"].to_numpy()
    return {"track": track + 1, "parent": np.array([int(mother.get(k, -1)) + 1 for k in track])}


def btrack(points: pd.DataFrame, chosen: dict[str, float]) -> Found:
    """Kalman filter, then hypotheses of tracklets (Ulicna 2021), with the models of its own cell example.

    Those are in pixels: lengths are scaled so that a usual step has the length that they expect.
    """
    import btrack
    from btrack import models

    eye, none = np.eye(3), np.zeros((3, 3))
    motion = models.MotionModel(
        name="cell_motion", measurements=3, states=6, dt=1.0, accuracy=7.5, max_lost=5, prob_not_assign=0.1,
        A=np.block([[eye, eye], [none, eye]]), H=np.hstack([eye, none]), R=5.0 * eye,
        P=150.0 * np.diag([0.1, 0.1, 0.1, 1.0, 1.0, 1.0]), G=15.0 * np.array([[0.5, 0.5, 0.5, 1.0, 1.0, 1.0]]),
    )  # fmt: skip
    hypotheses = models.HypothesisModel(
        hypotheses=["P_FP", "P_init", "P_term", "P_link", "P_branch", "P_dead"],
        lambda_time=5.0, lambda_dist=3.0, lambda_link=10.0, lambda_branch=50.0, eta=1e-10, theta_dist=20.0,
        theta_time=5.0, dist_thresh=chosen["radius"] * chosen["scale"], time_thresh=2.0, apop_thresh=5,
        segmentation_miss_rate=0.1, apoptosis_rate=0.001, relax=True,
    )  # fmt: skip
    t = points["t"].to_numpy()
    xy = points[["x", "y"]].to_numpy() * chosen["scale"]
    xy = xy - xy.min(0) + 1.0
    measured = [name for name in ("area", "intensity") if chosen["weight"] > 0 and name in points.columns]
    table: dict[str, Any] = {"t": t - t.min(), "x": xy[:, 0], "y": xy[:, 1], "z": np.zeros(len(t))}
    objects = btrack.io.objects_from_dict({**table, **{name: np.log(points[name].to_numpy()) for name in measured}})
    track, parent = np.zeros(len(t), np.int64), np.zeros(len(t), np.int64)
    with btrack.BayesianTracker(verbose=False) as tracker:
        tracker.configure(btrack.config.TrackerConfig(motion_model=motion, hypothesis_model=hypotheses))
        tracker.max_search_radius = chosen["radius"] * chosen["scale"]
        if measured:
            tracker.features = measured
        tracker.append(objects)
        low = [(0.0, float(xy[:, k].max()) + 1.0) for k in (0, 1)]
        tracker.volume = (*low, (-1e5, 1e5))
        tracker.track(step_size=100, tracking_updates=["MOTION", "VISUAL"] if measured else ["MOTION"])
        tracker.optimize(options={"tm_lim": 60000})  # its own default, ms
        for one in tracker.tracks:
            rows = np.array([ref for ref in one.refs if ref >= 0], np.int64)  # negative ones were inserted by it
            track[rows] = one.ID
            parent[rows] = one.parent if one.parent != one.ID else 0
    return {"track": track, "parent": parent}


def tracksdata(points: pd.DataFrame, chosen: dict[str, float]) -> Found:
    """Greedy choice of the shortest edges, or an integer programme over all frames (SCIP)."""
    import polars as pl
    import tracksdata as td

    td.options.set_options(show_progress=False)
    table = _coordinates(points, chosen["weight"])
    columns = list(table.columns)
    graph = td.graph.InMemoryGraph()
    for name in columns:
        graph.add_node_attr_key(name, pl.Float64, 0.0)
    rows = table.assign(t=points["t"].astype(int)).to_dict("records")
    ids = np.array(graph.bulk_add_nodes(rows))
    edges = td.edges.DistanceEdges(
        distance_threshold=chosen["radius"], n_neighbors=5, delta_t=int(chosen["gap"]), attr_keys=columns
    )
    edges.add_edges(graph)
    if chosen["exact"]:
        solver: Any = td.solvers.ILPSolver(
            edge_weight=td.attrs.EdgeAttr("distance") - chosen["radius"],
            division_weight=chosen["division"] * chosen["radius"],
        )
    else:
        solver = td.solvers.NearestNeighborsSolver(max_children=int(chosen["children"]), edge_weight="distance")
    solver.solve(graph)
    found = graph.edge_attrs(attr_keys=["solution"]).filter(pl.col("solution"))
    row = pd.Series(np.arange(len(ids)), index=ids)
    ends = [row.loc[found[end].to_numpy()].to_numpy() for end in ("source_id", "target_id")]
    return {"links": np.column_stack(ends)}


def motile(points: pd.DataFrame, chosen: dict[str, float]) -> Found:
    """One integer programme over all frames (SCIP): distances, divisions, appearances."""
    import motile
    import networkx as nx
    from motile import constraints, costs
    from scipy.spatial import cKDTree

    table = _coordinates(points, chosen["weight"])
    x, t = table.to_numpy(), points["t"].to_numpy()
    graph = nx.DiGraph()
    graph.add_nodes_from((k, {"t": int(frame)}) for k, frame in enumerate(t))
    for frame in np.unique(t)[:-1]:
        here, there = np.flatnonzero(t == frame), np.flatnonzero(t == frame + 1)
        if not len(there):
            continue
        distance, near = cKDTree(x[there]).query(x[here], k=4, distance_upper_bound=chosen["radius"])
        for i, k in zip(*np.nonzero(np.isfinite(distance)), strict=True):
            graph.add_edge(int(here[i]), int(there[near[i, k]]), distance=float(distance[i, k]))
    solver = motile.Solver(motile.TrackGraph(graph))
    solver.add_cost(costs.EdgeSelectedCost(weight=1.0, attribute="distance", constant=-chosen["radius"]))
    solver.add_cost(costs.NodeSplitCost(constant=chosen["division"] * chosen["radius"]))
    solver.add_cost(costs.NodeAppearCost(constant=0.2 * chosen["radius"]))
    solver.add_constraint(constraints.MaxParents(1))
    solver.add_constraint(constraints.MaxChildren(2))
    solver.solve()
    return {"links": np.array(list(solver.get_selected_subgraph().edges), np.int64).reshape(-1, 2)}


PROGRAMS = {f.__name__: f for f in (trackpy, laptrack, btrack, tracksdata, motile)}


def _allow(seconds: float) -> None:
    """Let the process end after so many more CPU seconds."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + seconds) + 1, resource.RLIM_INFINITY))


def main(name: str, source: str, result: str, chosen: list[tuple[int, dict[str, float]]], limit: float) -> None:
    """Track once untimed on a few frames, for what is imported and compiled, then with every setting on all."""
    points = pd.read_csv(source)
    few = points[points["t"] <= points["t"].min() + 3].reset_index(drop=True)
    Path(f"{result}/{chosen[0][0]}.tried").touch()
    _allow(limit)
    with contextlib.suppress(Exception):
        PROGRAMS[name](few, chosen[0][1])
    for number, one in chosen:
        Path(f"{result}/{number}.tried").touch()
        begin = time.process_time()
        _allow(limit)
        try:
            found = PROGRAMS[name](points, one)
        except Exception as error:  # whatever a peer raises is its answer
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            continue
        seconds = time.process_time() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        arrays = {key: np.asarray(value, np.int64) for key, value in found.items()}
        np.savez(f"{result}/{number}.npz", seconds=seconds, megabytes=peak, **arrays)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4]), float(sys.argv[5]))

"""Measures of vessels in one frame: graph, orientation and coverage, each a row with its interval or its reason."""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_marrow.niche._frame import Frame, Rows, absence
from napari_marrow.niche.coverage import surface_coverage
from napari_marrow.niche.intervals import length_density_interval, ratio_interval
from napari_marrow.niche.null_models import monte_carlo_p
from napari_marrow.niche.orientation import isotropic_anisotropies, orientation_tensor
from napari_marrow.niche.settings import NicheSettings
from napari_marrow.niche.vessels import VesselGraph, vessel_graph

NAN = float("nan")


def measure_vessels(frame: Frame, settings: NicheSettings, rows: Rows) -> None:
    """Graph measures of each vessel structure."""
    for name in settings.vessels:
        structure = frame.structures.get(name)
        graph = None
        reason = absence(name, structure, frame)
        if structure is not None and structure.spots is not None:
            reason = reason or f"structure '{name}' is given as spots: a vessel graph needs a mask"
        if structure is not None and not reason:
            graph = vessel_graph(structure.mask, frame.spacing, tissue=frame.tissue, settings=settings.vessel)
            if graph.branches.empty:
                reason = f"no piece of '{name}' is longer than the pruning length of {settings.vessel.prune_um:g} µm"
            rows.vessels.append(_vertex_table(name, graph))
        _graph_rows(name, graph, reason, frame, settings, rows)


def _graph_rows(
    name: str, graph: VesselGraph | None, reason: str, frame: Frame, settings: NicheSettings, rows: Rows
) -> None:
    per = frame.per_measure
    density = "mm/mm²" if frame.ndim == 2 else "mm/mm³"
    pruned = f"pruning length {settings.vessel.prune_um:g} µm"
    if graph is None or reason:
        for key, unit in (
            ("length_density", density), ("branch_density", per), ("tip_density", per), ("loops", ""),
            ("mean_radius", "µm"), ("tortuosity", ""), ("anisotropy", ""),
        ):  # fmt: skip
            rows.add(f"{name}_{key}", "tissue", NAN, unit, note=reason)
        return
    length, radius, bend = (graph.branches[c].to_numpy(dtype=np.float64) for c in ("length", "radius", "tortuosity"))
    straight = np.isfinite(bend)
    for key, value, unit, note, interval in (
        ("length_density", graph.length_density, density, "", _length_interval(graph, frame)),
        ("branch_density", graph.branch_density, per, pruned, _node_interval(graph, frame, "junction")),
        ("tip_density", graph.n_tips / graph.measure * frame.number_factor, per, pruned + "; cut ends left out",
         _node_interval(graph, frame, "tip")),
        ("loops", float(graph.n_loops), "", pruned, (NAN, NAN)),
        ("mean_radius", graph.mean_radius, "µm", "length-weighted", ratio_interval(length * radius, length)),
        ("tortuosity", graph.mean_tortuosity, "", "length-weighted; loops and short chords left out",
         ratio_interval((length * bend)[straight], length[straight])),
    ):  # fmt: skip
        rows.add(f"{name}_{key}", "tissue", value, unit, interval=interval, note=note)
    _orientation_row(name, graph, frame, settings, rows)


def _orientation_row(name: str, graph: VesselGraph, frame: Frame, settings: NicheSettings, rows: Rows) -> None:
    vectors, _ = graph.segments()
    anisotropy = orientation_tensor(vectors).anisotropy
    null = isotropic_anisotropies(
        graph.branches["length"].to_numpy(), frame.ndim, n_simulations=settings.n_simulations, seed=settings.seed + 53
    )
    low, high = np.quantile(null, [0.025, 0.975]) if len(null) else (NAN, NAN)
    rows.add(
        f"{name}_anisotropy", "tissue", anisotropy, "", low=float(low), high=float(high),
        null_mean=float(null.mean()) if len(null) else NAN, p_value=monte_carlo_p(anisotropy, null),
        note="1 - smallest/largest eigenvalue of the orientation tensor; 1 parallel; null: as many straight branches "
        "of these lengths in isotropic directions" if np.isfinite(anisotropy) else "no vessel in the tissue",
    )  # fmt: skip


def _length_interval(graph: VesselGraph, frame: Frame) -> tuple[float, float]:
    lengths = graph.segments()[1]
    if len(lengths) == 0:
        return NAN, NAN
    per_block = frame.blocks.count(graph.segment_middles(), lengths)
    per_branch = graph.branches["length"].to_numpy(dtype=np.float64)
    low, high = length_density_interval(per_block, frame.blocks.measure, per_branch)
    factor = 1e3 if frame.ndim == 2 else 1e6
    return low * factor, high * factor


def _node_interval(graph: VesselGraph, frame: Frame, kind: str) -> tuple[float, float]:
    nodes = graph.nodes[graph.nodes["kind"] == kind]
    if nodes.empty:
        return NAN, NAN
    places = nodes[list(("z", "y", "x")[3 - frame.ndim :])].to_numpy(dtype=np.float64)
    low, high = ratio_interval(frame.blocks.count(places), frame.blocks.measure)
    return low * frame.number_factor, high * frame.number_factor


def _vertex_table(name: str, graph: VesselGraph) -> pd.DataFrame:
    table = graph.vertices.copy()
    if "z" not in table.columns:
        table["z"] = 0.0
    columns = {"length": "branch_length", "radius": "branch_radius", "tortuosity": "tortuosity", "kind": "kind"}
    of_branch = graph.branches[["branch", *columns]].rename(columns=columns)
    table = table.astype({"branch": np.int64, "vertex": np.int64}).merge(
        of_branch.astype({"branch": np.int64}), on="branch", how="left"
    )
    table.insert(0, "structure", name)
    order = ["structure", "branch", "vertex", "z", "y", "x", "radius", "inside"]
    return table[[*order, "branch_length", "branch_radius", "tortuosity", "kind"]]


def measure_coverage(frame: Frame, settings: NicheSettings, rows: Rows) -> None:
    """Share of each structure's surface that the marker of its pair covers, against the marker's image moved."""
    for name, marker in settings.coverage:
        structure, cover = frame.structures.get(name), frame.structures.get(marker)
        reason = absence(name, structure, frame)
        if not reason and cover is None:
            reason = f"no structure '{marker}' in this frame (channel missing?)"
        metric, subject = f"{name}_coverage_{marker}", "tissue"
        if reason or structure is None or cover is None:
            rows.add(metric, subject, NAN, "", note=reason)
            continue
        found = surface_coverage(
            structure.mask, cover.mask, frame.spacing, delta=settings.coverage_delta,
            n_simulations=settings.n_uniform, seed=settings.seed + 71,
        )  # fmt: skip
        rows.add(
            metric, subject, found.fraction, "", low=found.low, high=found.high, null_mean=found.null_mean,
            p_value=found.p_value,
            note=f"surface within {settings.coverage_delta:g} µm of '{marker}'; null: its image mirrored and shifted"
            if np.isfinite(found.fraction) else f"structure '{name}' has no surface in this image",
        )  # fmt: skip

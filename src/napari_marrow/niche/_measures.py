"""The measures of one frame, each writing its rows: a value with unit, null band and p, or NaN with its reason."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pandas as pd

from napari_marrow.niche._frame import Frame, Rows, Structure
from napari_marrow.niche.attraction import Attraction, relabelled_cross_l, uniform_cross_l
from napari_marrow.niche.compartments import assign_compartments, selection_index
from napari_marrow.niche.distances import read_at
from napari_marrow.niche.edge_correction import summarise_distances
from napari_marrow.niche.enrichment import neighbour_pairs, neighbourhood_enrichment
from napari_marrow.niche.geometry import FloatArray, measure_of, voxel_of
from napari_marrow.niche.null_models import Null, uniform_positions
from napari_marrow.niche.orientation import orientation_tensor
from napari_marrow.niche.point_patterns import set_covariance
from napari_marrow.niche.proximity import ProximityEffect, proximity_effect
from napari_marrow.niche.settings import NicheSettings
from napari_marrow.niche.vessels import VesselGraph, vessel_graph

NAN = float("nan")
_SPACE_SAMPLE = 20_000  # places in the tissue that stand for it; their sampling error is far below that of the cells


def measure_vessels(frame: Frame, settings: NicheSettings, rows: Rows) -> None:
    """Graph measures of each vessel structure."""
    for name in settings.vessels:
        structure = frame.structures.get(name)
        graph = None
        reason = _absence(name, structure, frame)
        if structure is not None and not reason:
            graph = vessel_graph(structure.mask, frame.spacing, tissue=frame.tissue, settings=settings.vessel)
            if graph.branches.empty:
                reason = f"no piece of '{name}' is longer than the pruning length of {settings.vessel.prune_um:g} µm"
            rows.vessels.append(_vertex_table(name, graph))
        _graph_rows(name, graph, reason, frame, settings, rows)


def _absence(name: str, structure: Structure | None, frame: Frame) -> str:
    """Say why nothing can be measured on a structure, or nothing."""
    if structure is None:
        return f"no structure '{name}' in this frame (channel missing?)"
    if not frame.tissue.any():
        return "the tissue mask is empty"
    if not structure.mask.any():
        return f"structure '{name}' is empty"
    if not (frame.tissue & ~structure.mask).any():
        return f"structure '{name}' fills the tissue"
    return ""


def _graph_rows(
    name: str, graph: VesselGraph | None, reason: str, frame: Frame, settings: NicheSettings, rows: Rows
) -> None:
    per = frame.per_measure
    density = "mm/mm²" if frame.ndim == 2 else "mm/mm³"
    pruned = f"pruning length {settings.vessel.prune_um:g} µm"
    values: dict[str, tuple[float, str, str]] = {
        f"{name}_{key}": (NAN, unit, reason)
        for key, unit in (
            ("length_density", density), ("branch_density", per), ("tip_density", per), ("loops", ""),
            ("mean_radius", "µm"), ("tortuosity", ""), ("anisotropy", ""),
        )
    }  # fmt: skip
    if graph is not None and not reason:
        vectors, _ = graph.segments()
        anisotropy = orientation_tensor(vectors).anisotropy
        for key, value, unit, note in (
            ("length_density", graph.length_density, density, ""),
            ("branch_density", graph.branch_density, per, pruned),
            ("tip_density", graph.n_tips / graph.measure * frame.number_factor, per, pruned + "; cut ends left out"),
            ("loops", float(graph.n_loops), "", pruned),
            ("mean_radius", graph.mean_radius, "µm", "length-weighted"),
            ("tortuosity", graph.mean_tortuosity, "", "length-weighted; loops and short chords left out"),
            ("anisotropy", anisotropy, "", "1 - smallest/largest eigenvalue of the orientation tensor; 1 parallel"),
        ):  # fmt: skip
            values[f"{name}_{key}"] = (value, unit, note)
    for metric, (value, unit, note) in values.items():
        rows.add(metric, "tissue", value, unit, note=note)


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


def measure_distances(frame: Frame, settings: NicheSettings, rows: Rows) -> None:
    """Volume fraction of each structure and how far the tissue is from it, then each class against its null model."""
    rows.add(
        "tissue_area" if frame.ndim == 2 else "tissue_volume", "tissue", frame.measure if frame.tissue.any() else NAN,
        "µm²" if frame.ndim == 2 else "µm³", note="" if frame.tissue.any() else "the tissue mask is empty",
    )  # fmt: skip
    for number, (name, structure) in enumerate(frame.structures.items()):
        reason = _absence(name, structure, frame)
        held = structure.window.any()
        fraction = (
            measure_of(structure.mask, frame.spacing) / measure_of(structure.window, frame.spacing) if held else NAN
        )
        rows.add(f"{name}_fraction", "tissue", fraction, "", note="" if held else "the tissue mask is empty")
        space, space_edge = _space(frame, structure, settings.seed + 7919 * (number + 1), reason)
        beyond = summarise_distances(space, space_edge)
        short = reason or "too little of the distribution lies within the window"
        for key, value in (("median", beyond.median), ("mean", beyond.mean), ("p95", beyond.p95)):
            rows.add(
                f"{key}_distance_{name}", "tissue", value, "µm", note=short if np.isnan(value) else "edge-corrected"
            )
        for subject in frame.classes:
            effect = _effect(frame, structure, subject, settings, number, space, space_edge, reason)
            _distance_rows(name, subject, frame, structure, effect, reason, rows)


def _space(frame: Frame, structure: Structure, seed: int, reason: str) -> tuple[FloatArray, FloatArray]:
    """Distances to the structure and to the edge at random places in the tissue outside the structure."""
    region = frame.tissue & ~structure.mask
    if reason or not region.any():
        return np.zeros(0), np.zeros(0)
    places = uniform_positions(region, frame.spacing, _SPACE_SAMPLE, np.random.default_rng(seed))
    distance = read_at(structure.field, places, frame.spacing)
    return distance, read_at(structure.depth, places, frame.spacing)


def _effect(
    frame: Frame,
    structure: Structure,
    subject: str,
    settings: NicheSettings,
    number: int,
    space: FloatArray,
    space_edge: FloatArray,
    reason: str,
) -> ProximityEffect:
    pool = frame.pool
    chosen = frame.classes[subject] & pool
    everyone = bool((chosen == pool).all())
    if everyone:
        # All positions cannot be re-labelled; they are compared with empty tissue, in which nothing lies inside the
        # structure.
        pool = pool & (structure.distance > 0)
        null: Null = "uniform"
    else:
        null = "relabel" if frame.strata is None else "strata"
    distance = np.full(int(pool.sum()), np.inf) if reason else structure.distance[pool]
    return proximity_effect(
        distance, chosen[pool],
        null=null, n_simulations=settings.n_simulations, seed=settings.seed + 104729 * (number + 1),
        edge_distances=structure.edge[pool], strata=None if frame.strata is None else frame.strata[pool],
        space_distances=space, space_edge_distances=space_edge,
        r_max=settings.r_max, n_r=settings.n_r + 1, envelope=settings.envelope,
    )  # fmt: skip


def _distance_rows(
    name: str, subject: str, frame: Frame, structure: Structure, effect: ProximityEffect, reason: str, rows: Rows
) -> None:
    note = reason or effect.note
    null = {"uniform": "null: uniform in the tissue outside the structure", "relabel": "null: re-labelling"}.get(
        effect.null, "null: re-labelling within strata"
    )
    if effect.null == "uniform":
        within = int((frame.classes[subject] & frame.pool & (structure.distance <= 0)).sum())
        null += f"; {within} cells inside the structure left out" if within else ""
    reach = f"mean over 0-{effect.reach:.3g} µm" if np.isfinite(effect.effect) else ""
    full = "; ".join(part for part in (null, note) if part)
    missing = note or "the median lies beyond what the window shows"
    rows.add(
        f"median_distance_{name}", subject, effect.median, "µm", low=effect.median_low, high=effect.median_high,
        null_mean=effect.median_null, note=missing if np.isnan(effect.median) else full,
    )  # fmt: skip
    rows.add(
        f"proximity_effect_{name}", subject, effect.effect, "", low=effect.effect_low, high=effect.effect_high,
        null_mean=NAN if np.isnan(effect.effect) else 0.0, p_value=effect.p_value,
        note=note if np.isnan(effect.effect) else f"{reach}; {full}",
    )  # fmt: skip
    rows.add_curve(
        f"distance_cdf_{name}", subject, effect.r, effect.observed, effect.null_mean, effect.low, effect.high
    )


def measure_compartments(frame: Frame, settings: NicheSettings, rows: Rows) -> None:
    """Compute the selection index of each class for the surroundings of each structure, against re-labelling."""
    fields = {n: s.field for n, s in frame.structures.items() if s.mask.any()}
    if not fields or not frame.tissue.any():
        return
    names, image = assign_compartments(fields, frame.tissue, settings.niche_radius)
    of_cell = np.full(len(frame.points), -1)
    pool = frame.pool
    of_cell[pool] = image[tuple(voxel_of(frame.points[pool], frame.spacing).T)]
    volumes = np.bincount(image[frame.tissue], minlength=len(names)).astype(np.float64)
    for subject, member in frame.classes.items():
        index = selection_index(
            of_cell[pool], member[pool], volumes, n_simulations=settings.n_simulations, seed=settings.seed + 31,
            strata=None if frame.strata is None else frame.strata[pool],
        )  # fmt: skip
        for k, name in enumerate(names):
            where = (
                f"compartment within {settings.niche_radius:g} µm"
                if name != "elsewhere"
                else "outside every compartment"
            )
            rows.add(
                f"selection_index_{name}", subject, index.index[k], "", low=index.low[k], high=index.high[k],
                null_mean=index.null_mean[k], p_value=index.p_value[k],
                note=where if np.isfinite(index.index[k]) else index.note or "the compartment is empty",
            )  # fmt: skip


def measure_classes(frame: Frame, settings: NicheSettings, rows: Rows) -> None:
    """Numbers, densities, and cross L with its null band."""
    for subject, member in frame.classes.items():
        n = int((member & frame.in_tissue).sum())
        lost = int((member & ~frame.in_tissue).sum())
        rows.add("n_cells", subject, float(n), "", note=f"{lost} more lie outside the tissue" if lost else "")
        density = n / frame.measure * frame.number_factor if frame.tissue.any() else NAN
        rows.add(
            "cell_density",
            subject,
            density,
            frame.per_measure,
            note="" if frame.tissue.any() else "the tissue mask is empty",
        )
    if not frame.tissue.any():
        for a, b in _pairs(frame, settings):
            rows.add(f"cross_l_{a}_{b}", f"{a}-{b}", NAN, "µm", note="the tissue mask is empty")
        return
    covariance = set_covariance(frame.tissue, frame.spacing, settings.cross_r_max)
    pool = frame.pool
    for k, (a, b) in enumerate(_pairs(frame, settings)):
        absent = [name for name in (a, b) if name not in frame.classes]
        if absent:
            rows.add(f"cross_l_{a}_{b}", f"{a}-{b}", NAN, "µm", note=f"no class '{absent[0]}' in this frame")
            continue
        first, second = frame.classes[a][pool], frame.classes[b][pool]
        seed = settings.seed + 15_485_863 * (k + 1)
        if pool.any() and first.all() and second.all():
            result = uniform_cross_l(
                frame.points[pool], frame.tissue, frame.spacing, covariance, n_simulations=settings.n_uniform,
                seed=seed, n_r=settings.n_r, envelope=settings.envelope,
            )  # fmt: skip
        else:
            result = relabelled_cross_l(
                frame.points[pool], first, second, covariance, n_simulations=settings.n_simulations, seed=seed,
                n_r=settings.n_r, strata=None if frame.strata is None else frame.strata[pool],
                envelope=settings.envelope,
            )  # fmt: skip
        _cross_rows(a, b, result, settings, rows)


def _pairs(frame: Frame, settings: NicheSettings) -> list[tuple[str, str]]:
    if settings.pairs is not None:
        return list(settings.pairs)
    named = [name for name in frame.classes if name != "all"]
    whole = [("all", "all")] if "all" in frame.classes else []
    return whole + list(combinations_with_replacement(named, 2))


def _cross_rows(a: str, b: str, result: Attraction, settings: NicheSettings, rows: Rows) -> None:
    at = int(np.argmin(np.abs(result.r - settings.interaction_r)))
    r = float(result.r[at])
    null = "re-labelling" if result.null == "relabel" else "uniform in the tissue"
    rows.add(
        f"cross_l_{a}_{b}", f"{a}-{b}", float(result.l[at]) - r, "µm", low=float(result.l_low[at]) - r,
        high=float(result.l_high[at]) - r, null_mean=float(result.l_null[at]) - r, p_value=result.p_value,
        note=result.note or f"L(r) - r at r = {r:g} µm; band and p are of the whole curve; null: {null}",
    )  # fmt: skip
    rows.add_curve(f"cross_l_{a}_{b}", f"{a}-{b}", result.r, result.l, result.l_null, result.l_low, result.l_high)
    rows.add_curve(f"cross_g_{a}_{b}", f"{a}-{b}", result.r, result.g, result.g_null, result.g_low, result.g_high)


def measure_enrichment(frame: Frame, settings: NicheSettings, rows: Rows) -> None:
    """Neighbourhood enrichment of the classes other than "all", shuffled within this organoid (and strata)."""
    named = [name for name in frame.classes if name != "all"]
    pool = frame.pool
    if len(named) < 2 or pool.sum() < 2:
        return
    # A cell of several classes is a class of its own: it must not count twice.
    code = sum(frame.classes[name][pool].astype(np.int64) << k for k, name in enumerate(named))
    known = {1 << k: name for k, name in enumerate(named)} | {0: "other"}
    of_cell = np.asarray([known.get(int(c), "several") for c in np.asarray(code)])
    result = neighbourhood_enrichment(
        of_cell, neighbour_pairs(frame.points[pool], settings.neighbour_radius), n_simulations=settings.n_simulations,
        seed=settings.seed + 13, strata=None if frame.strata is None else frame.strata[pool],
    )  # fmt: skip
    for a, b in combinations_with_replacement(named, 2):
        metric, subject = f"neighbourhood_enrichment_{a}_{b}", f"{a}-{b}"
        if a not in result.classes or b not in result.classes:
            rows.add(metric, subject, NAN, "sd", note="no cell of one of the classes in the tissue")
            continue
        i, j = result.classes.index(a), result.classes.index(b)
        rows.add(
            metric, subject, float(result.z[i, j]), "sd", null_mean=0.0 if np.isfinite(result.z[i, j]) else NAN,
            p_value=float(result.p_value[i, j]),
            note=f"z of neighbour pairs within {settings.neighbour_radius:g} µm; null: re-labelling"
            if np.isfinite(result.z[i, j]) else "shuffling changes nothing",
        )  # fmt: skip

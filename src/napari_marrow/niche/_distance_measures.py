"""Distances of tissue and cells to structures in one frame, against null models, with intervals."""

from __future__ import annotations

import numpy as np

from napari_marrow.niche._frame import Frame, Rows, Structure, absence
from napari_marrow.niche.distances import edge_distance, read_at
from napari_marrow.niche.edge_correction import summarise_distances
from napari_marrow.niche.geometry import BoolArray, FloatArray, measure_of
from napari_marrow.niche.intervals import DistanceInterval, distance_interval
from napari_marrow.niche.null_models import Null, uniform_positions
from napari_marrow.niche.proximity import ProximityEffect, proximity_effect
from napari_marrow.niche.settings import NicheSettings

NAN = float("nan")
_SPACE_SAMPLE = 20_000  # places in the tissue that stand for it; their sampling error is far below that of the cells
_INTERVAL_DRAWS = 199


def measure_distances(frame: Frame, settings: NicheSettings, rows: Rows) -> None:
    """Volume fraction of each structure and how far the tissue is from it, then each class against its null model."""
    rows.add(
        "tissue_area" if frame.ndim == 2 else "tissue_volume", "tissue", frame.measure if frame.tissue.any() else NAN,
        "µm²" if frame.ndim == 2 else "µm³", note="" if frame.tissue.any() else "the tissue mask is empty",
    )  # fmt: skip
    for number, (name, structure) in enumerate(frame.structures.items()):
        reason = absence(name, structure, frame)
        held = structure.window.any()
        fraction = (
            measure_of(structure.mask, frame.spacing) / measure_of(structure.window, frame.spacing) if held else NAN
        )
        rows.add(f"{name}_fraction", "tissue", fraction, "", note="" if held else "the tissue mask is empty")
        region = frame.tissue & ~structure.mask
        space, space_edge = _space(frame, structure, region, settings.seed + 7919 * (number + 1), reason)
        beyond = summarise_distances(space, space_edge)
        short = reason or "too little of the distribution lies within the window"
        for key, value in (("median", beyond.median), ("mean", beyond.mean), ("p95", beyond.p95)):
            rows.add(
                f"{key}_distance_{name}", "tissue", value, "µm", note=short if np.isnan(value) else "edge-corrected"
            )
        for subject in frame.classes:
            effect, interval = _effect(frame, structure, subject, settings, number, space, space_edge, reason)
            _distance_rows(name, subject, frame, structure, effect, interval, reason, rows)
        for subject, radius in settings.cell_radii:
            _size_exclusion(frame, structure, subject, radius, settings, number, reason, rows)


def _space(
    frame: Frame, structure: Structure, region: BoolArray, seed: int, reason: str
) -> tuple[FloatArray, FloatArray]:
    """Distances to the structure and to the edge at random places in a region."""
    if reason or not region.any():
        return np.zeros(0), np.zeros(0)
    places = uniform_positions(region, frame.spacing, _SPACE_SAMPLE, np.random.default_rng(seed))
    distance = structure.distance_at(places, frame.spacing)
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
) -> tuple[ProximityEffect, DistanceInterval]:
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
    seed = settings.seed + 104729 * (number + 1)
    effect = proximity_effect(
        distance, chosen[pool],
        null=null, n_simulations=settings.n_simulations, seed=seed,
        edge_distances=structure.edge[pool], strata=None if frame.strata is None else frame.strata[pool],
        space_distances=space, space_edge_distances=space_edge,
        r_max=settings.r_max, n_r=settings.n_r + 1, envelope=settings.envelope,
    )  # fmt: skip
    if not np.isfinite(effect.effect):
        return effect, DistanceInterval(NAN, NAN, NAN, NAN)
    interval = distance_interval(
        distance, structure.edge[pool], chosen[pool], frame.blocks.of(frame.points[pool]), reach=effect.reach,
        r=effect.r, null_mean=effect.null_mean if everyone else None, n_draws=_INTERVAL_DRAWS, seed=seed + 1,
    )  # fmt: skip
    return effect, interval


def _distance_rows(
    name: str,
    subject: str,
    frame: Frame,
    structure: Structure,
    effect: ProximityEffect,
    interval: DistanceInterval,
    reason: str,
    rows: Rows,
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
        null_mean=effect.median_null, interval=(interval.median_low, interval.median_high),
        note=missing if np.isnan(effect.median) else full,
    )  # fmt: skip
    rows.add(
        f"proximity_effect_{name}", subject, effect.effect, "", low=effect.effect_low, high=effect.effect_high,
        null_mean=NAN if np.isnan(effect.effect) else 0.0, p_value=effect.p_value,
        interval=(interval.effect_low, interval.effect_high),
        note=note if np.isnan(effect.effect) else f"{reach}; {full}",
    )  # fmt: skip
    rows.add_curve(
        f"distance_cdf_{name}", subject, effect.r, effect.observed, effect.null_mean, effect.low, effect.high
    )


def _size_exclusion(
    frame: Frame,
    structure: Structure,
    subject: str,
    radius: float,
    settings: NicheSettings,
    number: int,
    reason: str,
    rows: Rows,
) -> None:
    """Compare a class of large cells with places where a cell of its radius fits, null model (b)."""
    metric = f"placement_effect_{_name_of(frame, structure)}"
    if subject not in frame.classes:
        rows.add(metric, subject, NAN, "", note=f"no class '{subject}' in this frame")
        return
    # A cell fits where it overlaps neither the structure nor the edge of the tissue.
    fits = frame.tissue & (structure.field >= radius)
    fits &= edge_distance(frame.tissue, frame.spacing) >= min(radius, 0.5 * min(frame.extent))
    space, space_edge = _space(frame, structure, fits, settings.seed + 6007 * (number + 1), reason)
    chosen = frame.classes[subject] & frame.in_tissue
    distance = np.full(int(chosen.sum()), np.inf) if reason else structure.distance[chosen]
    effect = proximity_effect(
        distance, np.ones(len(distance), dtype=bool), null="uniform", n_simulations=settings.n_simulations,
        seed=settings.seed + 611953 * (number + 1), edge_distances=structure.edge[chosen], space_distances=space,
        space_edge_distances=space_edge, r_max=settings.r_max, n_r=settings.n_r + 1, envelope=settings.envelope,
    )  # fmt: skip
    note = reason or effect.note
    fitting = f"null: uniform where a cell of radius {radius:g} µm fits"
    rows.add(
        metric, subject, effect.effect, "", low=effect.effect_low, high=effect.effect_high,
        null_mean=NAN if np.isnan(effect.effect) else 0.0, p_value=effect.p_value,
        note=note if np.isnan(effect.effect) else "; ".join(part for part in (fitting, note) if part),
    )  # fmt: skip


def _name_of(frame: Frame, structure: Structure) -> str:
    return next(name for name, other in frame.structures.items() if other is structure)

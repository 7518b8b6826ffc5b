"""Compartments, cross statistics and neighbourhoods of one frame, each a row with its null band or its reason."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt

from napari_marrow.niche._frame import Frame, Rows
from napari_marrow.niche.attraction import Attraction, relabelled_cross_l, uniform_cross_l
from napari_marrow.niche.compartments import selection_index
from napari_marrow.niche.enrichment import neighbour_pairs, neighbourhood_enrichment
from napari_marrow.niche.geometry import BoolArray, voxel_of
from napari_marrow.niche.intervals import ratio_interval
from napari_marrow.niche.null_models import quantile_strata
from napari_marrow.niche.point_patterns import set_covariance
from napari_marrow.niche.settings import NicheSettings

IntArray = npt.NDArray[np.int64]
NAN = float("nan")


def measure_compartments(frame: Frame, settings: NicheSettings, rows: Rows) -> None:
    """Share of the tissue and of each class in the surroundings of each structure, and the selection index of both."""
    if not frame.tissue.any() or not any(s.mask.any() for s in frame.structures.values()):
        return
    names, image = frame.compartments(settings.niche_radius)
    of_cell = np.full(len(frame.points), -1)
    pool = frame.pool
    of_cell[pool] = image[tuple(voxel_of(frame.points[pool], frame.spacing).T)]
    volumes = np.bincount(image[frame.tissue], minlength=len(names)).astype(np.float64)
    within = f"compartment within {settings.niche_radius:g} µm, in the order {', '.join(names[:-1])}"
    wheres = [within if name != "elsewhere" else "outside every compartment" for name in names]
    for k, name in enumerate(names):
        rows.add(f"compartment_fraction_{name}", "tissue", volumes[k] / volumes.sum(), "", note=wheres[k])
    block = frame.blocks.of(frame.points)
    for subject, member in frame.classes.items():
        index = selection_index(
            of_cell[pool], member[pool], volumes, n_simulations=settings.n_simulations, seed=settings.seed + 31,
            strata=None if frame.strata is None else frame.strata[pool],
        )  # fmt: skip
        chosen = member & pool
        every = np.bincount(block[chosen], minlength=len(frame.blocks.measure))
        for k, name in enumerate(names):
            here = np.bincount(block[chosen & (of_cell == k)], minlength=len(every))
            limits = np.minimum(ratio_interval(here, every), 1.0)
            share = index.available[k]
            for metric, scale in (("selection_index", 1.0), ("compartment_use", share)):
                value = float(index.index[k] * scale)
                rows.add(
                    f"{metric}_{name}", subject, value, "", low=float(index.low[k] * scale),
                    high=float(index.high[k] * scale), null_mean=float(index.null_mean[k] * scale),
                    p_value=float(index.p_value[k]),
                    interval=tuple(limits * scale / share) if share > 0 else (NAN, NAN),
                    note=wheres[k] if np.isfinite(value) else index.note or "the compartment is empty",
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
            interval=_density_interval(frame, member & frame.in_tissue),
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


def _density_interval(frame: Frame, chosen: BoolArray) -> tuple[float, float]:
    if not frame.tissue.any():
        return NAN, NAN
    low, high = ratio_interval(frame.blocks.count(frame.points[chosen]), frame.blocks.measure)
    return low * frame.number_factor, high * frame.number_factor


def measure_enrichment(frame: Frame, settings: NicheSettings, rows: Rows) -> None:
    """Neighbourhood enrichment of the classes, shuffled within this organoid and, beside it, within distance strata."""
    named = [name for name in frame.classes if name != "all"]
    pool = frame.pool
    if len(named) < 2 or pool.sum() < 2:
        return
    strata = None if frame.strata is None else frame.strata[pool]
    _enrichment_rows("neighbourhood_enrichment", "re-labelling", named, strata, frame, settings, rows)
    vessel = next((frame.structures[n] for n in settings.vessels if n in frame.structures), None)
    if vessel is None or not np.isfinite(vessel.distance[pool]).any():
        return
    near = quantile_strata(vessel.distance[pool], settings.n_strata)
    both = near if strata is None else near * (int(strata.max()) + 2) + strata
    _enrichment_rows(
        "stratified_enrichment", "re-labelling within strata of the distance to vessels", named, both, frame, settings,
        rows,
    )  # fmt: skip


def _enrichment_rows(
    metric: str,
    null: str,
    named: list[str],
    strata: IntArray | None,
    frame: Frame,
    settings: NicheSettings,
    rows: Rows,
) -> None:
    pool = frame.pool
    # A cell of several classes is a class of its own: it must not count twice.
    code = sum(frame.classes[name][pool].astype(np.int64) << k for k, name in enumerate(named))
    known = {1 << k: name for k, name in enumerate(named)} | {0: "other"}
    of_cell = np.asarray([known.get(int(c), "several") for c in np.asarray(code)])
    result = neighbourhood_enrichment(
        of_cell, neighbour_pairs(frame.points[pool], settings.neighbour_radius), n_simulations=settings.n_simulations,
        seed=settings.seed + 13, strata=strata,
    )  # fmt: skip
    for a, b in combinations_with_replacement(named, 2):
        name, subject = f"{metric}_{a}_{b}", f"{a}-{b}"
        if a not in result.classes or b not in result.classes:
            rows.add(name, subject, NAN, "sd", note="no cell of one of the classes in the tissue")
            continue
        i, j = result.classes.index(a), result.classes.index(b)
        rows.add(
            name, subject, float(result.z[i, j]), "sd", null_mean=0.0 if np.isfinite(result.z[i, j]) else NAN,
            p_value=float(result.p_value[i, j]),
            note=f"z of neighbour pairs within {settings.neighbour_radius:g} µm; null: {null}"
            if np.isfinite(result.z[i, j]) else "shuffling changes nothing",
        )  # fmt: skip

"""Step *surroundings*: distance to each structure, compartment and densities of every cell in every frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, session_units
from napari_marrow.pipeline.steps.cell_classes import cells_with_classes
from napari_marrow.pipeline.steps.structures import structure_masks
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.niche import NicheSettings
    from napari_marrow.study import Study

LABELS = {"vessel": "vessels", "scaffold": "scaffold", "pericytes": "pericytes", "stroma": "stroma"}
"""Structures that distances are measured to, and the label images that show them."""

Mask = npt.NDArray[np.bool_]


class SurroundingsStep(Step):
    """Read the structures of the nearest frame in which they were looked for, for the cells of each frame."""

    name = "surroundings"
    title = "Reading the cells' surroundings"
    version = 1
    reads = ("measure", "classify", "cell_classes", "structures")
    tables = ("cell_surroundings",)

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return radii, shrinkage, window and classes."""
        section = recipe.niche
        names = (
            "niche_radius_um", "density_radius_um", "shrinkage_xy", "shrinkage_z", "tissue_window",
        )  # fmt: skip
        return {**{name: getattr(section, name) for name in names}, "lineages": sorted(recipe.lineage.markers)}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return the sessions in which cells were measured."""
        measured = {(u["position"], u["session"]) for u in study.committed("cells", context.keys["measure"])}
        return [u for u in session_units(study) if (u.position, u.session) in measured]

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Read the surroundings of all cells of a session."""
        from napari_marrow.niche import Surroundings

        image = study.image(unit.position, unit.session)
        cells, classes = cells_with_classes(study, context, unit)
        known = structure_frames(study, unit, context)
        frames = np.unique(cells["t"].to_numpy(dtype=np.int64))
        nearest = {int(t): known[int(np.abs(image.times_h[known] - image.times_h[t]).argmin())] for t in frames}
        parts = []
        for shown in dict.fromkeys(nearest.values()):
            cancel.raise_if_cancelled()
            structures, tissue = niche_masks(study, Unit(unit.position, unit.session, int(shown)), context)
            ready = Surroundings(structures, tissue, image.spacing, niche_settings(context.recipe))
            for t in (t for t, which in nearest.items() if which == shown):
                here = (cells["t"] == t).to_numpy()
                rows = ready.of(cells[here], {name: member[here] for name, member in classes.items()})
                rows.insert(0, "t", t)
                parts.append(rows.assign(t_structures=int(shown)))
        table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"t": [], "label": []})
        table["position"], table["session"] = unit.position, unit.session
        table["time_h"] = image.times_h[table["t"].to_numpy(dtype=np.int64)]
        study.commit(self.tables[0], context.keys[self.name], unit.as_dict(), table)
        return {"cells": len(table)}


def structure_frames(study: Study, unit: Unit, context: Context) -> npt.NDArray[np.int64]:
    """Return the frames of a session at which structures were looked for."""
    done = study.committed("structures", context.keys["structures"])
    here = [u["t"] for u in done if (u["position"], u["session"]) == (unit.position, unit.session)]
    return np.sort(np.asarray(here, dtype=np.int64))


def niche_masks(study: Study, unit: Unit, context: Context) -> tuple[dict[str, Mask], Mask]:
    """Return the masks of vessels and scaffold, and the tissue: the organoid or the whole field."""
    found = structure_masks(study, unit, context)
    tissue = np.ones(study.image(unit.position, unit.session).shape[2:], dtype=bool)
    if context.recipe.niche.tissue_window == "organoid" and "organoid" in found:
        tissue = found["organoid"] > 0
    return {name: found[label] > 0 for name, label in LABELS.items() if label in found}, tissue


def niche_settings(recipe: Recipe) -> NicheSettings:
    """Return the settings of the measurement of one frame."""
    from napari_marrow.niche import NicheSettings

    section = recipe.niche
    return NicheSettings(
        n_simulations=section.n_simulations,
        n_uniform=min(section.n_simulations, 99),
        r_max=section.r_max_um,
        cross_r_max=section.r_max_um,
        interaction_r=min(30.0, section.r_max_um),
        niche_radius=section.niche_radius_um,
        density_radius=section.density_radius_um,
        neighbour_radius=section.neighbour_radius_um,
        strata_column=section.strata_column,
        coverage=(("vessel", "pericytes"),) if recipe.structures.pericyte_channel is not None else (),
        coverage_delta=section.coverage_um,
        cell_radii=tuple(section.cell_radii_um.items()),
        shrinkage_xy=section.shrinkage_xy,
        shrinkage_z=section.shrinkage_z,
        seed=recipe.seed,
    )


def cells_with_surroundings(study: Study, context: Context, unit: Unit | None = None) -> pd.DataFrame:
    """Return the cells with their lineage, class and surroundings, for covariates and exports.

    Parameters
    ----------
    study : Study
    context : Context
    unit : Unit, optional
        Only the cells of this position, session or frame.
    """
    place = ["position", "session", "t", "label"]
    cells, _ = cells_with_classes(study, context, unit or Unit())
    chosen = unit.as_dict() if unit is not None else {}
    around = study.table("cell_surroundings", context.keys[SurroundingsStep.name], unit={**chosen} if chosen else {})
    for column, value in chosen.items():
        around = around[around[column] == value]
    return cells.merge(around.drop(columns="time_h"), on=place, how="left", validate="one_to_one")

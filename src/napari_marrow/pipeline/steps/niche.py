"""Step *niche*: the vessel network, distances, and who lives where, against null models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, session_units
from napari_marrow.pipeline.steps.classify import classified_cells
from napari_marrow.pipeline.steps.correct import CorrectedSession
from napari_marrow.pipeline.steps.frames import key_frames
from napari_marrow.pipeline.steps.structures import structure_masks
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import NICHE_CURVES, NICHE_METRICS

if TYPE_CHECKING:
    from napari_marrow.study import Study


_LABELS = {"vessel": "vessels", "scaffold": "scaffold"}
"""Structures that distances are measured to, and the label images that show them."""


class NicheStep(Step):
    """Measure the niche at each session's first and last frame, and in between at the recipe's spacing."""

    name = "niche"
    title = "Measuring the niche"
    version = 2
    reads = ("correct", "measure", "classify", "structures")
    tables = ("niche_metrics", "niche_curves", "vessels", "niche_cells")
    unit_tables = tables
    by_frame = True

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `niche`, the lineages and the seed."""
        return {**recipe.niche.model_dump(mode="json"), "lineages": sorted(recipe.lineage.markers), "seed": recipe.seed}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return the chosen frames of sessions in which cells were measured."""
        measured = {(u["position"], u["session"]) for u in study.committed("cells", context.keys["measure"])}
        every = context.recipe.niche.every_h
        return [
            Unit(u.position, u.session, t)
            for u in session_units(study)
            if (u.position, u.session) in measured
            for t in key_frames(study, u.position, u.session, every_h=every)
        ]

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Measure one frame."""
        from napari_marrow.niche import NicheSettings, measure_niche

        section, key = context.recipe.niche, context.keys[self.name]
        session = CorrectedSession(study, unit.position, unit.session, context)
        cells = classified_cells(study, context, unit)
        classes = {"all": np.ones(len(cells), dtype=bool)}
        classes |= {name: (cells["lineage"] == name).to_numpy() for name in sorted(context.recipe.lineage.markers)}
        structures, tissue = _masks(study, unit, context, session.image.shape[2:])
        cancel.raise_if_cancelled()
        found = measure_niche(
            cells=cells,
            classes=classes,
            structures=structures,
            tissue=tissue,
            spacing=session.image.spacing,
            settings=NicheSettings(
                n_simulations=section.n_simulations, r_max=section.r_max_um, seed=context.recipe.seed
            ),
        )
        place = {**unit.as_dict(), "time_h": float(session.image.times_h[unit.t])}
        study.commit("niche_curves", key, unit.as_dict(), NICHE_CURVES.conform(found.curves.assign(**place)))
        study.commit("vessels", key, unit.as_dict(), found.vessels.assign(**place))
        study.commit("niche_cells", key, unit.as_dict(), found.per_cell.assign(**place))
        study.commit(self.tables[0], key, unit.as_dict(), NICHE_METRICS.conform(found.metrics.assign(**place)))
        return {"metrics": len(found.metrics)}


def _masks(
    study: Study, unit: Unit, context: Context, shape: tuple[int, ...]
) -> tuple[dict[str, npt.NDArray[np.bool_]], npt.NDArray[np.bool_]]:
    """Return the masks of vessels and scaffold, and the tissue: the organoid or the whole field."""
    found = structure_masks(study, unit, context)
    tissue = np.ones(shape, dtype=bool)
    if context.recipe.niche.tissue_window == "organoid" and "organoid" in found:
        tissue = found["organoid"] > 0
    return {name: found[label] > 0 for name, label in _LABELS.items() if label in found}, tissue

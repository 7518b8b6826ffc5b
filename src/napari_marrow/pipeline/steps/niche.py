"""Step *niche*: the vessel network, distances, and who lives where, against null models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, session_units
from napari_marrow.pipeline.steps.cell_classes import cells_with_classes
from napari_marrow.pipeline.steps.frames import key_frames
from napari_marrow.pipeline.steps.surroundings import niche_masks, niche_settings
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import NICHE_CURVES, NICHE_METRICS

if TYPE_CHECKING:
    from napari_marrow.study import Study


class NicheStep(Step):
    """Measure the niche at each session's first and last frame, and in between at the recipe's spacing."""

    name = "niche"
    title = "Measuring the niche"
    version = 4
    reads = ("quality", "correct", "measure", "classify", "cell_classes", "structures")
    tables = ("niche_metrics", "niche_curves", "vessels", "niche_cells")
    unit_tables = tables
    by_frame = True

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the section `niche`, the lineages and the seed."""
        section = recipe.niche.model_dump(mode="json")
        section["cell_classes"] = list(recipe.niche.cell_classes.items())
        return {**section, "lineages": sorted(recipe.lineage.markers), "seed": recipe.seed}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return the chosen frames of sessions in which cells were measured."""
        measured = {(u["position"], u["session"]) for u in study.committed("cells", context.keys["measure"])}
        every = context.recipe.niche.every_h
        return [
            Unit(u.position, u.session, t)
            for u in session_units(study)
            if (u.position, u.session) in measured
            for t in key_frames(study, u.position, u.session, context, every_h=every)
        ]

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Measure one frame."""
        from napari_marrow.niche import measure_niche

        key = context.keys[self.name]
        image = study.image(unit.position, unit.session)
        cells, classes = cells_with_classes(study, context, unit)
        structures, tissue = niche_masks(study, unit, context)
        cancel.raise_if_cancelled()
        found = measure_niche(
            cells=cells,
            classes=classes,
            structures=structures,
            tissue=tissue,
            spacing=image.spacing,
            settings=niche_settings(context.recipe),
        )
        place = {**unit.as_dict(), "time_h": float(image.times_h[unit.t])}
        study.commit("niche_curves", key, unit.as_dict(), NICHE_CURVES.conform(found.curves.assign(**place)))
        study.commit("vessels", key, unit.as_dict(), found.vessels.assign(**place))
        study.commit("niche_cells", key, unit.as_dict(), found.per_cell.assign(**place))
        study.commit(self.tables[0], key, unit.as_dict(), NICHE_METRICS.conform(found.metrics.assign(**place)))
        return {"metrics": len(found.metrics)}

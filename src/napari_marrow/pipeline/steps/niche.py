"""Step *niche*: vessels, distances, and who lives where, against null models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, session_units
from napari_marrow.pipeline.steps.classify import classified_cells
from napari_marrow.pipeline.steps.correct import CorrectedSession
from napari_marrow.pipeline.steps.frames import key_frames
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import NICHE_CURVES, NICHE_METRICS

if TYPE_CHECKING:
    from napari_marrow.study import Study


class NicheStep(Step):
    """Measure the niche at each session's first and last frame, and in between at the recipe's spacing."""

    name = "niche"
    title = "Measuring the niche"
    version = 1
    reads = ("correct", "measure", "classify")
    tables = ("niche_metrics", "niche_curves", "vessels", "niche_cells")

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
        structures, tissue = _structures(session, unit.t, context.recipe)
        if "vessel" in structures:
            study.write_labels(
                "vessels", key, unit.position, unit.session, unit.t, structures["vessel"].astype(np.int32)
            )
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

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Say where vessels could not be looked for."""
        channel = context.recipe.niche.vessel_channel
        without = [
            f"{u.position} session {u.session}"
            for u in session_units(study)
            if channel not in [c.name for c in study.image(u.position, u.session).channels]
        ]
        return [f"No channel '{channel}' (recipe: niche.vessel_channel) in {', '.join(without)}."] if without else []


def _structures(
    session: CorrectedSession, t: int, recipe: Recipe
) -> tuple[dict[str, npt.NDArray[np.bool_]], npt.NDArray[np.bool_]]:
    """Return the masks of vessels and scaffold, and the organoid within the field."""
    from napari_marrow.segmentation import scaffold_mask, vessel_mask

    tissue = np.ones(session.image.shape[2:], dtype=bool)
    structures: dict[str, npt.NDArray[np.bool_]] = {}
    spacing = session.image.spacing
    if recipe.niche.vessel_channel in session.channels:
        volume = session.read(t, recipe.niche.vessel_channel)
        # a single plane has vessels that are ridges, a volume has tubes
        flat = volume.shape[0] == 1
        mask = vessel_mask(volume[0] if flat else volume, spacing=spacing, radii=recipe.niche.vessel_radii_um)
        structures["vessel"] = mask.reshape(volume.shape)
    if "scaffold" in session.channels:
        structures["scaffold"] = scaffold_mask(session.read(t, "scaffold"), spacing=spacing)
    return structures, tissue

"""Step *classify*: which lineage's marker each cell shows, by one threshold per marker over the whole study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.study import Study

PLACE = ["position", "session", "t", "label"]


class ClassifyStep(Step):
    """Name the lineage of each cell, or none, or ambiguous."""

    name = "classify"
    title = "Classifying cells"
    version = 1
    reads = ("measure",)
    tables = ("cell_lineages", "marker_thresholds")
    whole_study = True

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the markers."""
        return {"markers": recipe.lineage.markers}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return one unit: the threshold of a marker is the study's."""
        return [Unit()] if study.committed("cells", context.keys["measure"]) else []

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Estimate each marker's threshold, then name each cell's lineage."""
        from napari_marrow.lineage import classify_cells, marker_thresholds

        key = context.keys[self.name]
        cells = study.table("cells", context.keys["measure"])
        markers = present_markers(cells, context.recipe)
        thresholds = marker_thresholds(cells, markers)
        if markers and len(cells):
            named = classify_cells(cells, markers, thresholds=thresholds)[[*PLACE, "lineage"]]
        else:
            named = cells[PLACE].assign(lineage="")
        study.commit("marker_thresholds", key, {}, thresholds)
        study.commit(self.tables[0], key, {}, named)
        return {"named": int((~named["lineage"].isin(["", "ambiguous"])).sum())}

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Name the markers that the images do not hold, and those without a threshold."""
        if not study.has_table("marker_thresholds", context.keys[self.name]):
            return []
        thresholds = study.table("marker_thresholds", context.keys[self.name])
        missing = {k: v for k, v in context.recipe.lineage.markers.items() if k not in set(thresholds["lineage"])}
        notes = [f"No channel '{channel}': {lineage} cells are not recognised." for lineage, channel in missing.items()]
        unclear = thresholds[thresholds["method"] == "none"]
        notes += [f"{row.channel} ({row.lineage}) has no threshold: {row.note}" for row in unclear.itertuples()]
        return notes


def present_markers(cells: pd.DataFrame, recipe: Recipe) -> dict[str, str]:
    """Return the recipe's markers whose channel was imaged at least once."""
    return {k: v for k, v in recipe.lineage.markers.items() if f"intensity_{v}" in cells.columns}


def classified_cells(study: Study, context: Context, unit: Unit | None = None) -> pd.DataFrame:
    """Return the cells with their column `lineage`.

    Parameters
    ----------
    study : Study
    context : Context
    unit : Unit, optional
        Only the cells of this position, session or frame.
    """
    chosen = unit.as_dict() if unit is not None else {}
    cells = study.table("cells", context.keys["measure"], unit=chosen)
    named = study.table("cell_lineages", context.keys["classify"])
    for column, value in chosen.items():
        named = named[named[column] == value]
    return cells.merge(named, on=PLACE, how="left", validate="one_to_one").fillna({"lineage": ""})

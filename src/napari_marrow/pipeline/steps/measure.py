"""Step *measure*: a row per cell with place, shape and brightness in every channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_marrow.imaging import Transform
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.reuse import taken_over
from napari_marrow.pipeline.step import Context, Counts, Step, Unit
from napari_marrow.pipeline.steps.correct import corrected_session
from napari_marrow.pipeline.steps.paint import strokes_of
from napari_marrow.pipeline.steps.segment import SegmentStep
from napari_marrow.progress import CancelToken
from napari_marrow.schemas import CELLS

if TYPE_CHECKING:
    from napari_marrow.study import Study


class MeasureStep(Step):
    """Measure the cells of each frame."""

    name = "measure"
    title = "Measuring cells"
    version = 1
    reads = ("correct", "register", "paint")
    tables = ("cells",)
    by_frame = True

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return nothing: what is measured does not depend on the recipe."""
        return {}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return the frames that were segmented."""
        return SegmentStep().plan(study, context)

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Measure one frame and place its cells in the frame of the position's first session."""
        from napari_marrow.segmentation import measure_cells

        key = context.keys[self.name]
        inputs = measured_from(study, unit, context)
        if taken_over(study, self.tables, key, unit, inputs):
            return {"taken_over": 1}
        session = corrected_session(study, unit.position, unit.session, context)
        labels = study.labels("cells", context.keys["paint"], unit.position, unit.session).read(unit.t)
        cells = measure_cells(labels, session.read(unit.t), session.channels, spacing=session.image.spacing)
        for column, value in {**unit.as_dict(), "time_h": session.image.times_h[unit.t]}.items():
            cells[column] = value
        place = _transform(study, unit, context)
        registered = place.apply(cells[["y", "x"]].to_numpy(np.float64))
        cells = cells.assign(z_reg=cells["z"], y_reg=registered[:, 0], x_reg=registered[:, 1])
        study.commit(self.tables[0], key, unit.as_dict(), CELLS.conform(cells), extra={"inputs": inputs})
        return {"cells": len(cells)}


def measured_from(study: Study, unit: Unit, context: Context) -> dict[str, Any]:
    """Return all that the cells of a frame depend on: another frame's painting is no part of it."""
    keys = {name: context.keys[name] for name in ("correct", "register", "segment")}
    return {"version": MeasureStep.version, **keys, "strokes": strokes_of(study, unit, context)}


_transforms: dict[tuple[str, str, int, str], pd.DataFrame] = {}


def _transform(study: Study, unit: Unit, context: Context) -> Transform:
    name = (str(study.path), unit.position, unit.session, context.keys["register"])
    if name not in _transforms:
        _transforms.clear()
        table = study.table(
            "transforms", context.keys["register"], unit={"position": unit.position, "session": unit.session}
        )
        _transforms[name] = table.set_index("t")
    return Transform.from_row(_transforms[name].loc[[unit.t]].iloc[0])

"""Step *measure*: a row per cell with place, shape and brightness in every channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_marrow.imaging import Transform
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit
from napari_marrow.pipeline.steps.correct import corrected_session
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
    reads = ("correct", "register", "segment")
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

        session = corrected_session(study, unit.position, unit.session, context)
        labels = study.labels("cells", context.keys["segment"], unit.position, unit.session).read(unit.t)
        cells = measure_cells(labels, session.read(unit.t), session.channels, spacing=session.image.spacing)
        for column, value in {**unit.as_dict(), "time_h": session.image.times_h[unit.t]}.items():
            cells[column] = value
        place = _transform(study, unit, context)
        registered = place.apply(cells[["y", "x"]].to_numpy(np.float64))
        cells = cells.assign(z_reg=cells["z"], y_reg=registered[:, 0], x_reg=registered[:, 1])
        study.commit(self.tables[0], context.keys[self.name], unit.as_dict(), CELLS.conform(cells))
        return {"cells": len(cells)}


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

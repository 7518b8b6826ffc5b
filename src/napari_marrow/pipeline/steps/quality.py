"""Step *quality*: judge every frame before anything is built on it; an import runs it, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, session_units
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.study import Study


class QualityStep(Step):
    """Flag frames that are blank, out of focus, saturated, repeated, late, or follow a change of medium."""

    name = "quality"
    title = "Judging frames"
    version = 2
    tables = ("quality",)

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return nothing: the limits are the module's."""
        return {}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return one unit per session of a position: frames are judged against their session."""
        return session_units(study)

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Measure each frame once, a frame in memory at a time, and judge them against each other.

        The field is followed in a small picture of all channels, as registration is yet to come.
        """
        from napari_marrow import imaging

        image = study.image(unit.position, unit.session)
        names = [channel.name for channel in image.channels]
        rows: list[imaging.FrameStatistics] = []
        path: list[npt.NDArray[np.float64]] = []
        tracker: imaging.DriftTracker | None = None
        for t, time_s in enumerate(image.time_s):
            cancel.raise_if_cancelled()
            frame = image.read(t)
            rows += imaging.frame_statistics(frame, t=t, time_s=float(time_s), channels=names)
            plane, factor = imaging.overview(frame)
            if tracker is None:
                tracker = imaging.DriftTracker(spacing=(factor * image.spacing[1], factor * image.spacing[2]))
            path.append(tracker.add(plane).shift)
        flags = imaging.quality_flags(imaging.statistics_table(rows), shifts=np.array(path))
        flags.insert(0, "position", unit.position)
        flags.insert(1, "session", unit.session)
        flags.insert(3, "time_h", image.times_h)
        study.commit(self.tables[0], context.keys[self.name], unit.as_dict(), flags)
        return {"frames": len(flags), "flagged": int((flags["flags"] != "").sum())}

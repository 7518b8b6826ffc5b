"""Step *quality*: judge every frame before anything is built on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, session_units
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.study import Study


class QualityStep(Step):
    """Flag frames that are blank, out of focus, saturated, repeated, late, or follow a change of medium."""

    name = "quality"
    title = "Judging frames"
    version = 1
    tables = ("quality",)

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return nothing: the limits are the module's."""
        return {}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return one unit per session of a position: frames are judged against their session."""
        return session_units(study)

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Measure each frame once, a frame in memory at a time, and judge them against each other."""
        from napari_marrow import imaging

        image = study.image(unit.position, unit.session)
        names = [channel.name for channel in image.channels]
        rows: list[imaging.FrameStatistics] = []
        for t, time_s in enumerate(image.time_s):
            cancel.raise_if_cancelled()
            rows += imaging.frame_statistics(image.read(t), t=t, time_s=float(time_s), channels=names)
        flags = imaging.quality_flags(imaging.statistics_table(rows))
        flags.insert(0, "position", unit.position)
        flags.insert(1, "session", unit.session)
        flags.insert(3, "time_h", image.times_h)
        study.commit(self.tables[0], context.keys[self.name], unit.as_dict(), flags)
        return {"frames": len(flags), "flagged": int((flags["flags"] != "").sum())}

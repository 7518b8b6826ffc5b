"""Step *quality*: judge every frame before anything is built on it; an import runs it, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.pipeline.step import Context, Counts, Step, Unit, session_units
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.imaging import SessionQuality
    from napari_marrow.study import Study


class QualityStep(Step):
    """Flag frames that are blank, out of focus, saturated, repeated, late, or follow a change of medium."""

    name = "quality"
    title = "Judging frames"
    version = 4
    tables = ("quality",)

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return nothing: the limits are the module's."""
        return {}

    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return one unit per session of a position: frames are judged against their session."""
        return session_units(study)

    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Measure each frame once, a frame in memory at a time, and judge them against each other."""
        image = study.image(unit.position, unit.session)
        quality = session_quality(study, unit)
        for t, time_s in enumerate(image.time_s):
            cancel.raise_if_cancelled()
            quality.add(t, float(time_s), image.read(t))
        return self.commit_flags(study, unit, context, quality)

    def commit_flags(self, study: Study, unit: Unit, context: Context, quality: SessionQuality) -> Counts:
        """Judge a session whose frames were all measured, and commit its unit."""
        flags = quality.flags()
        flags.insert(0, "position", unit.position)
        flags.insert(1, "session", unit.session)
        flags.insert(3, "time_h", study.image(unit.position, unit.session).times_h)
        study.commit(self.tables[0], context.keys[self.name], unit.as_dict(), flags)
        return {"frames": len(flags), "flagged": int((flags["flags"] != "").sum())}


def session_quality(study: Study, unit: Unit) -> SessionQuality:
    """Return what measures the frames of a session."""
    from napari_marrow.imaging import SessionQuality

    image = study.image(unit.position, unit.session)
    names = [channel.name for channel in image.channels]
    return SessionQuality(names, (image.spacing[1], image.spacing[2]), int(image.shape[0]))

"""What the dock runs on its study beside the window: the sample, an import, the recipe, a training."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, Signal

from napari_marrow.errors import MarrowError
from napari_marrow.gui.sentences import sentence

if TYPE_CHECKING:
    from napari_marrow.gui.import_request import ImportRequest
    from napari_marrow.gui.job import Job, Work
    from napari_marrow.gui.painting import Painting
    from napari_marrow.gui.recipe_form import RecipeForm
    from napari_marrow.gui.run_panel import RunPanel
    from napari_marrow.pipeline.engine import RunSummary
    from napari_marrow.pipeline.recipe import Recipe
    from napari_marrow.progress import CancelToken, Progress
    from napari_marrow.segmentation.fine_tuning import FineTuningSettings

_IMPORT_KEPT = "Cancelled. Whole sessions are kept: import the same files again to continue from there."
_KEPT = "Cancelled. What is finished is kept: press Run to continue from there."


class StudyRuns(QObject):
    """Starts one job at a time in the run panel and says what came of it.

    Parameters
    ----------
    runner : RunPanel
    form : RecipeForm
    painting : Painting
        What was painted is kept before anything runs on it.

    Attributes
    ----------
    study : Path or None
        The open study.

    Signals
    -------
    made : Path
        A study was made and can be opened.
    changed
        The open study may hold other results than before.
    reported
        A run ended with a new report.
    refused : str
        Nothing was started; the sentence says why.
    """

    made = Signal(object)
    changed = Signal()
    reported = Signal()
    refused = Signal(str)

    def __init__(self, runner: RunPanel, form: RecipeForm, painting: Painting) -> None:
        super().__init__(runner)
        self._runner, self._form, self._painting = runner, form, painting
        self.study: Path | None = None

    def make_sample(self) -> Job:
        """Make the tutorial study, unless it is there already."""
        from napari_marrow.gui.sample import make_sample

        job = self._runner.start(make_sample, name="Making the sample", if_cancelled="Cancelled.")
        job.succeeded.connect(self.made)
        return job

    def import_images(self, request: ImportRequest) -> Job | None:
        """Import what was asked for; None where something runs."""
        if self._runner.busy:
            return None

        def work(progress: Progress, cancel: CancelToken) -> Path:
            request.carry_out(progress, cancel)
            return request.study

        job = self._runner.start(work, name="Importing", if_cancelled=_IMPORT_KEPT)
        job.succeeded.connect(self.made)
        return job

    def run_recipe(self, until: str = "") -> Job | None:
        """Run the shown recipe up to a step, by default all; None where nothing was started (yet)."""
        from napari_marrow.pipeline import run

        recipe = self._recipe()
        if self.study is None or recipe is None:
            return None
        self._painting.flush()
        if self._painting.busy:  # what was painted belongs into the run
            self._painting.settled.connect(partial(self.run_recipe, until), Qt.ConnectionType.SingleShotConnection)
            return None
        path, last = self.study, until or None
        work: Work = lambda progress, cancel: run(path, recipe, until=last, progress=progress, cancel=cancel)  # noqa: E731
        job = self._runner.start(work, name="Run", if_cancelled=_KEPT)
        job.succeeded.connect(self._on_run)
        job.stopped.connect(self.changed)
        job.failed.connect(self._on_failed)
        return job

    def fine_tune(self, settings: FineTuningSettings | None = None) -> Job | None:
        """Train the recipe's model on with the painted frames; None where nothing was started."""
        recipe = self._recipe()
        if self.study is None or recipe is None or self._painting.busy:
            return None
        path = self.study

        def work(progress: Progress, cancel: CancelToken) -> Any:
            from napari_marrow.pipeline.painted_training import train_on_painted

            return train_on_painted(path, recipe, settings=settings, progress=progress, cancel=cancel)

        job = self._runner.start(work, name="Training", if_cancelled="Cancelled. No model was kept.")
        job.succeeded.connect(self._on_trained)
        return job

    def _recipe(self) -> Recipe | None:
        """Return the shown recipe; None where it is refused, which is told, and where nothing can run on it now."""
        if self.study is None or self._runner.busy:
            return None
        try:
            return self._form.recipe()
        except MarrowError as error:
            self.refused.emit(sentence(error))
            return None

    # methods, no lambdas: Qt forgets them when the dock is closed during a job

    def _on_trained(self, card: Any) -> None:
        self._runner.say(f"The model {card.name} is kept: choose it in the recipe (segment.model).")

    def _on_failed(self, error: BaseException) -> None:
        self.changed.emit()

    def _on_run(self, summary: RunSummary) -> None:
        counts = {name: value for step in summary.steps for name, value in step.counts.items()}
        told = ", ".join(
            f"{counts[name]:g} {name}" for name in ("cells", "tracks", "divisions", "colonies") if name in counts
        )
        self._runner.say(f"Finished in {summary.seconds:.0f} s{': ' + told if told else ''}.")
        self._runner.status.setToolTip("\n".join(summary.notes))
        if summary.steps and summary.steps[-1].name == "report":
            self.reported.emit()
        self.changed.emit()

"""Keeps the board and the estimate of a run true, beside the window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_marrow.errors import MarrowError
from napari_marrow.gui.estimate import Estimate, estimate
from napari_marrow.gui.job import Job, Work

if TYPE_CHECKING:
    from napari_marrow.gui.recipe_form import RecipeForm
    from napari_marrow.pipeline.recipe import Recipe
    from napari_marrow.pipeline.status import Board


class Outlook(QObject):
    """Reads how far a study is under the recipe that the form shows, a moment after either changed.

    Parameters
    ----------
    form : RecipeForm

    Signals
    -------
    read : (Board, Estimate)
    """

    read = Signal(object, object)

    def __init__(self, form: RecipeForm) -> None:
        super().__init__(form)
        self._form = form
        self._path: Path | None = None
        self._job: Job | None = None
        self._again = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(400)
        self._timer.timeout.connect(self._start)
        form.changed.connect(self.renew)

    @property
    def busy(self) -> bool:
        """Whether something is being read."""
        return self._job is not None or self._timer.isActive()

    def watch(self, path: Path) -> None:
        """Look at a study from now on."""
        self._path = path
        self.renew()

    def renew(self) -> None:
        """Read again soon."""
        if self._path is not None:
            self._timer.start()

    def _start(self) -> None:
        if self._job is not None:
            self._again = True
            return
        try:
            recipe = self._form.recipe()
        except MarrowError:
            return  # told when it is run
        assert self._path is not None
        self._job = job = Job(_work(self._path, recipe), name="outlook")
        # methods, no lambdas: Qt forgets them when the dock is closed
        job.succeeded.connect(self._on_found)
        job.ended.connect(self._on_ended)
        job.start()

    def _on_found(self, found: tuple[Board, Estimate]) -> None:
        self.read.emit(*found)

    def _on_ended(self) -> None:
        self._job = None
        if self._again:
            self._again = False
            self._timer.start()


def _work(path: Path, recipe: Recipe) -> Work:
    def work(progress: Any, cancel: Any) -> tuple[Board, Estimate]:
        from napari_marrow.pipeline.status import status
        from napari_marrow.study import Study

        return status(Study.open(path), recipe), estimate(path, recipe)

    return work

"""The button that writes what a tab draws as a figure, with its numbers beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QPushButton

from napari_marrow.gui.charts import Chart
from napari_marrow.gui.job import Job
from napari_marrow.gui.sentences import sentence
from napari_marrow.progress import CancelToken, Progress


@dataclass(frozen=True)
class Figure:
    """What is written.

    Attributes
    ----------
    name : str
        Name of the file that is proposed, without its ending.
    chart : callable
        Returns the chart; called beside the window.
    study, recipe : str
        Name of the study and digest of the recipe; the figure carries both.
    """

    name: str
    chart: Callable[[], Chart]
    study: str
    recipe: str


class ExportButton(QPushButton):
    """Asks for a file and writes it beside the window.

    Parameters
    ----------
    figure : callable
        Returns the `Figure` of what is drawn now.

    Signals
    -------
    exported : str
        What was written.
    refused : str
        Why nothing was.
    """

    exported = Signal(str)
    refused = Signal(str)

    def __init__(self, figure: Callable[[], Figure]) -> None:
        super().__init__("Export...")
        self.setToolTip("Write what is drawn as PDF, SVG or PNG, and its numbers as CSV beside it.")
        self._figure = figure
        self._job: Job | None = None
        self.clicked.connect(self._ask)

    @property
    def busy(self) -> bool:
        """Whether something is being written."""
        return self._job is not None

    def write(self, path: Path | str) -> Job:
        """Write what is drawn; what cannot be written is told in a sentence.

        Parameters
        ----------
        path : path
            Ends in ``.pdf``, ``.svg`` or ``.png``.
        """
        figure = self._figure()

        def work(progress: Progress, cancel: CancelToken) -> str:
            from napari_marrow.gui.chart_export import export_chart

            numbers = export_chart(figure.chart(), path, study=figure.study, recipe=figure.recipe)
            return f"Written: {Path(path).name} and {numbers.name}."

        job = self._job = Job(work, name="export")
        job.succeeded.connect(self._on_written)
        job.failed.connect(self._on_failed)
        job.ended.connect(self._on_ended)
        job.start()
        return job

    def _on_written(self, told: str) -> None:
        self.exported.emit(told)

    def _on_failed(self, error: BaseException) -> None:
        self.refused.emit(sentence(error))

    def _on_ended(self) -> None:
        self._job = None

    def _ask(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Export the figure", f"{self._figure().name}.pdf", "Figures (*.pdf *.svg *.png)"
        )
        if path:
            self.write(path)

"""Reads studies beside the window; of several asked for in a row the last one wins."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QObject, Signal

from napari_marrow.gui.job import Job
from napari_marrow.gui.sentences import sentence
from napari_marrow.gui.set_aside import set_aside
from napari_marrow.gui.study_reader import Loaded, read_all
from napari_marrow.gui.warm_up import warm_up_images, warm_up_labels, warm_up_plots


class Opening(QObject):
    """Reads one study at a time.

    Parameters
    ----------
    parent : QObject
        With it nobody hears of what was read.

    Signals
    -------
    read : Loaded
        What was asked for last.
    refused : str
        It could not be read; the sentence says why.
    """

    read = Signal(object)
    refused = Signal(str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._job: Job | None = None
        self._wanted: tuple[Path, tuple[str, int] | None] | None = None
        self._served: tuple[Path, tuple[str, int] | None] | None = None

    @property
    def busy(self) -> bool:
        """Whether something is being read."""
        return self._job is not None

    def ask(self, path: Path, place: tuple[str, int] | None) -> None:
        """Read a study and a session of it, after what is being read now.

        Parameters
        ----------
        path : Path
            The ``*.marrow`` folder.
        place : (str, int) or None
            Position and session; None for the first position's longest session.
        """
        self._wanted = (path, place)
        if self._job is None:
            self._start()

    def _start(self) -> None:
        assert self._wanted is not None
        wanted = self._served = self._wanted
        self._job = job = Job(lambda progress, cancel: _read(*wanted), name="reading")
        job.succeeded.connect(self._on_read)
        job.failed.connect(self._on_failed)
        job.ended.connect(self._on_ended)
        job.start()

    def _on_read(self, loaded: Loaded) -> None:
        if self._served is self._wanted:
            self.read.emit(loaded)

    def _on_failed(self, error: BaseException) -> None:
        if self._served is self._wanted:
            self.refused.emit(sentence(error))

    def _on_ended(self) -> None:
        self._job = None
        if self._served is not self._wanted:
            self._start()


def _read(path: Path, place: tuple[str, int] | None) -> Loaded:
    """Read what is shown and prepare what draws it, beside the window."""
    loaded = read_all(path, place)
    warm_up_images()
    if any(kind == "labels" for _, _, kind in loaded.layers.layers):
        warm_up_labels()
    if loaded.results.emergence is not None or loaded.results.tracks is not None:
        warm_up_plots()
    set_aside()
    return loaded

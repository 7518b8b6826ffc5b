"""Makes a movie of the image, one picture per turn of the event loop, so that the window goes on answering."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

from qtpy.QtCore import QObject, QTimer, Signal

from napari_marrow.gui.job import Job
from napari_marrow.gui.napari_names import camera
from napari_marrow.gui.sentences import sentence

if TYPE_CHECKING:
    import napari

    from napari_marrow.gui.movie_frames import Frames, Writer


class Movie(QObject):
    """Shows one picture after the other and hands each to a writer.

    Parameters
    ----------
    viewer : napari.Viewer
    parent : QObject
        With it a movie that is not finished is given up.

    Signals
    -------
    progressed : (int, int)
        Pictures that are done, and all.
    finished : str
        What was written.
    refused : str
        Why nothing was.
    stopped
        It was cancelled; nothing is left of it.
    ended
        After each of the three.
    """

    progressed = Signal(int, int)
    finished = Signal(str)
    refused = Signal(str)
    stopped = Signal()
    ended = Signal()

    def __init__(self, viewer: napari.Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = ref(viewer)
        self._frames: Frames | None = None
        self._writer: Writer | None = None
        self._done, self._shown, self._finishing = 0, False, False
        self._timer = QTimer(self)
        self._timer.setInterval(5)
        self._timer.timeout.connect(self._turn)

    @property
    def busy(self) -> bool:
        """Whether a movie is being made."""
        return self._frames is not None

    def start(self, frames: Frames, writer: Writer) -> None:
        """Make a movie; frame and camera are where they were when it is done."""
        viewer = self._viewer()
        if viewer is None or self.busy:
            writer.discard()
            return
        look = camera(viewer)
        self._before = (
            tuple(viewer.dims.current_step), tuple(look.center), float(look.zoom), tuple(look.angles),
        )  # fmt: skip
        self._frames, self._writer, self._done, self._shown = frames, writer, 0, False
        self.progressed.emit(0, len(frames))
        self._timer.start()

    def cancel(self) -> None:
        """Give the movie up; nothing is left of it, unless its last picture was taken."""
        if self._writer is not None and not self._finishing:
            self._writer.discard()
            self._end()
            self.stopped.emit()
            self.ended.emit()

    def _turn(self) -> None:
        viewer, frames, writer = self._viewer(), self._frames, self._writer
        if viewer is None or frames is None or writer is None:
            self._timer.stop()
            return
        try:
            self._step(viewer, frames, writer)
        except Exception as error:
            self._on_failed(error)

    def _on_finished(self, _: object) -> None:
        if self._writer is not None:
            told = f"Written: {self._writer.path.name}, {self._done} pictures."
            self._end()
            self.finished.emit(told)
            self.ended.emit()

    def _on_failed(self, error: BaseException) -> None:
        if self._writer is not None:
            self._writer.discard()
            self._end()
            self.refused.emit(sentence(error))
            self.ended.emit()

    def _step(self, viewer: napari.Viewer, frames: Frames, writer: Writer) -> None:
        """Show the next picture, or take it where it is shown: napari may slice layers beside the window."""
        if self._done == len(frames):
            self._timer.stop()
            self._finishing = True
            job = Job(lambda progress, cancel: writer.finish(), name="movie")  # an encoder has a rest to write
            job.succeeded.connect(self._on_finished)
            job.failed.connect(self._on_failed)
            job.start()
        elif not self._shown:
            frames.show(self._done)
            self._shown = True
        elif all(layer.loaded for layer in viewer.layers):
            writer.add(viewer.screenshot(canvas_only=True, flash=False))
            self._done, self._shown = self._done + 1, False
            self.progressed.emit(self._done, len(frames))

    def _end(self) -> None:
        self._timer.stop()
        self._frames = self._writer = None
        self._finishing = False
        viewer = self._viewer()
        if viewer is not None:
            steps, centre, zoom, angles = self._before
            viewer.dims.current_step = steps
            look = camera(viewer)
            look.center, look.zoom, look.angles = centre, zoom, angles

"""Work in the window's own thread, cut into pieces between which the window lives."""

from __future__ import annotations

from collections.abc import Iterator

from qtpy.QtCore import QObject, QTimer


class Turns(QObject):
    """Runs a generator, one piece per turn of the event loop.

    Layers and plots can only be made in the window's thread, and each costs napari a good part of a second: between
    two of them clicks are answered. A generator that is started while another is under way takes its place.

    Parameters
    ----------
    parent : QObject
        With it the rest of the work dies.
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._work: Iterator[None] | None = None
        self._timer = QTimer(self)
        # a little time, so that what was clicked or has to be drawn goes first
        self._timer.setInterval(5)
        self._timer.timeout.connect(self._turn)

    @property
    def busy(self) -> bool:
        """Whether pieces are left."""
        return self._work is not None

    def start(self, work: Iterator[None]) -> None:
        """Run a generator to its end."""
        self._work = work
        self._timer.start()

    def stop(self) -> None:
        """Leave the rest of the work undone."""
        self._work = None

    def _turn(self) -> None:
        work = self._work
        if work is None:
            self._timer.stop()
            return
        try:
            next(work)
        except StopIteration:
            if self._work is work:
                self._work = None
        except BaseException:
            self._work = None
            raise

"""Work in a thread beside the window, with progress, cancel and one of three ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QCoreApplication, QEventLoop, QObject, QTimer, Signal

from napari_marrow.errors import Cancelled
from napari_marrow.progress import CancelToken, Progress

Work = Callable[[Progress, CancelToken], Any]
"""Long work: takes a progress callback and a cancel token, returns its result."""

_log = logging.getLogger(__name__)

_under_way: set[Job] = set()
"""Jobs whose signals may still be on their way: a job must outlive the delivery of its last one."""


class Job(QObject):
    """Runs one piece of work in its own thread and tells the window about it through signals.

    Exactly one of `succeeded`, `failed` and `stopped` is sent, then `ended`. The thread is no daemon: a program that is
    closed during a run cancels it and waits for the tile at hand, so that nothing is left half-written.

    Parameters
    ----------
    work : callable
        Called as ``work(progress, cancel)`` in the thread. It must not touch widgets or layers.
    name : str
        Name of the thread.
    """

    progressed = Signal(int, int, str)
    succeeded = Signal(object)
    failed = Signal(object)
    stopped = Signal()
    ended = Signal()

    MIN_INTERVAL_S = 0.05

    def __init__(self, work: Work, *, name: str = "marrow") -> None:
        super().__init__()
        self._work = work
        self._token = CancelToken()
        self._going = threading.Event()
        self._going.set()
        self._last_sent = 0.0
        self._last_message = ""
        self._thread = threading.Thread(target=self._run, name=name)
        app = QCoreApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self.cancel)
        # the timer fires after every slot that hears of the end
        self.ended.connect(lambda: QTimer.singleShot(0, lambda: _under_way.discard(self)))

    def start(self) -> None:
        """Start the thread."""
        _under_way.add(self)
        self._thread.start()

    def cancel(self) -> None:
        """Ask the work to stop at the next opportunity."""
        self._token.cancel()

    def pause(self) -> None:
        """Let the work rest after the unit at hand, until `go_on` or `cancel`."""
        self._going.clear()

    def go_on(self) -> None:
        """Let the work go on after a pause."""
        self._going.set()

    @property
    def paused(self) -> bool:
        """Whether a rest was asked for."""
        return not self._going.is_set()

    @property
    def running(self) -> bool:
        """Whether the thread is alive."""
        return self._thread.is_alive()

    @property
    def cancelled(self) -> bool:
        """Whether a stop was asked for."""
        return self._token.cancelled

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until the thread has ended; return whether it has. Never to be called where the window should live."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            result = self._work(self._report, self._token)
        except Cancelled:
            self._send(self.stopped)
        except Exception as error:
            _log.info("%s failed", self._thread.name, exc_info=True)
            self._send(self.failed, error)
        else:
            self._send(self.succeeded, result)
        finally:
            self._send(self.ended)

    def _report(self, done: int, total: int, message: str) -> None:
        """Pass progress on, but not more often than a person can see."""
        now = time.monotonic()
        finished = total > 0 and done >= total
        if finished or message != self._last_message or now - self._last_sent >= self.MIN_INTERVAL_S:
            self._last_sent, self._last_message = now, message
            self._send(self.progressed, done, total, message)
        while not self._going.wait(0.1):
            if self._token.cancelled:
                return

    def _send(self, signal: Any, *arguments: Any) -> None:
        try:
            signal.emit(*arguments)
        except RuntimeError:  # the application has gone, and this object's Qt side with it
            _log.debug("nobody is left to hear of %s", self._thread.name)


def wait_for(job: Job) -> None:
    """Start a job and return when it has ended, while the window goes on answering.

    For callers that have to return a result (napari's sample data); everything else should use the signals.
    """
    loop = QEventLoop()
    job.ended.connect(loop.quit)
    app = QCoreApplication.instance()
    if app is not None:
        app.aboutToQuit.connect(loop.quit)
    job.start()
    loop.exec()
    job.ended.disconnect(loop.quit)

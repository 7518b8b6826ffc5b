"""Jobs of the menu commands in napari's own activity dock, with a cancel button."""

from __future__ import annotations

from typing import Any

from napari.utils.notifications import show_error, show_info
from napari.utils.progress import cancelable_progress

from napari_marrow.errors import Cancelled
from napari_marrow.gui.job import Job, Work, wait_for
from napari_marrow.gui.pace import Pace
from napari_marrow.gui.sentences import sentence


class _JobProgress(cancelable_progress):
    """A bar in the activity dock; its cancel button cancels the job."""

    def __init__(self, job: Job, name: str) -> None:
        self._job = job
        self._pace = Pace()
        super().__init__(total=0, desc=name)

    def cancel(self) -> None:
        """Cancel the job."""
        super().cancel()
        self._job.cancel()

    def show(self, done: int, total: int, message: str) -> None:
        """Move the bar."""
        self.total = total
        self.update(done - self.n)
        self.set_description(self._pace.update(done, total, message))


def job_with_activity(work: Work, name: str) -> Job:
    """Return a job, not started yet, that shows itself in the activity dock and tells its failure.

    Parameters
    ----------
    work : callable
        See `Job`.
    name : str
        What is being done.
    """
    job = Job(work, name=name)
    bar = _JobProgress(job, name)
    job.progressed.connect(bar.show)
    job.failed.connect(lambda error: show_error(sentence(error)))
    job.stopped.connect(lambda: show_info(f"{name}: cancelled."))
    job.ended.connect(bar.close)
    return job


def wait_with_activity(work: Work, name: str) -> Any:
    """Do work in a thread and return its result, while the window goes on answering.

    Raises
    ------
    Cancelled
        If the user cancelled it.
    Exception
        What the work raised.
    """
    job = Job(work, name=name)
    bar = _JobProgress(job, name)
    results: list[Any] = []
    errors: list[BaseException] = []
    job.progressed.connect(bar.show)
    job.succeeded.connect(results.append)
    job.failed.connect(errors.append)
    job.ended.connect(bar.close)
    wait_for(job)
    if results:
        return results[0]
    raise errors[0] if errors else Cancelled(f"{name}: cancelled.")

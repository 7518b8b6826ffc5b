"""Run and cancel, and how far the run is."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_marrow.gui.job import Job, Work
from napari_marrow.gui.pace import Pace
from napari_marrow.gui.sentences import sentence


class RunPanel(QWidget):
    """Runs one job at a time and shows its progress.

    Signals
    -------
    run_asked
        The Run button was pressed.
    failed : str
        A job failed; the sentence says why.
    busy_changed : bool
        A job began or ended.
    """

    run_asked = Signal()
    failed = Signal(str)
    busy_changed = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self._job: Job | None = None
        self._pace = Pace()
        self._stop_message = ""
        self.run_button = QPushButton("Run recipe")
        self.run_button.setToolTip("Run every step on every session; what was finished before is not computed again.")
        self.run_button.clicked.connect(self.run_asked)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip(
            "Stop after the tile at hand. What is finished is kept: Run continues from there."
        )
        self.cancel_button.clicked.connect(self.cancel)
        self.pause_button = QPushButton("Pause")
        self.pause_button.setToolTip("Rest after the frame or session at hand; what is finished is kept.")
        self.pause_button.clicked.connect(self.pause_or_go_on)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.status = QLabel("")
        self.status.setWordWrap(True)
        self.status.setMinimumHeight(34)
        self.status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        row = QHBoxLayout()
        row.addWidget(self.run_button, 2)
        row.addWidget(self.pause_button, 1)
        row.addWidget(self.cancel_button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(row)
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
        self.estimate = QLabel("")
        self.estimate.setWordWrap(True)
        self.estimate.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        layout.addWidget(self.estimate)
        self._allowed = False
        self._show_state()

    @property
    def busy(self) -> bool:
        """Whether a job is under way."""
        return self._job is not None

    @property
    def job(self) -> Job | None:
        """The job under way."""
        return self._job

    def allow_run(self, allowed: bool) -> None:
        """Enable the Run button; it is disabled without a study, and during a job."""
        self._allowed = allowed
        self._show_state()

    def start(self, work: Work, *, name: str, if_cancelled: str) -> Job:
        """Start a job and show its progress.

        Parameters
        ----------
        work : callable
            See `Job`.
        name : str
            What is shown until the first progress comes.
        if_cancelled : str
            What is shown when it was cancelled.

        Returns
        -------
        Job
            Connect to its `succeeded` before returning to the event loop.

        Raises
        ------
        RuntimeError
            If a job is under way.
        """
        if self._job is not None:
            raise RuntimeError("One job at a time: the buttons that start jobs are disabled during a job.")
        job = Job(work, name=name)
        self._job, self._pace, self._stop_message = job, Pace(), if_cancelled
        job.progressed.connect(self._on_progress)
        job.failed.connect(self._on_failed)
        job.stopped.connect(self._on_stopped)
        job.ended.connect(self._on_ended)
        self.bar.setRange(0, 0)
        self.status.setText(f"{name} ...")
        self._show_state()
        self.busy_changed.emit(True)
        job.start()
        return job

    def cancel(self) -> None:
        """Ask the job to stop."""
        if self._job is not None:
            self._job.cancel()
            self.cancel_button.setEnabled(False)
            self.status.setText("Stopping after the tile at hand ...")

    def pause_or_go_on(self) -> None:
        """Let the job rest, or go on."""
        if self._job is None:
            return
        if self._job.paused:
            self._job.go_on()
            self._pace = Pace()
            self.status.setText("Going on ...")
        else:
            self._job.pause()
            self.status.setText("Paused after the unit at hand: press Go on, or Cancel.")
        self._show_state()

    def say(self, text: str) -> None:
        """Show a line below the bar."""
        self.status.setText(text)

    def _on_progress(self, done: int, total: int, message: str) -> None:
        line = self._pace.update(done, total, message)
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        if self._job is not None and not self._job.cancelled and not self._job.paused:
            self.status.setText(line)

    def _on_failed(self, error: BaseException) -> None:
        text = sentence(error)
        self.status.setText(text)
        self.failed.emit(text)

    def _on_stopped(self) -> None:
        self.status.setText(self._stop_message)

    def _on_ended(self) -> None:
        self._job = None
        if self.bar.maximum() == 0:
            self.bar.setRange(0, 1)
        self._show_state()
        self.busy_changed.emit(False)

    def _show_state(self) -> None:
        self.run_button.setEnabled(self._allowed and self._job is None)
        self.cancel_button.setEnabled(self._job is not None)
        self.pause_button.setEnabled(self._job is not None)
        self.pause_button.setText("Go on" if self._job is not None and self._job.paused else "Pause")

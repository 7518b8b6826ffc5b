"""What the command line shows while it works: progress bars with rate and time left, and Ctrl-C as a polite request."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from napari_marrow.errors import SlowDeviceWarning
from napari_marrow.progress import CancelToken, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


@contextmanager
def working() -> Iterator[tuple[Progress, CancelToken]]:
    """Yield a progress callback that draws on the terminal and a token that Ctrl-C sets.

    The first Ctrl-C asks the work to stop after the tile or unit at hand; the second ends the process at once.
    """
    from napari_marrow.pipeline.preferences import preferences

    _, problem = preferences()
    if problem:
        typer.echo(f"Warning: {problem}", err=True)
    token = CancelToken()
    with _interrupt_sets(token), _warnings_are_sentences(), _bars() as progress:
        yield progress, token


@contextmanager
def _warnings_are_sentences() -> Iterator[None]:
    """Show what is meant for the user as one line, other warnings as Python does."""
    shown = warnings.showwarning

    def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, SlowDeviceWarning):
            typer.echo(f"Warning: {message}", err=True)
        else:
            shown(message, category, *place, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown


@contextmanager
def _interrupt_sets(token: CancelToken) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if token.cancelled:
            raise KeyboardInterrupt
        token.cancel()
        typer.echo("\nStopping after the unit at hand (Ctrl-C again to stop at once) ...", err=True)

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _bars() -> Iterator[Progress]:
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<32}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bars:
        yield _Bars(bars)


class _Job:
    """Tells whether a report goes on with the job at hand or begins another.

    A job may change its message on the way (the file it is at): it goes on while its total stays and its count does
    not fall.
    """

    def __init__(self) -> None:
        self._done = 0
        self._total = -1
        self._message = ""

    def is_new(self, done: int, total: int, message: str) -> bool:
        """Take note of a report and return whether it begins a job."""
        goes_on = total == self._total and done >= self._done and (message == self._message or done > self._done)
        self._done, self._total, self._message = done, total, message
        return not goes_on


class _Bars:
    """One bar per job, drawn by rich."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._job = _Job()
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int, message: str) -> None:
        if self._task is None or self._job.is_new(done, total, message):
            self._task = self._bars.add_task(message, total=total or None, rate="", completed=done)
        speed = self._bars.tasks[self._task].speed
        rate = f"{speed:6.1f}/s" if speed else ""
        self._bars.update(self._task, description=message, completed=done, total=total or None, rate=rate)


class _Lines:
    """A line when a job begins and one when it is finished, for logs and pipes."""

    def __init__(self) -> None:
        self._job = _Job()

    def __call__(self, done: int, total: int, message: str) -> None:
        if self._job.is_new(done, total, message) and (done < total or not total):
            typer.echo(f"{message} ...", err=True)
        if total and done >= total:
            typer.echo(f"{message}: {done} of {total}", err=True)

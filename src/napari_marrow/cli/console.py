"""What the command line shows while it works: progress bars with rate and time left, and Ctrl-C as a polite request."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import typer

from napari_marrow.progress import CancelToken, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


@contextmanager
def working() -> Iterator[tuple[Progress, CancelToken]]:
    """Yield a progress callback that draws on the terminal and a token that Ctrl-C sets.

    The first Ctrl-C asks the work to stop after the tile or unit at hand; the second ends the process at once.
    """
    token = CancelToken()
    with _interrupt_sets(token), _bars() as progress:
        yield progress, token


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


class _Bars:
    """One bar per message, drawn by rich."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, done: int, total: int, message: str) -> None:
        if message not in self._tasks:
            self._tasks[message] = self._bars.add_task(message, total=total or None, rate="", completed=done)
        task = self._tasks[message]
        speed = self._bars.tasks[task].speed
        rate = f"{speed:6.1f}/s" if speed else ""
        self._bars.update(task, completed=done, total=total or None, rate=rate)


class _Lines:
    """One line when a message begins and one when it is finished, for logs and pipes."""

    def __init__(self) -> None:
        self._begun: set[str] = set()

    def __call__(self, done: int, total: int, message: str) -> None:
        if message not in self._begun:
            self._begun.add(message)
            if done < total or not total:
                typer.echo(f"{message} ...", err=True)
        if total and done >= total:
            typer.echo(f"{message}: {done} of {total}", err=True)

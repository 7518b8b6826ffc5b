"""Progress and cancellation for long work, without any user interface."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from napari_marrow.errors import Cancelled

Progress = Callable[[int, int, str], None]
"""Called as ``progress(done, total, message)``; `total` is 0 while it is unknown."""


def no_progress(done: int, total: int, message: str) -> None:
    """Report to nobody."""


class CancelToken:
    """A thread-safe request to stop, asked by long work between its tiles, frames and units.

    Examples
    --------
    >>> token = CancelToken()
    >>> token.cancelled
    False
    >>> token.cancel()
    >>> token.cancelled
    True
    """

    def __init__(self) -> None:
        self._event = Event()

    def cancel(self) -> None:
        """Ask the work to stop at the next opportunity."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` when a stop was asked for."""
        if self._event.is_set():
            raise Cancelled("Cancelled: what was finished is kept, run the same command again to continue.")

"""Rate and time left of long work, from its progress calls alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class Pace:
    """Turns progress calls into one line: what is done, how fast, how long it will still take.

    The rate is that of the last minute, so that a slow start (a network being compiled) does not spoil it for long.

    Parameters
    ----------
    clock : callable
        Returns seconds; `time.monotonic` by default.

    Examples
    --------
    >>> seconds = iter([0.0, 2.0])
    >>> pace = Pace(clock=lambda: next(seconds))
    >>> pace.update(0, 10, "Segment")
    'Segment: 0 of 10'
    >>> pace.update(4, 10, "Segment")
    'Segment: 4 of 10 · 2/s · 3 s left'
    """

    WINDOW_S = 60.0

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._message: str | None = None
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, done: int, total: int, message: str) -> str:
        """Take one progress call and return the line that tells where the work is.

        Parameters
        ----------
        done, total : int
            Finished units and all of them; `total` 0 while unknown.
        message : str
            What is being done; a new message starts a new count.
        """
        now = self._clock()
        if message != self._message or (self._seen and done < self._seen[-1][1]):
            self._message = message
            self._seen.clear()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > self.WINDOW_S:
            self._seen.popleft()
        line = f"{message}: {done} of {total}" if total else message
        rate = self._rate()
        if rate is None or not total or done >= total:
            return line
        return f"{line} · {_rate_text(rate)} · {duration((total - done) / rate)} left"

    def _rate(self) -> float | None:
        (t0, n0), (t1, n1) = self._seen[0], self._seen[-1]
        return (n1 - n0) / (t1 - t0) if t1 > t0 and n1 > n0 else None


def _rate_text(rate: float) -> str:
    return f"{rate:.2g}/s" if rate >= 0.1 else f"{60 * rate:.2g}/min"


def duration(seconds: float) -> str:
    """Return seconds as a person says them.

    Parameters
    ----------
    seconds : float

    Examples
    --------
    >>> duration(200)
    '3 min'
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"

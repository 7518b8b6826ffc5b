"""Work on several threads that does not depend on their number: slices of an output, and parts one by one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
S = TypeVar("S")
_LEAST = 20_000  # elements below which a second thread costs more than it brings


def n_threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_slices(function: Callable[[int, int], None], n: int) -> None:
    """Call ``function(low, high)`` for slices that cover 0..n; slices do not see each other, so nothing hangs on them.

    Parameters
    ----------
    function : callable
        Fills the elements low..high of its output.
    n : int
    """
    workers = min(n_threads(), max(n // _LEAST, 1))
    if workers == 1:
        function(0, n)
        return
    bounds = [n * k // workers for k in range(workers + 1)]
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(function, bounds[:-1], bounds[1:]))


def in_parts(function: Callable[[S], T], parts: Sequence[S]) -> list[T]:
    """Return what a function makes of each part, in their order; as many at a time as there are processors.

    Parameters
    ----------
    function : callable
        Must not change what other parts read.
    parts : sequence
    """
    workers = min(n_threads(), len(parts))
    if workers <= 1:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, parts))

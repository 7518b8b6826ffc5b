"""Share a loop over the cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np


def in_chunks(work: Callable[[int, int], object], n: int, workers: int, *, least: int) -> None:
    """Call ``work(start, stop)`` over 0..n, in threads where there is enough to do.

    Parameters
    ----------
    work : callable
        Releases the interpreter's lock, and writes where no other chunk does.
    n : int
    workers : int
        Threads.
    least : int
        Fewer than twice so many items are done by the caller's thread alone, and no chunk has fewer.
    """
    if workers < 2 or n < 2 * least:
        work(0, n)
        return
    n_chunks = min(8 * workers, n // least)
    edges = np.linspace(0, n, n_chunks + 1).astype(int)
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(work, int(a), int(b)) for a, b in pairwise(edges)]:
            done.result()

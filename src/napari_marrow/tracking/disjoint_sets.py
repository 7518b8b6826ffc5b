"""Sets that are united: every element leads to the root of its set (compiled)."""

from __future__ import annotations

import numba

from napari_marrow.tracking.points import Ints


@numba.njit(cache=True, nogil=True)
def root(parent: Ints, a: int) -> int:
    """Return the root of an element's set, and shorten the way to it."""
    while parent[a] != a:
        parent[a] = parent[parent[a]]
        a = parent[a]
    return a

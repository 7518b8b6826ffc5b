"""Which frames stand for a session where every frame would be too many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_marrow.study import Study


def key_frames(study: Study, position: str, session: int, *, every_h: float | None = None) -> list[int]:
    """Return the session's first and last frame, and frames about `every_h` apart between them.

    Parameters
    ----------
    study : Study
    position : str
    session : int
    every_h : float, h, optional
        Spacing in time; only the first and last frame when left out.
    """
    times = study.image(position, session).times_h
    last = len(times) - 1
    if every_h is None or last == 0:
        return sorted({0, last})
    wanted = np.arange(times[0], times[-1], every_h)
    return sorted({int(np.abs(times - time).argmin()) for time in wanted} | {0, last})

"""Which frames of a session are used: all that quality does not forbid, or a few that stand for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_marrow.pipeline.step import Context, Unit

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


def skipped_frames(study: Study, unit: Unit, context: Context) -> dict[int, str]:
    """Return the frames of a session that tracking takes as not recorded, each with the flag that says so.

    Flags are those of the step *quality* and those that came with the images; which of them count stands in the recipe
    (``track.skip_flags``).

    Parameters
    ----------
    study : Study
    unit : Unit
        A position and a session.
    context : Context
    """
    bad = set(context.recipe.track.skip_flags)
    judged = study.table("quality", context.keys["quality"], unit=unit.as_dict())
    own = study.frames({"position": unit.position, "session": unit.session})
    skipped: dict[int, str] = {}
    for table in (judged, own):
        for t, flags in zip(table["t"], table["flags"].fillna("").astype(str), strict=True):
            hit = [flag for flag in flags.split(",") if flag in bad]
            if hit:
                skipped.setdefault(int(t), hit[0])
    return dict(sorted(skipped.items()))


def usable_frames(study: Study, unit: Unit, context: Context) -> list[int]:
    """Return the frames of a session that tracking uses."""
    skipped = skipped_frames(study, unit, context)
    return [t for t in range(study.image(unit.position, unit.session).shape[0]) if t not in skipped]

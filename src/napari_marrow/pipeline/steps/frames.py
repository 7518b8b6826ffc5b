"""Which frames of a session are used: all that quality does not forbid, or a few that stand for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_marrow.pipeline.step import Context, Unit

if TYPE_CHECKING:
    from napari_marrow.study import Study


UNFIT = ("blank", "duplicate", "defocus")
"""Flags of frames that shall not stand for a session, and that nothing is estimated from."""


def key_frames(
    study: Study, position: str, session: int, context: Context, *, every_h: float | None = None
) -> list[int]:
    """Return the session's first and last fit frame, and fit frames about `every_h` apart between them.

    A frame that the step *quality* calls blank, a duplicate or out of focus is not fit, unless all are.

    Parameters
    ----------
    study : Study
    position : str
    session : int
    context : Context
    every_h : float, h, optional
        Spacing in time; only the first and last frame when left out.
    """
    fit = np.array(fit_frames(study, position, session, context))
    ends = {int(fit[0]), int(fit[-1])}
    if every_h is None or len(fit) == 1:
        return sorted(ends)
    times = study.image(position, session).times_h[fit]
    wanted = np.arange(times[0], times[-1], every_h)
    return sorted({int(fit[np.abs(times - time).argmin()]) for time in wanted} | ends)


def fit_frames(study: Study, position: str, session: int, context: Context) -> list[int]:
    """Return the frames of a session that are none of `UNFIT`; all frames where every one is."""
    unfit = unfit_frames(study, position, session, context)
    frames = range(study.image(position, session).shape[0])
    return [t for t in frames if t not in unfit] or list(frames)


def unfit_frames(study: Study, position: str, session: int, context: Context) -> dict[int, str]:
    """Return the frames that the step *quality* calls one of `UNFIT`, with the flag that says so."""
    key, unit = context.keys["quality"], {"position": position, "session": session}
    if not study.has_record("quality", key, unit):
        return {}  # steps are planned, for the board, before anything is run
    judged = study.table("quality", key, unit=unit)
    found: dict[int, str] = {}
    for t, flags in zip(judged["t"], judged["flags"].fillna("").astype(str), strict=True):
        hit = [flag for flag in flags.split(",") if flag in UNFIT]
        if hit:
            found[int(t)] = hit[0]
    return found


def unfit_note(study: Study, context: Context, what: str) -> list[str]:
    """Return a note on the frames of all sessions that a step does not build on, none where there are none.

    Parameters
    ----------
    study : Study
    context : Context
    what : str
        What is not done with them, such as ``"no illumination is estimated from them"``.
    """
    counts = {
        f"{position} session {session}": len(unfit_frames(study, position, session, context))
        for position in study.positions
        for session in study.sessions(position)
    }
    counts = {name: n for name, n in counts.items() if n}
    if not counts:
        return []
    named = ", ".join(f"{n} in {name}" for name, n in list(counts.items())[:5])
    more = f" and {len(counts) - 5} more sessions" if len(counts) > 5 else ""
    return [f"{sum(counts.values())} frame(s) are blank, repeated or out of focus ({named}{more}): {what}."]


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

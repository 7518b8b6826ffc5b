"""Sessions compared with those before them right after an import, so that swapped wells are noticed in time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from napari_marrow.pipeline.step import Context, step_keys
from napari_marrow.progress import CancelToken, Progress, no_progress

if TYPE_CHECKING:
    from napari_marrow.study import Study

MOST_PAIRS = 60
"""Pairs of wells that an import compares at most; the step *register* compares more."""


class AcquiredSession:
    """A session as it was acquired.

    Parameters
    ----------
    study : Study
    position : str
    session : int
    """

    def __init__(self, study: Study, position: str, session: int) -> None:
        self.image = study.image(position, session)
        self.channels = [channel.name for channel in self.image.channels]

    def read(self, t: int, channel: str | None = None) -> npt.NDArray[Any]:
        """Return a frame, (C, Z, Y, X) or, of one channel, (Z, Y, X)."""
        return self.image.read(t, channel)


def wells_at_import(
    study_path: Path | str,
    sessions: Iterable[tuple[str, int]],
    *,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> list[str]:
    """Compare sessions that were just imported with those before them, and return what does not fit, in sentences.

    The plate is perhaps still on the microscope: two wells that were swapped can be imaged once more. Sessions are
    compared in the best channel of the study's recipe as they were acquired. Cells wander and divide, so that a
    session that shows nothing but nuclei is only named when it fits another well.

    Parameters
    ----------
    study_path : path
    sessions : iterable of (str, int)
        Positions and sessions.
    progress, cancel : optional

    Returns
    -------
    list of str
        Empty where all fit.
    """
    from napari_marrow.pipeline.recipe import Recipe, parse_recipe
    from napari_marrow.pipeline.steps import STEPS
    from napari_marrow.pipeline.steps.swapped_wells import WellComparison
    from napari_marrow.study import Study

    study = Study.open(study_path)
    stated = study.stated_recipe
    recipe = Recipe() if stated is None else parse_recipe(stated[0])
    quality = [step for step in STEPS if step.name == "quality"]
    check = CancelToken().raise_if_cancelled if cancel is None else cancel.raise_if_cancelled
    context = Context(recipe, step_keys(quality, recipe, study))
    wells = WellComparison(study, context, lambda p, s: AcquiredSession(study, p, s), check)
    present = {(p, s) for p in study.positions for s in study.sessions(p)}
    asked = sorted(set(sessions) & present, key=lambda place: (place[1], place[0]))
    misfits: dict[int, dict[str, str]] = {}
    for done, (position, session) in enumerate(asked):
        progress(done, len(asked), "Comparing with the session before")
        found = wells.own(position, session)
        if found is not None and not found[0].accepted:
            misfits.setdefault(session, {})[position] = found[1]
    said = []
    for session, refused in misfits.items():
        swapped = {w.position: w for w in wells.swapped(session, list(refused), MOST_PAIRS)}
        for position, channel in refused.items():
            if position in swapped:
                said.append(str(swapped[position]))
            elif channel != "nuclei":
                said.append(
                    f"{position} in session {session} does not fit its own session before ({channel}), nor that of "
                    "another well: was it moved by more than is looked for, or is it another organoid?"
                )
    return said

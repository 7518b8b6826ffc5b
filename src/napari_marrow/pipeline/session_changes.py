"""Leaving a session out, taking it in again, and removing it, with what other sessions' results owe to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_marrow.errors import StudyError
from napari_marrow.pipeline.edits import user_name

if TYPE_CHECKING:
    from napari_marrow.study import Study


def exclude_session(
    study_path: Path | str, session: int, *, position: str = "", reason: str, author: str | None = None
) -> None:
    """Leave a session out; its images and results stay on disk.

    Later sessions of its positions are registered again by the next run, as they may have been placed on it. What does
    not depend on where a session lies, such as the segmentation, stays.

    Parameters
    ----------
    study_path : path-like
    session : int
    position : str
        Empty for every position.
    reason : str
        Stands in the report.
    author : str, optional
        By default the user's name.

    Raises
    ------
    StudyError
        If there is no such session, or no other one would be left.
    SettingsError
        If it is left out already, or the reason is empty.
    """
    study, places = _opened(study_path, session, position)
    left = {place for place in study.stored_sessions() if not study.is_excluded(*place)} - set(places)
    if not left:
        raise StudyError(
            f"Session {session} is the last one of '{study.path}' that is not left out: nothing would remain."
        )
    with study.write_lock():
        study.exclude(session, position=position, reason=reason, author=author or user_name())
        _forget_places(study, places)


def include_session(study_path: Path | str, session: int, *, position: str = "") -> None:
    """Take a session in again; its own results are still there.

    Raises
    ------
    StudyError
        If there is no such session.
    SettingsError
        If it is not left out.
    """
    study, places = _opened(study_path, session, position)
    with study.write_lock():
        study.include(session, position=position)
        _forget_places(study, places)


def remove_session(study_path: Path | str, session: int, *, position: str = "") -> list[tuple[str, int]]:
    """Delete a session's images and results, so that it can be imported again; return what was deleted.

    Raises
    ------
    StudyError
        If there is no such session.
    """
    study, places = _opened(study_path, session, position)
    with study.write_lock():
        for place in places:
            study.remove_session(*place)
        _forget_places(study, places)
    return places


def _opened(study_path: Path | str, session: int, position: str) -> tuple[Study, list[tuple[str, int]]]:
    from napari_marrow.study import Study

    study = Study.open(study_path, mode="a")
    stored = study.stored_sessions()
    places = [place for place in stored if place[1] == session and position in ("", place[0])]
    if not places:
        known = ", ".join(str(s) for s in sorted({s for p, s in stored if position in ("", p)})) or "none"
        of = f" of {position}" if position else ""
        raise StudyError(f"The study '{study.path}' has no session {session}{of}: it has {known}.")
    return study, places


def _forget_places(study: Study, places: list[tuple[str, int]]) -> None:
    """Delete what depends on where the sessions from these on lie."""
    names = _tables_after_registration()
    for position, session in places:
        for other, later in study.stored_sessions():
            if other == position and later > session:
                study.discard_results(position, later, names)


def _tables_after_registration() -> list[str]:
    from napari_marrow.pipeline.steps import STEPS

    depending = {"register"}
    names: list[str] = []
    for step in STEPS:  # in the order of the recipe: a step comes after those that it reads
        if step.name in depending or depending & set(step.reads):
            depending.add(step.name)
            names += [*step.tables, *step.unit_tables]
    return sorted(set(names))

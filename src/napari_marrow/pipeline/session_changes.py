"""Leaving sessions out, removing and ordering them, with what other sessions' results owe to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_marrow.errors import SettingsError, StudyError
from napari_marrow.study.process import user_name

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
        If there is no such session, or a person painted in it or edited tracks or colonies of its positions: what was
        painted would come down on other images.
    """
    study, places = _opened(study_path, session, position)
    for where, _ in places:
        refuse_edited(study, where)
    with study.write_lock():
        for place in places:
            study.remove_session(*place)
        for left_out in study.exclusions:  # what comes under this number is not left out for it
            if left_out.session == session and position in ("", left_out.position):
                study.include(session, position=left_out.position)
        # It was estimated from the removed images, too, and holds a factor for each of their frames.
        study.discard_results("", session, ["corrections"])
        _forget_places(study, places)
    return places


def order_sessions(
    study_path: Path | str, order: Sequence[int] | None = None, *, position: str = ""
) -> dict[str, dict[int, int]]:
    """Give sessions new numbers that follow time, or an order that is given.

    The numbers in use stay in use. A session that gets another number loses its own results, and later ones of its
    position are placed anew; everything else stays.

    Parameters
    ----------
    study_path : path-like
    order : sequence of int, optional
        All session numbers of the positions, in the order that they should have. By default that of their starts.
    position : str
        Empty for every position.

    Returns
    -------
    dict of dict of int to int
        Per position, the new number of each session whose number changed.

    Raises
    ------
    StudyError
        If the order does not name every session, or sessions that would move have edits or are left out.
    """
    from napari_marrow.study import Study

    study = Study.open(study_path, mode="a")
    stored = [place for place in study.stored_sessions() if position in ("", place[0])]
    changes = {}
    for place in sorted({p for p, _ in stored}):
        numbers = [s for p, s in stored if p == place]
        wanted = _wanted(study, place, numbers, order)
        changed = {old: new for old, new in zip(wanted, numbers, strict=True) if old != new}
        if changed:
            _refuse_noted(study, place, changed)
            changes[place] = changed
    with study.write_lock():
        for place, changed in changes.items():
            free = max(s for p, s in study.stored_sessions() if p == place) + 1
            away = [(old, free + k, None) for k, old in enumerate(changed)]
            back = [(free + k, new, None) for k, new in enumerate(changed.values())]
            study.move_sessions(place, [*away, *back])
            _forget_places(study, [(place, min(changed.values()))])
    return changes


def start_session(study_path: Path | str, session: int, start_h: float, *, position: str = "") -> None:
    """Correct when a session began; its own results are computed anew, as they hold times.

    Raises
    ------
    StudyError
        If there is no such session.
    SettingsError
        If the start is no number of hours.
    """
    if not 0 <= start_h < 1e6:
        raise SettingsError(f"{start_h} is no start: give hours since the study's time zero, 0 or more.")
    study, places = _opened(study_path, session, position)
    with study.write_lock():
        for place, number in places:
            study.move_sessions(place, [(number, number, float(start_h))])
        _forget_places(study, places)


def _wanted(study: Study, position: str, numbers: list[int], order: Sequence[int] | None) -> list[int]:
    if order is None:
        return sorted(numbers, key=lambda s: (study.image(position, s).start_h, s))
    wanted = [s for s in order if s in numbers]
    if sorted(wanted) != numbers:
        raise StudyError(
            f"{position} has the sessions {', '.join(map(str, numbers))}: name each of them once, in their new order."
        )
    return wanted


def _refuse_noted(study: Study, position: str, changed: dict[int, int]) -> None:
    """Edits and exclusions name sessions by their number: they would speak of others."""
    named = sorted(s for s in changed if study.is_excluded(position, s))
    if named:
        raise StudyError(
            f"Session {named[0]} of {position} is left out: take it in again, and leave it out afterwards."
        )
    refuse_edited(study, position)


def refuse_edited(study: Study, position: str) -> None:
    """Refuse to touch sessions of a position whose edits name them.

    Raises
    ------
    StudyError
        If there are any.
    """
    if study.edits().standing(position):
        raise StudyError(
            f"Labels, tracks or colonies of {position} were edited, and the edits name its sessions: undo them first "
            "(`marrow edits undo`)."
        )


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

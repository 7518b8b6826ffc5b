"""Importing a session anew in one step: the old images go only when the new ones are there, whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_marrow.errors import StudyError
from napari_marrow.pipeline.session_changes import refuse_edited, remove_session
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.study.naming import MAX_SESSION

if TYPE_CHECKING:
    from napari_marrow.ingest.plan import PlannedSession
    from napari_marrow.study import Study


def replace_session(
    study_path: Path | str,
    session: int,
    sources: Sequence[Path | str],
    *,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
    **options: Any,
) -> list[tuple[str, int]]:
    """Put images in the place of a session's; other sessions keep theirs, and all that does not depend on it.

    The new images are first imported whole under a spare number; then the old ones are deleted and the new ones get
    their number. An import that fails leaves the study as it was. After a kill the same call goes on.

    Parameters
    ----------
    study_path : path-like
    session : int
        Number of the session that is replaced, in each position that the sources hold.
    sources : sequence of path-like
        See `import_files`.
    progress, cancel : optional
    **options
        See `import_files`. Without a date in the files and without `start_h` the new session begins when the old one
        did.

    Returns
    -------
    list of (str, int)
        Positions and the session whose images were replaced.

    Raises
    ------
    StudyError
        If a position of the sources has no such session, or a person edited what was computed from it.
    InputFileError, MissingMetadataError, StorageError, StudyLockedError
        See `import_files`.
    """
    from napari_marrow import ingest
    from napari_marrow.study import Study

    spare = MAX_SESSION - session
    study = Study.open(study_path, mode="a")
    given = {**options, "session": spare}
    planned = ingest.preview(study_path, sources, **given)
    _check(study, planned, session, spare)
    if options.get("start_h") is None and any(lack.option.startswith("--start") for p in planned for lack in p.missing):
        given["start_h"] = _start_of(study, planned[0].position, session, spare)
    with study.write_lock():
        pass  # a second writer is refused before anything is read
    ingest.import_files(study_path, sources, **given, progress=progress, cancel=cancel)
    places = [(plan.position, session) for plan in planned]
    for position, _ in places:
        study = Study.open(study_path, mode="a")
        if study.has_session(position, session):
            remove_session(study_path, session, position=position)
        Study.open(study_path, mode="a").move_sessions(position, [(spare, session, None)])
    return places


def _check(study: Study, planned: Sequence[PlannedSession], session: int, spare: int) -> None:
    stored = set(study.stored_sessions())
    for plan in planned:
        if not {(plan.position, session), (plan.position, spare)} & stored:
            have = ", ".join(str(s) for p, s in sorted(stored) if p == plan.position) or "none"
            raise StudyError(
                f"'{plan.source.name}' is {plan.position}, which has no session {session} to be replaced (it has: "
                f"{have}): use `marrow import` to add it."
            )
        refuse_edited(study, plan.position)


def _start_of(study: Study, position: str, session: int, spare: int) -> float:
    """Return when the old session began; when a kill came after its removal, what was taken over from it."""
    there = session if study.has_session(position, session) else spare
    return study.image(position, there).start_h

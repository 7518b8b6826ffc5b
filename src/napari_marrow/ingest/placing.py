"""Where planned sessions go: their numbers within a position, and their starts since the study's t0."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from napari_marrow.errors import InputFileError, PathExistsError
from napari_marrow.ingest.plan import Given, Missing, PlannedSession
from napari_marrow.study import Study


@dataclass(frozen=True)
class Draft:
    """A planned session without its number and start.

    Attributes
    ----------
    planned : PlannedSession
    date : str, optional
        Of its first frame.
    numbered : bool
        Whether its number is stated.
    """

    planned: PlannedSession
    date: str | None
    numbered: bool


def place(drafts: list[Draft], study: Study | None) -> list[tuple[PlannedSession, str | None]]:
    """Give every session its number: the stated one, or the next of its position.

    Raises
    ------
    PathExistsError
        If the study, or this import, has that session from another source.
    """
    taken = _sources_in(study)
    placed: list[tuple[PlannedSession, str | None]] = []
    for draft in drafts:
        planned = draft.planned
        mine = {s: digest for (p, s), digest in taken.items() if p == planned.position}
        if draft.numbered:
            number = planned.session
        else:
            same = [s for s, digest in mine.items() if digest == planned.digest]
            number = same[0] if same else max(mine, default=-1) + 1
        spot = (planned.position, number)
        if spot in taken and taken[spot] != planned.digest:
            raise PathExistsError(
                f"{planned.position} has session {number} already, from another file than '{planned.source.name}': "
                "give another --session or --position, or take the old one out with `marrow sessions remove`."
            )
        present = study is not None and study.has_session(*spot)
        placed.append((replace(planned, session=number, present=present), draft.date))
        taken[spot] = planned.digest
    return placed


def _sources_in(study: Study | None) -> dict[tuple[str, int], str]:
    if study is None:
        return {}
    return {
        (position, session): str(study.image(position, session).metadata.get("source_digest", ""))
        for position, session in study.stored_sessions()
    }


def in_time(
    placed: list[tuple[PlannedSession, str | None]], given: Given, study: Study | None
) -> tuple[list[PlannedSession], str | None]:
    """Give every session its start since t0.

    Time zero is the study's; in a study without sessions it is the earliest date of the files, or else the first
    frame of the only session there is.
    """
    empty = study is None or not study.stored_sessions()
    t0 = None if study is None else study.t0
    new_t0 = None
    if isinstance(given.start_h, (int, float)):
        return [replace(p, start_h=float(given.start_h)) for p, _ in placed], None
    dates = [date for _, date in placed if date is not None]
    if t0 is None and empty and dates:
        t0 = new_t0 = min(dates, key=lambda d: datetime.fromisoformat(d))
    starts = _known_starts(study)
    result = []
    for planned, date in placed:
        if planned.present:
            start = starts[planned.session]
        elif date is not None and t0 is not None:
            start = (datetime.fromisoformat(date) - datetime.fromisoformat(t0)).total_seconds() / 3600.0
        elif planned.session in starts:  # another position of the same mounting of the plate
            start = starts[planned.session]
        elif empty and not starts and t0 is None:
            start = 0.0
        else:
            why = "has no acquisition date" if date is None else "has a date, but the study has no t0"
            question = Missing(why, "--start (hours from the study's t0 to its first frame)")
            result.append(replace(planned, missing=(*planned.missing, question)))
            continue
        if start < 0:
            raise InputFileError(
                f"'{planned.source.name}' begins {-start:.4g} h before the study's t0 ({t0}): import the earliest "
                "session first, or give --start."
            )
        starts.setdefault(planned.session, start)
        result.append(replace(planned, start_h=start))
    return result, new_t0


def _known_starts(study: Study | None) -> dict[int, float]:
    starts: dict[int, float] = {}
    for position, session in study.stored_sessions() if study is not None else []:
        assert study is not None
        start = study.image(position, session).start_h
        starts[session] = min(start, starts.get(session, math.inf))
    return starts


def fingerprint(path: Path) -> str:
    """Return a short digest of a source: its size and 34 samples of its bytes (an OME-Zarr: names, sizes, times).

    It tells files apart and recognises one that was imported before; it is no proof that every byte is the same.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            found = file.stat()
            digest.update(f"{file.relative_to(path)} {found.st_size} {found.st_mtime_ns}".encode("utf-8", "replace"))
        return digest.hexdigest()[:16]
    size = path.stat().st_size
    digest.update(str(size).encode())
    with path.open("rb") as handle:
        for step in range(34):
            handle.seek(step * max(size - 65536, 0) // 33)
            digest.update(handle.read(65536))
    return digest.hexdigest()[:16]


def fingerprint_of_files(folder: Path, files: Sequence[Path]) -> str:
    """Return a short digest of a series: name, size and time of change of each file."""
    digest = hashlib.sha256()
    for file in files:
        found = file.stat()
        name = file.relative_to(folder).as_posix()
        digest.update(f"{name} {found.st_size} {found.st_mtime_ns}".encode("utf-8", "replace"))
    return digest.hexdigest()[:16]

"""What people note of a study: sessions that are left out, and events of the culture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from napari_marrow.errors import SettingsError
from napari_marrow.study.naming import check_session, is_position, printable

ALL = ""
"""Stands for every position."""


@dataclass(frozen=True)
class Exclusion:
    """A session that is left out.

    Attributes
    ----------
    session : int
    position : str
        Empty for every position.
    reason, author : str
    utc : str
        When it was left out, ISO 8601.
    """

    session: int
    position: str
    reason: str
    author: str
    utc: str


@dataclass(frozen=True)
class Event:
    """Something that was done to the culture.

    Attributes
    ----------
    number : int
        From 1; a number is not given twice.
    time_h : float
        Hours since the study's time zero.
    kind : str
        Such as "media change", "drug" or "irradiation".
    position : str
        Empty for every position.
    note, author : str
    utc : str
        When it was written down, ISO 8601.
    """

    number: int
    time_h: float
    kind: str
    position: str
    note: str
    author: str
    utc: str


def exclusions(document: Mapping[str, Any]) -> list[Exclusion]:
    """Return the sessions that a study's document leaves out."""
    return [Exclusion(**record) for record in document.get("excluded_sessions", [])]


def events(document: Mapping[str, Any]) -> list[Event]:
    """Return the events of a study's document in order of time."""
    return sorted((Event(**record) for record in document.get("events", [])), key=lambda e: (e.time_h, e.number))


def excluded(document: Mapping[str, Any]) -> frozenset[tuple[str, int]]:
    """Return (position, session) of what is left out; the position is `ALL` where it is every one."""
    return frozenset((record["position"], record["session"]) for record in document.get("excluded_sessions", []))


def with_exclusion(
    document: Mapping[str, Any], session: int, position: str, reason: str, author: str
) -> list[dict[str, Any]]:
    """Return the records with one more.

    Raises
    ------
    SettingsError
        If no reason is given, or the session is left out already.
    """
    _check_position(position)
    if not printable(reason).strip():
        raise SettingsError("Say why the session is left out: the reason stands in the report.")
    if {(position, session), (ALL, session)} & excluded(document):
        raise SettingsError(f"Session {session} is left out already{_of(position)}.")
    # one for every position takes the place of those of single ones
    kept = [e for e in exclusions(document) if position != ALL or e.session != session]
    new = Exclusion(check_session(session), position, printable(reason).strip(), printable(author), _now())
    return [asdict(e) for e in [*kept, new]]


def without_exclusion(document: Mapping[str, Any], session: int, position: str) -> list[dict[str, Any]]:
    """Return the records without one.

    Raises
    ------
    SettingsError
        If the session is not left out there.
    """
    if (position, session) not in excluded(document):
        whole = " It is left out for every position." if (ALL, session) in excluded(document) else ""
        raise SettingsError(f"Session {session} is not left out{_of(position)}.{whole}")
    return [asdict(e) for e in exclusions(document) if (e.position, e.session) != (position, session)]


def with_event(
    document: Mapping[str, Any], time_h: float, kind: str, position: str, note: str, author: str
) -> list[dict[str, Any]]:
    """Return the records with one more.

    Raises
    ------
    SettingsError
        If the time is no number or the kind is empty.
    """
    _check_position(position)
    if not abs(time_h) < 1e6:
        raise SettingsError(f"{time_h} is no time: give hours since the study's time zero.")
    if not printable(kind).strip():
        raise SettingsError("Say what kind of event it is, such as 'media change'.")
    known = events(document)
    number = max([int(document.get("last_event", 0)), *(e.number for e in known)]) + 1
    new = Event(number, float(time_h), printable(kind).strip(), position, printable(note), printable(author), _now())
    return [asdict(e) for e in [*known, new]]


def without_event(document: Mapping[str, Any], number: int) -> list[dict[str, Any]]:
    """Return the records without one.

    Raises
    ------
    SettingsError
        If there is no such event.
    """
    known = events(document)
    if number not in [e.number for e in known]:
        raise SettingsError(f"There is no event {number}: `marrow events list` numbers them.")
    return [asdict(e) for e in known if e.number != number]


def _check_position(position: str) -> None:
    if position != ALL and not is_position(position):
        raise SettingsError(f"'{position}' is no position: give row, column and field, such as B02_f00.")


def _of(position: str) -> str:
    return f" at {position}" if position else " for every position"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

"""The study's own document, its lock and its records: what a study says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from napari_marrow.errors import SettingsError, StudyError
from napari_marrow.study import culture_log, journal, migration
from napari_marrow.study.durable import read_document, sweep_partials, write_document
from napari_marrow.study.edits import EditJournal
from napari_marrow.study.lock import WriteLock
from napari_marrow.study.migration import SCHEMA_VERSION
from napari_marrow.study.naming import check_key, check_word
from napari_marrow.study.remote import is_remote

DOCUMENT = "study.json"


class StudyRecord:
    """What a study says of itself; the base of `StudyImages`, which adds sessions and images.

    Attributes
    ----------
    path : Path
        The study's folder.
    mode : {"r", "a"}
    """

    def __init__(self, path: Path, mode: Literal["r", "a"]) -> None:
        self.path = path
        self.mode = mode
        self._lock = WriteLock(path)
        self._cached: tuple[tuple[int, int, int], dict[str, Any]] | None = None

    def _check_version(self) -> None:
        document = self._document()
        version = document.get("schema_version")
        if document.get("format") != "napari-marrow study" or not isinstance(version, int):
            raise StudyError(f"'{self.path}' is no study: its {DOCUMENT} does not say so.")
        if version > SCHEMA_VERSION:
            raise StudyError(
                f"'{self.path}' has study schema {version}, this version of napari-marrow knows up to "
                f"{SCHEMA_VERSION}: update napari-marrow."
            )

    def _document(self) -> dict[str, Any]:
        """Return study.json, read again only when it changed."""
        file = self.path / DOCUMENT
        if is_remote(self.path):  # as it was when it was opened
            self._cached = self._cached or ((0, 0, 0), read_document(file))
            return self._cached[1]
        try:
            found = file.stat()
        except OSError:
            return read_document(file)
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if self._cached is None or self._cached[0] != stamp:
            self._cached = (stamp, read_document(file))
        return self._cached[1]

    def _update(self, **changes: Any) -> None:
        self._check_writable()
        with self.write_lock():
            write_document(self.path / DOCUMENT, {**self._document(), **changes})
            self._cached = None

    @property
    def schema_version(self) -> int:
        """Schema of the study on disk; an older one becomes the current one when the study is first written to."""
        return int(self._document()["schema_version"])

    def upgrade(self) -> int:
        """Bring the study to the current schema, where it is older, and return the schema that it had.

        Done by itself when the write lock is taken, so it is rarely called. Readers of the current version read every
        earlier schema without it.
        """
        before = self.schema_version
        with self.write_lock():  # which does it
            return before

    def _migrate(self) -> None:
        if self.schema_version < SCHEMA_VERSION:
            write_document(self.path / DOCUMENT, migration.upgraded(self.path, self._document()))
            self._cached = None

    def _finish_moves(self) -> None:
        """Do what is left of moves of sessions that were cut short; `Study` knows how."""

    def _check_writable(self) -> None:
        if self.mode != "a":
            raise StudyError(f"The study '{self.path}' was opened for reading: open it with mode='a' to write.")

    @property
    def name(self) -> str:
        """Name of the study."""
        return str(self._document()["name"])

    @property
    def id(self) -> str:
        """Unique id of the study."""
        return str(self._document()["id"])

    @property
    def created(self) -> str:
        """When the study was made, ISO 8601."""
        return str(self._document()["created"])

    @property
    def t0(self) -> str | None:
        """Time zero, ISO 8601 in UTC; None where no date is known and the first session defines it."""
        t0 = self._document()["t0"]
        return None if t0 is None else str(t0)

    @property
    def active(self) -> dict[str, str]:
        """Key of the result that is shown and built upon, per step."""
        return dict(self._document()["active"])

    @property
    def active_tables(self) -> dict[str, str]:
        """Key that `table` reads, per table."""
        return dict(self._document()["active_tables"])

    def set_active(self, steps: Mapping[str, str], tables: Mapping[str, str] | None = None) -> None:
        """Make finished results the active ones, in one atomic step.

        Parameters
        ----------
        steps : mapping of step to key
        tables : mapping of table to key, optional
        """
        self._check_writable()
        changes = dict(tables or {})
        for step, key in steps.items():
            check_word(step, "name of a step")
            check_key(key)
        with self.write_lock():
            journal.complete_labels(self.path, steps.values())
            for table, key in changes.items():
                journal.complete_table(self.path, table, key)
            self._update(active={**self.active, **steps}, active_tables={**self.active_tables, **changes})

    def record_run(self, step: str, key: str, info: Mapping[str, Any], part: str = "") -> Path:
        """Write down how a step was run (recipe, versions, seeds, counts, wall time), and return the file."""
        self._check_writable()
        return journal.record_run(self.path, step, key, info, part)

    def state_recipe(self, recipe: Mapping[str, Any]) -> None:
        """Write down the recipe that the study is run with, before it is known whether anything has to be computed."""
        number = max((int(run.get("number", 0)) for run in self.runs()), default=0)
        if (dict(recipe), number) != self.stated_recipe:
            self._update(stated_recipe={"recipe": dict(recipe), "run": number})

    @property
    def stated_recipe(self) -> tuple[dict[str, Any], int] | None:
        """The recipe of the last run and the number of the record before it; None where no run is on record."""
        stated = self._document().get("stated_recipe")
        return None if stated is None else (dict(stated["recipe"]), int(stated["run"]))

    def runs(self) -> list[dict[str, Any]]:
        """Return what `record_run` wrote, oldest first."""
        return journal.runs(self.path)

    def edits(self) -> EditJournal:
        """Return the journal of edits as it stands on disk; whoever appends holds `write_lock`."""
        return EditJournal(self.path)

    # --- what people note

    @property
    def exclusions(self) -> list[culture_log.Exclusion]:
        """Sessions that are left out, with the reason."""
        return culture_log.exclusions(self._document())

    @property
    def events(self) -> list[culture_log.Event]:
        """Events of the culture in order of time."""
        return culture_log.events(self._document())

    def is_excluded(self, position: str, session: int) -> bool:
        """Whether a session of a position is left out."""
        out = culture_log.excluded(self._document())
        return bool(out) and ((position, session) in out or (culture_log.ALL, session) in out)

    def exclude(self, session: int, *, position: str = "", reason: str, author: str) -> None:
        """Leave a session out, of one position or of every one; images and results stay on disk.

        Whoever runs the recipe uses `pipeline.session_changes`, which also lets later sessions be registered anew.

        Raises
        ------
        SettingsError
            If it is left out already, or no reason is given.
        """
        with self.write_lock():
            self._update(
                excluded_sessions=culture_log.with_exclusion(self._document(), session, position, reason, author)
            )

    def include(self, session: int, *, position: str = "") -> None:
        """Take a session in again.

        Raises
        ------
        SettingsError
            If it is not left out.
        """
        with self.write_lock():
            self._update(excluded_sessions=culture_log.without_exclusion(self._document(), session, position))

    def add_event(self, time_h: float, kind: str, *, position: str = "", note: str = "", author: str) -> int:
        """Write an event down and return its number.

        Raises
        ------
        SettingsError
            If the time is no number, or the kind is empty.
        """
        with self.write_lock():
            records = culture_log.with_event(self._document(), time_h, kind, position, note, author)
            number = max(int(record["number"]) for record in records)
            self._update(events=records, last_event=number)
        return number

    def remove_event(self, number: int) -> None:
        """Take an event out.

        Raises
        ------
        SettingsError
            If there is no such event.
        """
        with self.write_lock():
            self._update(events=culture_log.without_event(self._document(), number))

    @contextmanager
    def write_lock(self) -> Iterator[None]:
        """Hold the right to write while the block runs; may be nested.

        Raises
        ------
        StudyLockedError
            If another process has it; the sentence names host, process and since when.
        """
        self._check_writable()
        first = self._lock.acquire()
        try:
            if first:
                sweep_partials(self.path, alone=True)
                self._migrate()
                self._finish_moves()
            yield
        finally:
            self._lock.release()


def as_utc(text: str) -> str:
    """Return a time as ISO 8601 in UTC."""
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise SettingsError(f"'{text}' is no time: give ISO 8601, such as 2026-01-31T09:00:00+00:00.") from None
    return (time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)).isoformat()

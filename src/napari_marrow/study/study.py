"""The study: one folder with everything that was imaged and found. The only code that knows the disk layout."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from napari_marrow.errors import FetchError, PathExistsError, PathMissingError, SettingsError, StudyError
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.study import journal, labels, remote, sessions, tables
from napari_marrow.study.channel import Channel
from napari_marrow.study.durable import storing, sync_folder, write_document
from napari_marrow.study.labels import SessionLabels
from napari_marrow.study.lock import ShareLock
from napari_marrow.study.naming import check_session, image_path, part_path, printable
from napari_marrow.study.record import DOCUMENT, SCHEMA_VERSION, StudyRecord, as_utc
from napari_marrow.study.renumbering import move_session
from napari_marrow.study.session_image import SessionImage
from napari_marrow.study.session_writer import SessionWriter
from napari_marrow.study.shard_names import known_shard_file

if TYPE_CHECKING:
    import pandas as pd

    from napari_marrow.study.cleaning import UnusedResult
    from napari_marrow.study.verify import Problem

IMAGES = "images.ome.zarr"


class Study(StudyRecord):
    """A study on disk; made by `Study.create` or `Study.open`.

    Reading needs nothing else. Whoever adds sessions, or runs steps, holds `write_lock` (adding a session takes it by
    itself); worker processes of that holder open the study with ``mode="a"`` and write labels and parts without it,
    each unit by one worker.

    Attributes
    ----------
    path : Path
        The study's folder.
    mode : {"r", "a"}
    """

    # --- making and opening

    @classmethod
    def create(
        cls, path: str | Path, *, name: str | None = None, t0: str | None = None, layout: pd.DataFrame | None = None
    ) -> Study:
        """Make an empty study and open it for writing.

        Parameters
        ----------
        path : path-like
            Where nothing is yet; by custom it ends in ``.marrow``.
        name : str, optional
            By default the folder's name.
        t0 : str, optional
            Time zero, ISO 8601 with a time zone (UTC is assumed without one); all ``time_h`` count from it.
        layout : DataFrame, optional
            See `set_layout`.

        Raises
        ------
        PathExistsError
            If there is something at the path.
        SettingsError
            If t0 is no time.
        """
        path = Path(path).absolute()
        if os.path.lexists(path):
            raise PathExistsError(f"'{path}' exists already: choose another name, or open it.")
        document = {
            "format": "napari-marrow study",
            "schema_version": SCHEMA_VERSION,
            "id": str(uuid.uuid4()),
            "name": printable(name or path.stem) or "study",
            "t0": None if t0 is None else as_utc(t0),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "layout": [] if layout is None else sessions.layout_records(layout),
            "active": {},
            "active_tables": {},
        }
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new")
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                write_document(draft / DOCUMENT, document)
                draft.rename(path)
                sync_folder(path.parent)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
        return cls(path, "a")

    @classmethod
    def open(
        cls, path: str | Path, *, mode: Literal["r", "a"] = "r", storage_options: Mapping[str, Any] | None = None
    ) -> Study:
        """Open a study.

        Parameters
        ----------
        path : path-like or URL
            A URL (``https://``, ``s3://`` and whatever fsspec knows) is read without listing folders.
        mode : {"r", "a"}
            ``"a"`` may write, not at a URL.
        storage_options : mapping, optional
            How fsspec reaches a URL, such as ``{"anon": True}``.

        Raises
        ------
        PathMissingError
            If there is nothing at the path.
        StudyError
            If it is no study, or one of a newer schema.
        CorruptDataError
            If its document is damaged.
        """
        if mode not in ("r", "a"):
            raise SettingsError(f"A study is opened with mode 'r' or 'a', not '{mode}'.")
        if remote.is_url(path) or remote.is_remote(path):
            return cls._open_remote(path, mode, dict(storage_options or {}))
        path = Path(path).absolute()
        if not path.exists():
            raise PathMissingError(f"There is no study at '{path}'.")
        if not (path / DOCUMENT).is_file():
            raise StudyError(f"'{path}' is no study: it has no {DOCUMENT}.")
        study = cls(path, mode)
        study._check_version()
        return study

    @classmethod
    def _open_remote(cls, url: Any, mode: Literal["r", "a"], storage_options: dict[str, Any]) -> Study:
        if mode != "r":
            raise SettingsError(f"The study at '{url}' can only be read: copy it to this machine to change it.")
        path = remote.remote_path(url, storage_options) if isinstance(url, str) else url
        try:
            there = (path / DOCUMENT).is_file()
        except Exception as error:  # every protocol has errors of its own
            raise FetchError(f"'{url}' cannot be reached ({type(error).__name__}: {error}).") from error
        if not there:
            raise PathMissingError(f"There is no study at '{url}': no {DOCUMENT} is there.")
        study = cls(path, mode)
        study._check_version()
        return study

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self.mode)

    def __repr__(self) -> str:
        return f"Study({str(self.path)!r}, mode={self.mode!r})"

    def set_t0(self, t0: str | None) -> None:
        """Set time zero of a study that has no sessions yet.

        Raises
        ------
        StudyError
            If there are sessions: their times count from the old one.
        """
        self._check_writable()
        if self.stored_sessions():
            raise StudyError(f"The study '{self.path}' has sessions whose times count from its t0: it cannot change.")
        self._update(t0=None if t0 is None else as_utc(t0))

    @property
    def layout(self) -> pd.DataFrame:
        """What was imaged where: schema LAYOUT, a row per position.

        A position that the layout does not name has its well as organoid and is ``"unknown"`` otherwise.
        """
        return sessions.layout_table(self._document()["layout"], self.positions)

    def set_layout(self, layout: pd.DataFrame) -> None:
        """Replace the layout (schema LAYOUT; one row per position).

        Raises
        ------
        TableError
            If a column is missing, a position is malformed or named twice.
        """
        self._update(layout=sessions.layout_records(layout))

    # --- sessions and images

    @property
    def positions(self) -> list[str]:
        """Positions that have a session that is not left out, sorted."""
        return sorted({position for position, _ in self._taken_in()})

    def sessions(self, position: str | None = None) -> list[int]:
        """Return the session numbers of a position, or of all; those that are left out are not among them."""
        if position is not None:
            return [s for s in sessions.of_position(self.path, position) if not self.is_excluded(position, s)]
        return sorted({s for _, s in self._taken_in()})

    def _taken_in(self) -> list[tuple[str, int]]:
        return [place for place in sessions.listed(self.path) if not self.is_excluded(*place)]

    def stored_sessions(self) -> list[tuple[str, int]]:
        """Return (position, session) of every session on disk, with those that are left out."""
        return sessions.listed(self.path)

    def frames(self, unit: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return every frame of every position, or of one ``position`` and ``session``, with its true time: FRAMES."""
        return self._without_excluded(sessions.frames(self.path, unit))

    def _without_excluded(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that speak of no session that is left out."""
        if not self.exclusions or "position" not in table.columns:
            return table
        for column in ("session", "session_parent", "session_child"):
            if column in table.columns:
                places = zip(table["position"].astype(str), table[column].astype(int), strict=True)
                kept = [not self.is_excluded(*place) for place in places]
                table = table if all(kept) else table[kept].reset_index(drop=True)
        return table

    def add_session(
        self,
        position: str,
        session: int,
        *,
        channels: list[Channel] | list[str],
        spacing: Sequence[float],
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        start_h: float,
        time_s: Sequence[float] | npt.NDArray[Any],
        name: str | None = None,
        utc: str | Sequence[str] | None = None,
        stage: Sequence[float] | Sequence[Sequence[float]] | None = None,
        source_file: str = "",
        source_indices: Sequence[int] | None = None,
        flags: Sequence[str] | None = None,
        source_digest: str = "",
    ) -> SessionWriter:
        """Begin a session, or go on with one that was interrupted.

        Parameters
        ----------
        position : str
            Such as ``"B02_f00"``.
        session : int
        channels : list of Channel or str
        spacing : (dz, dy, dx)
            Pixel size, µm; dz is 1 by convention where there is one plane.
        shape : (T, C, Z, Y, X)
        dtype : dtype-like
            One of uint8/16/32, int8/16/32, float32.
        start_h : float
            Time of the first frame since the study's t0, hours.
        time_s : sequence of float, length T
            True times since the first frame, seconds; must not go backwards.
        name : str, optional
        utc : str or sequence of str, optional
            Acquisition time of the first frame, or of each; ISO 8601.
        stage : (z, y, x) or sequence of T such, optional
            Stage position, µm.
        source_file : str
            File that the frames come from; only its name is kept.
        source_indices : sequence of int, optional
            Number of each time point in that file; 0..T-1 by default.
        flags : sequence of str, optional
            Quality flags per frame, comma separated.
        source_digest : str
            Fingerprint of the source, to recognise it when it is imported again.

        Returns
        -------
        SessionWriter

        Raises
        ------
        PathExistsError
            If the position has that session already.
        SettingsError
            If a value is impossible.
        StudyLockedError
            If another process writes to the study.
        """
        self._check_writable()
        plan = sessions.plan(
            position, session, channels=channels, spacing=spacing, shape=shape, dtype=dtype, start_h=start_h,
            time_s=time_s, name=name, utc=utc, stage=stage, source_file=source_file, source_indices=source_indices,
            flags=flags, source_digest=source_digest,
        )  # fmt: skip
        plan.check()
        if self.has_session(plan.position, plan.session):
            raise PathExistsError(f"{plan.position} has session {plan.session} already: choose another number.")
        self._lock.acquire()
        try:
            sessions.sweep(self.path, self.path / IMAGES, plan.position, plan.session)
            self._migrate()
            return SessionWriter(
                self._image_folder(plan.position, plan.session),
                plan,
                publish=lambda done, more: sessions.publish(self.path, self.path / IMAGES, self.name, done, more),
                withdraw=lambda gone: sessions.remove(
                    self.path, self.path / IMAGES, self.name, gone.position, gone.session
                ),
                release=self._lock.release,
            )
        except BaseException:
            self._lock.release()
            raise

    def has_session(self, position: str, session: int) -> bool:
        """Whether the session is part of the study."""
        if remote.is_remote(self.path):
            return (position, session) in remote.listed(self.path)
        return sessions.record_file(self.path, position, session).is_file()

    def image(self, position: str, session: int) -> SessionImage:
        """Return the images of a session.

        Raises
        ------
        StudyError
            If there is no such session.
        """
        if not self.has_session(position, session):
            have = ", ".join(f"{p} session {s}" for p, s in sessions.listed(self.path)[:8]) or "none"
            raise StudyError(f"The study '{self.path}' has no session {session} of '{position}'. It has: {have}.")
        return SessionImage(self._image_folder(position, session))

    def remove_session(self, position: str, session: int) -> None:
        """Take a session out of the study and delete its images, labels and own rows, finished or not.

        Tables of a whole position or study that were computed from it stay until the recipe is run again.
        """
        self._check_writable()
        with self.write_lock():
            # First, so that results of these images never count as those of other images under the same number.
            tables.drop_session(self.path, position, check_session(session))
            sessions.remove(self.path, self.path / IMAGES, self.name, position, check_session(session))

    def move_sessions(self, position: str, moves: Sequence[tuple[int, int, float | None]]) -> None:
        """Give sessions of a position other numbers, or other starts, one after the other.

        The moves are written down first: what a kill leaves undone is done when the study is next written to. A moved
        session loses its own results, as they speak of its old number and times.

        Parameters
        ----------
        position : str
        moves : sequence of (old number, new number, start in hours or None to leave it)
            A new number must be free when its turn comes.
        """
        self._check_writable()
        with self.write_lock():
            self._update(
                moves=[
                    {"position": position, "old": check_session(old), "new": check_session(new), "start_h": start_h}
                    for old, new, start_h in moves
                ]
            )
            self._finish_moves()

    def _finish_moves(self) -> None:
        while moves := self._document().get("moves"):
            move_session(self.path, self.path / IMAGES, self.name, moves[0])
            self._update(moves=moves[1:])

    def discard_results(self, position: str, session: int, names: Sequence[str]) -> None:
        """Delete a session's own rows of some tables, of whatever key: the next run computes them again."""
        self._check_writable()
        with self.write_lock():
            tables.drop_session(self.path, position, check_session(session), names)

    def set_flags(self, position: str, session: int, flags: Sequence[str]) -> None:
        """Replace the quality flags of a session's frames, one string per frame."""
        self._check_writable()
        with self.write_lock():
            sessions.set_flags(self.path, position, session, flags)

    def _image_folder(self, position: str, session: int) -> Path:
        return self.path / IMAGES / image_path(position, check_session(session))

    def share_lock(self, number: int, of: int) -> ShareLock:
        """Return the right to compute a share of the study's units, a context manager; see `lock.ShareLock`."""
        self._check_writable()
        return ShareLock(self.path, number, of)

    # --- labels

    def has_labels(self, name: str, key: str, position: str, session: int) -> bool:
        """Whether labels of that name and key were begun for the session."""
        return labels.has_labels(self._image_folder(position, session), name, key)

    def labels(self, name: str, key: str, position: str, session: int) -> SessionLabels:
        """Return the labels of a session.

        Raises
        ------
        PathMissingError
            If there are none.
        """
        return SessionLabels(labels.labels_folder(self._image_folder(position, session), name, key))

    def label_names(self, key: str, position: str, session: int) -> list[str]:
        """Return the names of the session's label images of a key."""
        return labels.names_of_key(self._image_folder(position, session), key)

    def write_labels(self, name: str, key: str, position: str, session: int, t: int, array: npt.ArrayLike) -> None:
        """Write the labels of a frame, (Z, Y, X) or (Y, X) integers, as one atomic file."""
        self._check_writable()
        labels.write_labels(self.image(position, session), name, key, t, array)

    def share_labels(self, name: str, source: str, key: str, position: str, session: int, t: int) -> None:
        """Let a frame's labels of the key `source` be those of `key`, too: one file under two names."""
        self._check_writable()
        labels.share_labels(self.image(position, session), name, source, key, t)

    # --- tables

    def commit(
        self,
        table: str,
        key: str,
        unit: Mapping[str, Any],
        rows: pd.DataFrame,
        *,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Store a unit's rows and thereby declare the unit done; a second commit replaces the first.

        Parameters
        ----------
        table : str
            Name; the columns of a table of `napari_marrow.schemas` are checked.
        key : str
            Key of the step that made it.
        unit : mapping
            Any of ``position``, ``session``, ``t``; empty for the whole study.
        rows : DataFrame
        extra : mapping, optional
            Further facts for the commit record (JSON).
        """
        self._check_writable()
        tables.commit(self.path, table, key, unit, rows, extra)

    def committed(self, table: str, key: str) -> list[dict[str, Any]]:
        """Return the units of a table and key that are done."""
        return tables.committed(self.path, table, key)

    def is_committed(self, table: str, key: str, unit: Mapping[str, Any]) -> bool:
        """Whether a unit is done."""
        return (tables.table_folder(self.path, table, key) / part_path(unit)).is_file()

    def has_record(self, table: str, key: str, unit: Mapping[str, Any]) -> bool:
        """Whether a unit is done and its record can be read."""
        return tables.read_record(self.part_file(table, key, unit)) is not None

    def commit_record(self, table: str, key: str, unit: Mapping[str, Any]) -> dict[str, Any]:
        """Return the commit record of a unit: table, key, unit, rows, extra, crc32c."""
        return tables.read_part(tables.table_folder(self.path, table, key) / part_path(unit))[1]

    def table(self, table: str, key: str | None = None, *, unit: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return a table: the rows of all units, ordered by position, session and frame.

        Parameters
        ----------
        table : str
        key : str, optional
            By default the table's active key.
        unit : mapping, optional
            Only the parts of this position, session or frame.

        Raises
        ------
        StudyError
            If the table is not there.
        CorruptDataError
            If a part is damaged.
        """
        if table == "frames":
            return self.frames(unit)
        if key is None:
            key = self.active_tables.get(table)
        if key is None:
            raise StudyError(f"The study '{self.path}' holds no table '{table}' yet: run `marrow run` on it.")
        return self._without_excluded(tables.read(self.path, table, key, unit))

    def has_table(self, table: str, key: str | None = None) -> bool:
        """Whether a table has any rows' file under the key (by default its active key)."""
        if table == "frames":
            return bool(self.positions)
        key = self.active_tables.get(table) if key is None else key
        return key is not None and bool(tables.parts(self.path, table, key))

    # --- keeping it safe

    def verify(self, progress: Progress = no_progress, cancel: CancelToken | None = None) -> list[Problem]:
        """Read every file again and return what is damaged, missing or does not belong; see `verify.verify`."""
        from napari_marrow.study.verify import verify

        if remote.is_remote(self.path):
            raise SettingsError(f"'{self.path}' is verified where its files are: run `marrow verify` on that machine.")
        return verify(self, progress=progress, cancel=cancel)

    def discard(
        self, problem: Problem, *, commits: Sequence[str], with_it: Sequence[str] = ()
    ) -> list[Mapping[str, Any]]:
        """Take a damaged or lost result out, so that it is computed again; see `cleaning.discard`."""
        from napari_marrow.study import cleaning

        self._check_writable()
        with self.write_lock():
            return cleaning.discard(self, problem, commits=commits, with_it=with_it)

    def unused_results(self) -> list[UnusedResult]:
        """Return the results that no active step or table refers to, see `cleaning.unused_results`."""
        from napari_marrow.study import cleaning

        return cleaning.unused_results(self)

    def remove_results(self, results: Sequence[UnusedResult], *, first: Sequence[str] = ()) -> int:
        """Delete results and return the bytes that were freed, see `cleaning.remove_results`."""
        from napari_marrow.study import cleaning

        self._check_writable()
        with self.write_lock():
            return cleaning.remove_results(self, results, first=first)

    def has_leftovers(self) -> bool:
        """Whether an interrupted removal has left files; `remove_results` of nothing deletes them."""
        from napari_marrow.study import cleaning

        return (self.path / cleaning.REMOVED).is_dir()

    def units_with_part(self, table: str, key: str) -> list[dict[str, Any]]:
        """Return the units of a table and key by the names of their parts, without a look into them."""
        return [unit for _, unit in tables.parts(self.path, table, key)]

    def part_file(self, table: str, key: str, unit: Mapping[str, Any]) -> Path:
        """Return where the part of a unit is, or would be."""
        return tables.table_folder(self.path, table, key) / part_path(unit)

    def label_file(self, name: str, key: str, position: str, session: int, t: int) -> Path:
        """Return where the full resolution of a frame's labels is, or would be."""
        folder = labels.labels_folder(self._image_folder(position, session), name, key)
        return known_shard_file(folder / "0", t)

    def keys_of_table(self, table: str) -> list[str]:
        """Return the keys that a table exists under, active or not."""
        return tables.keys(self.path, table)

    def summary(self) -> dict[str, Any]:
        """Return what the study holds, as plain values for display."""
        return journal.summary(self)


def _reopen(path: Path, mode: Literal["r", "a"]) -> Study:
    return Study.open(path, mode=mode)

"""The sessions of a study and their images: added, listed, left out, moved and taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from napari_marrow.errors import PathExistsError, StudyError
from napari_marrow.study import remote, sessions, tables
from napari_marrow.study.channel import Channel
from napari_marrow.study.lock import ShareLock
from napari_marrow.study.naming import check_session, image_path
from napari_marrow.study.record import StudyRecord, as_utc
from napari_marrow.study.renumbering import move_session
from napari_marrow.study.session_image import SessionImage
from napari_marrow.study.session_writer import SessionWriter

if TYPE_CHECKING:
    import pandas as pd

IMAGES = "images.ome.zarr"


class StudyImages(StudyRecord):
    """A study's layout, sessions and images; the base of `StudyResults`, which adds labels and tables."""

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

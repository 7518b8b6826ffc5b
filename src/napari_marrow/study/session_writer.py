"""Writing the images of one session of one position, frame by frame, resumable."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import CorruptDataError, SettingsError, StudyError
from napari_marrow.study import ome
from napari_marrow.study.channel import Channel
from napari_marrow.study.durable import ZARR, checksum, read_document, write_document
from napari_marrow.study.labels import step_hours
from napari_marrow.study.pyramid import halve_mean, level_shape, n_levels

if TYPE_CHECKING:
    from napari_marrow.study.arrays import TimeShards

PIXEL_TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32")
MAX_FRAMES = 10_000_000
MAX_FRAME_BYTES = 64 << 30


@dataclass(frozen=True)
class SessionPlan:
    """Everything that is known of a session before its first frame is written; see `Study.add_session`."""

    position: str
    session: int
    name: str
    channels: tuple[Channel, ...]
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int, int, int]
    dtype: str
    start_h: float
    time_s: tuple[float, ...]
    utc: tuple[str, ...]
    stage: tuple[tuple[float, float, float], ...]
    source_file: str
    source_indices: tuple[int, ...]
    flags: tuple[str, ...]
    source_digest: str = ""

    def check(self) -> None:
        """Refuse what cannot be, before any memory or disk is taken.

        Raises
        ------
        SettingsError
            If the shape, the spacing, the times or a list's length are impossible.
        """
        where = f"{self.position} session {self.session}"
        if min(self.shape) < 1:
            raise SettingsError(f"{where} would have the shape {self.shape}: every axis needs at least one element.")
        if self.dtype not in PIXEL_TYPES:
            raise SettingsError(f"{where} has pixels of type {self.dtype}: a study keeps {', '.join(PIXEL_TYPES)}.")
        frame_bytes = math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize
        if self.shape[0] > MAX_FRAMES or frame_bytes > MAX_FRAME_BYTES:
            raise SettingsError(
                f"{where} would have the shape {self.shape} ({frame_bytes / 2**30:.3g} GiB a frame): at most "
                f"{MAX_FRAMES} frames of {MAX_FRAME_BYTES >> 30} GiB are possible."
            )
        if len(self.channels) != self.shape[1]:
            raise SettingsError(f"{where} has {self.shape[1]} channels, but {len(self.channels)} names were given.")
        if not all(math.isfinite(s) and s > 0 for s in self.spacing):
            raise SettingsError(f"{where} has the pixel size {self.spacing} µm: it must be positive.")
        if not math.isfinite(self.start_h):
            raise SettingsError(f"{where} starts at {self.start_h} h: give a finite time.")
        for what in ("time_s", "utc", "stage", "source_indices", "flags"):
            if len(getattr(self, what)) != self.shape[0]:
                raise SettingsError(f"{where} has {self.shape[0]} frames, but {len(getattr(self, what))} {what}.")
        times = np.asarray(self.time_s)
        if not np.isfinite(times).all() or (np.diff(times) < 0).any():
            raise SettingsError(f"{where} has frame times that are not finite or go backwards.")

    def digest(self) -> str:
        """Return a checksum of the plan: a session is only resumed with the plan that it was begun with."""
        return checksum(json.dumps(asdict(self), sort_keys=True).encode())


class SessionWriter:
    """Writes the frames of a session; made by `Study.add_session`, best used in a ``with`` block.

    Each frame is on the disk when `write` returns. The session becomes part of the study when the block ends without
    an error. After an error or a kill the finished frames stay, invisible; adding the same session again goes on where
    it stopped (`missing` lists what is left), adding another in its place starts anew, `abort` removes them.

    Attributes
    ----------
    missing : list of int
    extra : dict
        Further facts that the session's commit record will hold, such as ``source_sha256``; plain JSON values.

    Parameters
    ----------
    path : Path
        Folder of the image.
    plan : SessionPlan
    publish : callable
        Makes the finished session visible.
    release : callable
        Gives the study's lock back.
    withdraw : callable
        Removes the session again.
    """

    def __init__(
        self,
        path: Path,
        plan: SessionPlan,
        *,
        publish: Callable[[SessionPlan, dict[str, Any]], None],
        withdraw: Callable[[SessionPlan], None],
        release: Callable[[], None],
    ) -> None:
        self.path, self.plan = path, plan
        self.extra: dict[str, Any] = {}
        self._publish, self._withdraw, self._release = publish, withdraw, release
        self._open = True
        self.levels = n_levels(plan.shape[3], plan.shape[4])
        if not self._resumes():
            shutil.rmtree(path, ignore_errors=True)
            self._create()
        from napari_marrow.study.arrays import TimeShards

        self._arrays: list[TimeShards] = [TimeShards(path / str(level)) for level in range(self.levels)]

    @property
    def missing(self) -> list[int]:
        """Frames that still have to be written."""
        return [t for t in range(self.plan.shape[0]) if not self._arrays[0].has(t)]

    def write(self, t: int, frame: npt.NDArray[Any]) -> None:
        """Write a frame; it is on the disk when this returns.

        Parameters
        ----------
        t : int
            Frame number; any order.
        frame : ndarray, shape (C, Z, Y, X)
            Of the session's pixel type.

        Raises
        ------
        SettingsError
            If the shape or type differs from the session's.
        StorageError
            If the disk is full; the frames before it stand.
        """
        if not self._open:
            raise StudyError(f"{self.plan.position} session {self.plan.session} is closed: open it again to write.")
        if not 0 <= t < self.plan.shape[0]:
            raise SettingsError(f"There is no frame {t}: the session was planned with {self.plan.shape[0]}.")
        frame = np.asarray(frame)
        if frame.shape != self.plan.shape[1:] or frame.dtype != np.dtype(self.plan.dtype):
            raise SettingsError(
                f"Frame {t} is {frame.dtype} of shape {frame.shape}: the session was planned as {self.plan.dtype} of "
                f"shape {self.plan.shape[1:]}."
            )
        if frame.dtype.kind == "f" and not np.isfinite(frame).all():
            raise SettingsError(f"Frame {t} of {self.plan.position} holds values that are not finite (NaN or inf).")
        levels = [frame]
        for _ in range(1, self.levels):
            levels.append(halve_mean(levels[-1]))
        # The full resolution comes last: it says that the frame is complete.
        for level in reversed(range(self.levels)):
            self._arrays[level].write(t, levels[level])

    def close(self) -> None:
        """Make the session part of the study.

        Raises
        ------
        StudyError
            If frames are missing.
        """
        if not self._open:
            return
        try:
            missing = self.missing
            if missing:
                raise StudyError(
                    f"{self.plan.position} session {self.plan.session} lacks {len(missing)} of {self.plan.shape[0]} "
                    f"frames (first: {missing[0]}): write them, or abort."
                )
            self._publish(self.plan, self.extra)
        finally:
            self._end()

    def abort(self) -> None:
        """Remove everything that was written: the study is as if the session had never been begun."""
        self._open = False
        try:
            self._withdraw(self.plan)
        finally:
            self._end()

    def leave(self) -> None:
        """Stop without making the session visible; the frames stay for another time."""
        self._end()

    def _end(self) -> None:
        self._open = False
        release, self._release = self._release, lambda: None
        release()

    def __enter__(self) -> SessionWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.leave()

    def _resumes(self) -> bool:
        try:
            document = read_document(self.path / "zarr.json", where=ZARR)
        except CorruptDataError:
            return False
        attributes = document["attributes"]
        levels = len(attributes["ome"]["multiscales"][0]["datasets"])
        return bool(attributes["marrow"].get("plan") == self.plan.digest() and levels == self.levels)

    def _create(self) -> None:
        from napari_marrow.study.arrays import create_image_array

        plan = self.plan
        for level in range(self.levels):
            plane = level_shape(plan.shape[3], plan.shape[4], level)
            create_image_array(self.path / str(level), (*plan.shape[:3], *plane), plan.dtype)
        kind = np.dtype(plan.dtype)
        largest = float(np.iinfo(kind).max) if kind.kind in "iu" else 1.0
        attributes = {
            "multiscales": [
                ome.multiscales(
                    name=plan.name,
                    spacing=plan.spacing,
                    levels=self.levels,
                    step_h=step_hours(np.asarray(plan.time_s)),
                    start_h=plan.start_h,
                    centred=True,
                )
            ],
            "omero": ome.omero([(c.name, c.color) for c in plan.channels], largest=largest),
        }
        write_document(self.path / "zarr.json", ome.group(attributes, self._marrow()), where=ZARR)

    def _marrow(self) -> dict[str, Any]:
        plan = self.plan
        stage: Sequence[float] | None = plan.stage[0] if all(map(math.isfinite, plan.stage[0])) else None
        return {
            "position": plan.position,
            "session": plan.session,
            "name": plan.name,
            "channels": [c.to_dict() for c in plan.channels],
            "shape": list(plan.shape),
            "dtype": plan.dtype,
            "spacing_um": list(plan.spacing),
            "start_h": plan.start_h,
            "time_s": list(plan.time_s),
            "stage_um": stage,
            "source_file": plan.source_file,
            "source_digest": plan.source_digest,
            "plan": plan.digest(),
        }

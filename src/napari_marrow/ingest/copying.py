"""Copying planned sessions: one thread reads, several compress and write, another takes checksums of the sources."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_marrow.errors import InputFileError
from napari_marrow.ingest.checksum import SourceChecksums
from napari_marrow.ingest.opening import open_source
from napari_marrow.ingest.plan import PlannedSession
from napari_marrow.study import Study
from napari_marrow.study.session_writer import SessionWriter

FrameObserver = Callable[[PlannedSession, int, npt.NDArray[Any]], None]
"""Sees each frame while it is in memory."""


@dataclass
class _Begun:
    """A session whose frames are being written."""

    plan: PlannedSession
    writer: SessionWriter
    sha256: Future[str]
    pending: set[Future[None]] = field(default_factory=set)


def copy_sessions(
    study: Study, plans: Sequence[PlannedSession], *, workers: int, observe: FrameObserver | None = None
) -> Generator[PlannedSession, None, None]:
    """Copy sessions into a study, and yield a session's plan after each of its frames.

    Frames that an earlier, interrupted import has written are counted and not written again. At most `workers` + 1
    frames are in memory. When the iterator is closed or fails, what is being written is finished, and sessions that
    are not complete stay invisible.

    Parameters
    ----------
    study : Study
        Open for writing; the caller holds its lock.
    plans : sequence of PlannedSession
    workers : int
        Threads that compress and write.
    observe : callable, optional
        Called as ``observe(plan, t, frame)`` with each frame (C, Z, Y, X) that is written, in one of those threads and
        in no certain order.

    Raises
    ------
    InputFileError
        If a frame cannot be read or holds no finite number.
    StorageError
        If the disk is full.
    """
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers, thread_name_prefix="marrow-import"))
        sums = stack.enter_context(SourceChecksums())
        begun: deque[_Begun] = deque()
        stack.callback(_leave, begun)
        for plan in plans:
            session = _Begun(plan, _writer(study, plan), sums.of(plan.source, plan.files))
            begun.append(session)
            for _ in _read(session, begun, pool, workers, observe):
                yield plan
            while begun and not begun[0].pending:
                _close(begun)
        while begun:
            _wait_for_room([begun[0]], 0)
            _close(begun)


def _writer(study: Study, plan: PlannedSession) -> SessionWriter:
    return study.add_session(
        plan.position,
        plan.session,
        channels=list(plan.channels),
        spacing=plan.spacing,
        shape=plan.shape,
        dtype=plan.dtype,
        start_h=plan.start_h,
        time_s=plan.time_s,
        utc=plan.utc or None,
        stage=plan.stage,
        source_file=plan.source.name,
        source_digest=plan.digest,
    )


def _read(
    session: _Begun, begun: deque[_Begun], pool: ThreadPoolExecutor, workers: int, observe: FrameObserver | None
) -> Iterator[None]:
    """Read the frames that are missing, hand them to the pool, and yield for every frame."""
    plan, missing = session.plan, set(session.writer.missing)
    with open_source(plan.source, plan.pattern) as reader:
        for t in range(plan.shape[0]):
            if t in missing:
                _wait_for_room(begun, workers - 1)
                frame = stored_frame(reader.read(plan.image, t, plan.axes), plan, t)
                session.pending.add(pool.submit(_store, session, t, frame, observe))
            yield


def _store(session: _Begun, t: int, frame: npt.NDArray[Any], observe: FrameObserver | None) -> None:
    session.writer.write(t, frame)
    if observe is not None:
        observe(session.plan, t, frame)


def _wait_for_room(begun: Iterable[_Begun], most: int) -> None:
    """Wait until no more than `most` frames of all sessions are being written, raising what went wrong there."""
    while True:
        for session in begun:
            for future in [f for f in session.pending if f.done()]:
                session.pending.discard(future)
                future.result()
        pending = [f for session in begun for f in session.pending]
        if len(pending) <= most:
            return
        wait(pending, return_when=FIRST_COMPLETED)


def _close(begun: deque[_Begun]) -> None:
    """Make the first session that was begun a part of the study."""
    session = begun[0]
    session.writer.extra["source_sha256"] = session.sha256.result()
    session.writer.close()
    begun.popleft()


def _leave(begun: deque[_Begun]) -> None:
    for session in begun:
        wait(session.pending)
        session.writer.leave()


def stored_frame(frame: npt.NDArray[Any], plan: PlannedSession, t: int) -> npt.NDArray[Any]:
    """Return a frame in the study's pixel type.

    Raises
    ------
    InputFileError
        If it holds values that are not finite, or too large for 32-bit floats.
    """
    if frame.dtype.kind == "f" and not np.isfinite(frame).all():
        what = "only NaN" if np.isnan(frame).all() else "NaN or infinite values"
        raise InputFileError(
            f"'{plan.source.name}' holds {what} in frame {t}: replace them by numbers, or leave the frame out."
        )
    with np.errstate(over="ignore"):
        stored = frame.astype(plan.dtype, copy=False)
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise InputFileError(f"'{plan.source.name}' holds values in frame {t} that are too large for 32-bit floats.")
    return stored


def bytes_of(plan: PlannedSession) -> int:
    """Return the size of a session's pixels."""
    return math.prod(plan.shape) * np.dtype(plan.dtype).itemsize

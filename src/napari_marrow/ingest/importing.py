"""Copying planned sessions into a study, a frame at a time; a failed import leaves the study as it was."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_marrow.errors import Cancelled
from napari_marrow.ingest.copying import FrameObserver, bytes_of, copy_sessions
from napari_marrow.ingest.layout import read_layout
from napari_marrow.ingest.plan import PlannedSession, as_given
from napari_marrow.ingest.planning import plan_sessions, require_all
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.study import Study

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ImportSummary:
    """What an import did.

    Attributes
    ----------
    study : Path
    sessions : tuple of PlannedSession
        Every session that was asked for; those with ``present`` were there before.
    frames : int
        Frames that were written.
    bytes : int
        Their size in memory.
    seconds : float
    """

    study: Path
    sessions: tuple[PlannedSession, ...]
    frames: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        new = [s for s in self.sessions if not s.present]
        lines = [str(s) for s in self.sessions]
        lines.append(
            f"Imported {len(new)} {'session' if len(new) == 1 else 'sessions'} with {self.frames} frames "
            f"({self.bytes / 1e6:.1f} MB) into '{self.study}' in {self.seconds:.1f} s."
        )
        return "\n".join(lines)


def preview(
    study_path: str | Path,
    sources: Sequence[str | Path],
    *,
    layout: str | Path | None = None,
    session: int | None = None,
    pixel_size: float | tuple[float, ...] | None = None,
    frame_interval_h: float | None = None,
    start_h: float | Literal["auto"] | None = None,
    axes: str | None = None,
    channel_names: Sequence[str] | None = None,
    position: str | None = None,
    name: str | None = None,
    pattern: str | None = None,
) -> list[PlannedSession]:
    """Return what `import_files` with the same arguments would make, and write nothing.

    What has to be given before that can be done stands in each session's `missing`.
    """
    study = Study.open(study_path) if Path(study_path).exists() else None
    given = as_given(
        session=session, pixel_size=pixel_size, frame_interval_h=frame_interval_h, start_h=start_h, axes=axes,
        channel_names=channel_names, position=position, name=name, pattern=pattern,
    )  # fmt: skip
    planned, _ = plan_sessions([Path(s) for s in sources], given, study)
    if layout is not None:
        read_layout(Path(layout), [p.position for p in planned])
    return planned


def import_files(
    study_path: str | Path,
    sources: Sequence[str | Path],
    *,
    layout: str | Path | None = None,
    session: int | None = None,
    pixel_size: float | tuple[float, ...] | None = None,
    frame_interval_h: float | None = None,
    start_h: float | Literal["auto"] | None = None,
    axes: str | None = None,
    channel_names: Sequence[str] | None = None,
    position: str | None = None,
    name: str | None = None,
    pattern: str | None = None,
    workers: int | None = None,
    observe: FrameObserver | None = None,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> ImportSummary:
    """Import images into a study, which is made if there is none.

    Everything is checked before anything is written. If a file then turns out to be unreadable, or the disk is full,
    every session that this call added is taken out again, and a study that it made is removed. A cancelled or
    killed import keeps its finished frames; the same call goes on with them.

    Parameters
    ----------
    study_path : path-like
    sources : sequence of path-like
        TIFF, OME-TIFF, OME-Zarr 0.4 or 0.5, ND2, CZI or LIF, folders of such, or folders of a TIFF series.
    layout : path-like, optional
        CSV of wells, see `read_layout`.
    session : int, optional
        Session number; by default from names such as ``B02_f00_session01.ome.tif``, else the next of the position.
    pixel_size : float or (y, x) or (z, y, x), optional
        µm; goes before the file's.
    frame_interval_h : float, optional
        Hours between frames; goes before the file's times.
    start_h : float or "auto", optional
        Hours from the study's t0 to the first frame. By default from the files' dates; the first session of a study
        without any date defines t0.
    axes : str, optional
        Meaning of the axes, such as ``"TCYX"``.
    channel_names : sequence of str, optional
    position : str, optional
        By default from the file's name or plate metadata, else ``A01_f00``.
    name : str, optional
        Name of a new study.
    pattern : str, optional
        How the files of a TIFF series are named, see `SeriesReader`; the exports of common high-content systems are
        recognised without.
    workers : int, optional
        Threads that compress and write; by default as many as there are usable cores, at most eight.
    observe : callable, optional
        Called as ``observe(plan, t, frame)`` with each frame that is written, while it is in memory; from several
        threads, in no certain order.
    progress, cancel : optional

    Returns
    -------
    ImportSummary

    Raises
    ------
    MissingMetadataError
        If a physical fact is neither in a file nor given; the sentence names the option.
    InputFileError
        If a file cannot be imported.
    PathExistsError
        If the session exists from another file.
    StudyLockedError, StorageError, TableError, SettingsError, Cancelled
    """
    begin = time.perf_counter()
    given = as_given(
        session=session, pixel_size=pixel_size, frame_interval_h=frame_interval_h, start_h=start_h, axes=axes,
        channel_names=channel_names, position=position, name=name, pattern=pattern,
    )  # fmt: skip
    path = Path(study_path).absolute()
    created = not path.exists()
    study = None if created else Study.open(path, mode="a")
    planned, t0 = plan_sessions([Path(s) for s in sources], given, study)
    require_all(planned)
    known = [p.position for p in planned] + ([p for p, _ in study.stored_sessions()] if study is not None else [])
    table = None if layout is None else read_layout(Path(layout), known)
    if study is None:
        study = Study.create(path, name=given.name, t0=t0)
    try:
        frames, size = _import_all(
            study, planned, None if created else t0, table, workers or default_workers(), observe, progress, cancel
        )
    except (Cancelled, KeyboardInterrupt):
        raise
    except BaseException:
        if created:
            shutil.rmtree(path, ignore_errors=True)
        raise
    return ImportSummary(path, tuple(planned), frames, size, time.perf_counter() - begin)


def _import_all(
    study: Study,
    planned: list[PlannedSession],
    t0: str | None,
    layout: pd.DataFrame | None,
    workers: int,
    observe: FrameObserver | None,
    progress: Progress,
    cancel: CancelToken | None,
) -> tuple[int, int]:
    new = [p for p in planned if not p.present]
    total, done = sum(p.shape[0] for p in new), 0
    with study.write_lock():
        before = study.t0
        try:
            if t0 is not None and study.t0 is None:
                study.set_t0(t0)
            with closing(copy_sessions(study, new, workers=workers, observe=observe)) as copied:
                for plan in copied:
                    done += 1
                    progress(done, total, f"import {plan.position} session {plan.session}")
                    if cancel is not None:
                        cancel.raise_if_cancelled()
            if layout is not None:
                study.set_layout(_merged(study, layout))
        except (Cancelled, KeyboardInterrupt):
            raise
        except BaseException:
            for plan in new:
                study.remove_session(plan.position, plan.session)
            if study.t0 != before:
                study.set_t0(before)
            raise
    return done, sum(bytes_of(p) for p in new)


def default_workers() -> int:
    """Return the number of threads that compress and write by default: the usable cores, at most eight."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Windows and macOS
        cores = os.cpu_count() or 1
    return max(1, min(8, cores))


def _merged(study: Study, layout: pd.DataFrame) -> pd.DataFrame:
    """Return the study's stored layout with the rows of a new one in place of its own."""
    import pandas as pd

    old = study.layout
    kept = old[~old["position"].isin(set(layout["position"]))]
    return layout if kept.empty else pd.concat([kept, layout], ignore_index=True)

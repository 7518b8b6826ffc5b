"""The work of ``marrow segment``: frames of many files side by side, labels written in the files' order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import InputFileError, SettingsError, StorageError
from napari_marrow.ingest.placing import fingerprint
from napari_marrow.pipeline.image_files import ImageFile
from napari_marrow.pipeline.label_folder import COLUMNS, LabelFolder, label_name, write_atomically
from napari_marrow.pipeline.label_writing import label_axes, repair_table, write_label_file, write_strips
from napari_marrow.pipeline.overlays import add_overlay, overlay_path, write_overlay
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.segmentation import Segmenter
from napari_marrow.segmentation.dynamics import LARGE_PLANE
from napari_marrow.segmentation.temporal_repair import Repair, repair_sequence

MOST_16_BIT = 65_535


@dataclass(frozen=True)
class SegmentFilesSettings:
    """What decides the labels; written beside them, so that a later run with other settings does not mix."""

    model: str
    model_sha256: str
    diameter: float | None
    channel: int | str | None
    second_channel: int | str | None
    axes: str | None
    precision: str
    flow_threshold: float
    cellprob_threshold: float
    min_size: int
    volume_mode: str
    anisotropy: float
    flow_smoothing: float
    repair: bool


@dataclass(frozen=True)
class _Found:
    """What a frame gave."""

    labels: npt.NDArray[np.int32]
    probability: npt.NDArray[np.float16] | None
    diameter: float
    seconds: float


@dataclass
class FileToSegment:
    """A file being worked on."""

    image: ImageFile
    second: ImageFile | None = None
    diameter: float | None = None
    diameters: list[float] = field(default_factory=list)
    cells: int = 0
    seconds: float = 0.0
    repairs: list[Repair] = field(default_factory=list)
    shown: npt.NDArray[np.int32] | None = None

    @property
    def large(self) -> bool:
        """Whether it is one plane whose labels are written as they come."""
        shape = self.image.frame_shape
        return self.image.n_frames == 1 and len(shape) == 2 and shape[0] * shape[1] > LARGE_PLANE


class _TooManyLabelsError(Exception):
    """A frame has more labels than 16 bits can number."""


class LinkedCancelToken(CancelToken):
    """Is cancelled by the caller's token, or by an error in one of the frames without touching that token."""

    def __init__(self, outer: CancelToken | None) -> None:
        super().__init__()
        self._outer = outer

    @property
    def cancelled(self) -> bool:
        """Whether either was cancelled."""
        return super().cancelled or (self._outer is not None and self._outer.cancelled)

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if either was cancelled."""
        if self._outer is not None:
            self._outer.raise_if_cancelled()
        super().raise_if_cancelled()


@dataclass
class SegmentationRun:
    """One call of `segment_files`: the network, the settings, and what stops it."""

    segmenter: Segmenter
    settings: SegmentFilesSettings
    workers: int
    progress: Progress
    cancel: CancelToken
    overlays: bool
    alone: bool = False

    def segment(self, jobs: list[FileToSegment], folder: LabelFolder, done: set[str]) -> pd.DataFrame:
        """Segment what is not done yet and return the rows of all files."""
        total = sum(job.image.n_frames for job in jobs)
        self.alone = total == 1
        todo = [job for job in jobs if job.image.path.name not in done]
        if self.overlays:  # asked for only now, when the labels are there already
            for job in jobs:
                if job.image.path.name in done:
                    add_overlay(job.image, folder.path / label_name(job.image.path))
        finished = total - sum(job.image.n_frames for job in todo)
        written = time.monotonic()
        with ThreadPoolExecutor(self.workers) as pool:
            frames = self._frames(pool, todo)
            try:
                for job in todo:
                    target = folder.path / label_name(job.image.path)
                    if job.large:
                        finished = self._write_large(job, target, finished, total)
                    else:
                        finished = self._write(job, target, frames, finished, total)
                    folder.rows[job.image.path.name] = _row(job)
                    if time.monotonic() - written > 2:
                        folder.write_counts()
                        written = time.monotonic()
            except BaseException:
                self.cancel.cancel()  # also on Ctrl-C: the other frames stop at their next tile
                frames.close()
                if folder.rows:
                    with suppress(StorageError):  # the first error says more
                        folder.write_counts()
                raise
        folder.write_counts()
        return pd.DataFrame([folder.rows[job.image.path.name] for job in jobs], columns=list(COLUMNS))

    def _frames(
        self, pool: ThreadPoolExecutor, jobs: list[FileToSegment]
    ) -> Generator[npt.NDArray[np.int32], None, None]:
        """Yield the labels of all frames of all files in order, a few frames ahead of the writer."""
        results = self._results(pool, jobs)
        for job in (job for job in jobs if not job.large):
            yield from self._mended(job, islice(results, job.image.n_frames))

    def _results(self, pool: ThreadPoolExecutor, jobs: list[FileToSegment]) -> Iterator[_Found]:
        waiting: deque[Future[_Found]] = deque()
        for job, t, diameter in self._tasks(jobs):
            waiting.append(pool.submit(self._frame, job, t, diameter))
            # Frames of millions of pixels are made one by one: their labels alone take much memory.
            ahead = 2 * self.workers if np.prod(job.image.frame_shape, dtype=float) <= LARGE_PLANE else 0
            while len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _mended(self, job: FileToSegment, results: Iterable[_Found]) -> Iterator[npt.NDArray[np.int32]]:
        """Yield the labels of a file's frames and take note of them."""

        def noted() -> Iterator[tuple[npt.NDArray[np.int32], npt.NDArray[np.floating]]]:
            for found in results:
                job.diameters.append(found.diameter)
                job.seconds += found.seconds
                yield found.labels, cast("npt.NDArray[np.floating]", found.probability)

        frames = repair_sequence(noted()) if self._repairs(job) else ((labels, []) for labels, _ in noted())
        for t, (labels, repairs) in enumerate(frames):
            job.repairs += repairs
            job.cells += int(labels.max(initial=0))
            if self.overlays and t == job.image.n_frames // 2:
                job.shown = labels
            yield labels

    def _repairs(self, job: FileToSegment) -> bool:
        return self.settings.repair and job.image.n_frames > 2

    def _tasks(self, jobs: list[FileToSegment]) -> Iterator[tuple[FileToSegment, int, float | None]]:
        for job in (job for job in jobs if not job.large):
            job.diameter, n = self.settings.diameter, job.image.n_frames
            if job.diameter is None and n > 1 and self.segmenter.needs_diameter:
                probes = sorted({0, n // 2, n - 1})
                # One diameter for the whole series: a cell must not change its outline because a neighbour divided.
                job.diameter = float(np.median([self._estimate(job, t) for t in probes]))
            for t in range(n):
                yield job, t, job.diameter

    def _estimate(self, job: FileToSegment, t: int) -> float:
        with _named(job.image, t):
            return self.segmenter.estimate_diameter(job.image.frame(t), second=_second(job, t))

    def _frame(self, job: FileToSegment, t: int, diameter: float | None) -> _Found:
        started = time.perf_counter()
        self.cancel.raise_if_cancelled()
        with _named(job.image, t):
            found = self.segmenter.segment(
                job.image.frame(t),
                second=_second(job, t),
                diameter=diameter,
                flow_threshold=self.settings.flow_threshold,
                cellprob_threshold=self.settings.cellprob_threshold,
                min_size=self.settings.min_size,
                return_probability=self._repairs(job),
                spacing=(self.settings.anisotropy, 1, 1) if len(job.image.frame_shape) == 3 else None,
                volume_mode=self.settings.volume_mode,
                flow_smoothing=self.settings.flow_smoothing,
                progress=self._within(job) if self.alone else no_progress,
                cancel=self.cancel,
            )
        probability = None if found.probability is None else found.probability.astype(np.float16)
        return _Found(found.labels, probability, found.diameter, time.perf_counter() - started)

    def _within(self, job: FileToSegment) -> Progress:
        """Return the progress within a single frame."""
        return lambda done, total, message: self.progress(done, total, f"{job.image.path.name}, {message}")

    def _write_large(self, job: FileToSegment, target: Path, finished: int, total: int) -> int:
        """Write the labels of a large plane strip by strip; return the frames finished in all."""
        started = time.perf_counter()
        with _named(job.image, 0):
            found = self.segmenter.segment_in_strips(
                job.image.frame(0),
                second=_second(job, 0),
                diameter=self.settings.diameter,
                flow_threshold=self.settings.flow_threshold,
                cellprob_threshold=self.settings.cellprob_threshold,
                min_size=self.settings.min_size,
                progress=self._within(job) if self.alone else no_progress,
                cancel=self.cancel,
            )
            job.cells = write_strips(target, found.strips, job.image.frame_shape)
        job.diameters.append(found.diameter)
        job.seconds = time.perf_counter() - started
        if self.overlays:
            add_overlay(job.image, target)
        self.progress(finished + 1, total, job.image.path.name)
        return finished + 1

    def _write(
        self, job: FileToSegment, target: Path, frames: Iterator[npt.NDArray[np.int32]], finished: int, total: int
    ) -> int:
        """Write the next file's frames as they come; return the frames finished in all."""
        image = job.image
        held: list[npt.NDArray[np.int32]] = []

        def take(limit: int) -> Iterator[npt.NDArray[np.int32]]:
            nonlocal finished
            for t in range(image.n_frames):
                labels = next(frames)
                finished += 1
                self.progress(finished, total, image.path.name)
                self.cancel.raise_if_cancelled()  # frames ahead may be done already
                if labels.max(initial=0) > limit:
                    held.append(labels)
                    raise _TooManyLabelsError(str(t))
                yield labels

        def beside() -> None:
            self._write_beside(job, target)

        try:
            write_label_file(target, image, np.uint16, take(MOST_16_BIT), beside)
        except _TooManyLabelsError as stop:
            # The frames before are on disk only in 16 bits, and that file was swept: make them again.
            t = int(str(stop))
            again = self._again(job, t)
            rest = take(np.iinfo(np.uint32).max)
            remaining = (next(rest) for _ in range(image.n_frames - t - 1))
            write_label_file(target, image, np.uint32, chain(again, iter(held), remaining), beside)
        return finished

    def _again(self, job: FileToSegment, n: int) -> Iterator[npt.NDArray[np.int32]]:
        """Return the labels of the first n frames once more."""
        found = (self._frame(job, t, job.diameter) for t in range(min(n + 1, job.image.n_frames)))
        copy = FileToSegment(job.image, job.second, job.diameter)
        return islice(self._mended(copy, found), n)

    def _write_beside(self, job: FileToSegment, target: Path) -> None:
        """Write the list of repairs and the picture, where they were asked for."""
        if self._repairs(job):
            table = repair_table(job.repairs, len(job.image.frame_shape))
            write_atomically(target.with_name(f"{target.stem}.repairs.csv"), lambda p: table.to_csv(p, index=False))
        if job.shown is not None:
            write_overlay(overlay_path(target), job.image.frame(job.image.n_frames // 2), job.shown)
            job.shown = None


def _second(job: FileToSegment, t: int) -> npt.NDArray[Any] | None:
    return None if job.second is None else job.second.frame(t)


class _named:  # noqa: N801 - a context manager, read like a function
    """Put the file and frame before the sentence of an `InputFileError` or `SettingsError` raised within."""

    def __init__(self, image: ImageFile, t: int) -> None:
        self.place = image.path.name if image.n_frames == 1 else f"{image.path.name}, frame {t}"

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (InputFileError, SettingsError)) and self.place.split(",")[0] not in str(error):
            raise type(error)(f"{self.place}: {error}") from error


def _row(job: FileToSegment) -> dict[str, Any]:
    axes, shape = label_axes(job.image)
    return {
        "file": job.image.path.name,
        "frames": job.image.n_frames,
        "cells": job.cells,
        "diameter": round(float(np.median(job.diameters)), 2),
        "seconds": round(job.seconds, 3),
        "axes": axes,
        "shape": "x".join(map(str, shape)),
        "source": fingerprint(job.image.path),
    }

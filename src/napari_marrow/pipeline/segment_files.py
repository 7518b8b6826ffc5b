"""Segment plain image files without a study: ``marrow segment IMAGES... --out DIR``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from napari_marrow.errors import SettingsError
from napari_marrow.pipeline.image_files import describe
from napari_marrow.pipeline.image_paths import image_paths
from napari_marrow.pipeline.label_folder import LabelFolder, check_names
from napari_marrow.pipeline.segmentation_run import (
    FileToSegment,
    LinkedCancelToken,
    SegmentationRun,
    SegmentFilesSettings,
)
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.segmentation import Segmenter, load_segmenter
from napari_marrow.segmentation.image_checks import check_volume_mode


def segment_files(
    images: Sequence[str | Path],
    out_dir: str | Path,
    *,
    model: str | Path = "marrow-nuclei",
    diameter: float | None = None,
    channel: int | str | None = None,
    second_channel: int | str | None = None,
    axes: str | None = None,
    device: str = "cpu",
    precision: str = "auto",
    flow_threshold: float = 0.4,
    cellprob_threshold: float = 0.0,
    min_size: int = 15,
    volume_mode: str = "planes",
    anisotropy: float = 1.0,
    flow_smoothing: float = 0.0,
    repair: bool = False,
    overlays: bool = False,
    threads: int | None = None,
    on_loaded: Callable[[Segmenter], None] | None = None,
    progress: Progress = no_progress,
    cancel: CancelToken | None = None,
) -> pd.DataFrame:
    """Write a label TIFF of the same file name for every image, and ``counts.csv``.

    Parameters
    ----------
    images : sequence of paths
        TIFF or OME-TIFF files, PNG, JPEG or BMP pictures, folders of them, or patterns such as ``day*/*.tif``. Time
        series are segmented frame by frame, volumes plane by plane and joined, or by flows in three orientations.
    out_dir : path
        Made if it is not there. Files that an earlier run with the same settings finished are left as they are.
    model, device, precision
        See `load_segmenter`.
    diameter : float or None
        Cell diameter, px. None estimates one per file (a time series: the median of its first, middle and last frame).
    channel : int, str or None
        Number (from 0) or name of the channel; "grey" for the luminance of a colour image.
    second_channel : int, str or None
        The same for the network's second input (whole cells: their nuclei).
    axes : str or None
        Axes of the files where they do not say, e.g. "ZYX". A plain stack is taken for a time series.
    flow_threshold, cellprob_threshold, min_size, volume_mode, flow_smoothing
        See `CPnetSegmenter.segment`.
    anisotropy : float
        Distance of a volume's planes over the pixel size.
    repair : bool
        Mend cells that are missed, merged or split in one frame of a time series by the frames before and after
        (`repair_sequence`); what was mended is listed in ``NAME.repairs.csv``.
    overlays : bool
        Also write a picture of each image with the outlines of its cells (of a series: of its middle frame) into
        ``overlays/``.
    threads : int or None
        None takes what the machine has.
    on_loaded : callable, optional
        Called with the network before any work: it says on which device it runs.
    progress : callable
        Called with frames done, frames in all, and the file's name; for a single frame with its tiles or planes.
    cancel : CancelToken, optional

    Returns
    -------
    DataFrame
        One row per image: `file`, `frames`, `cells` (over all frames), `diameter` (px), `seconds`, `axes` and `shape`
        of the labels, and `source`, by which a later run knows the image again.

    Raises
    ------
    InputFileError, PathMissingError, SettingsError, ModelError
        Found before any work where the file's head tells, else at the frame. Finished files stay, an unfinished one
        leaves nothing.
    PathExistsError
        If the folder holds labels of other settings or images, or a label file would overwrite something.
    StorageError
        If the disk is full. A folder in which nothing was finished is taken away again.
    Cancelled
        If the token was cancelled.
    """
    if not images:
        raise SettingsError("There is no image to segment: give at least one TIFF file.")
    if diameter is not None and not (np.isfinite(diameter) and diameter >= 1):
        raise SettingsError(f"A cell diameter of {diameter:g} px cannot be: give 1 px or more, or leave it out.")
    _check_thresholds(flow_threshold, cellprob_threshold, min_size)
    check_volume_mode(volume_mode, flow_smoothing)
    if not (np.isfinite(anisotropy) and anisotropy > 0):
        raise SettingsError(f"An anisotropy of {anisotropy:g} cannot be: give plane distance / pixel size, such as 2.")
    out, paths = Path(out_dir), image_paths(images)
    check_names(paths, out)
    files = [FileToSegment(describe(path, channel=channel, axes=axes)) for path in paths]
    if second_channel is not None:
        for job in files:
            job.second = describe(job.image.path, channel=second_channel, axes=axes)
    workers = threads or _processors()
    if sum(job.image.n_frames for job in files) == 1:
        segmenter = load_segmenter(model, device=device, precision=precision, threads=threads)
        workers = 1
    else:
        # Frames side by side, one thread each: small frames leave most of a second thread idle.
        segmenter = load_segmenter(model, device=device, precision=precision, threads=workers, streams=workers)
    if on_loaded is not None:
        on_loaded(segmenter)
    settings = SegmentFilesSettings(
        segmenter.card.name, segmenter.card.sha256, diameter, channel, second_channel, axes, precision, flow_threshold,
        cellprob_threshold, min_size, volume_mode, anisotropy, flow_smoothing, repair
    )  # fmt: skip
    folder = LabelFolder(out)
    done = folder.open(paths, asdict(settings))
    try:
        run = SegmentationRun(segmenter, settings, workers, progress, LinkedCancelToken(cancel), overlays)
        return run.segment(files, folder, done)
    except BaseException:
        folder.leave()
        raise


def _check_thresholds(flow_threshold: float, cellprob_threshold: float, min_size: int) -> None:
    if not (np.isfinite(flow_threshold) and flow_threshold >= 0):
        raise SettingsError(f"A flow threshold of {flow_threshold:g} cannot be: give 0 (no test) or more, such as 0.4.")
    if not np.isfinite(cellprob_threshold):
        raise SettingsError(f"A cell probability threshold of {cellprob_threshold:g} cannot be: give a number like 0.")
    if min_size < 0:
        raise SettingsError(f"A smallest mask of {min_size} px cannot be: give 0 or more.")


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1

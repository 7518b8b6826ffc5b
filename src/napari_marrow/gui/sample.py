"""Sample studies: a few simulated organoids as raw images in a study, made once and kept in the user's cache."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from napari_marrow import __version__
from napari_marrow.pipeline.preferences import cache_folder
from napari_marrow.progress import CancelToken, Progress, no_progress

if TYPE_CHECKING:
    from napari_marrow.simulation import Scenario

SAMPLES = ("tutorial", "null", "coupled", "volume")
"""Names of the sample studies."""


def sample_path(name: str = "tutorial") -> Path:
    """Return where a sample study is, or will be."""
    return cache_folder() / f"{name}-{__version__}" / f"{name}.marrow"


def sample_scenario(name: str) -> Scenario:
    """Return what is simulated for a sample study: that of `simulation.preset`, with few organoids and frames.

    Parameters
    ----------
    name : str
        One of `SAMPLES`.
    """
    from dataclasses import replace

    from napari_marrow.simulation import Design, preset

    small = preset("sample")
    if name == "tutorial":
        return small
    whole = preset(name)
    if name == "volume":
        return replace(
            whole,
            sessions=tuple(replace(session, n_frames=min(session.n_frames, 4)) for session in small.sessions[:2]),
            geometry=replace(whole.geometry, radius_um=56.0, founders_per_mm2=1400.0),
            imaging=replace(whole.imaging, shape=(20, 120, 120)),
            design=Design(),
        )
    organoids = 1 if name == "null" else 2
    return replace(whole, sessions=small.sessions, design=replace(whole.design, organoids_per_condition=organoids))


def make_sample(progress: Progress = no_progress, cancel: CancelToken | None = None, *, name: str = "tutorial") -> Path:
    """Return a sample study; the first call simulates the images and imports them as a microscope's would be.

    Frames are judged while they are imported, as `marrow import` does.

    Results of an earlier run stay in it. It is made beside its place and moved there at the end, so that a call
    that was cancelled or killed leaves no half study.

    Parameters
    ----------
    progress, cancel
        See `napari_marrow.progress`.
    name : str
        One of `SAMPLES`.

    Returns
    -------
    Path
        The ``*.marrow`` folder.

    Raises
    ------
    Cancelled
        If `cancel` was set.
    """
    from napari_marrow.export.raw_set import write_raw_set
    from napari_marrow.ingest import import_files
    from napari_marrow.pipeline.judging import ImportedFrames, judge_frames
    from napari_marrow.simulation import simulate

    study = sample_path(name)
    if (study / "study.json").is_file():
        return study
    cancel = cancel or CancelToken()
    partial = study.parent.with_name(f"{study.parent.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        raw = partial / "raw"
        write_raw_set(
            simulate(sample_scenario(name), progress=progress, cancel=cancel), raw, progress=progress, cancel=cancel
        )
        measured = ImportedFrames()
        made = partial / study.name
        import_files(made, [raw / "raw"], layout=raw / "layout.csv", observe=measured, progress=progress, cancel=cancel)
        judge_frames(made, measured=measured, progress=progress, cancel=cancel)
        shutil.rmtree(raw)
        shutil.rmtree(study.parent, ignore_errors=True)
        partial.rename(study.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return study

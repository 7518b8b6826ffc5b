"""The tutorial study: two simulated organoids as raw images in a study, made once and kept in the user's cache."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from napari_marrow import __version__
from napari_marrow.progress import CancelToken, Progress, no_progress

PRESET = "sample"
CACHE_VARIABLE = "NAPARI_MARROW_CACHE"


def cache_folder() -> Path:
    """Return where samples are kept: ``$NAPARI_MARROW_CACHE``, or the user's cache folder."""
    from platformdirs import user_cache_path

    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else user_cache_path("napari-marrow", appauthor=False)


def sample_path() -> Path:
    """Return where the tutorial study is, or will be."""
    return cache_folder() / f"tutorial-{__version__}" / "tutorial.marrow"


def make_sample(progress: Progress = no_progress, cancel: CancelToken | None = None) -> Path:
    """Return the tutorial study; the first call simulates the images and imports them as a microscope's would be.

    Results of an earlier run stay in it. It is made beside its place and moved there at the end, so that a call
    that was cancelled or killed leaves no half study.

    Parameters
    ----------
    progress, cancel
        See `napari_marrow.progress`.

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
    from napari_marrow.simulation import preset, simulate

    study = sample_path()
    if (study / "study.json").is_file():
        return study
    cancel = cancel or CancelToken()
    partial = study.parent.with_name(f"{study.parent.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        raw = partial / "raw"
        write_raw_set(simulate(preset(PRESET), progress=progress, cancel=cancel), raw, progress=progress, cancel=cancel)
        import_files(partial / study.name, [raw / "raw"], layout=raw / "layout.csv", progress=progress, cancel=cancel)
        shutil.rmtree(raw)
        shutil.rmtree(study.parent, ignore_errors=True)
        partial.rename(study.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return study

"""What the manifest names. Nothing heavy is imported before a command is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_marrow.gui.session_layers import LayerData


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return the reader of a study's folder, None for anything else.

    Parameters
    ----------
    path : str or list of str
        What is to be opened.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    if paths and all(str(p).rstrip("/\\").endswith(".marrow") and (Path(p) / "study.json").is_file() for p in paths):
        return read_study
    return None


def read_study(path: str | list[str]) -> list[LayerData]:
    """Return the layers of the longest session of a study's first position.

    Parameters
    ----------
    path : str or list of str
        One or more ``*.marrow`` folders.

    Returns
    -------
    list of LayerData
        Images lazily loaded and multiscale, and of the results what is there.
    """
    from napari_marrow.gui.study_reader import read_all

    paths = [path] if isinstance(path, str | Path) else list(path)
    layers = [layer for p in paths for layer in read_all(p).layers.layers]
    _follow_current_viewer()
    return layers


def tutorial_study() -> list[LayerData]:
    """Return the layers of the tutorial study; the first call makes it, while the window goes on answering.

    Raises
    ------
    MarrowError
        If it cannot be made; the sentence says why.
    """
    from qtpy.QtWidgets import QApplication

    from napari_marrow.gui.sample import make_sample, sample_path

    if QApplication.instance() is None or (sample_path() / "study.json").is_file():
        return read_study(str(make_sample()))
    from napari_marrow.gui.activity import wait_with_activity

    return read_study(str(wait_with_activity(make_sample, "Making the tutorial study")))


def segment_layer() -> Any:
    """Segment the selected image layer beside the window; the labels come as a new layer."""
    from napari_marrow.gui.layer_commands import segment_active

    return segment_active(_viewer())


def track_layer() -> Any:
    """Track the selected labels layer beside the window; the tracks come as a new layer."""
    from napari_marrow.gui.layer_commands import track_active

    return track_active(_viewer())


def measure_layer() -> Any:
    """Measure the cells of the selected labels layer in every image layer of its shape; they become its features."""
    from napari_marrow.gui.layer_commands import measure_active

    return measure_active(_viewer())


def _viewer() -> Any:
    import napari

    viewer = napari.current_viewer()
    if viewer is None:
        raise RuntimeError("This command needs an open napari window.")
    return viewer


def _follow_current_viewer() -> None:
    import napari

    from napari_marrow.gui.frame_follower import follow

    viewer = napari.current_viewer()
    if viewer is not None:
        follow(viewer)

"""What the manifest names. Nothing heavy is imported before a command is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_marrow.gui.session_layers import LayerData
    from napari_marrow.progress import CancelToken, Progress


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
    return _sample("tutorial")


def null_study() -> list[LayerData]:
    """Return the layers of a study in which neither drug nor vessels do anything; see `tutorial_study`."""
    return _sample("null")


def coupled_study() -> list[LayerData]:
    """Return the layers of a study in which vessels attract cells and raise commitment; see `tutorial_study`."""
    return _sample("coupled")


def volume_study() -> list[LayerData]:
    """Return the layers of a study of one organoid as volumes; see `tutorial_study`."""
    return _sample("volume")


def _sample(name: str) -> list[LayerData]:
    """Make a sample, unless it is there, and read it beside the window."""
    from qtpy.QtWidgets import QApplication

    from napari_marrow.gui.sample import make_sample
    from napari_marrow.gui.study_reader import read_all

    if QApplication.instance() is None:
        return read_study(str(make_sample(name=name)))
    from napari_marrow.gui.activity import wait_with_activity

    def work(progress: Progress, cancel: CancelToken) -> list[LayerData]:
        return read_all(make_sample(progress, cancel, name=name)).layers.layers

    layers: list[LayerData] = wait_with_activity(work, f"Opening the {name} study")
    _follow_current_viewer()
    return layers


def next_uncertain() -> None:
    """Go to the next uncertain link or division of the study on display."""
    dock = _dock()
    dock.tabs.setCurrentWidget(dock.curate)
    dock.curate.next()


def undo_edit() -> None:
    """Take the last edit of the study on display back."""
    _dock().curate.undo()


def redo_edit() -> None:
    """Make the edit of the study on display again that was taken back last."""
    _dock().curate.redo()


def run_study() -> None:
    """Run the recipe on the study on display."""
    _dock().run_recipe()


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


def _dock() -> Any:
    """Return the dock of the current window, opened where it is not."""
    from napari_marrow.gui.study_dock import dock_of

    viewer = _viewer()
    return dock_of(viewer) or viewer.window.add_plugin_dock_widget("napari-marrow", "Marrow study")[1]


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

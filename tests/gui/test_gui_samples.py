"""The three samples of File > Open Sample, made offline, analysed, and drawn in Lineage and Niche."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from napari_marrow.gui.sample import SAMPLES, sample_path
from napari_marrow.study import Study

pytestmark = pytest.mark.gui

CHANNELS = ["nuclei", "CD31", "CD235a", "CD41", "CD11b"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection leaves this computer, and samples lie in a folder of the test."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError(f"a connection to {arguments[1:]} was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("NAPARI_MARROW_CACHE", str(cache))


def opened(name: str, viewer: Any, dock: Any, qtbot: Any) -> Study:
    """Open a sample from the menu, and return its study."""
    with qtbot.waitSignal(dock.loaded, timeout=120_000):
        viewer.open_sample("napari-marrow", name)
    qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
    assert [layer.name for layer in viewer.layers] == CHANNELS
    study = Study.open(sample_path(name))
    assert len(study.table("quality")) == len(study.frames())  # judged, as `marrow import` does
    return study


def test_these_are_all_samples() -> None:
    assert set(SAMPLES) == {"tutorial", "null", "coupled", "volume"}


def test_the_sample_of_volumes_opens_from_the_menu_offline(offline: None, viewer: Any, dock: Any, qtbot: Any) -> None:
    study = opened("volume", viewer, dock, qtbot)
    assert len(study.layout) == 1
    assert all(layer.ndim == 4 for layer in viewer.layers)
    dock.scene.show_volume(True)
    assert viewer.dims.ndisplay == 3


def test_the_tutorial_study_opens_from_the_menu_offline(offline: None, viewer: Any, dock: Any, qtbot: Any) -> None:
    """Its analysis and its plots are those of the tutorial, which test_gui_tutorial walks through."""
    study = opened("tutorial", viewer, dock, qtbot)
    assert study.layout["organoid"].nunique() == 2


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["null", "coupled"])
def test_a_scenario_opens_from_the_menu_offline_and_its_plots_are_drawn(
    name: str, offline: None, viewer: Any, dock: Any, qtbot: Any, quick_recipe: Any, check_plots: Any
) -> None:
    study = opened(name, viewer, dock, qtbot)
    assert study.layout["organoid"].nunique() == 2
    dock.form.set_recipe(quick_recipe)
    dock.run_recipe("lineage")
    qtbot.waitUntil(lambda: dock.idle, timeout=800_000)
    assert dock.runner.status.text().startswith("Finished")
    viewer.window.resize(1400, 900)
    check_plots(dock, name)

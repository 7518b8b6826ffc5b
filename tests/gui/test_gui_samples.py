"""The three samples of File > Open Sample, made offline, analysed, and drawn in Lineage and Niche."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_marrow.gui.sample import SAMPLES, sample_path
from napari_marrow.gui.screenshots import said_by
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


def test_the_sample_of_volumes_opens_from_the_menu_offline(offline: None, viewer: Any, dock: Any, qtbot: Any) -> None:
    study = opened("volume", viewer, dock, qtbot)
    assert len(study.layout) == 1
    assert all(layer.ndim == 4 for layer in viewer.layers)
    dock.scene.show_volume(True)
    assert viewer.dims.ndisplay == 3


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "volume"])
def test_a_sample_opens_from_the_menu_offline_and_its_plots_are_drawn(
    name: str, offline: None, viewer: Any, dock: Any, qtbot: Any, quick_recipe: Any
) -> None:
    study = opened(name, viewer, dock, qtbot)
    assert study.layout["organoid"].nunique() == 2
    dock.form.set_recipe(quick_recipe)
    dock.run_recipe("lineage")
    qtbot.waitUntil(lambda: dock.idle, timeout=250_000)
    assert dock.runner.status.text().startswith("Finished")
    viewer.window.resize(1400, 900)
    for panel in (dock.lineage, dock.niche):
        dock.tabs.setCurrentWidget(panel)
        for kind in range(panel.kind.count()):
            panel.kind.setCurrentIndex(kind)
            qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
            title = f"{name}, {panel.kind.currentText()}"
            assert not panel.chart.empty, title
            shown = np.concatenate([s.y[np.isfinite(s.y)] for s in panel.chart.series])
            assert len(shown) > 1, title
            assert len(panel.chart.numbers) > 0, title
            assert panel.kind.currentText() in said_by(panel)

"""The pictures of the documentation, made in a real window of a small study."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_marrow.gui.screenshots import MAX_BYTES, PICTURES, make_pictures, said_by

pytestmark = pytest.mark.gui

SAID = {
    "window": ("Emergence", "control", "TPO", "Export...", "Run recipe"),
    "window_small": ("Emergence", "control", "TPO", "Run recipe"),
    "curate": ("Accept", "Break", "Undo", "Update results"),
    "cells": ("across", "colour", "cells selected."),
    "niche": ("Vessel map", "vessels", "cells within 0 to 20 µm"),
    "volume": ("3D", "Clip along", "Save view", "Movie..."),
}
TABS = ("Recipe", "Preview", "Board", "Curate", "Cells", "Lineage", "Niche", "Pedigree")


def check(path: Path, name: str, dock: Any) -> None:
    from PIL import Image

    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    width, height = PICTURES[name].size
    assert picture.shape == (height, width, 3), name
    assert path.stat().st_size <= 1.2 * MAX_BYTES, name
    # neither the image nor the dock is one flat colour
    image, right = picture[100:-150, 400 : width - 450], picture[100:-50, width - 380 :]
    for part in (image, right):
        assert part.std() > 5, name
        assert len(np.unique(part.reshape(-1, 3), axis=0)) > 20, name
    said = said_by(dock)
    for text in (*TABS, *SAID[name]):
        assert text in said, (name, text)


@pytest.mark.parametrize("name", [name for name, picture in PICTURES.items() if picture.flat])
def test_a_picture_of_the_window(name: str, shown: Any, tmp_path: Path) -> None:
    viewer, dock = shown
    (path,) = make_pictures(viewer, dock, tmp_path, [name], settle_ms=300)
    assert path == tmp_path / f"{name}.png"
    check(path, name, dock)


@pytest.fixture(scope="module")
def shown(finished_study: Path, qapp: Any) -> Any:
    import napari

    from napari_marrow.gui.screenshots import pump

    viewer = napari.Viewer(show=True)
    dock = viewer.window.add_plugin_dock_widget("napari-marrow", "Marrow study")[1]
    dock.open_study(finished_study)
    pump(lambda: dock.contents is not None and dock.idle)
    yield viewer, dock
    viewer.close()


def test_the_picture_of_a_volume(shown: Any, volume_study: Path, tmp_path: Path, qtbot: Any) -> None:
    viewer, dock = shown
    with qtbot.waitSignal(dock.loaded, timeout=60_000):
        dock.open_study(volume_study)
    (path,) = make_pictures(viewer, dock, tmp_path, ["volume"], settle_ms=300)
    check(path, "volume", dock)


def test_every_picture_of_the_window_in_the_documentation_is_made_here() -> None:
    root = Path(__file__).parents[2]
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    shown = {name for page in pages for name in re.findall(r"images/(\w+)\.png\)", page.read_text(encoding="utf-8"))}
    others = {"structures", "link_reliability", "train_a_model"}  # drawn by benchmarks and a tutorial
    assert shown - others <= set(PICTURES)
    assert all((root / "docs" / "images" / f"{name}.png").is_file() for name in PICTURES)

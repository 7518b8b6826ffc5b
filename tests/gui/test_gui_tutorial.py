"""The tutorial of the window, step by step in a real window: what the page says is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_marrow.gui.napari_names import text_overlay
from napari_marrow.study import Study

pytestmark = pytest.mark.gui
PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "first_study_in_napari.md"
STEPS = ["Open the dock", "Open the sample", "Run the recipe", "Look", "Read the report", "Change something"]


def test_the_page_has_the_steps_that_are_walked_through_here() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^## \d+\. (.*)$", text, re.MULTILINE) == STEPS
    buttons = {"Open sample", "Run recipe", "Open report", "Save"}
    assert buttons <= set(re.findall(r"\*\*(.*?)\*\*", text))


@pytest.mark.timeout(900)
def test_tutorial(
    viewer: Any, dock: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_plots: Any
) -> None:
    import pyqtgraph as pg
    from qtpy.QtCore import Qt
    from qtpy.QtGui import QDesktopServices

    monkeypatch.setenv("NAPARI_MARROW_CACHE", str(tmp_path / "cache"))

    def press(button: Any) -> None:
        assert button.isVisible()
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: dock.idle, timeout=400_000)

    # 2: two organoids, one under TPO, five sessions each, a layer per channel in µm
    assert dock.picker.sample_button.text() == "Open sample"
    press(dock.picker.sample_button)
    qtbot.waitUntil(lambda: dock.contents is not None and dock.idle, timeout=60_000)
    path = dock.contents.path
    design = Study.open(path).layout.set_index("position")["condition"]
    assert sorted(design) == ["TPO", "control"]
    assert [dock.picker.session.count(), dock.picker.position.count()] == [5, 2]
    channels = [layer for layer in viewer.layers if layer.name not in ("Colonies",)]
    assert {"nuclei", "CD31", "CD235a", "CD41", "CD11b"} == {layer.name for layer in channels}
    assert all(str(unit) == "micrometer" for layer in channels for unit in layer.units[-2:])
    viewer.dims.set_current_step(0, 0)
    first = text_overlay(viewer).text
    viewer.dims.set_current_step(0, 5)
    assert re.search(r"\d h", first)
    assert "day" in first
    assert text_overlay(viewer).text != first

    # 3
    assert dock.runner.run_button.text() == "Run recipe"
    press(dock.runner.run_button)
    assert dock.runner.status.text().startswith("Finished")

    # 4: labels are tracks; links have probabilities; no band over one organoid; the pedigree leads to the cell
    names = {layer.name: layer for layer in viewer.layers}
    assert {"Cells", "Tracks", "Organoid", "Vessels", "Colony masks"} <= set(names)
    assert not any(names[name].visible for name in ("Organoid", "Vessels", "Colony masks"))
    tracks = set(names["Tracks"].data[:, 0].astype(int))
    position, session = dock.picker.place()
    viewer.dims.set_current_step(0, 3)
    assert tracks & set(map(int, dock.view.layer("cells").data[3].ravel()))
    names["Tracks"].color_by = "link_probability"
    chart = dock.lineage.chart
    assert chart.series
    assert not any(np.isfinite(series.low).any() for series in chart.series if series.low is not None)
    check_plots(dock, "tutorial")
    dock.tabs.setCurrentIndex(dock.tabs.count() - 1)
    qtbot.wait(300)
    branch = max(dock.pedigree.branches, key=lambda b: b.end_h - b.start_h)
    plot = dock.pedigree._plot
    place = plot.getPlotItem().vb.mapViewToScene(pg.Point((branch.start_h + branch.end_h) / 2, branch.y))
    qtbot.mouseMove(plot.viewport(), plot.mapFromScene(place))
    qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=plot.mapFromScene(place))
    qtbot.waitUntil(lambda: branch.track_id in dock.selection.tracks, timeout=5_000)
    contrast = tuple(viewer.layers["nuclei"].contrast_limits)
    viewer.layers["nuclei"].contrast_limits = (contrast[0], contrast[1] * 0.9)
    other = next(k for k in range(dock.picker.session.count()) if k != dock.picker.session.currentIndex())
    dock.picker.session.setCurrentIndex(other)
    qtbot.waitUntil(lambda: dock.idle and dock.picker.place() != (position, session), timeout=60_000)
    assert tuple(viewer.layers["nuclei"].contrast_limits) == (contrast[0], contrast[1] * 0.9)
    assert not viewer.layers["Scaffold"].visible

    # 5
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    press(dock.report_button)
    page = Path(opened[0]).read_text(encoding="utf-8")
    assert {"Summary", "Quality"} <= set(re.findall(r"<h2[^>]*>\s*(?:<[^>]+>)?([^<]+)", page))

    # 6: another threshold makes new results, the first one finds those that are still there
    before = dict(Study.open(path).active)
    editor = dock.form.editor("segment", "flow_threshold")
    was = editor.value()
    editor.set_value(0.2)
    dock.tabs.setCurrentIndex(0)
    press(dock.runner.run_button)
    assert Study.open(path).active["segment"] != before["segment"]
    held = _results(path)
    editor.set_value(was)
    press(dock.runner.run_button)
    assert dict(Study.open(path).active) == before
    assert _results(path) == held


def _results(study: Path) -> dict[str, int]:
    """Return tables and labels with the times at which they were written."""
    files = [*study.glob("tables/**/*.parquet"), *study.glob("images.ome.zarr/**/labels/**/c/**")]
    assert len(files) > 100
    return {str(file.relative_to(study)): file.stat().st_mtime_ns for file in files}

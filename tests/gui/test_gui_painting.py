"""Labels painted with napari's own tools: kept in the study, whatever was on display, and taken back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from .conftest import pump


def _study_with_labels(path: Path, n_frames: int, side: int) -> tuple[Path, str]:
    """A session of noise, in every frame a cell of label 1 and one of label 2, as the step *segment* writes them."""
    from napari_marrow.study import Study

    study = Study.create(path, name=path.stem)
    with study.add_session(
        "A01_f00", 0, channels=["nuclei"], spacing=(1.0, 0.5, 0.5), shape=(n_frames, 1, 1, side, side), dtype="uint8",
        start_h=0.0, time_s=np.arange(n_frames) * 60.0,
    ) as writer:  # fmt: skip
        for t in range(n_frames):
            writer.write(t, np.full((1, 1, side, side), t % 251, np.uint8))
    labels = np.zeros((1, side, side), np.int32)
    labels[0, 4:12, 4:12], labels[0, 20:28, 20:28] = 1, 2
    for t in range(n_frames):
        study.write_labels("cells", "k", "A01_f00", 0, t, labels)
        row = {"position": "A01_f00", "session": 0, "t": t, "cells": 2, "diameter_um": 4.0}
        study.commit("segmentation", "k", {"position": "A01_f00", "session": 0, "t": t}, pd.DataFrame([row]))
    study.set_active({"segment": "k"}, tables={"segmentation": "k"})
    return path, "A01_f00"


@pytest.fixture
def labels_of(tmp_path: Path) -> Any:
    from napari_marrow.gui.paintable_labels import PaintableLabels
    from napari_marrow.study import Study

    path, position = _study_with_labels(tmp_path / "few.marrow", 5, 32)

    def make(**options: Any) -> PaintableLabels:
        labels = Study.open(path).labels("cells", "k", position, 0)
        return PaintableLabels(labels, **{"flat": True, "strokes": {}, "lookup": None, "largest": 2, **options})

    return make


def test_slices_and_assignments_are_those_of_an_array(labels_of: Any) -> None:
    data, oracle = labels_of(), np.asarray(labels_of())
    rng = np.random.default_rng(0)
    keys: list[Any] = [
        3, -1, slice(1, 4), (2, slice(3, 9), slice(None)), (slice(1, 3), slice(0, 5), 7), (..., 5), (4, 10, 10),
        tuple(rng.integers(0, n, 40) for n in data.shape),
    ]  # fmt: skip
    for k, key in enumerate(keys):
        np.testing.assert_array_equal(data[key], oracle[key])
        data[key], oracle[key] = 10 + k, 10 + k
        np.testing.assert_array_equal(data[:], oracle)
    assert data.max() >= oracle.max()
    with pytest.raises(IndexError, match="no frame 5"):
        data[5]


def test_a_track_without_a_cell_in_the_frame_gets_a_label_of_its_own(labels_of: Any) -> None:
    from napari_marrow.gui.lazy_labels import TrackLookup

    nodes = pd.DataFrame({"t": [0, 0, 1], "label": [1, 2, 1], "track_id": [7, 8, 7]})
    data = labels_of(lookup=TrackLookup(nodes, 5))
    shown = data[1]
    assert set(np.unique(shown)) == {0, 7, 8 + 2}  # label 2 has no track in frame 1
    data[1, 0:2, 0:2] = 8  # a track of another frame
    data[1, 4:6, 4:6] = 0
    data[1, 30, 30] = 10  # label 2 goes on
    _, draft = data.draft(1)
    kept = data.to_keep(1, draft)
    assert kept[0, 0, 0] == 3
    assert kept[0, 30, 30] == 2
    assert kept[0, 4, 4] == 0
    assert kept[0, 8, 8] == 1
    # what is shown does not change when it was kept
    np.testing.assert_array_equal(data.to_keep(1, draft), kept)


@pytest.mark.gui
def test_a_stroke_of_the_brush_is_kept_and_taken_back(
    dock: Any, viewer: Any, finished_study: Path, tmp_path: Path
) -> None:
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest

    from napari_marrow.pipeline.painting import painted_frames, standing_labels
    from napari_marrow.study import Study

    study = Path(shutil.copytree(finished_study, tmp_path / "études à peindre.marrow"))
    dock.open_study(study)
    pump(lambda: dock.contents is not None and dock.idle and "Cells" in viewer.layers)
    position, session = dock.picker.place()
    viewer.dims.set_current_step(0, 2)
    layer = viewer.layers["Cells"]
    before = standing_labels(Study.open(study), position, session, 2)
    viewer.layers.selection.active = layer
    layer.mode, layer.brush_size = "paint", 6
    QTest.keyClick(viewer.window._qt_window, Qt.Key.Key_M)
    layer.selected_label = int(np.max(layer.data)) + 1
    new = layer.selected_label
    QTest.qWait(300)
    canvas = viewer.window._qt_viewer.canvas.native
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    QTest.mouseMove(canvas, middle)
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=middle)
    for k in range(1, 5):
        QTest.mouseMove(canvas, middle + QPoint(8 * k, 0))
        QTest.qWait(20)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=middle + QPoint(32, 0))
    assert (np.asarray(layer.data[2]) == new).any()
    pump(lambda: not dock.painting.busy and dock.idle)
    assert painted_frames(Study.open(study)) == [(position, session, 2)]
    after = standing_labels(Study.open(study), position, session, 2)
    fresh = set(np.unique(after)) - set(np.unique(before))
    assert len(fresh) == 1
    np.testing.assert_array_equal(after[0] == fresh.pop(), np.asarray(layer.data[2]) == new)
    assert layer.data.touched == []
    assert dock.curate.stale
    assert "kept" in dock.runner.status.text()

    dock.curate.undo()  # the study's own undo, as next month
    pump(lambda: dock.idle and not (np.asarray(viewer.layers["Cells"].data[2]) == new).any())
    np.testing.assert_array_equal(standing_labels(Study.open(study), position, session, 2), before)

    viewer.layers["Cells"].data[2, 3:6, 3:6] = new
    assert dock.run_recipe("segment") is None  # it waits for what was painted
    pump(lambda: "paint" in Study.open(study).active and dock.idle)
    opened = Study.open(study)
    painted = standing_labels(opened, position, session, 2)
    assert (painted != before).any()
    np.testing.assert_array_equal(opened.labels("cells", opened.active["paint"], position, session).read(2), painted)


@pytest.mark.gui
def test_a_stroke_that_cannot_be_kept_stays_and_is_kept_later(
    dock: Any, viewer: Any, finished_study: Path, tmp_path: Path
) -> None:
    from napari_marrow.pipeline.painting import painted_frames
    from napari_marrow.study import Study

    study = Path(shutil.copytree(finished_study, tmp_path / "tiny.marrow"))
    dock.open_study(study)
    pump(lambda: dock.contents is not None and dock.idle and "Cells" in viewer.layers)
    layer = viewer.layers["Cells"]
    with Study.open(study, mode="a").write_lock():
        layer.data[0, 1:4, 1:4] = 1
        pump(lambda: not dock.painting.busy)
        assert "not kept yet" in dock.runner.status.text()
        assert layer.data.touched == [0]
        assert painted_frames(Study.open(study)) == []
    dock.painting.flush()
    pump(lambda: not dock.painting.busy)
    assert layer.data.touched == []
    assert len(painted_frames(Study.open(study))) == 1


@pytest.mark.gui
def test_painting_holds_no_more_than_the_touched_frame(dock: Any, viewer: Any, tmp_path: Path) -> None:
    """2000 frames: as one array they would take 2000 times what a frame does."""
    from napari_marrow.pipeline.painting import painted_frames
    from napari_marrow.study import Study

    path, position = _study_with_labels(tmp_path / "long.marrow", 2000, 32)
    dock.open_study(path)
    pump(lambda: dock.contents is not None and dock.idle and "Cells" in viewer.layers)
    layer = viewer.layers["Cells"]
    read: list[int] = []
    inner = layer.data._labels.read
    layer.data._labels.read = lambda t: read.append(t) or inner(t)
    for t in (0, 1234, 1999):
        viewer.dims.set_current_step(0, t)
        layer.selected_label = int(np.max(layer.data)) + 1
        layer.fill((t, 16, 2), layer.selected_label)
        pump(lambda: not dock.painting.busy)
    assert {*read} <= {0, 1233, 1234, 1235, 1999}
    assert layer.data.touched == []
    assert painted_frames(Study.open(path)) == [(position, 0, t) for t in (0, 1234, 1999)]

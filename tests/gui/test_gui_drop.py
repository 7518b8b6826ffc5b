"""Dropping on the dock, and saving corrected cells into their study."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.study import Study

pytestmark = pytest.mark.gui

POSITION, DENSE = "B02_f00", 2


def drop(widget: Any, *paths: Path | str) -> bool:
    """Drop files as a file manager does: a drag that comes in, and is let go."""
    from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
    from qtpy.QtGui import QDragEnterEvent, QDropEvent
    from qtpy.QtWidgets import QApplication

    data = QMimeData()
    data.setUrls([QUrl(p) if str(p).startswith("http") else QUrl.fromLocalFile(str(p)) for p in paths])
    common = (Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    enter = QDragEnterEvent(QPoint(20, 20), *common)
    QApplication.sendEvent(widget, enter)
    if enter.isAccepted():
        QApplication.sendEvent(widget, QDropEvent(QPointF(20, 20), *common))
    return bool(enter.isAccepted())


def test_a_study_that_is_dropped_on_the_dock_opens_in_one_step(
    viewer: Any, dock: Any, raw_study: Path, tmp_path: Path, qtbot: Any
) -> None:
    from qtpy.QtWidgets import QApplication

    moved = raw_study.rename(tmp_path / "骨髄 mouse 3.marrow")
    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        assert drop(dock, moved)
    assert dock.contents.path == moved
    assert {layer.name for layer in viewer.layers} == {"nuclei", "CD31", "CD235a", "CD41"}
    assert QApplication.activeModalWidget() is None  # nobody asks which plugin is to read it
    for paths, said in (
        ((moved, moved), "one *.marrow folder"),
        (("https://example.org/a.marrow",), "of this computer"),
    ):
        drop(dock, *paths)
        assert said in dock.runner.status.text()
    empty = tmp_path / "empty.marrow"
    empty.mkdir()
    drop(dock, empty)
    qtbot.waitUntil(lambda: "is no study" in dock.runner.status.text(), timeout=10_000)
    assert dock.contents.path == moved
    dock.drop.set_busy(True)
    drop(dock, moved)
    assert "Something is running" in dock.runner.status.text()


def test_images_that_are_dropped_on_the_dock_are_offered_for_import(viewer: Any, dock: Any, tmp_path: Path) -> None:
    (tmp_path / "scan.tif").write_bytes(b"II*\0")
    drop(dock, tmp_path / "scan.tif")
    assert dock.importing is not None
    assert [dock.importing.sources.item(0).text()] == [str(tmp_path / "scan.tif")]
    dock.importing.close()


def test_a_copy_of_the_cells_that_was_corrected_is_saved_into_the_study(
    viewer: Any, dock: Any, finished_study: Path, tmp_path: Path, qtbot: Any
) -> None:
    from napari.layers._layer_actions import _duplicate_layer

    path = Path(shutil.copytree(finished_study, tmp_path / "copy.marrow"))
    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        dock.open_study(path)
    viewer.layers.selection.active = viewer.layers["Cells"]
    _duplicate_layer(viewer.layers)
    copy = viewer.layers["Cells copy"]
    before = np.asarray(viewer.layers["Cells"].data[3]).copy()
    cell = int(before[before > 0][0])
    copy.data_setitem(tuple(np.stack([np.full((before == cell).sum(), 3), *np.nonzero(before == cell)])), 0)
    assert (np.asarray(copy.data[3]) != before).any()
    np.testing.assert_array_equal(np.asarray(viewer.layers["Cells"].data[3]), before)
    assert not (path / "edits.jsonl").exists()
    written = copy.save(str(path / "cells.marrow"), plugin="napari-marrow")
    assert written == [str(path)]
    (entry,) = Study.open(path).edits().standing()
    assert (entry.action["action"], entry.action["t"], entry.action["pixels"]) == ("paint", 3, (before == cell).sum())
    assert entry.position == POSITION
    assert copy.save(str(path / "cells.marrow"), plugin="napari-marrow")  # nothing new: nothing is written
    assert len(Study.open(path).edits().standing()) == 1
    dock.show_place(POSITION, DENSE)
    qtbot.waitUntil(lambda: dock.idle, timeout=20_000)
    assert not (np.asarray(viewer.layers["Cells"].data[3]) == cell).any()


def test_labels_that_no_study_can_take_are_refused_with_the_remedy(
    viewer: Any, dock: Any, finished_study: Path, tmp_path: Path, qtbot: Any
) -> None:
    from napari_marrow.gui.kept_labels import write_cells

    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        dock.open_study(finished_study)
    data, attributes, _ = viewer.layers["Cells"].as_layer_data_tuple()
    with pytest.raises(SettingsError, match=r"is not the study of 'Cells': save it into '.*tiny\.marrow'"):
        write_cells(str(tmp_path / "other.marrow"), data, attributes)
    mine = viewer.add_labels(np.ones((8, 8), np.int32), name="mine")
    data, attributes, _ = mine.as_layer_data_tuple()
    with pytest.raises(SettingsError, match=r"'mine' does not come from a study.*\.tif"):
        write_cells(str(finished_study), data, attributes)
    assert not (tmp_path / "other.marrow").exists()

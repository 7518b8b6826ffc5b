"""Import in the window: what becomes what, what is asked for, and the same study as by the command."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_marrow.__main__ import main
from napari_marrow.study import Study

pytestmark = pytest.mark.gui


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two fields of two channels and three frames that say neither pixel size nor times."""
    rng = np.random.default_rng(0)
    found = []
    folder = tmp_path / "Messung ä"
    folder.mkdir()
    for name in ("B02_f00_session01.tif", "B03_f00_session01.tif"):
        image = rng.poisson(200, (3, 2, 64, 64)).astype(np.uint16)
        tifffile.imwrite(folder / name, image, imagej=True, metadata={"axes": "TCYX"})
        found.append(folder / name)
    return found


def filled(dialog, qtbot, **texts):
    from qtpy.QtTest import QTest

    for name, text in texts.items():
        QTest.keyClicks(dialog.facts[name], text)
    qtbot.waitUntil(lambda: not dialog.busy, timeout=30_000)


def test_files_become_the_study_that_the_command_makes(dock, files, tmp_path, qtbot, monkeypatch, watchdog):
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QFileDialog

    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([str(f) for f in files], ""))
    QTest.mouseClick(dock.picker.import_button, Qt.MouseButton.LeftButton)
    dialog = dock.importing
    qtbot.waitUntil(dialog.isVisible, timeout=60_000)
    assert not dialog.import_button.isEnabled()
    QTest.mouseClick(dialog.files_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not dialog.busy, timeout=60_000)
    assert dialog.table.rowCount() == 2
    assert dialog.table.item(1, 1).text() == "B03_f00 session 1"
    assert "The files do not say: Pixel size, Time between frames" in dialog.said.text()
    assert dialog.facts["pixel_size"].styleSheet()
    assert not dialog.facts["axes"].styleSheet()
    assert not dialog.import_button.isEnabled()
    filled(dialog, qtbot, pixel_size="0,5")
    assert "0,5" in dialog.said.text()  # y, x of which one is nothing
    dialog.facts["pixel_size"].clear()
    filled(dialog, qtbot, pixel_size="0.5", frame_interval_h="0.25", start_h="24", channel_names="nuclei,CD41")
    assert "2 session(s), 6 frames" in dialog.said.text()
    command = dialog.request().command()
    QTest.mouseClick(dialog.import_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not dock.runner.busy, timeout=60_000)
    watchdog.check("import")
    qtbot.waitUntil(lambda: dock.contents is not None and dock.idle, timeout=60_000)
    made = Study.open(dock.contents.path)
    assert dock.contents.path == files[0].parent / f"{files[0].parent.name}.marrow"
    again_dialog = dock.ask_import()
    again_dialog.add_sources(files)
    filled(again_dialog, qtbot, pixel_size="0.5", frame_interval_h="0.25", start_h="24", channel_names="nuclei,CD41")
    assert "has all of this already" in again_dialog.said.text()
    assert not again_dialog.import_button.isEnabled()
    again_dialog.reject()
    # the command that the window offers makes the same
    words = shlex.split(command)[1:]
    words[words.index("--study") + 1] = str(tmp_path / "again.marrow")
    assert main(words) == 0
    again = Study.open(tmp_path / "again.marrow")
    assert made.frames().equals(again.frames())
    for position in ("B02_f00", "B03_f00"):
        one, other = made.image(position, 1), again.image(position, 1)
        assert one.spacing == other.spacing == (1.0, 0.5, 0.5)
        assert [c.name for c in one.channels] == ["nuclei", "CD41"]
        assert (one.read(2, "CD41") == other.read(2, "CD41")).all()


def test_what_is_no_image_is_said_and_nothing_is_made(dock, tmp_path, qtbot):
    (tmp_path / "notes.tif").write_text("no image")
    dialog = dock.ask_import()
    dialog.add_sources([tmp_path / "notes.tif"])
    qtbot.waitUntil(lambda: not dialog.busy, timeout=60_000)
    assert "notes.tif" in dialog.said.text()
    assert not dialog.import_button.isEnabled()
    dialog.sources.selectAll()
    dialog.remove_button.click()
    qtbot.waitUntil(lambda: not dialog.busy, timeout=60_000)
    assert dialog.said.text() == "Choose images."
    dialog.reject()
    assert not list(tmp_path.glob("*.marrow"))


def test_a_cancelled_import_goes_on(dock, files, qtbot):
    dialog = dock.ask_import()
    dialog.add_sources(files)
    filled(dialog, qtbot, pixel_size="0.5", frame_interval_h="0.25", start_h="24")
    request = dialog.request()
    dialog.reject()
    job = dock.import_images(request)
    job.cancel()
    qtbot.waitUntil(lambda: not dock.runner.busy, timeout=60_000)
    assert "Cancelled" in dock.runner.status.text() or dock.contents is not None
    if request.study.exists():
        assert {problem.kind for problem in Study.open(request.study).verify()} <= {"unfinished"}
    dock.import_images(request)
    qtbot.waitUntil(lambda: not dock.runner.busy and dock.contents is not None and dock.idle, timeout=60_000)
    assert Study.open(request.study).verify() == []
    assert len(Study.open(request.study).frames()) == 6

"""The window's preferences: kept in the user's file by clicks, and refused in a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from napari_marrow.pipeline.preferences import CONFIG_VARIABLE, Preferences, read_preferences

from .conftest import pump

pytestmark = pytest.mark.gui


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "own" / "preferences.yaml"
    path.parent.mkdir()
    (path.parent / "first-steps-seen").touch()
    monkeypatch.setenv(CONFIG_VARIABLE, str(path.parent))
    return path


def click(button: Any) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    assert button.isEnabled()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def test_what_is_chosen_is_kept_and_shown_again(own: Path, dock: Any) -> None:
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QDialogButtonBox

    click(dock.preferences_button)
    dialog = dock.preferring
    pump(dialog.isVisible)
    assert str(own) in dialog.findChildren(type(dialog.said))[0].text()
    assert dialog.shown() == Preferences()
    QTest.keyClicks(dialog.device, "auto")
    dialog.threads.setFocus()
    dialog.threads.selectAll()
    QTest.keyClicks(dialog.threads, "1")
    QTest.keyClicks(dialog.cache, "/data/larger disk")
    click(dialog.buttons.button(QDialogButtonBox.StandardButton.Ok))
    wanted = Preferences(device="auto", threads=1, cache="/data/larger disk")
    assert read_preferences() == wanted
    assert dock.form.recipe().segment.device == "auto"
    assert dock.runner.status.text() == "Preferences kept: networks on auto, runs on 1 core."
    again = dock.ask_preferences()
    assert again.shown() == wanted
    click(again.buttons.button(QDialogButtonBox.StandardButton.RestoreDefaults))
    assert again.shown() == Preferences()
    click(again.buttons.button(QDialogButtonBox.StandardButton.Cancel))
    assert read_preferences() == wanted


def test_a_bad_file_is_told_and_a_folder_that_takes_nothing_refuses(own: Path, viewer: Any) -> None:
    from qtpy.QtWidgets import QDialogButtonBox

    own.write_text("device: gpu\n", encoding="utf-8")
    dock = viewer.window.add_plugin_dock_widget("napari-marrow", "Marrow study")[1]
    assert "'device' is 'gpu'" in dock.runner.status.text()
    dialog = dock.ask_preferences()
    assert "'device' is 'gpu'" in dialog.said.text()
    shutil.rmtree(own.parent)
    own.parent.write_text("a file where a folder should be")
    click(dialog.buttons.button(QDialogButtonBox.StandardButton.Ok))
    assert dialog.isVisible()
    assert "preferences.yaml" in dialog.said.text()
    dialog.reject()

"""First steps: a card that points, with mouse and keyboard, and is remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.gui


@pytest.fixture
def new_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_MARROW_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


def opened(viewer: Any) -> Any:
    return viewer.window.add_plugin_dock_widget("napari-marrow", "Marrow study")[1]


def test_who_is_new_is_led_through_the_dock_once(new_user: Path, make_viewer: Any, qtbot: Any) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QApplication

    viewer = make_viewer()
    viewer.window.resize(1280, 720)
    dock = opened(viewer)
    tour = dock.tour
    qtbot.waitUntil(lambda: tour.running, timeout=5_000)
    qtbot.wait(200)
    seen = []
    while tour.running:
        assert tour.isVisible()
        seen.append(tour.title.text())
        card, frame = tour.geometry(), tour._frame.geometry()
        assert dock.rect().contains(card), seen[-1]
        assert not card.intersects(frame), seen[-1]  # what it points at can be seen
        assert tour.height() >= tour.heightForWidth(tour.width()) - 1
        assert QApplication.focusWidget() in (tour.next, None)
        qtbot.keyClick(tour.next, Qt.Key.Key_Space)
    assert len(seen) == len(set(seen)) == 7
    assert dock.tabs.currentWidget() is dock.cells  # the last step that points at a tab
    qtbot.mouseClick(tour.button, Qt.MouseButton.LeftButton)
    assert tour.running
    assert tour.at == 0
    qtbot.keyClick(tour.next, Qt.Key.Key_Right)
    qtbot.keyClick(tour.next, Qt.Key.Key_Right)
    assert tour.at == 2
    qtbot.keyClick(tour.next, Qt.Key.Key_Left)
    assert tour.at == 1
    assert "2 of 7" in tour.accessibleName()
    qtbot.mouseClick(tour.back, Qt.MouseButton.LeftButton)
    assert tour.at == 0
    assert not tour.back.isEnabled()
    qtbot.keyClick(tour, Qt.Key.Key_Escape)
    assert not tour.running
    again = opened(make_viewer())
    qtbot.wait(200)
    assert not again.tour.running
    assert list(new_user.iterdir())


def test_the_frame_lies_around_what_is_meant_and_follows_it(viewer: Any, dock: Any, qtbot: Any) -> None:
    from qtpy.QtCore import QPoint, QRect

    dock.tour.begin()
    for step, widget in ((0, dock.picker), (3, dock.runner.run_button), (6, dock.report_button)):
        dock.tour.go(step)
        for height in (700, 900):
            viewer.window.resize(1280, height)
            qtbot.wait(100)
            place = QRect(widget.mapTo(dock, QPoint(0, 0)), widget.size())
            frame = dock.tour._frame.geometry()
            assert frame.contains(place.adjusted(1, 1, -1, -1).intersected(dock.rect()))
            assert frame.height() <= place.height() + 8
    dock.tour.close_button.click()
    assert not dock.tour.running


def test_a_config_folder_that_cannot_be_made_is_no_reason_to_withhold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, viewer: Any, dock: Any
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NAPARI_MARROW_CONFIG", str(tmp_path / "file" / "config"))
    dock.tour.offer()
    assert dock.tour.running
    dock.tour.end()

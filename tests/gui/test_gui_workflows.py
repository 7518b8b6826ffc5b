"""Tasks as a person does them, with real mouse and key events, and what must not go wrong meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from napari_marrow.errors import CorruptDataError
from napari_marrow.study import Study

pytestmark = pytest.mark.gui

POSITION, DENSE = "B02_f00", 2


class Hand:
    """Clicks and presses keys, and counts them."""

    def __init__(self, qtbot: Any, viewer: Any, dock: Any) -> None:
        self.qtbot, self.viewer, self.dock = qtbot, viewer, dock
        self.actions = 0

    def click(self, widget: Any, at: Any = None, *, shift: bool = False) -> None:
        from qtpy.QtCore import Qt

        assert widget.isEnabled()
        modifier = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier
        self.qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, modifier, *([] if at is None else [at]))
        self._done()

    def tab(self, page: Any) -> None:
        bar = self.dock.tabs.tabBar()
        self.click(bar, bar.tabRect(self.dock.tabs.indexOf(page)).center())

    def key(self, key: str) -> None:
        self.qtbot.keyClick(self.viewer.window._qt_window, key)
        self._done()

    def canvas(self, *, shift: bool = False) -> None:
        """Click into the middle of the image."""
        canvas = self.viewer.window._qt_viewer.canvas.native
        self.qtbot.wait(200)
        self.click(canvas, canvas.rect().center(), shift=shift)

    def _done(self) -> None:
        self.actions += 1
        self.qtbot.waitUntil(lambda: self.dock.idle, timeout=180_000)


@pytest.fixture
def hand(viewer: Any, dock: Any, finished_study: Path, tmp_path: Path, qtbot: Any) -> Hand:
    path = Path(shutil.copytree(finished_study, tmp_path / "骨髄 study.marrow"))
    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        dock.open_study(path)
    qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
    qtbot.wait(300)
    return Hand(qtbot, viewer, dock)


def test_a_link_is_taken_apart_in_three_actions_and_brought_in_with_a_fourth(hand: Hand, watchdog: Any) -> None:
    tab = hand.dock.curate
    watchdog.restart()
    hand.tab(tab)
    hand.key("n")
    parent, child = tab.selection.cells[:2]
    hand.key("k")
    assert hand.actions == 3
    assert (parent, child) not in tab.curation.graph.edges
    hand.qtbot.wait(300)
    watchdog.check("correct a link")
    hand.click(tab.update_button)
    assert hand.actions == 4
    assert hand.dock.runner.status.text().startswith("Finished")
    assert not tab.stale
    edges = Study.open(hand.dock.contents.path).table("track_edges")
    rows = edges.query("position == @POSITION and session == @parent.session and t_parent == @parent.t")
    pairs = set(zip(rows["label_parent"], rows["t_child"], rows["label_child"], strict=True))
    assert (parent.label, child.t, child.label) not in pairs


def test_cells_are_picked_with_the_mouse_in_two_frames_and_linked(hand: Hand) -> None:
    tab = hand.dock.curate
    hand.tab(tab)
    graph = tab.curation.graph
    pair = next(
        p for p in sorted(graph.edges) if p[0].session == DENSE and graph.edges[p].kind == "link" and p[0].t > 0
    )
    hand.viewer.scene.camera.zoom = 8
    for cell, more in zip(pair, (False, True), strict=True):
        hand.dock.navigation.to_cell(cell)
        hand.canvas(shift=more)
    assert tab.selection.cells == pair
    hand.click(tab.edit_buttons["break"])
    assert pair not in tab.curation.graph.edges
    hand.click(tab.edit_buttons["link"])
    assert tab.curation.graph.edges[pair].confirmed
    assert hand.actions == 5


def test_a_study_that_was_deleted_while_open_is_told_in_a_sentence(hand: Hand) -> None:
    tab = hand.dock.curate
    hand.tab(tab)
    hand.key("n")
    shutil.rmtree(hand.dock.contents.path)
    hand.key("k")
    assert "There is no study at" in hand.dock.runner.status.text()
    hand.click(hand.dock.runner.run_button)
    assert "There is no study at" in hand.dock.runner.status.text()
    hand.dock.preview.asked.emit(0)
    hand.qtbot.waitUntil(lambda: hand.dock.idle, timeout=60_000)
    assert "There is no study at" in hand.dock.runner.status.text()
    with pytest.raises(CorruptDataError, match="is missing"):  # what napari shows as a notification
        hand.viewer.dims.set_current_step(0, 0)


def test_two_windows_on_one_study_see_each_others_edits(hand: Hand, make_viewer: Any) -> None:
    other = make_viewer()
    second = other.window.add_plugin_dock_widget("napari-marrow", "Marrow study")[1]
    with hand.qtbot.waitSignal(second.loaded, timeout=20_000):
        second.open_study(hand.dock.contents.path)
    hand.qtbot.waitUntil(lambda: second.idle, timeout=60_000)
    hand.tab(hand.dock.curate)
    hand.key("n")
    pair = hand.dock.curate.selection.cells[:2]
    hand.key("k")
    second.curate.undo()
    hand.qtbot.waitUntil(lambda: second.idle, timeout=60_000)
    assert pair in second.curate.curation.graph.edges
    hand.dock.curate.redo()
    hand.qtbot.waitUntil(lambda: hand.dock.idle, timeout=60_000)
    assert pair not in hand.dock.curate.curation.graph.edges
    lines = (hand.dock.contents.path / "edits.jsonl").read_text().splitlines()
    assert len(lines) == 3


def test_the_dock_fits_on_a_small_screen(hand: Hand) -> None:
    hand.viewer.window.resize(1280, 720)
    hand.qtbot.wait(300)
    for index in range(hand.dock.tabs.count()):
        hand.dock.tabs.setCurrentIndex(index)
        hand.qtbot.wait(50)
        assert hand.dock.minimumSizeHint().height() <= 620, hand.dock.tabs.tabText(index)
        assert hand.dock.minimumSizeHint().width() <= 400, hand.dock.tabs.tabText(index)
    assert hand.viewer.window._qt_window.height() <= 720
    bar = hand.dock.tabs.tabBar()
    assert bar.tabRect(bar.count() - 1).right() <= bar.width()


def test_the_figure_is_exported_with_its_numbers_and_the_recipes_digest(hand: Hand, tmp_path: Path) -> None:
    dock = hand.dock
    hand.tab(dock.lineage)
    digest = dock.contents.recipe.digest
    for name in ("figure.svg", "figure.pdf"):
        dock.lineage.export(tmp_path / name)
        hand.qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
        assert dock.runner.status.text() == f"Written: {name} and figure.csv."
    assert digest in (tmp_path / "figure.svg").read_text()
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    numbers = pd.read_csv(tmp_path / "figure.csv")
    assert set(numbers["recipe"]) == {digest}
    table = Study.open(dock.contents.path).table("emergence")
    means = table[(table["organoid"] == "all") & (table["condition"] != "all") & (table["lineage"] != "death")]
    if "session" in means:
        means = means[means["session"] == DENSE]
    means = means.dropna(subset="cumulative_incidence")
    assert len(numbers) == len(means)
    assert numbers["cumulative_incidence"].sum() == pytest.approx(means["cumulative_incidence"].sum())
    dock.lineage.export(tmp_path / "figure.docx")
    hand.qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
    assert "figure.docx" in dock.runner.status.text()
    assert not (tmp_path / "figure.docx").exists()


def test_commands_of_the_menus_act_on_the_dock(hand: Hand) -> None:
    from napari_marrow.gui.contributions import next_uncertain, redo_edit, undo_edit

    tab = hand.dock.curate
    next_uncertain()
    pair = tab.selection.cells[:2]
    hand.key("k")
    undo_edit()
    hand.qtbot.waitUntil(lambda: hand.dock.idle, timeout=60_000)
    assert pair in tab.curation.graph.edges
    redo_edit()
    hand.qtbot.waitUntil(lambda: hand.dock.idle, timeout=60_000)
    assert pair not in tab.curation.graph.edges

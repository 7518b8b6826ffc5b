"""The Curate tab in a real window, with real clicks and keys."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import Qt

from napari_marrow.gui.napari_names import text_overlay
from napari_marrow.study import Study
from napari_marrow.tracking.edit_graph import Node

pytestmark = pytest.mark.gui

POSITION, DENSE = "B02_f00", 2


@pytest.fixture
def curated(dock: Any, finished_study: Path, tmp_path: Path, qtbot: Any) -> Any:
    """The dock with a study of its own, at the Curate tab."""
    path = Path(shutil.copytree(finished_study, tmp_path / "Knochenmark größer.marrow"))
    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        dock.open_study(path)
    qtbot.waitUntil(lambda: dock.idle and dock.curate.curation is not None, timeout=20_000)
    dock.tabs.setCurrentWidget(dock.curate)
    return dock


def click(qtbot: Any, dock: Any, button: Any) -> None:
    from qtpy.QtCore import Qt

    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.idle, timeout=20_000)


def press(qtbot: Any, dock: Any, viewer: Any, key: str, *, shift: bool = False) -> None:
    from qtpy.QtCore import Qt

    modifier = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier
    qtbot.keyClick(viewer.window._qt_window, key, modifier)
    qtbot.waitUntil(lambda: dock.idle, timeout=20_000)


def labels_at(viewer: Any, cell: Node) -> int:
    """The value that the labels layer shows for a cell."""
    layer = viewer.layers["Cells"]
    study = Study.open(layer.metadata["marrow"]["study"])
    row = study.table("cells").query(
        "position == @POSITION and session == @cell.session and t == @cell.t and label == @cell.label"
    )
    y, x = float(row["y"].iloc[0]), float(row["x"].iloc[0])
    return int(layer.get_value((cell.t, y, x), world=True) or 0)


def test_next_leads_to_the_least_certain_link_and_break_takes_it_apart(
    viewer: Any, curated: Any, qtbot: Any, watchdog: Any
) -> None:
    tab = curated.curate
    qtbot.wait(300)
    watchdog.restart()
    press(qtbot, curated, viewer, "n")
    parent, child = tab.selection.cells[:2]
    assert viewer.dims.current_step[0] == child.t
    assert {tuple(point[:1]) for point in viewer.layers["Selection"].data} == {(float(child.t),), (float(parent.t),)}
    click(qtbot, curated, tab.edit_buttons["break"])
    assert (parent, child) not in tab.curation.graph.edges
    assert "1 edit stands" in tab.state.text()
    assert tab.queue.queue.states[0] == "changed"
    assert tab.update_button.isEnabled()
    assert viewer.layers["Cells"].metadata["marrow"]["tracked"]
    press(qtbot, curated, viewer, "u")
    assert (parent, child) in tab.curation.graph.edges
    assert not tab.update_button.isEnabled()
    press(qtbot, curated, viewer, "U", shift=True)
    assert (parent, child) not in tab.curation.graph.edges
    entries = Study.open(curated.contents.path).edits().standing()
    assert [(e.author, e.action["action"]) for e in entries] == [(tab.author.text(), "break")]
    qtbot.wait(100)
    watchdog.check("curate")


def test_accept_goes_on_to_the_next_and_is_kept(viewer: Any, curated: Any, qtbot: Any) -> None:
    tab = curated.curate
    press(qtbot, curated, viewer, "n")
    first = tab.queue.current
    press(qtbot, curated, viewer, "y")
    assert tab.queue.queue.states[first] == "accepted"
    assert tab.queue.current == first + 1
    press(qtbot, curated, viewer, "N", shift=True)
    assert tab.queue.current == first


def test_cells_are_picked_in_the_image_and_swapped(viewer: Any, curated: Any, qtbot: Any) -> None:
    tab = curated.curate
    graph = tab.curation.graph
    linked = sorted(c for p, c in graph.edges if p.session == DENSE and graph.edges[(p, c)].kind == "link" and c.t == 3)
    first, second = linked[:2]
    viewer.dims.set_current_step(0, 3)
    before = labels_at(viewer, first), labels_at(viewer, second)
    for cell, more in ((first, False), (second, True)):
        row = tab.curation.row_of(cell)
        curated.picks.pick((3.0, row["y"], row["x"]), more=more)
    assert tab.selection.cells == (first, second)
    assert tab.selection.tracks == set(before)
    assert str(first.label) in tab.picked.text()
    click(qtbot, curated, tab.edit_buttons["swap"])
    assert (labels_at(viewer, first), labels_at(viewer, second)) == before[::-1]
    click(qtbot, curated, tab.undo_button)
    assert (labels_at(viewer, first), labels_at(viewer, second)) == before


def test_an_edit_that_the_picked_cells_do_not_mean_is_told(viewer: Any, curated: Any, qtbot: Any) -> None:
    press(qtbot, curated, viewer, "n")
    click(qtbot, curated, curated.curate.edit_buttons["swap"])
    assert "To swap, pick two cells of one frame" in curated.runner.status.text()
    assert not Study.open(curated.contents.path).edits().entries


def test_bulk_accept_leaves_the_doubtful_open(viewer: Any, curated: Any, qtbot: Any) -> None:
    tab = curated.curate
    tab.bulk_from.setValue(0.9)
    click(qtbot, curated, tab.bulk_button)
    edges = {p: e for p, e in tab.curation.graph.edges.items() if p[0].session == DENSE}
    assert {e.confirmed for e in edges.values() if e.probability >= 0.9} == {True}
    assert not any(e.confirmed for e in edges.values() if e.probability < 0.9)
    click(qtbot, curated, tab.undo_button)  # one step
    assert not any(e.confirmed for e in tab.curation.graph.edges.values())


def test_an_audit_gives_an_error_rate_that_is_there_after_a_restart(viewer: Any, curated: Any, qtbot: Any) -> None:
    tab = curated.curate
    tab.sample_size.setValue(10)
    click(qtbot, curated, tab.draw_button)
    assert len(tab.queue.queue.rows) == 10
    assert tab.queue.queue.rows["probability"].isna().all()  # nothing that tells what to think
    for k in range(10):
        assert tab.queue.current == k
        click(qtbot, curated, tab.wrong_button if k == 0 else tab.right_button)
    assert "1 of 10 wrong: 10.0 % (95 % interval 1.8 to 40.4 %)" in tab.rate.text()
    with qtbot.waitSignal(curated.loaded, timeout=20_000):
        curated.show_place(POSITION, 1)
    with qtbot.waitSignal(curated.loaded, timeout=20_000):
        curated.show_place(POSITION, DENSE)
    qtbot.waitUntil(lambda: curated.idle, timeout=20_000)
    assert "1 of 10 wrong" in tab.rate.text()
    assert tab.stale  # the report is to tell it


def test_blinded_hides_what_tells_the_condition(viewer: Any, curated: Any, qtbot: Any) -> None:
    shown = [curated.picker.position.itemText(i) for i in range(2)]
    assert any("TPO" in text for text in shown)
    curated.curate.blinded.click()
    shown = [curated.picker.position.itemText(i) for i in range(2)]
    assert sorted(shown) == ["Organoid 1", "Organoid 2"]
    told = curated.picker.title.text() + text_overlay(viewer).text
    assert POSITION not in told
    assert "tiny" not in told
    for panel in (curated.lineage, curated.niche):
        assert not curated.tabs.isTabVisible(curated.tabs.indexOf(panel))
    assert curated.report_button.isHidden()
    with qtbot.waitSignal(curated.loaded, timeout=20_000):
        curated.show_place("C02_f00", DENSE)
    assert text_overlay(viewer).text.startswith("Organoid ")
    curated.curate.blinded.click()
    assert text_overlay(viewer).text.startswith("C02_f00")


def test_the_pedigree_follows_what_is_picked_in_the_image(viewer: Any, curated: Any, qtbot: Any) -> None:
    tab = curated.curate
    tracks = Study.open(curated.contents.path).table("tracks").query("position == @POSITION and session == @DENSE")
    smallest = tracks.groupby("founder_track_id").size().sort_values().index[0]
    track = int(tracks[tracks["founder_track_id"] == smallest]["track_id"].iloc[0])
    node = next(n for n in sorted(tab.curation.graph.nodes) if tab.curation.numbering.track_of(n) == track)
    tab.selection.select([node], [track])
    assert track in {b.track_id for b in curated.pedigree.branches}
    assert curated.pedigree.marked == {track}
    assert curated.track_table.selected() == [track]


def test_a_row_of_the_table_leads_to_its_cell_whatever_the_order(viewer: Any, curated: Any, qtbot: Any) -> None:
    table = curated.track_table
    study = Study.open(curated.contents.path)
    tracks = study.table("tracks").query("position == @POSITION and session == @DENSE")
    assert len(table.tracks.rows) == len(tracks)
    table.sortByColumn(4, Qt.SortOrder.DescendingOrder)  # by their end
    last = table.tracks.rows["end_h"].tolist()
    assert last == sorted(last, reverse=True)
    track = int(table.tracks.rows["track_id"].iloc[2])
    table.selectRow(2)
    assert viewer.layers["Cells"].selected_label == track
    row = tracks[tracks["track_id"] == track].iloc[0]
    assert viewer.dims.current_step[0] == row["t_start"]
    assert [(cell.t, curated.curate.curation.numbering.track_of(cell)) for cell in curated.selection.cells] == [
        (row["t_start"], track)
    ]
    assert track in curated.pedigree.marked

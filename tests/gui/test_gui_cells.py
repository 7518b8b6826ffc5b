"""The Cells tab: what can be plotted, and a selection that plot, image, table and pedigree share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_marrow.gui.cell_columns import cell_columns, cells_chart, colour_columns, colouring, numeric_columns, titled
from napari_marrow.palette import LINEAGE_COLOURS, condition_colours
from napari_marrow.study import Study

from .actions import draw_lasso

POSITION, DENSE = "B02_f00", 2


def test_numbers_are_coloured_in_steps_with_as_many_cells_in_each() -> None:
    table = pd.DataFrame({"area": [*range(1, 13), np.nan]})
    found = colouring(table, "area")
    assert np.bincount(found.code).tolist() == [2, 2, 2, 2, 2, 2, 1]
    assert found.names[-1] == "none"
    assert len(set(found.colours)) == 7
    same = colouring(pd.DataFrame({"area": [3.0, 3.0]}), "area")
    assert set(same.code) == {0}


def test_classes_keep_the_colours_that_they_have_everywhere() -> None:
    table = pd.DataFrame({"lineage": ["erythroid", None, "megakaryocytic"], "condition": ["TPO", "control", "TPO"]})
    lineage = colouring(table, "lineage")
    assert [lineage.colours[k] for k in lineage.code[[0, 2]]] == [
        LINEAGE_COLOURS["erythroid"],
        LINEAGE_COLOURS["megakaryocytic"],
    ]
    assert lineage.names[lineage.code[1]] == "none"
    condition = colouring(table, "condition")
    assert dict(zip(condition.names, condition.colours, strict=True)) == condition_colours(["control", "TPO"])


@pytest.mark.gui
def test_the_columns_are_those_of_every_step_that_has_run(finished_study: Path) -> None:
    study = Study.open(finished_study)
    table = cell_columns(study)
    assert len(table) == len(study.table("cells"))
    assert {"lineage", "distance_vessel", "track_id", "colony", "condition", "organoid"} <= set(table.columns)
    assert "track_id" not in numeric_columns(table)
    assert colour_columns(table)[:2] == ["lineage", "condition"]
    assert titled("distance_vessel") == "distance vessel (µm)"
    colour = colouring(table, "condition")
    chart = cells_chart(table, "area", "y", colour, "")
    assert sum(len(s.x) for s in chart.series) == len(table) == len(chart.numbers)


def at_cells(viewer: Any, dock: Any, study: Path, qtbot: Any) -> Any:
    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        dock.open_study(study)
    dock.tabs.setCurrentWidget(dock.cells)
    qtbot.waitUntil(lambda: dock.idle and dock.cells.cloud is not None and len(dock.cells.table) > 0, timeout=20_000)
    qtbot.waitUntil(lambda: dock.curate.curation is not None, timeout=20_000)
    qtbot.wait(100)
    return dock.cells


def drag(qtbot: Any, tab: Any, corners: list[tuple[float, float]]) -> None:
    """Draw a lasso through places of the plot with the mouse."""
    import pyqtgraph as pg

    way = [tab.cloud.plot.mapFromScene(tab.cloud.box.mapViewToScene(pg.Point(*corner))) for corner in corners]
    draw_lasso(qtbot, tab.cloud.plot, way)


@pytest.mark.gui
def test_a_lasso_in_the_plot_selects_in_the_image_and_everywhere(
    viewer: Any, dock: Any, finished_study: Path, qtbot: Any
) -> None:
    tab = at_cells(viewer, dock, finished_study, qtbot)
    cells = Study.open(finished_study).table("cells").query("position == @POSITION and session == @DENSE")
    x = cells[tab.x.currentData()]
    left, right = np.quantile(x, [0.1, 0.8])
    (x0, x1), (y0, y1) = tab.cloud.box.viewRange()
    margin = (x1 - x0) / 100  # the mouse knows whole pixels
    corners = [(left, y0), (right, y0), (right, y1), (left, y1), (left, (y0 + y1) / 2)]
    drag(qtbot, tab, corners)
    surely = cells[(x > left + margin) & (x < right - margin)]
    never = cells[(x < left - margin) | (x > right + margin)]
    crowd = dock.selection.crowd
    found = set(zip(crowd.t.tolist(), crowd.label.tolist(), strict=True))
    assert len(surely) > 20
    assert set(zip(surely["t"], surely["label"], strict=True)) <= found
    assert not found & set(zip(never["t"], never["label"], strict=True))
    for t in (0, 3):
        viewer.dims.set_current_step(0, t)
        rings = viewer.layers["Selection"].data
        wanted = cells[[pair[0] == t and pair in found for pair in zip(cells["t"], cells["label"], strict=True)]]
        assert len(rings) == len(wanted) > 0
        assert sorted(rings[:, -1]) == pytest.approx(sorted(wanted["x"]))
    tracks = Study.open(finished_study).table("track_nodes").query("position == @POSITION and session == @DENSE")
    of = {(t, label): k for t, label, k in tracks[["t", "label", "track_id"]].itertuples(index=False)}
    assert set(dock.selection.tracks) == {of[pair] for pair in found if pair in of}
    assert set(dock.track_table.selected()) == set(dock.selection.tracks)


@pytest.mark.gui
def test_a_point_leads_to_its_cell_and_a_track_brings_its_points_out(
    viewer: Any, dock: Any, finished_study: Path, qtbot: Any
) -> None:
    from qtpy.QtCore import Qt

    tab = at_cells(viewer, dock, finished_study, qtbot)
    track = int(dock.track_table.tracks.rows.sort_values("end_h")["track_id"].iloc[-1])
    dock.selection.select(tracks=[track])
    nodes = Study.open(finished_study).table("track_nodes").query("position == @POSITION and session == @DENSE")
    mine = nodes[nodes["track_id"] == track]
    rows = tab.table.iloc[tab.cloud.selected]
    assert sorted(zip(rows["t"], rows["label"], strict=True)) == sorted(zip(mine["t"], mine["label"], strict=True))
    point = int(np.nanargmax(tab.table[tab.x.currentData()].to_numpy()))  # at the edge: it has no neighbour
    place = tab.cloud.plot.mapFromScene(*tab.cloud.place_of(point))
    qtbot.mouseClick(tab.cloud.plot.viewport(), Qt.MouseButton.LeftButton, pos=place)
    row = tab.table.iloc[point]
    assert viewer.dims.current_step[0] == row["t"]
    assert viewer.layers["Cells"].selected_label == row["track_id"]
    assert dock.track_table.selected() == [row["track_id"]]
    assert row["track_id"] in dock.pedigree.marked
    # a cell of another position opens it
    tab.scope.setCurrentIndex(1)
    tab.scope.activated.emit(1)
    qtbot.waitUntil(lambda: dock.idle and tab.table["position"].nunique() == 2, timeout=20_000)
    other = tab.table[(tab.table["position"] != POSITION) & (tab.table["session"] == DENSE)].index[0]
    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        tab.cloud.clicked.emit(int(other), False)
    assert dock.picker.place() == ("C02_f00", DENSE)


@pytest.mark.gui
def test_a_lasso_is_followed_in_a_tenth_of_a_second_at_350_000_cells(qapp: Any, qtbot: Any) -> None:
    from napari_marrow.gui.cells_reading import CellsRead, Wanted
    from napari_marrow.gui.cells_tab import CellsTab
    from napari_marrow.gui.selection import Selection

    n, rng = 350_000, np.random.default_rng(0)
    table = pd.DataFrame(
        {"position": "p", "session": 1, "t": np.arange(n) // 175, "label": np.arange(n) % 175 + 1, "z": 0.0,
         "y": rng.random(n), "x": rng.random(n), "area": rng.normal(60, 9, n), "intensity_CD41": rng.random(n),
         "track_id": np.arange(n) // 50 + 1}
    )  # fmt: skip
    tab = CellsTab(Selection())
    qtbot.addWidget(tab)
    tab.resize(380, 500)
    tab.show()
    tab._on_read(CellsRead.of(table, Wanted(Path(), "p", 1, 0, "")))
    qapp.processEvents()
    (x0, x1), (y0, y1) = tab.cloud.box.viewRange()
    middle = (x0 + x1) / 2
    ring = np.array([(x0, y0), (middle, y0), (middle, y1), (x0, y1)])
    took = []
    for _ in range(3):
        tab.selection.clear()
        qapp.processEvents()
        start = time.thread_time()
        tab.cloud.box.ended.emit(ring, False)
        qapp.processEvents()
        took.append(time.thread_time() - start)
    pixel = (x1 - x0) / tab.cloud.box.width()
    assert abs(len(tab.selection.crowd) - int((table["area"] < middle).sum())) <= int(
        ((table["area"] - middle).abs() < 2 * pixel).sum()
    )
    assert min(took) < 0.1, took


@pytest.mark.gui
def test_what_is_plotted_is_exported_with_its_numbers_and_what_cannot_be_is_told(
    viewer: Any, dock: Any, finished_study: Path, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QFileDialog

    tab = at_cells(viewer, dock, finished_study, qtbot)
    proposed = []

    def choose(parent: Any, title: str, name: str, kinds: str) -> tuple[str, str]:
        proposed.append(name)
        return str(tmp_path / "cells.pdf"), kinds

    monkeypatch.setattr(QFileDialog, "getSaveFileName", choose)
    with qtbot.waitSignal(tab.exported, timeout=30_000) as told:
        qtbot.mouseClick(tab.export_button, Qt.MouseButton.LeftButton)
    assert told.args == ["Written: cells.pdf and cells.csv."]
    assert proposed == [f"{tab.y.currentData()}_over_{tab.x.currentData()}.pdf"]
    numbers = pd.read_csv(tmp_path / "cells.csv")
    assert numbers["area"].to_numpy() == pytest.approx(tab.table["area"].to_numpy())
    assert (tmp_path / "cells.pdf").read_bytes().startswith(b"%PDF")
    with qtbot.waitSignal(tab.refused, timeout=30_000) as refused:
        tab.export(tmp_path / "cells.docx")
    assert "cells.docx" in refused.args[0]

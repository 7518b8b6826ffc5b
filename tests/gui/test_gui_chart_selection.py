"""Lineage and Niche plots share the selection: a lasso selects in the image, what is picked elsewhere stands out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_marrow.gui.charts import Chart, Series
from napari_marrow.gui.lineage_charts import LINEAGE_CHARTS
from napari_marrow.study import Study

from .actions import draw_lasso

pytestmark = pytest.mark.gui

POSITION, DENSE = "B02_f00", 2


@pytest.fixture
def opened(viewer: Any, dock: Any, finished_study: Path, qtbot: Any) -> Any:
    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        dock.open_study(finished_study)
    qtbot.waitUntil(lambda: dock.idle and dock.curate.curation is not None, timeout=20_000)
    return dock


def at(qtbot: Any, dock: Any, panel: Any, chart: str) -> Any:
    dock.tabs.setCurrentWidget(panel)
    panel.kind.setCurrentText(chart)
    qtbot.waitUntil(lambda: dock.idle and panel.plot.plot is not None and len(panel.chart.handles) > 0, timeout=20_000)
    qtbot.wait(100)
    return panel.plot


def around(plot: Any, handle: int, reach: int) -> list[Any]:
    from qtpy.QtCore import QPoint

    middle = plot.place_of(handle)
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -0.5)]
    return [middle + QPoint(round(reach * dx), round(reach * dy)) for dx, dy in corners]


def tracks_in_colony(study: Study, colony: int) -> set[int]:
    """The tracks with a cell in a colony's radius, from the tables."""
    where = "position == @POSITION and session == @DENSE"
    colonies = study.table("colonies").query(where).query("colony_id == @colony")
    cells = study.table("track_nodes").query(where)[["t", "label", "track_id"]]
    cells = cells.merge(study.table("cells").query(where)[["t", "label", "y", "x"]], on=["t", "label"])
    found: set[int] = set()
    for row in colonies.itertuples():
        here = cells[cells["t"] == row.t]
        found |= set(here.loc[np.hypot(here["y"] - row.y, here["x"] - row.x) <= max(row.radius, 1.0), "track_id"])
    return found


def test_a_lasso_over_cells_of_the_vessel_map_rings_them_in_the_image(viewer: Any, opened: Any, qtbot: Any) -> None:
    from qtpy.QtCore import Qt

    plot = at(qtbot, opened, opened.niche, "Vessel map")
    handles = plot.chart.handles
    assert set(zip(handles["position"], handles["session"], strict=True)) == {(POSITION, DENSE)}
    x, y = handles["x"].to_numpy(), handles["y"].to_numpy()
    (x0, _), (y0, y1) = plot.plot.getPlotItem().vb.viewRange()
    import pyqtgraph as pg

    box, middle = plot.plot.getPlotItem().vb, float(np.median(x))
    corners = [(x0, y0), (middle, y0), (middle, y1), (x0, y1), (x0, (y0 + y1) / 2)]
    draw_lasso(qtbot, plot.plot, [plot.plot.mapFromScene(box.mapViewToScene(pg.Point(*c))) for c in corners])
    slack = 1.5 * box.viewPixelSize()[0]
    surely, never = handles[x < middle - slack], handles[x > middle + slack]
    selected = opened.selection
    labels = {cell.label for cell in selected.cells} | set(selected.crowd.label.tolist())
    assert set(surely["label"]) <= labels
    assert not labels & set(never["label"])
    frame = int(handles["t"].iloc[0])
    qtbot.wait(20)  # between what a person does, the window turns
    viewer.dims.set_current_step(0, frame)
    qtbot.wait(20)
    rings = viewer.layers["Selection"].data
    assert len(rings[rings[:, 0] == frame]) == len(labels) > 2
    # a click on a point leads to its cell, and only it is marked
    outermost = int(np.argmax(x))
    qtbot.mouseClick(plot.plot.viewport(), Qt.MouseButton.LeftButton, pos=plot.place_of(outermost))
    assert [cell.label for cell in selected.cells] == [handles["label"].iloc[outermost]]
    assert viewer.dims.current_step[0] == frame
    assert marked(plot) == [(pytest.approx(x[outermost]), pytest.approx(y[outermost]))]
    qtbot.wait(20)
    # a track that is picked in the table brings its cell of this frame out
    nodes = Study.open(opened.contents.path).table("track_nodes")
    nodes = nodes.query("position == @POSITION and session == @DENSE and t == @frame")
    row = nodes.iloc[3]
    opened.selection.select(tracks=[int(row["track_id"])])
    qtbot.wait(20)
    wanted = handles[handles["label"] == row["label"]]
    assert marked(plot) == [(pytest.approx(wanted["x"].iloc[0]), pytest.approx(wanted["y"].iloc[0]))]
    opened.selection.clear()
    assert marked(plot) == []


def marked(plot: Any) -> list[tuple[float, float]]:
    rings = plot.marks[-1]
    return list(zip(*rings.getData(), strict=True))


def test_a_lasso_over_a_colonys_growth_selects_its_tracks_and_they_bring_it_out(opened: Any, qtbot: Any) -> None:
    plot = at(qtbot, opened, opened.lineage, "Colony growth")
    study = Study.open(opened.contents.path)
    handles = plot.chart.handles
    here = handles[handles["position"] == POSITION]
    row = next(k for k in here.index if tracks_in_colony(study, int(handles.loc[k, "colony"])))
    draw_lasso(qtbot, plot.plot, around(plot, row, 5))
    inside = here[(np.hypot(here["x"] - handles.loc[row, "x"], here["y"] - handles.loc[row, "y"])) < 1e-9]
    wanted = set().union(*(tracks_in_colony(study, int(c)) for c in inside["colony"]))
    assert wanted <= set(opened.selection.tracks)
    assert "colon" in opened.runner.status.text()
    assert set(opened.track_table.selected()) == set(opened.selection.tracks)
    opened.selection.select(tracks=[min(wanted)])
    alike = here[[min(wanted) in tracks_in_colony(study, int(c)) for c in here["colony"]]]
    wanted_places = sorted(zip(alike["x"], np.log10(alike["y"]), strict=True))
    np.testing.assert_allclose(sorted(marked(plot)), wanted_places)
    # colonies of another position are not in the image
    other = handles[handles["position"] != POSITION]
    opened.selection.clear()
    opened.linked._on_lasso(opened.lineage, other.index.to_numpy(), False)
    assert not opened.selection.tracks
    assert "session on display" in opened.runner.status.text()


def test_clones_of_a_size_are_selected_with_all_their_tracks(opened: Any, qtbot: Any) -> None:
    from qtpy.QtCore import Qt

    plot = at(qtbot, opened, opened.lineage, "Clone sizes")
    study = Study.open(opened.contents.path)
    tracks = study.table("tracks").query("position == @POSITION and session == @DENSE")
    clones = study.table("clones").query("position == @POSITION")
    handles = plot.chart.handles
    row = int(handles.index[(handles["position"] == POSITION)][0])
    size = handles.loc[row, "x"]
    qtbot.mouseClick(plot.plot.viewport(), Qt.MouseButton.LeftButton, pos=plot.place_of(row))
    founders = set(clones.loc[clones["n_end"] == size, "founder_track_id"])
    assert set(opened.selection.tracks) == set(tracks.loc[tracks["founder_track_id"].isin(founders), "track_id"])
    one = int(tracks.loc[tracks["founder_track_id"].isin(handles["founder"]), "track_id"].iloc[-1])
    opened.selection.select(tracks=[one])
    founder = int(tracks.loc[tracks["track_id"] == one, "founder_track_id"].iloc[0])
    its = handles[handles["founder"] == founder]
    assert marked(plot) == [(pytest.approx(its["x"].iloc[0]), pytest.approx(its["y"].iloc[0]))]
    qtbot.mouseDClick(plot.plot.viewport(), Qt.MouseButton.LeftButton, pos=plot.place_of(row))


def test_clones_lie_on_the_curve_of_their_organoid() -> None:
    clones = pd.DataFrame(
        {"position": "p", "session": 1, "founder_track_id": [1, 2, 3, 4], "n_end": [0, 2, 2, 5], "n_escaped": 0}
    )  # fmt: skip
    layout = pd.DataFrame({"position": ["p"], "organoid": ["o"], "condition": ["control"]})
    from napari_marrow.gui.charts import Subset, View, make_chart

    kind = next(k for k in LINEAGE_CHARTS if k.name == "Clone sizes")
    handles = make_chart(kind, {"clones": clones, "layout": layout}, View(Subset(), "p", 1)).handles
    assert list(handles["y"]) == [1.0, 0.75, 0.75, 0.25]
    assert list(handles["founder"]) == [1, 2, 3, 4]


def test_five_thousand_cells_follow_a_lasso_in_a_tenth_of_a_second(qapp: Any, qtbot: Any) -> None:
    import time

    from napari_marrow.gui.chart_view import ChartView

    n = 5000
    x, y = np.random.default_rng(0).random((2, n)) * 300
    handles = pd.DataFrame({"x": x, "y": y, "position": "p", "session": 1, "t": 0, "label": np.arange(n) + 1})
    view = ChartView("")
    qtbot.addWidget(view)
    view.resize(380, 500)
    view.show()
    view.draw(Chart("map", "x", "y", (Series(x, y, "#58A55C", kind="points", width=7.0),), handles=handles))
    qapp.processEvents()
    found: list[Any] = []
    view.lassoed.connect(lambda rows, more: found.append(rows))
    ring = np.array([(0, 0), (150, 0), (150, 300), (0, 300)], float)
    took = []
    for _ in range(3):
        start = time.thread_time()
        view.plot.getPlotItem().vb.ended.emit(ring, False)
        view.mark(found[-1])
        qapp.processEvents()
        took.append(time.thread_time() - start)
    assert set(found[-1]) == set(np.flatnonzero((x < 150) & (y < 300) & (x > 0) & (y > 0)))
    assert min(took) < 0.1, took

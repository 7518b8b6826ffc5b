"""A study opened through napari's own Open."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_marrow.gui.contributions import get_reader, read_study
from napari_marrow.gui.napari_names import text_overlay
from napari_marrow.gui.session_layers import session_layers
from napari_marrow.gui.study_reader import read_results
from napari_marrow.pipeline import parse_recipe, run
from napari_marrow.pipeline.recipe import Recipe
from napari_marrow.study import Study

POSITION, DENSE = "B02_f00", 2


def by_name(layers: list[Any]) -> dict[str, Any]:
    return {arguments["name"]: (data, arguments, kind) for data, arguments, kind in layers}


def test_reader_takes_studies_and_nothing_else(raw_study: Path, tmp_path: Path) -> None:
    assert get_reader(str(raw_study)) is read_study
    assert get_reader([str(raw_study)]) is read_study
    (tmp_path / "empty.marrow").mkdir()
    for path in (tmp_path / "empty.marrow", tmp_path / "picture.tif", tmp_path):
        assert get_reader(str(path)) is None
    assert get_reader([]) is None


def test_images_are_lazy_and_lie_in_micrometres(raw_study: Path) -> None:
    image = Study.open(raw_study).image(POSITION, DENSE)
    layers = by_name(read_study(str(raw_study)))
    assert list(layers) == image.channel_names
    for index, name in enumerate(layers):
        data, arguments, kind = layers[name]
        level = data[0] if isinstance(data, list) else data
        assert kind == "image"
        assert level.shape == (6, 96, 96)
        assert not isinstance(level, np.ndarray)
        np.testing.assert_array_equal(np.asarray(level[3]), image.read(3, index)[0])
        assert arguments["scale"] == (1.0, *image.spacing[1:])
        assert arguments["units"] == ("pixel", "micrometer", "micrometer")
        assert arguments["axis_labels"] == ("t", "y", "x")
        low, high = arguments["contrast_limits"]
        assert low < high


@pytest.mark.gui
def test_results_lie_on_the_images(finished_study: Path) -> None:
    study = Study.open(finished_study)
    layers = by_name(session_layers(study, POSITION, DENSE).layers)
    nodes = study.table("track_nodes").query("position == @POSITION and session == @DENSE")
    cells = study.table("cells").query("position == @POSITION and session == @DENSE")
    assert len(nodes) > 10
    shown = np.asarray(layers["Cells"][0])
    assert shown.shape == (6, 96, 96)
    stored = study.labels("cells", study.active["segment"], POSITION, DENSE)
    for row in nodes.itertuples():
        np.testing.assert_array_equal(shown[row.t] == row.track_id, stored.read(row.t)[0] == row.label)
    vertices, arguments, kind = layers["Tracks"]
    assert kind == "tracks"
    assert arguments["scale"] == (1.0, 1.0, 1.0)
    found = {(int(v[0]), int(v[1])): (v[2], v[3]) for v in vertices}
    expected = nodes.merge(cells[["t", "label", "y", "x"]], on=["t", "label"], suffixes=("_node", ""))
    assert found == {(r.track_id, r.t): (r.y, r.x) for r in expected.itertuples()}
    # a vertex lies on its own cell's pixels: the two layers agree about the world
    spacing = layers["Cells"][1]["scale"][1:]
    inside = [shown[t, round(y / spacing[0]), round(x / spacing[1])] == track for (track, t), (y, x) in found.items()]
    assert np.mean(inside) > 0.95


@pytest.mark.gui
def test_graph_is_the_parents_of_the_tracks_table(finished_study: Path) -> None:
    study = Study.open(finished_study)
    tracks = study.table("tracks").query("position == @POSITION and session == @DENSE and parent_track_id > 0")
    graph = by_name(session_layers(study, POSITION, DENSE).layers)["Tracks"][1]["graph"]
    assert graph == {int(r.track_id): [int(r.parent_track_id)] for r in tracks.itertuples()}


@pytest.mark.gui
def test_tracks_of_other_labels_are_not_shown(finished_study: Path, quick_recipe: Recipe, tmp_path: Path) -> None:
    path = Path(shutil.copytree(finished_study, tmp_path / "half.marrow"))
    other = parse_recipe({**quick_recipe.model_dump(), "segment": {"flow_threshold": 0.6}})
    run(path, other, until="segment")  # as a run that was cancelled behind this step
    layers = by_name(session_layers(Study.open(path), POSITION, DENSE).layers)
    assert "Cells" in layers
    assert not {"Tracks", "Colonies", "Colony masks"} & set(layers)
    assert {"Organoid", "Vessels"} <= set(layers)  # they were not found in cells
    assert layers["Cells"][1]["features"].empty
    assert read_results(path).emergence is None
    assert read_results(path).tracks is None
    run(path, quick_recipe, until="lineage")  # back to the first recipe: everything fits again
    assert {"Cells", "Tracks"} <= set(by_name(session_layers(Study.open(path), POSITION, DENSE).layers))
    assert read_results(path).emergence is not None


@pytest.mark.gui
def test_window_shows_the_study_and_its_clock(viewer: Any, finished_study: Path) -> None:
    study = Study.open(finished_study)
    viewer.open(str(finished_study), plugin="napari-marrow")
    names = [layer.name for layer in viewer.layers]
    assert names[:4] == study.image(POSITION, DENSE).channel_names
    assert {"Cells", "Tracks"} <= set(names)
    assert {tuple(str(u) for u in layer.units) for layer in viewer.layers} == {("pixel", "micrometer", "micrometer")}
    assert tuple(viewer.dims.axis_labels) == ("t", "y", "x")
    np.testing.assert_allclose(viewer.layers["Cells"].extent.world[1][1:], viewer.layers["nuclei"].extent.world[1][1:])
    viewer.dims.set_current_step(0, 2)
    assert text_overlay(viewer).visible
    assert text_overlay(viewer).text == "B02_f00, session 2\nframe 3 of 6: 52.0 h, day 2.2\n2026-03-04 13:00 UTC"
    viewer.screenshot(flash=False)  # draws every layer


@pytest.mark.gui
def test_hovering_tells_the_cell_of_this_frame(viewer: Any, finished_study: Path) -> None:
    study = Study.open(finished_study)
    viewer.open(str(finished_study), plugin="napari-marrow")
    cells, nodes = (study.table(name).query("position == @POSITION and session == @DENSE") for name in
                    ("cells", "track_nodes"))  # fmt: skip
    table = cells.merge(nodes[["t", "label", "track_id"]], on=["t", "label"])
    layer = viewer.layers["Cells"]
    several = table.groupby("track_id").filter(lambda rows: len(rows) > 2)
    track = int(several["track_id"].iloc[0])
    for row in several[several["track_id"] == track].itertuples():
        viewer.dims.set_current_step(0, row.t)
        mask = np.argwhere(np.asarray(layer.data[row.t]) == track)
        y, x = mask[len(mask) // 2] * layer.scale[1:]
        status = layer.get_status((row.t, y, x), view_direction=None, dims_displayed=[1, 2], world=True)
        told = dict(part.split(": ", 1) for part in status["coordinates"].split(", ") if ": " in part)
        assert float(told["area"]) == pytest.approx(row.area, rel=0.01)
        assert float(told["eccentricity"]) == pytest.approx(row.eccentricity, abs=0.01)


@pytest.mark.gui
def test_tracks_are_saved_with_their_mothers_and_every_frame(
    viewer: Any, dock: Any, finished_study: Path, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import napari_marrow.gui.track_window as track_window

    monkeypatch.setattr(track_window, "MOST", 20)  # the layer then holds a few frames only
    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        dock.open_study(finished_study)
    study = Study.open(finished_study)
    layer = viewer.layers["Tracks"]
    nodes = study.table("track_nodes").query("position == @POSITION and session == @DENSE")
    assert len(layer.data) < len(nodes)
    path = tmp_path / "tracks.csv"
    viewer.layers.selection = {layer}
    assert viewer.layers.save(str(path), selected=True) == [str(path)]
    saved = pd.read_csv(path)
    cells = study.table("cells").merge(nodes, on=["position", "session", "t", "label"], suffixes=("", "_of_node"))
    order = ["track_id", "t"]
    saved, cells = (table.sort_values(order, ignore_index=True) for table in (saved, cells))
    for name in ("position", "session", "track_id", "t"):
        assert saved[name].tolist() == cells[name].tolist()
    np.testing.assert_allclose(saved[["time_h", "y", "x"]], cells[["time_h", "y", "x"]], atol=1e-6)
    mothers = study.table("tracks").query("position == @POSITION and session == @DENSE")
    assert saved.groupby("track_id")["parent_track_id"].first().to_dict() == dict(
        zip(mothers["track_id"], mothers["parent_track_id"], strict=True)
    )

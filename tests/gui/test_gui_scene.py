"""3D: a volume with a slab, a view that is kept, movies."""

from __future__ import annotations

import gc
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_marrow.gui.clipping import AXES
from napari_marrow.gui.napari_names import camera
from napari_marrow.study import Study
from napari_marrow.study.saved_view import read_view

pytestmark = pytest.mark.gui


@pytest.fixture
def scene(viewer: Any, dock: Any, volume_study: Path, qtbot: Any) -> Any:
    with qtbot.waitSignal(dock.loaded, timeout=60_000):
        dock.open_study(volume_study)
    qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
    click(qtbot, dock.scene.switch)
    return dock.scene


def click(qtbot: Any, button: Any) -> None:
    from qtpy.QtCore import Qt

    assert button.isEnabled()
    assert button.isVisible()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def of_study(viewer: Any) -> list[Any]:
    return [layer for layer in viewer.layers if "role" in layer.metadata.get("marrow", {})]


def test_a_slab_keeps_what_lies_in_it_on_every_layer(viewer: Any, dock: Any, scene: Any, qtbot: Any) -> None:
    assert {"Cells", "Tracks", "Vessels"} <= {layer.name for layer in viewer.layers}
    assert not viewer.layers["Vessels"].visible
    click(qtbot, scene.volume)
    assert viewer.dims.ndisplay == 3
    assert viewer.layers["Vessels"].visible
    viewer.dims.set_current_step(0, 2)
    qtbot.wait(200)
    whole = viewer.screenshot(flash=False)
    viewer.layers["Tracks"].visible = False
    qtbot.wait(100)
    assert (viewer.screenshot(flash=False) != whole).any()  # tracks can be seen through the cells
    viewer.layers["Tracks"].visible = True
    rng = np.random.default_rng(1)
    for axis in AXES:
        scene.axis.setCurrentText(axis)
        scene.low.setValue(80)
        scene.high.setValue(140)
        scene.clipped.setChecked(True)
        slab = scene.slab()
        assert slab.low < slab.high
        for layer in of_study(viewer):
            places = layer.data_to_world(np.zeros(4)) + rng.uniform(-20, 200, (50, 4))
            inside = (places[:, AXES.index(axis) - 3] - slab.low) * (slab.high - places[:, AXES.index(axis) - 3]) >= 0
            data = np.array([layer.world_to_data(place) for place in places])[:, -3:]
            kept = np.ones(len(data), bool)
            for plane in layer.experimental_clipping_planes:
                kept &= (data - plane.position) @ np.array(plane.normal) >= 0
            assert len(layer.experimental_clipping_planes) == 2
            np.testing.assert_array_equal(kept, inside, err_msg=f"{layer.name}, {axis}")
    qtbot.wait(200)
    assert (viewer.screenshot(flash=False) != whole).any()
    # another session comes with the slab, planes come without it
    for session in (1, 2):
        with qtbot.waitSignal(dock.loaded, timeout=60_000):
            dock.show_place(dock.picker.place()[0], session)
        assert all(len(layer.experimental_clipping_planes) == 2 for layer in of_study(viewer))
    assert viewer.layers["Tracks"].blending == "translucent_no_depth"  # a layer that is new
    click(qtbot, scene.volume)
    assert viewer.dims.ndisplay == 2
    assert viewer.layers["Tracks"].blending == "translucent"
    assert not viewer.layers["Vessels"].visible
    assert not any(len(layer.experimental_clipping_planes) for layer in of_study(viewer))


def test_a_click_in_the_volume_picks_the_first_cell_that_is_not_clipped_away(
    viewer: Any, dock: Any, scene: Any, qtbot: Any
) -> None:
    click(qtbot, scene.volume)
    cells = viewer.layers["Cells"]
    t = 1
    viewer.dims.set_current_step(0, t)
    volume = np.asarray(cells.data[t])
    several = [
        (y, x) for y, x in np.argwhere((volume > 0).any(0)) if len(np.unique(volume[:, y, x][volume[:, y, x] > 0])) > 1
    ]
    y, x = several[len(several) // 2]
    column = volume[:, y, x]
    first = int(column[column > 0][0])
    last_plane = int(np.flatnonzero(column == first)[-1])
    other = next(int(v) for v in column[last_plane + 1 :] if v not in (0, first))
    above = cells.data_to_world((t, -5.0, y, x))
    down = np.zeros(4)
    down[1] = 1.0
    qtbot.wait(50)  # a person does one after the other
    dock.picks.pick(tuple(above), more=False, view_direction=down)
    qtbot.wait(50)
    assert cells.selected_label == first
    assert dock.selection.tracks == {first}
    ends = [float(v) for v in cells.extent.world[:, 1]]
    cut = float(cells.data_to_world((t, last_plane + 0.6, y, x))[1])
    scene.axis.setCurrentText("z")
    scene.low.setValue(int(np.ceil(200 * (cut - ends[0]) / (ends[1] - ends[0]))))
    scene.clipped.setChecked(True)
    qtbot.wait(50)
    dock.picks.pick(tuple(above), more=False, view_direction=down)
    qtbot.wait(50)
    assert cells.selected_label != first
    assert cells.selected_label in set(column[last_plane + 1 :].tolist()) | {other}
    # a cell that is gone to lies in the middle, in depth, too
    node = dock.selection.cells[0]
    dock.navigation.to_cell(node)
    row = dock.curate.curation.row_of(node)
    place = viewer.layers["Tracks"].data_to_world((t, *(float(row[name]) for name in AXES)))
    assert tuple(camera(viewer).center) == pytest.approx(tuple(place[-3:]))


def test_the_view_is_kept_with_the_study_and_results_stay_what_they_are(
    viewer: Any, dock: Any, scene: Any, qtbot: Any, make_viewer: Any
) -> None:
    from napari_marrow.gui.currency import current_steps

    click(qtbot, scene.recall)
    assert "No view is saved" in dock.runner.status.text()
    click(qtbot, scene.volume)
    before = current_steps(Study.open(dock.contents.path))
    look = camera(viewer)
    look.angles, look.zoom, look.center = (10.0, 25.0, 70.0), 4.5, (12.0, 30.0, 35.0)
    scene.axis.setCurrentText("x")
    scene.low.setValue(40)
    scene.clipped.setChecked(True)
    click(qtbot, scene.save)
    assert "saved" in dock.runner.status.text()
    assert current_steps(Study.open(dock.contents.path)) == before
    direction = np.array(look.view_direction)
    other = make_viewer()
    second = other.window.add_plugin_dock_widget("napari-marrow", "Marrow study")[1]
    with qtbot.waitSignal(second.loaded, timeout=60_000):
        second.open_study(dock.contents.path)
    click(qtbot, second.scene.switch)
    click(qtbot, second.scene.recall)
    there = camera(other)
    assert other.dims.ndisplay == 3
    assert there.zoom == pytest.approx(4.5)
    assert tuple(there.center) == pytest.approx((12.0, 30.0, 35.0))
    np.testing.assert_allclose(there.view_direction, direction, atol=1e-6)
    assert second.scene.slab() == scene.slab()
    saved = read_view(dock.contents.path)
    assert saved is not None
    assert (saved.clip_axis, saved.clip_low, saved.clipped) == ("x", 0.2, True)


def test_a_movie_over_time_has_a_picture_of_every_frame_and_a_cancelled_one_leaves_nothing(
    viewer: Any, dock: Any, scene: Any, qtbot: Any, tmp_path: Path, watchdog: Any
) -> None:
    from PIL import Image

    viewer.dims.set_current_step(0, 1)
    qtbot.wait(300)
    watchdog.restart()
    with qtbot.waitSignal(scene.movie.ended, timeout=60_000):
        scene.make_movie("over time", tmp_path / "pictures")
    qtbot.wait(600)
    watchdog.check("movie")
    files = sorted((tmp_path / "pictures").iterdir())
    pictures = [np.asarray(Image.open(file)) for file in files]
    assert [file.name for file in files] == [f"frame_{k:05d}.png" for k in (1, 2, 3)]
    assert len({picture.shape for picture in pictures}) == 1
    assert all((pictures[k] != pictures[k + 1]).mean() > 0.001 for k in (0, 1))
    assert dock.runner.status.text() == "Written: pictures, 3 pictures."
    assert viewer.dims.current_step[0] == 1
    scene.make_movie("over time", tmp_path / "pictures")
    assert "is there already" in dock.runner.status.text()
    scene.make_movie("over time", tmp_path / "movie.avi")
    assert "movie.avi" in dock.runner.status.text()
    scene.make_movie("over time", tmp_path / "other")
    click(qtbot, scene.stop)
    assert not scene.busy
    assert "Nothing is left" in dock.runner.status.text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"]


@pytest.mark.skipif(find_spec("napari_animation") is None, reason="needs napari-animation (extra `movie`)")
# imageio leaves the pipes of the ffmpeg that it starts to the garbage collector
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_films_of_a_turn_and_of_a_way_of_the_camera(
    viewer: Any, dock: Any, scene: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import imageio.v2 as imageio

    from napari_marrow.gui import movie_frames

    monkeypatch.setattr(movie_frames, "TURN_STEPS", 12)  # as long as a test may take
    monkeypatch.setattr(movie_frames, "FLIGHT_STEPS", 8)
    viewer.window.resize(900, 600)
    for name in ("nuclei", "CD31", "CD235a", "CD41"):
        viewer.layers[name].visible = False  # without a graphics card volumes take their time
    scene.make_movie("one turn", tmp_path / "turn.mp4")
    assert "needs the 3D view" in dock.runner.status.text()
    click(qtbot, scene.volume)
    click(qtbot, scene.save)
    look = camera(viewer)
    look.angles = (20.0, 40.0, 60.0)
    look.zoom = 2 * look.zoom
    zoom, direction = look.zoom, np.array(look.view_direction)
    seen: list[Any] = []
    scene.movie.progressed.connect(lambda done, total: seen.append((total, look.zoom, np.array(look.view_direction))))
    for kind, name, pictures in (("one turn", "turn.mp4", 12), ("from the saved view", "way.gif", 9)):
        seen.clear()
        with qtbot.waitSignal(scene.movie.ended, timeout=120_000):
            scene.make_movie(kind, tmp_path / name)
        assert dock.runner.status.text() == f"Written: {name}, {pictures} pictures."
        assert look.zoom == pytest.approx(zoom)
        np.testing.assert_allclose(look.view_direction, direction, atol=1e-6)
        views = np.array([view for _, _, view in seen[1:]])
        between = np.degrees(np.arccos(np.clip((views[1:] * views[:-1]).sum(1), -1, 1)))
        if kind == "one turn":
            np.testing.assert_allclose(between, between[0], rtol=1e-3)
            assert 20 < between[0] <= 30.1
        else:
            zooms = [z for _, z, _ in seen[1:]]
            assert zooms == sorted(zooms)
            assert between.max() < 3 * between.mean()
    film = imageio.get_reader(tmp_path / "turn.mp4")
    shapes = {frame.shape for frame in film}
    film.close()
    gc.collect()  # here, not in the next test
    assert len(shapes) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["turn.mp4", "way.gif"]
    scene.make_movie("over time", tmp_path / "time.mp4")
    scene.movie.cancel()
    assert not (tmp_path / "time.mp4").exists()


def test_a_flat_session_stays_flat(viewer: Any, dock: Any, finished_study: Path, qtbot: Any) -> None:
    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        dock.open_study(finished_study)
    click(qtbot, dock.scene.switch)
    assert not dock.scene.volume.isEnabled()
    dock.scene.show_volume(True)
    assert viewer.dims.ndisplay == 2
    assert "one plane" in dock.runner.status.text()
    assert dock.minimumSizeHint().height() <= 620

"""The manifest and the menu commands on plain layers."""

from __future__ import annotations

import tomllib
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_marrow.gui.layer_frames import layer_frames
from napari_marrow.study import Study

POSITION, DENSE = "B02_f00", 2


@pytest.fixture
def manifest() -> Any:
    from npe2 import PluginManifest

    path = files("napari_marrow") / "napari.yaml"
    manifest = PluginManifest.from_file(str(path))
    manifest.validate_imports()
    return manifest


def test_manifest_is_valid_and_an_entry_point(manifest: Any) -> None:
    found = [e for e in entry_points(group="napari.manifest") if e.name == "napari-marrow"]
    assert [e.value for e in found] == ["napari_marrow:napari.yaml"]
    root = Path(__file__).parents[2]
    assert tomllib.loads((root / "pyproject.toml").read_text())["project"]["name"] == manifest.name


def test_menus_exist_in_napari_and_take_contributions(manifest: Any) -> None:
    from napari._app_model.constants import MenuId

    commands = {command.id for command in manifest.contributions.commands}
    menus = manifest.contributions.menus
    assert set(menus) == {"napari/layers/segment", "napari/layers/track", "napari/layers/measure"}
    assert set(menus) <= {str(menu) for menu in MenuId.contributables()}
    assert {item.command for items in menus.values() for item in items} <= commands


def select(viewer: Any, layer: Any) -> None:
    viewer.layers.selection.active = layer


def execute(name: str) -> Any:
    """Run a command as its menu entry does."""
    from napari._app_model import get_app_model

    return get_app_model().commands.execute_command(f"napari-marrow.{name}").result()


@pytest.mark.gui
def test_segment_measure_and_track_a_plain_image(viewer: Any, raw_study: Path, qtbot: Any, watchdog: Any) -> None:
    image = Study.open(raw_study).image(POSITION, DENSE)
    stack = np.stack([image.read(t, "nuclei")[0] for t in range(3)])
    transform = {"scale": (1, 1.02, 1.02), "translate": (0, 5, 7), "units": ("pixel", "um", "um")}
    picture = viewer.add_image(stack, name="picture", axis_labels=("t", "y", "x"), **transform)
    select(viewer, picture)
    watchdog.restart()
    with qtbot.waitSignal(execute("segment_layer").ended, timeout=60_000):
        pass
    qtbot.waitUntil(lambda: "picture cells" in viewer.layers, timeout=5_000)
    labels = viewer.layers["picture cells"]
    assert labels.data.shape == stack.shape
    assert labels.data.dtype == np.int32
    assert labels.data.max() > 5
    assert all(np.array_equal(getattr(labels, name), getattr(picture, name)) for name in ("scale", "translate"))
    assert labels.units == picture.units
    assert labels.axis_labels == picture.axis_labels

    select(viewer, labels)
    with qtbot.waitSignal(execute("measure_layer").ended, timeout=60_000):
        pass
    qtbot.waitUntil(lambda: "marrow" in labels.metadata, timeout=5_000)
    for t in (2, 0, 1):
        viewer.dims.set_current_step(0, t)
        features = labels.features
        assert sorted(features["index"]) == sorted(set(np.unique(labels.data[t])) - {0})
        area = features.set_index("index")["area"]
        counts = np.bincount(labels.data[t].ravel())
        for label, value in area.items():
            assert value == pytest.approx(counts[label] * 1.02**2, rel=1e-6)
        assert features["intensity_picture"].median() > 0

    with qtbot.waitSignal(execute("track_layer").ended, timeout=60_000):
        pass
    qtbot.waitUntil(lambda: "picture cells tracks" in viewer.layers, timeout=5_000)
    tracks = viewer.layers["picture cells tracks"]
    assert len(tracks.data) == sum(len(np.unique(frame)) - 1 for frame in labels.data)
    np.testing.assert_allclose(tracks.scale, labels.scale)
    on_cell = [labels.data[int(t), round(y), round(x)] > 0 for _, t, y, x in tracks.data]
    assert np.mean(on_cell) > 0.95
    watchdog.check("menu commands")


@pytest.mark.gui
def test_commands_say_what_they_need(viewer: Any, qtbot: Any) -> None:
    from napari.utils.notifications import notification_manager

    def said() -> str:
        return str(notification_manager.records[-1].message)

    assert execute("segment_layer") is None
    assert said() == "Select an image layer to segment."
    labels = viewer.add_labels(np.zeros((8, 8), np.int32), name="one frame")
    assert execute("segment_layer") is None
    select(viewer, labels)
    execute("track_layer")
    qtbot.waitUntil(lambda: "time axis" in said(), timeout=20_000)
    execute("measure_layer")
    qtbot.waitUntil(lambda: "No image layer has the shape (8, 8)" in said(), timeout=20_000)
    colour = viewer.add_image(np.zeros((8, 8, 3), np.uint8), rgb=True, name="photo")
    select(viewer, colour)
    assert execute("segment_layer") is None
    assert "colour picture" in said()


@pytest.mark.gui
def test_a_layer_without_a_scale_is_measured_in_pixels_and_one_of_wrong_axes_is_refused(
    viewer: Any, qtbot: Any
) -> None:
    from napari.utils.notifications import notification_manager

    image = viewer.add_image(np.random.default_rng(0).poisson(9, (2, 40, 40)).astype(np.uint16), name="bare")
    labels = viewer.add_labels(np.pad(np.ones((2, 9, 9), np.int32), ((0, 0), (5, 26), (5, 26))), name="bare cells")
    select(viewer, labels)
    notification_manager.records.clear()
    execute("measure_layer")
    assert "'bare cells' has no pixel size: lengths and areas are in pixels" in notification_manager.records[0].message
    qtbot.waitUntil(lambda: "marrow" in labels.metadata, timeout=60_000)
    assert labels.features["area"].tolist() == [81.0]
    image.units = labels.units = ("pixel", "um", "um")
    labels.metadata.clear()
    notification_manager.records.clear()
    execute("measure_layer")
    qtbot.waitUntil(lambda: "marrow" in labels.metadata, timeout=60_000)
    assert not notification_manager.records
    assert layer_frames(labels).physical
    image.units = labels.units = ("pixel", "pixel", "pixel")
    assert not layer_frames(labels).physical
    labels.scale = (1, 0.65, 0.65)  # a scale without a unit was given by somebody: µm
    assert layer_frames(labels).physical
    many = viewer.add_image(np.zeros((1, 2, 2, 8, 8), np.uint8), name="five")
    select(viewer, many)
    assert execute("segment_layer") is None
    assert notification_manager.records[-1].message == "'five' has 5 axes: pick a layer of (t, z,) y and x."


@pytest.mark.gui
def test_layer_frames_know_time_from_depth() -> None:
    from napari.layers import Image

    volume = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(np.float32)
    both = layer_frames(Image(volume, scale=(1, 4, 2, 3)))
    assert (len(both), both.frame(1).shape, both.spacing) == (2, (3, 4, 5), (4.0, 2.0, 3.0))
    depth = layer_frames(Image(volume[0], axis_labels=("z", "y", "x"), scale=(4, 2, 3)))
    assert (len(depth), depth.frame(0).shape, depth.volume_spacing()) == (1, (3, 4, 5), (4.0, 2.0, 3.0))
    plane = layer_frames(Image(volume[0, 0], scale=(2, 3)))
    assert (len(plane), plane.volume(0).shape, plane.volume_spacing()) == (1, (1, 4, 5), (1.0, 2.0, 3.0))
    timed = layer_frames(Image(volume[0], scale=(1, 2, 3)))
    np.testing.assert_array_equal(timed.frame(2), volume[0, 2])


@pytest.mark.gui
def test_sample_is_made_beside_the_window_and_opens_raw(
    viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: Any, watchdog: Any
) -> None:
    monkeypatch.setenv("NAPARI_MARROW_CACHE", str(tmp_path / "cache"))
    watchdog.restart()
    viewer.open_sample("napari-marrow", "tutorial")
    assert [layer.name for layer in viewer.layers] == ["nuclei", "CD31", "CD235a", "CD41", "CD11b"]
    watchdog.check("making the sample")
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [next((tmp_path / "cache").iterdir()).name]
    viewer.layers.clear()
    viewer.open_sample("napari-marrow", "tutorial")
    assert len(viewer.layers) == 5

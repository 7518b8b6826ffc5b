"""Where and when: units, scales and axes of every layer, contrast over sessions, and the clock in every workflow."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_marrow.gui.napari_names import text_overlay
from napari_marrow.study import Study

pytestmark = pytest.mark.gui


def opened(qtbot: Any, dock: Any, path: Path, place: tuple[str, int] | None = None) -> None:
    with qtbot.waitSignal(dock.loaded, timeout=60_000):
        dock.open_study(path, place)
    qtbot.waitUntil(lambda: dock.idle, timeout=60_000)


@pytest.mark.parametrize("kind", ["finished_study", "volume_study"])
def test_every_layer_has_units_a_scale_and_axes(
    kind: str, viewer: Any, dock: Any, qtbot: Any, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(kind)
    flat = kind == "finished_study"
    opened(qtbot, dock, path)
    study = Study.open(path)
    position, session = dock.picker.place()
    image = study.image(position, session)
    axes = ("t", "y", "x") if flat else ("t", "z", "y", "x")
    spacing = image.spacing[1:] if flat else image.spacing
    names = [layer.name for layer in viewer.layers]
    assert {*image.channel_names, "Cells", "Tracks", "Vessels", "Organoid", "Selection"} <= set(names)
    places = []
    for layer in viewer.layers:
        assert tuple(layer.axis_labels) == axes, layer.name
        assert [str(unit) for unit in layer.units] == ["pixel", *["micrometer"] * len(spacing)], layer.name
        pixels = layer._type_string in ("image", "labels")
        assert tuple(layer.scale) == pytest.approx((1.0, *(spacing if pixels else (1.0,) * len(spacing)))), layer.name
        # the same place in µm lies in the same place of the world on every layer
        middle = [20.0 / (s if pixels else 1.0) for s in spacing]
        places.append(np.asarray(layer.data_to_world((0.0, *middle))))
    np.testing.assert_allclose(places, np.broadcast_to(places[0], (len(places), len(axes))), atol=1e-9)
    assert [str(unit) for unit in viewer.dims.units] == ["pixel", *["micrometer"] * len(spacing)]


def test_contrast_colour_and_visibility_are_kept_over_sessions_and_positions(
    viewer: Any, dock: Any, finished_study: Path, qtbot: Any
) -> None:
    opened(qtbot, dock, finished_study)
    viewer.layers["nuclei"].contrast_limits = (11, 222)
    viewer.layers["nuclei"].gamma = 0.7
    viewer.layers["CD31"].colormap = "magenta"
    viewer.layers["CD41"].visible = False
    viewer.layers["Cells"].opacity = 0.3
    for place in (("B02_f00", 1), ("C02_f00", 2), ("C02_f00", 1), ("B02_f00", 2)):
        with qtbot.waitSignal(dock.loaded, timeout=60_000):
            dock.show_place(*place)
        assert tuple(viewer.layers["nuclei"].contrast_limits) == (11, 222), place
        assert viewer.layers["nuclei"].gamma == pytest.approx(0.7)
        assert viewer.layers["CD31"].colormap.name == "magenta"
        assert not viewer.layers["CD41"].visible
        assert viewer.layers["Cells"].opacity == pytest.approx(0.3)


def told(viewer: Any) -> list[str]:
    overlay = text_overlay(viewer)
    assert overlay.visible
    return str(overlay.text).split("\n")


def test_the_clock_tells_session_day_and_date_in_every_workflow(
    viewer: Any, dock: Any, raw_study: Path, quick_recipe: Any, qtbot: Any
) -> None:
    study = Study.open(raw_study)

    def right(session: int, t: int, name: str = "B02_f00") -> None:
        hours = float(study.image("B02_f00", session).times_h[t])
        n = study.image("B02_f00", session).shape[0]
        date = datetime.fromisoformat(study.t0) + timedelta(hours=hours)
        assert told(viewer) == [
            f"{name}, session {session}",
            f"frame {t + 1} of {n}: {hours:.1f} h, day {hours / 24:.1f}",
            f"{date:%Y-%m-%d %H:%M} UTC",
        ]

    opened(qtbot, dock, raw_study)  # raw images
    right(2, 0)
    viewer.dims.set_current_step(0, 4)
    right(2, 4)
    dock.form.set_recipe(quick_recipe)
    dock.run_recipe("curate")  # results come
    qtbot.waitUntil(lambda: dock.idle, timeout=120_000)
    right(2, 4)
    dock.tabs.setCurrentWidget(dock.curate)
    dock.curate.next()  # a link is gone to
    qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
    right(2, int(viewer.dims.current_step[0]))
    dock.curate.edit_buttons["break"].click()  # an edit
    qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
    right(2, int(viewer.dims.current_step[0]))
    with qtbot.waitSignal(dock.loaded, timeout=60_000):
        dock.show_place("B02_f00", 1)  # another session
    right(1, 0)
    dock.curate.blinded.click()
    right(1, 0, dock.picker.name_of("B02_f00"))
    assert "B02" not in told(viewer)[0]
    viewer.add_image(np.zeros((3, 8, 8), np.uint8), name="mine")  # a layer of one's own
    assert "session 1" in told(viewer)[0]
    viewer.layers.clear()
    assert not text_overlay(viewer).visible

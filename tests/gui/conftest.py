"""A tiny real study, made by the simulator, and what the tests of the window share."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# before napari is imported: the tests leave the user's settings alone
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp(prefix="napari-marrow-")) / "settings.yaml")

if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
    _REASON = "a window needs an X display: run the tests through xvfb-run"
else:
    _REASON = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if _REASON and here in item.path.parents and item.get_closest_marker("gui"):
            item.add_marker(pytest.mark.skip(reason=_REASON))


@pytest.fixture(scope="session", autouse=True)
def _napari_is_imported() -> None:
    """Import napari once with its own warnings left out.

    npe2 0.10 and napari 0.9 hand pydantic keyword arguments that it calls deprecated while their modules are imported;
    nothing of ours is imported here, and everything after this is held to warnings-as-errors.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import napari.layers
        import napari.plugins
        import napari.qt
        import napari.viewer  # noqa: F401
        import npe2.manifest  # noqa: F401


def build_tiny_study(path: Path) -> Path:
    """Two organoids, a sparse session of one frame and a dense one of six, 96 x 96 px, as raw images in a study."""
    from napari_marrow import simulation
    from napari_marrow.simulation import (
        Design,
        Effect,
        Faults,
        Geometry,
        Imaging,
        Kinetics,
        Scenario,
        SessionPlan,
        simulate,
    )
    from napari_marrow.study import Study

    channels = ("nuclei", "CD31", "CD235a", "CD41")
    scenario = Scenario(
        name="tiny",
        seed=3,
        sessions=(
            SessionPlan("sparse", 48.0, 1, 1.0, channels),
            SessionPlan("dense", 96.0, 6, 1.0, channels),
        ),
        kinetics=Kinetics(first_division_mean_h=40.0, cycle_mean_h=10.0, onset_per_h=(0.0, 0.3, 0.5)),
        geometry=Geometry(radius_um=42.0, founders_per_mm2=1200.0),
        faults=Faults(shift_um=(1.0, 3.0), rotation_deg=(0.2, 0.5)),
        imaging=Imaging(shape=(1, 96, 96)),
        design=Design(conditions={"control": Effect(), "TPO": Effect(commitment=(0.8, 4.0, 0.8))}),
    )
    assert simulation.CHANNELS[:4] == channels
    experiment = simulate(scenario)
    study = Study.create(path, name="tiny", t0=scenario.t0)
    for position in experiment.positions:
        for session in experiment.sessions(position):
            with study.add_session(
                position,
                session.session,
                channels=list(session.channels),
                spacing=session.spacing,
                shape=session.shape,
                dtype="uint16",
                start_h=session.start_h,
                time_s=session.time_s,
            ) as writer:
                for t in range(session.shape[0]):
                    writer.write(t, session.frame(t))
    study.set_layout(experiment.layout)
    return path


def small_recipe() -> Any:
    """The default recipe with as few simulations as it allows."""
    from napari_marrow.pipeline import parse_recipe

    return parse_recipe({"niche": {"n_simulations": 19}, "lineage": {"n_bootstrap": 99}})


@pytest.fixture
def quick_recipe() -> Any:
    return small_recipe()


@pytest.fixture(scope="session")
def raw_study_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_study(tmp_path_factory.mktemp("raw") / "tiny.marrow")


@pytest.fixture
def raw_study(raw_study_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(raw_study_template, tmp_path / "tiny.marrow"))


@pytest.fixture(scope="session")
def finished_study(raw_study_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: tests that write take `raw_study`."""
    from napari_marrow.pipeline import run

    path = Path(shutil.copytree(raw_study_template, tmp_path_factory.mktemp("finished") / "tiny.marrow"))
    run(path, small_recipe())
    return path


class Watchdog:
    """Ticks in the window's thread and remembers the longest time between two ticks: how long the window was dead."""

    INTERVAL_MS = 5

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.worst_s = 0.0
        self.ticks = 0
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(self.INTERVAL_MS)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.worst_s = max(self.worst_s, now - self._last)
        self._last = now
        self.ticks += 1

    def stop(self) -> None:
        self._timer.stop()


@pytest.fixture
def watchdog(qapp: object) -> Iterator[Watchdog]:
    dog = Watchdog()
    yield dog
    dog.stop()


@pytest.fixture
def make_viewer(qapp: Any, qtbot: Any) -> Iterator[Callable[[], Any]]:
    """Makes real windows and closes them."""
    import napari

    viewers: list[Any] = []

    def make() -> Any:
        viewer = napari.Viewer(show=True)
        viewers.append(viewer)
        qtbot.waitExposed(viewer.window._qt_window)
        return viewer

    yield make
    for viewer in viewers:
        with contextlib.suppress(RuntimeError, AttributeError):  # the test closed it
            viewer.close()
    viewers.clear()
    qapp.processEvents()
    gc.collect()


@pytest.fixture
def viewer(make_viewer: Callable[[], Any]) -> Any:
    return make_viewer()


@pytest.fixture
def dock(viewer: Any) -> Any:
    """The dock, opened as a user does, through the manifest."""
    return viewer.window.add_plugin_dock_widget("napari-marrow", "Marrow study")[1]

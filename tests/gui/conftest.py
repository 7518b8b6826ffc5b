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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .watchdog import Watchdog

# before napari is imported: the tests leave the user's settings alone
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp(prefix="napari-marrow-")) / "settings.yaml")
# and to whoever tests, the tour of the dock is nothing new
os.environ["NAPARI_MARROW_CONFIG"] = tempfile.mkdtemp(prefix="napari-marrow-")
(Path(os.environ["NAPARI_MARROW_CONFIG"]) / "first-steps-seen").touch()

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


def build_tiny_study(path: Path, write: Callable[..., None]) -> Path:
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
            SessionPlan("sparse", 24.0, 1, 1.0, channels),
            SessionPlan("dense", 48.0, 6, 2.0, channels),
        ),
        kinetics=Kinetics(
            first_division_mean_h=50.0, cycle_mean_h=16.0, commitment_per_h=(0.05, 0.1), onset_per_h=(0.1, 0.3, 0.5)
        ),
        geometry=Geometry(radius_um=42.0, founders_per_mm2=2000.0),
        faults=Faults(shift_um=(1.0, 3.0), rotation_deg=(0.2, 0.5)),
        imaging=Imaging(shape=(1, 96, 96)),
        design=Design(conditions={"control": Effect(), "TPO": Effect(commitment=(0.8, 4.0, 0.8))}),
    )
    assert simulation.CHANNELS[:4] == channels
    experiment = simulate(scenario)
    study = Study.create(path, name="tiny", t0=scenario.t0)
    for position in experiment.positions:
        for session in experiment.sessions(position):
            write(study, position, session)
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
def raw_study_template(tmp_path_factory: pytest.TempPathFactory, session_writer: Callable[..., None]) -> Path:
    return build_tiny_study(tmp_path_factory.mktemp("raw") / "tiny.marrow", session_writer)


@pytest.fixture
def raw_study(raw_study_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(raw_study_template, tmp_path / "tiny.marrow"))


@pytest.fixture
def watchdog(qapp: object) -> Iterator[Watchdog]:
    dog = Watchdog()
    yield dog
    dog.stop()


def pump(until: Callable[[], bool], *, timeout_s: float = 180.0) -> None:
    """Let the window live until something is so."""
    from qtpy.QtTest import QTest

    deadline = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < deadline, "waited in vain"
        QTest.qWait(5)


@dataclass
class WindowRun:
    """What was seen in the window while the recipe ran on the raw tiny study, from the first click to the results."""

    study: Path
    lines: list[str]
    busy: dict[str, bool]
    layers: list[str]
    graph: dict[int, list[int]]
    contrast: tuple[float, float]
    curves: int
    branches: int
    status: str
    report: Path | None
    report_button: bool
    during: Watchdog
    showing: Watchdog


@pytest.fixture(scope="session")
def window_run(raw_study_template: Path, tmp_path_factory: pytest.TempPathFactory, qapp: Any) -> WindowRun:
    """Run the recipe once in a real window; many tests look at what happened."""
    import napari
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    study = Path(shutil.copytree(raw_study_template, tmp_path_factory.mktemp("finished") / "tiny.marrow"))
    viewer = napari.Viewer(show=True)
    dock = viewer.window.add_plugin_dock_widget("napari-marrow", "Marrow study")[1]
    dock.open_study(study)
    pump(lambda: dock.contents is not None and dock.idle)
    dock.form.set_recipe(small_recipe())
    viewer.layers["CD31"].contrast_limits = (7, 77)
    QTest.qWait(500)  # the first drawing is napari's own
    during = Watchdog()
    lines: list[str] = []
    QTest.mouseClick(dock.runner.run_button, Qt.MouseButton.LeftButton)
    busy = {name: getattr(dock.runner, f"{name}_button").isEnabled() for name in ("run", "cancel")}
    dock.runner.job.progressed.connect(lambda done, total, text: lines.append(text))
    pump(lambda: not dock.runner.busy)
    during.stop()
    showing = Watchdog()
    pump(lambda: dock.idle)
    QTest.qWait(200)
    showing.stop()
    seen = WindowRun(
        study,
        lines,
        busy,
        [layer.name for layer in viewer.layers],
        dict(viewer.layers["Tracks"].graph) if "Tracks" in viewer.layers else {},
        tuple(viewer.layers["CD31"].contrast_limits),
        len(dock.lineage.chart.series),
        len(dock.pedigree.branches),
        dock.runner.status.text(),
        dock.contents.report,
        dock.report_button.isEnabled(),
        during,
        showing,
    )
    viewer.close()
    return seen


@pytest.fixture(scope="session")
def finished_study(window_run: WindowRun) -> Path:
    """Read only: tests that write take `raw_study`."""
    return window_run.study


@pytest.fixture(scope="session")
def volume_study(tmp_path_factory: pytest.TempPathFactory, session_writer: Callable[..., None]) -> Path:
    """The simulator's volumes, smaller: one organoid, a session of one frame and one of three, analysed to colonies."""
    from dataclasses import replace

    from napari_marrow.pipeline import parse_recipe, run
    from napari_marrow.simulation import Design, Faults, SessionPlan, preset, simulate
    from napari_marrow.study import Study

    channels = ("nuclei", "CD31", "CD235a", "CD41")
    whole = preset("volume")
    scenario = replace(
        whole,
        sessions=(SessionPlan("sparse", 24.0, 1, 1.0, channels), SessionPlan("dense", 48.0, 3, 2.0, channels)),
        geometry=replace(whole.geometry, radius_um=40.0, founders_per_mm2=2500.0),
        imaging=replace(whole.imaging, shape=(16, 88, 88)),
        faults=Faults(shift_um=(1.0, 3.0), rotation_deg=(2.0, 3.0)),
        design=Design(),
    )
    experiment = simulate(scenario)
    path = tmp_path_factory.mktemp("volume") / "volume.marrow"
    study = Study.create(path, name="volume", t0=scenario.t0)
    for position in experiment.positions[:1]:
        for session in experiment.sessions(position):
            session_writer(study, position, session)
    study.set_layout(experiment.layout)
    run(path, parse_recipe({}), until="colonies")
    return path


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
def dock(viewer: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The dock, opened as a user does, through the manifest; whatever a test does with it, the window answers."""
    opened = viewer.window.add_plugin_dock_widget("napari-marrow", "Marrow study")[1]
    dog = Watchdog()
    yield opened
    dog.stop()
    dog.check(request.node.name, ticks=-1)


@pytest.fixture
def check_plots(qtbot: Any) -> Callable[[Any, str], None]:
    """Returns what looks at every plot of *Lineage* and *Niche*: it is drawn, from numbers, and says what it is."""
    import numpy as np

    from napari_marrow.gui.screenshots import said_by

    def check(dock: Any, name: str) -> None:
        for panel in (dock.lineage, dock.niche):
            dock.tabs.setCurrentWidget(panel)
            for kind in range(panel.kind.count()):
                panel.kind.setCurrentIndex(kind)
                qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
                title = f"{name}, {panel.kind.currentText()}"
                assert not panel.chart.empty, title
                shown = np.concatenate([s.y[np.isfinite(s.y)] for s in panel.chart.series])
                assert len(shown) > 1, title
                assert len(panel.chart.numbers) > 0, title
                assert panel.kind.currentText() in said_by(panel)

    return check

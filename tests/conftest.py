"""Fixtures that several rooms' tests share: a tiny simulated experiment and a study of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_marrow import simulation
from napari_marrow.study import Study


def tiny_scenario(*, seed: int = 3) -> simulation.Scenario:
    """Two organoids of 128 x 128 px: a dense session of six frames and a sparse one after it."""
    sample = simulation.preset("sample", seed=seed)
    dense, sparse = sample.sessions[1], sample.sessions[2]
    return replace(
        sample,
        name="tiny",
        sessions=(replace(dense, n_frames=6), replace(sparse, start_h=dense.start_h + 48)),
        imaging=replace(sample.imaging, shape=(1, 128, 128)),
    )


def write_session(study: Study, position: str, session: simulation.experiment.SimulatedSession) -> None:
    """Write the images of a session."""
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


def write_study(experiment: simulation.Experiment, path: Path) -> Path:
    """Write an experiment's images straight into a new study."""
    study = Study.create(path, layout=experiment.layout)
    for position in experiment.layout["position"]:
        for session in experiment.sessions(position):
            write_session(study, position, session)
    return path


@pytest.fixture(autouse=True, scope="session")
def _nothing_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let no test find (or touch) the models and preferences of the person who runs it."""
    folder = tmp_path_factory.mktemp("models")
    own = {
        "NAPARI_MARROW_MODELS": str(folder / "own"),
        "NAPARI_MARROW_CONFIG": os.environ.get("NAPARI_MARROW_CONFIG", str(folder / "config")),
        "CELLPOSE_LOCAL_MODELS_PATH": str(folder / "cellpose"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def session_writer() -> Callable[[Study, str, simulation.experiment.SimulatedSession], None]:
    """Return the function that writes a simulated session into a study."""
    return write_session


@pytest.fixture(scope="session")
def tiny_experiment() -> simulation.Experiment:
    """A small simulated experiment; do not change it."""
    return simulation.simulate(tiny_scenario())


@pytest.fixture(scope="session")
def imported_tiny_study(tiny_experiment: simulation.Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an imported study that nothing was run on; copy it before you change it (or take `tiny_study`)."""
    return write_study(tiny_experiment, tmp_path_factory.mktemp("tiny") / "tiny.marrow")


@pytest.fixture
def tiny_study(imported_tiny_study: Path, tmp_path: Path) -> Path:
    """A copy of an imported study that nothing was run on."""
    return Path(shutil.copytree(imported_tiny_study, tmp_path / "tiny.marrow"))


@pytest.fixture(scope="session")
def blinking_frames() -> np.ndarray:
    """Four frames of five cells, of which `marrow-nuclei` misses one in the second at a probability threshold of 2."""
    from napari_marrow.segmentation import load_segmenter

    def frame(light: float) -> np.ndarray:
        y, x = np.mgrid[:96, :96]
        image = np.zeros((96, 96))
        for k, (cy, cx) in enumerate([(20, 20), (20, 60), (75, 20), (70, 75), (50, 40)]):
            image += (light if k == 4 else 1.0) * 400 * ((y - cy) ** 2 + (x - cx) ** 2 < 64)
        return np.random.default_rng(0).poisson(gaussian_filter(image, 1.0) + 50).astype(np.uint16)

    segmenter = load_segmenter(threads=1)
    for light in (0.2, 0.17, 0.15, 0.13, 0.12, 0.11, 0.1, 0.09, 0.08, 0.07):
        if segmenter.segment(frame(light), diameter=16, cellprob_threshold=2.0).n_cells == 4:
            return np.stack([frame(1.0), frame(light), frame(1.0), frame(1.0)])
    raise AssertionError("the network sees the cell at any light")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and tracks that are not part of the repository; tests that need them skip where they are absent."""
    path = Path(os.environ.get("NAPARI_MARROW_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not path.is_dir():
        pytest.skip("the shared data are not here: set NAPARI_MARROW_SHARED_DATA to their folder")
    return path

"""Presets, laziness, memory, three dimensions."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from napari_marrow import simulation
from napari_marrow.errors import Cancelled
from napari_marrow.progress import CancelToken


@pytest.mark.parametrize("name", simulation.PRESETS)
def test_presets_say_what_they_are(name):
    scenario = simulation.preset(name, seed=3)
    assert scenario.name == name
    assert scenario.seed == 3
    assert scenario == simulation.preset(name, seed=3)


@pytest.fixture(scope="module")
def tutorial():
    return simulation.simulate(simulation.preset("tutorial", seed=0))


def test_tutorial_has_the_promised_cells_motion_and_schedule(tutorial):
    experiment = tutorial
    sessions = experiment.sessions("B03_f00")
    assert [s.kind for s in sessions] == ["sparse", "dense", "sparse", "sparse", "sparse"]
    assert [s.start_h / 24 for s in sessions] == [1, 4, 10, 14, 18]
    assert sessions[1].shape == (42, 5, 1, 256, 256)
    snapshots = experiment.history("B03_f00").snapshots
    assert 20 <= len(snapshots[96.0].cells) <= 80
    assert 45 <= len(snapshots[137.0].cells) <= 150
    assert max(len(s.cells) for s in snapshots.values()) <= 600
    assert len(snapshots[432.0].cells) > len(snapshots[137.0].cells)
    squares = []
    for hour in range(96, 137):
        a, b = snapshots[float(hour)], snapshots[float(hour + 1)]
        _, i, j = np.intersect1d(a.cells, b.cells, return_indices=True)
        squares.append(((b.positions[j] - a.positions[i]) ** 2).sum(axis=1))
    assert 3.0 <= np.sqrt(np.concatenate(squares).mean()) <= 5.0


def test_cells_do_not_pass_through_each_other(tutorial):
    history = tutorial.history("B03_f00")
    from scipy.spatial import cKDTree

    for hour in (120.0, 137.0):
        distance, _ = cKDTree(history.snapshots[hour].positions).query(history.snapshots[hour].positions, k=2)
        assert np.percentile(distance[:, 1], 1) > 5.0
        assert np.median(distance[:, 1]) > 8.0


def test_the_drug_raises_megakaryocytic_output():
    scenario = simulation.preset("tutorial", seed=1)
    experiment = simulation.simulate(replace(scenario, sessions=scenario.sessions[:2]))
    share = {}
    for position in experiment.positions:
        cells = experiment.history(position).population
        share.setdefault(experiment.plan(position).condition, []).append(
            (cells.lineage == 1).sum() / (cells.lineage >= 0).sum()
        )
    assert np.mean(share["TPO"]) > 1.5 * np.mean(share["control"])


def test_coupling_brings_cells_to_vessels():
    """Median distance to vessels of committed cells, against the same organoids without coupling."""
    coupled = simulation.preset("coupled", seed=2)
    coupled = replace(coupled, sessions=coupled.sessions[:2])
    plain = replace(coupled, niche=simulation.Niche())
    near, far = [], []
    for scenario, values in ((coupled, near), (plain, far)):
        experiment = simulation.simulate(scenario)
        for position in experiment.positions:
            history = experiment.history(position)
            snapshot = history.snapshots[137.0]
            values.append(np.median(history.tissue.sample(history.vessel_distance, snapshot.positions)))
    assert np.mean(near) < np.mean(far) - 3.0


def long_session(frames):
    return replace(
        simulation.preset("sample", seed=1),
        sessions=(simulation.SessionPlan("dense", 96.0, frames, 1.0),),
        imaging=simulation.Imaging(shape=(1, 192, 192)),
        geometry=simulation.Geometry(radius_um=80.0),
    )


def test_memory_is_flat_in_frames():
    peaks = []
    for frames in (4, 24):
        session = simulation.simulate(long_session(frames)).sessions("B02_f00")[0]
        session.frame(0)
        tracemalloc.start()
        for t in range(frames):
            session.frame(t)
            session.labels(t)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000


def test_nothing_is_simulated_before_it_is_asked_for():
    seen = []
    experiment = simulation.simulate(long_session(3), progress=lambda *a: seen.append(a))
    assert experiment.positions == ["B02_f00", "C02_f00"]
    assert len(experiment.organoids) == 2
    assert not seen
    experiment.sessions("B02_f00")
    assert seen[-1] == (1, 2, "grew organoid-01")


def test_cancelling_stops_growth():
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        simulation.simulate(long_session(3), cancel=token).sessions("B02_f00")


def test_render_frames_yields_images_with_their_labels():
    frames = list(simulation.render_frames(simulation.simulate(long_session(5)), every=3))
    assert [(f.position, f.t) for f in frames] == [("B02_f00", 0), ("B02_f00", 3), ("C02_f00", 0), ("C02_f00", 3)]
    assert frames[0].image.shape == (5, 1, 192, 192)
    assert frames[0].labels.max() > 0


def test_three_dimensions_render_planes_with_matching_labels():
    channels = ("nuclei", "CD31", "CD45", "CD34", "scaffold", "brightfield")
    scenario = replace(
        simulation.preset("sample", seed=3),
        sessions=(simulation.SessionPlan("dense", 120.0, 2, 1.0, channels),),
        geometry=simulation.Geometry(radius_um=60.0, depth_um=30.0, vessel_density=300.0, founders_per_mm2=900.0),
        imaging=simulation.Imaging(shape=(11, 96, 96), spacing_um=(3.0, 1.02, 1.02)),
    )
    experiment = simulation.simulate(scenario)
    session = experiment.sessions("B02_f00")[0]
    frame, labels = session.frame(1), session.labels(1)
    assert frame.shape == (6, 11, 96, 96)
    assert labels.shape == (11, 96, 96)
    assert (labels.max(axis=(1, 2)) > 0).sum() >= 8
    assert frame[0][labels > 0].mean() > frame[0][labels == 0].mean() + 80
    cells = experiment.truth["cells"].query("position == 'B02_f00' and t == 1")
    assert cells["z"].between(0, 30).all()
    assert cells["z"].std() > 3
    metrics = experiment.truth["metrics"].query("metric == 'vessel_length_density'")
    assert (metrics["unit"] == "mm/mm³").all()
    # A cell of 11 µm with nucleus ratio 0.82 has a nucleus of about 4/3 π 4.5³ = 380 µm³.
    whole = cells[~cells["touches_border"] & cells["z"].between(8, 22)]
    assert 200 < whole["area"].median() < 600

"""Levels, trust, drift and marginals, each against a value known without the code."""

import numpy as np
import pandas as pd
import pytest

from napari_marrow.tracking import TrackingSettings, score_tracks, track_points
from napari_marrow.tracking.divisions import no_triples
from napari_marrow.tracking.drift import steady_shifts, sudden_shifts
from napari_marrow.tracking.histories import FeatureNoise, fit_noise, levels
from napari_marrow.tracking.hypotheses import Links, Solution
from napari_marrow.tracking.points import read_points
from napari_marrow.tracking.posterior import posterior


def chain(values):
    n = len(values)
    return np.array(values, float)[:, None], np.arange(-1, n - 1), np.arange(n, dtype=float)


def noise_of(noise, wander=0.0):
    return FeatureNoise(np.array([noise]), np.array([wander]), np.zeros(1), np.ones(1))


def test_a_level_that_does_not_wander_is_the_mean():
    values, previous, time = chain([1.0, 1.3, 0.9, 1.1])
    mean, variance, count = levels(values, previous, time, noise_of(0.04), np.zeros(4), forward=True)
    assert mean[:, 0] == pytest.approx([1.0, 1.15, 3.2 / 3, 1.075])
    assert variance[:, 0] == pytest.approx([0.04, 0.02, 0.04 / 3, 0.01])
    assert count.tolist() == [1, 2, 3, 4]


def test_an_outlier_pulls_no_harder_than_its_limit_and_a_gap_is_bridged():
    values, previous, time = chain([0.0, 0.0, 0.0, np.nan, 50.0])
    mean, variance, _ = levels(values, previous, time, noise_of(0.01), np.zeros(5), forward=True)
    assert variance[3, 0] == variance[2, 0]
    assert 0 < mean[4, 0] < 0.1


def test_what_lies_beyond_a_doubtful_link_counts_little():
    values, previous, time = chain([0.0, 0.0, 0.0, 1.0])
    doubt = np.array([0.0, 0.0, 0.0, 1e6])
    mean, variance, _ = levels(values, previous, time, noise_of(0.01), doubt, forward=True)
    assert mean[3, 0] == pytest.approx(1.0, abs=1e-3)
    assert variance[3, 0] == pytest.approx(0.01, rel=1e-3)


def test_noise_and_wandering_are_recovered():
    rng = np.random.default_rng(0)
    walks = np.cumsum(rng.normal(0, 0.05, (200, 60)), axis=1) + rng.normal(0, 0.2, (200, 60))
    previous = np.arange(200 * 60).reshape(200, 60) - 1
    previous[:, 0] = -1
    time = np.tile(np.arange(60.0), 200)
    found = fit_noise(walks.reshape(-1, 1), previous.ravel(), time)
    assert found.noise[0] == pytest.approx(0.04, rel=0.1)
    assert found.wander[0] == pytest.approx(0.0025, rel=0.4)


def field(shifts, cells=40, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 600, (cells, 2))
    rows = []
    for t, shift in enumerate(np.cumsum(shifts, axis=0)):
        x = x + rng.normal(0, 1.5, x.shape)
        rows += [(t, *(place + shift), k + 1, 0) for k, place in enumerate(x)]
    return pd.DataFrame(rows, columns=["t", "y", "x", "track_id", "parent_track_id"])


def test_a_field_that_jumps_is_put_still():
    shifts = np.zeros((12, 2))
    shifts[5] = 70.0, -45.0
    table = field(shifts)
    detections = read_points(table[["t", "y", "x"]], TrackingSettings())
    found = sudden_shifts(detections, 2.0, 90.0)
    assert np.flatnonzero(np.abs(found).sum(1)).tolist() == [5]
    assert found[5] == pytest.approx(shifts[5], abs=1.5)
    tracked = track_points(table[["t", "y", "x"]])
    predicted = table[["t"]].assign(track_id=tracked.track_id, parent_track_id=tracked.parent_track_id)
    assert score_tracks(table, predicted).f1 > 0.99


def test_the_median_step_is_shrunk_where_cells_are_few():
    table = pd.DataFrame({"t": np.repeat([0, 1], 10), "y": np.tile(np.arange(10.0), 2), "x": np.repeat([0.0, 4.0], 10)})
    detections = read_points(table, TrackingSettings())
    found = steady_shifts(detections, np.arange(10), np.arange(10, 20))
    assert found[1] == pytest.approx([0.0, 4.0 * 10 / 40])


def test_marginals_of_two_rivals_are_exact():
    """Two sources compete for one target: each has the weight of its hypothesis over that of all three outcomes."""
    gain = np.log([3.0, 1.0])
    links = Links(np.array([0, 1]), np.array([2, 2]), np.array([1, 1]), gain)
    none = np.zeros(0, np.int64)
    solution = Solution(links, no_triples(), np.zeros(0), np.array([0]), none, no_triples(), np.zeros(0))
    found = posterior(3, solution, calibrated=False)
    assert found.links == pytest.approx([0.6])
    assert found.start[2] == pytest.approx(0.2)
    assert found.end[:2] == pytest.approx([0.4, 0.8])

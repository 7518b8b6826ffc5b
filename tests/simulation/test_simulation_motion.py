"""Movement against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from napari_marrow.simulation import run_and_tumble_msd
from napari_marrow.simulation.motion import cohesion, random_directions, separate, wander


def test_msd_is_ballistic_then_diffusive_with_the_stated_exponent():
    assert run_and_tumble_msd(1e-4, speed=10.0, persistence=1.0) == pytest.approx((10.0 * 1e-4) ** 2, rel=1e-3)
    assert run_and_tumble_msd(1e4, speed=10.0, persistence=1.0) == pytest.approx(2 * 100.0 * 1e4, rel=1e-3)
    lags = np.array([5.5 * 0.999, 5.5 * 1.001])
    slope = np.diff(np.log(run_and_tumble_msd(lags, speed=1.0, persistence=1.0))) / np.diff(np.log(lags))
    assert slope[0] == pytest.approx(1.22, abs=0.005)


@pytest.mark.parametrize(("dt", "flat"), [(0.05, True), (0.5, True), (0.5, False)])
def test_wandering_has_the_variance_of_run_and_tumble(dt, flat):
    rng = np.random.default_rng(2)
    n, speed, persistence = 4000, 12.0, 0.1
    place, directions = np.zeros((n, 3)), random_directions(rng, n, flat=flat)
    for k in range(1, round(2.0 / dt) + 1):
        step, directions = wander(directions, np.full(n, speed), dt, persistence=persistence, flat=flat, rng=rng)
        place += step
        if k == 1:
            expected = run_and_tumble_msd(dt, speed=speed, persistence=persistence)
            assert (step**2).sum(axis=1).mean() == pytest.approx(expected, rel=0.06)
    whole = run_and_tumble_msd(2.0, speed=speed, persistence=persistence)
    assert (place**2).sum(axis=1).mean() == pytest.approx(whole, rel=0.07)
    assert np.abs(place[:, 0]).max() == 0.0 if flat else np.abs(place[:, 0]).max() > 0


def test_cells_are_pushed_apart_even_from_the_same_place():
    rng = np.random.default_rng(0)
    place = np.zeros((60, 3))
    place[:, 1:] = rng.uniform(0, 70, (60, 2))
    place[1] = place[0]
    separate(place, np.full(60, 5.0), 0.0, 300, True)
    assert np.isfinite(place).all()
    assert pdist(place).min() > 9.7
    assert (place[:, 0] == 0).all()


def test_separation_leaves_distant_cells_alone():
    place = np.array([[0.0, 0.0, 0.0], [0.0, 30.0, 0.0]])
    before = place.copy()
    separate(place, np.array([5.0, 5.0]), 0.0, 10, True)
    assert (place == before).all()


def test_cohesion_points_home_only_from_outside_the_packing_radius():
    place = np.array([[0, 0, 0], [0, 0, 10.0], [0, 0, 5.0], [0, 0, 100.0]])
    pull = cohesion(place, np.array([0, 0, 0, 1]), np.full(4, 5.0), packing=1.0, flat=True)
    assert (pull == 0).all()
    far = place * 4
    pull = cohesion(far, np.array([0, 0, 0, 1]), np.full(4, 5.0), packing=1.0, flat=True)
    assert pull[0, 2] == pytest.approx(20.0 - 5.0 * np.sqrt(3))
    assert pull[1, 2] == pytest.approx(-(20.0 - 5.0 * np.sqrt(3)))
    assert (pull[2:] == 0).all()

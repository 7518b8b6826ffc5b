from __future__ import annotations

import numpy as np
import pytest

from napari_marrow.lineage.competing import aalen_johansen
from napari_marrow.lineage.piecewise import pieces, piecewise_hazards, piecewise_incidence


def looks(n=20_000, gap=24.0, until=96.0, seed=0):
    """Two competing onsets at .02 and .01 per hour, entry at random up to 24 h, looks every `gap` hours."""
    rng = np.random.default_rng(seed)
    entry = rng.uniform(0, 24, n)
    time = entry + rng.exponential(1 / 0.03, n)
    cause = rng.choice([1, 2], n, p=[2 / 3, 1 / 3])
    right = (np.floor(time / gap) + 1) * gap
    seen = right <= until
    left = np.where(seen, np.maximum(right - gap, entry), until)
    return entry, left, np.where(seen, right, np.inf), cause


@pytest.mark.parametrize("gap", [24.0, 48.0])
def test_hazards_and_incidence_are_those_simulated(gap):
    entry, left, right, cause = looks(gap=gap)
    edges = pieces(96.0, np.full(10, gap), 5000)
    hazard = piecewise_hazards(entry, left, right, cause, 2, edges)
    curve = piecewise_incidence(hazard, edges, np.array([48.0, 96.0]))
    expected = np.array([[2 / 3], [1 / 3]]) * -np.expm1(-0.03 * np.array([48.0, 96.0]))
    np.testing.assert_allclose(curve, expected, rtol=0.03)


def test_one_piece_of_exact_times_is_events_over_hours():
    entry, time = np.array([0.0, 1.0, 2.0, 0.0]), np.array([5.0, 6.0, 4.0, 10.0])
    right = np.array([5.0, 6.0, np.inf, np.inf])
    hazard = piecewise_hazards(entry, time, right, np.array([1, 2, 1, 1]), 2, np.array([0.0, 10.0]))
    np.testing.assert_allclose(hazard[:, 0], [1 / 22, 1 / 22])


def test_many_pieces_of_exact_times_approach_aalen_johansen():
    rng = np.random.default_rng(1)
    time = rng.exponential(30, 4000)
    cause = rng.choice([1, 2], 4000)
    edges = np.linspace(0, 100, 101)
    seen = time <= 100
    hazard = piecewise_hazards(np.zeros(4000), np.minimum(time, 100), np.where(seen, time, np.inf), cause, 2, edges)
    grid = np.array([20.0, 50.0, 90.0])
    curve = aalen_johansen(np.minimum(time, 100), np.where(seen, cause, 0), n_causes=2).at(grid)
    np.testing.assert_allclose(piecewise_incidence(hazard, edges, grid), curve, atol=0.005)


def test_no_events_give_no_incidence():
    hazard = piecewise_hazards(
        np.zeros(3), np.full(3, 9.0), np.full(3, np.inf), np.ones(3, int), 1, np.array([0.0, 9.0])
    )
    assert (piecewise_incidence(hazard, np.array([0.0, 9.0]), np.array([5.0])) == 0).all()
    assert len(pieces(9.0, np.empty(0), 0)) == 2

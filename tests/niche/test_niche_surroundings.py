"""Compartments, coverage and dwell: exact values by hand, closed forms, and a two-state Markov chain."""

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.niche import (
    assign_compartments,
    hysteresis,
    niche_dwell,
    selection_index,
    signed_distance,
    surface_area,
    surface_coverage,
)


def test_compartments_follow_priority():
    a, b = np.zeros((10, 40), bool), np.zeros((10, 40), bool)
    a[:, 5], b[:, 11] = True, True
    tissue = np.ones((10, 40), bool)
    tissue[:, 39] = False
    fields = {"bone": signed_distance(a, (1.0, 1.0)), "vessel": signed_distance(b, (1.0, 1.0))}
    names, image = assign_compartments(fields, tissue, 4.0)
    assert names == ("bone", "vessel", "elsewhere")
    # Distances are to the surface, half a pixel nearer: within 4 µm are 4 columns on each side.
    assert image[0].tolist() == [2] + [0] * 9 + [1] * 6 + [2] * 23 + [-1]


def test_selection_index_by_hand_and_without_preference():
    compartment = np.array([0, 0, 0, 1, 1, 1, 1, 1, -1])
    subject = np.array([1, 1, 0, 1, 0, 0, 0, 0, 1], bool)
    result = selection_index(compartment, subject, [25.0, 75.0], n_simulations=199)
    assert result.used == pytest.approx([2 / 3, 1 / 3])
    assert result.index == pytest.approx([(2 / 3) / 0.25, (1 / 3) / 0.75])
    # Re-labelling 3 of 8 cells: expected used fractions are those of all cells.
    assert result.null_mean == pytest.approx([(3 / 8) / 0.25, (5 / 8) / 0.75], rel=0.1)
    rng = np.random.default_rng(0)
    where = rng.integers(0, 2, 300)
    p = [
        selection_index(where, rng.permutation(300) < 90, [1, 1], n_simulations=59, seed=k).p_value[0]
        for k in range(300)
    ]
    assert np.mean(np.asarray(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert np.isnan(selection_index(where, np.zeros(300, bool), [1, 1]).index).all()
    assert np.isnan(selection_index(where, where == 0, [1, 1, 0]).index[2])
    with pytest.raises(SettingsError, match="fit"):
        selection_index(where, where == 0, [1.0])


def test_surface_of_a_box_and_of_a_cut_box():
    mask = np.zeros((6, 10, 12), bool)
    mask[1:4, 2:7, 3:9] = True  # 12 x 5 x 3 µm at spacing (4, 1, 0.5)
    assert surface_area(mask, (4.0, 1.0, 0.5)).sum() == pytest.approx(2 * (12 * 5 + 12 * 3 + 5 * 3))
    assert surface_area(np.ones((4, 4), bool), (1.0, 1.0)).sum() == 0


def test_coverage_of_a_shell():
    zz, yy, xx = np.mgrid[:16, :64, :64] * np.array([4.0, 1.0, 1.0]).reshape(3, 1, 1, 1)
    radius = np.sqrt((zz - 30) ** 2 + (yy - 32) ** 2 + (xx - 32) ** 2)
    vessel, shell = radius < 16, (radius > 18) & (radius < 21)
    spacing = (4.0, 1.0, 1.0)
    assert surface_coverage(vessel, shell, spacing, delta=6.0).fraction > 0.99
    half = surface_coverage(vessel, shell & (xx > 32), spacing, delta=6.0, n_simulations=99)
    # Half a sphere, and the rim that still lies within 6 µm of it: 0.5 + 0.5 sqrt(6² - 2²) / 18.
    assert half.fraction == pytest.approx(0.5 + 0.5 * np.sqrt(32) / 18, abs=0.05)
    assert half.p_value <= 0.05
    assert half.null_mean < half.fraction
    assert surface_coverage(vessel, radius > 29, spacing, delta=3.0).fraction == 0
    assert surface_coverage(vessel, np.zeros_like(vessel), spacing, delta=3.0).fraction == 0
    assert np.isnan(surface_coverage(np.zeros_like(vessel), shell, spacing, delta=3.0).fraction)
    with pytest.raises(SettingsError, match="delta"):
        surface_coverage(vessel, shell, spacing, delta=0.0)


def test_coverage_by_chance_is_no_coverage():
    rng = np.random.default_rng(0)
    from scipy.ndimage import gaussian_filter

    p = []
    for k in range(60):
        vessel = gaussian_filter(rng.normal(size=(64, 64)), 4, mode="wrap") > 0.05
        marker = gaussian_filter(rng.normal(size=(64, 64)), 2, mode="wrap") > 0.25
        p.append(surface_coverage(vessel, marker, (1.0, 1.0), delta=1.0, n_simulations=39, seed=k).p_value)
    assert np.mean(np.asarray(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


def test_hysteresis_by_hand():
    d = [30, 12, 9, 14, 19, 21, 14, 9, 9, 25]
    assert hysteresis(d, 10, 20).tolist() == [0, 0, 1, 1, 1, 0, 0, 1, 1, 0]
    assert hysteresis([], 10, 20).shape == (0,)
    with pytest.raises(SettingsError, match="r_in"):
        hysteresis(d, 20, 10)


def test_dwell_by_hand_with_a_gap_and_censoring():
    tracks = pd.DataFrame(
        {"track_id": [1] * 5 + [2] * 2, "time_h": [0.0, 1, 3, 4, 5, 0, 2], "distance": [30.0, 5, 5, 30, 30, 5, 5]}
    )
    result = niche_dwell(tracks, r_in=10, r_out=20)
    # Track 1: out 1 h, in 2 + 1 h, out 1 h; track 2: in 2 h, never left.
    assert (result.entries, result.exits) == (1, 1)
    assert (result.time_in, result.time_out) == (5.0, 2.0)
    assert result.entry_rate == pytest.approx(0.5)
    assert result.mean_dwell == pytest.approx(5.0)
    assert result.exit_low < 0.2 < result.exit_high
    assert niche_dwell(tracks[tracks["track_id"] == 2], r_in=10, r_out=20).mean_dwell == np.inf
    assert np.isnan(niche_dwell(tracks.iloc[:0], r_in=10, r_out=20).entry_rate)
    with pytest.raises(TableError, match="distance"):
        niche_dwell(tracks.drop(columns="distance"), r_in=10, r_out=20)


def test_dwell_rates_of_a_markov_chain_and_coverage_of_their_intervals():
    rng = np.random.default_rng(4)
    entry, leave, step = 0.05, 0.1, 0.25
    covered = []
    estimates = []
    for _ in range(60):
        rows = []
        for track in range(20):
            state = rng.random() < entry / (entry + leave)
            first = rng.integers(0, 100)  # tracks begin and end anywhere: truncated and censored
            for frame in range(first, first + rng.integers(40, 160)):
                rows.append((track, frame * step, 5.0 if state else 40.0))
                rate = leave if state else entry
                if rng.random() < rate * step:
                    state = not state
        result = niche_dwell(pd.DataFrame(rows, columns=["track_id", "time_h", "distance"]), r_in=10, r_out=20)
        estimates.append((result.entry_rate, result.exit_rate))
        covered += [result.entry_low <= entry <= result.entry_high, result.exit_low <= leave <= result.exit_high]
    error = np.std(estimates, axis=0) / np.sqrt(60)
    assert (np.abs(np.mean(estimates, axis=0) - [entry, leave]) < 3.5 * error).all()
    assert np.mean(covered) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 120)

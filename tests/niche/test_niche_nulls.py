"""Null models, Monte-Carlo p-values and global envelopes: exact size, and power where there is an effect."""

import numpy as np
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.niche import (
    global_envelope,
    monte_carlo_p,
    permutations,
    proximity_effect,
    quantile_strata,
    relabel,
    uniform_positions,
)


def test_monte_carlo_p_counts_the_observed_value_itself():
    simulated = np.arange(1.0, 100.0)  # 1..99
    assert monte_carlo_p(100.0, simulated) == pytest.approx(1 / 100)
    assert monte_carlo_p(95.0, simulated) == pytest.approx(6 / 100)
    assert monte_carlo_p(0.0, simulated) == 1.0
    assert monte_carlo_p(0.0, simulated, alternative="less") == pytest.approx(1 / 100)
    assert monte_carlo_p(50.0, simulated, alternative="two-sided") == 1.0
    assert monte_carlo_p(3.0, np.full(9, 3.0), alternative="two-sided") == 1.0
    assert np.isnan(monte_carlo_p(np.nan, simulated))


def test_relabelling_keeps_numbers_in_every_stratum():
    rng = np.random.default_rng(0)
    subject = rng.random(200) < 0.3
    strata = rng.integers(0, 3, 200)
    samples = relabel(subject, 50, rng, strata=strata)
    for k in range(3):
        assert (samples[:, strata == k].sum(axis=1) == subject[strata == k].sum()).all()
    assert (relabel(subject, 50, rng).sum(axis=1) == subject.sum()).all()
    order = permutations(200, 20, rng, strata=strata)
    assert (np.sort(order, axis=1) == np.arange(200)).all()
    assert (strata[order] == strata).all()
    with pytest.raises(SettingsError, match="Strata"):
        relabel(subject, 5, rng, strata=[1, 2])


def test_quantile_strata_and_missing_covariates():
    strata = quantile_strata([1.0, 2.0, 3.0, 4.0, np.nan], 2)
    assert strata.tolist() == [0, 0, 1, 1, -1]
    with pytest.raises(SettingsError, match="n_strata"):
        quantile_strata([1.0], 0)


def test_uniform_positions_fill_the_region_evenly():
    rng = np.random.default_rng(1)
    region = np.zeros((4, 10, 10), bool)
    region[1:3, :5] = True
    points = uniform_positions(region, (4.0, 1.0, 2.0), 8000, rng)
    assert points.min(axis=0) == pytest.approx([2.0, -0.5, -1.0], abs=0.05)
    assert points.max(axis=0) == pytest.approx([10.0, 4.5, 19.0], abs=0.05)
    # Means of uniforms: standard error = range / sqrt(12 n); tolerance 4 of them.
    spread = np.array([8.0, 5.0, 20.0]) / np.sqrt(12 * 8000)
    assert (np.abs(points.mean(axis=0) - [6.0, 2.0, 9.0]) < 4 * spread).all()
    kept = uniform_positions(region, (4.0, 1.0, 2.0), 100, rng, clearance=np.indices(region.shape)[1] == 2)
    assert (np.round(kept[:, 1]) == 2).all()
    with pytest.raises(SettingsError, match="empty"):
        uniform_positions(np.zeros((3, 3), bool), (1, 1), 5, rng)


@pytest.mark.parametrize("kind", ["erl", "mad", "studentised"])
def test_global_envelope_has_the_size_it_states(kind):
    rng = np.random.default_rng(4)
    n_tests, n_sim = 600, 99
    # Brownian curves: strongly dependent along the argument and of growing spread, as K functions are.
    rejected = leaves = pointwise = 0
    for _ in range(n_tests):
        curves = np.cumsum(rng.normal(size=(n_sim + 1, 40)), axis=1)
        envelope = global_envelope(curves[0], curves[1:], kind=kind)
        rejected += envelope.p_value <= 0.05
        leaves += envelope.outside
        low, high = np.quantile(curves[1:], [0.025, 0.975], axis=0)
        pointwise += bool(((curves[0] < low) | (curves[0] > high)).any())
    # Binomial standard error .009; size 5 % within 3 of them (ERL and MAD are at most 5 %).
    assert 0.02 <= rejected / n_tests <= 0.077
    assert 0.02 <= leaves / n_tests <= 0.077
    assert pointwise / n_tests > 0.15  # what a pointwise band does


@pytest.mark.parametrize("kind", ["erl", "mad", "studentised"])
def test_global_envelope_band_and_p_agree(kind):
    rng = np.random.default_rng(0)
    curves = rng.normal(size=(199, 30))
    far = np.zeros(30)
    far[5:12] = 9.0  # one argument would not do for ERL: 60 of the 199 curves are the most extreme somewhere
    out = global_envelope(far, curves, kind=kind)
    assert out.outside
    assert out.p_value == pytest.approx(1 / 200)
    calm = global_envelope(curves.mean(axis=0), curves, kind=kind)
    assert not calm.outside
    assert calm.p_value > 0.5
    one_sided = global_envelope(-far, curves, kind=kind, alternative="greater")
    assert not one_sided.outside
    assert np.isneginf(one_sided.low).all()
    assert np.isposinf(global_envelope(far, curves, kind=kind, alternative="less").high).all()


def test_global_envelope_survives_ties_nan_and_few_simulations():
    same = np.zeros((99, 5))
    assert global_envelope(np.zeros(5), same).p_value == 1.0
    part = np.where(np.arange(5) < 2, np.nan, same)
    band = global_envelope(np.zeros(5), part)
    assert np.isnan(band.low[:2]).all()
    assert band.p_value == 1.0
    assert np.isnan(global_envelope(np.zeros(5), same[:10]).p_value)
    with pytest.raises(SettingsError, match="fit"):
        global_envelope(np.zeros(4), same)


def test_extreme_rank_length_by_hand():
    # Four curves of two arguments; ranks from outside: (1,1) (1,2) (2,2) (2,1): lexicographic order of sorted ranks.
    from napari_marrow.niche.envelopes import extreme_rank_lengths

    curves = np.array([[0.0, 0.0], [3.0, 2.0], [1.0, 1.0], [2.0, 3.0]])
    assert extreme_rank_lengths(curves) == pytest.approx([0.25, 0.75, 1.0, 0.75])


def attracted(rng, n, strength):
    d = rng.exponential(30.0, n)
    return d, rng.random(n) < 0.3 * np.exp(-strength * d / 30.0) + 0.05


def test_proximity_effect_finds_attraction_and_its_sign():
    rng = np.random.default_rng(2)
    d, subject = attracted(rng, 1500, 3.0)
    near = proximity_effect(d, subject, n_simulations=199, seed=1)
    assert near.effect > near.effect_high
    assert near.p_value == pytest.approx(1 / 200)
    assert near.p_global == pytest.approx(1 / 200)
    assert near.median < near.median_low
    far = proximity_effect(d, ~subject, n_simulations=199, seed=1)
    assert far.effect < 0
    # The effect is the mean difference of the distribution functions over 0..r_max.
    r = near.r
    ecdf = (d[subject][:, None] <= r).mean(axis=0)
    assert near.observed == pytest.approx(ecdf, abs=1e-9)
    assert near.effect == pytest.approx(np.trapezoid(ecdf - near.null_mean, r) / r[-1])
    expected = (d[:, None] <= r).mean(axis=0)  # re-labelling without censoring averages to all cells
    assert near.null_mean == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("null", ["relabel", "uniform", "strata"])
def test_proximity_effect_type_one_error(null):
    """No attraction, with censoring at an edge: 5 % of the tests may reject."""
    rng = np.random.default_rng(7)
    n_tests, rejected, global_rejected = 400, 0, 0
    space_d = rng.exponential(25.0, 20000)
    space_b = rng.uniform(0, 80.0, 20000)
    for k in range(n_tests):
        d, b = rng.exponential(25.0, 150), rng.uniform(0, 80.0, 150)
        subject = rng.permutation(150) < 50
        result = proximity_effect(
            d, subject, null=null, n_simulations=59, seed=k, edge_distances=b, strata=np.arange(150) % 4,
            space_distances=space_d, space_edge_distances=space_b, r_max=60.0, n_r=31,
        )  # fmt: skip
        rejected += result.p_value <= 0.05
        global_rejected += result.p_global <= 0.05
    # Binomial standard error .011: 3 of them above .05.
    assert rejected / n_tests <= 0.083
    assert global_rejected / n_tests <= 0.083
    assert rejected / n_tests >= 0.02


def test_strata_remove_a_confounder():
    """A marker that fades with depth and vessels at the surface: re-labelling sees attraction, strata do not."""
    rng = np.random.default_rng(3)
    depth = rng.uniform(0, 100, 3000)
    distance = 5 + 0.6 * depth + rng.exponential(10.0, 3000)
    subject = rng.random(3000) < 0.8 - 0.7 * depth / 100
    plain = proximity_effect(distance, subject, n_simulations=199)
    within = proximity_effect(distance, subject, null="strata", strata=quantile_strata(depth, 20), n_simulations=199)
    assert plain.p_value <= 0.01
    assert abs(within.effect) < 0.1 * abs(plain.effect)


def test_proximity_effect_refuses_or_explains():
    d = np.array([1.0, 2.0, 3.0])
    none = proximity_effect(d, [False] * 3)
    assert np.isnan(none.effect)
    assert "no cell" in none.note
    assert "nothing to re-label" in proximity_effect(d, [True] * 3).note
    assert "absent" in proximity_effect(np.full(3, np.inf), [True, False, False]).note
    single = proximity_effect(d, [True, False, False], n_simulations=19)
    assert np.isfinite(single.effect)
    assert "fewer than 10" in single.note
    with pytest.raises(SettingsError, match="stratum"):
        proximity_effect(d, [True, False, False], null="strata")
    with pytest.raises(SettingsError, match="space"):
        proximity_effect(d, [True, False, False], null="uniform")
    with pytest.raises(SettingsError, match="Unknown"):
        proximity_effect(d, [True, False, False], null="other")


def test_same_seed_same_answer():
    rng = np.random.default_rng(0)
    d, subject = attracted(rng, 200, 1.0)
    a, b = (proximity_effect(d, subject, n_simulations=99, seed=5) for _ in range(2))
    assert a.p_value == b.p_value
    assert (a.low == b.low).all()

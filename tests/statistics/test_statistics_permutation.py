from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test as scipy_permutation
from scipy.stats import ttest_ind

from napari_marrow.errors import SettingsError
from napari_marrow.statistics import benjamini_hochberg, cluster_bootstrap, holm, permutation_test


def groups(n_a: int, n_b: int) -> np.ndarray:
    return np.repeat([False, True], [n_a, n_b])


def test_four_against_four_cannot_go_below_two_in_seventy():
    result = permutation_test([1, 2, 3, 4, 11, 12, 13, 14], groups(4, 4))
    assert result.exact
    assert result.n_splits == 70
    assert result.p_value == result.smallest_p == pytest.approx(2 / 70)
    assert result.difference == 10
    assert permutation_test([1, 2, 3, 11, 12, 13, 14], groups(3, 4)).smallest_p == pytest.approx(1 / 35)


@pytest.mark.parametrize("seed", range(4))
def test_p_agrees_with_scipy(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=5), rng.normal(1, 1, size=6)
    ours = permutation_test(np.concatenate([a, b]), groups(5, 6))
    theirs = scipy_permutation((a, b), lambda x, y: abs(x.mean() - y.mean()), alternative="greater", n_resamples=np.inf)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=1e-12)


def test_random_splits_come_near_the_exact_ones():
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(size=12), rng.normal(0.8, 1, size=12)])
    drawn = permutation_test(y, groups(12, 12), n_draws=9999)
    assert not drawn.exact
    assert drawn.smallest_p == 1e-4
    assert drawn.p_value == pytest.approx(ttest_ind(y[:12], y[12:]).pvalue, abs=0.02)
    again = permutation_test(y, groups(12, 12), n_draws=9999)
    assert drawn == again


def test_the_interval_holds_the_shifts_that_are_not_rejected():
    rng = np.random.default_rng(3)
    y = np.concatenate([rng.normal(size=6), rng.normal(2, 1, size=6)])
    b = groups(6, 6)
    result = permutation_test(y, b)
    for delta, rejected in ((result.low - 0.01, True), (result.low + 0.01, False), (result.high + 0.01, True)):
        p = permutation_test(y - delta * b, b).p_value
        assert (p <= 0.05) == rejected
    t = ttest_ind(y[6:], y[:6]).confidence_interval()
    assert (result.low, result.high) == pytest.approx((t.low, t.high), abs=0.35)


def test_the_interval_covers_the_shift_as_often_as_it_says():
    rng = np.random.default_rng(4)
    covered = [
        r.low <= 1.0 <= r.high
        for r in (
            permutation_test(np.concatenate([rng.normal(size=5), rng.normal(1, 1, 5)]), groups(5, 5))
            for _ in range(300)
        )
    ]
    assert 0.92 <= np.mean(covered) <= 0.985


def test_too_few_organoids_give_an_infinite_interval():
    result = permutation_test([1.0, 2, 3, 5, 6, 7], groups(3, 3))
    assert result.smallest_p == 0.1
    assert np.isinf([result.low, result.high]).all()


def test_strata_remove_the_difference_between_batches():
    """Batches 100 apart: unstratified nothing is seen; within batches the effect of 1 is."""
    rng = np.random.default_rng(0)
    batch = np.repeat(["x", "y", "z"], 6)
    b = np.tile(np.repeat([False, True], 3), 3)
    y = np.repeat([0.0, 100.0, 200.0], 6) + b + rng.normal(0, 0.2, 18)
    pooled = permutation_test(y, b)
    within = permutation_test(y, b, strata=batch)
    assert pooled.p_value > 0.5
    assert within.exact
    assert within.n_splits == 20**3
    assert within.p_value == within.smallest_p == pytest.approx(2 / 8000)
    assert within.low < 1 < within.high
    assert within.difference == pytest.approx(1, abs=0.3)


def test_a_stratum_with_one_group_says_nothing():
    y, b = np.array([1.0, 2, 3, 4, 50]), np.array([0, 0, 1, 1, 1], bool)
    with_it = permutation_test(y, b, strata=[1, 1, 1, 1, 2])
    assert with_it == permutation_test(y[:4], b[:4])


def test_all_equal_values_give_p_one():
    result = permutation_test([2.0] * 8, groups(4, 4))
    assert (result.p_value, result.low, result.high) == (1.0, 0.0, 0.0)


def test_what_cannot_be_tested_is_refused():
    with pytest.raises(SettingsError, match="finite"):
        permutation_test([1, np.nan], groups(1, 1))
    with pytest.raises(SettingsError, match="No stratum"):
        permutation_test([1.0, 2.0], groups(1, 1), strata=["x", "y"])
    with pytest.raises(SettingsError, match="length"):
        permutation_test([1.0], groups(1, 1))


def test_adjusted_p_values_agree_with_statsmodels():
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(0).uniform(size=30) ** 2
    np.testing.assert_allclose(benjamini_hochberg(p), multipletests(p, method="fdr_bh")[1])
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])
    with_nan = np.insert(p, 4, np.nan)
    adjusted = benjamini_hochberg(with_nan)
    assert np.isnan(adjusted[4])
    np.testing.assert_allclose(np.delete(adjusted, 4), benjamini_hochberg(p))
    assert benjamini_hochberg([]).size == 0
    with pytest.raises(SettingsError):
        holm([1.2])


def test_the_cluster_bootstrap_covers_where_one_on_cells_does_not():
    rng = np.random.default_rng(1)
    by_organoid, by_cell = [], []
    for trial in range(100):
        organoid = np.repeat(np.arange(6), 50)
        y = rng.normal(0, np.sqrt(0.1), 6)[organoid] + rng.normal(0, np.sqrt(0.9), 300)
        one = cluster_bootstrap(y, organoid, np.mean, n_draws=300, seed=trial)
        two = cluster_bootstrap(y, np.arange(300), np.mean, n_draws=300, seed=trial)
        by_organoid.append(one.low <= 0 <= one.high)
        by_cell.append(two.low <= 0 <= two.high)
    assert 0.88 <= np.mean(by_organoid) <= 1.0
    assert np.mean(by_cell) < 0.75


def test_one_cluster_has_no_interval():
    one = cluster_bootstrap([1.0, 2.0], ["a", "a"], np.mean)
    assert one.estimate == 1.5
    assert np.isnan(one.low)
    assert "one cluster only" in one.note
    with pytest.raises(SettingsError):
        cluster_bootstrap([], [], np.mean)

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, t

from napari_marrow.errors import SettingsError
from napari_marrow.lineage import clustered_proportion_limits, unseen_limit


def test_nothing_seen_gives_the_exact_binomial_limit():
    for n in (5, 40, 300):
        exact = binomtest(0, n).proportion_ci(method="exact").high
        assert unseen_limit([n], variation=0.0) == pytest.approx(exact, rel=1e-12)
        assert unseen_limit([n / 2, n / 4, n / 4], variation=0.0) == pytest.approx(exact, rel=1e-12)
    assert unseen_limit([0.0]) == 1.0


def test_nothing_seen_in_organoids_that_differ_happens_as_often_as_it_says():
    """Organoids with gamma distributed means of half their size as SD: nothing is seen in 2.5 % of experiments."""
    rng = np.random.default_rng(0)
    trials = np.array([40, 15, 80])
    limit = float(unseen_limit(trials))
    p = np.minimum(limit * rng.gamma(4, 1 / 4, (200_000, 3)), 1)
    nothing = (rng.poisson(p * trials) == 0).all(axis=1).mean()
    assert nothing == pytest.approx(0.025, abs=0.0015)


def test_many_events_give_a_t_interval_on_the_logit_scale():
    values = np.array([0.30, 0.42, 0.35, 0.51])
    low, high = clustered_proportion_limits(values, np.full(4, 20), np.full(4, 40))
    mean, error = values.mean(), values.std(ddof=1) / 2
    odds = np.log(mean / (1 - mean))
    half = t.ppf(0.975, 3) * error / (mean * (1 - mean))
    np.testing.assert_allclose([low, high], 1 / (1 + np.exp(-np.array([odds - half, odds + half]))))


@pytest.mark.parametrize("n", [3, 4, 12])
@pytest.mark.parametrize("rate", [0.005, 0.02])
def test_limits_of_few_organoids_that_differ_cover_the_mean(n, rate):
    """Hazards with a log-normal factor of mean 1, SD .4 of its logarithm; 60 independent clones per organoid."""
    rng = np.random.default_rng([n, int(1000 * rate)])

    def incidence(factor):
        return rate / 0.0255 * -np.expm1(-0.0255 * factor * 40.0)

    def factors(shape):
        return np.exp(rng.normal(-0.08, 0.4, shape))

    true = incidence(factors(1_000_000)).mean()
    events = rng.binomial(60, incidence(factors((n, 8000))))
    low, high = clustered_proportion_limits(events / 60, events, np.full_like(events, 60))
    assert ((low <= true) & (true <= high)).mean() == pytest.approx(0.95, abs=0.012)
    assert max((low > true).mean(), (high < true).mean()) < 0.035


def test_few_events_are_never_surer_than_so_many_events():
    """One event in each of three organoids: equal values, but three events are three events."""
    low, high = clustered_proportion_limits(np.full(3, 0.025), np.ones(3), np.full(3, 40))
    exact = binomtest(3, 120).proportion_ci(method="exact")
    assert exact.low < low < 0.025 < high < exact.high
    assert high > 0.06


def test_limits_keep_their_level_over_many_experiments():
    rng = np.random.default_rng(1)
    for n, p, variation in ((3, 0.3, 0.3), (4, 0.1, 0.3), (6, 0.03, 0.0), (3, 0.003, 0.5)):
        mean = p * rng.gamma(1 / variation**2, variation**2, (n, 4000)) if variation else np.full((n, 4000), p)
        seen = rng.binomial(40, np.minimum(mean, 1))
        low, high = clustered_proportion_limits(seen / 40, seen, np.full(seen.shape, 40))
        assert ((low <= p) & (p <= high)).mean() >= 0.94


def test_bad_shapes_are_refused_and_unknown_values_stay_unknown():
    with pytest.raises(SettingsError, match="two or more"):
        clustered_proportion_limits([0.1], [1], [10])
    with pytest.raises(SettingsError, match="one row per organoid"):
        clustered_proportion_limits([0.1, 0.2], [1], [10, 10])
    low, high = clustered_proportion_limits([0.1, np.nan], [1, 0], [10, 10])
    assert np.isnan(low)
    assert np.isnan(high)

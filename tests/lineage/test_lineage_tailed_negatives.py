"""Negatives that catch the light of bright neighbours have a tail; the threshold has to lie above it."""

import numpy as np
import pytest

from napari_marrow.lineage import fit_mixture


@pytest.mark.parametrize("seed", range(5))
def test_a_tail_of_caught_light_does_not_hide_the_positives(seed):
    rng = np.random.default_rng(seed)
    clean = rng.normal(0, 1.5, 2000)
    tail = rng.exponential(5.0, 500)
    positive = rng.lognormal(np.log(75), 0.35, 350)
    found = fit_mixture(np.concatenate([clean, tail, positive]))
    assert found.reason == ""
    assert 10 < found.threshold < 55
    assert np.mean(positive > found.threshold) > 0.9
    assert np.mean(np.concatenate([clean, tail]) < found.threshold) > 0.96


def test_noise_with_heavy_tails_is_one_population():
    false = [fit_mixture(np.random.default_rng(seed).standard_t(4, 800) * 2).reason == "" for seed in range(40)]
    assert sum(false) <= 2

"""Rates of rare events against published limits and against what they promise."""

import numpy as np
import pytest
from scipy.stats import poisson

from napari_marrow.statistics import poisson_rate


@pytest.mark.parametrize(
    ("events", "low", "high"),
    [(0, 0.0, 3.689), (1, 0.0253, 5.572), (5, 1.623, 11.668), (20, 12.217, 30.888)],
)
def test_limits_are_those_of_garwoods_table(events, low, high):
    found = poisson_rate(events, 1.0)
    assert (found.rate, found.low, found.high) == pytest.approx((events, low, high), abs=1e-3)


def test_the_limits_leave_two_and_a_half_percent_on_either_side():
    found = poisson_rate(7, 4.0)
    assert poisson.sf(6, 4.0 * found.low) == pytest.approx(0.025)
    assert poisson.cdf(7, 4.0 * found.high) == pytest.approx(0.025)


@pytest.mark.parametrize("exposure", [0.0, -1.0, float("nan")])
def test_no_time_at_risk_gives_no_rate(exposure):
    found = poisson_rate(0, exposure)
    assert np.isnan([found.rate, found.low, found.high]).all()

"""Means and trends over organoids: by hand, against scipy, size and coverage."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.statistics import trends, unit_mean, unit_slopes


def test_mean_by_hand_and_against_scipy():
    y = np.array([0.4, 0.1, 0.3, 0.2])
    found = unit_mean(y)
    low, high = stats.t.interval(0.95, 3, y.mean(), stats.sem(y))
    assert (found.n, found.mean) == (4, pytest.approx(0.25))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.p_value == found.smallest_p == 2 / 16  # all of one sign: the most extreme of 16, and its mirror
    assert unit_mean([0.4, -0.1, np.nan]).p_value == 1.0  # ±.4 ±.1: |sum| .3 and .5, all at least .3
    reference = stats.permutation_test(
        (y - 0.15,), np.sum, permutation_type="samples", alternative="two-sided", n_resamples=np.inf
    )
    assert unit_mean(y, null=0.15).p_value == pytest.approx(reference.pvalue)
    assert np.isnan(unit_mean([1.0]).low)
    assert unit_mean([]).n == 0


def test_size_and_coverage_over_organoids():
    rng = np.random.default_rng(0)
    rejected, covered = [], []
    for k in range(2000):
        y = 0.3 + rng.normal(size=8)
        found = unit_mean(y, null=0.3, seed=k)
        rejected.append(found.p_value <= 0.05)
        covered.append(found.low <= 0.3 <= found.high)
    assert np.mean(rejected) <= 0.06
    assert 0.93 <= np.mean(covered) <= 0.97
    many = unit_mean(1 + rng.normal(size=40), n_draws=999)
    assert many.p_value == pytest.approx(0.001)


def test_slopes_and_trends():
    hours = np.array([0.0, 168, 336])
    rows = [
        {"condition": c, "organoid": f"{c}{k}", "time_h": h, "value": k + slope * h / 168}
        for c, slopes in (("control", (0.0, 0.1, -0.1)), ("drug", (1.0, 1.2, 0.8)))
        for k, slope in enumerate(slopes)
        for h in hours
    ]
    rows.append({"condition": "drug", "organoid": "once", "time_h": 0.0, "value": 9.0})
    table = pd.DataFrame(rows)
    slopes = unit_slopes(table)
    assert slopes["drug1"] * 168 == pytest.approx(1.2)
    assert np.isnan(slopes["once"])
    found = trends(table, ["condition"]).set_index("condition")
    assert found.loc["drug", "slope"] == pytest.approx(1.0)
    assert found.loc["drug", "n_units"] == 3
    low, high = stats.t.interval(0.95, 2, 1.0, stats.sem([1.0, 1.2, 0.8]))
    assert found.loc["drug", ["low", "high"]].tolist() == pytest.approx([low, high])
    assert "1 of 4 organoids" in found.loc["drug", "note"]
    assert found.loc["control", "p_value"] == 1.0
    twice = pd.concat([table, table.assign(value=table["value"] + 2)])  # two fields of an organoid are averaged
    assert unit_slopes(twice)["drug1"] * 168 == pytest.approx(1.2)
    with pytest.raises(TableError, match="lacks"):
        unit_slopes(table.drop(columns="value"))
    with pytest.raises(SettingsError, match="per"):
        trends(table, ["condition"], per=0.0)
    assert trends(table.iloc[:0], ["condition"]).empty

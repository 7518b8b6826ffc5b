from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.lineage import (
    blood_output,
    colony_growth_models,
    fit_growth,
    growth_curve,
    production_trend,
    recovery,
)


def cells_of(counts: dict[tuple[str, int, float], dict[str, int]]) -> pd.DataFrame:
    rows = [
        (position, session, 0, time, lineage)
        for (position, session, time), by_lineage in counts.items()
        for lineage, n in by_lineage.items()
        for _ in range(n)
    ]
    return pd.DataFrame(rows, columns=["position", "session", "t", "time_h", "lineage"])


LAYOUT = pd.DataFrame({"position": ["a1", "a2", "b1"], "organoid": ["A", "A", "B"], "condition": ["control"] * 3})


def test_output_adds_up_fields_and_gives_rates_and_fractions():
    cells = cells_of({
        ("a1", 1, 0.0): {"erythroid": 10, "": 10}, ("a2", 1, 0.0): {"erythroid": 20},
        ("a1", 2, 48.0): {"erythroid": 30, "megakaryocytic": 30}, ("a2", 2, 48.0): {"": 40},
        ("b1", 1, 0.0): {"": 5},
    })  # fmt: skip
    out = blood_output(cells, LAYOUT).set_index(["organoid", "lineage", "time_h"])
    assert out.loc[("A", "all", 0.0), "n_cells"] == 40
    assert out.loc[("A", "erythroid", 0.0), "fraction"] == 0.75
    assert out.loc[("A", "all", 48.0), "rate_per_h"] == pytest.approx(60 / 48)
    assert out.loc[("A", "megakaryocytic", 48.0), "rate_per_h"] == pytest.approx(30 / 48)
    assert np.isnan(out.loc[("B", "all", 0.0), "rate_per_h"])
    assert out.loc[("B", "erythroid", 0.0), "n_cells"] == 0


def test_released_cells_are_a_rate_over_the_time_since_the_count_before():
    cells = cells_of({("b1", 1, 0.0): {"": 5}})
    released = pd.DataFrame({"organoid": "B", "time_h": [24.0, 48.0, 96.0], "lineage": "erythroid",
                             "n_cells": [10.0, 240.0, 480.0]})  # fmt: skip
    out = blood_output(cells, LAYOUT, released=released).query("source == 'released' and lineage == 'all'")
    np.testing.assert_allclose(out["rate_per_h"], [np.nan, 10.0, 10.0])
    with pytest.raises(TableError, match="X, which were not imaged"):
        blood_output(cells, LAYOUT, released=released.assign(organoid="X"))
    with pytest.raises(TableError, match="negative"):
        blood_output(cells, LAYOUT, released=released.assign(n_cells=-1.0))


def output_of(values, times=None) -> pd.DataFrame:
    times = np.arange(len(values)) * 72.0 if times is None else times
    return pd.DataFrame({"organoid": "A", "condition": "control", "lineage": "all", "source": "held",
                         "time_h": times, "n_cells": np.asarray(values, float), "rate_per_h": np.nan})  # fmt: skip


def test_the_trend_is_that_of_scipy_and_exhaustion_where_the_line_meets_zero():
    rng = np.random.default_rng(0)
    values = 1000 - 50.0 * np.arange(8) + rng.normal(0, 20, 8)
    output = output_of(values)
    trend = production_trend(output).iloc[0]
    peer = linregress(output["time_h"], values)
    assert trend["slope_per_day"] == pytest.approx(24 * peer.slope)
    assert trend["verdict"] == "falling"
    assert trend["exhausted_h"] == pytest.approx(-peer.intercept / peer.slope)
    assert trend["exhausted_low_h"] < 20 * 72 < trend["exhausted_high_h"]
    assert production_trend(output_of([100, 103, 98, 101, 99])).iloc[0]["verdict"] == "sustained"
    assert production_trend(output_of([100, 90])).iloc[0]["verdict"] == "unknown"


def test_fieller_limits_hold_the_true_exhaustion_in_19_of_20_experiments():
    rng = np.random.default_rng(1)
    inside = judged = 0
    for _ in range(400):
        trend = production_trend(output_of(1000 - 100.0 * np.arange(7) + rng.normal(0, 40, 7))).iloc[0]
        judged += trend["verdict"] == "falling"
        inside += trend["exhausted_low_h"] <= 720 <= trend["exhausted_high_h"]
    assert judged > 395
    assert 0.925 < inside / judged < 0.975  # .95 ± 2.3 standard errors


def test_recovery_is_read_between_the_times():
    output = output_of([100, 100, 20, 60, 100, 110])
    row = recovery(output, insult_h=72.0, level=0.9).iloc[0]
    assert row["baseline"] == 100
    assert row["nadir"] == 0.2
    assert row["nadir_h"] == 72
    assert row["recovered_h"] == pytest.approx(144 + 72 * 30 / 40)
    assert "not seen to recover" in recovery(output_of([100, 50, 40]), 0.0).iloc[0]["note"]
    assert "no cells before" in recovery(output, insult_h=-1.0).iloc[0]["note"]
    with pytest.raises(SettingsError, match="level is 0"):
        recovery(output, 72.0, level=0)


@pytest.mark.parametrize(("model", "rate", "capacity"), [("exponential", 0.02, np.inf), ("logistic", 0.04, 900.0),
                                                         ("Gompertz", 0.012, 1500.0)])  # fmt: skip
def test_each_growth_model_is_found_from_its_own_curve(model, rate, capacity):
    t = np.arange(0, 28 * 24, 48.0)
    rng = np.random.default_rng(0)
    n = growth_curve(model, t, start=8.0, rate=rate, capacity=capacity) * np.exp(rng.normal(0, 0.03, len(t)))
    table = fit_growth(t, n)
    best = table[table["best"]].iloc[0]
    assert best["model"] == model
    assert best["rate"] == pytest.approx(rate, rel=0.1)
    assert best["weight"] > 0.6
    if np.isfinite(capacity):
        assert best["capacity"] == pytest.approx(capacity, rel=0.1)
    else:
        assert best["initial_doubling_h"] == pytest.approx(np.log(2) / rate, rel=0.05)


def test_few_points_compare_nothing():
    table = fit_growth([0.0, 24.0, 48.0], [10, 20, 40])
    assert table["aicc"].isna().all()
    assert not table["best"].any()
    assert table.loc[0, "rate"] == pytest.approx(np.log(2) / 24)
    assert colony_growth_models(pd.DataFrame(columns=["position", "colony_id", "time_h", "n_cells"])).empty
    with pytest.raises(SettingsError, match="Unknown growth model"):
        growth_curve("cubic", [0.0], start=1, rate=1)

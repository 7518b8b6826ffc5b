from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t, ttest_1samp
from statsmodels.stats.power import TTestIndPower

from napari_marrow.errors import DesignError, SettingsError, TableError
from napari_marrow.statistics import (
    donor_responses,
    mixed_model,
    next_experiment,
    organoids_needed,
    permutation_test,
    sign_flip_test,
    smallest_p,
    two_group_power,
)


@pytest.mark.parametrize(("n", "effect"), [(5, 1.0), (8, 1.5), (20, 0.8)])
def test_power_is_that_of_statsmodels(n, effect):
    assert two_group_power(n, n, effect * 2, 2.0) == pytest.approx(TTestIndPower().power(effect, n, 0.05), abs=1e-6)
    assert two_group_power(n, 2 * n, effect, 1.0) == pytest.approx(TTestIndPower().power(effect, n, 0.05, 2), abs=1e-6)


def test_smallest_p_is_what_the_permutation_test_says():
    assert smallest_p(4, 4) == pytest.approx(2 / 70)
    for a, b in ((4, 4), (3, 5), (2, 6)):
        test = permutation_test(np.arange(a + b, dtype=float), np.arange(a + b) >= a)
        assert smallest_p(a, b) == pytest.approx(test.smallest_p)
        assert test.p_value >= smallest_p(a, b) - 1e-12
    assert two_group_power(3, 3, 100.0, 1.0) == 0  # p cannot fall below .1
    assert two_group_power(4, 4, 100.0, 1.0) == pytest.approx(1)


def test_organoids_needed_is_the_least_number_with_the_power():
    for effect in (0.5, 1.0, 2.0):
        n = organoids_needed(effect, 1.0)
        assert two_group_power(n, n, effect, 1.0) >= 0.8 > two_group_power(n - 1, n - 1, effect, 1.0)
    assert organoids_needed(100.0, 1.0) == 4
    with pytest.raises(SettingsError, match="more than 10000"):
        organoids_needed(1e-6, 1.0)
    with pytest.raises(SettingsError, match="power is 2"):
        organoids_needed(1.0, 1.0, power=2)


def test_the_permutation_test_has_about_the_planned_power():
    rng = np.random.default_rng(0)
    n = organoids_needed(1.5, 1.0)
    values = rng.normal(size=(300, 2 * n)) + 1.5 * (np.arange(2 * n) >= n)
    p = [permutation_test(v, np.arange(2 * n) >= n, n_draws=499, seed=i).p_value for i, v in enumerate(values)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(two_group_power(n, n, 1.5, 1.0), abs=0.07)


def test_the_next_experiment_takes_the_scatter_within_conditions():
    summary = pd.DataFrame({"organoid": list("abcdef"), "condition": ["control"] * 3 + ["drug"] * 3, "endpoint": "y",
                            "unit": "1/h", "value": [9.0, 10.0, 11.0, 19.0, 20.0, 21.0]})  # fmt: skip
    plan = next_experiment(summary, relative_effects=[0.2])
    row = plan.iloc[0]
    assert row["sd"] == pytest.approx(1.0)
    assert row["df"] == 4
    assert row["difference"] == pytest.approx(2.0)
    assert row["n_per_group"] == organoids_needed(2.0, 1.0)
    assert row["n_per_group_cautious"] > row["n_per_group"]
    single = next_experiment(summary.iloc[[0, 3]], relative_effects=[0.2]).iloc[0]
    assert "scatter is unknown" in single["note"]
    with pytest.raises(TableError, match="no values of the endpoint 'z'"):
        next_experiment(summary, endpoints=["z"])


def patients(effects, *, n=3, sd=0.2, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for i, effect in enumerate(effects):
        level = rng.normal(10, 5)
        for condition, shift in (("corrected", 0.0), ("disease", effect)):
            rows += [(f"p{i}-{condition}-{k}", f"p{i}", condition, level + shift + rng.normal(0, sd)) for k in range(n)]
    table = pd.DataFrame(rows, columns=["organoid", "donor", "condition", "value"])
    return table.assign(endpoint="y", unit=""), table[["organoid", "donor", "condition"]]


def test_disease_against_isogenic_control_has_donors_as_units():
    table = donor_responses(*patients([2.0] * 6), "y", reference="corrected", other="disease").set_index("donor")
    assert table.loc["all", "low"] < 2 < table.loc["all", "high"]
    assert table.loc["all", "p_value"] == pytest.approx(2 / 64)
    assert table.loc["p0", "p_value"] == pytest.approx(2 / 20)
    differences = table["difference"].drop("all")
    low, high = ttest_1samp(differences, 0).confidence_interval(0.95)
    assert table.loc["all", ["low", "high"]].tolist() == pytest.approx([low, high])


def test_patients_that_differ_in_response_are_reported():
    table = donor_responses(*patients([3.0, -3.0, 0.0], sd=0.1), "y", reference="corrected", other="disease")
    assert "donors differ" in table["note"].iloc[-1]
    assert "3 donors cannot give p below 0.25" in table["note"].iloc[-1]
    one = donor_responses(*patients([1.0], n=1), "y", reference="corrected", other="disease")
    assert "two in each condition" in one["note"].iloc[0]
    assert "nothing is said about others" in one["note"].iloc[1]
    with pytest.raises(DesignError, match="No donor has values"):
        donor_responses(*patients([1.0]), "y", reference="corrected", other="drug")


def test_type_one_error_over_donors():
    p = [sign_flip_test(np.random.default_rng(i).normal(size=6))[0] for i in range(400)]
    assert np.mean(np.array(p) <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def repeated(effect=0.0, *, seed=0, slope_sd=0.0, batch_sd=0.0, organoids=12, times=6):
    rng = np.random.default_rng(seed)
    rows = []
    shifts = rng.normal(0, batch_sd, 3)
    for i in range(organoids):
        condition = "control" if i % 2 == 0 else "drug"
        level, pace = rng.normal(0, 0.5) + shifts[i % 3], rng.normal(0, slope_sd)
        for k in range(times):
            value = level + (pace + (effect if condition == "drug" else 0)) * k + rng.normal(0, 0.3)
            rows.append((f"o{i}", condition, f"b{i % 3}", float(k), value))
    return pd.DataFrame(rows, columns=["organoid", "condition", "batch", "time_h", "value"])


def test_random_slopes_keep_the_error_rate_where_organoids_drift_apart():
    rejected = {False: 0, True: 0}
    for seed in range(25):
        table = repeated(seed=seed, slope_sd=0.3)
        for slopes in rejected:
            fit = mixed_model(table, slopes=slopes).set_index("term")
            rejected[slopes] += fit.loc["condition[drug]:time", "p_value"] < 0.05
    assert rejected[True] <= 5
    assert rejected[False] > rejected[True]


def test_batches_as_a_random_effect_agree_with_the_formula_of_statsmodels():
    import statsmodels.formula.api as smf

    table = repeated(0.2, batch_sd=1.0, seed=2)
    fit = mixed_model(table, batch="batch").set_index("term")
    table["clock"] = table["time_h"] - table["time_h"].mean()
    peer = smf.mixedlm("value ~ condition * clock", table, groups="batch", re_formula="1",
                       vc_formula={"organoid": "0 + C(organoid)"}).fit(reml=True)  # fmt: skip
    assert fit.loc["condition[drug]:time", "estimate"] == pytest.approx(
        peer.params["condition[T.drug]:clock"], rel=1e-3
    )
    width = fit.loc["condition[drug]:time", "high"] - fit.loc["condition[drug]:time", "estimate"]
    expected = t.ppf(0.975, fit["df"].iloc[0]) * peer.bse["condition[T.drug]:clock"]
    assert width == pytest.approx(expected, rel=1e-2)

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import DesignError, TableError
from napari_marrow.statistics import mixed_model


def repeated(
    rng: np.random.Generator, *, n: int = 6, effect: float = 0.0, slope: float = 0.0, spread: float = 0.5
) -> pd.DataFrame:
    rows = []
    for i in range(2 * n):
        drug = i >= n
        level = rng.normal(0, spread)
        for time in (0.0, 24.0, 48.0, 72.0, 96.0):
            value = 1 + level + 0.01 * time + drug * (effect + slope * (time - 48)) + rng.normal(0, 0.2)
            rows.append((f"o{i}", "drug" if drug else "control", time, value))
    return pd.DataFrame(rows, columns=["organoid", "condition", "time_h", "value"])


def test_known_effects_lie_in_their_intervals():
    table = repeated(np.random.default_rng(0), effect=2.0, slope=0.05)
    fit = mixed_model(table).set_index("term")
    assert (fit["method"] == "mixed").all()
    for term, true in (("condition[drug]", 2.0), ("time", 0.01), ("condition[drug]:time", 0.05)):
        assert fit.loc[term, "low"] < true < fit.loc[term, "high"]
    assert fit.loc["condition[drug]", "p_value"] < 0.001
    assert (fit["df"] == 10).all()
    assert (fit["n_rows"] == 60).all()


def test_balanced_data_agree_with_t_on_organoid_means():
    from scipy.stats import ttest_ind

    table = repeated(np.random.default_rng(1), effect=0.5)
    fit = mixed_model(table, time=None).set_index("term")
    means = table.groupby("organoid")["value"].mean()
    drug = table.groupby("organoid")["condition"].first() == "drug"
    test = ttest_ind(means[drug], means[~drug])
    assert fit.loc["condition[drug]", "estimate"] == pytest.approx(means[drug].mean() - means[~drug].mean())
    assert fit.loc["condition[drug]", "p_value"] == pytest.approx(test.pvalue, rel=0.02)


def test_the_estimate_scales_with_the_unit():
    table = repeated(np.random.default_rng(2), effect=1.0)
    one = mixed_model(table).set_index("term")
    big = mixed_model(table.assign(value=table["value"] * 1e6)).set_index("term")
    np.testing.assert_allclose(big["estimate"], one["estimate"] * 1e6, rtol=1e-3)
    np.testing.assert_allclose(big["p_value"], one["p_value"], atol=1e-3)


def test_organoids_that_do_not_differ_are_noted():
    rng = np.random.default_rng(3)
    table = repeated(rng, spread=0.0)
    table["value"] -= table.groupby("organoid")["value"].transform("mean")
    fit = mixed_model(table)
    assert fit["note"].str.contains("random effect at 0|did not converge").all()
    assert np.isfinite(fit["estimate"]).all()


def test_type_one_error_of_the_condition():
    rng = np.random.default_rng(4)
    rejected = [
        mixed_model(repeated(rng, n=4)).set_index("term").loc["condition[drug]", "p_value"] <= 0.05 for _ in range(60)
    ]
    assert np.mean(rejected) <= 0.11


def test_too_few_organoids_give_nan_with_a_reason():
    table = repeated(np.random.default_rng(5), n=1)
    fit = mixed_model(table)
    assert fit["estimate"].isna().all()
    assert fit["note"].str.contains("too few").all()


def test_unusable_tables_are_refused():
    table = repeated(np.random.default_rng(6))
    with pytest.raises(TableError, match="lacks the column"):
        mixed_model(table.drop(columns="value"))
    with pytest.raises(DesignError, match="needs the reference"):
        mixed_model(table[table["condition"] == "drug"])
    with pytest.raises(DesignError, match="two conditions"):
        mixed_model(table.assign(organoid="o1"))

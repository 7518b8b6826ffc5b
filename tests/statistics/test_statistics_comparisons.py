from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from napari_marrow.errors import DesignError, TableError
from napari_marrow.schemas import COMPARISONS, LAYOUT, ORGANOID_SUMMARY
from napari_marrow.statistics import compare, permutation_test


def design(conditions: list[str], batches: list[str] | None = None, donors: list[str] | None = None) -> pd.DataFrame:
    n = len(conditions)
    table = pd.DataFrame({"condition": conditions, "organoid": [f"o{i:02d}" for i in range(n)]})
    table["position"] = [f"B{i + 1:02d}_f00" for i in range(n)]
    table["well"] = table["position"].str[:3]
    table["batch"] = batches or ["b1"] * n
    table["donor"] = donors or ["d1"] * n
    table["dose"], table["replicate"] = np.nan, 1
    return LAYOUT.conform(table)


def summary_of(layout: pd.DataFrame, **endpoints: list[float]) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "organoid": layout["organoid"],
                "condition": layout["condition"],
                "endpoint": name,
                "value": v,
                "unit": "h",
            }
        )
        for name, v in endpoints.items()
    ]
    return ORGANOID_SUMMARY.conform(pd.concat(parts))


def test_two_conditions_on_two_endpoints():
    layout = design(["control"] * 4 + ["drug"] * 4)
    out = compare(summary_of(layout, a=[1, 2, 3, 4, 11, 12, 13, 14], b=[1, 2, 3, 4, 1, 2, 3, 4]), layout)
    assert list(out.columns[: len(COMPARISONS.names)]) == COMPARISONS.names
    first = out.iloc[0]
    assert (first["n_a"], first["n_b"], first["mean_a"], first["mean_b"], first["difference"]) == (4, 4, 2.5, 12.5, 10)
    assert first["p_value"] == first["smallest_p"] == pytest.approx(2 / 70)
    assert first["low"] < 10 < first["high"]
    assert first["interval"] == "permutation"
    assert out["p_adjusted"].tolist() == pytest.approx([4 / 70, 1])
    assert out["unit"].tolist() == ["h", "h"]


def test_three_against_three_have_a_t_interval_and_a_note():
    layout = design(["control"] * 3 + ["drug"] * 3)
    y = [1.0, 2, 4, 6, 7, 9]
    row = compare(summary_of(layout, a=y), layout).iloc[0]
    welch = ttest_ind(y[3:], y[:3], equal_var=False).confidence_interval()
    assert row["interval"] == "t"
    assert (row["low"], row["high"]) == pytest.approx((welch.low, welch.high))
    assert row["smallest_p"] == 0.1
    assert "cannot give p below 0.1" in row["note"]


def test_one_organoid_per_condition_gives_nan_with_a_reason():
    layout = design(["control", "drug"])
    row = compare(summary_of(layout, a=[1.0, 2.0]), layout).iloc[0]
    assert row[["p_value", "low", "high", "p_adjusted", "smallest_p"]].isna().all()
    assert row["difference"] == 1
    assert "needs two in each condition" in row["note"]


def test_missing_values_are_left_out_and_counted():
    layout = design(["control"] * 4 + ["drug"] * 4)
    out = compare(summary_of(layout, a=[1, 2, np.nan, 4, 11, 12, 13, 14], b=[np.nan] * 8), layout)
    assert out["n_a"].tolist() == [3, 0]
    assert "1 of 8 organoids without a value" in out["note"][0]
    assert np.isnan(out["mean_a"][1])
    assert np.isnan(out["p_value"][1])


def test_batches_that_hold_both_conditions_are_strata():
    layout = design(["control", "drug"] * 6, [f"b{i // 4}" for i in range(12)])
    y = np.repeat([0.0, 50, 100], 4) + np.tile([0, 1], 6) + np.linspace(0, 0.3, 12)
    row = compare(summary_of(layout, a=list(y)), layout).iloc[0]
    assert row["strata"] == "batch"
    assert row["n_splits"] == 6**3
    direct = permutation_test(y, np.tile([False, True], 6), strata=layout["batch"])
    assert row["p_value"] == direct.p_value
    assert row["difference"] == pytest.approx(direct.difference)


def test_confounded_batch_or_donor_is_refused_with_a_remedy():
    conditions = ["control"] * 3 + ["drug"] * 3
    for column in ("batches", "donors"):
        layout = design(conditions, **{column: ["x"] * 3 + ["y"] * 3})
        with pytest.raises(DesignError, match=r"confounded: no (batch|donor) holds both 'control' and 'drug'.*repeat"):
            compare(summary_of(layout, a=[1.0] * 6), layout)
    nested = design(["control"] * 4 + ["drug"] * 4, donors=["d1", "d1", "d2", "d2", "d3", "d3", "d4", "d4"])
    with pytest.raises(DesignError, match="compare on unit='donor'"):
        compare(summary_of(nested, a=[1.0] * 8), nested)
    row = compare(summary_of(nested, a=[1.0, 3, 5, 7, 9, 11, 13, 15]), nested, unit="donor").iloc[0]
    assert (row["n_a"], row["n_b"], row["mean_a"], row["mean_b"]) == (2, 2, 4, 12)


def test_three_conditions_are_each_compared_with_the_reference():
    layout = design(["control"] * 4 + ["low"] * 4 + ["high"] * 4)
    out = compare(summary_of(layout, a=list(range(12))), layout)
    assert out["condition_b"].tolist() == ["high", "low"]
    assert (out["condition_a"] == "control").all()


def test_designs_that_cannot_be_compared_are_refused():
    layout = design(["control"] * 4)
    with pytest.raises(DesignError, match="needs two"):
        compare(summary_of(layout, a=[1.0] * 4), layout)
    with pytest.raises(DesignError, match="'vehicle' is not in the plate layout"):
        compare(summary_of(layout, a=[1.0] * 4), layout, reference="vehicle")
    two = design(["control", "control", "drug", "drug"])
    with pytest.raises(DesignError, match="stands in two conditions"):
        compare(summary_of(two, a=[1.0] * 4), two.assign(organoid="o00"))
    doubled = pd.concat([summary_of(two, a=[1.0] * 4)] * 2)
    with pytest.raises(TableError, match="two values"):
        compare(doubled, two)
    with pytest.raises(TableError, match="does not name the organoid"):
        compare(summary_of(two, a=[1.0] * 4).replace({"o00": "zz"}), two)
    with pytest.raises(TableError, match="no endpoint 'b'"):
        compare(summary_of(two, a=[1.0] * 4), two, endpoints=["b"])
    with pytest.raises(DesignError, match="Unknown unit"):
        compare(summary_of(two, a=[1.0] * 4), two, unit="cell")


def test_nothing_to_compare_gives_the_empty_table():
    layout = design(["control", "drug"])
    assert compare(ORGANOID_SUMMARY.empty(), layout).empty


def test_several_fields_of_one_organoid_are_one_unit():
    layout = design(["control"] * 4 + ["drug"] * 4)
    fields = pd.concat([layout, layout.assign(position=layout["position"].str.replace("f00", "f01"))])
    y = [1.0, 2, 3, 4, 11, 12, 13, 14]
    pd.testing.assert_frame_equal(compare(summary_of(layout, a=y), layout), compare(summary_of(layout, a=y), fields))


def test_type_one_error_is_kept_by_organoids_and_lost_by_cells():
    """No effect, 5 + 5 organoids of 60 cells, intra-organoid correlation .1: organoids keep .05, cells do not."""
    rng = np.random.default_rng(0)
    layout = design(["control"] * 5 + ["drug"] * 5)
    by_organoid, by_cell = [], []
    n = 400
    means = np.empty((n, 10))
    for i in range(n):
        cells = rng.normal(0, np.sqrt(0.1), 10)[:, None] + rng.normal(0, np.sqrt(0.9), (10, 60))
        means[i] = cells.mean(axis=1)
        by_organoid.append(permutation_test(means[i], layout["condition"] == "drug").p_value <= 0.05)
        by_cell.append(ttest_ind(cells[:5].ravel(), cells[5:].ravel()).pvalue <= 0.05)
    assert np.mean(by_organoid) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / n)
    assert np.mean(by_cell) > 0.3
    row = compare(summary_of(layout, a=list(means[0])), layout).iloc[0]
    assert (row["p_value"] <= 0.05) == by_organoid[0]

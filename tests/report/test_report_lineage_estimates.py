"""The table of what division trees tell: both intervals beside each other, nothing where nothing was followed."""

from __future__ import annotations

import pandas as pd

from napari_marrow.report.lineage_estimates import RESULT_TABLES, estimates, estimates_part


def tables(**given: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {name: given.get(name, pd.DataFrame()) for name in RESULT_TABLES}


def test_both_intervals_stand_beside_each_other():
    rates = pd.DataFrame({"condition": ["TPO", "control"], "to": ["erythroid", "death"], "rate": [0.01, 0.002],
                          "low": [0.005, 0.001], "high": [0.02, 0.004], "tracking_sd": 0.001, "drawn_mean": 0.011,
                          "low_total": [0.004, 0.0005], "high_total": [0.022, 0.005]})  # fmt: skip
    kin = pd.DataFrame({"quantity": "division time", "kind": ["sister", "cousin"], "excess": [0.3, float("nan")],
                        "low": [0.1, float("nan")], "high": [0.5, float("nan")]})  # fmt: skip
    found = estimates(tables(onset_rates=rates, kin_correlations=kin))
    assert found["of"].tolist() == ["erythroid, TPO", "death, control", "division time, sister"]
    assert found.loc[0, ["estimate", "low", "high", "low_total", "high_total"]].tolist() == [
        0.01, 0.005, 0.02, 0.004, 0.022,
    ]  # fmt: skip
    (part,) = estimates_part(tables(onset_rates=rates, kin_correlations=kin))
    assert "doubtful links" in part.caption
    assert part.headings["low_total"] == "lower limit with tracking"


def test_without_drawn_pedigrees_there_is_one_interval_and_without_trees_no_table():
    clones = pd.DataFrame({"condition": ["all"], "quantity": ["died out"], "value": [0.2], "low": [0.1], "high": [0.3]})
    found = estimates(tables(clone_summary=clones))
    assert list(found.columns) == ["result", "of", "unit", "estimate", "low", "high"]
    assert estimates_part(tables()) == []

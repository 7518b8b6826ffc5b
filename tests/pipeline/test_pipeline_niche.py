"""The niche's steps on a finished study: surroundings of every cell, organoids over time, a channel that is missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import RecipeError
from napari_marrow.niche import vessel_remodelling
from napari_marrow.pipeline import parse_recipe
from napari_marrow.pipeline.steps.niche_over_time import condition_means, organoid_values
from napari_marrow.study import Study

PLACE = ["position", "session", "t", "label"]


def test_every_cell_has_its_surroundings_and_they_are_those_of_the_measured_frames(whole_run):
    study = Study.open(whole_run[0])
    cells, around = study.table("cells"), study.table("cell_surroundings")
    assert not around.duplicated(PLACE).any()
    assert len(cells.merge(around, on=PLACE)) == len(cells) == len(around)
    # The step niche measured some frames by itself: the same numbers.
    both = study.table("niche_cells").merge(around, on=PLACE, suffixes=("", "_again"))
    assert len(both) > 20
    for column in ("distance_vessel", "edge_distance", "local_density"):
        assert both[column].to_numpy() == pytest.approx(both[f"{column}_again"].to_numpy(), nan_ok=True)
    assert (both["compartment"] == both["compartment_again"]).all()


def test_organoids_over_time_are_means_of_their_frames(whole_run):
    study = Study.open(whole_run[0])
    values, metrics = study.table("niche_by_organoid"), study.table("niche_metrics")
    row = values[values["metric"] == "vessel_length_density"].iloc[0]
    fields = study.layout.loc[study.layout["organoid"] == row["organoid"], "position"]
    direct = metrics[
        (metrics["metric"] == "vessel_length_density")
        & metrics["position"].isin(fields)
        & (metrics["session"] == row["session"])
    ]["value"]
    assert row["value"] == pytest.approx(direct.mean())
    changes = study.table("vessel_changes")
    known = changes[changes["note"] == ""]
    assert (known["stable_um"] + known["lost_um"]).to_numpy() == pytest.approx(known["before_um"].to_numpy())
    assert set(study.table("niche_by_condition")["condition"]) == set(study.layout["condition"])


def table_of(values: dict[str, float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = [
        {
            "position": organoid, "session": 1, "t": 0, "time_h": 2.0, "metric": "proximity_effect_vessel",
            "subject": "a", "value": value, "null_mean": 0.0, "interval_low": value - 1, "interval_high": value + 1,
            "unit": "", "note": "" if np.isfinite(value) else "no structure 'vessel' in this frame (channel missing?)",
        }
        for organoid, value in values.items()
    ]  # fmt: skip
    layout = pd.DataFrame({"position": list(values), "organoid": list(values), "condition": "control"})
    return pd.DataFrame(rows), layout


def test_a_channel_missing_in_one_session_is_nan_with_its_reason_and_no_number():
    by_organoid = organoid_values(*table_of({"o1": 0.2, "o2": np.nan, "o3": 0.4}))
    missing = by_organoid[by_organoid["organoid"] == "o2"].iloc[0]
    assert np.isnan(missing["value"])
    assert "channel missing" in missing["note"]
    mean = condition_means(by_organoid, seed=0).iloc[0]
    assert (mean["n_organoids"], mean["mean"], mean["p_value"]) == (2, pytest.approx(0.3), 0.5)
    nothing = vessel_remodelling(*[pd.DataFrame({"branch": [], "y": [], "x": []})] * 2, tolerance=5.0)
    assert np.isnan(nothing.lost_share)
    assert nothing.note


def test_rules_of_classes_in_a_recipe_are_checked():
    assert parse_recipe({"niche": {"cell_classes": {"B": "CD19+ CD45+"}}}).niche.cell_classes == {"B": "CD19+ CD45+"}
    with pytest.raises(RecipeError, match="never one"):
        parse_recipe({"niche": {"cell_classes": {"B": "CD19+"}}})

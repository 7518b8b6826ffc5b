"""The niche's steps on a finished study: surroundings of every cell, organoids over time, a channel that is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import RecipeError, SettingsError
from napari_marrow.niche import vessel_remodelling
from napari_marrow.pipeline import parse_recipe
from napari_marrow.pipeline.step import Context, Unit
from napari_marrow.pipeline.steps.cell_classes import CellClassesStep, marker_positivity
from napari_marrow.pipeline.steps.niche_over_time import condition_means, organoid_values
from napari_marrow.progress import CancelToken
from napari_marrow.study import Study

KEY = "0" * 12
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


def cells_of_wells(path: Path) -> Study:
    """Two wells without stains, two of the condition "drug" in which every third cell carries both markers."""
    layout = pd.DataFrame(
        [
            {
                "position": f"B{k:02d}_f00", "well": f"B{k:02d}", "organoid": f"O{k}", "donor": "d", "batch": "b",
                "condition": "unstained" if k < 4 else "drug", "dose": np.nan, "replicate": k,
            }
            for k in range(2, 6)
        ]
    )  # fmt: skip
    rng, n = np.random.default_rng(0), 300
    parts = []
    for well in layout.itertuples():
        on = (np.arange(n) % 3 == 0) & (well.condition == "drug")
        part = pd.DataFrame({"label": np.arange(1, n + 1), "position": well.position, "session": 1, "t": 0})
        for column in ("z", "y", "x", "z_reg", "y_reg", "x_reg", "eccentricity", "time_h"):
            part[column] = 1.0
        part = part.assign(area=50.0, touches_border=False)
        for marker in ("CD34", "CD45"):
            part[f"intensity_{marker}"] = 20 + 10 * rng.normal(size=n) + 200.0 * on
        parts.append(part)
    study = Study.create(path, layout=layout)
    with study.write_lock():
        study.commit("cells", KEY, {}, pd.concat(parts, ignore_index=True))
    return study


def test_thresholds_come_from_control_wells(tmp_path):
    study = cells_of_wells(tmp_path / "wells.marrow")
    cells = study.table("cells", KEY)
    niche = {"cell_classes": {"both": "CD34+ CD45+"}, "class_control": "unstained", "class_control_quantile": 0.9}
    step, context = CellClassesStep(), Context(parse_recipe({"niche": niche}), {"measure": KEY, "cell_classes": KEY})
    with study.write_lock():
        step.run_unit(study, Unit(), context, CancelToken())
    found = study.table("class_thresholds", KEY).set_index("marker")
    unstained = cells["position"].isin(["B02_f00", "B03_f00"])
    for marker in ("CD34", "CD45"):
        row = found.loc[marker]
        assert row["method"] == "control"
        assert row["threshold"] == pytest.approx(np.quantile(cells.loc[unstained, f"intensity_{marker}"], 0.9))
        assert row["low"] <= row["threshold"] <= row["high"]
    named = cells.merge(study.table("cell_classes", KEY), on=PLACE)
    on = named["intensity_CD34"] > 120
    assert on.sum() == 200
    assert (named.loc[on, "cell_class"] == "both").all()
    # Each marker is on in a tenth of the negatives, both in a hundredth of them.
    assert (named.loc[~on, "cell_class"] == "both").mean() < 0.03
    unknown = Context(parse_recipe({"niche": {**niche, "class_control": "isotype"}}), context.keys)
    with pytest.raises(SettingsError, match=r"'isotype' \(recipe: niche.class_control\).*drug, unstained"):
        step.run_unit(study, Unit(), unknown, CancelToken())


def test_a_control_names_what_is_on_better_than_chance_and_says_what_it_cannot_tell():
    rng = np.random.default_rng(3)
    organoid = np.repeat(["n1", "n2", "n3", "n4", "s1", "s2"], 500)
    control = np.char.startswith(organoid, "n")
    on = ~control & (rng.random(3000) < 0.3)
    values = 100 + 10 * rng.normal(size=3000) + np.where(on, 80.0, 0.0)
    ask = {"given": None, "quantile": 0.99, "seed": 0}
    probability, row = marker_positivity(values, organoid, control, **ask)
    # 99 % of negatives lie under 100 + 2.326 x 10; positives start six sd above it.
    assert row["threshold"] == pytest.approx(123.3, abs=2.0)
    assert row["note"] == ""
    assert (probability[on] > 0.9).mean() > 0.99
    assert (probability[~on & ~control] > 0.9).mean() == pytest.approx(0.01, abs=0.01)
    _, alone = marker_positivity(values, np.where(control, "n", organoid), control, **ask)
    assert "one control organoid only" in alone["note"]
    unstained, nothing = marker_positivity(np.where(control, np.nan, values), organoid, control, **ask)
    assert np.isnan(unstained).all()
    assert (nothing["method"], np.isnan(nothing["threshold"])) == ("none", True)
    assert "0 control cells" in nothing["note"]
    _, known = marker_positivity(values, organoid, control, given=130.0, quantile=0.99, seed=0)
    assert (known["method"], known["threshold"]) == ("given", 130.0)

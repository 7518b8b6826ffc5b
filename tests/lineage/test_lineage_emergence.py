from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.lineage import (
    OnsetSettings,
    emergence,
    hazard_by_generation,
    marker_onsets,
    organoid_endpoints,
    transition_rates,
)
from napari_marrow.lineage.organoid_incidence import expanded_limits
from napari_marrow.schemas import EMERGENCE, LAYOUT, ONSETS, ORGANOID_SUMMARY

MARKERS = {"erythroid": "CD235a", "megakaryocytic": "CD41"}
GIVEN = OnsetSettings(thresholds={"CD235a": 80.0, "CD41": 80.0})
HAZARDS = {"erythroid": 0.02, "megakaryocytic": 0.01}
DEATH = 0.005
TOTAL = 0.035


def truth(lineage: str, t: np.ndarray) -> np.ndarray:
    rate = {**HAZARDS, "death": DEATH}[lineage]
    return rate / TOTAL * (1 - np.exp(-TOTAL * t))


def layout_of(positions: list[str], conditions: list[str]) -> pd.DataFrame:
    table = pd.DataFrame({"position": positions, "condition": conditions})
    table["well"] = [p[:3] for p in positions]
    table["organoid"] = [f"org-{p}" for p in positions]
    table["donor"], table["batch"], table["dose"], table["replicate"] = "d1", "b1", np.nan, 1
    return LAYOUT.conform(table)


def many(simulate_clones, positions: list[str], n: int = 120, **options) -> pd.DataFrame:
    tables = []
    for i, position in enumerate(positions):
        tracks, nodes = simulate_clones(n, position=position, seed=10 + i, hazards=HAZARDS, death=DEATH, **options)
        tables.append(marker_onsets(tracks, nodes, markers=MARKERS, settings=GIVEN)[0])
    return pd.concat(tables, ignore_index=True)


def test_emergence_meets_the_closed_form_and_its_interval_covers_it(simulate_clones):
    positions = [f"B{i:02d}_f00" for i in range(2, 8)]
    onsets = many(simulate_clones, positions)
    curves = emergence(onsets, layout_of(positions, ["control"] * 6), times_h=[10, 25, 50], bootstrap=300)
    mean = curves[curves["organoid"] == "all"]
    for lineage in ("erythroid", "megakaryocytic", "death"):
        mine = mean[mean["lineage"] == lineage]
        expected = truth(lineage, mine["time_h"].to_numpy())
        np.testing.assert_allclose(mine["cumulative_incidence"], expected, atol=0.035)
        assert ((mine["low"] <= expected) & (expected <= mine["high"])).all()
    assert (mean["n_units"] == 6).all()
    single = curves[(curves["organoid"] == "org-B02_f00") & (curves["lineage"] == "erythroid")]
    assert (single["low"] < single["cumulative_incidence"]).all()
    assert (single["high"] > single["cumulative_incidence"]).all()
    assert single["n_units"].eq(120).all()


def test_losing_cells_at_random_does_not_bias_the_curve(simulate_clones):
    onsets = many(simulate_clones, ["B02_f00", "B03_f00"], n=400, loss=0.008)
    assert (onsets["event"] == "loss").mean() > 0.1
    curves = emergence(onsets, None, times_h=[40], bootstrap=0)
    mean = curves[(curves["organoid"] == "all") & (curves["lineage"] == "erythroid")]["cumulative_incidence"]
    assert mean.iloc[0] == pytest.approx(truth("erythroid", np.array([40.0]))[0], abs=0.03)


def test_the_turnbull_curve_mends_wide_gaps(simulate_clones):
    """Channels imaged every 12 h only: the midpoint is off where Turnbull is not worse, and both are near the truth."""
    tables = []
    for i in range(4):
        tracks, nodes = simulate_clones(300, position=f"B{i + 2:02d}_f00", seed=i, hazards=HAZARDS, death=0.0)
        # Other organoids are imaged at other hours.
        blind = (nodes["time_h"] - 3 * i) % 12 != 0
        nodes.loc[blind, ["intensity_CD235a", "intensity_CD41"]] = np.nan
        settings = OnsetSettings(thresholds=GIVEN.thresholds, consecutive=1)
        tables.append(marker_onsets(tracks, nodes, markers=MARKERS, settings=settings)[0])
    onsets = pd.concat(tables)
    grid = np.array([12.0, 24.0, 45.0])
    expected = HAZARDS["erythroid"] / 0.03 * (1 - np.exp(-0.03 * grid))
    for method in ("midpoint", "turnbull"):
        curves = emergence(onsets, None, times_h=grid, bootstrap=0, method=method)
        mine = curves[(curves["organoid"] == "all") & (curves["lineage"] == "erythroid")]
        np.testing.assert_allclose(mine["cumulative_incidence"], expected, atol=0.05)


def hand_onsets(rows: list[tuple]) -> pd.DataFrame:
    names = [
        "position",
        "track_id",
        "founder_track_id",
        "generation",
        "lineage",
        "event",
        "entry_h",
        "left_h",
        "right_h",
    ]
    return ONSETS.conform(pd.DataFrame(rows, columns=names).assign(session=2))


def test_a_hand_made_risk_set():
    """Four founders from 100 h on: onset at 102, death at 104; one divides at 103, a daughter switches on at 105."""
    onsets = hand_onsets(
        [
            ("A01_f00", 1, 1, 0, "erythroid", "onset", 100, 101, 103),
            ("A01_f00", 2, 2, 0, "", "death", 100, 104, np.inf),
            ("A01_f00", 3, 3, 0, "", "division", 100, 103, np.inf),
            ("A01_f00", 5, 3, 1, "erythroid", "onset", 103, 104.5, 105.5),
            ("A01_f00", 6, 3, 1, "", "end", 103, 110, np.inf),
            ("A01_f00", 4, 4, 0, "", "loss", 100, 101, np.inf),
            ("A01_f00", 7, 7, 0, "erythroid", "prevalent", 100, -np.inf, 100),
        ]
    )
    curves = emergence(onsets, None, times_h=[0, 2, 4, 5, 10, 11], bootstrap=50)
    own = curves[curves["organoid"] == "A01_f00"].set_index(["lineage", "time_h"])
    ery = own.loc["erythroid", "cumulative_incidence"].to_numpy()
    # At 2 h three are at risk (4 was lost at 1 h); at 4 h tracks 2, 5 and 6; at 5 h tracks 5 and 6.
    np.testing.assert_allclose(ery[:5], [0, 1 / 3, 1 / 3, 1 / 3 + 2 / 3 * 2 / 3 / 2, 1 / 3 + 2 / 9])
    assert np.isnan(ery[5])
    death = own.loc["death", "cumulative_incidence"].to_numpy()
    np.testing.assert_allclose(death[:5], [0, 0, 2 / 9, 2 / 9, 2 / 9])
    assert own.loc[("erythroid", 11), "note"] == "observation had ended"
    assert own.loc["erythroid", "at_risk"].tolist() == [4, 3, 3, 2, 1, 0]
    everyone = curves[curves["organoid"] == "all"]
    assert everyone["low"].isna().all()
    assert everyone["note"].str.contains("one organoid only").all()
    assert set(EMERGENCE.names) <= set(curves.columns)


def test_a_lineage_nobody_entered_has_incidence_zero_and_sessions_are_not_joined():
    onsets = hand_onsets([(p, i, i, 0, "", "end", 0, 10, np.inf) for p in ("A01_f00", "A02_f00") for i in range(1, 4)])
    late = onsets.assign(session=3, entry_h=100.0, left_h=103.0)
    both = pd.concat([onsets, late])
    curves = emergence(both, None, lineages=["erythroid"], times_h=[5, 10, 50], bootstrap=20)
    assert (curves["session"] == 2).all()
    assert curves["cumulative_incidence"].dropna().eq(0).all()
    assert curves.loc[curves["time_h"] == 50, "cumulative_incidence"].isna().all()
    assert (emergence(both, None, session=3, bootstrap=0)["time_h"].max()) == 3


def test_limits_begin_at_nothing(simulate_clones):
    """At the start of observation nobody has been at risk: the incidence is 0, not anything from 0 to 1."""
    positions = ["B02_f00", "B03_f00", "B04_f00"]
    curves = emergence(many(simulate_clones, positions, n=30), layout_of(positions, ["control"] * 3), bootstrap=99)
    first = curves[curves["time_h"] == 0]
    assert len(first) >= 4 * 3
    assert (first[["low", "cumulative_incidence", "high"]].to_numpy() == 0).all()
    later = curves[(curves["time_h"] > 0) & (curves["cumulative_incidence"] == 0)]
    assert (later["high"] > 0).all()


def test_nothing_to_estimate_gives_an_empty_table_with_its_columns():
    empty = emergence(ONSETS.empty(), None)
    assert list(empty.columns[: len(EMERGENCE.names)]) == EMERGENCE.names
    single_frame = hand_onsets([("A01_f00", 1, 1, 0, "", "end", 5, 5, np.inf)])
    curves = emergence(single_frame, None)
    assert curves["cumulative_incidence"].isna().all()
    assert curves["note"].eq("no cell was followed over time").all()


def test_equal_seeds_give_equal_intervals(simulate_clones):
    onsets = many(simulate_clones, ["B02_f00", "B03_f00"], n=30)
    a, b = (emergence(onsets, None, bootstrap=100, seed=7) for _ in range(2))
    pd.testing.assert_frame_equal(a, b)


def test_bad_arguments_are_refused(simulate_clones):
    onsets = hand_onsets([("A01_f00", 1, 1, 0, "", "end", 0, 5, np.inf)])
    with pytest.raises(SettingsError, match="auto, midpoint, piecewise or turnbull"):
        emergence(onsets, None, method="mean")
    with pytest.raises(SettingsError, match="times_h"):
        emergence(onsets, None, times_h=[-1.0])
    with pytest.raises(TableError, match="does not name the position"):
        emergence(onsets, layout_of(["B09_f00"], ["control"]))


def test_rates_and_hazards_by_generation(simulate_clones):
    tracks, nodes = simulate_clones(400, seed=6, hazards=HAZARDS, death=DEATH)
    onsets, _ = marker_onsets(tracks, nodes, markers=MARKERS, settings=GIVEN)
    rates = transition_rates(onsets).set_index("to")
    for name, rate in {**HAZARDS, "death": DEATH}.items():
        assert rates.loc[name, "low"] < rate < rates.loc[name, "high"]
    generations = hazard_by_generation(onsets)
    assert generations["n_events"].sum() == (onsets["event"].isin(["onset", "death"])).sum()
    assert set(generations["generation"]) >= {0, 1, 2}
    hand = transition_rates(hand_onsets([("A01_f00", 1, 1, 0, "erythroid", "onset", 0, 4, 6),
                                         ("A01_f00", 2, 2, 0, "", "end", 0, 5, np.inf)])).set_index("to")  # fmt: skip
    assert hand.loc["erythroid", ["n_events", "time_h", "rate"]].tolist() == [1, 10, 0.1]
    assert hand.loc["death", "rate"] == 0
    none = transition_rates(ONSETS.empty(), lineages=["erythroid"])
    assert none["rate"].isna().all()
    assert none["note"].eq("no time at risk").all()


@pytest.mark.parametrize("look", [1, 3])
@pytest.mark.parametrize("consecutive", [1, 2, 3])
def test_rates_are_unbiased_however_many_looks_confirm_an_onset(simulate_clones, look, consecutive):
    """Lives of 10 h on average: the looks that confirm nothing any more are a tenth of them, or a half."""
    off = []
    for seed in range(6):
        tracks, nodes = simulate_clones(300, seed=seed, hazards=HAZARDS, death=0.1)
        nodes = nodes[nodes["t"] % look == 0]
        settings = replace(GIVEN, consecutive=consecutive)
        onsets, _ = marker_onsets(tracks, nodes, markers=MARKERS, settings=settings)
        rates = transition_rates(onsets).set_index("to")
        off.append([rates.loc[name, "rate"] / rate - 1 for name, rate in HAZARDS.items()])
    values = np.array(off)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    assert (np.abs(values.mean(axis=0)) < 0.02 + 3 * error).all(), (values.mean(axis=0), error)


def test_expanded_percentiles_of_a_normal_mean_are_a_t_interval():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        x = rng.normal(0, 1, 8)
        draws = x[rng.integers(0, 8, (2000, 8))].mean(axis=1)
        low, high = expanded_limits(draws, 8)
        covered += low <= 0 <= high
    assert 0.91 <= covered / 400 <= 0.98


def test_endpoints_have_one_value_per_organoid(simulate_clones):
    positions = ["B02_f00", "B03_f00"]
    layout = layout_of(positions, ["control", "drug"])
    tracks, tables = [], []
    for i, p in enumerate(positions):
        one, nodes = simulate_clones(80, position=p, seed=i, hazards=HAZARDS, death=DEATH)
        tracks.append(one)
        tables.append(marker_onsets(one, nodes, markers=MARKERS, settings=GIVEN)[0])
    onsets, tracks_table = pd.concat(tables), pd.concat(tracks)
    curves = emergence(onsets, layout, bootstrap=0)
    cells = pd.DataFrame({"position": ["B02_f00"] * 4, "session": 3, "t": [0, 1, 1, 1],
                          "lineage": ["erythroid", "", "erythroid", "ambiguous"]})  # fmt: skip
    out = organoid_endpoints(onsets, curves, None, None, tracks_table, layout, cells=cells)
    assert set(ORGANOID_SUMMARY.names) <= set(out.columns)
    assert not out.duplicated(["organoid", "endpoint"]).any()
    value = out.set_index(["organoid", "endpoint"])["value"]
    assert value["org-B02_f00", "cells"] == 3
    assert value["org-B02_f00", "fraction erythroid"] == pytest.approx(1 / 3)
    assert np.isnan(value["org-B03_f00", "cells"])
    assert value["org-B02_f00", "median division time"] == pytest.approx(27, abs=4)
    assert 0.3 < value["org-B02_f00", "cumulative incidence erythroid"] < 0.65
    assert set(out["condition"]) == {"control", "drug"}
    assert organoid_endpoints(None, None, None, None, None, layout).empty


def test_a_lineage_whose_marker_could_not_be_read_is_nan_not_zero(simulate_clones):
    tracks, nodes = simulate_clones(40, seed=1)
    nodes["intensity_CD41"] = np.random.default_rng(0).normal(0, 10, len(nodes))
    onsets, thresholds = marker_onsets(tracks, nodes, markers=MARKERS)
    curves = emergence(onsets, None, lineages=list(MARKERS), thresholds=thresholds, times_h=[30], bootstrap=20)
    rows = curves.set_index(["organoid", "lineage"])
    assert np.isnan(rows.loc[("all", "megakaryocytic"), "cumulative_incidence"])
    assert "negative control" in rows.loc[("all", "megakaryocytic"), "note"]
    assert rows.loc[("all", "erythroid"), "cumulative_incidence"] > 0.2
    summary = organoid_endpoints(onsets, curves, None, None, None, None).set_index("endpoint")
    assert np.isnan(summary.loc["cumulative incidence megakaryocytic", "value"])
    assert "no threshold" in summary.loc["cumulative incidence megakaryocytic", "note"]
    assert "at 30 h" in summary.loc["cumulative incidence erythroid", "note"]

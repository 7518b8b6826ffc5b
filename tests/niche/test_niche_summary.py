"""The whole niche of one frame: right values, right units, a reason for every NaN."""

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.niche import NicheSettings, measure_niche, uniform_positions

SPACING = (1.0, 1.02, 1.02)
FAST = NicheSettings(n_simulations=99, n_uniform=19)
COLUMNS = ["metric", "subject", "value", "low", "high", "null_mean", "p_value", "unit", "note"]
COLUMNS += ["interval_low", "interval_high"]


def plane(n=200, seed=0, attracted=False):
    """A round organoid with two straight vessels and a scaffold bead; cells uniform in the free tissue."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:256, :256]
    tissue = np.hypot(yy - 128, xx - 128) < 120
    vessel = tissue & ((np.abs(yy - 90) < 5) | (np.abs(xx - 160) < 5))
    scaffold = np.hypot(yy - 170, xx - 90) < 22
    points = uniform_positions(tissue & ~vessel & ~scaffold, SPACING[1:], n, rng)
    cells = pd.DataFrame({"label": np.arange(1, n + 1), "z": 0.0, "y": points[:, 0], "x": points[:, 1]})
    gap = np.minimum(np.abs(points[:, 0] / 1.02 - 90), np.abs(points[:, 1] / 1.02 - 160))
    chance = np.exp(-gap / 12) if attracted else np.full(n, 0.3)
    erythroid = rng.random(n) < chance
    classes = {"all": np.ones(n, bool), "erythroid": erythroid, "myeloid": ~erythroid & (rng.random(n) < 0.5)}
    return {
        "cells": cells, "classes": classes, "structures": {"vessel": vessel[None], "scaffold": scaffold[None]},
        "tissue": tissue[None], "spacing": SPACING,
    }  # fmt: skip


def value(result, metric, subject=None):
    rows = result.metrics[result.metrics["metric"] == metric]
    if subject is not None:
        rows = rows[rows["subject"] == subject]
    assert len(rows) == 1, (metric, subject, len(rows))
    return rows.iloc[0]


def test_a_plane_gives_its_known_values():
    frame = plane()
    result = measure_niche(**frame, settings=FAST)
    assert list(result.metrics.columns) == COLUMNS
    assert not result.metrics.duplicated(["metric", "subject"]).any()
    missing = result.metrics[result.metrics["value"].isna()]
    assert (missing["note"] != "").all()
    # Two chords of the round organoid, 38 and 32 pixels off its centre; W is the organoid without the bead.
    length = 2 * (np.sqrt(120**2 - 38**2) + np.sqrt(120**2 - 32**2)) * 1.02
    area = (frame["tissue"] & ~frame["structures"]["scaffold"]).sum() * 1.02**2
    density = value(result, "vessel_length_density")
    assert density["value"] == pytest.approx(length / area * 1e3, rel=0.03)
    assert density["unit"] == "mm/mm²"
    assert value(result, "tissue_area")["value"] == pytest.approx(area)
    assert value(result, "vessel_branch_density")["value"] == pytest.approx(1e6 / area)
    assert value(result, "vessel_tip_density")["value"] == 0
    assert value(result, "vessel_mean_radius")["value"] == pytest.approx(4.5 * 1.02, abs=0.5)
    assert value(result, "n_cells", "all")["value"] == 200
    assert value(result, "cell_density", "all")["value"] == pytest.approx(200 / area * 1e6)
    for metric in ("median_distance_vessel", "proximity_effect_vessel", "median_distance_scaffold"):
        for subject in frame["classes"]:
            assert np.isfinite(value(result, metric, subject)["value"])
    for pair in ("all_all", "erythroid_erythroid", "erythroid_myeloid", "myeloid_myeloid"):
        row = value(result, f"cross_l_{pair}")
        assert row["low"] < row["high"]
        assert 0 < row["p_value"] <= 1


def test_cells_table_and_curves():
    frame = plane()
    result = measure_niche(**frame, settings=FAST)
    cells = result.per_cell
    assert cells["label"].tolist() == frame["cells"]["label"].tolist()
    gap = np.minimum(np.abs(frame["cells"]["y"] - 90 * 1.02), np.abs(frame["cells"]["x"] - 160 * 1.02)) - 4.5 * 1.02
    middle = np.hypot(frame["cells"]["y"] / 1.02 - 128, frame["cells"]["x"] / 1.02 - 128) < 60
    assert cells["distance_vessel"][middle].to_numpy() == pytest.approx(gap[middle].to_numpy(), abs=0.1)
    assert cells["in_tissue"].all()
    assert (cells["edge_distance"] >= 0).all()
    assert cells["local_density"].notna().all()
    curve = result.curves[(result.curves["curve"] == "distance_cdf_vessel") & (result.curves["subject"] == "erythroid")]
    assert curve["r"].is_monotonic_increasing
    assert curve["observed"].notna().sum() > 10
    curve = curve.dropna()  # beyond what the window shows
    assert curve["observed"].is_monotonic_increasing
    assert (curve["low"] <= curve["null_mean"] + 1e-9).all()
    assert (curve["null_mean"] <= curve["high"] + 1e-9).all()
    assert set(result.vessels["structure"]) == {"vessel"}
    assert {"branch", "vertex", "z", "y", "x", "radius", "branch_length", "tortuosity", "kind"} <= set(result.vessels)


def test_attraction_is_found_and_its_absence_too():
    near = measure_niche(**plane(n=400, seed=3, attracted=True), settings=FAST)
    row = value(near, "proximity_effect_vessel", "erythroid")
    assert row["value"] > row["high"]
    assert row["p_value"] == pytest.approx(0.01)
    assert (
        value(near, "median_distance_vessel", "erythroid")["value"]
        < value(near, "median_distance_vessel", "erythroid")["low"]
    )
    assert value(near, "selection_index_vessel", "erythroid")["value"] > 1
    quick = NicheSettings(n_simulations=39, n_uniform=19, pairs=())
    # Without attraction: p-values over frames must not pile up at 0 (binomial, 24 values, 3 standard errors).
    p = [
        value(measure_niche(**plane(n=120, seed=s), settings=quick), "proximity_effect_vessel", subject)["p_value"]
        for s in range(12)
        for subject in ("erythroid", "all")
    ]
    assert np.mean(np.asarray(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 24)


def test_same_input_same_output_and_2d_equals_a_stack_of_one():
    frame = plane(n=80)
    first, second = measure_niche(**frame, settings=FAST), measure_niche(**frame, settings=FAST)
    pd.testing.assert_frame_equal(first.metrics, second.metrics)
    pd.testing.assert_frame_equal(first.curves, second.curves)
    flat = {
        **frame, "tissue": frame["tissue"][0], "spacing": SPACING[1:],
        "structures": {k: m[0] for k, m in frame["structures"].items()},
    }  # fmt: skip
    pd.testing.assert_frame_equal(first.metrics, measure_niche(**flat, settings=FAST).metrics)
    other_z = {**frame, "spacing": (50.0, *SPACING[1:])}
    pd.testing.assert_frame_equal(first.metrics, measure_niche(**other_z, settings=FAST).metrics)


def test_a_volume_with_4_to_1_spacing():
    spacing = (4.0, 1.0, 1.0)
    rng = np.random.default_rng(1)
    zz, yy, xx = np.mgrid[:20, :80, :80] * np.array(spacing).reshape(3, 1, 1, 1)
    tissue = np.sqrt((zz - 38) ** 2 + (yy - 40) ** 2 + (xx - 40) ** 2) < 37
    vessel = tissue & (np.hypot(zz - 38, yy - 40) < 8)
    points = uniform_positions(tissue & ~vessel, spacing, 300, rng)
    cells = pd.DataFrame(points, columns=["z", "y", "x"]).assign(label=np.arange(300))
    kind = rng.random(300) < 0.4
    result = measure_niche(
        cells=cells, classes={"all": np.ones(300, bool), "HSPC": kind}, structures={"vessel": vessel}, tissue=tissue,
        spacing=spacing, settings=FAST,
    )  # fmt: skip
    volume = tissue.sum() * 4.0
    row = value(result, "vessel_length_density")
    assert row["unit"] == "mm/mm³"
    assert row["value"] == pytest.approx(74 / volume * 1e6, rel=0.06)
    gap = np.hypot(points[:, 0] - 38, points[:, 1] - 40) - 8
    assert result.per_cell["distance_vessel"].to_numpy() == pytest.approx(gap, abs=4.0)  # one plane
    assert abs(np.mean(result.per_cell["distance_vessel"] - gap)) < 0.8
    assert value(result, "cell_density", "all")["value"] == pytest.approx(300 / volume * 1e9)
    assert np.isfinite(value(result, "cross_l_HSPC_HSPC")["value"])
    assert np.isfinite(value(result, "proximity_effect_vessel", "HSPC")["p_value"])


def test_shrinkage_scales_lengths_and_densities():
    frame = plane(n=100)
    small = measure_niche(**frame, settings=NicheSettings(n_simulations=19, n_uniform=19))
    native = measure_niche(**frame, settings=NicheSettings(n_simulations=19, n_uniform=19, shrinkage_xy=0.8))
    ratio = (
        value(native, "median_distance_vessel", "all")["value"] / value(small, "median_distance_vessel", "all")["value"]
    )
    assert ratio == pytest.approx(1 / 0.8, rel=1e-6)
    density = value(native, "cell_density", "all")["value"] / value(small, "cell_density", "all")["value"]
    assert density == pytest.approx(0.8**2, rel=1e-6)


def nan_with_note(result, metric, subject, word):
    row = value(result, metric, subject)
    assert np.isnan(row["value"]), (metric, row["value"])
    assert np.isnan(row["p_value"])
    assert word in row["note"], row["note"]


def test_empty_missing_and_filling_structures_give_reasons():
    frame = plane(n=60)
    empty = {**frame, "structures": {**frame["structures"], "vessel": np.zeros((1, 256, 256), bool)}}
    result = measure_niche(**empty, settings=FAST)
    for metric in ("vessel_length_density", "vessel_branch_density", "vessel_tortuosity"):
        nan_with_note(result, metric, "tissue", "empty")
    for subject in frame["classes"]:
        nan_with_note(result, "median_distance_vessel", subject, "empty")
        nan_with_note(result, "proximity_effect_vessel", subject, "empty")
    assert value(result, "vessel_fraction")["value"] == 0
    assert result.per_cell["distance_vessel"].isna().all()
    assert np.isfinite(value(result, "median_distance_scaffold", "all")["value"])
    assert np.isfinite(value(result, "cross_l_erythroid_myeloid")["value"])

    full = {**frame, "structures": {"vessel": np.ones((1, 256, 256), bool)}}
    result = measure_niche(**full, settings=FAST)
    nan_with_note(result, "vessel_length_density", "tissue", "fills")
    nan_with_note(result, "proximity_effect_vessel", "erythroid", "fills")

    missing = {**frame, "structures": {}}
    result = measure_niche(**missing, settings=FAST)
    nan_with_note(result, "vessel_length_density", "tissue", "channel missing")
    assert result.vessels.empty


@pytest.mark.parametrize("n", [0, 1, 2])
def test_none_one_and_two_cells(n):
    frame = plane(n=20)
    frame["cells"] = frame["cells"].iloc[:n]
    frame["classes"] = {"all": np.ones(n, bool), "erythroid": np.zeros(n, bool), "myeloid": np.arange(n) == 0}
    result = measure_niche(**frame, settings=FAST)
    assert len(result.per_cell) == n
    nan_with_note(result, "proximity_effect_vessel", "erythroid", "no cell")
    nan_with_note(result, "cross_l_erythroid_myeloid", None, "no pair")
    if n == 1:
        nan_with_note(result, "cross_l_all_all", None, "fewer than two")
    assert np.isfinite(value(result, "vessel_length_density")["value"])


def test_no_tissue_gives_reasons_everywhere():
    frame = {**plane(n=30), "tissue": np.zeros((1, 256, 256), bool)}
    result = measure_niche(**frame, settings=FAST)
    assert result.metrics.loc[result.metrics["metric"] != "n_cells", "value"].isna().all() or (
        set(result.metrics.loc[result.metrics["value"].notna(), "metric"])
        <= {"n_cells", "vessel_fraction", "scaffold_fraction"}
    )
    assert (result.metrics.loc[result.metrics["value"].isna(), "note"] != "").all()
    nan_with_note(result, "vessel_length_density", "tissue", "tissue mask is empty")
    assert not result.per_cell["in_tissue"].any()


def test_points_outside_duplicates_and_nan_positions():
    frame = plane(n=60)
    cells = frame["cells"].copy()
    cells.loc[0, "y"] = -500.0
    cells.loc[1, "x"] = np.nan
    cells.loc[3, ["y", "x"]] = cells.loc[2, ["y", "x"]].to_numpy()
    result = measure_niche(**{**frame, "cells": cells}, settings=FAST)
    row = value(result, "n_cells", "all")
    assert row["value"] == 58
    assert "2 more lie outside" in row["note"]
    assert result.per_cell.loc[[0, 1], "distance_vessel"].isna().all()
    assert np.isfinite(value(result, "cross_l_all_all")["value"])


def test_strata_column_and_settings_errors():
    frame = plane(n=80)
    frame["cells"]["snr"] = np.random.default_rng(0).random(80)
    settings = NicheSettings(n_simulations=19, n_uniform=19, strata_column="snr")
    result = measure_niche(**frame, settings=settings)
    assert "strata" in value(result, "proximity_effect_vessel", "erythroid")["note"]
    with pytest.raises(TableError, match="no column 'depth'"):
        measure_niche(**frame, settings=NicheSettings(strata_column="depth"))
    with pytest.raises(TableError, match="coordinate"):
        measure_niche(**{**frame, "cells": frame["cells"].drop(columns="x")})
    with pytest.raises(SettingsError, match="spacing"):
        measure_niche(**{**frame, "spacing": (1.0, 0.0, 1.0)})
    with pytest.raises(SettingsError, match="Class 'all'"):
        measure_niche(**{**frame, "classes": {"all": np.ones(3, bool)}})
    with pytest.raises(SettingsError, match="vessel"):
        measure_niche(**{**frame, "structures": {"vessel": np.ones((1, 9, 9), bool)}})
    for bad in ({"r_max": 0.0}, {"n_simulations": 5}, {"shrinkage_z": 0.0}, {"envelope": "pointwise"}, {"n_r": 1}):
        with pytest.raises(SettingsError):
            NicheSettings(**bad)


def test_pairs_can_be_chosen_and_an_unknown_class_is_said():
    frame = plane(n=60)
    result = measure_niche(**frame, settings=NicheSettings(n_simulations=19, n_uniform=19, pairs=(("erythroid", "B"),)))
    nan_with_note(result, "cross_l_erythroid_B", None, "no class 'B'")
    assert (result.metrics["metric"].str.startswith("cross_l")).sum() == 1


def test_values_lie_in_their_intervals_and_intervals_are_of_values():
    result = measure_niche(**plane(n=400), settings=FAST)
    held = result.metrics.dropna(subset=["interval_low"])
    named = set(held["metric"])
    assert {"median_distance_vessel", "proximity_effect_vessel", "cell_density", "selection_index_vessel"} <= named
    assert {"vessel_length_density", "compartment_use_elsewhere"} <= named
    assert (held["interval_low"] <= held["value"] + 1e-9).all()
    assert (held["value"] <= held["interval_high"] + 1e-9).all()
    assert result.metrics.loc[result.metrics["value"].isna(), ["interval_low", "interval_high"]].isna().all().all()


def test_compartments_add_up_and_cells_name_theirs():
    frame = plane(n=150)
    result = measure_niche(**frame, settings=FAST)
    names = ["vessel", "scaffold", "elsewhere"]
    shares = [value(result, f"compartment_fraction_{n}")["value"] for n in names]
    assert sum(shares) == pytest.approx(1.0)
    for n, share in zip(names, shares, strict=True):
        used = (result.per_cell["compartment"] == n).mean()
        assert value(result, f"compartment_use_{n}", "all")["value"] == pytest.approx(used)
        assert value(result, f"selection_index_{n}", "all")["value"] == pytest.approx(used / share)
    near = result.per_cell["distance_vessel"] <= FAST.niche_radius - 1.1  # a voxel is given as a whole
    assert (result.per_cell.loc[near, "compartment"] == "vessel").all()
    density = result.per_cell.filter(like="local_density")
    assert list(density.columns) == ["local_density", "local_density_erythroid", "local_density_myeloid"]
    gap = np.linalg.norm(frame["cells"][["y", "x"]].to_numpy()[:, None] - frame["cells"][["y", "x"]].to_numpy(), axis=2)
    red = frame["classes"]["erythroid"].astype(int)
    ratio = (gap <= 50) @ red - red
    everyone = (gap <= 50).sum(axis=1) - 1
    found = (density["local_density_erythroid"] / density["local_density"]).to_numpy()
    assert found == pytest.approx(ratio / everyone, nan_ok=True)


def test_coverage_orientation_and_large_cells():
    frame = plane(n=200)
    vessel = frame["structures"]["vessel"]
    yy, xx = np.mgrid[:256, :256]
    sleeve = (np.abs(np.abs(yy - 90) - 6) < 1.5) & (np.hypot(yy - 128, xx - 128) < 120) & (np.abs(xx - 160) > 5)
    frame["structures"] = {"vessel": vessel, "pericyte": sleeve[None]}
    settings = NicheSettings(
        n_simulations=99, n_uniform=39, coverage=(("vessel", "pericyte"), ("vessel", "missing")),
        cell_radii=(("erythroid", 8.0), ("B", 4.0)),
    )  # fmt: skip
    result = measure_niche(**frame, settings=settings)
    row = value(result, "vessel_coverage_pericyte")
    # One of two straight vessels wears a sleeve; its length is 49 % of both.
    assert row["value"] == pytest.approx(0.49, abs=0.06)
    assert row["p_value"] <= 0.05
    nan_with_note(result, "vessel_coverage_missing", "tissue", "no structure 'missing'")
    bend = value(result, "vessel_anisotropy")
    assert bend["low"] <= bend["null_mean"] <= bend["high"]
    assert bend["p_value"] > 0.2  # two vessels at right angles
    place = value(result, "placement_effect_vessel", "erythroid")
    # Cells are uniform outside the vessel, but large ones would fit only 8 µm away from it: they are nearer than that.
    assert place["value"] > place["high"]
    assert "radius 8 µm" in place["note"]
    nan_with_note(result, "placement_effect_vessel", "B", "no class 'B'")


def test_enrichment_within_strata_of_the_distance_to_vessels():
    # Two classes that both sit at vessels neighbour each other; at equal distance they do not seek each other.
    rng = np.random.default_rng(5)
    frame = plane(n=1200, seed=5)
    gap = measure_niche(**frame, settings=FAST).per_cell["distance_vessel"].to_numpy()
    near = rng.random(1200) < np.where(gap < 15, 0.8, 0.05)
    first = near & (rng.random(1200) < 0.5)
    frame["classes"] = {"all": np.ones(1200, bool), "a": first, "b": near & ~first}
    result = measure_niche(**frame, settings=NicheSettings(n_simulations=199, n_uniform=19, n_strata=12))
    plain, strata = (value(result, f"{m}_enrichment_a_b")["value"] for m in ("neighbourhood", "stratified"))
    assert plain > 8
    assert abs(strata) < 3.5


def test_a_tissue_of_two_pieces():
    frame = plane(n=200)
    gap = np.zeros((256, 256), bool)
    gap[:, 60:110] = True
    frame["tissue"] = frame["tissue"] & ~gap
    result = measure_niche(**frame, settings=FAST)
    inside = frame["tissue"][0][
        np.round(frame["cells"]["y"] / 1.02).astype(int), np.round(frame["cells"]["x"] / 1.02).astype(int)
    ]
    assert value(result, "n_cells", "all")["value"] == inside.sum()
    # Vessel length of two chords less the 50 columns of the gap.
    length = (2 * (np.sqrt(120**2 - 38**2) + np.sqrt(120**2 - 32**2)) - 50) * 1.02
    area = (frame["tissue"] & ~frame["structures"]["scaffold"]).sum() * 1.02**2
    assert value(result, "vessel_length_density")["value"] == pytest.approx(length / area * 1e3, rel=0.04)
    assert np.isfinite(value(result, "cross_l_all_all")["p_value"])


@pytest.mark.parametrize("spacing", [(), (1.0,), (0.0, 1.0, 1.0), (np.nan, 1, 1), (1, -1, 1)])
def test_spacing_that_is_missing_or_impossible_is_named(spacing):
    frame = plane(n=10)
    deep = {**frame, "tissue": np.ones((4, 256, 256), bool), "structures": {}, "spacing": spacing}
    with pytest.raises(SettingsError, match="spacing"):
        measure_niche(**deep, settings=FAST)

"""Intervals that hold the error of tracking: nothing is added where links are certain, enough where they are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.lineage import (
    ESTIMATES,
    Estimate,
    OnsetSettings,
    Pedigree,
    PedigreeDraws,
    clone_summary,
    clone_table,
    emergence,
    exposure_spans,
    marker_onsets,
    niche_coupling,
    repeated_over_pedigrees,
    tree_statistics,
    with_tracking_error,
)
from napari_marrow.schemas import TRACK_EDGES

MARKERS = {"erythroid": "CD235a", "megakaryocytic": "CD41"}
SETTINGS = OnsetSettings(thresholds=dict.fromkeys(MARKERS.values(), 50.0))


def edges_of(tracks: pd.DataFrame, nodes: pd.DataFrame, probability: float = 1.0, division: float = 1.0):
    """Links from frame to frame of each track and from mothers to daughters."""
    place = ["position", "session"]
    order = nodes.sort_values(["track_id", "t"])
    after = order.groupby("track_id").shift(-1)
    link = order[[*place, "t", "label"]].rename(columns={"t": "t_parent", "label": "label_parent"})
    link["t_child"], link["label_child"] = after["t"], after["label"]
    link = link[link["t_child"].notna()].assign(kind="link", probability=probability)
    born = tracks[tracks["parent_track_id"] > 0]
    mother = tracks.set_index("track_id").loc[born["parent_track_id"]]
    by_division = born[place].assign(t_parent=mother["t_end"].to_numpy(), label_parent=born["parent_track_id"],
                                     t_child=born["t_start"], label_child=born["track_id"], kind="division",
                                     probability=division)  # fmt: skip
    return TRACK_EDGES.conform(pd.concat([link, by_division], ignore_index=True))


@pytest.fixture
def movie(simulate_clones):
    tracks, nodes = simulate_clones(60, dt=2.0, loss=0.005, seed=3, cycle=(18.0, 0.3))
    nodes = nodes.assign(label=nodes["track_id"], link_probability=1.0, x=0.0, y=20.0 * nodes["track_id"])
    nodes["distance"] = np.random.default_rng(0).gamma(2, 15, len(nodes))
    return tracks, nodes


def everything(tracks: pd.DataFrame, nodes: pd.DataFrame, like: dict | None = None) -> dict[str, pd.DataFrame]:
    pedigree = Pedigree.from_tracks(tracks)
    onsets, _ = marker_onsets(pedigree, nodes, markers=MARKERS, settings=SETTINGS)
    tables = tree_statistics(pedigree, onsets, None, permutations=0 if like else 9, like=like)
    tables["emergence"] = emergence(onsets, None, times_h=[20.0, 40.0], bootstrap=0 if like else 100)
    spans = exposure_spans(pedigree, nodes, onsets, ["distance"])
    found = niche_coupling(spans, None, covariate="distance")
    tables["niche_coupling"] = found.assign(exposure="current", question="hazard")
    return {name: tables[name] for name in ESTIMATES}


def test_every_metric_keeps_its_interval_where_links_are_certain(movie):
    tracks, nodes = movie
    base = everything(tracks, nodes)
    draws = PedigreeDraws(tracks, nodes, edges_of(tracks, nodes))
    out = repeated_over_pedigrees(base, draws, lambda d: everything(d.tracks, d.nodes, base), n_draws=2)
    for name, estimate in ESTIMATES.items():
        table = out[name]
        known = table[estimate.value].notna()
        if name == "hidden_rates":
            known &= table[estimate.value] > 0
        assert known.any(), name
        assert table["drawn_mean"][known].to_numpy() == pytest.approx(table[estimate.value][known], rel=2e-3), name
        assert (table["tracking_sd"][known] <= 2e-3 * table[estimate.value][known].abs() + 1e-12).all(), name
        for side in ("low", "high"):
            own = table[getattr(estimate, side)].to_numpy(dtype=float)
            finite = known.to_numpy() & np.isfinite(own)
            assert table[f"{side}_total"].to_numpy()[finite] == pytest.approx(own[finite], rel=5e-3, abs=1e-9), name


def test_every_metric_gets_error_where_links_are_not(movie):
    tracks, nodes = movie
    base = everything(tracks, nodes)
    draws = PedigreeDraws(tracks, nodes, edges_of(tracks, nodes, 0.99, 0.9))
    out = repeated_over_pedigrees(base, draws, lambda d: everything(d.tracks, d.nodes, base), n_draws=4, seed=1)
    for name, estimate in ESTIMATES.items():
        assert (out[name]["tracking_sd"] > 0).any(), name
        wider = out[name]["high_total"] - out[name]["low_total"]
        assert (wider[out[name]["tracking_sd"] > 0] > 0).any(), name
        assert len(out[name]) == len(base[name]), name
        assert estimate.value in out[name].columns


def doubtful_divisions(make_tracks, rng: np.random.Generator, experiments: int, clones: int):
    """Clones of which `.4` divide once; a fifth of the divisions that the tracks show are cells that came by."""
    rows, edges, truth = [], [], 0.4
    passing = truth * 0.25 / (1 - truth)
    tables = []
    for e in range(experiments):
        divides = rng.random(clones) < truth
        shown = divides | (rng.random(clones) < passing)
        base = 3 * np.arange(clones) + 1
        rows = [(i, 0, 0, 3 if s else 7, "start", "division" if s else "end") for i, s in zip(base, shown, strict=True)]
        rows += [(i + k, i, 4, 7, "division", "end") for i, s in zip(base, shown, strict=True) if s for k in (1, 2)]
        tables.append(make_tracks(rows, position=f"E{e:03d}"))
    tracks = pd.concat(tables, ignore_index=True)
    frames = tracks.loc[tracks.index.repeat(tracks["n_nodes"])].reset_index(drop=True)
    t = frames["t_start"] + frames.groupby(["position", "track_id"]).cumcount()
    nodes = frames[["position", "session", "track_id"]].assign(t=t, time_h=t.astype(float), label=frames["track_id"])
    order = nodes.sort_values(["position", "track_id", "t"])
    after = order.groupby(["position", "track_id"]).shift(-1)
    link = order[["position", "session"]].assign(t_parent=order["t"], label_parent=order["label"], t_child=after["t"],
                                                 label_child=after["label"], kind="link", probability=1.0)  # fmt: skip
    born = tracks[tracks["parent_track_id"] > 0]
    second = (born["track_id"] - born["parent_track_id"]) == 2
    edges = born[["position", "session"]].assign(
        t_parent=3, label_parent=born["parent_track_id"], t_child=4, label_child=born["track_id"], kind="division",
        probability=np.where(second, 0.8, 1.0),
    )  # fmt: skip
    edges = TRACK_EDGES.conform(pd.concat([link[link["t_child"].notna()], edges], ignore_index=True))
    layout = pd.DataFrame({"position": tracks["position"].unique()})
    return tracks, nodes, edges, layout.assign(organoid=layout["position"], condition=layout["position"]), truth


def test_the_interval_covers_the_truth_with_a_known_share_of_wrong_links(make_tracks):
    tracks, nodes, edges, layout, truth = doubtful_divisions(make_tracks, np.random.default_rng(0), 150, 50)

    def compute(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
        return {"clone_summary": clone_summary(clone_table(Pedigree.from_tracks(table)), layout)}

    draws = PedigreeDraws(tracks, nodes, edges, reach=0.0)
    out = repeated_over_pedigrees(compute(tracks), draws, lambda d: compute(d.tracks), n_draws=10)["clone_summary"]
    found = out[out["quantity"] == "divisions"]
    inside = (found["low_total"] <= truth) & (truth <= found["high_total"])
    assert 0.89 < inside.mean() <= 1  # 150 experiments: .95 ± .018
    assert found["drawn_mean"].mean() == pytest.approx(truth, abs=0.02)
    # the most probable tracks show a quarter too many divisions, and their interval knows nothing of it
    assert ((found["low"] <= truth) & (truth <= found["high"])).mean() < 0.8


def test_rubins_rules_by_hand():
    table = pd.DataFrame({"name": ["a"], "value": [0.5], "low": [0.4], "high": [0.6]})
    drawn = [pd.DataFrame({"name": ["a"], "value": [v], "low": [v - 0.1], "high": [v + 0.2]}) for v in (0.4, 0.6, 0.8)]
    out = with_tracking_error(table, drawn, keys=["name"], value="value").iloc[0]
    between = (1 + 1 / 3) * 0.04
    within = (0.3 / 2 / 1.959964) ** 2
    from scipy.stats import t

    extra = t.ppf(0.975, 2 * (1 + within / between) ** 2) ** 2 * between
    assert out["drawn_mean"] == pytest.approx(0.6)
    assert out["low_total"] == pytest.approx(0.6 - np.sqrt(0.1**2 + extra))
    assert out["high_total"] == pytest.approx(0.6 + np.sqrt(0.2**2 + extra))


def test_rates_are_combined_as_factors_and_shares_stay_below_one():
    table = pd.DataFrame({"kind": ["a", "same"], "value": [1.0, 0.98], "low": [0.5, 0.9], "high": [2.0, 1.0]})
    drawn = [table.assign(value=table["value"] * f, low=table["low"] * f, high=table["high"] * f) for f in (0.5, 1, 2)]
    log = {"rates": Estimate(("kind",), "value", least=0, log=True)}
    from napari_marrow.lineage.tracking_error import _combined

    rates = _combined(table, drawn, log["rates"], 3).iloc[0]
    assert rates["drawn_mean"] == pytest.approx(1.0)
    assert rates["low_total"] * rates["high_total"] == pytest.approx(1.0)
    shares = _combined(table, drawn, Estimate(("kind",), "value", least=0, shares=("same",)), 3)
    assert shares["high_total"].tolist()[1] == 1.0
    assert shares["high_total"].tolist()[0] > 2.0


def test_an_open_limit_stays_open():
    table = pd.DataFrame({"name": ["a"], "value": [33.0], "low": [30.0], "high": [np.nan]})
    drawn = [table.assign(high=40.0), table]
    out = with_tracking_error(table, drawn, keys=["name"], value="value").iloc[0]
    assert out["low_total"] == pytest.approx(30.0)
    assert np.isnan(out["high_total"])


def test_what_comes_out_rarely_has_no_total_interval():
    table = pd.DataFrame({"name": ["a"], "value": [0.5], "low": [0.4], "high": [0.6]})
    drawn = [pd.DataFrame({"name": ["a"], "value": [0.5]}), *[pd.DataFrame({"name": ["b"], "value": [0.5]})] * 3]
    out = with_tracking_error(table, drawn, keys=["name"], value="value").iloc[0]
    assert np.isnan([out["tracking_sd"], out["low_total"], out["high_total"]]).all()


def test_bad_input_is_named(movie):
    tracks, nodes = movie
    draws = PedigreeDraws(tracks, nodes, edges_of(tracks, nodes))
    with pytest.raises(SettingsError, match="table 'odd'"):
        repeated_over_pedigrees({}, draws, lambda d: {"odd": d.tracks}, n_draws=2)
    with pytest.raises(SettingsError, match="n_draws is 1"):
        repeated_over_pedigrees({}, draws, lambda d: {}, n_draws=1)
    with pytest.raises(TableError, match="column 'colour'"):
        with_tracking_error(pd.DataFrame({"name": ["a"]}), [], keys=["name"], value="colour")

from __future__ import annotations

import lifelines
import numpy as np
import pandas as pd
import pytest
from statsmodels.duration.hazard_regression import PHReg

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.lineage import (
    birth_niche_output,
    coupling_test,
    cox_regression,
    cox_scores,
    exposure_spans,
    lineage_choice,
    niche_coupling,
)
from napari_marrow.schemas import ONSETS


def survival_rows(n=300, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    time = rng.exponential(1 / np.exp(0.5 * x[:, 0]))
    if ties:
        time = np.ceil(time * 5) / 5
    censor = rng.exponential(1.5, n)
    stop = np.minimum(time, censor)
    return rng.uniform(0, 0.5, n) * stop, stop, time <= censor, x, rng.integers(0, 3, n)


def test_cox_agrees_with_statsmodels_with_ties_strata_and_late_entry():
    entry, stop, event, x, strata = survival_rows(ties=True)
    fit = cox_regression(entry, stop, event, x, strata=strata)
    peer = PHReg(stop, x, status=event, entry=entry, strata=strata, ties="efron").fit()
    np.testing.assert_allclose(fit.coefficient, peer.params, rtol=1e-7)
    np.testing.assert_allclose(fit.naive_error, peer.bse, rtol=1e-6)
    assert fit.log_likelihood == pytest.approx(peer.llf, rel=1e-10)


def test_clustered_errors_agree_with_statsmodels():
    entry, stop, event, x, _ = survival_rows()
    clusters = np.arange(len(stop)) // 3
    fit = cox_regression(entry, stop, event, x, clusters=clusters)
    peer = PHReg(stop, x, status=event, entry=entry).fit(groups=clusters)
    m = len(np.unique(clusters))
    np.testing.assert_allclose(fit.error * np.sqrt((m - 1) / m), peer.bse, rtol=1e-6)


def test_time_varying_spans_agree_with_lifelines():
    rng = np.random.default_rng(1)
    rows = []
    for i in range(150):
        x, t = rng.normal(), 0.0
        while t < 5:
            wait = rng.exponential(1 / (0.3 * np.exp(0.7 * x)))
            end = min(t + 1, t + wait)
            rows.append((i, t, end, x, wait < 1))
            if wait < 1:
                break
            x, t = x + rng.normal(0, 0.5), t + 1
    table = pd.DataFrame(rows, columns=["id", "start", "stop", "x", "event"])
    fit = cox_regression(table["start"], table["stop"], table["event"], table[["x"]])
    peer = lifelines.CoxTimeVaryingFitter().fit(
        table, event_col="event", start_col="start", stop_col="stop", id_col="id"
    )
    assert fit.coefficient[0] == pytest.approx(peer.params_["x"], rel=1e-4)
    assert fit.error[0] == pytest.approx(peer.standard_errors_["x"], rel=1e-3)


def test_cox_refuses_what_is_no_span_and_is_silent_without_events():
    with pytest.raises(TableError, match="time goes forward"):
        cox_regression([1.0], [1.0], [True], [[0.0]])
    with pytest.raises(TableError, match="finite"):
        cox_regression([0.0], [1.0], [True], [[np.nan]])
    assert np.isnan(cox_regression([0.0, 0.0], [1.0, 2.0], [False, False], [[0.0], [1.0]]).coefficient).all()
    flat = cox_regression([0.0, 0.0], [1.0, 2.0], [True, False], [[1.0], [1.0]])
    assert np.isnan(flat.coefficient).all()
    assert not flat.converged


def wandering_cells(make_tracks, effect: float, *, positions=4, n=150, hours=40, seed=0):
    """Single cells that wander to and from a vessel; onset at rate .02 exp(effect x), x changing every hour."""
    rng = np.random.default_rng(seed)
    tracks, nodes, onsets = [], [], []
    for p in range(positions):
        position = f"B{p + 2:02d}_f00"
        base = 0.02 * np.exp(rng.normal(0, 0.3))
        x = rng.normal(size=(n, 1)) + np.cumsum(rng.normal(0, 0.3, (n, hours)), axis=1)
        hit = rng.random((n, hours)) < 1 - np.exp(-base * np.exp(effect * x))
        first = np.where(hit.any(axis=1), hit.argmax(axis=1), -1)
        rows = [(i + 1, 0, 0.0, float(hours), "start", "end") for i in range(n)]
        tracks.append(make_tracks(rows, position=position))
        t = np.tile(np.arange(hours + 1), n)
        value = np.column_stack([x, np.full(n, np.nan)]).ravel()
        nodes.append(pd.DataFrame({"position": position, "session": 1, "t": t, "time_h": t * 1.0,
                                   "track_id": np.repeat(np.arange(1, n + 1), hours + 1), "x": value}))  # fmt: skip
        on = first >= 0
        onsets.append(pd.DataFrame({
            "position": position, "session": 1, "track_id": np.arange(1, n + 1), "generation": 0,
            "founder_track_id": np.arange(1, n + 1), "lineage": np.where(on, "erythroid", ""),
            "event": np.where(on, "onset", "end"), "entry_h": 0.0, "left_h": np.where(on, first, hours),
            "right_h": np.where(on, first + 1.0, np.inf),
        }))  # fmt: skip
    tables = [pd.concat(t, ignore_index=True) for t in (tracks, nodes, onsets)]
    tables[0]["track_id"] = tables[0]["track_id"]
    return tables[0], tables[1], ONSETS.conform(tables[2])


def test_a_simulated_coupling_is_found_with_its_size(make_tracks):
    tracks, nodes, onsets = wandering_cells(make_tracks, 0.6)
    spans = exposure_spans(tracks, nodes, onsets, ["x"])
    assert (spans["lineage"] == "erythroid").sum() == (onsets["event"] == "onset").sum()
    found = niche_coupling(spans, None, covariate="x").iloc[0]
    assert found["method"] == "organoids"
    assert found["n_organoids"] == 4
    assert found["low"] < 0.6 < found["high"]
    assert found["log_hazard_ratio"] == pytest.approx(0.6, abs=0.12)
    assert found["p_value"] < 0.01


def test_no_coupling_is_found_where_there_is_none(make_tracks):
    p = []
    for seed in range(20):
        tables = wandering_cells(make_tracks, 0.0, positions=4, n=60, seed=seed)
        p.append(niche_coupling(exposure_spans(*tables, ["x"]), None, covariate="x")["p_value"].iloc[0])
    assert (np.array(p) < 0.05).sum() <= 3  # P(more than 3 of 20 at .05) = .016


def test_a_confounder_is_adjusted_for(make_tracks):
    tracks, nodes, onsets = wandering_cells(make_tracks, 0.8, seed=3)
    rng = np.random.default_rng(0)
    spans = exposure_spans(tracks, nodes, onsets, ["x"])
    spans["depth"] = spans["x"]
    spans["vessel"] = spans["x"] + rng.normal(0, 0.5, len(spans))
    alone = niche_coupling(spans, None, covariate="vessel").iloc[0]
    adjusted = niche_coupling(spans, None, covariate="vessel", adjust=["depth"]).iloc[0]
    assert alone["p_value"] < 0.01
    assert adjusted["low"] < 0 < adjusted["high"]


def test_scores_of_clusters_add_up_to_the_slope_of_the_likelihood():
    """The score at no effect is the derivative of statsmodels' partial likelihood there."""
    entry, stop, event, x, strata = survival_rows()
    scores = cox_scores(entry, stop, event, x[:, 0], strata=strata, clusters=strata)
    peer = PHReg(stop, x[:, :1], status=event, entry=entry, strata=strata)
    assert scores.sum() == pytest.approx(peer.score(np.zeros(1))[0] / x[:, 0].std(), rel=1e-9)
    # with a second covariate: the score statistic is that of statsmodels' likelihood at the fit without the first
    both = cox_scores(entry, stop, event, x, strata=strata, clusters=np.arange(len(x)))
    alone = PHReg(stop, x[:, 1:], status=event, entry=entry, strata=strata).fit().params[0]
    full = PHReg(stop, x, status=event, entry=entry, strata=strata)
    assert both.sum() == pytest.approx(full.score(np.array([0.0, alone]))[0] / x[:, 0].std(), rel=1e-5)


def test_the_test_by_organoid_finds_a_coupling_and_keeps_its_level(make_tracks):
    tables = wandering_cells(make_tracks, 0.6, positions=8, n=60)
    spans = exposure_spans(*tables, ["x"], exposure="history")
    found = coupling_test(spans, None, covariate="x").iloc[0]
    assert found["p_adjusted"] == pytest.approx(2 / 2**8)  # all eight organoids agree: the smallest there is
    assert found["z"] > 2
    p = []
    for seed in range(40):
        tables = wandering_cells(make_tracks, 0.0, positions=6, n=25, hours=20, seed=seed)
        p.append(coupling_test(exposure_spans(*tables, ["x"]), None, covariate="x")["p_adjusted"].iloc[0])
    assert (np.array(p) <= 0.1).sum() <= 9  # P(more than 9 of 40 at .1) = .005
    few = coupling_test(spans[spans["position"] < "B05"], None, covariate="x", lineages=["erythroid", "none"])
    assert "smallest p attainable is 0.25" in few["note"].iloc[0]
    assert "0 onsets" in few["note"].iloc[1]
    assert np.isnan(few["p_adjusted"].iloc[1])


def test_random_signs_of_many_organoids_agree_with_all_signs():
    spans = choices(240, organoids=12)
    spans["lineage"] = np.where(spans["lineage"] == "e", "e", "")
    spans["entry_h"], spans["stop_h"] = 0.0, 1.0 + np.arange(len(spans)) % 20
    exact = coupling_test(spans, None, covariate="noise")
    import napari_marrow.lineage.coupling as module

    signs = module.random_signs(12, 9999, 0)
    assert len(np.unique(signs, axis=0)) == 2**12
    more = module.random_signs(14, 9999, 0)
    assert more.shape == (10_000, 14)
    assert (more[0] == 1).all()
    assert 0 < exact["p_adjusted"].iloc[0] <= 1


def test_history_is_the_mean_along_the_line_of_descent(make_tracks):
    tracks = make_tracks([(1, 0, 0, 1, "start", "division"), (2, 1, 2, 3, "division", "end"),
                          (3, 1, 2, 3, "division", "end")])  # fmt: skip
    nodes = pd.DataFrame({"position": "B02_f00", "session": 1, "track_id": [1, 1, 2, 2, 3, 3],
                          "time_h": [0.0, 1, 2, 3, 2, 3], "x": [0.0, 2, 4, 6, 10, np.nan]})  # fmt: skip
    onsets = ONSETS.conform(pd.DataFrame({
        "position": "B02_f00", "session": 1, "track_id": [1, 2, 3], "founder_track_id": 1, "generation": [0, 1, 1],
        "lineage": ["", "erythroid", ""], "event": ["division", "onset", "end"], "entry_h": [0.0, 1.0, 1.0],
        "left_h": [1.0, 3.0, 3.0], "right_h": [np.inf, 4.0, np.inf],
    }))  # fmt: skip
    current = exposure_spans(tracks, nodes, onsets, ["x"]).set_index(["track_id", "entry_h"])["x"]
    history = exposure_spans(tracks, nodes, onsets, ["x"], exposure="history").set_index(["track_id", "entry_h"])["x"]
    assert current[2, 1.0] == 4  # from where her mother was last seen, as no nearer place is known
    assert history[2, 1.0] == pytest.approx((0 + 2 + 4) / 3)
    assert history[2, 3.0] == pytest.approx((0 + 2 + 4 + 6) / 4)
    assert history[3, 1.0] == pytest.approx((0 + 2 + 10) / 3)


def choices(n=240, organoids=6, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    place = np.repeat([f"p{i}" for i in range(organoids)], n // organoids)
    spans = pd.DataFrame({"position": place, "session": 1, "track_id": np.arange(n), "founder_track_id": np.arange(n),
                          "entry_h": 3.0, "stop_h": 4.0})  # fmt: skip
    spans["x"], spans["noise"] = rng.normal(size=n), rng.normal(size=n)
    level = np.repeat(rng.normal(0, 1, organoids), n // organoids)
    spans["lineage"] = np.where(rng.random(n) < 1 / (1 + np.exp(-(level + 0.8 * spans["x"]))), "e", "m")
    return spans


def test_the_choice_of_lineage_is_the_logistic_regression_of_statsmodels():
    import statsmodels.api as sm

    spans = choices()
    found = lineage_choice(spans, None, covariate="x", adjust=["noise"]).set_index("lineage")
    levels = pd.get_dummies(spans["position"]).astype(float)
    design = pd.concat([spans[["x", "noise"]], levels], axis=1)
    groups = pd.factorize(spans["position"])[0]
    y = (spans["lineage"] == "e").astype(float)
    peer = sm.GLM(y, design, family=sm.families.Binomial())
    assert found.loc["e", "log_hazard_ratio"] == pytest.approx(peer.fit().params["x"], rel=1e-6)
    assert found.loc["m", "log_hazard_ratio"] == pytest.approx(-found.loc["e", "log_hazard_ratio"])
    by_cell = peer.fit(cov_type="HC0").bse["x"] * np.sqrt(240 / 239)
    by_organoid = peer.fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}).bse["x"]
    error = max(by_cell, by_organoid * np.sqrt(6 / 5))
    from scipy.stats import t

    half = found.loc["e", "high"] - found.loc["e", "log_hazard_ratio"]
    assert half == pytest.approx(t.ppf(0.975, 5) * error, rel=1e-4)


def test_the_choice_is_found_and_noise_is_not():
    p = [lineage_choice(choices(120, seed=s), None, covariate="noise")["p_value"].iloc[0] for s in range(40)]
    assert (np.array(p) < 0.05).sum() <= 6
    assert lineage_choice(choices(), None, covariate="x")["p_value"].iloc[0] < 0.01
    few = lineage_choice(choices(4, 2), None, covariate="x")
    assert few["note"].str.contains("are needed").all()
    apart = choices(60).assign(x=lambda s: (s["lineage"] == "e") * 1.0)
    assert "without fail" in lineage_choice(apart, None, covariate="x")["note"].iloc[0]


def test_birth_niche_and_output():
    rng = np.random.default_rng(0)
    clones = pd.DataFrame({"position": np.repeat(["a", "b", "c"], 30), "distance": rng.random(90)})
    clones["n_erythroid"] = np.round(20 * (1 - clones["distance"]) + rng.normal(0, 3, 90))
    clones["noise"] = rng.random(90) + np.repeat([0.0, 5.0, 10.0], 30)
    found = birth_niche_output(clones, None, output="n_erythroid", covariate="distance").iloc[0]
    assert found["spearman"] < -0.6
    assert found["p_value"] == 0.001
    none = birth_niche_output(clones, None, output="noise", covariate="distance").iloc[0]
    assert none["p_value"] > 0.05
    few = birth_niche_output(clones.iloc[:2], None, output="noise", covariate="distance").iloc[0]
    assert np.isnan(few["spearman"])
    assert "three clones" in few["note"]


def test_bad_coupling_input_is_named(make_tracks):
    tables = wandering_cells(make_tracks, 0.0, positions=1, n=5)
    with pytest.raises(TableError, match="distance"):
        exposure_spans(*tables, ["distance"])
    with pytest.raises(SettingsError, match="Unknown exposure"):
        exposure_spans(*tables, ["x"], exposure="future")
    none = niche_coupling(exposure_spans(*tables, ["x"]), None, covariate="x", lineages=["megakaryocytic"])
    assert "0 onsets" in none["note"].iloc[0]


def test_events_that_lie_beyond_all_others_have_no_estimate():
    """The likelihood grows for ever; rows that enter late then outweigh what was at risk before."""
    entry = np.repeat([0.0, 2.0], 8)
    stop = np.concatenate([[1.0], np.full(7, 9.0), np.arange(3.0, 11.0)])
    event = np.concatenate([[True], np.zeros(7, bool), np.ones(6, bool), np.zeros(2, bool)])
    x = np.concatenate([np.linspace(-1, -0.5, 8), np.linspace(60, 1, 8)])
    fit = cox_regression(entry, stop, event, x, clusters=np.arange(16))
    assert not fit.converged
    assert np.isnan(fit.coefficient).all()

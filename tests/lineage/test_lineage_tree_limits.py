"""Limits of medians, kin correlations, synchrony and clone summaries, against other ways to have them."""

from __future__ import annotations

import lifelines
import numpy as np
import pandas as pd
import pytest
from lifelines.utils import median_survival_times

from napari_marrow.lineage import Pedigree, clone_summary, kaplan_meier, kin_correlation, onset_synchrony
from napari_marrow.schemas import ONSETS


def test_limits_of_a_median_are_those_of_lifelines():
    rng = np.random.default_rng(0)
    time, event = np.round(rng.gamma(3, 9, 80), 1), rng.random(80) < 0.7
    curve = kaplan_meier(time, event)
    fitted = lifelines.KaplanMeierFitter().fit(time, event)
    low, high = median_survival_times(fitted.confidence_interval_).iloc[0]
    # lifelines takes the first time at which the limit falls below a half, and names the columns' limits low to high
    assert curve.quantile_interval(0.5) == pytest.approx((low, high))
    none = kaplan_meier([1.0, 2.0, 3.0], [True, False, False])
    assert np.isnan(none.quantile_interval(0.5)[1])


def test_kin_limits_are_those_of_leaving_out_each_clone(full_tree):
    tracks = full_tree(9, 3)
    pedigree = Pedigree.from_tracks(tracks)
    rng = np.random.default_rng(1)
    values = rng.normal(size=len(pedigree)) + rng.normal(size=len(pedigree))[pedigree.founder] + 5
    values[rng.random(len(values)) < 0.2] = np.nan
    table = kin_correlation(pedigree, values, permutations=0).set_index("kind")
    from scipy.stats import t

    for kind in ("mother-daughter", "sister", "cousin"):
        left_out = []
        for founder in np.unique(pedigree.founder):
            mine = np.where(pedigree.founder == founder, np.nan, values)
            left_out.append(kin_correlation(pedigree, mine, kinds=[kind], permutations=0)["excess"].iloc[0])
        x = np.array(left_out)
        half = t.ppf(0.975, 8) * np.sqrt(8 / 9 * ((x - x.mean()) ** 2).sum())
        row = table.loc[kind]
        assert row["high"] - row["excess"] == pytest.approx(half, rel=1e-6)
        assert row["excess"] - row["low"] == pytest.approx(half, rel=1e-6)


def test_kin_limits_cover_the_truth(full_tree):
    # sisters share a part of their mother's value: an autoregression with clones that differ
    tracks = full_tree(40, 3)
    pedigree = Pedigree.from_tracks(tracks)
    rng = np.random.default_rng(2)
    found = []
    for _ in range(150):
        values = np.zeros(len(pedigree))
        for level in pedigree.levels():
            mother = pedigree.mother[level]
            noise = rng.normal(size=len(level))
            values[level] = np.where(mother >= 0, 0.6 * values[mother] + 0.8 * noise, noise)
        row = kin_correlation(pedigree, values, kinds=["sister"], permutations=0).iloc[0]
        found.append([row["excess"], row["low"], row["high"]])
    excess, low, high = np.array(found).T
    inside = (low <= excess.mean()) & (excess.mean() <= high)
    assert 0.89 < inside.mean() < 0.99


def test_synchrony_limits_count_clones_not_pairs(make_tracks):
    rows, onsets = [], []
    for clone in range(8):
        base = 10 * clone + 1
        rows.append((base, 0, 0, 4, "start", "division"))
        rows += [(base + k, base, 5, 20, "division", "end") for k in (1, 2)]
        alike = clone < 6
        for k in (1, 2):
            lineage = "erythroid" if alike or k == 1 else "megakaryocytic"
            onsets.append(("B02_f00", 1, base + k, base, 1, lineage, "onset", 4.0, 9.0 + k, 10.0 + k))
    pedigree = Pedigree.from_tracks(make_tracks(rows))
    names = ["position", "session", "track_id", "founder_track_id", "generation", "lineage", "event", "entry_h",
             "left_h", "right_h"]  # fmt: skip
    table = ONSETS.conform(pd.DataFrame(onsets, columns=names))
    found = onset_synchrony(pedigree, table, permutations=0).set_index(["kind", "measure"])
    same = found.loc[("sister", "same lineage")]
    from scipy.stats import t

    half = t.ppf(0.975, 7) * np.std([1] * 6 + [0] * 2, ddof=1) / np.sqrt(8)  # one pair per clone: the mean's own
    assert same["observed"] == 0.75
    assert (same["low"], same["high"]) == pytest.approx((0.75 - half, min(0.75 + half, 1)))
    assert np.isnan(same["p_value"])


def clones_of(rng: np.random.Generator, n: int, rho: float) -> pd.DataFrame:
    """Clones of six cells that prefer one of two lineages (beta-binomial)."""
    theta = 1 / rho - 1
    share = rng.beta(0.6 * theta, 0.4 * theta, n)
    red = rng.binomial(6, share)
    table = pd.DataFrame({"position": "A01_f00", "session": 1, "founder_track_id": np.arange(n), "birth": "start"})
    table = table.assign(n_tracks=11, n_divisions=5, depth=3, n_end=6, n_dead=0, n_escaped=0, extinct=False)
    return table.assign(n_erythroid=red, n_megakaryocytic=6 - red)


def test_clone_summaries_cover_what_was_simulated():
    rng = np.random.default_rng(3)
    inside = {"share erythroid": [], "preference": []}
    for _ in range(100):
        found = clone_summary(clones_of(rng, 80, 0.3)).set_index("quantity")
        for name, true in (("share erythroid", 0.6), ("preference", 0.3)):
            inside[name].append(found.loc[name, "low"] <= true <= found.loc[name, "high"])
    for name, values in inside.items():
        assert 0.87 < np.mean(values) <= 1, name


def test_pieces_of_clones_are_left_out_and_deaths_counted():
    table = clones_of(np.random.default_rng(4), 20, 0.3)
    table.loc[:4, "extinct"] = True
    table.loc[10:, "birth"] = "appearance"
    found = clone_summary(table).set_index("quantity")
    assert (found.loc["died out", "value"], found.loc["died out", "n_clones"]) == (0.5, 10)
    assert found.loc["cells alive at the end", ["value", "low", "high"]].tolist() == [6, 6, 6]
    pieces = clone_summary(table.assign(birth="appearance"))
    assert pieces["note"].str.startswith("pieces of clones").all()


def test_a_lineage_that_no_clone_made_has_an_upper_limit():
    table = clones_of(np.random.default_rng(5), 30, 0.3)
    table["n_erythroid"], table["n_megakaryocytic"] = 6, 0
    found = clone_summary(table).set_index("quantity")
    none, all_ = found.loc["share megakaryocytic"], found.loc["share erythroid"]
    assert none["low"] == none["value"] == 0
    assert 0.02 < none["high"] < 0.12  # about 2.5 over the number of clones (Jeffreys)
    assert (all_["high"], all_["low"]) == pytest.approx((1, 1 - none["high"]))
    assert found.loc["preference", "note"].startswith("needs five clones")

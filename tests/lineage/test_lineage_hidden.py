from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.lineage import Pedigree, hidden_commitment, onset_synchrony, pure_clades
from napari_marrow.schemas import ONSETS


def committing_clones(make_tracks, n, *, decide=(0.02, 0.01), show=0.05, until=96.0, cycle=20.0, dt=1.0, seed=0):
    """Trees in which a latent decision at rates `decide` is shown by a marker at rate `show`."""
    rng = np.random.default_rng(seed)
    decide = np.array(decide)
    tracks, onsets = [], []
    stack = [(0, 0.0, -1)] * n
    while stack:
        mother, birth, state = stack.pop()
        me = len(tracks) + 1
        end = birth + rng.gamma(16, cycle / 16) * (1 if mother else rng.uniform(0.1, 1))
        divides, end = end < until, min(end, until)
        decided = birth if state >= 0 else birth + rng.exponential(1 / decide.sum())
        kind = state if state >= 0 else int(rng.choice(len(decide), p=decide / decide.sum()))
        shown = decided + rng.exponential(1 / show)
        on = shown < end
        fate = "division" if divides and not on else "end"  # what follows an onset is not at risk
        left = birth + np.floor((shown - birth) / dt) * dt
        tracks.append((me, mother, birth, end, "division" if mother else "start", fate))
        onsets.append((me, f"lineage {kind}" if on else "", "onset" if on else fate, birth,
                       left if on else end, min(left + dt, end) if on else np.inf))  # fmt: skip
        if fate == "division":
            stack += [(me, end, kind if decided < end else -1)] * 2
    table = pd.DataFrame(onsets, columns=["track_id", "lineage", "event", "entry_h", "left_h", "right_h"])
    table = table.assign(position="B02_f00", session=1, founder_track_id=1, generation=0)
    return Pedigree.from_tracks(make_tracks(tracks)), ONSETS.conform(table)


@pytest.mark.parametrize("show", [0.02, 0.2])
def test_both_waiting_times_are_found_on_trees(make_tracks, show):
    pedigree, onsets = committing_clones(make_tracks, 300, show=show)
    fit = hidden_commitment(pedigree, onsets)
    rates = fit.rates.set_index("transition")["rate"]
    assert fit.converged
    assert rates["uncommitted -> committed lineage 0"] == pytest.approx(0.02, rel=0.15)
    assert rates["uncommitted -> committed lineage 1"] == pytest.approx(0.01, rel=0.15)
    assert rates["committed -> marker"] == pytest.approx(show, rel=0.15)
    assert fit.commitment_probability["lineage 0"] == pytest.approx(2 / 3, abs=0.05)
    assert fit.log_likelihood > fit.log_likelihood_visible + 20


def test_intervals_hold_the_truth(make_tracks):
    inside = []
    for seed in range(8):
        rates = hidden_commitment(*committing_clones(make_tracks, 60, seed=seed)).rates
        inside.append((rates["low"] < [0.02, 0.01, 0.05]) & (rates["high"] > [0.02, 0.01, 0.05]))
    assert np.mean(inside) > 0.85  # 24 draws at .95


def test_likelihood_of_single_cells_is_the_closed_form(make_tracks):
    """No division, no latent founder: the marker's time is the sum of two exponentials."""
    rng = np.random.default_rng(0)
    n, a, b = 2000, 0.02, 0.1
    time = rng.exponential(1 / a, n) + rng.exponential(1 / b, n)
    on = time < 60
    tracks = make_tracks([(i + 1, 0, 0.0, 60.0, "start", "end") for i in range(n)])
    onsets = pd.DataFrame({"track_id": np.arange(1, n + 1), "lineage": np.where(on, "x", ""), "entry_h": 0.0,
                           "event": np.where(on, "onset", "end"), "left_h": np.where(on, time, 60.0),
                           "right_h": np.where(on, time, np.inf)})  # fmt: skip
    onsets = ONSETS.conform(onsets.assign(position="B02_f00", session=1, founder_track_id=1, generation=0))
    fit = hidden_commitment(Pedigree.from_tracks(tracks), onsets)
    p, q = fit.rates["rate"]
    t = time[on]
    density = np.log(p * q / (q - p) * (np.exp(-p * t) - np.exp(-q * t))).sum()
    alive = (~on).sum() * np.log((q * np.exp(-p * 60) - p * np.exp(-q * 60)) / (q - p))
    assert fit.log_likelihood == pytest.approx(density + alive, rel=1e-8)
    assert sorted([p, q]) == pytest.approx([a, b], rel=0.25)


def test_founders_that_had_decided_are_estimated(make_tracks):
    pedigree, onsets = committing_clones(make_tracks, 200)
    assert hidden_commitment(pedigree, onsets, latent_at_start=None).latent_at_start < 0.05
    # Cut the first 30 h off: founders then have a past in which some decided.
    later = pedigree.tracks[pedigree.tracks["end_h"] > 30].copy()
    gone = ~later["parent_track_id"].isin(later["track_id"])
    later.loc[gone, "parent_track_id"] = 0
    later.loc[gone, "birth"] = "start"
    later["start_h"] = np.maximum(later["start_h"], 30.0)
    seen = onsets[onsets["track_id"].isin(later["track_id"]) & (onsets["right_h"] > 31)].copy()
    seen["entry_h"] = np.maximum(seen["entry_h"], 30.0)
    seen["left_h"] = np.maximum(seen["left_h"], 30.0)
    cut = hidden_commitment(Pedigree.from_tracks(later), seen, latent_at_start=None)
    assert 0.1 < cut.latent_at_start < 0.6
    assert cut.rates["rate"].iloc[2] == pytest.approx(0.05, rel=0.35)


def test_bad_input_is_named(make_tracks):
    pedigree, onsets = committing_clones(make_tracks, 5)
    with pytest.raises(SettingsError, match="No marker came on"):
        hidden_commitment(pedigree, onsets[onsets["event"] != "onset"])
    with pytest.raises(SettingsError, match="latent_at_start is 2"):
        hidden_commitment(pedigree, onsets, latent_at_start=2)


def test_relatives_of_a_latent_decision_switch_on_alike_and_others_do_not(make_tracks):
    pedigree, onsets = committing_clones(make_tracks, 150, decide=(0.01, 0.01), show=0.05)
    found = onset_synchrony(pedigree, onsets, permutations=199).set_index(["kind", "measure"])
    assert found.loc[("sister", "same lineage"), "observed"] > found.loc[("sister", "same lineage"), "shuffled"] + 0.1
    assert found.loc[("sister", "same lineage"), "p_value"] < 0.01
    rng = np.random.default_rng(0)
    random = onsets.copy()
    on = random["event"] == "onset"
    random.loc[on, "lineage"] = rng.choice(["a", "b"], int(on.sum()))
    none = onset_synchrony(pedigree, random, permutations=199).set_index(["kind", "measure"])
    assert none.loc[("sister", "same lineage"), "p_value"] > 0.02


def test_pure_clades_by_hand(family):
    pedigree = Pedigree.from_tracks(family)

    def clades(marks):
        rows = [(t, lineage, "onset", 20.0, 22.0) for t, lineage in marks.items()]
        table = pd.DataFrame(rows, columns=["track_id", "lineage", "event", "left_h", "right_h"])
        table = table.assign(position="B02_f00", session=1, founder_track_id=1, generation=2, entry_h=20.0)
        found = pure_clades(pedigree, ONSETS.conform(table))
        return found[["ancestor_track_id", "generation", "lineage", "n_tips", "n_onsets"]].to_numpy().tolist()

    assert clades({4: "e", 5: "e", 6: "m"}) == [[2, 1, "e", 2, 2], [6, 2, "m", 1, 1]]
    assert clades({4: "e", 5: "e", 6: "e", 7: "e"}) == [[1, 0, "e", 4, 4]]
    assert clades({2: "e", 6: "e", 7: "e"}) == [[1, 0, "e", 4, 3]]
    assert clades({}) == []

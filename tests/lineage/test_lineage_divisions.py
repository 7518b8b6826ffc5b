from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.lineage import Pedigree, division_curve, division_times, division_types
from napari_marrow.schemas import ONSETS, TRACKS


def test_division_times_keep_first_and_later_apart(simulate_clones):
    """Later cycles of 28 h ± 30 % in a movie of 60 h: completed ones are too short, Kaplan-Meier is right."""
    tracks, _ = simulate_clones(800, until=72.0, seed=2, death=0.002, loss=0.004)
    lifetimes = Pedigree.from_tracks(tracks).lifetimes()
    curve = division_curve(lifetimes, which="later")
    rng = np.random.default_rng(0)
    true = np.median(rng.gamma(1 / 0.09, 28 * 0.09, 100_000))
    assert curve.median == pytest.approx(true, rel=0.02)
    table = division_times(tracks).set_index("which")
    assert table.loc["later", "median_h"] == curve.median
    assert table.loc["later", "completed_mean_h"] < 0.96 * 28
    assert table.loc["first", "median_h"] < curve.median  # founders are met in the middle of their cycle
    assert np.isnan(table.loc["first", "completed_mean_h"])


def test_late_entry_counts_from_its_entry(make_tracks):
    followed = [(1, 0, 0, 10, "start", "end"), (2, 0, 6, 10, "entry", "end"), (3, 0, 0, 4, "start", "division")]
    tracks = make_tracks([*followed, *((i, 3, 5, 10, "division", "end") for i in (4, 5))])
    curve = division_curve(Pedigree.from_tracks(tracks).lifetimes(), which="first")
    assert curve.at_risk.tolist() == [2]  # track 2 was not there yet at 5 h
    assert curve.survival.tolist() == [0.5]


def test_too_few_divisions_have_no_median_and_say_so(make_tracks):
    tracks = make_tracks([(1, 0, 0, 10, "start", "end")])
    table = division_times(tracks).set_index("which")
    assert table["median_h"].isna().all()
    assert table.loc["first", "note"] == "fewer than half are seen to divide"
    assert table.loc["later", "note"] == "no cell followed"
    assert division_times(TRACKS.empty()).empty


def test_division_types_count_only_divisions_with_two_known_daughters(family, make_tracks):
    more = family.copy()
    ids = ["track_id", "parent_track_id", "founder_track_id"]
    more[ids] += np.where(more[ids] > 0, 8, 0)
    tree = Pedigree.from_tracks(pd.concat([family, more]))
    rows = [(t, "onset") for t in (4, 5, 6)] + [
        (10, "onset")
    ]  # 6's sister 7 is lost; 10 commits, her sister 11 divides
    onsets = pd.DataFrame({"track_id": [r[0] for r in rows], "event": [r[1] for r in rows], "lineage": "erythroid"})
    onsets = onsets.assign(
        position="B02_f00", session=1, founder_track_id=1, generation=1, entry_h=0.0, left_h=1.0, right_h=2.0
    )
    types = division_types(tree, ONSETS.conform(onsets)).set_index("type")
    # Known: 1 -> (2, 3) self-renewal, 2 -> (4, 5) commitment, 9 -> (10, 11) asymmetric; unknown: 3 and 11.
    assert types["n"].to_dict() == {"symmetric self-renewal": 1, "asymmetric": 1, "symmetric commitment": 1}
    assert (types["n_unknown"] == 2).all()
    assert types["probability"].tolist() == pytest.approx([1 / 3] * 3)
    assert ((types["low"] > 0) & (types["high"] < 1)).all()


def test_no_division_no_probability(make_tracks):
    types = division_types(Pedigree.from_tracks(make_tracks([(1, 0, 0, 1, "start", "end")])), ONSETS.empty())
    assert types["probability"].isna().all()
    assert types["note"].eq("no division with two known daughters").all()

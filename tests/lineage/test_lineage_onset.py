from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.lineage import (
    OnsetSettings,
    Pedigree,
    classify_cells,
    fit_mixture,
    marker_onsets,
    marker_thresholds,
    track_lineages,
)

ERY = {"erythroid": "CD235a"}
BOTH = {"erythroid": "CD235a", "megakaryocytic": "CD41"}
GIVEN = OnsetSettings(thresholds={"CD235a": 100.0, "CD41": 100.0})


def nodes_of(tracks: pd.DataFrame, **signals: dict[int, list[float]]) -> pd.DataFrame:
    """One node per frame of each track; signals[channel][track_id] lists its intensities (0 elsewhere)."""
    rows = []
    for track in tracks.itertuples():
        for i, t in enumerate(range(track.t_start, track.t_end + 1)):
            values = {
                f"intensity_{c}": (s[track.track_id][i] if track.track_id in s else 0.0) for c, s in signals.items()
            }
            rows.append({"position": track.position, "session": track.session, "t": t, "time_h": float(t),
                         "track_id": track.track_id, **values})  # fmt: skip
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_onset_is_between_the_last_negative_and_the_first_positive_frame(make_tracks):
    tracks = make_tracks([(1, 0, 0, 5, "start", "end"), (2, 0, 0, 5, "start", "loss")])
    onsets, thresholds = marker_onsets(
        tracks, nodes_of(tracks, CD235a={1: [0, 0, 0, 150, 160, 170]}), markers=ERY, settings=GIVEN
    )
    one, two = onsets.itertuples()
    assert (one.event, one.lineage, one.left_h, one.right_h, one.entry_h) == ("onset", "erythroid", 2, 3, 0)
    assert (two.event, two.lineage, two.left_h, two.right_h) == ("loss", "", 5, np.inf)
    # what came on after frame 4 would have wanted frame 6 to confirm it
    assert (one.watched_to_h, two.watched_to_h) == (4, 4)
    assert thresholds["method"].tolist() == ["control"]


def test_single_bright_frames_do_not_count_and_hysteresis_bridges_dips(make_tracks):
    tracks = make_tracks([(1, 0, 0, 7, "start", "end"), (2, 0, 0, 7, "start", "end"), (3, 0, 0, 7, "start", "end")])
    signal = {
        1: [0, 0, 150, 0, 0, 0, 0, 0],  # one frame: noise
        2: [0, 0, 110, 80, 110, 80, 75, 110],  # dips above 70 % of the threshold: on from frame 2
        3: [0, 80, 80, 60, 110, 60, 120, 130],  # a dip below it ends a run: on from frame 6
    }
    onsets, _ = marker_onsets(tracks, nodes_of(tracks, CD235a=signal), markers=ERY, settings=GIVEN)
    assert onsets["event"].tolist() == ["end", "onset", "onset"]
    assert onsets["left_h"].tolist() == [7, 1, 5]
    assert onsets["right_h"].tolist() == [np.inf, 2, 6]


def test_daughters_of_a_positive_mother_inherit_and_the_event_counts_once(family):
    signal = {2: [0] * 5 + [200] * 5, 4: [200] * 11, 5: [200] * 6, 6: [0, 0, 0, 0, 0, 0, 0, 150, 150]}
    onsets, _ = marker_onsets(family, nodes_of(family, CD235a=signal), markers=ERY, settings=GIVEN)
    assert onsets["track_id"].tolist() == [1, 2, 3, 6, 7, 8]  # 4 and 5 are positive by inheritance
    by = onsets.set_index("track_id")
    assert by["event"].to_dict() == {1: "division", 2: "onset", 3: "division", 6: "onset", 7: "loss", 8: "exit"}
    assert by.loc[2, ["left_h", "right_h"]].tolist() == [14, 15]
    assert by.loc[3, "entry_h"] == 9  # the mother's last frame: no hour at risk is lost
    assert by.loc[3, "left_h"] == 21
    tree = Pedigree.from_tracks(family)
    assert dict(zip(tree.tracks["track_id"], track_lineages(tree, onsets), strict=True)) == {
        1: "", 2: "erythroid", 3: "", 4: "erythroid", 5: "erythroid", 6: "erythroid", 7: "", 8: "",
    }  # fmt: skip


def test_a_run_that_goes_on_in_a_daughter_began_in_the_mother(make_tracks):
    tracks = make_tracks(
        [(1, 0, 0, 3, "start", "division"), (2, 1, 4, 8, "division", "end"), (3, 1, 4, 8, "division", "end")]
    )
    signal = {1: [0, 0, 0, 150], 2: [150] * 5}
    onsets, _ = marker_onsets(tracks, nodes_of(tracks, CD235a=signal), markers=ERY, settings=GIVEN)
    assert onsets["track_id"].tolist() == [1]
    assert onsets.loc[0, ["left_h", "right_h"]].tolist() == [2, 3]
    # Without the daughters' frames it is noise, and both daughters are at risk.
    signal = {1: [0, 0, 0, 150], 3: [0, 0, 200, 200, 200]}
    onsets, _ = marker_onsets(tracks, nodes_of(tracks, CD235a=signal), markers=ERY, settings=GIVEN)
    assert onsets["track_id"].tolist() == [1, 2, 3]
    assert onsets["event"].tolist() == ["division", "end", "onset"]


def test_a_daughter_on_from_her_first_frame_switched_on_after_her_mothers_last(make_tracks):
    tracks = make_tracks(
        [(1, 0, 0, 3, "start", "division"), (2, 1, 4, 8, "division", "end"), (3, 1, 4, 8, "division", "end")]
    )
    onsets, _ = marker_onsets(tracks, nodes_of(tracks, CD235a={2: [150] * 5}), markers=ERY, settings=GIVEN)
    row = onsets.set_index("track_id").loc[2]
    assert (row["event"], row["entry_h"], row["left_h"], row["right_h"]) == ("onset", 3, 3, 4)


def test_cells_that_are_on_when_first_seen_are_prevalent(make_tracks):
    tracks = make_tracks(
        [(1, 0, 0, 3, "start", "end"), (2, 0, 2, 2, "entry", "exit"), (3, 0, 1, 1, "appearance", "loss")]
    )
    signal = {1: [150] * 4, 2: [150], 3: [0]}
    onsets, _ = marker_onsets(tracks, nodes_of(tracks, CD235a=signal), markers=ERY, settings=GIVEN)
    assert onsets["event"].tolist() == ["prevalent", "prevalent", "loss"]
    assert np.isneginf(onsets["left_h"][:2]).all()


def test_the_first_of_two_markers_wins_and_the_brighter_one_in_a_tie(make_tracks):
    tracks = make_tracks([(1, 0, 0, 5, "start", "end"), (2, 0, 0, 5, "start", "end")])
    cd235a = {1: [0, 0, 0, 200, 200, 200], 2: [0, 0, 300, 300, 300, 300]}
    cd41 = {1: [0, 150, 150, 150, 150, 150], 2: [0, 0, 120, 120, 120, 120]}
    onsets, _ = marker_onsets(tracks, nodes_of(tracks, CD235a=cd235a, CD41=cd41), markers=BOTH, settings=GIVEN)
    assert onsets["lineage"].tolist() == ["megakaryocytic", "erythroid"]
    assert onsets["right_h"].tolist() == [1, 2]


def test_frames_without_the_channel_widen_the_interval(make_tracks):
    tracks = make_tracks([(1, 0, 0, 8, "start", "end"), (2, 0, 0, 8, "start", "end")])
    nan = np.nan
    signal = {1: [0, nan, nan, nan, 200, nan, nan, nan, 200], 2: [0, nan, nan, nan, 0, nan, nan, nan, nan]}
    onsets, _ = marker_onsets(tracks, nodes_of(tracks, CD235a=signal), markers=ERY, settings=GIVEN)
    assert onsets["left_h"].tolist() == [0, 4]  # the second is known to be negative until 4 h, not until its end
    # of the second an onset could be told until its first look only: what came on after it, no second look confirms
    assert onsets["watched_to_h"].tolist() == [8, 0]
    assert onsets["right_h"].tolist() == [4, np.inf]


def test_bleaching_is_undone(make_tracks):
    tracks = make_tracks([(1, 0, 0, 9, "start", "end")])
    signal = 150 * (np.arange(10) >= 6) * 0.9 ** np.arange(10)
    nodes = nodes_of(tracks, CD235a={1: signal.tolist()})
    dim = marker_onsets(tracks, nodes, markers=ERY, settings=GIVEN)[0]
    assert dim["event"].tolist() == ["end"]
    settings = OnsetSettings(thresholds={"CD235a": 140.0}, bleaching_per_frame={"CD235a": 0.1})
    assert marker_onsets(tracks, nodes, markers=ERY, settings=settings)[0]["right_h"].tolist() == [6]


@pytest.mark.parametrize("level", [100.0, "ring"])
def test_background_is_subtracted_before_bleaching_is_undone(make_tracks, level):
    tracks = make_tracks([(1, 0, 0, 9, "start", "end")])
    signal = 100 + 150 * (np.arange(10) >= 6) * 0.9 ** np.arange(10)
    nodes = nodes_of(tracks, CD235a={1: signal.tolist()}).assign(ring=100.0)
    settings = OnsetSettings(
        thresholds={"CD235a": 140.0}, background={"CD235a": level}, bleaching_per_frame={"CD235a": 0.1}
    )
    found = marker_onsets(tracks, nodes, markers=ERY, settings=settings)[0]
    assert (found["left_h"].tolist(), found["right_h"].tolist()) == ([5], [6])
    # without it the background itself is taken for a marker, once bleaching is undone
    raw = OnsetSettings(thresholds={"CD235a": 140.0}, bleaching_per_frame={"CD235a": 0.1})
    assert marker_onsets(tracks, nodes, markers=ERY, settings=raw)[0]["right_h"].tolist() == [4]


def test_a_background_that_is_none_is_refused(make_tracks):
    tracks = make_tracks([(1, 0, 0, 9, "start", "end")])
    with pytest.raises(SettingsError, match="background of CD235a is nan"):
        OnsetSettings(background={"CD235a": float("nan")})
    with pytest.raises(TableError, match="lack the column 'ring'"):
        marker_onsets(tracks, nodes_of(tracks, CD235a={}), markers=ERY,
                      settings=OnsetSettings(background={"CD235a": "ring"}))  # fmt: skip


def test_mixture_finds_the_valley_between_two_populations():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 12, 9500), rng.lognormal(np.log(250), 0.4, 500)])
    mix = fit_mixture(values)
    assert mix.reason == ""
    assert 40 < mix.threshold < 130
    assert mix.weights[1] == pytest.approx(0.05, abs=0.005)
    wrong = (values[:9500] >= mix.threshold).mean() + (values[9500:] < mix.threshold).mean()
    assert wrong < 0.02


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_the_threshold_scales_with_the_intensities(scale):
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(0, 12, 500), rng.lognormal(np.log(250), 0.4, 300)])
    assert fit_mixture(values * scale).threshold == pytest.approx(fit_mixture(values).threshold * scale, rel=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(0, 10, 3000),
        np.random.default_rng(1).lognormal(5, 0.5, 3000),
        np.random.default_rng(2).gamma(2.0, 50.0, 3000),
        np.random.default_rng(3).normal(500, 60, 3000),
    ],
)
def test_one_population_has_no_threshold_and_says_so(values):
    mix = fit_mixture(values)
    assert np.isnan(mix.threshold)
    assert "negative control" in mix.reason


@pytest.mark.parametrize("values", [[], [1.0] * 5, [7.0] * 100, [np.nan] * 50])
def test_too_little_to_fit(values):
    mix = fit_mixture(values)
    assert np.isnan(mix.threshold)
    assert mix.reason


def test_a_lineage_without_threshold_has_no_onsets_and_a_note(make_tracks):
    tracks = make_tracks([(i, 0, 0, 9, "start", "end") for i in range(1, 41)])
    rng = np.random.default_rng(0)
    nodes = nodes_of(tracks, CD235a={i: rng.normal(0, 5, 10).tolist() for i in range(1, 41)})
    onsets, thresholds = marker_onsets(tracks, nodes, markers=ERY)
    assert (onsets["event"] == "end").all()
    assert thresholds["method"].tolist() == ["none"]
    assert "negative control" in thresholds["note"][0]


def test_cells_are_classified_and_double_ones_are_ambiguous():
    cells = pd.DataFrame(
        {"label": [1, 2, 3, 4], "intensity_CD235a": [0, 200, 0, 200.0], "intensity_CD41": [0, 0, 200, 200.0]},
        index=[10, 11, 12, 13],
    )
    thresholds = marker_thresholds(cells, BOTH, given={"CD235a": 100, "CD41": 100})
    out = classify_cells(cells, BOTH, thresholds=thresholds)
    assert out["lineage"].tolist() == ["", "erythroid", "megakaryocytic", "ambiguous"]
    assert out.index.tolist() == [10, 11, 12, 13]
    nothing = classify_cells(cells.iloc[:0], BOTH)
    assert nothing.empty


def test_bad_input_is_refused_in_a_sentence(family):
    nodes = nodes_of(family, CD235a={})
    with pytest.raises(TableError, match="measured channels are"):
        marker_onsets(family, nodes, markers={"megakaryocytic": "CD41"})
    with pytest.raises(SettingsError, match="No lineage marker"):
        marker_onsets(family, nodes, markers={})
    with pytest.raises(TableError, match="belongs to track 99"):
        marker_onsets(family, nodes.assign(track_id=99), markers=ERY)
    with pytest.raises(TableError, match="time_h"):
        marker_onsets(family, nodes.drop(columns="time_h"), markers=ERY)
    for wrong in ({"consecutive": 0}, {"hysteresis": 0.0}, {"bleaching_per_frame": {"CD41": 1.0}}):
        with pytest.raises(SettingsError):
            OnsetSettings(**wrong)


def test_simulated_onsets_are_found_with_the_estimated_threshold(simulate_clones):
    tracks, nodes = simulate_clones(150, seed=4)
    onsets, thresholds = marker_onsets(tracks, nodes, markers=BOTH)
    assert (thresholds["method"] == "mixture").all()
    truth = nodes.assign(on=(nodes["intensity_CD235a"] > 80) | (nodes["intensity_CD41"] > 80))
    first_on = truth[truth["on"]].groupby("track_id")["time_h"].min()
    mine = onsets[onsets["event"] == "onset"].set_index("track_id")["right_h"]
    common = first_on.index.intersection(mine.index)
    assert len(common) > 0.98 * len(mine)
    assert (first_on[common] == mine[common]).mean() > 0.97


def test_total_brightness_is_not_moved_by_rounding_up(make_tracks):
    """A negative cell rounds up: its mean doubles as its area halves; another switches on at constant area."""
    tracks = make_tracks([(1, 0, 0, 9, "start", "end"), (2, 0, 0, 9, "start", "end")])
    t = np.arange(10)
    nodes = pd.DataFrame({"position": "B02_f00", "session": 1, "t": np.tile(t, 2), "time_h": np.tile(t, 2) * 1.0,
                          "track_id": np.repeat([1, 2], 10)})  # fmt: skip
    nodes["area"] = np.concatenate([np.where(t < 5, 100.0, 50.0), np.full(10, 100.0)])
    nodes["intensity_CD41"] = np.concatenate([np.where(t < 5, 60.0, 120.0), np.where(t < 7, 60.0, 300.0)])
    markers = {"megakaryocytic": "CD41"}
    found = {}
    for quantity in ("mean", "total"):
        settings = OnsetSettings(thresholds={"CD41": 100.0}, quantity=quantity)
        onsets, _ = marker_onsets(tracks, nodes, markers=markers, settings=settings)
        found[quantity] = onsets.loc[onsets["event"] == "onset", "track_id"].tolist()
    assert found == {"mean": [1, 2], "total": [2]}
    with pytest.raises(TableError, match="column 'area'"):
        marker_onsets(tracks, nodes.drop(columns="area"), markers=markers, settings=settings)
    with pytest.raises(SettingsError, match="Unknown quantity"):
        OnsetSettings(quantity="sum")

"""Tiny hand-made truths, each with a name, for cells within a session."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import Cancelled, SettingsError, TableError
from napari_marrow.progress import CancelToken
from napari_marrow.tracking import TrackingSettings, score_tracks, solver, threads, track_labels, track_points

ROOT = Path(__file__).parents[2]


def simulator():
    spec = importlib.util.spec_from_file_location("tracking_simulator", ROOT / "benchmarks" / "tracking_simulator.py")
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def crowd():
    sim = simulator()
    return sim.simulate(sim.SETS["tiny"], 5)


def straight_movers(n=9, frames=12, step=3.0, spacing=40.0):
    """Cells on a grid that all move the same way by less than half a spacing."""
    rows = [
        (t, i // 3 * spacing + 0.1 * t, i % 3 * spacing + step * t, i + 1, 0) for t in range(frames) for i in range(n)
    ]
    return pd.DataFrame(rows, columns=["t", "y", "x", "track_id", "parent_track_id"])


def predicted(table, **kwargs):
    found = track_points(table.drop(columns=["track_id", "parent_track_id"]), **kwargs)
    return table[["t"]].assign(track_id=found.track_id, parent_track_id=found.parent_track_id), found


def same_partition(a, b):
    return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


def test_straight_movers_are_followed_without_error():
    table = straight_movers()
    tracks, found = predicted(table)
    assert same_partition(table["track_id"], tracks["track_id"])
    assert (found.parent_track_id == 0).all()
    assert np.isnan(found.link_probability[table["t"] == 0]).all()
    assert (found.link_probability[table["t"] > 0] > 0.95).all()


def test_crossing_cells_keep_their_ways():
    """Two cells that pass each other at a distance of less than a step: only their velocity tells them apart."""
    rng = np.random.default_rng(3)
    rows = []
    for pair in range(12):
        for t in range(21):
            for k, way in enumerate((1.0, -1.0)):
                y = pair * 60 + 1.0 * k
                rows.append((t, y + rng.normal(0, 0.1), way * (t - 10) * 4.0 + rng.normal(0, 0.1), 2 * pair + k + 1, 0))
    table = pd.DataFrame(rows, columns=["t", "y", "x", "track_id", "parent_track_id"])
    tracks, _ = predicted(table, settings=TrackingSettings(divisions=False))
    assert score_tracks(table, tracks).f1 > 0.99


def dividing(with_area=True, pairs=12, frames=16):
    """Mothers that stand in a row and divide one after the other; daughters move apart."""
    rng = np.random.default_rng(1)
    rows, name = [], 1
    for k in range(pairs):
        at = 4 + k % 8
        mother, first, second = name, name + 1, name + 2
        name += 3
        for t in range(frames):
            noise = rng.normal(0, 0.4, (2, 2))
            if t < at:
                rows.append((t, k * 60 + noise[0, 0], noise[0, 1], 100 * np.exp(rng.normal(0, 0.05)), mother, 0))
            else:
                apart = 5 + 0.5 * min(t - at, 4)
                for side, who, n in ((1, first, noise[0]), (-1, second, noise[1])):
                    rows.append((t, k * 60 + n[0], side * apart + n[1], 50 * np.exp(rng.normal(0, 0.05)), who, mother))
    table = pd.DataFrame(rows, columns=["t", "y", "x", "area", "track_id", "parent_track_id"])
    return table if with_area else table.drop(columns="area")


@pytest.mark.parametrize("with_area", [True, False])
def test_divisions_are_found_with_and_without_sizes(with_area):
    table = dividing(with_area)
    tracks, found = predicted(table)
    score = score_tracks(table, tracks)
    assert score.divisions_true == 12
    assert score.division_f1 == 1.0
    assert score.f1 == 1.0
    born = found.edges[found.edges["kind"] == "division"]
    assert len(born) == 24
    assert born["probability"].between(0.5, 1).all()


def test_divisions_can_be_switched_off():
    _, found = predicted(dividing(), settings=TrackingSettings(divisions=False))
    assert (found.parent_track_id == 0).all()


@pytest.mark.parametrize(("skipped", "closed"), [(1, True), (2, True), (3, False)])
def test_gap_is_closed_over_two_missing_frames_not_more(skipped, closed):
    table = straight_movers(frames=14)
    hidden = (table["track_id"] == 5) & table["t"].between(6, 5 + skipped)
    table = table[~hidden].reset_index(drop=True)
    _, found = predicted(table)
    assert (found.n_tracks == 9) is closed
    assert (found.edges["kind"] == "gap").sum() == int(closed)


def test_merged_blob_costs_one_cell_its_frame_not_its_identity():
    """Two neighbours are one blob in one frame: one goes on through the blob, the other over the gap."""
    table = straight_movers(n=9, frames=14, step=0.5, spacing=40.0).assign(area=50.0)
    table["area"] *= np.exp(np.random.default_rng(0).normal(0, 0.05, len(table)))
    table.loc[table["track_id"] == 2, "x"] -= 32.0
    one, two = ((table["t"] == 7) & (table["track_id"] == k) for k in (1, 2))
    table.loc[one, ["y", "x", "area"]] = [
        *(0.5 * (table.loc[one, ["y", "x"]].to_numpy() + table.loc[two, ["y", "x"]].to_numpy())[0]), 100.0,
    ]  # fmt: skip
    table = table[~two].reset_index(drop=True)
    tracks, found = predicted(table)
    assert found.n_tracks == 9
    assert (found.parent_track_id == 0).all()
    before, after = (tracks["t"] == 6), (tracks["t"] == 8)
    for who in (1, 2):
        mine = table["track_id"] == who
        assert tracks.loc[mine & before, "track_id"].item() == tracks.loc[mine & after, "track_id"].item()


def test_cells_that_enter_and_leave_begin_and_end_tracks():
    table = straight_movers(frames=12)
    late = (table["track_id"] == 3) & (table["t"] < 5)
    early = (table["track_id"] == 7) & (table["t"] > 6)
    table = table[~late & ~early].reset_index(drop=True)
    tracks, found = predicted(table)
    assert same_partition(table["track_id"], tracks["track_id"])
    assert (found.parent_track_id == 0).all()


def test_volume_with_coarse_planes_is_tracked():
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 120, (40, 3))
    rows = []
    for t in range(10):
        start = start + rng.normal(0, 1.0, start.shape)
        rows += [(t, *p, i + 1, 0) for i, p in enumerate(start)]
    table = pd.DataFrame(rows, columns=["t", "z", "y", "x", "track_id", "parent_track_id"])
    tracks, _ = predicted(table)
    assert score_tracks(table, tracks).f1 > 0.99


def test_simulated_crowd_reaches_its_floor(crowd):
    found = track_points(crowd[["t", "y", "x", "area", "intensity"]])
    tracks = crowd[["t"]].assign(track_id=found.track_id, parent_track_id=found.parent_track_id)
    score = score_tracks(crowd, tracks, max_gap=3)
    assert score.f1 > 0.95
    assert score.division_f1 > 0.6
    bare = track_points(crowd[["t", "y", "x"]])
    tracks = crowd[["t"]].assign(track_id=bare.track_id, parent_track_id=bare.parent_track_id)
    assert score_tracks(crowd, tracks, max_gap=3).f1 > 0.90


def test_order_of_rows_leaves_no_trace(crowd):
    points = crowd[["t", "y", "x", "area", "intensity"]]
    found = track_points(points)
    order = np.random.default_rng(8).permutation(len(points))
    again = track_points(points.iloc[order])
    assert np.array_equal(found.track_id[order], again.track_id)
    assert np.array_equal(found.parent_track_id[order], again.parent_track_id)
    assert np.array_equal(found.link_probability[order], again.link_probability, equal_nan=True)
    pairs = found.edges[["parent_row", "child_row"]].to_numpy()
    mapped = order[again.edges[["parent_row", "child_row"]].to_numpy()]
    assert set(map(tuple, pairs)) == set(map(tuple, mapped))


def test_unit_of_length_does_not_matter(crowd):
    points = crowd[["t", "y", "x", "area", "intensity"]]
    # a power of two scales exactly, so that even rounding is the same
    pixels = points.assign(y=points["y"] * 4, x=points["x"] * 4, area=points["area"] * 16)
    assert np.array_equal(track_points(points).track_id, track_points(pixels).track_id)


def test_edges_and_columns_tell_the_same(crowd):
    found = track_points(crowd[["t", "y", "x", "area"]])
    edges = found.edges
    child, parent = edges["child_row"].to_numpy(), edges["parent_row"].to_numpy()
    t = crowd["t"].to_numpy()
    assert (t[child] > t[parent]).all()
    assert not edges["child_row"].duplicated().any()
    divided = (edges["kind"] == "division").to_numpy()
    assert np.array_equal(found.track_id[parent[~divided]], found.track_id[child[~divided]])
    assert np.array_equal(found.track_id[parent[divided]], found.parent_track_id[child[divided]])
    assert set(np.bincount(parent[divided])[np.unique(parent[divided])]) <= {2}
    assert np.allclose(found.link_probability[child[~divided]], edges["probability"][~divided])
    assert edges["probability"].between(0, 1).all()
    for rows in np.split(np.argsort(found.track_id, kind="stable"), np.cumsum(np.bincount(found.track_id)[1:])[:-1]):
        assert len(np.unique(t[rows])) == len(rows)


def test_irregular_times_are_true_times():
    """A pause of eight intervals: cells moved on meanwhile, and the true times say so."""
    rng = np.random.default_rng(2)
    x = rng.uniform(0, 900, (60, 2))
    hours = np.concatenate([np.arange(10), 18 + np.arange(10)]) * 0.1
    rows = []
    for t, hour in enumerate(hours):
        x = x + rng.normal(0, 2.5 * np.sqrt((hour - hours[t - 1]) / 0.1 if t else 1), x.shape)
        rows += [(t, hour, *p, i + 1, 0) for i, p in enumerate(x)]
    table = pd.DataFrame(rows, columns=["t", "time_h", "y", "x", "track_id", "parent_track_id"])
    tracks, _ = predicted(table)
    assert score_tracks(table, tracks).f1 > 0.99


def test_coincident_points_disturb_nobody():
    # 200 detections at one place cannot be told apart: none of them is sure of its link, and the others keep theirs
    movers = straight_movers()
    frames = np.unique(movers["t"])
    pile = pd.DataFrame({"t": np.repeat(frames, 200), "y": 1000.0, "x": 1000.0})
    both = pd.concat([movers[["t", "y", "x"]], pile], ignore_index=True)
    found = track_points(both)
    assert same_partition(found.track_id[: len(movers)], movers["track_id"])
    of_pile = found.edges[found.edges["child_row"] >= len(movers)]
    assert np.isfinite(found.edges["probability"]).all()
    assert (of_pile["probability"] < 0.99).all()
    assert track_points(pile[pile["t"] == frames[0]]).n_tracks == 200


@pytest.mark.parametrize("n", [0, 1, 5])
def test_one_frame_or_none_gives_a_track_each(n):
    table = pd.DataFrame({"t": np.zeros(n, int), "y": np.arange(n) * 9.0, "x": np.arange(n) * 7.0})
    found = track_points(table)
    assert found.track_id.tolist() == list(range(1, n + 1))
    assert found.edges.empty


def test_odd_tables_are_taken():
    twins = pd.DataFrame({"t": [0, 0, 1, 1, 2, 2], "y": [1.0] * 6, "x": [2.0] * 6})
    assert track_points(twins).n_tracks >= 2
    far = pd.DataFrame({"t": [0, 1, 10**6, 10**6 + 1], "y": [0.0, 1, 2, 3], "x": [0.0, 1, 2, 3]})
    assert len(track_points(far).track_id) == 4
    missing = straight_movers().assign(area=50.0)
    missing["area"] *= np.exp(np.random.default_rng(0).normal(0, 0.1, len(missing)))
    missing.loc[::7, "area"] = np.nan
    tracks, _ = predicted(missing)
    assert same_partition(missing["track_id"], tracks["track_id"])


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"t": [0], "y": [1.0]}, "lacks the column"),
        ({"t": [0, 1], "y": [1.0, np.nan], "x": [0.0, 0.0]}, "NaN or infinity in 1 row"),
        ({"t": [0, 0.5], "y": [1.0, 1.0], "x": [0.0, 0.0]}, "fractions"),
        ({"t": [0, 1], "y": ["a", "b"], "x": [0.0, 0.0]}, "no number"),
        ({"t": [0, 1], "y": [1.0, 1.0], "x": [0.0, 0.0], "time_h": [2.0, 1.0]}, "does not increase"),
        ({"t": [0, 0], "y": [1.0, 1.0], "x": [0.0, 0.0], "time_h": [2.0, 1.0]}, "several times"),
    ],
)
def test_bad_tables_are_refused_in_a_sentence(table, sentence):
    with pytest.raises(TableError, match=sentence):
        track_points(pd.DataFrame(table))


def test_bad_settings_are_refused():
    with pytest.raises(SettingsError, match="max_gap"):
        TrackingSettings(max_gap=0)
    with pytest.raises(SettingsError, match="search_radius"):
        TrackingSettings(search_radius=-1.0)
    with pytest.raises(TableError, match="no feature column 'colour'"):
        track_points(straight_movers(), settings=TrackingSettings(features=("colour",)))


def test_cancelling_stops():
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        track_points(straight_movers(), cancel=token)


def test_labels_of_any_kind_are_tracked():
    """Two discs that move; labels are 64-bit, not consecutive, and change from frame to frame."""
    frames = np.zeros((5, 40, 60), np.uint64)
    for t in range(5):
        frames[t, 5:12, 5 + 2 * t : 12 + 2 * t] = 2**40 + 7 * t
        frames[t, 25:33, 40 - t : 48 - t] = 3 + t
    images = np.where(frames > 0, 10.0 + frames % 5, 0.0)
    found, points = track_labels(frames, spacing=(0.5, 0.25), images=images)
    assert list(points.columns) == ["t", "label", "y", "x", "area", "intensity"]
    assert np.isclose(points["area"], np.where(points["label"] > 10**6, 49, 64) * 0.125).all()
    upper = points[points["label"] > 10**6]
    assert np.allclose(upper["y"], 8 * 0.5)
    assert np.allclose(upper["x"], (8 + 2 * upper["t"]) * 0.25)
    assert same_partition(points["label"] > 10**6, found.track_id)


@pytest.mark.parametrize("many", [2, 7])
def test_any_number_of_threads_gives_the_same_result(crowd, many, monkeypatch):
    points = crowd[["t", "y", "x", "area", "intensity"]]
    results = []
    for number in (1, many):
        monkeypatch.setattr(threads, "n_threads", lambda number=number: number)
        monkeypatch.setattr(threads, "_LEAST", 50)  # this little set is shared out, too
        monkeypatch.setattr(solver, "_AT_ONCE", 400)
        results.append(track_points(points))
    one, several = results
    for name in ("track_id", "parent_track_id", "link_probability", "start_probability", "end_probability"):
        assert np.array_equal(getattr(one, name), getattr(several, name), equal_nan=True), name
    pd.testing.assert_frame_equal(one.edges, several.edges, check_exact=True)


def test_a_frame_of_a_hundred_thousand_objects():
    """A lattice of squares with 64-bit labels that moves by a pixel."""
    side, pitch = 317, 5
    tile = np.zeros((pitch, pitch), bool)
    tile[1:4, 0:3] = True
    mask = np.tile(tile, (side, side))
    names = np.kron(np.arange(side * side).reshape(side, side) + 1, np.ones((pitch, pitch), np.int64))
    frames = [np.where(mask, names + 2**40, 0), np.roll(np.where(mask, 2**41 - names, 0), 1, axis=1)]
    found, points = track_labels(frames, spacing=(1.0, 1.0))
    assert len(points) == 2 * side**2 > 200_000
    number = np.where(points["t"] == 0, points["label"] - 2**40, 2**41 - points["label"])
    assert same_partition(found.track_id, number)


@pytest.mark.parametrize("moved", [0.0, 1.0, 5e3])
def test_two_detections_are_enough(moved):
    points = pd.DataFrame({"t": [0, 1], "y": [0.0, moved], "x": [0.0, 0.0], "area": [80.0, 81.0]})
    assert track_points(points).track_id.tolist() in ([1, 1], [1, 2])


def test_a_label_that_stands_for_two_objects_is_refused():
    frames = np.zeros((2, 60, 60), np.int64)
    frames[:, 5:11, 5:11] = 7
    frames[1, 40:46, 41:47] = 7  # 35 px down, 36 px to the right
    with pytest.raises(TableError, match=r"Label 7 of frame t = 1 stands for two objects 25.1 µm apart"):
        track_labels(frames, spacing=(0.5, 0.5))
    volume = frames[:, None].repeat(3, axis=1)
    with pytest.raises(TableError, match="Label 7 of frame t = 1"):
        track_labels(volume, spacing=(2.0, 0.5, 0.5))


def test_a_speck_or_a_crack_does_not_make_two_objects():
    frames = np.zeros((2, 60, 60), np.uint16)
    frames[:, 5:11, 5:25] = 1
    frames[1, 5:11, 14:16] = 0  # a crack through a long cell
    frames[1, 50, 50] = 1  # a speck far off
    _, points = track_labels(frames, spacing=(1.0, 1.0))
    assert points["area"].tolist() == [120.0, 109.0]


def test_bad_labels_are_refused_in_a_sentence():
    with pytest.raises(TableError, match="whole numbers"):
        track_labels(np.zeros((2, 4, 4)), spacing=(1, 1))
    with pytest.raises(TableError, match="spacing has 3"):
        track_labels(np.zeros((2, 4, 4), int), spacing=(1, 1, 1))
    with pytest.raises(TableError, match="fewer images"):
        track_labels(np.zeros((2, 4, 4), int), spacing=(1, 1), images=np.zeros((1, 4, 4)))

"""What `marrow track` takes and writes besides CSV and masks: times, overrides, GEFF, TrackMate, record, decisions."""

import json
from xml.etree import ElementTree

import geff
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from napari_marrow.cli.application import app
from napari_marrow.errors import InputFileError, PathExistsError, PathMissingError, SettingsError, TableError
from napari_marrow.export.geff import geff_points, read_geff, write_geff
from napari_marrow.export.trackmate import read_trackmate
from napari_marrow.pipeline.evaluate_files import evaluate_tracks
from napari_marrow.pipeline.track_files import read_times, track_points_file
from napari_marrow.tracking import track_points, uncertain_decisions
from napari_marrow.tracking.scores import tracks_of


@pytest.fixture
def family(tmp_path):
    """Eight mothers that divide one after the other, as a CSV; the truth beside."""
    rng = np.random.default_rng(2)
    rows, name = [], 1
    for k in range(8):
        at = 5 + k % 4
        for t in range(14):
            for side in (0,) if t < at else (-1, 1):
                apart = 0 if t < at else 5 + 0.5 * min(t - at, 4)
                who = name if t < at else name + 1 + (side > 0)
                y, x = k * 60 + rng.normal(0, 0.4), side * apart + rng.normal(0, 0.4)
                rows.append((t, y, x, (100 if t < at else 50) * np.exp(rng.normal(0, 0.05)), who))
        name += 3
    table = pd.DataFrame(rows, columns=["t", "y", "x", "area", "truth"])
    table.drop(columns="truth").to_csv(tmp_path / "points.csv", index=False)
    return table


def marrow(*arguments):
    return CliRunner().invoke(app, ["track", *map(str, arguments)])


def test_the_command_records_what_was_set_and_learned(tmp_path, family):
    out = tmp_path / "tracks.csv"
    run = marrow(
        tmp_path / "points.csv", "--out", out, "--max-displacement", 30, "--max-gap", 2, "--frame-interval", 5,
        "--decisions", tmp_path / "look.csv", "--share", 0.1, "--figure", tmp_path / "learned.png",
        "--division-rate", 0.01, "--no-second-order", "--no-drift", "--no-blobs", "--candidates", 5, "--rounds", 3,
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    record = json.loads((tmp_path / "tracks.tracking.json").read_text())
    assert record["settings"]["search_radius"] == 30
    assert record["settings"]["max_gap"] == 2
    given = {"division_rate": 0.01, "second_order": False, "drift": False, "blobs": False, "candidates": 5, "rounds": 3}
    assert record["settings"].items() >= given.items()
    assert record["n_divisions"] == 8
    assert record["version"]
    look = pd.read_csv(tmp_path / "look.csv")
    assert len(look) == np.ceil(0.1 * (len(family) - 8))
    assert look["probability"].is_monotonic_increasing
    assert (tmp_path / "learned.png").read_bytes()[:4] == b"\x89PNG"
    assert pd.read_csv(out)["t"].tolist() == family["t"].tolist()


def test_nothing_beside_the_result_is_overwritten(tmp_path, family):
    (tmp_path / "tracks.tracking.json").write_text("mine")
    with pytest.raises(PathExistsError, match=r"tracks\.tracking\.json"):
        track_points_file(tmp_path / "points.csv", tmp_path / "tracks.csv")
    assert not (tmp_path / "tracks.csv").exists()


def test_a_graph_comes_back_from_geff(tmp_path, family):
    found = track_points_file(tmp_path / "points.csv", tmp_path / "tracks.geff")
    nodes, edges = read_geff(tmp_path / "tracks.geff")
    assert nodes["y"].tolist() == pytest.approx(family["y"].tolist())
    assert nodes["track_id"].tolist() == found.track_id.tolist()
    pairs = set(zip(edges["source"], edges["target"], strict=True))
    assert pairs == set(zip(found.edges["parent_row"], found.edges["child_row"], strict=True))
    kids = edges.groupby("source").size()
    assert (kids == 2).sum() == 8  # a mother's last detection leads to both daughters
    geff.validate_structure(tmp_path / "tracks.geff")


def test_a_folder_that_is_no_geff_is_refused(tmp_path):
    with pytest.raises(InputFileError, match="no GEFF"):
        read_geff(tmp_path)
    write_geff(
        tmp_path / "empty.geff",
        pd.DataFrame({"t": np.zeros(0, int), "y": [], "x": []}),
        pd.DataFrame({"parent_row": np.zeros(0, int), "child_row": np.zeros(0, int)}),
    )
    assert len(read_geff(tmp_path / "empty.geff")[0]) == 0


def test_trackmate_out_and_in_again(tmp_path, family):
    found = track_points_file(tmp_path / "points.csv", tmp_path / "tracks.xml")
    spots, edges = read_trackmate(tmp_path / "tracks.xml")
    spots = spots.sort_values("spot_id")
    assert spots["x"].tolist() == pytest.approx(family["x"].tolist())
    assert set(zip(edges["source"], edges["target"], strict=True)) == set(
        zip(found.edges["parent_row"], found.edges["child_row"], strict=True)
    )
    root = ElementTree.parse(tmp_path / "tracks.xml").getroot()
    assert len(list(root.iter("Track"))) == 8  # a pedigree each
    again = marrow(tmp_path / "tracks.xml", "--out", tmp_path / "again.csv")
    assert again.exit_code == 0, again.output
    assert pd.read_csv(tmp_path / "again.csv")["track_id"].max() == 24


def test_tracks_of_links_are_those_that_the_links_came_from():
    # a founder with a gap, its two daughters, and a cell that two others run into
    t = np.array([0, 2, 3, 3, 4, 0, 0, 1, 2])
    track = np.array([1, 1, 2, 3, 3, 4, 5, 6, 6])
    parent = np.array([0, 0, 1, 1, 1, 0, 0, 4, 4])
    links = np.array([[0, 1], [1, 3], [1, 2], [3, 4], [6, 7], [5, 7], [7, 8]])
    own, mother = tracks_of(t, links)
    groups = {tuple(np.flatnonzero(own == k)) for k in own}
    assert groups == {tuple(np.flatnonzero(track == k)) for k in track}
    of = {k: own[np.flatnonzero(track == k)[0]] for k in track} | {0: 0}
    assert mother.tolist() == [of[p] for p in parent]


def test_graph_files_are_scored_with_one_another_and_with_csv(tmp_path, family):
    for ending in ("csv", "geff", "xml"):
        track_points_file(tmp_path / "points.csv", tmp_path / f"tracks.{ending}")
        (tmp_path / "tracks.tracking.json").unlink()
    perfect = {"link_F1": 1.0, "division_F1": 1.0, "divisions_true": 8}
    for truth, result in (("csv", "geff"), ("geff", "xml"), ("xml", "csv")):
        scores = evaluate_tracks(tmp_path / f"tracks.{truth}", tmp_path / f"tracks.{result}")
        assert scores.items() >= perfect.items(), (truth, result)
    # two links fewer, by hand: recall falls by just these
    nodes, edges = read_geff(tmp_path / "tracks.geff")
    fewer = edges.rename(columns={"source": "parent_row", "target": "child_row"}).iloc[2:]
    write_geff(tmp_path / "fewer.geff", nodes, fewer)
    scores = evaluate_tracks(tmp_path / "tracks.csv", tmp_path / "fewer.geff")
    assert scores["link_recall"] == pytest.approx(1 - 2 / len(edges))
    with pytest.raises(InputFileError, match="not of one kind"):
        evaluate_tracks(tmp_path / "tracks.csv", tmp_path)
    write_geff(tmp_path / "bare.geff", nodes, fewer.iloc[:0])
    with pytest.raises(TableError, match="no edges"):
        evaluate_tracks(tmp_path / "tracks.csv", tmp_path / "bare.geff")


def test_a_geff_of_other_names_and_units_is_tracked(tmp_path, family):
    import zarr

    # another program's axes: minutes, and space in an order of its own
    hours = family["t"].to_numpy() * 0.11 + 2.0
    nodes = pd.DataFrame({"t": hours * 60, "y": family["y"], "x": family["x"], "area": family["area"]})
    write_geff(tmp_path / "other.geff", nodes, pd.DataFrame({"parent_row": [0], "child_row": [1]}))
    root = zarr.open_group(tmp_path / "other.geff", mode="r+")
    about = dict(root.attrs["geff"])
    about["axes"] = [
        {"name": "x", "type": "space"}, {"name": "y", "type": "space"}, {"name": "t", "type": "time", "unit": "minute"},
    ]  # fmt: skip
    root.attrs["geff"] = about
    points, _ = geff_points(tmp_path / "other.geff")
    assert points["t"].tolist() == family["t"].tolist()
    assert points["time_h"].to_numpy() == pytest.approx(hours)
    assert points["x"].tolist() == family["x"].tolist()
    assert marrow(tmp_path / "other.geff", "--out", tmp_path / "tracks.csv").exit_code == 0
    found = pd.read_csv(tmp_path / "tracks.csv")
    assert found["track_id"].tolist() == track_points(family).track_id.tolist()
    assert found["node_id"].tolist() == list(range(len(family)))
    about["axes"][2].pop("unit")
    root.attrs["geff"] = about
    with pytest.raises(InputFileError, match="unit 'None'"):
        geff_points(tmp_path / "other.geff")
    about["axes"] = about["axes"][:2]
    root.attrs["geff"] = about
    with pytest.raises(InputFileError, match="needs one of time"):
        geff_points(tmp_path / "other.geff")
    with pytest.raises(PathMissingError):
        geff_points(tmp_path / "absent.geff")


def test_tracking_a_result_again_does_not_take_its_own_columns_for_measurements(tmp_path, family):
    track_points_file(tmp_path / "points.csv", tmp_path / "tracks.geff")
    track_points_file(tmp_path / "tracks.geff", tmp_path / "again.csv")
    record = json.loads((tmp_path / "again.tracking.json").read_text())
    first = json.loads((tmp_path / "tracks.tracking.json").read_text())
    assert record["features"] == first["features"]
    assert pd.read_csv(tmp_path / "again.csv")["track_id"].max() == 24


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nothing", "no XML"),
        ("<TrackMate/>", "no TrackMate spots"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><TrackMate/>', "document type"),
        (
            '<TrackMate><Spot ID="1" FRAME="0" POSITION_X="1" POSITION_Y="2"/>'
            '<Edge SPOT_SOURCE_ID="1" SPOT_TARGET_ID="9"/></TrackMate>',
            "spot 9",
        ),
        ('<TrackMate><Spot ID="1" FRAME="zero" POSITION_X="1" POSITION_Y="2"/></TrackMate>', "number"),
    ],
)
def test_bad_trackmate_files_are_named(tmp_path, text, says):
    (tmp_path / "bad.xml").write_text(text)
    with pytest.raises(InputFileError, match=says):
        read_trackmate(tmp_path / "bad.xml")


def test_times_have_to_increase_and_to_suffice(tmp_path, family):
    (tmp_path / "times.txt").write_text("0\n1\n1\n")
    with pytest.raises(InputFileError, match="increase"):
        read_times(tmp_path / "times.txt")
    with pytest.raises(TableError, match="2 times"):
        track_points_file(tmp_path / "points.csv", tmp_path / "new.csv", times_h=[0.0, 1.0])


def test_uncertain_decisions_name_their_reason():
    """Two cells meet and part at a right angle: each of the two ways is as likely, all other cells go straight."""
    rows = [(t, k * 50.0, 3.0 * t) for t in range(10) for k in range(8)]
    for side in (-1, 1):
        rows += [(t, 500.0, side * (2.0 * (5 - t) + 0.3)) for t in range(6)]
        rows += [(t, 500.0 + side * 2.0 * (t - 5), 0.0) for t in range(6, 10)]
    points = pd.DataFrame(rows, columns=["t", "y", "x"])
    found = track_points(points)
    look = uncertain_decisions(found, points, share=0.02)
    assert set(look["t_parent"]) == {5}
    assert (abs(look["y"] - 500) < 5).all()
    assert "two candidates" in set(look["reason"])
    with pytest.raises(SettingsError):
        uncertain_decisions(found, points, share=0.0)


@pytest.mark.parametrize("reason", ["jump", "size change", "unseen in between"])
def test_each_kind_of_doubt_is_named(reason):
    """Twenty cells walk alone; one of them jumps, changes its size or is not seen in frame 6."""
    rng = np.random.default_rng(5)
    rows = [
        (t, 60.0 * k + rng.normal(0, 0.5), rng.normal(0, 0.5), 100 * np.exp(rng.normal(0, 0.05)), k)
        for t in range(12) for k in range(20)
    ]  # fmt: skip
    points = pd.DataFrame(rows, columns=["t", "y", "x", "area", "cell"])
    odd = (points["cell"] == 9) & (points["t"] >= 6)
    if reason == "jump":
        points.loc[odd, "x"] += 5.0
    elif reason == "size change":
        points.loc[odd, "area"] *= 2.5
    else:
        points = points[~(odd & (points["t"] == 6))].reset_index(drop=True)
    found = track_points(points.drop(columns="cell"))
    look = uncertain_decisions(found, points, share=0.02)
    into = look[look["t_parent"] == 5].iloc[0]
    assert points["cell"].iloc[int(into["child_row"])] == 9
    assert into["reason"] == reason
    assert into["rival_row"] == -1


def test_starts_and_ends_have_probabilities(family):
    found = track_points(family.drop(columns="truth"))
    first = family["t"] == 0
    assert (found.start_probability[first] > 0.999).all()
    assert (found.start_probability[~first] < 0.5).all()
    assert (found.end_probability[family["t"] == 13] > 0.999).all()

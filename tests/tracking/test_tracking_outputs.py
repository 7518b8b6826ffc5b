"""What `marrow track` takes and writes besides CSV and masks: times, overrides, GEFF, TrackMate, record, decisions."""

import json
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from napari_marrow.cli.application import app
from napari_marrow.errors import InputFileError, PathExistsError, SettingsError, TableError
from napari_marrow.export.geff import read_geff, write_geff
from napari_marrow.export.trackmate import read_trackmate
from napari_marrow.pipeline.track_files import read_times, track_points_file
from napari_marrow.tracking import track_points, uncertain_decisions


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
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    record = json.loads((tmp_path / "tracks.tracking.json").read_text())
    assert record["settings"]["search_radius"] == 30
    assert record["settings"]["max_gap"] == 2
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
    geff = pytest.importorskip("geff")
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
    """Two cells that cross at one place: both links of that frame have two candidates."""
    rows = [(t, k * 50.0, 3.0 * t) for t in range(10) for k in range(8)]
    rows += [(t, 500.0, 2.0 * abs(t - 5)) for t in range(10)] + [(t, 500.0, -2.0 * abs(t - 5)) for t in range(10)]
    points = pd.DataFrame(rows, columns=["t", "y", "x"])
    found = track_points(points)
    look = uncertain_decisions(found, points, share=0.03)
    assert (look["y"] == 500).all()
    assert "two candidates" in set(look["reason"])
    with pytest.raises(SettingsError):
        uncertain_decisions(found, points, share=0.0)


def test_starts_and_ends_have_probabilities(family):
    found = track_points(family.drop(columns="truth"))
    first = family["t"] == 0
    assert (found.start_probability[first] > 0.999).all()
    assert (found.start_probability[~first] < 0.5).all()
    assert (found.end_probability[family["t"] == 13] > 0.999).all()

"""The step *track* on a real small study: frames that are no good, parameters of the recipe, what is written down."""

from __future__ import annotations

import html
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from napari_marrow.errors import RecipeError, SettingsError
from napari_marrow.pipeline import parse_recipe, run
from napari_marrow.pipeline.recipe_sections import TrackSection
from napari_marrow.pipeline.steps.track import tracking_settings
from napari_marrow.study import Study
from napari_marrow.tracking import TrackingSettings

POSITION = "A01_f00"


@pytest.fixture(scope="module")
def marred(blinking_frames, tmp_path_factory) -> Path:
    """Five cells that move by a pixel a frame; frame 2 repeats frame 1, frame 5 was flagged by hand."""
    still = blinking_frames[0]
    frames = [np.roll(still, t if t != 2 else 1, axis=1) for t in range(6)]
    path = tmp_path_factory.mktemp("marred") / "marred.marrow"
    study = Study.create(path)
    with study.add_session(
        POSITION, 0, channels=["nuclei"], spacing=(1.0, 1.0, 1.0), shape=(6, 1, 1, *still.shape), dtype="uint16",
        start_h=0.0, time_s=[600.0 * t for t in range(6)], flags=["", "", "", "", "", "blank"],
    ) as writer:  # fmt: skip
        for t, frame in enumerate(frames):
            writer.write(t, frame[None, None])
    return path


RECIPE = {"segment": {"diameter_um": 16.0}, "correct": {"shading": False}, "registration": {"drift": False}}


def test_frames_that_are_no_good_are_taken_as_not_recorded(marred):
    summary = run(marred, parse_recipe(RECIPE), until="track")
    study = Study.open(marred)
    nodes, edges, tracks = (study.table(name) for name in ("track_nodes", "track_edges", "tracks"))
    assert set(nodes["t"]) == {0, 1, 3, 4}
    assert nodes.groupby("track_id").size().tolist() == [4] * 5
    over = edges[(edges["t_parent"] == 1) & (edges["t_child"] == 3)]
    assert len(over) == 5
    assert set(over["kind"]) == {"gap"}
    # the session ends with its last good frame: nobody is lost there
    assert set(tracks["birth"]) == {"start"}
    assert set(tracks["fate"]) == {"end"}
    said = f"{POSITION} session 0: tracking left out frames 2 (duplicate), 5 (blank); cells are linked over the others."
    assert said in summary.notes
    assert said in run(marred, parse_recipe(RECIPE), until="track").notes  # a second run computes nothing and says it
    everything = parse_recipe({**RECIPE, "track": {"skip_flags": []}})
    run(marred, everything, until="track")
    assert set(Study.open(marred).table("track_nodes")["t"]) == set(range(6))


def test_what_was_set_and_learned_is_in_the_record_of_each_session(marred):
    section = {"max_gap": 2, "second_order": False, "features": ["area", "eccentricity"], "max_displacement_um": 9.0}
    run(marred, parse_recipe({**RECIPE, "track": section}), until="track")
    study = Study.open(marred)
    record = study.commit_record("session_tracks", study.active["track"], {"position": POSITION, "session": 0})
    learned = record["extra"]["tracking"]
    assert learned["settings"]["search_radius"] == 9.0
    assert learned["settings"]["second_order"] is False
    assert learned["settings"]["max_gap"] == 2
    assert set(learned["features"]) <= {"area", "eccentricity"}
    assert "lost_per_frame" in learned
    wrong = parse_recipe({**RECIPE, "track": {"features": ["brightness"]}})
    with pytest.raises(SettingsError, match=r"by 'brightness' \(track\.features\), which the cells of .* do not have"):
        run(marred, wrong, until="track")


def test_flags_that_are_set_later_are_heeded(marred):
    study = Study.open(marred, mode="a")
    before = run(marred, parse_recipe(RECIPE), until="track").steps[-1].key
    study.set_flags(POSITION, 0, ["blank", "", "", "", "", "blank"])
    try:
        assert run(marred, parse_recipe(RECIPE), until="track").steps[-1].key != before
        assert set(Study.open(marred).table("track_nodes")["t"]) == {1, 3, 4}
    finally:
        study.set_flags(POSITION, 0, ["", "", "", "", "", "blank"])


def test_every_setting_of_tracking_is_a_field_of_the_recipe():
    # a value of each that is not the default comes through
    other = {
        "max_gap": 5, "candidates": 9, "rounds": 2, "divisions": False, "second_order": False, "appearance": False,
        "blobs": False, "drift": False, "max_displacement_um": 12.5, "division_rate": 0.02,
    }  # fmt: skip
    settings = tracking_settings(TrackSection(**other))
    default = TrackingSettings()
    for field in fields(TrackingSettings):
        if field.name == "features":  # the step chooses the columns
            continue
        given = other["max_displacement_um" if field.name == "search_radius" else field.name]
        assert getattr(settings, field.name) == given != getattr(default, field.name)
    assert tracking_settings(TrackSection()) == default
    with pytest.raises(RecipeError, match="there is no quality flag 'blurred'"):
        parse_recipe({"track": {"skip_flags": ["blurred"]}})


def test_the_report_says_why_cells_were_not_carried_over_a_gap(whole_run):
    path, _ = whole_run
    table = Study.open(path).table("carry_over")
    assert len(table) == 2  # two organoids of two sessions
    assert not table["allowed"].any()
    page = html.unescape((path / "report" / "report.html").read_text(encoding="utf-8"))
    said = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    nearest = table.sort_values("ceiling", kind="stable").iloc[-1]["reason"]
    assert "chance of" in nearest or "no nearer than at random" in nearest
    assert "single cells were not carried" in said
    assert " ".join(nearest.split()) in said

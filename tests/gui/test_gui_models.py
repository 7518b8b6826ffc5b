"""What the window shows, without a window."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import RecipeError
from napari_marrow.gui.charts import Chart, Subset, View, as_steps, make_chart
from napari_marrow.gui.frame_features import FrameFeatures
from napari_marrow.gui.lazy_labels import TrackLookup
from napari_marrow.gui.lineage_charts import LINEAGE_CHARTS, of_one_session
from napari_marrow.gui.pace import Pace
from napari_marrow.gui.palette import channel_colour
from napari_marrow.gui.pedigree import clones, lay_out
from napari_marrow.gui.recipe_fields import form_sections
from napari_marrow.gui.sentences import sentence
from napari_marrow.gui.track_window import TrackWindow
from napari_marrow.palette import GREY, LINEAGE_COLOURS, lineage_colours
from napari_marrow.pipeline.recipe import Recipe


def test_every_recipe_parameter_has_a_field_with_its_own_editor() -> None:
    fields = {(f.section, f.name): f for section in form_sections() for f in section.fields}
    content = Recipe().model_dump()
    expected = {(s, n) for s, values in content.items() if isinstance(values, dict) for n in values} | {("", "seed")}
    assert set(fields) == expected
    for (section, name), field in fields.items():
        assert field.kind != "json", name
        assert field.description
        assert field.description in field.tooltip
        assert field.default == (content[section][name] if section else content[name])


def test_fields_carry_bounds_and_units_of_the_recipe() -> None:
    fields = {(f.section, f.name): f for section in form_sections() for f in section.fields}
    diameter = fields["segment", "diameter_um"]
    assert (diameter.unit, diameter.optional, diameter.minimum, diameter.above, diameter.maximum) == (
        "µm", True, 0, True, 500,
    )  # fmt: skip
    assert "> 0 and ≤ 500 µm" in diameter.tooltip
    assert fields["registration", "between_sessions"].choices == ("none", "translation", "rigid", "affine")


def test_pace_tells_rate_and_time_left_and_starts_again_with_each_step() -> None:
    seconds = iter([0.0, 10.0, 20.0, 21.0, 22.0])
    pace = Pace(clock=lambda: next(seconds))
    assert pace.update(0, 100, "Segmenting") == "Segmenting: 0 of 100"
    assert pace.update(5, 100, "Segmenting") == "Segmenting: 5 of 100 · 0.5/s · 3 min left"
    assert pace.update(100, 100, "Segmenting") == "Segmenting: 100 of 100"
    assert pace.update(0, 0, "Report") == "Report"
    assert pace.update(1, 0, "Report") == "Report"


def test_pace_forgets_what_is_older_than_a_minute() -> None:
    seconds = iter([0.0, 100.0, 101.0, 102.0])
    pace = Pace(clock=lambda: next(seconds))
    pace.update(0, 10, "x")
    pace.update(1, 10, "x")
    pace.update(2, 10, "x")
    assert pace.update(3, 10, "x") == "x: 3 of 10 · 1/s · 7 s left"


def test_a_window_of_tracks_holds_the_frames_around_one_and_no_mother_that_is_not_there() -> None:
    rng = np.random.default_rng(0)
    data = np.array(
        [[track, t, 0.0, track] for track in range(1, 101) for t in range((track - 1) % 10 * 10, 100)], float
    )
    graph = {track: [track - 1] for track in range(2, 101) if (track - 1) % 10}
    features = pd.DataFrame({"number": rng.random(len(data))})
    window = TrackWindow(data, features, graph, most=1000)
    assert not window.covers(50)
    shown = window.around(50)
    frames = shown["data"][:, 1]
    assert 50 - frames.min() == frames.max() - 50 == 9  # a fifth of 5500 vertices in 100 frames, half on each side
    assert len(shown["data"]) <= 1100
    expected = features["number"][np.abs(data[:, 1] - 50) <= 9].to_numpy()
    np.testing.assert_array_equal(shown["features"]["number"], expected)
    there = set(shown["data"][:, 0].astype(int))
    assert set(shown["graph"]) == {k for k, (mother,) in graph.items() if k in there and mother in there}
    assert window.covers(54)
    assert not window.covers(55)


@pytest.fixture
def emergence() -> pd.DataFrame:
    rows = [
        (condition, organoid, lineage, time, value, value / 2, value * 2, 10)
        for condition in ("TPO", "control", "all")
        for organoid in ("all", "o1")
        for lineage in ("erythroid", "mast")
        for time, value in ((0.0, 0.0), (5.0, 0.2))
    ]
    return pd.DataFrame(
        rows,
        columns=["condition", "organoid", "lineage", "time_h", "cumulative_incidence", "low", "high", "at_risk"],
    )


def emergence_chart(table: pd.DataFrame, subset: Subset) -> Chart:
    return make_chart(LINEAGE_CHARTS[0], {"emergence": table}, View(subset))


def test_emergence_has_a_curve_per_condition_and_lineage_and_none_of_single_organoids(emergence: pd.DataFrame) -> None:
    chart = emergence_chart(emergence, Subset())
    curves = chart.series
    assert [c.name for c in curves] == ["erythroid, control", "mast, control", "erythroid, TPO", "mast, TPO"]
    assert all(list(c.y) == [0.0, 0.2] and c.has_band for c in curves)
    assert curves[0].colour == LINEAGE_COLOURS["erythroid"] != curves[1].colour
    assert curves[0].dash != curves[2].dash
    assert set(chart.numbers["organoid"]) == {"all"}
    one = emergence_chart(emergence, Subset("TPO", "o1"))
    assert [c.name for c in one.series] == ["erythroid, TPO", "mast, TPO"]
    assert one.series[0].dash == curves[2].dash
    assert set(one.numbers["organoid"]) == {"o1"}


def test_a_condition_without_an_estimate_has_no_curve(emergence: pd.DataFrame) -> None:
    emergence.loc[emergence["condition"] == "TPO", ["cumulative_incidence", "low", "high"]] = np.nan
    assert set(emergence_chart(emergence, Subset()).numbers["condition"]) == {"control"}
    assert emergence_chart(emergence.iloc[:0], Subset()).empty


def test_emergence_is_that_of_the_session_on_display(emergence: pd.DataFrame) -> None:
    assert of_one_session(emergence, View(Subset(), session=4)) is emergence
    both = pd.concat([emergence.assign(session=2), emergence.assign(session=5)])
    assert set(of_one_session(both, View(Subset(), session=5))["session"]) == {5}
    assert set(of_one_session(both, View(Subset(), session=1))["session"]) == {2}
    assert set(of_one_session(both, View(Subset(session=5), session=2))["session"]) == {5}
    assert emergence_chart(both, Subset(session=3)).empty


def test_steps_hold_their_value_until_the_next_time() -> None:
    time, value = as_steps(np.array([0.0, 2.0, 3.0]), np.array([0.0, 0.5, 1.0]))
    assert list(time) == [0, 2, 2, 3, 3]
    assert list(value) == [0, 0, 0.5, 0.5, 1]


@pytest.fixture
def tracks() -> pd.DataFrame:
    """Clone 1 divides into 2 and 3, 2 into 4 and 5; clone 6 does not divide."""
    rows = [
        (1, 0, 1, 0.0, 10.0, "division"),
        (2, 1, 1, 10.0, 20.0, "division"),
        (3, 1, 1, 10.0, 30.0, "end"),
        (4, 2, 1, 20.0, 30.0, "end"),
        (5, 2, 1, 20.0, 25.0, "death"),
        (6, 0, 6, 0.0, 30.0, "end"),
    ]
    return pd.DataFrame(rows, columns=["track_id", "parent_track_id", "founder_track_id", "start_h", "end_h", "fate"])


def test_clones_with_most_divisions_come_first(tracks: pd.DataFrame) -> None:
    assert [(c.founder, c.n_cells, c.n_divisions) for c in clones(tracks)] == [(1, 5, 2), (6, 1, 0)]


def test_pedigree_puts_mothers_between_their_daughters_and_crosses_no_lines(tracks: pd.DataFrame) -> None:
    branches = {b.track_id: b for b in lay_out(tracks, None, [1, 6])}
    y = {track: b.y for track, b in branches.items()}
    assert y == {4: 0.0, 5: -1.0, 3: -2.0, 2: -0.5, 1: -1.25, 6: -4.0}
    assert (branches[4].mother_y, branches[4].mother_end_h) == (y[2], 20.0)
    assert np.isnan(branches[1].mother_y)
    assert {b.colour for b in branches.values()} == {GREY}


def test_daughters_inherit_the_lineage_that_came_on_in_their_mother(tracks: pd.DataFrame) -> None:
    onsets = pd.DataFrame(
        {
            "track_id": [2, 3],
            "lineage": ["erythroid", ""],
            "event": ["onset", "end"],
            "left_h": [11.0, 30.0],
            "right_h": [12.0, np.inf],
        }
    )
    branches = {b.track_id: b for b in lay_out(tracks, onsets, [1])}
    assert (branches[2].colour, branches[2].onset_h) == (LINEAGE_COLOURS["erythroid"], 12.0)
    assert (branches[4].colour, branches[4].onset_h) == (LINEAGE_COLOURS["erythroid"], -np.inf)
    assert (branches[3].colour, branches[3].onset_h) == (GREY, np.inf)


def test_a_deep_pedigree_does_not_exhaust_the_stack() -> None:
    n = 5000
    deep = pd.DataFrame(
        {
            "track_id": np.arange(1, n + 1),
            "parent_track_id": np.arange(n),
            "founder_track_id": 1,
            "start_h": np.arange(n, dtype=float),
            "end_h": np.arange(1, n + 1, dtype=float),
            "fate": "division",
        }
    )
    assert len(lay_out(deep, None, [1])) == n


def test_features_are_those_of_the_frame_and_are_found_under_the_track() -> None:
    cells = pd.DataFrame({"t": [0, 0, 1, 1], "label": [1, 2, 1, 2], "area": [10.0, 20.0, 11.0, 21.0]})
    nodes = pd.DataFrame(
        {"t": [0, 0, 1], "label": [1, 2, 1], "track_id": [7, 8, 8], "link_probability": [np.nan, np.nan, 0.9]}
    )
    features = FrameFeatures(cells, 2, nodes)
    assert dict(zip(features.at(0)["index"], features.at(0)["area"], strict=True)) == {7: 10.0, 8: 20.0}
    assert dict(zip(features.at(1)["index"], features.at(1)["area"], strict=True)) == {8: 11.0, 8 + 2: 21.0}
    assert features.at(2).empty
    assert list(features.at(2).columns) == list(features.at(0).columns)
    assert list(FrameFeatures(cells, 2).at(1)["index"]) == [1, 2]


def test_labels_without_a_track_keep_apart_from_every_track() -> None:
    nodes = pd.DataFrame({"t": [0, 0, 1], "label": [1, 3, 1], "track_id": [7, 8, 8]})
    lookup = TrackLookup(nodes, 3)
    assert list(lookup.apply(0, np.array([0, 1, 2, 3, 9], np.int32))) == [0, 7, 8 + 2, 8, 8 + 9]
    assert list(lookup.apply(2, np.array([0, 1], np.int32))) == [0, 8 + 1]


def test_channels_and_lineages_have_colours_of_their_own() -> None:
    assert channel_colour("CD31", 0) != channel_colour("CD41", 0)
    assert channel_colour("unknown", 0) != channel_colour("unknown", 1)
    colours = lineage_colours(["erythroid", "mast", "basophil"])
    assert len(set(colours.values())) == 3


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RecipeError("The recipe 'x' does not fit."), "The recipe 'x' does not fit."),
        (OSError(28, "No space left"), "The disk is full"),
        (PermissionError(13, "Permission denied", "/x"), "No permission to use '/x'"),
        (KeyError("a"), "KeyError"),
    ],
)
def test_errors_are_told_in_one_sentence(error: BaseException, said: str) -> None:
    assert said in sentence(error)
    assert "\n" not in sentence(error)

"""Figures take tables and show all of them."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from napari_marrow.report import figures  # noqa: F401 - the package imports without matplotlib
from napari_marrow.report.figures import comparisons, emergence, growth, pedigrees, vessels
from napari_marrow.report.style import (
    LINEAGE_COLORS,
    condition_colors,
    condition_order,
    drawing,
    evenly,
    lineage_colors,
    nice_length,
    to_svg,
)
from napari_marrow.report.wording import joined, number, p_words, percent, plural


def luminance(color):
    """Relative luminance as WCAG 2 defines it."""
    value = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(value <= 0.03928, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_page_text_has_enough_contrast():
    """WCAG AA: 4.5 for text on its background."""
    for ink, ground in (("#1a1a1a", "#ffffff"), ("#595959", "#ffffff"), ("#595959", "#f4f7f9"), ("#00588a", "#ffffff")):
        light, dark = sorted((luminance(ink), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_a_colour_means_one_thing():
    conditions = condition_colors(["drug", "control", "other", "fourth"])
    assert not set(conditions.values()) & set(LINEAGE_COLORS.values())
    assert lineage_colors(["erythroid", "mast", "death"])["erythroid"] == LINEAGE_COLORS["erythroid"]
    assert len(set(lineage_colors(["erythroid", "mast", "basophil", "death"]).values())) == 4


def test_controls_come_first():
    assert condition_order(["drug", "DMSO vehicle", "drug", "high"]) == ["DMSO vehicle", "drug", "high"]


@pytest.mark.parametrize(("extent", "length"), [(400, 100), (95, 20), (1000, 200), (3.1, 1), (0.7, 0.2)])
def test_scale_bars_have_round_lengths_below_a_third(extent, length):
    assert nice_length(extent) == pytest.approx(length)


def test_a_choice_of_fields_spans_all_of_them():
    assert evenly(list("abcdefghij"), 4) == ["a", "d", "g", "j"]
    assert evenly(list("abc"), 4) == ["a", "b", "c"]


def clone():
    """One founder, two daughters; the first daughter divides again. The marker comes on in the second daughter."""
    rows = [
        (1, 0, 0, 0.0, 20.0, "division"),
        (2, 1, 1, 20.0, 40.0, "division"),
        (3, 1, 1, 20.0, 60.0, "end"),
        (4, 2, 2, 40.0, 50.0, "death"),
        (5, 2, 2, 40.0, 60.0, "end"),
    ]
    names = ["track_id", "parent_track_id", "generation", "start_h", "end_h", "fate"]
    return pd.DataFrame(rows, columns=names).assign(position="A01_f00", session=1, founder_track_id=1)


def onset(track=3):
    return pd.DataFrame(
        {
            "position": ["A01_f00"], "track_id": [track], "lineage": ["erythroid"], "event": ["onset"],
            "left_h": [25.0], "right_h": [30.0],
        }
    )  # fmt: skip


def test_a_pedigree_is_laid_out_leaf_below_leaf():
    forest = pedigrees._forest(clone(), onset(), {"erythroid": "#D55E00"}, [("A01_f00", 1)])
    assert forest.trees == 1
    assert sorted(y for _, y, _ in forest.ends) == [0.0, 1.0, 2.0]
    assert {f for *_, f in forest.ends} == {"end", "death"}
    assert sorted((x, low, high) for x, low, high, _ in forest.joints) == [(20.0, 0.5, 2.0), (40.0, 0.0, 1.0)]
    colored = sorted((a, b) for a, b, _, color in forest.intervals if color.startswith("#D55E00"))
    assert colored == [(25.0, 30.0), (30.0, 60.0)]


def test_offspring_keep_the_colour_of_their_mother():
    tracks = clone()
    early = onset(track=1).assign(left_h=5.0, right_h=10.0)
    forest = pedigrees._forest(tracks, early, {"erythroid": "#D55E00"}, [("A01_f00", 1)])
    gray = [(a, b) for a, b, _, color in forest.intervals if color == "#8C8C8C"]
    assert gray == [(0.0, 5.0)]


def test_a_cell_that_was_positive_from_the_start_has_its_colour_from_the_start():
    first = onset(track=1).assign(event="prevalent", left_h=np.nan, right_h=0.0)
    forest = pedigrees._forest(clone(), first, {"erythroid": "#D55E00"}, [("A01_f00", 1)])
    drawn = [(a, b, color) for a, b, _, color in forest.intervals if b > a]
    assert {color for *_, color in drawn} == {"#D55E00"}


def test_only_clones_that_divided_are_chosen_largest_first():
    big = clone()
    small = clone().query("track_id <= 3").assign(fate=["division", "end", "end"], position="A02_f00")
    single = clone().query("track_id == 1").assign(fate="end", position="A03_f00")
    tracks = pd.concat([small, single, big], ignore_index=True)
    assert pedigrees.choose_clones(tracks) == [("A01_f00", 1), ("A02_f00", 1)]
    assert pedigrees.choose_clones(tracks, leaves=3) == [("A01_f00", 1)]
    assert pedigrees.choose_clones(tracks, leaves=1) == [("A01_f00", 1)]


def test_the_numbers_at_risk_are_those_just_before_the_tick():
    table = pd.DataFrame(
        {
            "condition": "control", "organoid": "all", "lineage": "erythroid", "time_h": [0.0, 5.0, 24.0, 30.0],
            "cumulative_incidence": [0, 0.1, 0.2, 0.3], "low": np.nan, "high": np.nan, "at_risk": [91, 77, 53, 31],
        }
    )  # fmt: skip
    with drawing():
        svg = to_svg(emergence.emergence_curves(table))
    drawn = re.findall(r">(\d+)</text>", svg)
    assert {"91", "53"} <= set(drawn)


def test_every_colony_and_organoid_is_drawn(full_study):
    colonies, rates, layout = full_study.table("colonies"), full_study.table("colony_growth"), full_study.layout
    with drawing():
        svg = to_svg(growth.colony_growth(colonies, rates, layout))
    assert svg.count("3 organoids, 24 colonies") == 2
    for organoid in layout["organoid"]:
        assert f">{organoid}</text>" in svg


def test_only_the_last_frame_of_vessels_is_mapped():
    points = pd.DataFrame(
        {
            "position": ["a"] * 4 + ["b"] * 2, "session": [1, 1, 2, 2, 1, 1], "t": [9, 9, 0, 0, 3, 3], "branch": 1,
            "y": 1.0, "x": 1.0, "radius": 5.0, "structure": ["vessel"] * 3 + ["bone"] + ["vessel"] * 2,
        }
    )  # fmt: skip
    last = vessels.last_frames(points)
    assert list(last.index) == [2, 4, 5]


def test_points_of_equal_height_are_set_apart():
    offsets = comparisons.spread(np.array([1.0, 1.0, 1.0, 5.0]))
    assert len(set(offsets[:3])) == 3
    assert offsets[3] == 0


def test_numbers_are_written_for_readers():
    assert number(12345.678) == "12\u202f346"
    assert number(0.012345) == "0.0123"
    assert number(-3.14159) == "−3.14"
    assert number(float("nan")) == "n/a"
    assert number(float("inf")) == "∞"
    assert number(0) == "0"
    assert percent(0.123).replace("\xa0", " ") == "12 %"
    assert percent(0.0123).replace("\xa0", " ") == "1.2 %"
    assert plural(1, "colony", "colonies") == "1 colony"
    assert plural(2000, "colony", "colonies") == "2\u202f000 colonies"
    assert joined(["a", "b", "c"]) == "a, b and c"
    assert [p_words(p).replace("\xa0", " ") for p in (0.5, 0.03, 0.004, 1e-9, 1.0, float("nan"))] == [
        "p = .50", "p = .030", "p = .0040", "p < .001", "p = 1", "p not available",
    ]  # fmt: skip

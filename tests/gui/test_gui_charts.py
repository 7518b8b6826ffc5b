"""Charts of the Lineage and Niche docks: their numbers against hand-made tables, and the files they are exported to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.gui.chart_export import export_chart
from napari_marrow.gui.charts import Chart, ChartKind, Subset, View, make_chart, risk_counts, tick_times
from napari_marrow.gui.lineage_charts import LINEAGE_CHARTS
from napari_marrow.gui.niche_charts import NICHE_CHARTS
from napari_marrow.palette import LINEAGE_COLOURS, condition_colours

KINDS = {kind.name: kind for kind in (*LINEAGE_CHARTS, *NICHE_CHARTS)}
LAYOUT = pd.DataFrame(
    {
        "position": ["p1", "p2", "p3", "p4"],
        "organoid": ["o1", "o2", "o3", "o4"],
        "condition": ["control", "control", "TPO", "TPO"],
    }
)


def draw(name: str, tables: dict[str, pd.DataFrame], subset: Subset | None = None, **view: object) -> Chart:
    return make_chart(KINDS[name], {"layout": LAYOUT, **tables}, View(subset or Subset(), **view))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_chart_without_results_says_what_to_do(kind: ChartKind) -> None:
    chart = make_chart(kind, {"layout": LAYOUT}, View(Subset()))
    assert chart.empty
    assert chart.note.startswith("Run the recipe")


def test_clone_sizes_weigh_organoids_not_clones() -> None:
    # o1: 3 clones of 1 cell; o2: one clone of 2 cells. Pooled, a quarter has 2 cells; over organoids, half.
    clones = pd.DataFrame(
        {"position": ["p1"] * 3 + ["p2"], "session": 1, "n_end": [1, 1, 1, 2], "n_escaped": [0, 1, 0, 0],
         "founder_track_id": [1, 2, 3, 4]}
    )  # fmt: skip
    chart = draw("Clone sizes", {"clones": clones})
    mean = chart.series[-1]
    assert list(mean.x) == [0, 1, 2, 3]
    assert list(mean.y) == [1.0, 1.0, 0.5, 0.0]
    assert mean.name == "control (4 clones, 2 organoids)"
    assert "1 of 4 clones" in chart.note
    one = draw("Clone sizes", {"clones": clones}, Subset(organoid="o1"))
    assert list(one.series[-1].y) == [1.0, 1.0, 0.0]
    assert set(one.numbers["organoid"]) == {"o1"}


def test_blood_output_has_a_t_interval_over_organoids() -> None:
    found = (("o1", 1, 10.0), ("o2", 1, 14.0), ("o1", 2, 20.0), ("o2", 2, 20.0))
    rows = [(o, "control", s, 24.0 * s, "erythroid", "held", n) for o, s, n in found]
    table = pd.DataFrame(rows, columns=["organoid", "condition", "session", "time_h", "lineage", "source", "n_cells"])
    chart = draw("Blood output", {"blood_output": table}, option="erythroid")
    mean = chart.series[-1]
    assert list(mean.y) == [12.0, 20.0]
    assert list(mean.x) == [1.0, 2.0]
    # two values 2 apart from each other's mean: half width 12.706 * sqrt(8) / sqrt(2)
    assert mean.low is not None
    assert mean.low[0] == pytest.approx(12 - 12.7062 * 2, abs=1e-3)
    assert sum(s.faint for s in chart.series) == 2
    all_of_them = draw("Blood output", {"blood_output": table}, option="all lineages")
    assert all_of_them.series[-1].colour == LINEAGE_COLOURS["erythroid"]


def test_a_line_of_growth_stands_for_its_colony_and_the_last_frame_counts() -> None:
    table = pd.DataFrame(
        {"position": "p3", "session": [1, 1, 2], "t": [0, 1, 0], "time_h": [0.0, 24.0, 48.0], "colony_id": 7,
         "n_cells": [1, 2, 8], "area": 1.0}
    )  # fmt: skip
    chart = draw("Colony growth", {"colonies": table})
    (line,) = chart.series
    assert (list(line.x), list(line.y)) == ([1.0, 2.0], [2.0, 8.0])
    assert line.pick is not None
    assert (line.pick.position, line.pick.colony) == ("p3", 7)
    assert line.colour == condition_colours(["control", "TPO"])["TPO"]
    assert draw("Colony growth", {"colonies": table}, Subset("control")).empty


def niche_curves() -> pd.DataFrame:
    parts = [
        pd.DataFrame({"position": p, "session": s, "t": 0, "time_h": 24.0 * s, "curve": curve, "subject": subject,
                      "r": [0.0, 10.0, 20.0], "observed": [0.0, 0.5 * s, 1.0], "null_mean": 0.4,
                      "low": 0.2, "high": 0.6})
        for p in ("p1", "p3") for s in (1, 2)
        for curve, subject in (("distance_cdf_vessel", "all"), ("cross_g_all_all", "all-all"))
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_distances_are_those_of_each_fields_last_session_over_its_own_null() -> None:
    tables = {"niche_curves": niche_curves()}
    chart = draw("Distances", tables)
    bands, lines = chart.series[:2], chart.series[2:]
    assert all(b.has_band and list(b.y) == [0.4] * 3 for b in bands)
    assert [list(line.y) for line in lines] == [[0.0, 1.0, 1.0]] * 2
    assert set(chart.numbers["session"]) == {2}
    first = draw("Distances", tables, Subset("TPO", session=1))
    assert [list(line.y) for line in first.series[1:]] == [[0.0, 0.5, 1.0]]
    assert draw("Pair correlation g(r)", tables).numbers["curve"].unique().tolist() == ["cross_g_all_all"]


def test_compartments_and_trends_tell_the_mean_of_the_organoids() -> None:
    use = ("compartment_use_vessel", "all")
    found = (("o1", 1, *use, 0.9), ("o1", 2, *use, 0.2), ("o2", 2, *use, 0.4),
             ("o1", 2, "compartment_fraction_vessel", "tissue", 0.1))  # fmt: skip
    rows = [("control", o, s, m, subject, 24.0 * s, v) for o, s, m, subject, v in found]
    table = pd.DataFrame(rows, columns=["condition", "organoid", "session", "metric", "subject", "time_h", "value"])
    tables = {"niche_by_organoid": table.assign(unit="")}
    chart = draw("Compartments", tables, option="vessel")
    assert [name for _, name in chart.x_ticks] == ["tissue", "all"]
    assert list(chart.series[0].y) == pytest.approx([0.1, 0.3])
    over_time = draw("Trends over weeks", tables, option="compartment use vessel, all")
    assert list(over_time.series[-1].y) == pytest.approx([0.9, 0.3])


def test_the_vessel_map_is_that_of_the_field_on_display() -> None:
    vessels = pd.concat(
        [
            pd.DataFrame({"structure": "vessel", "branch": 0, "vertex": range(4), "z": 0.0, "y": [0.0, 1, 2, 3],
                          "x": 5.0 * k, "radius": [1.0, 2, 3, 4], "position": p, "session": 1, "t": 0, "time_h": 0.0})
            for k, p in enumerate(("p1", "p3"))
        ]
    )  # fmt: skip
    cells = pd.DataFrame({"position": "p3", "session": 1, "t": 0, "label": [1, 2], "y": [1.0, 2.0], "x": [9.0, 90.0]})
    near = cells[["position", "session", "t", "label"]].assign(distance_vessel=[4.0, 85.0])
    chart = draw("Vessel map", {"vessels": vessels, "cells": cells, "niche_cells": near}, position="p3", session=1)
    pieces = [s for s in chart.series if s.kind == "pieces"]
    assert sum(len(s.x) for s in pieces) == 2 * 3
    assert {float(x) for s in pieces for x in s.x} == {5.0}
    points = {s.name: list(s.x) for s in chart.series if s.kind == "points"}
    assert points == {"cells within 0 to 20 µm": [9.0], "cells within 50 to 100 µm": [90.0]}


def test_numbers_at_risk_are_those_just_before_a_time() -> None:
    chart = Chart("", "", "", at_risk={"control": (np.array([0.0, 2.0, 5.0]), np.array([9, 7, 3]))})
    assert risk_counts(chart, [0.0, 1.0, 2.0, 4.0, 6.0]) == {"control": [9, 7, 7, 3, 0]}
    assert tick_times(100.0) == [0.0, 24.0, 48.0, 72.0, 96.0]


@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png"])
def test_a_figure_carries_study_and_recipe_and_its_numbers_lie_beside_it(tmp_path: Path, suffix: str) -> None:
    chart = draw("Distances", {"niche_curves": niche_curves()})
    numbers = export_chart(chart, tmp_path / f"figure{suffix}", study="tiny", recipe="abc123")
    assert b"recipe abc123" in (tmp_path / f"figure{suffix}").read_bytes()
    table = pd.read_csv(numbers)
    assert set(table["recipe"]) == {"abc123"}
    pd.testing.assert_frame_equal(table[list(chart.numbers.columns)], chart.numbers, check_dtype=False)


def test_what_cannot_be_exported_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nothing to export"):
        export_chart(Chart("", "", ""), tmp_path / "figure.pdf", study="", recipe="")
    with pytest.raises(SettingsError, match=r"figure\.docx"):
        export_chart(draw("Distances", {"niche_curves": niche_curves()}), tmp_path / "figure.docx", study="", recipe="")
    assert not list(tmp_path.iterdir())

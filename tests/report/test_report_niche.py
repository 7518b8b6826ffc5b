"""The report's section on the niche shows everything that the steps of the niche computed."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from napari_marrow.report import write_report
from napari_marrow.report.figures.niche_trends import niche_trends, pick_trends, remodelling_by_organoid
from napari_marrow.report.style import drawing, to_svg

ORGANOIDS = {"O1": ("B02_f00", "control"), "O4": ("C02_f00", "ruxolitinib")}


def by_organoid():
    """Two organoids at two sessions: length density rises by 7 and 14 per week, cells use the vessels' surroundings."""
    rows = []
    for k, (organoid, (_, condition)) in enumerate(ORGANOIDS.items()):
        for session, time in ((1, 0.0), (2, 168.0)):
            for metric, subject, value, unit in (
                ("vessel_length_density", "tissue", 10.0 + 7 * (k + 1) * (session - 1), "mm/mm²"),
                ("proximity_effect_vessel", "erythroid", 0.1 * session, ""),
                ("compartment_fraction_vessel", "tissue", 0.2, ""), ("compartment_use_vessel", "all", 0.5, ""),
            ):  # fmt: skip
                rows.append(
                    {
                        "condition": condition, "organoid": organoid, "session": session, "metric": metric,
                        "subject": subject, "time_h": time, "value": value, "null_mean": 0.0, "low": np.nan,
                        "high": np.nan, "unit": unit, "n_frames": 1, "note": "",
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def changes():
    rows = [
        {
            "position": position, "organoid": organoid, "condition": condition, "session_parent": 1, "session_child": 2,
            "gap_h": 168.0, "before_um": 100.0, "after_um": 100.0, "stable_um": 80.0, "lost_um": 20.0,
            "gained_um": 20.0, "lost_share": share, "gained_share": share, "note": note,
        }
        for (organoid, (position, condition)), share, note in zip(
            ORGANOIDS.items(), (0.2, np.nan), ("", "session 2 could not be registered"), strict=True
        )
    ]  # fmt: skip
    return pd.DataFrame(rows)


def tables(full_study):
    where = {"position": "B02_f00", "session": 1, "t": 0, "time_h": 0.0}
    r = np.arange(1.0, 31.0)
    flat = {"null_mean": 1.0, "low": 0.8, "high": 1.2}
    curves = [
        pd.DataFrame(where | {"curve": "cross_g_all_all", "subject": "all-all", "r": r, "observed": 1.3} | flat),
        pd.DataFrame(where | {"curve": "distance_cdf_scaffold", "subject": "all", "r": r, "observed": r / 60} | flat),
    ]
    walk = {"z": np.linspace(0, 20, 11), "y": np.linspace(50, 90, 11), "x": np.linspace(50, 60, 11)}
    vessels = pd.DataFrame(where | {"structure": "vessel", "branch": 1, "radius": 6.0} | walk)
    cells = full_study.table("cells")
    cells = cells[(cells["position"] == "B02_f00") & (cells["session"] == 1) & (cells["t"] == 0)]
    around = cells[["position", "session", "t", "label"]].assign(distance_vessel=5.0)
    trends = pd.DataFrame(
        {
            "condition": ["control", "ruxolitinib"], "metric": "vessel_length_density", "subject": "tissue",
            "n_units": 1, "slope": [7.0, 14.0], "low": np.nan, "high": np.nan, "note": "",
        }
    )  # fmt: skip
    return {
        "niche_curves": pd.concat(curves, ignore_index=True), "vessels": vessels, "cells": cells,
        "cell_surroundings": around, "niche_by_organoid": by_organoid(), "niche_trends": trends,
        "vessel_changes": changes(),
    }  # fmt: skip


def test_every_niche_figure_is_drawn_with_its_numbers(make_study, full_study):
    page = write_report(make_study({1: 1, 2: 1}, tables(full_study)))
    wanted = {
        "vessel_map", "vessels_in_space", "distance_to_scaffold", "pair_correlation", "compartments", "niche_trends",
        "vessel_remodelling",
    }  # fmt: skip
    assert wanted <= {p.stem for p in page.parent.glob("figures/*.svg")}
    for name in wanted:
        assert len(pd.read_csv(page.parent / "figures" / f"{name}.csv"))
    assert {"niche_by_organoid", "niche_trends", "vessel_changes"} <= {p.stem for p in page.parent.glob("tables/*.csv")}
    trends = (page.parent / "figures" / "niche_trends.svg").read_text(encoding="utf-8")
    assert "control: n = 1 organoid<" in trends
    assert "14 per week, n = 1" in trends.replace("14.0", "14")
    text = re.sub(r"<svg.*?</svg>", "", page.read_text(encoding="utf-8"), flags=re.S)
    assert "1 pair of sessions could not be compared; the table says why." in text


def test_an_organoid_without_a_comparison_has_no_share():
    found = remodelling_by_organoid(changes())
    assert list(found["organoid"]) == ["O1"]
    assert found["lost_share"].iloc[0] == pytest.approx(0.2)


def tables_without_trends():
    return pd.DataFrame(columns=["condition", "metric", "subject", "n_units", "slope", "low", "high"])


def test_trends_need_two_sessions():
    one = by_organoid()
    assert pick_trends(one[one["session"] == 1]).empty
    assert pick_trends(one.assign(value=np.nan)).empty
    chosen = pick_trends(one)
    assert set(chosen["metric"]) == {"vessel_length_density", "proximity_effect_vessel"}
    with drawing():
        assert "mm/mm²" in to_svg(niche_trends(chosen, tables_without_trends()))

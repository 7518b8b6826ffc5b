"""Curves over several sessions, and markers that are looked at more rarely than nuclei are followed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.lineage import OnsetSettings, emergence, marker_onsets
from napari_marrow.schemas import ONSETS

MARKERS = {"erythroid": "CD235a", "megakaryocytic": "CD41"}


def onsets_of(rows: list[tuple]) -> pd.DataFrame:
    names = ["session", "track_id", "lineage", "event", "entry_h", "left_h", "right_h"]
    table = pd.DataFrame(rows, columns=names).assign(position="A01_f00", generation=0)
    return ONSETS.conform(table.assign(founder_track_id=table["track_id"]))


def two_sessions(rate: float, n: int = 4000, seed: int = 0) -> pd.DataFrame:
    """Cells at risk from 0 to 20 h and, newly found, from 60 to 80 h; onsets at a constant rate, seen exactly."""
    rng = np.random.default_rng(seed)
    parts = []
    for session, start in ((1, 0.0), (2, 60.0)):
        time = start + rng.exponential(1 / rate, n)
        on = time <= start + 20
        parts.append(
            pd.DataFrame(
                {
                    "position": "A01_f00", "session": session, "track_id": np.arange(1, n + 1), "generation": 0,
                    "founder_track_id": np.arange(1, n + 1), "lineage": np.where(on, "erythroid", ""),
                    "event": np.where(on, "onset", "end"), "entry_h": start,
                    "left_h": np.where(on, time, start + 20), "right_h": np.where(on, time, np.inf),
                }
            )
        )  # fmt: skip
    return ONSETS.conform(pd.concat(parts, ignore_index=True))


def test_a_constant_hazard_goes_on_over_a_gap_in_which_nobody_looked():
    curve = emergence(two_sessions(0.02), None, session="bridged", times_h=[10, 20, 40, 60, 80], bootstrap=50)
    mine = curve[(curve["organoid"] == "A01_f00") & (curve["lineage"] == "erythroid")]
    expected = -np.expm1(-0.02 * mine["time_h"])
    np.testing.assert_allclose(mine["cumulative_incidence"], expected, atol=0.015)
    assert (mine["low"] <= expected).all()
    assert (expected <= mine["high"]).all()
    assert mine["note"].str.startswith("between two sessions").tolist() == [False, False, True, False, False]
    assert (curve["session"] == 0).all()
    # One session knows nothing of the other, and ends where it ends.
    alone = emergence(two_sessions(0.02), None, session=1, times_h=[10, 40], bootstrap=0)
    assert alone["cumulative_incidence"].isna().sum() == 4


def test_hazards_in_a_gap_lie_on_the_line_between_the_sessions():
    """Two of four cells in the first ten hours, one of four in ten hours after a gap of ten hours, by hand."""
    rows = [(1, i, "erythroid" if i < 3 else "", "onset" if i < 3 else "end", 0.0, 10.0, 10.0 if i < 3 else np.inf)
            for i in range(1, 5)]  # fmt: skip
    rows += [(2, i, "erythroid" if i < 2 else "", "onset" if i < 2 else "end", 20.0, 30.0, 30.0 if i < 2 else np.inf)
             for i in range(1, 5)]  # fmt: skip
    curve = emergence(onsets_of(rows), None, session="bridged", times_h=[9, 10, 20, 30], bootstrap=0)
    value = curve[(curve["organoid"] == "all") & (curve["lineage"] == "erythroid")]["cumulative_incidence"].to_numpy()
    # rates 2/40 and 1/40 per hour at 5 and 25 h: the mean over the gap is that at 15 h, 1.5/40
    gap = 0.5 * np.exp(-10 * 1.5 / 40)
    np.testing.assert_allclose(value, [0, 0.5, 1 - gap, 1 - gap * 0.75], atol=1e-12)


def test_estimators_of_one_session_do_not_bridge():
    with pytest.raises(SettingsError, match="one session"):
        emergence(two_sessions(0.02, 5), None, session="bridged", method="turnbull")


def test_the_estimator_is_chosen_by_how_far_apart_the_looks_are(simulate_clones):
    tracks, nodes = simulate_clones(150, until=72.0, dt=1.0, hazards={"erythroid": 0.02, "megakaryocytic": 0.01})
    for every, expected in ((1, "midpoint"), (24, "piecewise")):
        shown = nodes.copy()
        shown.loc[shown["t"] % every != 0, ["intensity_CD235a", "intensity_CD41"]] = np.nan
        settings = OnsetSettings(thresholds=dict.fromkeys(MARKERS.values(), 80.0), consecutive=1)
        onsets = marker_onsets(tracks, shown, markers=MARKERS, settings=settings)[0]
        curve = emergence(onsets, None, times_h=[48.0], bootstrap=20)
        assert (curve["method"] == expected).all()
        assert curve.loc[curve["organoid"] != "all", ["low", "high"]].notna().all(axis=None)


def test_deaths_between_looks_are_neither_lost_nor_taken_for_negative_cells(simulate_clones):
    """Markers every 24 h, nuclei every hour, cells dying at .01 per hour: all incidences meet the closed form.

    With deaths taken for negative cells that of death is .08 too low.
    """
    tables = []
    for i in range(4):
        tracks, nodes = simulate_clones(
            500, until=72.0, dt=1.0, death=0.01, hazards={"erythroid": 0.02, "megakaryocytic": 0.01}, seed=20 + i,
            position=f"B{i + 2:02d}_f00",
        )  # fmt: skip
        nodes = nodes[nodes["t"] % 24 == 0]
        settings = OnsetSettings(thresholds=dict.fromkeys(MARKERS.values(), 80.0), consecutive=1)
        tables.append(marker_onsets(tracks, nodes, markers=MARKERS, settings=settings)[0])
    curve = emergence(pd.concat(tables), None, times_h=[72.0], bootstrap=0)
    value = curve[curve["organoid"] == "all"].set_index("lineage")["cumulative_incidence"]
    for name, rate in (("erythroid", 0.02), ("megakaryocytic", 0.01), ("death", 0.01)):
        assert value[name] == pytest.approx(rate / 0.04 * -np.expm1(-0.04 * 72), abs=0.035)


def test_a_lineage_that_nobody_entered_has_an_upper_limit():
    rows = [(1, i, "", "end", 0.0, 10.0, np.inf) for i in range(1, 41)]
    organoids = [onsets_of(rows).assign(position=f"A0{k}_f00") for k in (1, 2, 3)]
    curve = emergence(pd.concat(organoids), None, lineages=["erythroid"], times_h=[0, 10], bootstrap=50)
    mine = curve[curve["lineage"] == "erythroid"].set_index(["organoid", "time_h"])
    assert mine["cumulative_incidence"].eq(0).all()
    assert mine["low"].eq(0).all()
    # 40 clones at risk in one organoid, 120 in three: exact limit, and a little more as organoids may differ
    assert mine.loc[("A01_f00", 10), "high"] == pytest.approx(1 - 0.025 ** (1 / 40))
    assert 1 - 0.025 ** (1 / 120) < mine.loc[("all", 10), "high"] < 0.04

"""Rates out of the negative state against trees that were simulated with known ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_marrow.lineage import OnsetSettings, emergence, marker_onsets, transition_rates
from napari_marrow.schemas import ONSETS

MARKERS = {"erythroid": "CD235a", "megakaryocytic": "CD41"}
TRUE = {"erythroid": 0.02, "megakaryocytic": 0.01, "death": 0.005}


def onsets_of(tracks: pd.DataFrame, nodes: pd.DataFrame, consecutive: int) -> pd.DataFrame:
    settings = OnsetSettings(thresholds=dict.fromkeys(MARKERS.values(), 50.0), consecutive=consecutive)
    return marker_onsets(tracks, nodes, markers=MARKERS, settings=settings)[0]


@pytest.mark.parametrize("look_h", [0.5, 1.0, 2.0])
def test_rates_are_those_of_the_simulated_trees_however_onsets_are_confirmed(simulate_clones, look_h):
    tracks, nodes = simulate_clones(900, dt=look_h, loss=0.01, seed=4)
    found = {k: transition_rates(onsets_of(tracks, nodes, k)).set_index("to") for k in (1, 2, 3)}
    for name, true in TRUE.items():
        for table in found.values():
            # Poisson error; the cells of a clone that came on before it divided share an onset
            error = 1.3 / np.sqrt(table.loc[name, "n_events"])
            assert table.loc[name, "rate"] / true == pytest.approx(1, abs=3 * error)
    for name in ("erythroid", "megakaryocytic"):
        rates = [table.loc[name, "rate"] for table in found.values()]
        # with hours at risk up to the last look these fall by 3 % (looks every half an hour) to 12 % (every two)
        assert max(rates) / min(rates) - 1 < 0.01 + 0.01 * look_h


def test_incidence_does_not_hang_on_how_onsets_are_confirmed(simulate_clones):
    tracks, nodes = simulate_clones(900, dt=1.0, loss=0.02, seed=5)
    at = {}
    for k in (1, 3):
        curve = emergence(onsets_of(tracks, nodes, k), None, times_h=[50.0], bootstrap=0)
        at[k] = curve[curve["organoid"] == "all"].set_index("lineage")["cumulative_incidence"]
    total = sum(TRUE.values())
    for name, true in TRUE.items():
        exact = true / total * (1 - np.exp(-total * 50.0))
        assert at[3][name] == pytest.approx(exact, abs=0.035)
        if name != "death":  # of which a few more are counted before an onset is confirmed
            assert at[3][name] == pytest.approx(at[1][name], rel=0.025)


def test_hours_at_risk_by_hand(make_tracks):
    # looks at 0..5 h; the first cell is lost, the second comes on at 3 h, the third divides
    tracks = make_tracks([(1, 0, 0, 5, "start", "loss"), (2, 0, 0, 5, "start", "end"),
                          (3, 0, 0, 2, "start", "division"), (4, 3, 3, 5, "division", "end"),
                          (5, 3, 3, 5, "division", "end")])  # fmt: skip
    rows = [(i, t) for i, a, b in ((1, 0, 5), (2, 0, 5), (3, 0, 2), (4, 3, 5), (5, 3, 5)) for t in range(a, b + 1)]
    nodes = pd.DataFrame(rows, columns=["track_id", "t"]).assign(position="B02_f00", session=1)
    nodes["time_h"] = nodes["t"].astype(float)
    nodes["intensity_CD235a"] = np.where((nodes["track_id"] == 2) & (nodes["t"] >= 3), 100.0, 0.0)
    nodes["intensity_CD41"] = 0.0
    onsets = onsets_of(tracks, nodes, 2).set_index("track_id")
    # up to 4 h an onset can be confirmed; the mother's last look is confirmed by her daughters
    assert onsets["watched_to_h"].to_dict() == {1: 4.0, 2: 4.0, 3: 2.0, 4: 4.0, 5: 4.0}
    table = transition_rates(onsets.reset_index()).set_index("to")
    # onset: 4, to the middle of (2, 3], 2, and from the mother's last look 2 h each
    assert table.loc["erythroid", "time_h"] == pytest.approx(4 + 2.5 + 2 + 2 + 2)
    # death: half an hour more of who is lost or divides, until the onset is confirmed, daughters from their first look
    assert table.loc["death", "time_h"] == pytest.approx(5.5 + 4 + 2.5 + 2 + 2)
    plain = transition_rates(ONSETS.conform(onsets.reset_index()[ONSETS.names])).set_index("to")
    assert plain.loc["erythroid", "time_h"] == plain.loc["death", "time_h"] == pytest.approx(5 + 2.5 + 2 + 3 + 3)


@pytest.mark.parametrize(("last", "incidence"), [(2, 1 / 4), (3, (1 - 1 / 4) / 4), (4, (1 - 1 / 5) / 4)])
def test_incidence_of_death_by_hand(make_tracks, last, incidence):
    """Five cells as above, and one that is last seen, negative, at 2, 3 or 4 h and dies.

    At 2 h three others are at risk, later the daughters and the one that is lost at 5 h. An onset of the dying cell
    could be confirmed up to its last look but one.
    """
    rows = [(1, 0, 0, 5, "start", "loss"), (2, 0, 0, 5, "start", "end"), (3, 0, 0, 2, "start", "division"),
            (4, 3, 3, 5, "division", "end"), (5, 3, 3, 5, "division", "end"),
            (6, 0, 0, last, "start", "death")]  # fmt: skip
    tracks = make_tracks(rows)
    seen = [(r[0], t) for r in rows for t in range(r[2], r[3] + 1)]
    nodes = pd.DataFrame(seen, columns=["track_id", "t"]).assign(position="B02_f00", session=1, intensity_CD41=0.0)
    nodes["time_h"] = nodes["t"].astype(float)
    nodes["intensity_CD235a"] = np.where((nodes["track_id"] == 2) & (nodes["t"] >= 3), 100.0, 0.0)
    curve = emergence(onsets_of(tracks, nodes, 2), None, times_h=[5.0], bootstrap=0, method="midpoint")
    row = curve[(curve["organoid"] == "all") & (curve["lineage"] == "death")].iloc[0]
    assert row["cumulative_incidence"] == pytest.approx(incidence)

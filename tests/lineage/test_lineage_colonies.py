from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from napari_marrow.errors import SettingsError
from napari_marrow.lineage import (
    aalen_johansen,
    colony_fates,
    colony_growth,
    colony_types,
    isolation_probability,
    organoid_endpoints,
    rules_from_table,
    rules_table,
)
from napari_marrow.schemas import COLONIES


def colonies_of(rows: list[tuple], **fractions: list[float]) -> pd.DataFrame:
    """(session, t, time_h, colony_id, n_cells, founders)"""
    table = pd.DataFrame(rows, columns=["session", "t", "time_h", "colony_id", "n_cells", "founders"])
    table["position"], table["colony"] = "B02_f00", table["colony_id"]
    for column in ("y", "x", "y_reg", "x_reg", "area", "radius"):
        table[column] = 1.0
    for name, values in fractions.items():
        table[f"fraction_{name.replace('_', '-')}"] = values
    return COLONIES.conform(table)


def test_growth_is_the_slope_of_the_log_count_over_sessions():
    days = [0, 48, 96, 144]
    rows = [
        (s, t, h + 0.5 * t, 1, round(1e4 * 2 ** ((h + 0.5 * t) / 20)), "1")
        for s, h in enumerate(days)
        for t in range(3)
    ]
    one = colony_growth(colonies_of(rows), None).iloc[0]
    assert one["doubling_time"] == pytest.approx(20.0, rel=1e-3)
    assert one["growth_low"] < np.log(2) / 20 < one["growth_high"]
    assert one["n_sessions"] == 4  # three frames of a session are one point
    assert not one["merged"]


def test_merged_colonies_are_fitted_before_the_merger_only():
    rows = [
        (0, 0, 0.0, 1, 10, "1"), (1, 0, 24.0, 1, 20, "1"), (2, 0, 48.0, 1, 100, "1;2"), (3, 0, 72.0, 1, 200, "1;2"),
        (0, 0, 0.0, 2, 16, "2"), (1, 0, 24.0, 2, 32, "2"),
        (0, 0, 0.0, 3, 8, "3"), (1, 0, 24.0, 3, 8, "3"), (2, 0, 48.0, 3, 4, "3"),
        (3, 0, 72.0, 4, 5, "4"),
    ]  # fmt: skip
    growth = colony_growth(colonies_of(rows), None).set_index("colony_id")
    assert growth.loc[1, "doubling_time"] == pytest.approx(24.0)
    assert growth.loc[2, "doubling_time"] == pytest.approx(24.0)
    assert growth["merged"].tolist() == [True, True, False, False]
    assert growth.loc[1, "growth_rate_merged"] > growth.loc[1, "growth_rate"]
    assert np.isnan(growth.loc[3, "doubling_time"])
    assert growth.loc[3, "note"] == "does not grow: no doubling time"
    assert "1 session(s)" in growth.loc[4, "note"]
    fates = colony_fates(colonies_of(rows)).set_index("colony_id")
    assert fates["fate"].to_dict() == {1: "merged", 2: "merged", 3: "lost", 4: "end"}
    assert fates["time_h"].to_dict() == {1: 48, 2: 48, 3: 72, 4: 72}
    curves = aalen_johansen(fates["time_h"], fates["cause"], entry=fates["entry_h"] - 1e-9, n_causes=2)
    np.testing.assert_allclose(curves.at([48, 72])[:, -1], [2 / 3, (1 / 3) * (1 / 2)])


def test_types_follow_the_rules_and_the_rules_can_be_edited():
    sizes = [7, 8, 200, 201, 600, 25, 5, 4, 30]
    rows = [(0, 0, 0.0, i, n, str(i)) for i, n in enumerate(sizes, start=1)]
    ery = [1, 0.9, 0.8, 0.9, 0.3, 0, 0, np.nan, 0.3]
    gm = [0, 0, 0.1, 0, 0.3, 0.9, 0, np.nan, 0.3]
    mk = [0, 0, 0, 0, 0.2, 0, 1, np.nan, 0.3]
    table = colonies_of(rows, erythroid=ery, granulo_monocytic=gm, megakaryocytic=mk)
    types = colony_types(table)
    assert types["type"].tolist() == [
        "unclassified", "CFU-E", "CFU-E", "BFU-E", "CFU-GEMM", "CFU-GM", "CFU-Mk", "", "unclassified",
    ]  # fmt: skip
    assert types["note"][7] == "no lineage fraction measured"
    edited = rules_table()
    edited.loc[edited["name"] == "CFU-E", "min_cells"] = 7
    assert colony_types(table, rules=edited)["type"][0] == "CFU-E"
    assert len(rules_from_table(edited[["name", "lineages", "min_cells"]])) == len(edited)
    with pytest.raises(SettingsError, match="columns"):
        rules_from_table(edited.rename(columns={"name": "typ"}))
    with pytest.raises(SettingsError, match="never be met"):
        rules_from_table(edited.assign(max_cells=1))


def test_isolation_is_the_void_probability_and_visible_colonies_are_fewer_than_founders():
    """5 founders per mm², colonies of radius .1 mm: .53 alone; .72 visible colonies per founder."""
    assert isolation_probability(5.0, 0.1) == pytest.approx(0.533, abs=0.001)
    rng = np.random.default_rng(0)
    alone, visible, total = 0, 0, 0
    for _ in range(20):
        points = rng.uniform(0, 20, (rng.poisson(5 * 400), 2))
        tree = cKDTree(points, boxsize=20)
        pairs = tree.query_pairs(0.2, output_type="ndarray")
        n = len(points)
        graph = csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
        count, label = connected_components(graph, directed=False)
        alone += (np.bincount(label) == 1).sum()
        visible += count
        total += n
    assert alone / total == pytest.approx(isolation_probability(5.0, 0.1), abs=0.01)
    assert visible / total == pytest.approx(0.72, abs=0.01)


def test_no_colony_at_all():
    empty = COLONIES.empty()
    assert colony_growth(empty, None).empty
    assert colony_types(empty).empty
    assert colony_fates(empty).empty


def test_colony_endpoints_are_weighted_by_cells():
    rows = [(0, 0, 0.0, 1, 10, "1"), (1, 0, 24.0, 1, 30, "1"), (1, 0, 24.0, 2, 10, "2")]
    table = colonies_of(rows, erythroid=[0.0, 0.9, 0.1])
    out = organoid_endpoints(None, None, table, colony_growth(table, None), None, None).set_index("endpoint")
    assert out.loc["fraction erythroid", "value"] == pytest.approx((27 + 1) / 40)
    assert out.loc["cells", "value"] == 40
    assert out.loc["colonies", "value"] == 2
    assert out.loc["colony doubling time", "value"] == pytest.approx(24 / np.log2(3))

"""Truth tables against pixels and against each other."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from napari_marrow import schemas, simulation
from napari_marrow.simulation import colonies


def small(**changes):
    base = simulation.preset("sample", seed=11)
    sessions = (
        simulation.SessionPlan("sparse", 60.0, channels=("nuclei", "CD31", "scaffold")),
        simulation.SessionPlan("dense", 96.0, 5, 1.0, ("nuclei", "CD31", "CD235a", "CD41", "CD11b")),
        simulation.SessionPlan("sparse", 192.0, channels=("nuclei", "CD31", "scaffold")),
    )
    scenario = replace(
        base,
        sessions=sessions,
        imaging=simulation.Imaging(shape=(1, 160, 150)),
        geometry=simulation.Geometry(radius_um=85.0, founders_per_mm2=400.0, vessel_density=12.0),
    )
    return replace(scenario, **changes)


@pytest.fixture(scope="module")
def experiment():
    return simulation.simulate(small())


def test_same_seed_same_pixels_in_any_order(experiment):
    again = simulation.simulate(small())
    a, b = experiment.sessions("B02_f00")[1], again.sessions("B02_f00")[1]
    late = b.frame(3)
    assert np.array_equal(a.frame(0), b.frame(0))
    assert np.array_equal(a.frame(3), late)
    assert np.array_equal(a.labels(3), b.labels(3))
    other = simulation.simulate(small(seed=12)).sessions("B02_f00")[1]
    assert not np.array_equal(other.frame(0), a.frame(0))


def test_layout_conforms_and_is_balanced(experiment):
    assert list(schemas.LAYOUT.conform(experiment.layout).columns) == schemas.LAYOUT.names
    layout = simulation.simulate(simulation.preset("tutorial")).layout
    assert layout["position"].tolist() == ["B02_f00", "B03_f00", "B04_f00", "C02_f00", "C03_f00", "C04_f00"]
    assert pd.crosstab(layout["donor"], layout["condition"]).to_numpy().tolist() == [[2, 2], [1, 1]]
    assert layout.loc[layout["condition"] == "control", "dose"].isna().all()


def test_labels_are_the_cells_table(experiment):
    cells = experiment.truth["cells"]
    for session in experiment.sessions("C02_f00"):
        labels = session.labels(session.shape[0] - 1)
        assert labels.dtype == np.int32
        assert labels.shape == session.shape[2:]
        mine = cells.query(f"position == 'C02_f00' and session == {session.session} and t == {session.shape[0] - 1}")
        ids, count = np.unique(labels[labels > 0], return_counts=True)
        assert mine["label"].tolist() == ids.tolist()
        assert mine["area"].to_numpy() == pytest.approx(count * 1.02**2)
        for row in mine.iloc[:10].itertuples():
            _, y, x = np.nonzero(labels == row.label)
            assert (row.y, row.x) == pytest.approx((y.mean() * 1.02, x.mean() * 1.02))


def test_nuclei_are_bright_where_labels_are(experiment):
    session = experiment.sessions("B02_f00")[1]
    image, labels = session.frame(2)[0, 0].astype(float), session.labels(2)[0]
    assert image[labels > 0].mean() > image[labels == 0].mean() + 100
    on = experiment.truth["cells"].query(
        "position == 'B02_f00' and session == 3 and marker_on and lineage == 'erythroid'"
    )
    off = experiment.truth["cells"].query("position == 'B02_f00' and session == 3 and not marker_on")
    assert len(on) > 5
    late = simulation.simulate(
        small(sessions=(simulation.SessionPlan("sparse", 192.0, channels=("nuclei", "CD31", "CD235a")),))
    )
    session = late.sessions("B02_f00")[0]
    stain, labels = session.frame(0)[2, 0].astype(float), session.labels(0)[0]
    rows = late.truth["cells"].query("position == 'B02_f00'")
    mean = {r.label: stain[labels == r.label].mean() for r in rows.itertuples()}
    rows = rows.assign(stain=[mean[label] for label in rows["label"]])
    on, off = rows[rows["marker_on"] & (rows["lineage"] == "erythroid")], rows[~rows["marker_on"]]
    assert on["stain"].median() > off["stain"].median() + 40


def test_pedigree_is_a_forest_with_two_daughters(experiment):
    for _, tree in experiment.truth["pedigree"].groupby("position"):
        by_id = tree.set_index("cell_id")
        born = tree[tree["parent"] > 0]
        assert (born["parent"] < born["cell_id"]).all()
        assert (born.groupby("parent").size() == 2).all()
        mothers = by_id.loc[born["parent"].to_numpy()]
        assert (mothers["fate"] == "division").all()
        assert mothers["end_h"].to_numpy() == pytest.approx(born["birth_h"].to_numpy())
        assert (mothers["generation"].to_numpy() + 1 == born["generation"].to_numpy()).all()
        assert (mothers["founder"].to_numpy() == born["founder"].to_numpy()).all()
        assert set(tree.loc[tree["fate"] == "division", "cell_id"]) == set(born["parent"])
        founders = tree[tree["parent"] == 0]
        assert (founders["founder"] == founders["cell_id"]).all()
        onset = tree[tree["own_onset"]]
        assert (onset["onset_h"] >= onset["birth_h"]).all()


def test_daughters_are_born_beside_each_other(experiment):
    found = 0
    for position in experiment.positions:
        cells = experiment.history(position).population
        for hour, snapshot in experiment.history(position).snapshots.items():
            age = hour - cells.birth[snapshot.cells]
            place = dict(zip(snapshot.cells.tolist(), snapshot.positions, strict=True))
            young = snapshot.cells[(age <= 1.0) & (cells.parent[snapshot.cells] > 0)].tolist()
            for a in young:
                for b in young:
                    if a < b and cells.parent[a] == cells.parent[b]:
                        found += 1
                        assert 5.0 < np.linalg.norm(place[a] - place[b]) < 30.0
    assert found >= 5


def test_transforms_map_images_onto_the_first_session(experiment):
    transforms = schemas.TRANSFORMS.conform(experiment.truth["transforms"])
    cells = experiment.truth["cells"].merge(transforms, on=["position", "session", "t"], suffixes=("", "_m"))
    y = cells["m00"] * cells["y"] + cells["m01"] * cells["x"] + cells["ty"]
    x = cells["m10"] * cells["y"] + cells["m11"] * cells["x"] + cells["tx"]
    assert y.to_numpy() == pytest.approx(cells["y_reg"].to_numpy())
    assert x.to_numpy() == pytest.approx(cells["x_reg"].to_numpy())
    first = transforms[transforms["session"] == 1]
    assert first[["m00", "m11"]].to_numpy() == pytest.approx(1.0)
    assert first[["m01", "m10", "ty", "tx"]].to_numpy() == pytest.approx(0.0)
    # Registered centroids lie on the simulated places: pixels and table tell the same story.
    for session in experiment.sessions("B02_f00"):
        snapshot = experiment.history("B02_f00").snapshots[session.true_h[0]]
        place = pd.DataFrame(snapshot.positions[:, 1:], index=snapshot.cells + 1, columns=["ty0", "tx0"])
        mine = cells.query(f"position == 'B02_f00' and session == {session.session} and t == 0 and not touches_border")
        both = mine.join(place, on="cell_id", how="inner")
        assert len(both) > 5
        error = np.hypot(both["y_reg"] - both["ty0"], both["x_reg"] - both["tx0"])
        assert error.median() < 0.5


def test_static_structures_register_in_the_pixels(experiment):
    """The true transform of session 3 lays its CD31 image onto that of session 1; the identity does not."""
    from scipy import ndimage

    first, third = (experiment.sessions("B02_f00")[k] for k in (0, 2))
    fixed, moving = (ndimage.gaussian_filter(s.frame(0)[1, 0].astype(float), 1) for s in (first, third))
    matrix, shift = third.acquisition.registration(0)
    # registration maps moving to fixed; the resampler wants fixed to moving.
    inverse = np.linalg.inv(matrix)
    back = ndimage.affine_transform(moving, inverse, -inverse @ shift / 1.02, order=1, cval=np.nan)
    seen = np.isfinite(back)
    assert np.corrcoef(fixed[seen], back[seen])[0, 1] > np.corrcoef(fixed.ravel(), moving.ravel())[0, 1] + 0.2
    assert np.corrcoef(fixed[seen], back[seen])[0, 1] > 0.6


def test_vessel_density_of_the_field_is_length_over_area(experiment):
    metrics = experiment.truth["metrics"].query("position == 'B02_f00' and session == 1").set_index("metric")["value"]
    points = experiment.truth["vessel_points"].query("position == 'B02_f00'")
    total = 0.0
    for _, path in points.groupby("edge"):
        yx = path[["y", "x"]].to_numpy()
        dense = np.concatenate([np.linspace(a, b, 200, endpoint=False) for a, b in pairwise(yx)])
        step = np.linalg.norm(np.diff(yx, axis=0), axis=1).repeat(200) / 200
        inside = ((dense >= -0.51) & (dense < np.array([159.5, 149.5]) * 1.02)).all(axis=1)
        total += step[inside].sum()
    assert metrics["vessel_length"] == pytest.approx(total, rel=0.01)
    assert metrics["vessel_length_density"] == pytest.approx(1e3 * metrics["vessel_length"] / metrics["tissue_area"])
    assert metrics["tissue_area"] <= 160 * 150 * 1.02**2


def test_types_and_lineages_agree_with_the_pedigree(experiment):
    cells = experiment.truth["cells"]
    pedigree = experiment.truth["pedigree"].set_index(["position", "cell_id"])
    mine = pedigree.loc[list(zip(cells["position"], cells["cell_id"], strict=True))]
    assert (mine["birth_h"].to_numpy() <= cells["time_h"].to_numpy()).all()
    assert (cells["time_h"].to_numpy() <= mine["end_h"].to_numpy()).all()
    assert ((mine["onset_h"].to_numpy() <= cells["time_h"].to_numpy()) == cells["marker_on"].to_numpy()).all()
    assert ((cells["type"] == "mature") == cells["marker_on"]).all()
    assert set(cells["lineage"]) <= {"", *simulation.LINEAGES}


def test_groups_founders_descent_and_edges_by_hand():
    points = np.array([[0, 0, 10.0 * i] for i in range(6)] + [[0, 500.0, 10.0 * i] for i in range(5)] + [[0, 900.0, 0]])
    group = colonies.group_cells(points)
    assert group.tolist() == [1] * 6 + [2] * 5 + [0]
    founder = np.array([1, 1, 1, 1, 3, 3, 2, 2, 2, 2, 2, 9])
    assert colonies.founder_sets(group, founder) == {1: [1, 3], 2: [2]}
    parent = np.array([0, 0, 1, 1, 3, 3])
    assert colonies.descent(np.array([3, 2]), np.array([5, 6, 2, 4]), parent).tolist() == [0, 0, 1, -1]
    before, ancestor = np.array([1, 1, 2, 2, 3, 3]), np.array([0, 1, 2, 3, 4, 4, 5, 5])
    after = np.array([1, 1, 1, 1, 2, 2, 3, 3])
    edges = colonies.colony_edges(before, after, ancestor)
    assert edges.to_dict("records") == [
        {"colony_parent": 1, "colony_child": 1, "n_cells": 2, "kind": "merge"},
        {"colony_parent": 2, "colony_child": 1, "n_cells": 2, "kind": "merge"},
        {"colony_parent": 3, "colony_child": 2, "n_cells": 2, "kind": "split"},
        {"colony_parent": 3, "colony_child": 3, "n_cells": 2, "kind": "split"},
    ]


def test_colonies_hold_cells_and_founders_of_the_field(experiment):
    table, edges = experiment.truth["colonies"], experiment.truth["colony_edges"]
    assert len(table) > 3
    assert (table["n_cells"] >= colonies.MIN_CELLS).all()
    founders = set(experiment.truth["pedigree"].query("parent == 0")["cell_id"])
    assert all(int(f) in founders for text in table["founders"] for f in text.split(";"))
    key = ["position", "session", "t", "colony"]
    known = set(map(tuple, table[key].to_numpy().tolist()))
    for end in ("parent", "child"):
        assert (
            set(map(tuple, edges[["position", f"session_{end}", f"t_{end}", f"colony_{end}"]].to_numpy().tolist()))
            <= known
        )


def test_all_tables_are_there_and_metrics_hold_emergence(experiment):
    assert set(experiment.truth) == {
        "cells", "pedigree", "colonies", "colony_edges", "vessels", "vessel_points", "transforms", "frames", "faults",
        "organoids", "metrics",
    }  # fmt: skip
    emergence = experiment.truth["metrics"].query("metric == 'cumulative_incidence' and session == 2")
    assert set(emergence["subject"]) == {*simulation.LINEAGES, "death"}
    for _, curve in emergence.groupby(["position", "subject"]):
        assert curve["value"].is_monotonic_increasing
        assert curve["value"].between(0, 1).all()


def test_an_almost_empty_field_gives_empty_tables_with_columns():
    lonely = simulation.Geometry(radius_um=85.0, founders_per_mm2=1.0, vessel_density=0.0, porosity=1.0)
    lonely_scenario = small(geometry=lonely, sessions=(simulation.SessionPlan("sparse", 0.0),))
    truth = simulation.simulate(lonely_scenario).truth
    assert len(truth["cells"]) <= 2
    assert truth["colonies"].empty
    assert "founders" in truth["colonies"].columns
    assert truth["colony_edges"].empty
    assert truth["vessels"].empty
    density = truth["metrics"].query("metric == 'vessel_length_density'")["value"]
    assert (density == 0).all()

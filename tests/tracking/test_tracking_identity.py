"""The ceiling of identity, colonies through sessions, pedigrees."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree
from scipy.stats import norm

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.schemas import COLONY_EDGES, TRACKS
from napari_marrow.tracking import (
    identity_ceiling,
    link_colonies,
    pattern_ceiling,
    score_tracks,
    summarise_tracks,
    track_points,
    track_tables,
)


def test_ceiling_in_space_has_the_published_values():
    assert [round(identity_ceiling(1.0, s, 3), 2) for s in (0.1, 0.2, 0.3, 0.5)] == [0.97, 0.83, 0.61, 0.28]


@pytest.mark.parametrize(("ndim", "sigma"), [(2, 0.15), (2, 0.4), (3, 0.2), (3, 0.4)])
def test_ceiling_is_the_frequency_of_the_right_nearest_neighbour(ndim, sigma):
    rng = np.random.default_rng(4)
    side = 40.0 if ndim == 2 else 13.0
    n = rng.poisson(side**ndim)
    x = rng.uniform(0, side, (n, ndim))
    moved = x + rng.normal(0, sigma, x.shape)
    inner = ((x > 2) & (x < side - 2)).all(1)
    right = cKDTree(moved).query(x[inner])[1] == np.flatnonzero(inner)
    # who lies nearest to the old place: the same object with the chance that the ceiling states
    assert abs(right.mean() - identity_ceiling(1.0, sigma, ndim)) < 4 * np.sqrt(0.25 / inner.sum())


@pytest.mark.parametrize("sigma", [0.1, 0.25, 0.4, 0.8])
def test_ceiling_of_a_lattice_is_that_of_its_square_cells(sigma):
    # the nearest of a square lattice is the right one within half a spacing along both axes
    grid = np.stack(np.meshgrid(np.arange(40.0), np.arange(40.0)), -1).reshape(-1, 2)
    inner = np.abs(norm.cdf(0.5 / sigma) - norm.cdf(-0.5 / sigma)) ** 2
    assert pattern_ceiling(grid, sigma) == pytest.approx(inner, abs=0.03)


@pytest.mark.parametrize("sigma", [2.0, 5.0, 10.0])
def test_ceiling_of_places_at_random_is_the_closed_form(sigma):
    places = np.random.default_rng(3).uniform(0, 1000, (2500, 2))
    assert pattern_ceiling(places, sigma) == pytest.approx(identity_ceiling(2.5e-3, sigma, 2), abs=0.015)


def test_places_that_keep_room_are_mistaken_less_often_as_drawn():
    """Random sequential addition with a hard core; displacements drawn, not computed."""
    rng = np.random.default_rng(4)
    kept: list[np.ndarray] = []
    for place in rng.uniform(0, 1000, (4000, 2)):
        if all(np.hypot(*(place - other)) > 40 for other in kept):
            kept.append(place)
    places, sigma = np.array(kept), 14.0
    right = [
        (cKDTree(places).query(places + rng.normal(0, sigma, places.shape))[1] == np.arange(len(places))).mean()
        for _ in range(200)
    ]
    assert pattern_ceiling(places, sigma) == pytest.approx(np.mean(right), abs=0.01)
    assert np.mean(right) - identity_ceiling(len(places) / 1e6, sigma, 2) > 0.1


def test_ceiling_refuses_what_has_no_meaning():
    for arguments in ((1.0, 1.0, 4), (-1.0, 1.0, 2), (1.0, np.nan, 2)):
        with pytest.raises(SettingsError):
            identity_ceiling(*arguments)
    assert identity_ceiling(0.0, 5.0, 2) == 1.0


def plate(seed=0, n=60, side=5000.0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, side, (4 * n, 2))
    kept = [x[0]]
    for p in x[1:]:
        if len(kept) < n and min(np.hypot(*(p - q)) for q in kept) > 330:
            kept.append(p)
    x = np.array(kept)
    return pd.DataFrame(
        {
            "colony": np.arange(1, len(x) + 1),
            "y": x[:, 0],
            "x": x[:, 1],
            "radius": rng.lognormal(np.log(70), 0.35, len(x)),
        }
    )


def remounted(table, angle=4.0, shift=(210.0, -160.0), grow=1.3, noise=15.0, seed=1):
    rng = np.random.default_rng(seed)
    a = np.deg2rad(angle)
    x = table[["y", "x"]].to_numpy() @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]).T + shift
    x += rng.normal(0, noise, x.shape)
    out = table.assign(y=x[:, 0], x=x[:, 1], radius=table["radius"] * grow * rng.lognormal(0, 0.05, len(table)))
    return out.sample(frac=1, random_state=3).reset_index(drop=True)


@pytest.mark.parametrize(("angle", "shift", "kind"), [(0.0, (0.0, 0.0), "identity"), (4.0, (210.0, -160.0), "affine")])
def test_colonies_are_known_again_after_remounting(angle, shift, kind):
    first = plate()
    second = remounted(first, angle, shift)
    linked = link_colonies([first, second], times_h=[0.0, 120.0])
    identity, edges = linked
    assert linked.sessions[0].registration == kind
    assert (edges["colony_parent"] == edges["colony_child"]).mean() > 0.97
    assert len(edges) >= 0.95 * len(first)
    assert len(linked.colony_id) == len(linked.founders) == len(first) + len(second)
    COLONY_EDGES.conform(edges.assign(position="A01_f00"))
    before = identity[identity["session"] == 0].set_index("colony")["colony_id"]
    after = identity[identity["session"] == 1].set_index("colony")["colony_id"]
    assert (before == after.reindex(before.index)).mean() > 0.95


def test_merge_and_split_keep_founder_sets():
    first = plate()
    one, two, torn = first.iloc[0].copy(), first.iloc[1].copy(), 4
    # bring colony 2 beside colony 1, so that growing they merge
    first.loc[1, ["y", "x"]] = [one["y"] + 170.0, one["x"]]
    first.loc[[0, 1], "radius"] = [80.0, 70.0]
    second = remounted(first, 0.0, (0.0, 0.0), noise=5.0).sort_values("colony").reset_index(drop=True)
    weight = 80.0**2 / (80.0**2 + 70.0**2)
    second.loc[0, ["y", "x"]] = [one["y"] + (1 - weight) * 170.0, one["x"]]
    second.loc[0, "radius"] = 1.3 * np.hypot(80.0, 70.0)
    second = second[second["colony"] != 2]
    # colony 5 falls in two
    piece = second[second["colony"] == torn + 1].copy()
    r = float(piece["radius"].iloc[0])
    second.loc[second["colony"] == torn + 1, "radius"] = r * np.sqrt(0.6)
    second.loc[second["colony"] == torn + 1, "x"] -= 0.5 * r
    piece = piece.assign(colony=999, radius=r * np.sqrt(0.4), x=piece["x"] + 0.75 * r)
    linked = link_colonies([first, pd.concat([second, piece], ignore_index=True)])
    edges = linked.edges
    merged = edges[edges["colony_child"] == 1]
    assert sorted(merged["colony_parent"]) == [1, 2]
    assert set(merged["kind"]) == {"merge"}
    split = edges[edges["colony_parent"] == torn + 1]
    assert sorted(split["colony_child"]) == [torn + 1, 999]
    assert set(split["kind"]) == {"split"}
    identity = linked.identity.set_index(["session", "colony"])
    names = [identity.loc[(0, k), "colony_id"] for k in (1, 2)]
    assert identity.loc[(1, 1), "founders"] == ";".join(str(n) for n in sorted(names))
    assert identity.loc[(1, 1), "colony_id"] == names[0]
    assert identity.loc[(1, 999), "founders"] == str(identity.loc[(0, torn + 1), "colony_id"])
    assert identity.loc[(1, 999), "colony_id"] != identity.loc[(0, torn + 1), "colony_id"]
    del two


def test_identity_is_refused_where_it_cannot_be_known():
    first = plate()
    rng = np.random.default_rng(0)
    shuffled = first.assign(y=rng.uniform(0, 5000, len(first)), x=rng.uniform(0, 5000, len(first)))
    linked = link_colonies([first, shuffled], min_ceiling=0.9)
    assert set(linked.edges["kind"]) <= {"refused"}
    ids = linked.identity["colony_id"]
    assert ids.is_unique
    assert not linked.sessions[0].accepted


def test_sessions_without_colonies_and_lone_organoids():
    first = plate(n=5)
    nothing = first.iloc[:0]
    linked = link_colonies([first, nothing, first])
    assert linked.identity["colony_id"].is_unique
    lone = pd.DataFrame({"colony": [1], "y": [500.0], "x": [500.0], "area": [np.pi * 100.0**2]})
    again = link_colonies([lone, lone.assign(y=520.0, area=1.2 * lone["area"])])
    assert again.colony_id.tolist() == [1, 1]
    assert link_colonies([]).identity.empty


def test_bad_colonies_are_refused():
    first = plate(n=5)
    with pytest.raises(TableError, match="lack the column"):
        link_colonies([first.drop(columns="radius")])
    with pytest.raises(TableError, match="twice"):
        link_colonies([pd.concat([first, first])])
    with pytest.raises(SettingsError, match="rising"):
        link_colonies([first, first], times_h=[5.0, 5.0])


def family():
    """A cell that divides at t = 3, one daughter that leaves through the border, one that divides at t = 6."""
    rows = []
    for t in range(10):
        if t < 3:
            rows.append((t, 1, 50.0, 50.0, 1, 0))
        else:
            if t < 7:
                rows.append((t, 2, 46.0 - 12 * (t - 3), 50.0, 2, 1))
            if t < 6:
                rows.append((t, 3, 56.0, 50.0, 3, 1))
            else:
                rows += [(t, 4, 56.0, 44.0, 4, 3), (t, 5, 56.0, 56.0, 5, 3)]
        rows.append((t, 9, 20.0, 90.0, 6, 0))
    table = pd.DataFrame(rows, columns=["t", "label", "y", "x", "track_id", "parent_track_id"])
    nodes = table.assign(position="B02_f00", session=0, time_h=table["t"] * 0.5, link_probability=0.9)
    edges = []
    for mother, kids, t in ((1, (2, 3), 2), (3, (4, 5), 5)):
        edges += [("B02_f00", 0, t, mother, t + 1, kid, "division", 0.8) for kid in kids]
    names = ["position", "session", "t_parent", "label_parent", "t_child", "label_child", "kind", "probability"]
    return nodes, pd.DataFrame(edges, columns=names)


def test_pedigree_birth_and_fate():
    nodes, edges = family()
    tracks = summarise_tracks(nodes, edges, extent=(100.0, 100.0), frames=range(10), border_um=12.0)
    TRACKS.conform(tracks)
    tracks = tracks.set_index("track_id")
    assert tracks["parent_track_id"].to_dict() == {1: 0, 2: 1, 3: 1, 4: 3, 5: 3, 6: 0}
    assert tracks["founder_track_id"].to_dict() == {1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 6}
    assert tracks["generation"].to_dict() == {1: 0, 2: 1, 3: 1, 4: 2, 5: 2, 6: 0}
    assert tracks["birth"].to_dict() == {
        1: "start",
        2: "division",
        3: "division",
        4: "division",
        5: "division",
        6: "start",
    }
    assert tracks["fate"].to_dict() == {1: "division", 2: "exit", 3: "division", 4: "end", 5: "end", 6: "end"}
    assert tracks.loc[2, "n_nodes"] == 4
    assert tracks.loc[2, "end_h"] == 3.0


def test_loss_and_appearance_amid_the_field():
    nodes, edges = family()
    nodes = nodes[~((nodes["track_id"] == 6) & ((nodes["t"] < 2) | (nodes["t"] > 7)))]
    tracks = summarise_tracks(nodes, edges, extent=((0.0, 100.0), (0.0, 300.0)), border_um=2.0).set_index("track_id")
    assert tracks.loc[6, ["birth", "fate"]].tolist() == ["appearance", "loss"]
    assert summarise_tracks(nodes.iloc[:0], edges.iloc[:0]).empty


def test_edges_of_another_tracking_are_refused():
    nodes, edges = family()
    with pytest.raises(TableError, match="not among the track nodes"):
        summarise_tracks(nodes[nodes["t"] != 2], edges)


def test_tables_of_a_tracking_give_the_same_pedigree():
    nodes, _ = family()
    points = nodes[["t", "label", "y", "x", "time_h"]]
    found = track_points(points.drop(columns="time_h"))
    table, edges = track_tables(found, points, position="A01_f00", session=2, first_track_id=11)
    tracks = summarise_tracks(table, edges)
    assert tracks["track_id"].min() == 11
    assert tracks["n_nodes"].sum() == len(points)
    own = pd.DataFrame({"t": points["t"], "track_id": found.track_id, "parent_track_id": found.parent_track_id})
    assert score_tracks(own, own).n_predicted == len(edges)

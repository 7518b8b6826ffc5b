"""Colonies: exact probabilities, the residual field, chains of merges, a missed colony, landmarks, reasons."""

import itertools

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.tracking import link_colonies
from napari_marrow.tracking.colony_tables import contact, read_colonies
from napari_marrow.tracking.packing import pack
from napari_marrow.tracking.residual_field import fit_field


@pytest.mark.parametrize("seed", range(12))
def test_probabilities_are_those_of_all_sets(seed):
    rng = np.random.default_rng(seed)
    claims = [tuple(rng.choice(8, rng.integers(1, 4), replace=False).tolist()) for _ in range(9)]
    weight = np.maximum(rng.normal(0, 1.5, 9), -5)
    total, share, best = 0.0, np.zeros(9), (-1.0, ())
    for k in range(10):
        for chosen in itertools.combinations(range(9), k):
            objects = [o for e in chosen for o in claims[e]]
            if len(set(objects)) == len(objects):
                value = np.exp(weight[list(chosen)].sum())
                total += value
                share[list(chosen)] += value
                best = max(best, (value, chosen))
    found = pack(claims, weight, rng.random((8, 2)))
    np.testing.assert_allclose(found.probability, share / total, atol=1e-12)
    assert tuple(np.flatnonzero(found.best)) == best[1]
    assert found.log_evidence == pytest.approx(np.log(total))


def test_a_smooth_field_is_followed_and_a_stiff_one_stays_stiff():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 6000, (150, 2))
    bend = 120 * np.column_stack([np.sin(x[:, 1] / 900), np.cos(x[:, 0] / 900)])
    noise = np.full(150, 20.0**2)
    field = fit_field(x, x + bend + rng.normal(0, 20, x.shape), noise, 500.0)
    fresh = rng.uniform(500, 5500, (200, 2))
    true = fresh + 120 * np.column_stack([np.sin(fresh[:, 1] / 900), np.cos(fresh[:, 0] / 900)])
    moved, variance = field(fresh)
    assert field.bends
    error = np.sqrt(((moved - true) ** 2).mean())
    assert error < 30
    assert 0.6 < error / np.sqrt(variance.mean()) < 1.6  # it knows how wrong it is
    stiff = fit_field(x, x + 7.0 + rng.normal(0, 20, x.shape), noise, 500.0)
    assert not stiff.bends
    assert np.abs(stiff(fresh)[0] - fresh - 7.0).mean() < 5


def grid(seed=0, n=7, pitch=700.0):
    """Colonies far apart, so that nothing but what a test does can happen to them."""
    rng = np.random.default_rng(seed)
    place = np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), -1).reshape(-1, 2) * pitch
    place = place + rng.uniform(-120, 120, place.shape)
    return pd.DataFrame(
        {"colony": np.arange(1, n * n + 1), "y": place[:, 0], "x": place[:, 1],
         "radius": rng.lognormal(np.log(70), 0.3, n * n)}
    )  # fmt: skip


def later(table, seed, grow=1.2, drift=15.0):
    rng = np.random.default_rng(seed)
    place = table[["y", "x"]].to_numpy() + rng.normal(0, drift, (len(table), 2))
    return table.assign(
        y=place[:, 0], x=place[:, 1], radius=table["radius"] * grow * rng.lognormal(0, 0.04, len(table))
    )


def test_a_colony_that_a_session_missed_keeps_its_identity():
    first = grid()
    second, third = later(first, 1), later(later(first, 1), 2)
    linked = link_colonies([first, second[second["colony"] != 17], third])
    gap = linked.edges[linked.edges["kind"] == "gap"]
    assert gap[["session_parent", "colony_parent", "session_child", "colony_child"]].to_numpy().tolist() == [
        [0, 17, 2, 17]
    ]
    names = linked.identity.set_index(["session", "colony"])["colony_id"]
    assert names[(0, 17)] == names[(2, 17)]
    assert linked.identity["colony_id"].nunique() == len(first)


def test_three_colonies_that_merge_are_all_parents():
    first = grid()
    middle = first.loc[24, ["y", "x"]].to_numpy(dtype=float)
    for row, angle in ((23, 0.0), (25, 2.1)):
        first.loc[row, ["y", "x"]] = middle + 175 * np.array([np.cos(angle), np.sin(angle)])
    first.loc[[23, 24, 25], "radius"] = [85.0, 95.0, 90.0]
    second = later(first, 3)
    rows = [23, 24, 25]
    area = first.loc[rows, "radius"].to_numpy() ** 2
    second.loc[24, ["y", "x"]] = area @ first.loc[rows, ["y", "x"]].to_numpy(dtype=float) / area.sum()
    second.loc[24, "radius"] = 1.2 * np.sqrt(area.sum())
    linked = link_colonies([first, second.drop(index=[23, 25])])
    merged = linked.edges[linked.edges["colony_child"] == 25]
    assert sorted(merged["colony_parent"]) == [24, 25, 26]
    assert set(merged["kind"]) == {"merge"}
    assert (linked.edges["kind"] == "merge").sum() == 3


def test_landmarks_register_what_few_colonies_cannot():
    rng = np.random.default_rng(5)
    marks = rng.uniform(0, 5000, (60, 2))
    few = grid(n=2, pitch=2000.0).assign(y=lambda t: t["y"] + 1500, x=lambda t: t["x"] + 1500)
    turn = np.deg2rad(5)
    matrix, shift = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]), np.array([240.0, -310.0])
    moved = few[["y", "x"]].to_numpy() @ matrix.T + shift
    second = few.assign(y=moved[:, 0], x=moved[:, 1], radius=few["radius"] * 1.2).iloc[::-1]
    seen = marks @ matrix.T + shift + rng.normal(0, 4, marks.shape)
    without = link_colonies([few, second], placed=[True, False])
    assert not without.sessions[0].accepted
    assert "cannot place each other" in without.sessions[0].reason
    linked = link_colonies([few, second], landmarks=[marks, seen[:50]], placed=[True, False])
    assert linked.sessions[0].accepted
    firm = linked.edges[linked.edges["kind"] != "refused"]
    assert sorted(zip(firm["colony_parent"], firm["colony_child"], strict=True)) == [(k, k) for k in (1, 2, 3, 4)]


def test_composition_tells_swapped_neighbours_apart():
    red = np.tile([0.85, 0.15], 32)
    first = grid(n=8).assign(fraction_erythroid=red, radius=60.0)
    first.loc[1, ["y", "x"]] = first.loc[0, ["y", "x"]].to_numpy(dtype=float) + np.array([260.0, 0.0])
    second = later(first, 7, grow=1.0, drift=60.0)
    # the two come to lie halfway to each other: only what they are made of tells them apart
    middle = second.loc[[0, 1], ["y", "x"]].to_numpy(dtype=float).mean(axis=0)
    second.loc[[0, 1], ["y", "x"]] = middle + np.array([[8.0, 0.0], [-8.0, 0.0]])
    edges = link_colonies([first, second]).edges
    edges = edges[edges["colony_parent"].isin([1, 2]) & (edges["kind"] != "refused")]
    assert (edges["colony_parent"] == edges["colony_child"]).all()
    assert len(edges) == 2


def test_contact_is_learned_from_the_pairs_that_stay_apart():
    rng = np.random.default_rng(2)
    x, r = rng.uniform(0, 3000, (900, 2)), np.full(900, 50.0)
    kept = []
    for k in range(900):
        if all(np.hypot(*(x[k] - x[q])) > 0.85 * 100 for q in kept):
            kept.append(k)
    table = pd.DataFrame({"colony": np.arange(len(kept)), "y": x[kept, 0], "x": x[kept, 1], "radius": r[kept]})
    assert contact(read_colonies([table])) == pytest.approx(0.85, abs=0.04)


def test_same_rows_in_any_order_give_the_same_identities():
    first = grid(n=5)
    second = later(first, 4)
    straight = link_colonies([first, second]).identity.set_index(["session", "colony"])["founders"]
    turned = link_colonies([first, second.sample(frac=1, random_state=1)]).identity.set_index(["session", "colony"])
    pd.testing.assert_series_equal(straight.sort_index(), turned["founders"].sort_index())


def test_impossible_colonies_are_refused_in_one_sentence():
    table = grid(n=2)
    with pytest.raises(TableError, match="negative size"):
        link_colonies([table.assign(radius=-1.0)])
    with pytest.raises(TableError, match="holds text"):
        link_colonies([table.assign(y="a")])
    with pytest.raises(SettingsError, match="landmarks of session 0"):
        link_colonies([table, table], landmarks=[np.zeros(3), None])
    with pytest.raises(SettingsError, match="landmarks for 1 of 2"):
        link_colonies([table, table], landmarks=[None])
    with pytest.raises(SettingsError, match="rising"):
        link_colonies([table, table], times_h=[0.0, np.nan])

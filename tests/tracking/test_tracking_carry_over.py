"""Cells over a gap, and wells that were swapped."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.tracking import carry_over, identity_ceiling, swapped_wells


def cells(n=200, side=1000.0, seed=0, z=None):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"y": rng.uniform(0, side, n), "x": rng.uniform(0, side, n)})
    return table if z is None else table.assign(z=rng.uniform(0, z, n))


def moved(table, sigma, seed=1):
    rng = np.random.default_rng(seed)
    return table + rng.normal(0, sigma, table.shape)


@pytest.mark.parametrize("z", [None, 400.0])
def test_slow_cells_are_carried_over_and_the_links_are_right(z):
    before = cells(z=z)
    found = carry_over(before, moved(before, 4.0), 4.0, step_um=2.0, step_h=1.0)
    assert found.sigma == pytest.approx(4.0)
    assert found.allowed
    assert "carried over" in found.reason
    right = found.links["row_before"] == found.links["row_after"]
    assert len(found.links) > 0.9 * len(before)
    assert right.mean() > found.ceiling - 0.03
    if z is not None:
        assert found.ceiling == pytest.approx(identity_ceiling(found.density, 4.0, 3))


@pytest.mark.parametrize("side", [1, 4])
def test_the_ceiling_is_that_of_the_cells_as_they_lie(side):
    """Cells on a grid keep room between them: against the count of true displacements, not places at random."""
    lattice = np.stack(np.meshgrid(np.arange(0, 400.0, 20.0), np.arange(0, 400.0, 20.0)), -1).reshape(-1, 2)
    rng = np.random.default_rng(side)
    after = lattice + rng.normal(0, side, lattice.shape)
    found = carry_over(*(pd.DataFrame(after, columns=["y", "x"]) for _ in "ab"), 1.0, step_um=6.0, step_h=1.0)
    displaced = after + rng.normal(0, 6.0, (300, *after.shape))
    right = cKDTree(after).query(displaced)[1] == np.arange(len(after))
    assert found.ceiling == pytest.approx(right.mean(), abs=0.01)
    assert found.ceiling > identity_ceiling(1 / 400, 6.0, 2) + 0.05


def test_fast_cells_are_not_and_the_sentence_says_why():
    before = cells()
    found = carry_over(before, moved(before, 40.0), 16.0, step_um=10.0, step_h=1.0)
    assert not found.allowed
    assert found.links.empty
    assert "chance of 0." in found.reason
    assert "bar 0.90" in found.reason


def test_cells_of_another_organoid_are_not_carried_over():
    found = carry_over(cells(seed=0), cells(seed=9), 1.0, step_um=1.0, step_h=1.0)
    assert not found.allowed
    assert "no nearer than at random" in found.reason


def test_impossible_gaps_are_refused():
    with pytest.raises(SettingsError, match="gap_h"):
        carry_over(cells(), cells(), 0.0, step_um=1.0, step_h=1.0)
    with pytest.raises(TableError, match="lack the column"):
        carry_over(cells().drop(columns="x"), cells(), 1.0, step_um=1.0, step_h=1.0)
    with pytest.raises(TableError, match="different coordinates"):
        carry_over(cells(), cells(z=100.0), 1.0, step_um=1.0, step_h=1.0)
    assert not carry_over(cells(n=0), cells(), 1.0, step_um=1.0, step_h=1.0).allowed


def well(seed, n=40):
    rng = np.random.default_rng(seed)
    place = rng.uniform(0, 5000, (n, 2))
    return pd.DataFrame(
        {"colony": np.arange(1, n + 1), "y": place[:, 0], "x": place[:, 1], "radius": rng.lognormal(4.2, 0.35, n)}
    )


def weeks(first, seed):
    out = [first]
    rng = np.random.default_rng(seed)
    for _ in range(2):
        last = out[-1]
        out.append(
            last.assign(y=last["y"] + rng.normal(0, 20, len(last)), x=last["x"] + rng.normal(0, 20, len(last)),
                        radius=last["radius"] * 1.2)
        )  # fmt: skip
    return out


def test_swapped_wells_are_told_and_right_ones_are_not():
    series = {name: weeks(well(k), k) for k, name in enumerate(("A01_f00", "A02_f00", "B01_f00"))}
    assert swapped_wells(series).empty
    mixed = dict(series)
    a, b = series["A01_f00"], series["A02_f00"]
    mixed["A01_f00"], mixed["A02_f00"] = [a[0], b[1].assign(session=1), b[2]], [b[0], a[1].assign(session=1), a[2]]
    found = swapped_wells(mixed)
    assert found[["position", "session", "looks_like", "mutual"]].to_numpy().tolist() == [
        ["A01_f00", 1, "A02_f00", True],
        ["A02_f00", 1, "A01_f00", True],
    ]
    assert "probably swapped" in found["sentence"].iloc[0]
    assert "Nothing was re-assigned" in found["sentence"].iloc[0]

"""Structures given as spots, the window that points suggest, and surroundings asked for many frames."""

import numpy as np
import pandas as pd
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.niche import NicheSettings, Spots, Surroundings, measure_niche, window_of_points


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (4.0, 1.0, 1.0)])
def test_spots_have_exact_distances_at_cells_and_a_field(spacing):
    rng = np.random.default_rng(0)
    shape = tuple(int(60 / s) for s in spacing)
    size = (np.asarray(shape) - 1) * spacing
    spots = Spots(rng.uniform(0, 1, (25, len(spacing))) * size)
    places = rng.uniform(0, 1, (200, len(spacing))) * size
    direct = np.linalg.norm(places[:, None] - spots.points[None], axis=-1).min(axis=1)
    assert spots.distance(places) == pytest.approx(direct)
    field = spots.field(shape, spacing)
    for index in rng.integers(0, shape, (50, len(shape))):
        centre = index * np.asarray(spacing)
        assert field[tuple(index)] == pytest.approx(np.linalg.norm(spots.points - centre, axis=1).min(), rel=1e-5)
    assert np.isinf(Spots(np.zeros((0, 2))).field((4, 5), (1.0, 1.0))).all()
    columns = list(("z", "y", "x")[3 - len(spacing) :])
    cells = pd.DataFrame(places, columns=columns)
    near = direct < np.median(direct)
    result = measure_niche(
        cells=cells, classes={"all": np.ones(200, bool), "near": near}, structures={"bone": spots},
        tissue=np.ones(shape, bool), spacing=spacing, settings=NicheSettings(n_simulations=99, n_uniform=19, r_max=10),
    )  # fmt: skip
    assert result.per_cell["distance_bone"].to_numpy() == pytest.approx(direct)
    row = result.metrics.set_index(["metric", "subject"]).loc[("proximity_effect_bone", "near")]
    assert row["p_value"] == pytest.approx(0.01)
    assert (result.metrics["metric"] == "vessel_length_density").sum() == 1  # named as missing, not left out


def test_no_spot_and_a_graph_of_spots_are_nan_with_a_reason():
    cells = pd.DataFrame({"y": [3.0, 5.0], "x": [3.0, 9.0]})
    result = measure_niche(
        cells=cells, classes={"all": [True, True]}, tissue=np.ones((20, 20), bool), spacing=(1.0, 1.0),
        structures={"vessel": Spots(np.array([[2.0, 2.0]])), "bone": Spots(np.zeros((0, 2)))},
        settings=NicheSettings(n_simulations=19, n_uniform=19),
    )  # fmt: skip
    table = result.metrics.set_index(["metric", "subject"])
    assert "given as spots" in table.loc[("vessel_length_density", "tissue"), "note"]
    assert table.loc[("median_distance_bone", "all"), "note"] == "structure 'bone' is empty"
    assert np.isnan(table.loc[("median_distance_bone", "all"), "value"])


def test_window_of_points_closes_gaps_up_to_twice_the_radius():
    # Two rows of points 30 µm apart, and a third 100 µm away.
    row = np.arange(0, 200, 5.0)
    points = np.concatenate([np.column_stack([np.full(40, y), row]) for y in (0.0, 30.0, 130.0)])
    mask, spacing, origin = window_of_points(points, voxel=2.0, closing=20.0)
    assert spacing == (2.0, 2.0)
    held = np.round((np.array([[15.0, 100.0], [80.0, 100.0], [130.0, 50.0]]) - origin) / 2).astype(int)
    assert mask[tuple(held.T)].tolist() == [True, False, True]
    # What lies between the two near rows, less the arcs of 20 µm at both ends, and a rim of up to half a voxel.
    area = mask[: int((60 - origin[0]) / 2)].sum() * 4.0
    arc = 20**2 * np.arcsin(15 / 20) - 15 * np.sqrt(20**2 - 15**2)
    assert 30 * 195 - 2 * arc - 60 < area < 30 * 195 - 2 * arc + 460
    for bad in ({"voxel": 0.0, "closing": 1.0}, {"voxel": 1e-4, "closing": 1.0}):
        with pytest.raises(SettingsError):
            window_of_points(points, **bad)
    with pytest.raises(SettingsError, match="no point"):
        window_of_points(np.zeros((0, 3)), voxel=1.0, closing=5.0)


@pytest.mark.parametrize("flat", [True, False])
def test_surroundings_asked_again_and_again_equal_those_of_a_frame(flat):
    rng = np.random.default_rng(1)
    shape, spacing = ((1, 60, 60), (3.0, 1.0, 1.0)) if flat else ((10, 60, 60), (3.0, 1.0, 1.0))
    vessel = np.zeros(shape, bool)
    vessel[:, 20:25] = True
    tissue = np.ones(shape, bool)
    tissue[:, :, 50:] = False
    settings = NicheSettings(n_simulations=19, n_uniform=19, shrinkage_xy=0.8, shrinkage_z=0.5, density_radius=12)
    ready = Surroundings({"vessel": vessel}, tissue, spacing, settings)
    for n in (0, 1, 40):
        cells = pd.DataFrame(
            {"label": np.arange(n) + 5, "z": 0.0, "y": rng.uniform(0, 59, n), "x": rng.uniform(0, 59, n)}
        )
        classes = {"all": np.ones(n, bool), "a": np.arange(n) % 2 == 0}
        whole = measure_niche(
            cells=cells, classes=classes, structures={"vessel": vessel}, tissue=tissue, spacing=spacing,
            settings=settings,
        )  # fmt: skip
        pd.testing.assert_frame_equal(ready.of(cells, classes), whole.per_cell)
    # Native lengths: 10 imaged µm beyond the vessel's surface (24.5 px) are 12.5.
    one = ready.of(pd.DataFrame({"z": [0.0], "y": [34.5], "x": [20.0]}), {})
    assert one["distance_vessel"].iloc[0] == pytest.approx(12.5, abs=0.05)

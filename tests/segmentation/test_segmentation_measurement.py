"""Measurements of cells against scikit-image and against values put into the image."""

import numpy as np
import pytest

from napari_marrow.segmentation import measure_cells
from napari_marrow.segmentation.measurement import background_rings


def ellipses(shape=(80, 100)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for k, (cy, cx, a, b, angle) in {
        2: (20, 25, 12, 6, 0.4),
        3: (55, 30, 8, 8, 0.0),
        7: (40, 80, 15, 5, 1.9),
        9: (0, 60, 6, 6, 0.0),
    }.items():
        u = (y - cy) * np.cos(angle) + (x - cx) * np.sin(angle)
        v = (x - cx) * np.cos(angle) - (y - cy) * np.sin(angle)
        labels[(u / a) ** 2 + (v / b) ** 2 <= 1] = k
    return labels


def test_against_scikit_image():
    measure = pytest.importorskip("skimage.measure")
    labels = ellipses()
    image = np.random.default_rng(0).poisson(100, (2, 1, *labels.shape)).astype(np.uint16)
    table = measure_cells(labels[None], image, ["nuclei", "CD31"], spacing=(1.0, 0.5, 0.5))
    regions = measure.regionprops(labels, image[0, 0])
    assert table["label"].tolist() == [r.label for r in regions]
    np.testing.assert_allclose(table[["y", "x"]], np.array([r.centroid for r in regions]) * 0.5)
    np.testing.assert_allclose(table["area"], [r.area * 0.25 for r in regions])
    np.testing.assert_allclose(table["eccentricity"], [r.eccentricity for r in regions], atol=1e-6)
    values = [image[0, 0][labels == r.label] for r in regions]
    np.testing.assert_allclose(table["sd_nuclei"], [v.std() for v in values])
    assert table["touches_border"].tolist() == [False, False, False, True]


def test_eccentricity_uses_the_pixel_size():
    y, x = np.mgrid[:60, :60]
    labels = (((y - 30) / 10) ** 2 + ((x - 30) / 20) ** 2 <= 1).astype(np.int32)
    image = np.zeros((1, 1, 60, 60))
    round_cell = measure_cells(labels[None], image, ["a"], spacing=(1, 2.0, 1.0))
    assert round_cell["eccentricity"][0] < 0.25  # a circle of 20 pixel rows
    long_cell = measure_cells(labels[None], image, ["a"], spacing=(1, 1.0, 1.0))
    assert long_cell["eccentricity"][0] == pytest.approx(np.sqrt(1 - 0.25), abs=0.01)


def test_local_background_is_taken_off():
    labels = ellipses()
    slope = 100 + 2.0 * np.arange(labels.shape[1])[None, :] + np.zeros(labels.shape)
    image = slope + np.select([labels == 2, labels == 3, labels == 7, labels == 9], [50, 0, 300, 20], 0)
    table = measure_cells(labels[None], image[None, None], ["nuclei"], spacing=(1, 1, 1)).set_index("label")
    np.testing.assert_allclose(table.loc[[2, 3, 7], "intensity_nuclei"], [50, 0, 300], atol=2.0)


def test_background_of_crowded_cells_leaves_neighbours_out():
    labels = np.zeros((1, 30, 60), np.int32)
    labels[0, 10:20, 10:20] = 1
    labels[0, 10:20, 22:32] = 2  # two px away
    image = np.full((1, 1, 30, 60), 10.0)
    image[0, 0, 10:20, 10:20] = 110
    image[0, 0, 10:20, 22:32] = 1010
    table = measure_cells(labels, image, ["n"], spacing=(1, 1, 1))
    np.testing.assert_allclose(table["intensity_n"], [100, 1000])
    np.testing.assert_allclose(table["sd_n"], 0)


def test_cell_without_any_background():
    labels = np.ones((1, 6, 6), np.int32)
    table = measure_cells(labels, np.full((1, 1, 6, 6), 5.0), ["n"], spacing=(1, 1, 1))
    assert table["intensity_n"][0] == 5
    assert table["touches_border"][0]


def test_rings_lie_between_gap_and_width():
    labels = np.zeros((41, 41), np.int32)
    labels[18:23, 18:23] = 4
    rings = background_rings(labels, 1, 4)
    y, x = np.nonzero(rings)
    distance = np.hypot(np.maximum(np.abs(y - 20) - 2, 0), np.maximum(np.abs(x - 20) - 2, 0))
    assert set(np.unique(rings)) == {0, 4}
    assert distance.min() > 1
    assert distance.max() < 6
    assert rings[20, 20 + 2 + 5] == 4
    assert rings[20, 20 + 2 + 6] == 0


def test_volume():
    labels = np.zeros((4, 10, 10), np.int32)
    labels[1:3, 2:6, 3:5] = 1
    labels[0, 8, 8] = 2
    image = np.ones((1, 4, 10, 10))
    table = measure_cells(labels, image, ["n"], spacing=(3.0, 0.5, 0.25))
    np.testing.assert_allclose(table.loc[0, ["z", "y", "x"]].astype(float), [4.5, 3.5 * 0.5, 3.5 * 0.25])
    np.testing.assert_allclose(table["area"], [16 * 3 * 0.5 * 0.25, 3 * 0.5 * 0.25])
    assert table["eccentricity"].isna().all()
    assert table["touches_border"].tolist() == [False, True]


def test_no_cells_gives_an_empty_table_with_all_columns():
    table = measure_cells(np.zeros((1, 8, 8), np.int32), np.zeros((1, 1, 8, 8)), ["nuclei"], spacing=(1, 1, 1))
    assert len(table) == 0
    assert list(table) == [
        "label", "z", "y", "x", "area", "eccentricity", "touches_border", "intensity_nuclei", "sd_nuclei",
    ]  # fmt: skip


def test_shapes_must_fit():
    with pytest.raises(ValueError, match="do not belong together"):
        measure_cells(np.zeros((1, 8, 8), int), np.zeros((2, 1, 8, 8)), ["one"], spacing=(1, 1, 1))
    with pytest.raises(ValueError, match="Spacing"):
        measure_cells(np.zeros((1, 8, 8), int), np.zeros((1, 1, 8, 8)), ["one"], spacing=(1,))

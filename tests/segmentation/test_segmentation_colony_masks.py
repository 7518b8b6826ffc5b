"""Colony masks from cells, a channel and bright field: drawn shapes and the simulator's truth."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from napari_marrow import simulation
from napari_marrow.errors import SettingsError
from napari_marrow.segmentation import (
    cluster_colonies,
    colonies_from_brightfield,
    colonies_from_cells,
    colonies_from_channel,
)
from napari_marrow.segmentation.gaps import close_gaps


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture(scope="module")
def scene():
    """One organoid in a frame of 300 x 300 px with its colonies."""
    scenario = replace(
        simulation.preset("tutorial", seed=41),
        sessions=(simulation.SessionPlan("sparse", 144.0, channels=("nuclei", "scaffold", "brightfield")),),
        geometry=simulation.Geometry(radius_um=130.0),
        imaging=simulation.Imaging(shape=(1, 300, 300)),
        design=simulation.Design(),
    )
    experiment = simulation.simulate(scenario)
    session = experiment.sessions(experiment.positions[0])[0]
    truth = simulation.true_structures(experiment, session, 0)
    frame = dict(zip(session.channels, session.frame(0)[:, 0], strict=True))
    return frame, session.labels(0)[0], truth, session.spacing[1:]


def discs(shape, places, radius):
    y, x = np.indices(shape)
    labels = np.zeros(shape, np.int32)
    for k, (cy, cx) in enumerate(places, start=1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = k
    return labels


def test_a_closed_gap_between_two_half_planes_is_filled_and_a_wide_one_is_not():
    mask = np.zeros((60, 80), bool)
    mask[:, :20] = mask[:, 34:] = True
    inner = np.s_[10:50, 20:34]  # at the image's edge the disc comes in from outside
    assert close_gaps(mask, (1, 1), 16)[inner].all()
    assert not close_gaps(mask, (1, 1), 12)[inner].any()
    assert close_gaps(mask, (0.5, 0.5), 8)[inner].all()  # the same gap in µm


def test_the_number_in_the_image_is_that_of_the_colony():
    labels = discs((100, 160), [(30, 30), (30, 44), (44, 37), (60, 120), (60, 134), (90, 10)], 5)
    masks = colonies_from_cells(labels, np.array([0, 7, 7, 7, 3, 3, 0]), spacing=(1, 1), gap=18)
    assert set(np.unique(masks.labels)) == {0, 3, 7}
    assert masks.table["colony"].tolist() == [3, 7]
    for cell, colony in ((1, 7), (2, 7), (3, 7), (4, 3), (5, 3)):
        assert (masks.labels[labels == cell] == colony).all()
    assert masks.labels[35, 37] == 7  # between the three cells
    assert masks.labels[90, 10] == 0  # a cell without a colony
    assert ndimage.label(masks.labels == 3)[1] == 1
    np.testing.assert_allclose(masks.table.set_index("colony").loc[3, ["y", "x"]].astype(float), [60, 127], atol=0.01)


def test_colonies_of_a_volume_with_flat_voxels():
    labels = np.zeros((12, 60, 60), np.int32)
    for k, z in enumerate((2, 5, 8), start=1):
        labels[z, 25:32, 25:32] = k
    masks = colonies_from_cells(labels, np.array([0, 1, 1, 1]), spacing=(4, 1, 1), gap=18)
    assert (masks.labels[2:9, 28, 28] == 1).all()
    assert not masks.labels[0].any()
    assert masks.table.loc[0, "z"] == pytest.approx(20)
    assert masks.table.loc[0, "area"] == pytest.approx((masks.labels > 0).sum() * 4)


def test_masks_from_cells_agree_with_the_simulator(scene):
    _, labels, truth, spacing = scene
    ids = np.unique(labels)[1:]
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, ids)) * spacing
    colony = np.zeros(labels.max() + 1, np.int32)
    colony[ids] = cluster_colonies(centres, distance=18, min_cells=5)
    masks = colonies_from_cells(labels, colony, spacing=spacing, gap=18)
    assert masks.labels.max() == truth.colonies.max()
    assert dice(masks.labels > 0, truth.colonies[0] > 0) > 0.92
    assert (masks.table["contrast"] > 1).all()


@pytest.mark.parametrize("source", ["nuclei", "brightfield"])
def test_masks_from_images_agree_with_the_simulator(scene, source):
    frame, _, truth, spacing = scene
    find = {"nuclei": colonies_from_channel, "brightfield": colonies_from_brightfield}[source]
    within = (truth.organoid & ~truth.scaffold)[0]
    masks = find(frame[source], spacing=spacing, within=within)
    assert dice(masks.labels > 0, truth.colonies[0] > 0) > 0.8
    assert not (masks.labels[~within] > 0).any()
    assert (masks.table["contrast"] > 0.8).all()


def test_touching_colonies_are_cut_and_a_bean_is_not():
    y, x = np.mgrid[:160, :260]
    two = ((y - 80) ** 2 + (x - 80) ** 2 < 45**2) | ((y - 80) ** 2 + (x - 165) ** 2 < 45**2)
    bean = ((y - 80) ** 2 + (x - 80) ** 2 < 45**2) | ((y - 80) ** 2 + (x - 120) ** 2 < 45**2)
    rng = np.random.default_rng(0)
    for shape, n in ((two, 2), (bean, 1)):
        image = rng.poisson(100 + 80 * shape)
        masks = colonies_from_channel(image, spacing=(1, 1))
        assert masks.labels.max() == n
        assert dice(masks.labels > 0, shape) > 0.96
        assert colonies_from_channel(image, spacing=(1, 1), split=0).labels.max() == 1


def test_sizes_are_bounded_in_micrometres():
    y, x = np.mgrid[:200, :200]
    image = 100 + 100 * ((y - 60) ** 2 + (x - 60) ** 2 < 20**2) + 100 * ((y - 140) ** 2 + (x - 140) ** 2 < 36**2)
    image = np.random.default_rng(1).poisson(image)
    areas = {name: len(colonies_from_channel(image, spacing=(1, 1), **bounds).table) for name, bounds in
             (("all", {}), ("large", {"min_diameter": 50}), ("small", {"max_diameter": 50}))}  # fmt: skip
    assert areas == {"all": 2, "large": 1, "small": 1}
    assert len(colonies_from_channel(image, spacing=(0.5, 0.5)).table) == 1  # 20 µm is too small


@pytest.mark.parametrize("find", [colonies_from_channel, colonies_from_brightfield])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_empty_fields_have_no_colonies(find, seed):
    y, x = np.mgrid[-1:1:300j, -1:1:300j]
    medium = np.random.default_rng(seed).poisson(1500 * (1 - 0.4 * (y**2 + (x - 0.2) ** 2) / 2))
    masks = find(medium, spacing=(1, 1))
    assert masks.labels.shape == (300, 300)
    assert not masks.labels.any()
    assert masks.table.empty
    assert not find(np.full((40, 40), 9), spacing=(1, 1)).labels.any()
    assert not find(np.zeros((3, 3)), spacing=(1, 1)).labels.any()


def test_bright_field_leaves_bubbles_scaffold_and_the_well_edge_out():
    y, x = np.mgrid[:300, :300]
    light = np.full((300, 300), 1500.0)
    light[(y - 80) ** 2 + (x - 80) ** 2 < 30**2] *= 0.4  # bubble
    light[np.abs(np.hypot(y - 80, x - 80) - 30) < 3] *= 2.2  # its rim
    light[200:230, 40:200] *= 0.15  # a strut
    light[np.hypot(y - 150, x - 150) > 190] *= 0.3  # the well's edge
    light[150, 250] = 20000  # a speck
    assert not colonies_from_brightfield(np.random.default_rng(0).poisson(light), spacing=(1, 1)).labels.any()


def test_a_stack_in_bright_field_gets_one_mask_for_all_planes(scene):
    frame, _, _, spacing = scene
    sharp = frame["brightfield"]
    flat = np.full_like(sharp, np.median(sharp))
    masks = colonies_from_brightfield(np.stack([flat, sharp, flat]), spacing=(5, *spacing))
    plane = colonies_from_brightfield(sharp, spacing=spacing)
    np.testing.assert_array_equal(masks.labels[0], plane.labels)
    np.testing.assert_array_equal(masks.labels[0], masks.labels[2])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: colonies_from_channel(np.full((9, 9), np.nan), spacing=(1, 1)), "not finite"),
        (lambda: colonies_from_channel(np.zeros((9, 9)), spacing=(1, 0)), "not positive"),
        (lambda: colonies_from_channel(np.zeros((9, 9)), spacing=(1, 1), gap=0), "gap is 0"),
        (lambda: colonies_from_channel(np.zeros((9, 9)), spacing=(1, 1), within=np.ones((8, 9))), "must be alike"),
        (lambda: colonies_from_brightfield(np.zeros((2, 2, 9, 9)), spacing=(1, 1)), "do not fit"),
        (lambda: colonies_from_brightfield(np.zeros((0, 9)), spacing=(1, 1)), "no pixels"),
        (lambda: colonies_from_cells(np.ones((9, 9), int), np.array([0]), spacing=(1, 1)), "labels up to 1"),
        (lambda: colonies_from_cells(np.ones((9, 9)), np.array([0, 1]), spacing=(1, 1)), "whole numbers"),
        (lambda: colonies_from_channel(np.array([["a"]]), spacing=(1, 1)), "grey values"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(SettingsError, match=words):
        call()

"""Vessel, organoid and scaffold masks of drawn structures with noise."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_marrow.errors import SettingsError
from napari_marrow.niche import vessel_graph
from napari_marrow.segmentation import (
    organoid_labels,
    organoid_mask,
    scaffold_mask,
    scaffold_threshold,
    tissue_signal,
    vessel_mask,
)
from napari_marrow.segmentation.lumens import fill_lumens


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def tubes(n=300, spacing=1.02):
    y, x = np.mgrid[:n, :n] * spacing
    truth = np.zeros((n, n), bool)
    for radius, y0, phase in ((5, 50, 0), (10, 130, 1), (25, 230, 2)):
        slope = 15 / 40 * np.cos(x / 40 + phase)
        truth |= np.abs(y - y0 - 15 * np.sin(x / 40 + phase)) / np.sqrt(1 + slope**2) < radius
    return truth


@pytest.mark.parametrize("noise", [5, 60])
def test_vessels_of_radius_5_to_25(noise):
    truth = tubes()
    rng = np.random.default_rng(0)
    image = rng.poisson(100 + 200 * gaussian_filter(truth.astype(float), 1)) + rng.normal(0, noise, truth.shape)
    assert dice(vessel_mask(image, spacing=(1.02, 1.02)), truth) > 0.9


def test_vessels_do_not_depend_on_the_unit_of_intensity():
    truth = tubes()
    image = np.random.default_rng(0).poisson(100 + 200 * truth).astype(float)
    mask = vessel_mask(image, spacing=(1.02, 1.02))
    assert (mask == vessel_mask(7 * image + 1000, spacing=(1.02, 1.02))).mean() > 0.999


def test_vessel_in_a_volume_of_flat_voxels():
    z, y, x = np.mgrid[:24, :70, :70]
    truth = (2.0 * z - 24) ** 2 + (y - 35 - 8 * np.sin(x / 20)) ** 2 < 36
    image = np.random.default_rng(1).poisson(100 + 200 * truth)
    assert dice(vessel_mask(image, spacing=(2.0, 1.0, 1.0), radii=(4.0, 8.0)), truth) > 0.9


def test_noise_alone_has_no_structure():
    noise = np.random.default_rng(2).poisson(100, (300, 300))
    assert vessel_mask(noise, spacing=(1, 1)).mean() < 0.002
    assert not scaffold_mask(noise, spacing=(1, 1)).any()
    assert organoid_mask(noise, spacing=(1, 1)).all()  # nothing stands out: the tissue fills the frame


def test_constant_images():
    flat = np.full((60, 60), 7, np.uint16)
    assert not vessel_mask(flat, spacing=(1, 1)).any()
    assert not scaffold_mask(flat, spacing=(1, 1)).any()
    assert organoid_mask(flat, spacing=(1, 1)).all()


def test_organoid_with_a_hole_and_a_stray():
    y, x = np.mgrid[:300, :300]
    truth = (y - 140) ** 2 + (x - 130) ** 2 < 90**2
    hollow = truth & ((y - 140) ** 2 + (x - 130) ** 2 > 40**2)
    stray = (y - 270) ** 2 + (x - 270) ** 2 < 12**2
    image = np.random.default_rng(3).poisson(100 + 60 * (hollow | stray))
    assert dice(organoid_mask(image, spacing=(1, 1), smoothing=6), truth) > 0.97


def test_scaffold_struts_without_specks():
    y, x = np.mgrid[:200, :200]
    struts = ((y // 30) % 3 == 0) & ((x // 50) % 2 == 0)
    image = 100 + 400 * struts
    image[150, 150] = 5000
    mask = scaffold_mask(np.random.default_rng(4).poisson(image), spacing=(1, 1))
    assert dice(mask, struts) > 0.97
    assert not mask[150, 150]


def test_spacing_must_fit():
    with pytest.raises(SettingsError, match="do not fit"):
        vessel_mask(np.zeros((5, 20, 20)), spacing=(1, 1))


def test_vessels_in_parts_are_those_of_the_whole():
    truth = np.tile(tubes(), (1, 2))
    image = np.random.default_rng(5).poisson(100 + 200 * truth)
    whole = vessel_mask(image, spacing=(1.02, 1.02))
    parts = vessel_mask(image, spacing=(1.02, 1.02), block_voxels=1 << 15)
    assert dice(whole, parts) > 0.99


def test_vessels_of_a_tissue_brighter_than_the_medium_and_fibrous():
    truth = tubes()
    y, x = np.mgrid[:300, :300]
    tissue = (y - 150) ** 2 + (x - 150) ** 2 < 130**2
    rng = np.random.default_rng(6)
    fibres = gaussian_filter(rng.normal(0, 1, truth.shape), 3)
    image = rng.poisson(20 + tissue * (25 + 40 * np.clip(fibres / fibres.std(), 0, 1) + 150 * truth))
    mask = vessel_mask(image, spacing=(1.02, 1.02), within=tissue)
    assert dice(mask, truth & tissue) > 0.85
    assert not mask[~tissue].any()
    with pytest.raises(SettingsError, match="must be alike"):
        vessel_mask(image, spacing=(1.02, 1.02), within=tissue[:9])


def test_a_hollow_vessel_in_a_volume_is_filled():
    z, y, _ = np.mgrid[:40, :60, :60]
    away = np.hypot(z - 20, y - 30)
    image = np.random.default_rng(7).poisson(100 + 300 * np.exp(-0.5 * ((away - 10) / 1.5) ** 2))
    mask = vessel_mask(image, spacing=(1, 1, 1), radii=(3, 6, 12))
    assert dice(mask, away < 12) > 0.85
    assert mask[20, 30].all()
    assert not vessel_mask(image, spacing=(1, 1, 1), radii=(3, 6, 12), fill_lumen=False)[20, 30].any()


def test_a_hollow_vessel_has_one_centreline_through_its_middle():
    z, y, x = np.mgrid[:30, :80, :90]
    middle = 40 + 6 * np.sin(x / 18)
    away = np.hypot(2.0 * z - 30, y - middle)
    wall = np.exp(-0.5 * ((away - 12) / 1.5) ** 2)
    image = np.random.default_rng(9).poisson(100 + 300 * wall)
    mask = vessel_mask(image, spacing=(2.0, 1.0, 1.0))
    graph = vessel_graph(mask, (2.0, 1.0, 1.0))
    true = np.hypot(1.0, np.diff(40 + 6 * np.sin(np.arange(90) / 18))).sum()
    assert graph.n_loops == 0
    assert graph.length == pytest.approx(true, rel=0.08)
    walls_alone = vessel_mask(image, spacing=(2.0, 1.0, 1.0), fill_lumen=False)
    assert vessel_graph(walls_alone, (2.0, 1.0, 1.0)).length > 1.5 * true


@pytest.mark.parametrize("planes", [5, 30])
def test_tissue_between_two_vessels_is_no_lumen(planes):
    z, y, _ = np.mgrid[:planes, :80, :80]
    depth = z - planes // 2
    image = np.float32(100) + 300 * ((np.hypot(depth, y - 28) < 5) | (np.hypot(depth, y - 52) < 5)).astype(np.float32)
    assert fill_lumens(image, (1.0, 1.0, 1.0))[:, 38:43].max() < 150


def test_one_threshold_for_the_session_keeps_an_empty_frame_empty():
    y, x = np.mgrid[:200, :200]
    struts = ((y // 30) % 3 == 0) & ((x // 50) % 2 == 0)
    rng = np.random.default_rng(8)
    full, empty = rng.poisson(100 + 400 * struts), rng.poisson(100, (200, 200))
    threshold = scaffold_threshold([full, empty, empty], spacing=(1, 1))
    assert threshold.n_frames == 3
    assert dice(scaffold_mask(full, spacing=(1, 1), threshold=threshold.value), struts) > 0.97
    assert not scaffold_mask(empty, spacing=(1, 1), threshold=threshold.value).any()
    nothing = scaffold_threshold([empty], spacing=(1, 1))
    assert nothing.value == np.inf
    assert nothing.separation == pytest.approx(2.65, abs=0.15)
    with pytest.raises(SettingsError, match="at least one frame"):
        scaffold_threshold([], spacing=(1, 1))


def test_several_organoids_are_numbered_from_the_largest():
    y, x = np.mgrid[:300, :400]
    large, small = (y - 150) ** 2 + (x - 290) ** 2 < 90**2, (y - 100) ** 2 + (x - 90) ** 2 < 60**2
    image = np.random.default_rng(9).poisson(100 + 60 * (large | small))
    labels = organoid_labels(image, spacing=(1, 1), smoothing=6)
    assert labels.dtype == np.int32
    assert dice(labels == 1, large) > 0.97
    assert dice(labels == 2, small) > 0.97
    assert organoid_labels(image, spacing=(1, 1), smoothing=6, max_organoids=1).max() == 1
    assert organoid_labels(image, spacing=(1, 1), smoothing=6, min_diameter=140).max() == 1


def test_the_tissue_shows_between_bright_cells():
    y, x = np.mgrid[:320, :320]
    tissue = (y - 160) ** 2 + (x - 150) ** 2 < 110**2
    cells = tissue & ((y % 16 - 8) ** 2 + (x % 16 - 8) ** 2 < 25) & (x > 150)
    rng = np.random.default_rng(10)
    channels = [rng.poisson(8 + 9 * tissue + 300 * cells) for _ in range(3)]
    signal = tissue_signal(channels, spacing=(1, 1))
    assert dice(organoid_mask(signal, spacing=(1, 1), smoothing=6), tissue) > 0.97
    assert dice(organoid_mask(sum(channels), spacing=(1, 1), smoothing=6), tissue) < 0.8  # the cells win
    for n in (1, 5, 37, 300, 301, 302, 303):  # whatever is left over beside whole squares
        assert tissue_signal([rng.poisson(9, (n, 2 * n))], spacing=(1, 1)).shape == (n, 2 * n)
    with pytest.raises(SettingsError, match="at least one channel"):
        tissue_signal([], spacing=(1, 1))
    with pytest.raises(SettingsError, match="must be alike"):
        tissue_signal([channels[0], channels[1][:9]], spacing=(1, 1))


@pytest.mark.parametrize("find", [vessel_mask, organoid_mask, scaffold_mask])
def test_pixels_that_are_no_numbers_and_tiny_images(find):
    with pytest.raises(SettingsError, match="not finite"):
        find(np.full((20, 20), np.nan), spacing=(1, 1))
    assert find(np.arange(4.0).reshape(2, 2), spacing=(1, 1)).shape == (2, 2)

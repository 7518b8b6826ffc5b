"""Vessel, organoid and scaffold masks of drawn structures with noise."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_marrow.errors import SettingsError
from napari_marrow.segmentation import organoid_mask, scaffold_mask, vessel_mask


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

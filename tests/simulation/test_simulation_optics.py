"""Light and noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from napari_marrow.simulation import Imaging, optics


@pytest.mark.parametrize("mean", [0.7, 3.0, 8.0, 40.0, 300.0])
def test_light_has_the_moments_of_poisson(mean):
    sample = optics.poisson(np.full(400_000, mean, np.float32), np.random.default_rng(1)).astype(float)
    assert sample.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean / 4e5))
    assert sample.var() == pytest.approx(mean + (1 / 18 if mean >= 4 else 0), rel=0.02)
    assert stats.skew(sample) == pytest.approx(1 / np.sqrt(mean), abs=0.04)


def test_camera_counts_follow_the_photon_transfer_line():
    imaging = Imaging(gain=2.0, read_noise_electrons=3.0, offset=100.0)
    rng = np.random.default_rng(3)
    for electrons in (0.0, 20.0, 500.0):
        counts = optics.expose(np.full(200_000, electrons, np.float32), imaging, rng)
        assert counts.dtype == np.uint16
        assert counts.mean() == pytest.approx(100.0 + 2.0 * electrons, abs=0.3)
        assert counts.var() == pytest.approx(4.0 * (electrons + 9.0) + 1 / 12, rel=0.03)


def test_camera_saturates():
    assert (
        optics.expose(np.full(10, 1e6, np.float32), Imaging(full_scale=4095), np.random.default_rng(0)) == 4095
    ).all()


def test_point_spread_has_the_stated_width_and_keeps_light():
    imaging = Imaging(shape=(1, 65, 65), spacing_um=(1.0, 0.1, 0.1), numerical_aperture=0.3, haze=0.0)
    point = np.zeros((1, 65, 65), np.float32)
    point[0, 32, 32] = 1000.0
    image = optics.blur(point, imaging, "CD31")[0]
    x = (np.arange(65) - 32) * 0.1
    sigma = np.sqrt((image.sum(axis=0) * x**2).sum() / image.sum())
    assert sigma * optics.FWHM == pytest.approx(0.51 * 0.52 / 0.3, rel=0.03)
    assert image.sum() == pytest.approx(1000.0, rel=1e-3)
    axial, lateral = optics.psf_sigma_um(imaging, "CD31")
    assert axial / lateral == pytest.approx(4.0)
    assert optics.psf_sigma_um(imaging, "CD31", 100.0)[1] == pytest.approx(1.5 * lateral)


def test_haze_spreads_light_without_making_it():
    imaging = Imaging(shape=(1, 130, 126), haze=0.5)
    point = np.zeros((1, 130, 126), np.float32)
    point[0, 60:66, 60:66] = 100.0
    image = optics.blur(point, imaging, "nuclei")
    assert image.shape == point.shape
    assert image.sum() == pytest.approx(point.sum(), rel=0.02)
    assert 0 < image[0, 63, 75] < 10


def test_shading_loses_the_stated_share_in_the_farthest_corner():
    field = optics.shading_field(Imaging(shading=0.25), 0, seed=5)
    assert field.min() == pytest.approx(0.75, abs=1e-6)
    assert field.max() == pytest.approx(1.0, abs=1e-3)
    assert not np.array_equal(field, optics.shading_field(Imaging(shading=0.25), 1, seed=5))


def test_bleed_through_goes_to_the_next_channel_only():
    names = ("nuclei", "CD31", "scaffold", "CD41")
    light = np.zeros((4, 1, 2, 2), np.float32)
    light[0] = 100.0
    light[2] = 50.0
    mixed = optics.mix_channels(light, names, 0.1)
    assert mixed[:, 0, 0, 0] == pytest.approx([100.0, 10.0, 50.0, 0.0])

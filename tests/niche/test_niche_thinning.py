"""Thinning keeps topology and loses no vessel."""

import numpy as np
import pytest
from scipy import ndimage

from napari_marrow.niche._thinning import thin


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("ndim", [2, 3])
def test_bars_of_any_width_keep_their_length(width, ndim):
    mask = np.zeros((14,) * (ndim - 1) + (60,), bool)
    mask[(slice(3, 3 + width),) * (ndim - 1) + (slice(5, 55),)] = True
    skeleton = thin(mask)
    assert (skeleton & ~mask).sum() == 0
    assert 50 - width - 1 <= skeleton.sum() <= 52
    assert np.ptp(np.argwhere(skeleton)[:, -1]) >= 50 - width - 2


def test_diagonal_bands_do_not_vanish():
    yy, xx = np.mgrid[:100, :100]
    for width in range(1, 12):
        band = (np.abs(yy - xx) <= width) & (yy + xx > 40) & (yy + xx < 160)
        assert thin(band).sum() >= 60 - width - 3


@pytest.mark.parametrize("shape", [(200, 200), (50, 50, 50)])
def test_components_and_euler_number_are_kept(shape):
    from skimage.measure import euler_number

    rng = np.random.default_rng(0)
    mask = ndimage.gaussian_filter(rng.normal(size=shape), 2.5) > 0.02
    skeleton = thin(mask)
    ndim = len(shape)
    assert euler_number(skeleton, connectivity=ndim) == euler_number(mask, connectivity=ndim)
    structure = np.ones((3,) * ndim)
    assert ndimage.label(skeleton, structure)[1] == ndimage.label(mask, structure)[1]
    assert skeleton.sum() < 0.3 * mask.sum()


def test_nothing_and_one_voxel():
    assert not thin(np.zeros((5, 5), bool)).any()
    one = np.zeros((3, 5, 5), bool)
    one[1, 2, 2] = True
    assert (thin(one) == one).all()

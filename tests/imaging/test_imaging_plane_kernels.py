"""The loops of judging against scipy and numpy."""

import numpy as np
import pytest
from scipy import ndimage

from napari_marrow.imaging.plane_kernels import (
    band_energies,
    block_mean,
    difference_of_gaussians,
    half_kernel,
    mean_diagonal,
)

SHAPES = [(5, 4), (64, 64), (33, 70)]


def plane_of(shape):
    return np.random.default_rng(0).gamma(2.0, 50.0, shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_band_energies_are_those_of_scipys_filters(shape):
    plane = plane_of(shape)
    band = ndimage.gaussian_filter(plane, 1.5, truncate=3.0) - ndimage.gaussian_filter(plane, 3.0, truncate=3.0)
    limit = float(np.median(np.square(band)))
    mean, clipped, largest = band_energies(plane, half_kernel(1.5), half_kernel(3.0), limit, 1)
    assert mean == pytest.approx(np.mean(np.square(band)), rel=1e-4)
    assert clipped == pytest.approx(np.mean(np.minimum(np.square(band), limit)), rel=1e-4)
    assert largest == pytest.approx(np.abs(band).max(), rel=1e-4)
    every = band_energies(plane, half_kernel(1.5), half_kernel(3.0), limit, 3)[0]
    assert every == pytest.approx(np.mean(np.square(band[::3])), rel=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_difference_of_gaussians_is_scipys(shape):
    plane = plane_of(shape)
    fine, coarse = (1.0, 1.5), (3.0, 4.0)
    expected = ndimage.gaussian_filter(plane, fine, mode="nearest", truncate=3.0)
    expected -= ndimage.gaussian_filter(plane, coarse, mode="nearest", truncate=3.0)
    found = difference_of_gaussians(plane, *(half_kernel(s) for s in (*fine, *coarse)))
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_block_means_leave_out_the_incomplete_rest(kind):
    plane = np.arange(7 * 8).reshape(7, 8).astype(kind)
    expected = [[plane[y : y + 3, x : x + 3].mean() for x in (0, 3)] for y in (0, 3)]
    np.testing.assert_allclose(block_mean(plane, 3), expected, rtol=1e-6)


def test_the_mean_diagonal_of_a_chessboard_is_its_contrast():
    board = np.indices((6, 6)).sum(axis=0) % 2 * np.float32(10.0)
    assert mean_diagonal(board) == pytest.approx(20.0)
    assert mean_diagonal(np.add.outer(np.arange(5.0), np.arange(7.0)).astype(np.float32)) == pytest.approx(0.0)

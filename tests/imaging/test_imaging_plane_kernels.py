"""The loops of judging against scipy and numpy."""

import numpy as np
import pytest
from scipy import ndimage

from napari_marrow.imaging.plane_kernels import (
    band_energies,
    block_mean,
    difference_of_gaussians,
    fourier_sums,
    half_kernel,
    mean_diagonal,
    pair_mean,
    sampled_energy,
    survey,
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


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(6, 8), (7, 9), (4, 4)])
def test_one_reading_tells_counts_means_and_noise(kind, shape):
    plane = np.random.default_rng(3).integers(0, 200, shape).astype(kind)
    counts = np.zeros((4, np.iinfo(kind).max + 1), np.int64)
    half = np.empty((shape[0] // 2, shape[1] // 2), np.float32)
    diagonal = survey(plane, counts, half)
    assert np.array_equal(counts.sum(axis=0), np.bincount(plane.ravel(), minlength=counts.shape[1]))
    even = plane[: shape[0] // 2 * 2, : shape[1] // 2 * 2].astype(float)
    expected = even.reshape(shape[0] // 2, 2, shape[1] // 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(half, expected, rtol=1e-6)
    np.testing.assert_allclose(pair_mean(plane), expected, rtol=1e-6)
    second = np.abs(np.diff(np.diff(plane.astype(float), axis=0), axis=1))[::2]
    assert diagonal == pytest.approx(second.mean(), rel=1e-5)
    assert mean_diagonal(plane.astype(np.float32)) == pytest.approx(diagonal, rel=1e-6)


def test_blocks_of_rows_tell_what_all_rows_would():
    plane = plane_of((200, 64))
    band = ndimage.gaussian_filter(plane, 1.0, truncate=3.0) - ndimage.gaussian_filter(plane, 2.0, truncate=3.0)
    starts = [6 + (200 - 16) * block // 7 for block in range(8)]
    rows = np.concatenate([np.square(band[start : start + 4]) for start in starts])
    found = sampled_energy(plane, half_kernel(1.0), half_kernel(2.0), 8, 4)
    assert found == pytest.approx(rows.mean(), rel=1e-4)
    assert found == pytest.approx(np.square(band).mean(), rel=0.15)


def test_sums_of_a_spectrum_are_those_of_matrices():
    rng = np.random.default_rng(4)
    a, b, c = (rng.normal(size=(n, m, 2)).astype(np.float32).view(np.complex64)[..., 0] for n, m in SHAPES_OF_SUMS)
    np.testing.assert_allclose(fourier_sums(a, b, c), (a @ b @ c.T).real, atol=1e-3)


SHAPES_OF_SUMS = [(5, 20), (20, 11), (7, 11)]

"""Differences and eigenvalues against numpy's, coarse grids against fine ones, blocks against the whole."""

import numpy as np
import pytest
from scipy import ndimage

from napari_marrow.segmentation.background import fit_background
from napari_marrow.segmentation.blocks import blocks
from napari_marrow.segmentation.curvature import gradient, hessian_eigenvalues, symmetric_eigenvalues
from napari_marrow.segmentation.resolution import block_mean, enlarge, factors_for, repeat_blocks, smooth_coarse


@pytest.mark.parametrize("n", [2, 3])
def test_eigenvalues_are_numpys(n):
    rng = np.random.default_rng(0)
    matrices = rng.normal(0, 1, (500, n, n)).astype(np.float32)
    matrices = matrices + matrices.transpose(0, 2, 1)
    matrices[0] = 0
    matrices[1] = 3 * np.eye(n)
    matrices[2] = np.outer([1.0] * n, [1.0] * n)  # all but one eigenvalue equal
    row, column = np.triu_indices(n)
    found = symmetric_eigenvalues(matrices[:, row, column].T.copy())
    np.testing.assert_allclose(found.T, np.linalg.eigvalsh(matrices)[:, ::-1], atol=2e-5)


def test_hessian_and_gradient_of_a_quadratic_are_exact():
    spacing = (2.0, 0.5, 1.5)
    z, y, x = np.meshgrid(*(np.arange(9) * s for s in spacing), indexing="ij")
    form = np.array([[1.0, 0.3, -0.2], [0.3, -2.0, 0.4], [-0.2, 0.4, 0.5]])
    place = np.stack([z, y, x])
    image = 0.5 * np.einsum("i...,ij,j...->...", place, form, place)
    inner = (slice(None), slice(1, -1), slice(1, -1), slice(1, -1))
    eigenvalues = hessian_eigenvalues(image.astype(np.float32), spacing)[inner]
    expected = np.linalg.eigvalsh(form)[::-1].reshape(3, 1, 1, 1)
    np.testing.assert_allclose(eigenvalues, np.broadcast_to(expected, eigenvalues.shape), atol=2e-3)
    slopes = gradient(image.astype(np.float32), spacing)[inner]
    np.testing.assert_allclose(slopes, np.einsum("ij,j...->i...", form, place)[inner], atol=1e-3)


def test_a_wide_filter_on_a_coarse_grid_is_that_on_the_fine_one():
    image = np.random.default_rng(1).normal(0, 1, (204, 172))
    factors = factors_for(20.0, (1.0, 1.0))
    assert factors == (4, 4)
    coarse = enlarge(smooth_coarse(image, 20.0, (1.0, 1.0), factors), factors, image.shape)
    fine = ndimage.gaussian_filter(image, 20.0, mode="reflect")
    assert (coarse - fine).std() < 0.1 * fine.std()  # of white noise, the worst case
    assert block_mean(np.arange(5.0), (2,)).tolist() == [0.5, 2.5, 4.0]
    assert repeat_blocks(np.array([3, 4, 5]), (2,), (5,)).tolist() == [3, 3, 4, 4, 5]
    np.testing.assert_allclose(enlarge(np.array([0.5, 2.5, 4.5], np.float32), (2,), (6,)), [0.5, 1, 2, 3, 4, 4.5])


def test_blocks_cover_the_image_once_with_their_margin():
    shape, seen = (70, 33), np.zeros((70, 33), int)
    for block in blocks(shape, (5, 3), multiple=8, voxels=300):
        seen[block.inner] += 1
        marked = np.zeros(shape, bool)
        marked[block.inner] = True
        assert marked[block.outer][block.within].all()
        assert marked[block.outer].sum() == marked.sum()
        assert all(s.start % 8 == 0 for s in (*block.outer, *block.inner))
    assert (seen == 1).all()


def test_background_under_bright_structures():
    y, x = np.mgrid[-1:1:120j, -1:1:100j]
    truth = 50 - 15 * y**2 + 8 * x * y + 4 * x**3
    image = truth + np.random.default_rng(2).normal(0, 1, truth.shape)
    image[20:70, 30:80] += 60  # a fifth of the image
    fit, noise = fit_background(image.astype(np.float32), np.ones(truth.shape, bool))
    assert np.abs(fit - truth).max() < 1.0
    assert noise == pytest.approx(1.0, rel=0.1)

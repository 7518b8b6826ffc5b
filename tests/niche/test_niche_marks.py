"""Mark statistics by hand and without correlation; border-corrected K; pairs do not hang on threads."""

import numpy as np
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.niche import cross_k, mark_correlation, set_covariance, uniform_positions

SPACINGS = [(1.0, 1.0), (1.0, 1.0, 1.0), (4.0, 1.0, 1.0)]


def blob(spacing, size=80):
    """Irregular mask with a hole, about half of the image."""
    axes = np.meshgrid(*[np.arange(int(size / s)) * s - size / 2 for s in spacing], indexing="ij")
    radius = np.sqrt(sum(a**2 for a in axes))
    wobble = 1 + 0.2 * np.sin(3 * np.arctan2(axes[-1], axes[-2]))
    return (radius < 36 * wobble) & (np.sqrt((axes[-1] - 12) ** 2 + axes[-2] ** 2) > 7)


def test_marks_of_hand_made_pairs():
    # Two pairs at distance 5, far from each other. Alike: (2, 2), (1, 1); unlike: (2, 1) twice.
    points = np.array([[50.0, 50], [50, 55], [150, 150], [155, 150]])
    window = np.ones((200, 200), bool)
    for marks, correlation, variogram in (([2, 2, 1, 1], 2.5 / 2.25, 0.0), ([2, 1, 2, 1], 2 / 2.25, 0.5)):
        result = mark_correlation(points, marks, window, (1, 1), r_max=20, n_r=20, bandwidth=1.0, n_simulations=0)
        assert result.correlation[4] == pytest.approx(correlation, rel=2e-3)  # γ of the two lags differs by a little
        assert result.variogram[4] == pytest.approx(variogram, abs=2e-3)
        assert np.isnan(result.correlation[12])  # no pair at 13 µm
    with pytest.raises(SettingsError, match="one mark per point"):
        mark_correlation(points, [1, 2], window, (1, 1))
    assert "positive mean" in mark_correlation(points, [-1, -1, 1, 0], window, (1, 1)).note
    assert "fewer than two" in mark_correlation(points, [1, np.nan, np.nan, np.nan], window, (1, 1)).note


@pytest.mark.parametrize("spacing", SPACINGS)
def test_equal_marks_give_the_unmarked_functions(spacing):
    rng = np.random.default_rng(0)
    window = blob(spacing)
    points = uniform_positions(window, spacing, 150, rng)
    plain = cross_k(points, None, window, spacing, r_max=20, n_r=10)
    marked = mark_correlation(points, np.full(150, 7.0), window, spacing, r_max=20, n_r=10, n_simulations=19)
    assert marked.weighted_k == pytest.approx(plain.k, rel=1e-6)
    assert marked.correlation == pytest.approx(np.ones(10), rel=1e-6)
    assert marked.variogram == pytest.approx(np.zeros(10), abs=1e-5)
    assert marked.p_value == 1.0


def test_independent_marks_keep_the_size_and_a_gradient_is_found():
    rng = np.random.default_rng(1)
    window = blob((1.0, 1.0))
    p, level = [], []
    covariance = set_covariance(window, (1.0, 1.0), 25.0)
    for k in range(120):
        points = uniform_positions(window, (1.0, 1.0), 80, rng)
        marks = rng.gamma(2.0, size=80)
        result = mark_correlation(points, marks, covariance, (1.0, 1.0), n_r=8, n_simulations=59, seed=k)
        p.append(result.p_value)
        level.append(result.correlation[-1])
    assert np.mean(np.asarray(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 120)
    # E[m1 m2] / mean² = 1 - var / (n mean²) for shuffled marks: .994 at n = 80.
    assert np.mean(level) == pytest.approx(1.0, abs=0.03)
    points = uniform_positions(window, (1.0, 1.0), 300, rng)
    result = mark_correlation(points, 1 + points[:, 0], covariance, (1.0, 1.0), n_r=8, n_simulations=99)
    assert result.p_value <= 0.02
    assert result.correlation[0] > result.correlation[-1] > 1
    assert result.variogram[0] < result.variogram[-1]


@pytest.mark.parametrize("spacing", SPACINGS)
def test_border_corrected_k_of_random_points(spacing):
    rng = np.random.default_rng(2)
    window = blob(spacing)
    ratio, biased = [], []
    for _ in range(30):
        x, y = (uniform_positions(window, spacing, 250, rng) for _ in range(2))
        border = cross_k(x, y, window, spacing, r_max=9, n_r=3, correction="border")
        volume = np.pi * border.r**2 if len(spacing) == 2 else 4 / 3 * np.pi * border.r**3
        ratio.append(border.k / volume)
        biased.append(cross_k(x, y, window, spacing, r_max=9, n_r=3, correction="none").k / volume)
        assert np.isnan(border.g).all()
    error = np.std(ratio, axis=0) / np.sqrt(30)
    assert (np.abs(np.mean(ratio, axis=0) - 1) < 3.5 * error + 0.01).all()  # .01: the voxelised edge
    assert (error < 0.12).all()
    assert np.mean(biased, axis=0)[-1] < 0.92
    with pytest.raises(SettingsError, match="border"):
        cross_k(x, y, set_covariance(window, spacing, 9.0), spacing, correction="border")
    with pytest.raises(SettingsError, match="correction"):
        cross_k(x, y, window, spacing, correction="isotropic")


def test_k_against_a_direct_sum_with_duplicates_and_any_number_of_threads():
    rng = np.random.default_rng(3)
    spacing = (3.0, 1.0, 1.5)
    window = np.ones((12, 40, 30), bool)
    x = uniform_positions(window, spacing, 300, rng)
    y = np.concatenate([uniform_positions(window, spacing, 199, rng), x[:1], x[:1]])
    size = np.asarray(window.shape) * spacing
    lag = np.abs(x[:, None] - y[None])
    distance = np.linalg.norm(lag, axis=-1)
    weight = 1 / np.prod(size - lag, axis=-1)  # a box has γ(h) = Π (a - |h|)
    result = cross_k(x, y, window, spacing, r_max=15, n_r=6)
    for r, k in zip(result.r, result.k, strict=True):
        direct = np.prod(size) ** 2 / (300 * 201) * weight[distance <= r].sum()
        assert k == pytest.approx(direct, rel=1e-5)
    assert np.array_equal(result.k, cross_k(x, y, window, spacing, r_max=15, n_r=6, threads=3).k)
    own = cross_k(y, None, window, spacing, r_max=15, n_r=6)
    lag = np.abs(y[:, None] - y[None])
    near = (np.linalg.norm(lag, axis=-1) <= 15) & ~np.eye(201, dtype=bool)
    direct = np.prod(size) ** 2 / (201 * 200) * (1 / np.prod(size - lag, axis=-1))[near].sum()
    assert own.k[-1] == pytest.approx(direct, rel=1e-5)

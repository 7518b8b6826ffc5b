"""Point statistics against complete spatial randomness in irregular windows, in 2D and 3D."""

import numpy as np
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.niche import (
    cross_k,
    local_density,
    nearest_functions,
    neighbour_pairs,
    neighbourhood_enrichment,
    relabelled_cross_l,
    set_covariance,
    uniform_cross_l,
    uniform_positions,
)


def irregular(ndim, spacing):
    """A ball with a bite and a hole, about 200 µm (2D) or 90 µm (3D) wide, in two pieces."""
    size = 200.0 if ndim == 2 else 90.0
    axes = [np.arange(int(size / s)) * s for s in spacing]
    where = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    c = size / 2
    ball = np.linalg.norm(where - c, axis=-1) < 0.48 * size
    hole = np.linalg.norm(where - 0.8 * c, axis=-1) < 0.15 * size
    strip = np.abs(where[..., -1] - 1.4 * c) < 0.03 * size
    return ball & ~hole & ~strip


CASES = [((1.0, 1.0), 150), ((2.0, 0.5), 150), ((1.5, 1.5, 1.5), 300), ((4.0, 1.0, 1.0), 300)]


@pytest.mark.parametrize(("spacing", "n"), CASES)
def test_set_covariance_against_direct_counting(spacing, n):
    mask = irregular(len(spacing), spacing)
    covariance = set_covariance(mask, spacing, 20.0)
    table = covariance.table.reshape(covariance.table.shape[3 - mask.ndim :]) if mask.ndim == 2 else covariance.table
    centre = np.array(table.shape) // 2
    rng = np.random.default_rng(0)
    volume = np.prod(spacing)
    assert table[tuple(centre)] == pytest.approx(mask.sum() * volume)
    for _ in range(5):
        lag = np.array([rng.integers(-c + 1, c) for c in centre])
        shifted = np.zeros_like(mask)
        source = tuple(slice(max(-k, 0), m - max(k, 0)) for k, m in zip(lag, mask.shape, strict=True))
        target = tuple(slice(max(k, 0), m - max(-k, 0)) for k, m in zip(lag, mask.shape, strict=True))
        shifted[target] = mask[source]
        assert table[tuple(centre + lag)] == pytest.approx((mask & shifted).sum() * volume)


@pytest.mark.parametrize(("spacing", "n"), CASES)
def test_k_l_g_of_complete_spatial_randomness(spacing, n):
    mask = irregular(len(spacing), spacing)
    rng = np.random.default_rng(1)
    covariance = set_covariance(mask, spacing, 30.0)
    ks, gs, naive = [], [], []
    for _ in range(60):
        x, y = uniform_positions(mask, spacing, n, rng), uniform_positions(mask, spacing, 2 * n, rng)
        result = cross_k(x, y, covariance, spacing, n_r=30)
        ks.append(result.k)
        gs.append(result.g)
        distance = np.linalg.norm(x[:, None] - y[None], axis=-1)
        naive.append(covariance.measure / (n * 2 * n) * (distance <= 30.0).sum())
    r = result.r
    truth = np.pi * r**2 if mask.ndim == 2 else 4 / 3 * np.pi * r**3
    error = np.std(ks, axis=0) / np.sqrt(len(ks)) / truth
    assert (np.abs(np.mean(ks, axis=0) / truth - 1) < 4 * error + 0.002)[2:].all()
    assert error[-1] < 0.01
    assert np.mean(naive) / truth[-1] < 0.9  # what leaving the correction out does
    error_g = np.std(gs, axis=0) / np.sqrt(len(gs))
    assert (np.abs(np.mean(gs, axis=0) - 1) < 4 * error_g + 0.01)[3:].all()
    assert result.l == pytest.approx(np.sqrt(result.k / np.pi) if mask.ndim == 2 else np.cbrt(result.k * 3 / 4 / np.pi))


def test_k_agrees_with_a_direct_sum():
    rng = np.random.default_rng(3)
    mask = irregular(2, (1.0, 1.0))
    x = uniform_positions(mask, (1.0, 1.0), 60, rng)
    result = cross_k(x, None, mask, (1.0, 1.0), r_max=25.0, n_r=25)
    table = set_covariance(mask, (1.0, 1.0), 25.0).table[0]
    centre = np.array(table.shape) // 2
    total = np.zeros(25)
    for i in range(60):
        for j in range(60):
            h = x[i] - x[j]
            if i == j or np.hypot(*h) > 25:
                continue
            low = np.floor(h).astype(int)
            f = h - low
            corner = table[centre[0] + low[0] : centre[0] + low[0] + 2, centre[1] + low[1] : centre[1] + low[1] + 2]
            gamma = np.array([1 - f[0], f[0]]) @ corner @ np.array([1 - f[1], f[1]])
            total += (np.hypot(*h) <= result.r) / gamma
    assert result.k == pytest.approx(mask.sum() ** 2 / (60 * 59) * total, rel=1e-9)


def test_clusters_and_regular_patterns_leave_the_expected_sign():
    rng = np.random.default_rng(5)
    mask = np.ones((200, 200), bool)
    parents = uniform_positions(mask, (1.0, 1.0), 40, rng)
    clustered = np.clip(np.repeat(parents, 8, axis=0) + rng.normal(0, 4, (320, 2)), 0, 199)
    gridded = np.stack(np.meshgrid(np.arange(5, 200, 12.0), np.arange(5, 200, 12.0)), -1).reshape(-1, 2)
    assert cross_k(clustered, None, mask, (1.0, 1.0), r_max=20).g[9] > 1.5
    assert cross_k(gridded, None, mask, (1.0, 1.0), r_max=20).k[20] < 1e-9


def test_duplicates_outside_points_and_too_few_points():
    mask = np.ones((50, 50), bool)
    twice = np.array([[10.0, 10.0], [10.0, 10.0], [500.0, 10.0]])  # the third lies outside
    result = cross_k(twice, None, mask, (1.0, 1.0), r_max=10, n_r=10)
    assert result.k[0] == pytest.approx(2500**2 / 2 * 2 / 2500)
    assert np.isnan(cross_k(twice[:1], None, mask, (1.0, 1.0)).k).all()
    assert np.isnan(cross_k(np.zeros((0, 2)), twice, mask, (1.0, 1.0)).g).all()
    with pytest.raises(SettingsError, match="empty"):
        set_covariance(np.zeros((5, 5), bool), (1.0, 1.0), 10.0)
    with pytest.raises(SettingsError, match="r_max"):
        set_covariance(mask, (1.0, 1.0), 0.0)


@pytest.mark.parametrize("correction", ["km", "rs", "hanisch"])
@pytest.mark.parametrize(("spacing", "n"), [CASES[0], CASES[3]])
def test_g_f_j_of_complete_spatial_randomness(spacing, n, correction):
    mask = irregular(len(spacing), spacing)
    rng = np.random.default_rng(8)
    density = n / (mask.sum() * np.prod(spacing))
    r = np.array([2.0, 4.0, 6.0, 8.0])
    exponent = density * (np.pi * r**2 if mask.ndim == 2 else 4 / 3 * np.pi * r**3)
    truth = 1 - np.exp(-exponent)
    g, f = [], []
    for k in range(40):
        x = uniform_positions(mask, spacing, n, rng)
        result = nearest_functions(x, None, mask, spacing, r=r, correction=correction, n_test_points=2000, seed=k)
        g.append(result.g)
        f.append(result.f)
        assert result.j[0] == pytest.approx((1 - result.g[0]) / (1 - result.f[0]))
    for estimates in (g, f):
        error = np.nanstd(estimates, axis=0) / np.sqrt(len(estimates))
        assert (np.abs(np.nanmean(estimates, axis=0) - truth) < 4 * error + 0.01).all()


def test_nearest_functions_without_neighbours():
    mask = np.ones((40, 40), bool)
    assert np.isnan(nearest_functions([[5.0, 5.0]], None, mask, (1, 1), r=[1.0]).g).all()
    assert np.isnan(nearest_functions([[5.0, 5.0]], np.zeros((0, 2)), mask, (1, 1), r=[1.0]).f).all()


def test_relabelled_l_equals_one_by_one_and_has_its_size():
    rng = np.random.default_rng(6)
    mask, spacing = irregular(2, (1.0, 1.0)), (1.0, 1.0)
    covariance = set_covariance(mask, spacing, 30.0)
    points = uniform_positions(mask, spacing, 120, rng)
    a, b = rng.random(120) < 0.4, rng.random(120) < 0.4  # overlapping classes
    result = relabelled_cross_l(points, a, b, covariance, n_simulations=19, n_r=15)
    direct = 0.0
    for i in np.flatnonzero(a):
        for j in np.flatnonzero(b):
            if i != j and np.linalg.norm(points[i] - points[j]) <= 2.0 * 15:
                direct += 1
    one_way = cross_k(points[a & ~b], points[b], covariance, spacing, n_r=15).k * (a & ~b).sum() * b.sum()
    both = cross_k(points[a & b], points[b & ~a], covariance, spacing, n_r=15).k * (a & b).sum() * (b & ~a).sum()
    inner = cross_k(points[a & b], None, covariance, spacing, n_r=15).k * (a & b).sum() * ((a & b).sum() - 1)
    pairs = a.sum() * b.sum() - (a & b).sum()
    assert np.pi * result.l**2 == pytest.approx((one_way + both + inner) / pairs, rel=1e-5)
    assert direct > 0
    rejected = 0
    for k in range(200):
        a = rng.permutation(120) < 40
        rejected += relabelled_cross_l(points, a, ~a, covariance, n_simulations=39, n_r=15, seed=k).p_value <= 0.05
    assert 0.005 <= rejected / 200 <= 0.097  # .05 and 3 binomial standard errors


def test_uniform_l_band_holds_random_points_and_not_clusters():
    rng = np.random.default_rng(9)
    mask, spacing = irregular(2, (1.0, 1.0)), (1.0, 1.0)
    covariance = set_covariance(mask, spacing, 25.0)
    p = [
        uniform_cross_l(
            uniform_positions(mask, spacing, 60, rng), mask, spacing, covariance, n_simulations=39, n_r=12, seed=k
        ).p_value
        for k in range(100)
    ]
    assert np.mean(np.asarray(p) <= 0.05) <= 0.12  # .05 and 3 binomial standard errors
    parents = uniform_positions(mask, spacing, 12, rng)
    clustered = np.repeat(parents, 6, axis=0) + rng.normal(0, 3, (72, 2))
    assert uniform_cross_l(clustered, mask, spacing, covariance, n_simulations=39, n_r=12).p_value <= 0.05
    assert "fewer than two" in uniform_cross_l(parents[:1], mask, spacing, covariance).note


def test_classes_that_leave_nothing_to_test():
    covariance = set_covariance(np.ones((50, 50), bool), (1.0, 1.0), 10.0)
    points = np.random.default_rng(0).uniform(0, 49, (10, 2))
    none, every = np.zeros(10, bool), np.ones(10, bool)
    assert "no pair" in relabelled_cross_l(points, none, every, covariance).note
    assert "nothing to re-label" in relabelled_cross_l(points, every, every, covariance).note


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (4.0, 1.0, 1.0)])
def test_local_density_is_unbiased_up_to_the_edge(spacing):
    mask = irregular(len(spacing), spacing)
    rng = np.random.default_rng(2)
    n = 3000
    points = uniform_positions(mask, spacing, n, rng)
    density = local_density(points, mask, spacing, radius=15.0)
    truth = n / (mask.sum() * np.prod(spacing)) * (1e6 if mask.ndim == 2 else 1e9)
    assert density.mean() == pytest.approx(truth, rel=0.03)
    assert np.isnan(local_density(np.full((1, mask.ndim), -50.0), mask, spacing, radius=15.0)).all()


def test_enrichment_counts_by_hand_and_finds_mixed_and_sorted_classes():
    points = np.array([[0.0, 0], [0, 1], [0, 2], [0, 10]])
    pairs = neighbour_pairs(points, 1.5)
    assert sorted(map(tuple, pairs.tolist())) == [(0, 1), (1, 2)]
    result = neighbourhood_enrichment(["a", "b", "b", "a"], pairs, n_simulations=99)
    assert result.classes == ("a", "b")
    assert result.count.tolist() == [[0, 1], [1, 2]]
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 100, (400, 2))
    sorted_classes = np.where(x[:, 0] < 50, "a", "b")
    near = neighbour_pairs(x, 10.0)
    apart = neighbourhood_enrichment(sorted_classes, near, n_simulations=199)
    assert apart.z[0, 0] > 5
    assert apart.z[0, 1] < -5
    # Within the strata that made them, nothing is left of it.
    within = neighbourhood_enrichment(sorted_classes, near, strata=sorted_classes, n_simulations=199)
    assert np.isnan(within.z).all()
    assert np.isnan(within.p_value).all()


def test_enrichment_type_one_error_and_expectation():
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 100, (150, 2))
    pairs = neighbour_pairs(x, 12.0)
    p, z = [], []
    for k in range(200):
        labels = rng.permutation(np.repeat(["a", "b", "c"], 50))
        result = neighbourhood_enrichment(labels, pairs, n_simulations=59, seed=k)
        p.append(result.p_value[0, 1])
        z.append(result.z[0, 1])
        assert result.count.sum() == 2 * len(pairs)
    assert np.mean(np.asarray(p) <= 0.05) <= 0.097
    # Expected ordered a-b pairs: 2 P n_a n_b / (n (n - 1)).
    assert result.expected[0, 1] == pytest.approx(2 * len(pairs) * 50 * 50 / (150 * 149), rel=0.05)
    assert abs(np.mean(z)) < 0.25


def test_enrichment_of_nothing():
    assert neighbour_pairs(np.zeros((0, 2)), 5.0).shape == (0, 2)
    result = neighbourhood_enrichment(["a"], np.zeros((0, 2), dtype=np.int64), n_simulations=19)
    assert result.count.tolist() == [[0]]
    with pytest.raises(SettingsError, match="radius"):
        neighbour_pairs([[0.0, 0.0]], 0.0)
    with pytest.raises(SettingsError, match="index"):
        neighbourhood_enrichment(["a"], np.array([[0, 4]]))

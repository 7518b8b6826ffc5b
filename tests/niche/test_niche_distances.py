"""Distance fields against geometry; edge-corrected distributions against Poisson lines."""

import numpy as np
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.niche import (
    distance_to_points,
    edge_distance,
    hanisch_cdf,
    kaplan_meier_cdf,
    read_at,
    reduced_sample_cdf,
    signed_distance,
    summarise_distances,
    surface_distance,
)

SPACINGS_3D = [(1.0, 1.0, 1.0), (4.0, 1.0, 1.0)]


def grid(shape, spacing):
    return np.stack(np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"), -1)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0), *SPACINGS_3D])
def test_ball_distance_is_signed_and_anisotropic(spacing):
    shape = tuple(int(64 / s) for s in spacing)
    where = grid(shape, spacing)
    centre = np.full(len(spacing), 32.0)
    radius = np.linalg.norm(where - centre, axis=-1)
    truth = radius - 14.0
    field = signed_distance(truth < 0, spacing)
    near = radius < 28
    # A voxel of the coarsest axis at most, no systematic shift beyond a quarter of it.
    assert np.abs(field - truth)[near].max() < max(spacing)
    assert abs(np.mean((field - truth)[near])) < 0.25 * max(spacing)
    assert ((field < 0) == (truth < 0)).all()


def test_plane_is_exact_and_read_between_voxels():
    mask = np.zeros((20, 30), dtype=bool)
    mask[:, :10] = True  # surface at x = 9.5 voxels = 4.75 µm
    field = signed_distance(mask, (2.0, 0.5))
    points = np.array([[11.3, 6.1], [7.7, 3.05], [-0.9, 14.7], [-1.1, 5.0], [np.nan, 1.0]])
    read = read_at(field, points, (2.0, 0.5))
    assert read[:2] == pytest.approx([6.1 - 4.75, 3.05 - 4.75], abs=1e-6)
    assert read[2] == pytest.approx(14.5 - 4.75, abs=1e-6)  # clamped to the last voxel centre
    assert np.isnan(read[3:]).all()
    assert read_at(field, points[:1], (2.0, 0.5), interpolate=False) == pytest.approx([6.0 - 4.75])


def test_spacing_matters_as_much_as_the_specification_says():
    # A point 12 planes above a sheet: 48 µm at 4 µm a plane, 12 when spacing is forgotten.
    mask = np.zeros((20, 8, 8), dtype=bool)
    mask[0] = True
    assert signed_distance(mask, (4.0, 1.0, 1.0))[12, 4, 4] == pytest.approx(48.0, abs=0.5)
    assert signed_distance(mask, (1.0, 1.0, 1.0))[12, 4, 4] == pytest.approx(12.0, abs=0.5)


def test_empty_and_full_structures():
    assert np.isposinf(signed_distance(np.zeros((4, 4), bool), (1, 1))).all()
    assert np.isneginf(signed_distance(np.ones((4, 4), bool), (1, 1))).all()
    assert np.isposinf(read_at(signed_distance(np.zeros((4, 4), bool), (1, 1)), [[1.2, 1.2]], (1, 1))).all()


@pytest.mark.parametrize("spacing", [(0.0, 1.0), (1.0,), (np.nan, 1.0), (-1.0, 1.0), (1.0, 1.0, 1.0)])
def test_bad_spacing_is_named(spacing):
    with pytest.raises(SettingsError, match="spacing"):
        signed_distance(np.ones((4, 4), bool), spacing)


def test_edge_distance_counts_the_image_border():
    depth = edge_distance(np.ones((10, 21), bool), (3.0, 1.0))
    assert depth[5, 10] == pytest.approx(10.5, abs=0.01)
    assert depth[0, 10] == pytest.approx(2.5, abs=0.01)  # 3 to the first centre outside, less half the smallest spacing


def test_surface_distance_per_label():
    labels = np.zeros((10, 20), dtype=np.int32)
    labels[4:6, 12:15], labels[4:6, 2:7] = 7, 3
    mask = np.zeros((10, 20), bool)
    mask[:, :5] = True
    label, distance = surface_distance(labels, signed_distance(mask, (1.0, 1.0)))
    assert label.tolist() == [3, 7]
    assert distance[0] < 0
    assert distance[1] == pytest.approx(12 - 4.5)


def test_distance_to_points_and_duplicates():
    x = np.array([[0.0, 0, 0], [0, 0, 0], [0, 3, 4]])
    assert distance_to_points(x, [[0.0, 0, 1]]) == pytest.approx([1, 1, np.sqrt(9 + 9)])
    assert distance_to_points(x, x, exclude_self=True) == pytest.approx([0, 0, 5])
    assert np.isinf(distance_to_points(x, np.zeros((0, 3)))).all()
    assert np.isinf(distance_to_points(x[:1], x[:1], exclude_self=True)).all()
    assert distance_to_points(np.zeros((0, 3)), x).shape == (0,)


def isotropic_lines(density, radius, rng):
    """Poisson lines (point, direction) that hit the ball of that radius around 0; density = length per volume."""
    n = rng.poisson(density * np.pi * radius**2)
    u = rng.normal(size=(n, 3))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    a = np.cross(u, rng.normal(size=(n, 3)))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = np.cross(u, a)
    rho, phi = radius * np.sqrt(rng.random(n)), 2 * np.pi * rng.random(n)
    return rho[:, None] * (np.cos(phi)[:, None] * a + np.sin(phi)[:, None] * b), u


def clipped_distance(points, origin, u, half_z):
    """Distance of points to the part of each line with |z| <= half_z, the smallest over lines."""
    best = np.full(len(points), np.inf)
    for p, d in zip(origin, u, strict=True):
        t0, t1 = sorted(((-half_z - p[2]) / d[2], (half_z - p[2]) / d[2]))
        t = np.clip((points - p) @ d, t0, t1)
        best = np.minimum(best, np.linalg.norm(points - p - t[:, None] * d, axis=1))
    return best


@pytest.fixture(scope="module")
def slab():
    """Points in 800 slabs of 60 µm with 424 mm/mm³ of Poisson lines, of which only the part in the slab is seen."""
    rng = np.random.default_rng(5)
    density, half = 4.239e-4, 30.0
    d, b = [], []
    for _ in range(800):
        origin, u = isotropic_lines(density, 150.0, rng)
        points = np.column_stack([rng.uniform(-60, 60, (40, 2)), rng.uniform(-half, half, 40)])
        d.append(clipped_distance(points, origin, u, half))
        b.append(half - np.abs(points[:, 2]))
    return density, np.asarray(d), np.asarray(b)


def naive_in_slab(density, half, r):
    """P(D <= r) when only line pieces in the slab are seen, averaged over depth.

    The pieces nearer than r are the lines that hit the convex ball ∩ slab: Poisson with mean L_V S / 4, S its surface.
    """
    h = (np.arange(400) + 0.5)[:, None] * half / 200
    surface = 0
    for face in (h, 2 * half - h):
        surface = surface + 2 * np.pi * r * np.minimum(r, face) + np.pi * np.maximum(r**2 - face**2, 0)
    return 1 - np.exp(-density * surface / 4).mean(axis=0)


def test_poisson_lines_in_a_slab_need_the_correction(slab):
    density, d, b = slab
    r = np.array([5.0, 10.0, 15.0, 20.0, 25.0])
    truth = 1 - np.exp(-np.pi * density * r**2)
    parts = list(zip(np.split(d, 20), np.split(b, 20), strict=True))
    for estimate, depth, expected in (
        (kaplan_meier_cdf, b, truth),
        (reduced_sample_cdf, b, truth),
        (kaplan_meier_cdf, None, naive_in_slab(density, 30.0, r)),
    ):
        groups = [estimate(x.ravel(), None if depth is None else y.ravel(), r) for x, y in parts]
        error = np.std(groups, axis=0, ddof=1) / np.sqrt(20)
        # 3.5 standard errors over independent slabs, and these must be small enough to tell corrected from naive.
        pooled = estimate(d.ravel(), None if depth is None else depth.ravel(), r)
        assert (np.abs(pooled - expected) < 3.5 * error).all()
        assert error[3] < 0.012
    assert truth[3] - naive_in_slab(density, 30.0, r)[3] > 0.015


def test_median_is_corrected_and_an_unseen_mean_is_not_invented(slab):
    density, d, b = slab
    summary = summarise_distances(d.ravel(), b.ravel())
    naive = summarise_distances(d.ravel(), None)
    assert summary.median == pytest.approx(np.sqrt(np.log(2) / (np.pi * density)), rel=0.04)
    assert naive.median > summary.median
    assert np.isnan(summary.mean)  # a 60 µm slab does not show distances beyond 30 µm
    assert summary.unresolved > 0.2
    assert summary.restricted_to <= 30
    r = np.linspace(0, 400, 2001)
    expected = np.trapezoid(1 - naive_in_slab(density, 30.0, r), r)
    assert expected * 2 * np.sqrt(density) == pytest.approx(1.06, abs=0.01)  # how much too long the naive mean is
    assert naive.mean == pytest.approx(expected, rel=0.03)  # standard error 1 % over slabs


def test_distance_field_of_rasterised_lines_at_4_to_1_spacing():
    rng = np.random.default_rng(11)
    spacing, density, half = (4.0, 1.0, 1.0), 5e-4, 30.0
    r = np.array([6.0, 12.0, 18.0])
    estimates = []
    for _ in range(14):
        mask = np.zeros((15, 110, 110), dtype=bool)
        origin, u = isotropic_lines(density, 140.0, rng)
        for p, d in zip(origin, u, strict=True):
            along = p + np.arange(-160, 160, 0.4)[:, None] * d
            index = np.round((along + np.array([54.5, 54.5, 28.0])) / np.array([1.0, 1.0, 4.0])).astype(int)[:, ::-1]
            held = ((index >= 0) & (index < mask.shape)).all(axis=1)
            mask[tuple(index[held].T)] = True
        field, depth = signed_distance(mask, spacing) + 0.5, edge_distance(np.ones(mask.shape, bool), spacing)
        points = rng.uniform(0, 1, (1500, 3)) * (np.array(mask.shape) - 1) * spacing
        estimates.append(kaplan_meier_cdf(read_at(field, points, spacing), read_at(depth, points, spacing), r))
    truth = 1 - np.exp(-np.pi * density * r**2)
    error = np.std(estimates, axis=0) / np.sqrt(len(estimates))
    # 3 standard errors over volumes, and .03 for lines that are voxels of 4 x 1 x 1 µm.
    assert (np.abs(np.mean(estimates, axis=0) - truth) < 3 * error + 0.03).all()
    assert half > r.max()


def test_estimators_agree_without_censoring_and_on_hand_counted_samples():
    d = np.array([1.0, 2.0, 2.0, 5.0])
    r = np.array([0.0, 1.0, 2.0, 4.9, 5.0])
    ecdf = [0, 0.25, 0.75, 0.75, 1.0]
    assert kaplan_meier_cdf(d, None, r) == pytest.approx(ecdf)
    assert reduced_sample_cdf(d, np.full(4, 9.0), r) == pytest.approx(ecdf)
    assert hanisch_cdf(d, np.full(4, 9.0), r, np.full(100, 9.0)) == pytest.approx(ecdf)
    # Hand-made: times 1e 2e 2c 3e -> S = 3/4, 3/4*2/3 = 1/2, 0
    km = kaplan_meier_cdf([1.0, 2.0, 9.0, 3.0], [5.0, 5.0, 2.0, 5.0], [1.0, 2.0, 2.5, 3.0])
    assert km == pytest.approx([0.25, 0.5, 0.5, 1.0])
    rs = reduced_sample_cdf([1.0, 2.0, 9.0, 3.0], [5.0, 5.0, 2.0, 5.0], [2.0, 3.0, 6.0])
    assert rs[:2] == pytest.approx([0.5, 1.0])
    assert np.isnan(rs[2])


def test_kaplan_meier_agrees_with_statsmodels():
    from statsmodels.duration.survfunc import SurvfuncRight

    rng = np.random.default_rng(3)
    d, b = rng.integers(1, 20, 300).astype(float), rng.integers(1, 25, 300).astype(float)
    r = np.arange(0, 20, 0.5)
    reference = SurvfuncRight(np.minimum(d, b), (d <= b).astype(int))
    index = np.searchsorted(reference.surv_times, r, side="right")
    expected = 1 - np.concatenate([[1.0], reference.surv_prob])[index]
    assert kaplan_meier_cdf(d, b, r) == pytest.approx(expected, abs=1e-12)


def test_no_points_give_nan_not_zero():
    assert np.isnan(kaplan_meier_cdf([], [], [1.0])).all()
    assert np.isnan(summarise_distances([], []).median)
    with pytest.raises(SettingsError, match="NaN"):
        kaplan_meier_cdf([np.nan], [1.0], [1.0])

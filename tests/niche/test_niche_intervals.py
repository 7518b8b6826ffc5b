"""Intervals of one organoid: exact sums by hand, coverage over simulated organoids."""

import numpy as np
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.niche import (
    distance_interval,
    edge_distance,
    length_density_interval,
    proximity_effect,
    ratio_interval,
    read_at,
    signed_distance,
    tissue_blocks,
    uniform_positions,
)


@pytest.mark.parametrize("shape", [(37, 80), (9, 40, 61)])
def test_blocks_hold_the_tissue_and_its_points(shape):
    rng = np.random.default_rng(0)
    spacing = (4.0, 1.0, 0.7)[-len(shape) :]
    tissue = rng.random(shape) < 0.6
    blocks = tissue_blocks(tissue, spacing)
    assert blocks.measure.sum() == pytest.approx(tissue.sum() * np.prod(spacing))
    voxels = np.argwhere(tissue) * spacing
    assert blocks.count(voxels) * np.prod(spacing) == pytest.approx(blocks.measure)
    assert blocks.count(voxels, np.full(len(voxels), 2.0)).sum() == 2 * tissue.sum()
    assert max(blocks.shape) == 4
    with pytest.raises(SettingsError, match="edge"):
        tissue_blocks(tissue, spacing, edge=0.0)


def test_ratio_interval_of_counts_per_area_has_its_coverage():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(1500):
        area = rng.uniform(0.3, 1.0, 30)
        # Clustered counts: a gamma mixture of Poisson, as blocks of tissue differ.
        count = rng.poisson(area * 25 * rng.gamma(8, 1 / 8, 30))
        low, high = ratio_interval(count, area)
        covered.append(low <= 25 <= high)
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.isnan(ratio_interval([1, 2, 3], [1, 1, 1])).all()
    assert np.isnan(ratio_interval(np.ones(9), np.ones(9))).all()
    assert 0 < ratio_interval([0, 0, 0, 0, 0, 1], np.ones(6))[0] < 1 / 6


def test_vessels_that_run_through_several_blocks_do_not_make_the_interval_too_narrow():
    rng = np.random.default_rng(2)
    blocks = tissue_blocks(np.ones((200, 200), bool), (1.0, 1.0))
    covered = {"blocks": [], "both": []}
    for _ in range(600):
        # Horizontal lines of 150 µm, strewn at 30 per 200 x 350 µm: each lies in three or four of the 16 blocks.
        y = rng.uniform(0, 200, rng.poisson(30))
        start = rng.uniform(-150, 200, len(y))
        x = start[:, None] + np.arange(150) + 0.5
        inside = (x >= 0) & (x < 200)
        of = np.nonzero(inside)[0]
        per_block = blocks.count(np.stack([y[of], x[inside]], axis=1))
        truth = 30 * 150 / (200 * 350)
        for name, limits in (
            ("blocks", ratio_interval(per_block, blocks.measure)),
            ("both", length_density_interval(per_block, blocks.measure, np.bincount(of, minlength=len(y)))),
        ):
            covered[name].append(limits[0] <= truth <= limits[1])
    assert np.mean(covered["blocks"]) < 0.9
    assert 0.93 <= np.mean(covered["both"]) <= 0.98


def test_distance_intervals_cover_the_truth():
    # A vessel across a plane: distance uniform, median and effect known for cells with density ~ exp(-distance / 40).
    size, rng = 240, np.random.default_rng(2)
    vessel = np.zeros((size, size), bool)
    vessel[:, 118:122] = True
    field, depth = signed_distance(vessel, (1, 1)), edge_distance(np.ones((size, size), bool), (1, 1))
    blocks = tissue_blocks(np.ones((size, size), bool), (1, 1))
    r = np.linspace(0, 50, 51)
    pull = np.exp(-np.maximum(field, 0) / 40)
    chance = (pull / pull.sum()).ravel()
    positive = np.maximum(field, 0).ravel()
    order = np.argsort(positive)
    true_median = positive[order][np.searchsorted(np.cumsum(chance[order]), 0.5)]
    everywhere = np.asarray([(positive <= x).mean() for x in r])
    drawn = np.asarray([chance[positive <= x].sum() for x in r])
    true_effect = np.trapezoid(drawn - everywhere, r) / 50
    median, effect = [], []
    for k in range(150):
        others = uniform_positions(np.ones((size, size), bool), (1, 1), 600, rng)
        chosen = np.unravel_index(rng.choice(size * size, 150, p=chance), (size, size))
        points = np.concatenate([others, np.stack(chosen, 1)])
        # The class is drawn from its own law, the pool is uniform: re-labelling's mean is that of both together.
        subject = np.arange(750) >= 600
        d, b = read_at(field, points, (1, 1)), read_at(depth, points, (1, 1))
        found = distance_interval(d, b, subject, blocks.of(points), reach=50, r=r, null_mean=everywhere, seed=k)
        median.append(found.median_low <= true_median <= found.median_high)
        effect.append(found.effect_low <= true_effect <= found.effect_high)
    error = np.sqrt(0.05 * 0.95 / 150)
    for covered in (median, effect):
        assert 0.95 - 3.5 * error <= np.mean(covered) <= 1.0
    relabelled = distance_interval(d, b, subject, blocks.of(points), reach=50, r=r)
    observed = proximity_effect(d, subject, edge_distances=b, r_max=50, n_r=51, n_simulations=99)
    assert relabelled.effect_low < observed.effect < relabelled.effect_high
    assert np.isnan(distance_interval(d, b, np.zeros(750, bool), blocks.of(points), reach=50, r=r).median_low)
    assert np.isnan(distance_interval(d, b, subject, np.zeros(750, np.int64), reach=50, r=r).median_low)

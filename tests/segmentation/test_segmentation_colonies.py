"""Colonies from points."""

import numpy as np
import pytest

from napari_marrow.errors import SettingsError
from napari_marrow.segmentation import cluster_colonies


def blob(centre, n, spread, seed):
    return np.random.default_rng(seed).normal(centre, spread, (n, len(centre)))


def test_two_blobs_and_strays():
    points = np.concatenate(
        [[[500, 500]], blob((100, 100), 40, 8, 0), blob((300, 100), 25, 8, 1), [[0, 400], [3, 401]]]
    )
    colonies = cluster_colonies(points, distance=20, min_cells=5)
    assert colonies.dtype == np.int32
    assert colonies[0] == 0
    assert set(colonies[1:41]) == {1}
    assert set(colonies[41:66]) == {2}
    assert set(colonies[66:]) == {0}


def test_order_of_points_does_not_change_the_groups():
    points = np.concatenate([blob((0, 0, 0), 30, 5, 2), blob((80, 0, 0), 30, 5, 3)])
    order = np.random.default_rng(4).permutation(60)
    groups = cluster_colonies(points, distance=12, min_cells=4, min_neighbours=3)
    shuffled = cluster_colonies(points[order], distance=12, min_cells=4, min_neighbours=3)
    same = groups[order][:, None] == groups[order][None, :]
    np.testing.assert_array_equal(same, shuffled[:, None] == shuffled[None, :])


def test_a_chain_of_strays_bridges_only_without_core_cells():
    chain = np.stack([np.zeros(10), np.linspace(12, 88, 10)], axis=1)
    points = np.concatenate([blob((0, 0), 30, 3, 5), blob((0, 100), 30, 3, 6), chain])
    assert cluster_colonies(points, distance=15, min_cells=5)[:60].max() == 1
    assert cluster_colonies(points, distance=15, min_cells=5, min_neighbours=5)[:60].max() == 2


def test_against_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster")
    points = np.random.default_rng(7).uniform(0, 300, (400, 2))
    ours = cluster_colonies(points, distance=12, min_cells=1, min_neighbours=3)
    model = cluster.DBSCAN(eps=12, min_samples=4).fit(points)  # counts the point itself
    core = np.zeros(400, bool)
    core[model.core_sample_indices_] = True
    pairs = zip(ours[core], model.labels_[core], strict=True)
    assert len(set(pairs)) == len(set(model.labels_[core]))  # one to one on core points
    reached = model.labels_ >= 0
    sizes = np.bincount(ours)
    assert (sizes[ours[~reached]] == 1).all()  # what DBSCAN calls noise stands alone here


def test_edge_cases():
    assert cluster_colonies(np.zeros((0, 2)), distance=5, min_cells=2).shape == (0,)
    assert cluster_colonies(np.zeros((1, 3)), distance=5, min_cells=1, min_neighbours=0).tolist() == [1]
    with pytest.raises(SettingsError, match="distance above 0"):
        cluster_colonies(np.zeros((1, 2)), distance=0, min_cells=1)

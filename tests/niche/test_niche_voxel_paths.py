"""Paths of a skeleton, against hand-made drawings and against skan as an independent reference."""

import numpy as np
import pytest

from napari_marrow.niche._thinning import thin
from napari_marrow.niche._voxel_paths import voxel_paths


def drawing(*lines: str) -> np.ndarray:
    return np.array([[c == "#" for c in line] for line in lines])


def test_a_line_is_one_path_from_tip_to_tip():
    found = voxel_paths(drawing("#....", ".#...", "..###"))
    assert [p.tolist() for p in found.paths] == [[0, 1, 2, 3, 4]]
    assert found.degrees.tolist() == [1, 2, 2, 2, 1]


def test_a_ring_comes_back_to_its_first_voxel():
    found = voxel_paths(drawing(".##.", "#..#", ".##."))
    (path,) = found.paths
    assert path[0] == path[-1]
    assert sorted(path[:-1].tolist()) == list(range(6))


def test_three_arms_meet_in_one_voxel():
    found = voxel_paths(drawing("#...#", ".#.#.", "..#..", "..#..", "..#.."))
    assert sorted(len(path) for path in found.paths) == [3, 3, 3]
    assert found.degrees.max() == 3


def test_a_ring_on_a_stalk_is_a_loop_at_its_junction():
    found = voxel_paths(drawing("..#..", ".#.#.", "..#..", "..#.."))
    lengths = sorted(len(path) for path in found.paths)
    assert sum(path[0] == path[-1] for path in found.paths) == 1
    assert lengths[-1] == 5


def test_nothing_and_a_single_voxel_have_no_path():
    assert voxel_paths(drawing("...")).paths == []
    assert voxel_paths(drawing(".#.")).paths == []


@pytest.mark.parametrize(("ndim", "seed"), [(2, 0), (2, 1), (3, 2)])
def test_paths_are_skans(ndim, seed):
    skan = pytest.importorskip("skan")
    from scipy import ndimage

    noise = np.random.default_rng(seed).normal(size=(70,) * 2 if ndim == 2 else (30, 34, 32))
    skeleton = thin(ndimage.gaussian_filter(noise, 3) > 0)
    near = ndimage.convolve(skeleton.astype(int), np.ones((3,) * ndim, int), mode="constant")
    skeleton &= near > 1  # skan refuses single voxels
    reference = skan.Skeleton(skeleton, keep_images=False)
    found = voxel_paths(skeleton)
    np.testing.assert_array_equal(found.coordinates, reference.coordinates)
    np.testing.assert_array_equal(found.degrees, np.diff(reference.graph.indptr))
    ends = lambda paths: sorted((min(p[0], p[-1]), max(p[0], p[-1]), len(p)) for p in paths)  # noqa: E731
    mine = ends([p for p in found.paths if p[0] != p[-1]])
    theirs = [reference.path(k) for k in range(reference.n_paths)]
    assert mine == ends([p for p in theirs if p[0] != p[-1]])
    assert sum(p[0] == p[-1] for p in found.paths) == sum(p[0] == p[-1] for p in theirs)

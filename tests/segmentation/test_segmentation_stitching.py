"""Joining planes into a volume."""

import numpy as np
import pytest

from napari_marrow.segmentation.stitching import stitch_planes


def discs(*circles, shape=(40, 60)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for k, (cy, cx, r) in enumerate(circles, start=1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= r * r] = k
    return labels


def test_spheres_become_one_label_each_and_separate_ones_stay_apart():
    empty = np.zeros((40, 60), np.int32)
    planes = np.stack(
        [
            discs((20, 15, 6)),
            discs((20, 45, 7), (20, 15, 8)),  # the first sphere has another number here
            discs((20, 15, 7), (20, 45, 8)),
            empty,
            discs((20, 15, 7)),  # beyond a gap: another cell
        ]
    )
    volume = stitch_planes(planes)
    assert volume[0, 20, 15] == volume[1, 20, 15] == volume[2, 20, 15] == 1
    assert volume[1, 20, 45] == volume[2, 20, 45] == 2
    assert volume[4, 20, 15] == 3
    assert volume.max() == 3
    np.testing.assert_array_equal(volume > 0, planes > 0)


def test_two_cells_on_one_only_the_better_overlap_continues():
    below = discs((20, 30, 12))
    above = np.zeros_like(below)
    above[(below > 0) & (np.arange(60) < 32)[None, :]] = 1
    above[(below > 0) & (np.arange(60) >= 32)[None, :]] = 2
    volume = stitch_planes(np.stack([below, above]), threshold=0.2)
    assert volume[1, 20, 25] == 1
    assert volume[1, 20, 40] == 2


def test_same_as_cellpose():
    utils = pytest.importorskip("cellpose.utils", reason="cellpose is not installed")
    rng = np.random.default_rng(0)
    centres = rng.uniform(5, 55, (12, 2)) * [0.6, 1]
    planes = np.stack(
        [discs(*[(cy + rng.normal(), cx + rng.normal(), rng.uniform(3, 6)) for cy, cx in centres]) for _ in range(5)]
    )
    for plane in planes:  # numbers 1..n without gaps, as Cellpose needs
        plane[:] = np.searchsorted(np.unique(plane), plane)
    theirs, ours = utils.stitch3D(planes.copy(), stitch_threshold=0.25), stitch_planes(planes)
    pairs = {(a, b) for a, b in zip(theirs.ravel().tolist(), ours.ravel().tolist(), strict=True)}
    assert len(pairs) == theirs.max() + 1 == ours.max() + 1

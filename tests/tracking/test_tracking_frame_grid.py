"""The grid finds what a search through all finds; uneven places are left to the tree."""

import numpy as np
import pytest

from napari_marrow.tracking.candidates import FrameTree
from napari_marrow.tracking.frame_grid import build_grid
from napari_marrow.tracking.points import read_points
from napari_marrow.tracking.settings import TrackingSettings


def by_hand(x, frame, rows, place, at, k, reach):
    """Distances to all rows of a frame, sorted."""
    there = rows[frame[rows] == at]
    distance = np.sqrt(((x[there] - place) ** 2).sum(1))
    order = np.lexsort((there, distance))[:k]
    order = order[distance[order] < reach]
    return there[order].tolist(), distance[order].tolist()


def places(kind, d, rng):
    counts = [40, 0, 1, 300, 7, 120]
    frame = np.repeat(np.arange(len(counts)), counts)
    x = rng.uniform(0, 100, (len(frame), d))
    if kind == "clustered":
        x = np.where(rng.random((len(frame), 1)) < 0.5, 20 + 8 * rng.random((len(frame), d)), x)
    if kind == "line":
        x[:, 0] = 3.0
    if kind == "whole numbers":  # many at equal distances: the smaller row first
        x = np.round(x / 10) * 10
    return x, frame, len(counts)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("kind", ["even", "clustered", "line", "whole numbers"])
def test_nearest_are_those_of_a_search_through_all(kind, d):
    rng = np.random.default_rng(5)
    x, frame, n_frames = places(kind, d, rng)
    rows = np.flatnonzero(rng.random(len(x)) < 0.9)
    grid = build_grid(x, frame, n_frames, rows)
    asked = rng.uniform(-60, 160, (400, d))  # inside and far outside
    asked[:50] = x[:50]
    at = rng.integers(0, n_frames, len(asked))
    for k, reach in ((1, np.inf), (6, 25.0), (400, 1e9)):
        query, row, distance = grid.nearest(asked, at, k, reach)
        for q in range(len(asked)):
            expected = by_hand(x, frame, rows, asked[q], at[q], k, reach)
            assert row[query == q].tolist() == expected[0]
            assert distance[query == q] == pytest.approx(expected[1])


def test_tree_and_grid_give_the_same_pairs():
    import pandas as pd

    rng = np.random.default_rng(6)
    t = np.repeat(np.arange(4), 300)
    table = pd.DataFrame({"t": t, "y": rng.uniform(0, 500, len(t)), "x": rng.uniform(0, 500, len(t))})
    even = read_points(table, TrackingSettings())
    # one far away: everyone else shares a cell, and the tree takes over
    lone = pd.DataFrame({"t": np.arange(4), "y": 9e6, "x": 9e6})
    uneven = read_points(pd.concat([table, lone], ignore_index=True), TrackingSettings())
    grid, tree = FrameTree(even, 60.0), FrameTree(uneven, 60.0)
    assert grid._tree is None
    assert tree._tree is not None

    def pairs(which, detections, gap):
        i, j, distance = which.pairs(gap, 5, detections.xyz)
        keep = (detections.order[i] < len(table)) & (detections.order[j] < len(table))
        found = zip(detections.order[i], detections.order[j], distance.round(9), strict=True)
        return sorted(pair for pair, ok in zip(found, keep, strict=True) if ok)

    for gap in (1, 0, -1, 3):
        assert pairs(grid, even, gap) == pairs(tree, uneven, gap)

"""Labels mended by the frames before and after: what is drawn by hand comes out as drawn, and nothing is invented."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_marrow.segmentation.label_motion import Cells, link, match, moved
from napari_marrow.segmentation.temporal_repair import RepairSettings, repair_frame, repair_sequence

SHAPE = (90, 120)
PLACES = [(20, 20), (20, 60), (22, 95), (60, 25), (60, 48), (65, 95)]  # the fourth and fifth nearly touch
RADIUS = 11


def discs(places, shape=SHAPE, radius=RADIUS):
    grids = np.mgrid[tuple(slice(n) for n in shape)]
    labels = np.zeros(shape, np.int32)
    for k, place in enumerate(places, 1):
        inside = sum((g - c) ** 2 for g, c in zip(grids, place, strict=True)) <= radius**2
        labels[inside & (labels == 0)] = k
    return labels


def probability_of(labels, level=0.95):
    """A network that is sure inside and has valleys where cells touch."""
    edges = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        edges |= (np.roll(labels, 1, axis) != labels) & (np.roll(labels, 1, axis) > 0) & (labels > 0)
    inside = (labels > 0).astype(float)
    inside[edges] = 0.6
    return (level * gaussian_filter(inside, 0.5)).astype(np.float32)


def drifted(t, step=(3, -2)):
    return [tuple(c + t * s for c, s in zip(place, step, strict=True)) for place in PLACES]


@pytest.fixture
def movie():
    """Three frames in which everything drifts, as the truth has them."""
    return [discs(drifted(t)) for t in (-1, 0, 1)]


def same_cells(a, b):
    """Whether two label images show the same cells under any numbers."""
    pairs = {(int(x), int(y)) for x, y in zip(a.ravel(), b.ravel(), strict=True)}
    return len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs})


def test_what_is_right_stays_as_it_is(movie):
    before, here, after = movie
    mended, repairs = repair_frame(before, here, after, probability_of(here))
    np.testing.assert_array_equal(mended, here)
    assert repairs == []


@pytest.mark.parametrize("level", [0.4, 0.95])  # below the network's threshold; above it, but dropped by a check
def test_a_missed_cell_is_found_in_the_image(movie, level):
    before, here, after = movie
    probability = probability_of(here)
    probability[here == 3] *= level / 0.95
    broken = np.where(here == 3, 0, here).astype(np.int32)
    mended, repairs = repair_frame(before, broken, after, probability, t=7)
    assert [(r.kind, r.t) for r in repairs] == [("missed", 7)]
    assert repairs[0].labels == (7,)
    assert repairs[0].place == pytest.approx((22, 95), abs=1)
    found = mended == 7
    assert (found & (here == 3)).sum() / (found | (here == 3)).sum() > 0.85
    np.testing.assert_array_equal(mended[mended != 7], broken[mended != 7])


def test_nothing_is_invented_where_the_image_shows_nothing(movie):
    before, here, after = movie
    gone = np.where(here == 3, 0, here).astype(np.int32)
    for level in (0.0, 0.1, 0.2):  # too little everywhere, or on the whole
        probability = np.maximum(probability_of(gone), level * (here == 3)).astype(np.float32)
        mended, repairs = repair_frame(before, gone, after, probability)
        assert repairs == []
        np.testing.assert_array_equal(mended, gone)
    # of a cell that only one neighbour has, nobody says that it was there
    one = np.where(after == 3, 0, after).astype(np.int32)
    assert repair_frame(before, gone, one, probability_of(here))[1] == []
    # light that does not look like the cell
    haze = np.maximum(probability_of(gone), 0.5).astype(np.float32)
    assert repair_frame(before, gone, after, haze)[1] == []


def test_merged_cells_are_divided_along_the_valley(movie):
    before, here, after = movie
    broken = np.where(here == 5, 4, here).astype(np.int32)
    bridge = (slice(56, 65), slice(33, 41))
    broken[bridge] = 4
    mended, repairs = repair_frame(before, broken, after, probability_of(here))
    assert [r.kind for r in repairs] == ["merged"]
    for k in (4, 5):
        others, counts = np.unique(mended[here == k], return_counts=True)
        assert counts.max() / counts.sum() > 0.95
        assert others[counts.argmax()] in repairs[0].labels
    assert set(np.unique(mended)) == {0, 1, 2, 3, 4, 6, 7}


def test_a_division_is_not_undone():
    mother, daughters = discs([(40, 40)]), discs([(40, 31), (40, 52)], radius=9)
    for before, here, after in [(mother, mother, daughters), (mother, daughters, daughters)]:
        mended, repairs = repair_frame(before, here, after, probability_of(here))
        assert repairs == []
        np.testing.assert_array_equal(mended, here)


def test_a_split_cell_is_joined(movie):
    before, here, after = movie
    broken = here.copy()
    broken[(here == 2) & (np.arange(SHAPE[1]) >= 58)] = 9
    mended, repairs = repair_frame(before, broken, after, probability_of(here))
    assert [r.kind for r in repairs] == ["split"]
    assert same_cells(mended, here)


def test_cells_may_move_by_a_radius():
    frames = [discs(drifted(t, step=(7, 8))) for t in (-1, 0, 1)]
    broken = np.where(frames[1] == 4, 0, frames[1]).astype(np.int32)
    _, repairs = repair_frame(frames[0], broken, frames[2], probability_of(frames[1]))
    assert [r.kind for r in repairs] == ["missed"]


def test_volumes():
    places = [(6, 12, 12), (6, 12, 34), (7, 34, 22)]
    frames = [discs([(z, y + t, x) for z, y, x in places], (14, 48, 48), 6) for t in (-1, 0, 1)]
    broken = np.where(frames[1] == 2, 0, frames[1]).astype(np.int32)
    mended, repairs = repair_frame(frames[0], broken, frames[2], probability_of(frames[1]))
    assert [r.kind for r in repairs] == ["missed"]
    assert len(repairs[0].place) == 3
    assert ((mended > 0) & (frames[1] == 2)).sum() > 0.8 * (frames[1] == 2).sum()


def test_a_sequence_is_mended_from_its_own_frames():
    truth = [discs(drifted(t)) for t in range(5)]
    broken = [f.copy() for f in truth]
    for t, k in ((0, 1), (2, 3), (3, 3), (4, 2)):
        broken[t][broken[t] == k] = 0
    probability = [probability_of(f) for f in truth]
    results = list(repair_sequence(zip(broken, probability, strict=True)))
    # The ends have one neighbour; a cell that is missed twice is not seen on both sides.
    assert [[r.kind for r in repairs] for _, repairs in results] == [[], [], [], [], []]
    broken[3] = truth[3]
    results = list(repair_sequence(zip(broken, probability, strict=True)))
    assert [[r.t for r in repairs] for _, repairs in results] == [[], [], [2], [], []]
    assert (results[2][0] > 0).sum() == pytest.approx((truth[2] > 0).sum(), rel=0.02)
    for n in (0, 1, 2):
        short = list(repair_sequence(zip(broken[:n], probability[:n], strict=True)))
        assert len(short) == n
        for (labels, repairs), given in zip(short, broken, strict=False):
            assert repairs == []
            np.testing.assert_array_equal(labels, given)


def test_empty_frames_and_wrong_shapes(movie):
    before, here, after = movie
    empty = np.zeros(SHAPE, np.int32)
    for triple in [(empty, here, after), (before, here, empty), (empty, empty, empty)]:
        assert repair_frame(*triple, probability_of(here))[1] == []
    assert len(repair_frame(before, empty, after, probability_of(here))[1]) == len(PLACES)
    with pytest.raises(ValueError, match="one shape"):
        repair_frame(before, here, after, np.zeros((3, 3), np.float32))


def test_settings_hold(movie):
    before, here, after = movie
    broken = np.where(here == 3, 0, here).astype(np.int32)
    probability = probability_of(here, 0.5)
    assert repair_frame(before, broken, after, probability, RepairSettings(mean_probability=0.6))[1] == []
    assert len(repair_frame(before, broken, after, probability)[1]) == 1


def test_motion_of_labels(movie):
    before, here, _ = movie
    a, b = Cells.of(before), Cells.of(here)
    assert a.numbers.tolist() == [1, 2, 3, 4, 5, 6]
    assert a.areas.tolist() == [int((before == k).sum()) for k in a.numbers]
    assert a.centroids[0] == pytest.approx([17, 22], abs=0.1)
    shift = link(a, b)
    np.testing.assert_allclose(shift.shifts, [[3, -2]] * 6, atol=0.2)
    pairs = match(moved(a, shift), b.pixels)
    assert [(i, j) for i, j, _ in pairs] == [(k, k) for k in range(6)]
    assert min(iou for *_, iou in pairs) > 0.9
    assert match([], b.pixels) == []

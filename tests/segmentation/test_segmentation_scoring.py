"""Scores: hand-made cases and Cellpose's own metric."""

import numpy as np
import pytest

from napari_marrow.segmentation import pool_scores, score_labels


def squares(*boxes, shape=(40, 60)):
    labels = np.zeros(shape, np.int32)
    for k, (y, x, h, w) in enumerate(boxes, start=1):
        labels[y : y + h, x : x + w] = k
    return labels


def test_perfect_and_empty():
    labels = squares((0, 0, 10, 10), (20, 20, 5, 5))
    perfect = score_labels(labels, labels * 7)  # numbers need not agree
    assert perfect.average_precision == {0.5: 1.0, 0.75: 1.0, 0.9: 1.0}
    assert perfect.seg == 1
    nothing = score_labels(labels, np.zeros_like(labels))
    assert nothing.average_precision[0.5] == 0
    assert nothing.seg == 0
    neither = score_labels(np.zeros_like(labels), np.zeros_like(labels))
    assert np.isnan(neither.average_precision[0.5])
    assert np.isnan(neither.seg)


def test_by_hand():
    truth = squares((0, 0, 10, 10), (0, 20, 10, 10), (20, 0, 10, 10))
    # IoU 1; 80 / 100 = .8; a spurious one; the third is missed
    predicted = squares((0, 0, 10, 10), (0, 20, 10, 8), (20, 40, 5, 5))
    score = score_labels(truth, predicted)
    assert score.true_positives == (2, 2, 1)
    assert score.average_precision == {0.5: 2 / 4, 0.75: 2 / 4, 0.9: 1 / 5}
    assert score.seg == pytest.approx((1 + 0.8 + 0) / 3)


def test_seg_needs_more_than_half_of_the_object():
    truth = squares((0, 0, 10, 10))
    half = squares((0, 0, 10, 5))
    assert score_labels(truth, half).seg == 0
    assert score_labels(truth, squares((0, 0, 10, 6))).seg == pytest.approx(0.6)
    assert score_labels(truth, half).true_positives[0] == 1  # an intersection over union of exactly one half counts


def test_one_object_is_matched_once():
    truth = squares((0, 0, 10, 10))
    halves = squares((0, 0, 10, 5), (0, 5, 10, 5))
    assert score_labels(truth, halves).true_positives[0] == 1


def test_pooling_adds_counts():
    a = score_labels(squares((0, 0, 9, 9)), squares((0, 0, 9, 9)))
    b = score_labels(squares((0, 0, 9, 9), (20, 20, 9, 9)), squares((0, 0, 9, 9)))
    pooled = pool_scores([a, b])
    assert pooled.average_precision[0.5] == pytest.approx(2 / 3)
    assert pooled.seg == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="at least one"):
        pool_scores([])


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="truth of shape"):
        score_labels(np.zeros((3, 3), int), np.zeros((3, 4), int))


def test_same_as_cellpose():
    metrics = pytest.importorskip("cellpose.metrics", reason="cellpose is not installed")
    rng = np.random.default_rng(0)
    for _ in range(5):
        truth = squares(
            *[(rng.integers(30), rng.integers(50), rng.integers(3, 12), rng.integers(3, 12)) for _ in range(15)]
        )
        predicted = np.roll(truth, rng.integers(-1, 2, 2), axis=(0, 1))
        predicted[:, :15] = 0
        with np.errstate(invalid="ignore"):  # covered squares leave numbers without pixels
            ap, tp, fp, fn = metrics.average_precision(truth, predicted, [0.5, 0.75, 0.9])
        ours = score_labels(truth, predicted)
        np.testing.assert_allclose(list(ours.average_precision.values()), ap, rtol=1e-6)
        np.testing.assert_array_equal(ours.true_positives, tp)
        np.testing.assert_array_equal(ours.n_predicted - np.array(ours.true_positives), fp)
        np.testing.assert_array_equal(ours.n_true - np.array(ours.true_positives), fn)

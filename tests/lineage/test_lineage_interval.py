from __future__ import annotations

import numpy as np
import pytest

from napari_marrow.errors import TableError
from napari_marrow.lineage import aalen_johansen, kaplan_meier, turnbull

MEAN = 60.5


@pytest.mark.parametrize(("gap", "read"), [(24.0, 73.3), (72.0, 103.0)])
def test_the_first_positive_frame_is_late_and_turnbull_is_not(gap, read):
    """Onsets with mean 60.5 h: the first positive look reads 73.3 h at gaps of 24 h and 103 h at gaps of 72 h."""
    rng = np.random.default_rng(4)
    n = 20_000
    onset = rng.exponential(MEAN, n)
    assert (gap * np.ceil(onset / gap)).mean() == pytest.approx(read, rel=0.01)
    # Organoids are not all looked at on the same days: the first look comes 0 to one gap after the start.
    phase = rng.integers(0, 12, n) / 12 * gap
    right = phase + gap * np.ceil((onset - phase) / gap)
    left = np.maximum(right - gap, 0.0)
    curve = turnbull(left, right, tolerance=1e-7)
    assert curve.mean() == pytest.approx(MEAN, rel=0.02)
    assert curve.mass.sum() == pytest.approx(1.0, abs=1e-9)
    for t in (30.0, 60.0, 120.0):
        assert curve.at(t)[0] == pytest.approx(1 - np.exp(-t / MEAN), abs=0.03)


def test_right_censored_exact_times_are_kaplan_meier():
    rng = np.random.default_rng(0)
    time, stop = np.ceil(rng.exponential(20, 200)), np.ceil(rng.exponential(30, 200))
    seen, event = np.minimum(time, stop), time <= stop
    curve = turnbull(seen, np.where(event, seen, np.inf), tolerance=1e-12)
    km = kaplan_meier(seen, event)
    assert curve.converged
    np.testing.assert_allclose(curve.at(km.times), 1 - km.survival, atol=1e-6)


def test_left_truncated_exact_times_are_kaplan_meier_too():
    rng = np.random.default_rng(1)
    time, entry = np.ceil(rng.exponential(20, 600)), np.floor(rng.uniform(0, 10, 600))
    entry[:100] = -np.inf  # enough that are there from the start
    keep = time > entry
    time, entry = time[keep], entry[keep]
    curve = turnbull(time, time, entry=entry, tolerance=1e-12)
    km = kaplan_meier(time, np.ones(len(time), bool), entry=entry)
    np.testing.assert_allclose(curve.at(km.times), 1 - km.survival, atol=1e-6)


def test_competing_exact_times_are_aalen_johansen():
    rng = np.random.default_rng(2)
    n = 300
    time, cause, stop = np.ceil(rng.exponential(20, n)), rng.integers(1, 3, n), np.ceil(rng.exponential(30, n))
    seen, event = np.minimum(time, stop), time <= stop
    curve = turnbull(seen, np.where(event, seen, np.inf), cause=cause, tolerance=1e-12)
    aj = aalen_johansen(seen, np.where(event, cause, 0))
    for k in (1, 2):
        np.testing.assert_allclose(curve.at(aj.times, cause=k), aj.incidence[k - 1], atol=1e-6)


def test_the_textbook_example_of_disjoint_intervals():
    """Half the mass in (0, 1], half in (2, 3]: nothing overlaps, nothing moves."""
    curve = turnbull([0, 0, 2, 2], [1, 1, 3, 3])
    assert curve.left.tolist() == [0, 2]
    assert curve.right.tolist() == [1, 3]
    np.testing.assert_allclose(curve.mass, [0.5, 0.5])
    # (0, 1], (0, 2], (1, 3] leave (0, 1] and (1, 2]; the likelihood p · 1 · (1 - p) is largest at a half.
    curve = turnbull([0, 0, 1], [1, 2, 3], tolerance=1e-12)
    assert list(zip(curve.left, curve.right, strict=True)) == [(0, 1), (1, 2)]
    np.testing.assert_allclose(curve.mass, [0.5, 0.5], atol=1e-6)


def test_all_censored_is_never():
    curve = turnbull([5.0, 9.0], [np.inf, np.inf])
    assert curve.never == 1.0
    assert curve.at(100.0).tolist() == [0.0]
    assert np.isnan(curve.mean())


def test_impossible_intervals_are_refused():
    with pytest.raises(TableError, match="ends before it begins"):
        turnbull([3.0], [2.0])
    with pytest.raises(TableError, match="cannot belong"):
        turnbull([1.0], [2.0], entry=[4.0])
    with pytest.raises(TableError, match="must be numbers"):
        turnbull([np.nan], [2.0])

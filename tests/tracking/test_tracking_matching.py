"""The compiled assignment against exhaustive and independent solutions."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from napari_marrow.tracking.matching import assign, assign_forward


def best_with_divisions(gain, triples, worth):
    best = 0.0
    for k in range(len(triples) + 1):
        for chosen in itertools.combinations(range(len(triples)), k):
            rows = [triples[q][0] for q in chosen]
            columns = [c for q in chosen for c in triples[q][1:]]
            if len(set(rows)) < len(rows) or len(set(columns)) < len(columns):
                continue
            rest = gain.copy()
            rest[rows] = 0
            rest[:, columns] = 0
            best = max(best, rest[linear_sum_assignment(rest, maximize=True)].sum() + worth[list(chosen)].sum())
    return best


@pytest.mark.parametrize("seed", range(60))
def test_assignment_is_optimal(seed):
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(2, 9, 2)
    linked = rng.random((rows, columns)) < 0.5
    gain = np.where(linked, np.maximum(rng.normal(1, 2, (rows, columns)), 0), 0.0)
    i, j = np.nonzero(linked)
    g = gain[i, j]
    chosen = assign(20, i, j + 10, g)
    assert np.isclose(g[chosen].sum(), gain[linear_sum_assignment(gain, maximize=True)].sum())
    triples = np.array([(rng.integers(rows), *rng.choice(columns, 2, replace=False)) for _ in range(4)])
    worth = np.maximum(rng.normal(3, 2, 4), 0)
    zero = np.zeros(len(i), np.int64)
    links, divisions = assign_forward(
        20, (i, j + 10, g, zero), (*(triples + np.array([0, 10, 10])).T, worth, np.zeros(4, np.int64))
    )
    assert np.isclose(g[links].sum() + worth[divisions].sum(), best_with_divisions(gain, triples, worth))
    used_rows = [*i[links], *triples[divisions, 0]]
    used_columns = [*j[links], *triples[divisions, 1], *triples[divisions, 2]]
    assert len(set(used_rows)) == len(used_rows)
    assert len(set(used_columns)) == len(used_columns)


def test_lost_source_competes_in_a_later_frame():
    i, j = np.array([0, 1, 0]), np.array([2, 2, 3])
    gain, frame = np.array([1.0, 2.0, 0.5]), np.array([1, 1, 2])
    none = np.zeros(0, np.int64)
    links, _ = assign_forward(4, (i, j, gain, frame), (none, none, none, np.zeros(0), none))
    assert links.tolist() == [False, True, True]


def test_nothing_to_assign():
    none = np.zeros(0, np.int64)
    assert len(assign(0, none, none, np.zeros(0))) == 0

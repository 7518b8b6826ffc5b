"""Shuffled labels as bits: the composition holds, every labelling is as likely, and pairs are counted right."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from napari_marrow.niche import neighbourhood_enrichment
from napari_marrow.niche._label_bits import SHUFFLES, class_pairs_of_bits, shuffled_labels


def unpacked(bits, n):
    """Class of each cell (SHUFFLES, n), with a check that it has exactly one."""
    flags = np.unpackbits(bits[:n].view(np.uint8), axis=-1, bitorder="little").astype(bool)
    assert (flags.sum(axis=1) == 1).all()
    return flags.argmax(axis=1).T


def test_every_stratum_keeps_its_composition():
    rng = np.random.default_rng(0)
    code, strata = rng.choice(4, 700, p=[0.7, 0.2, 0.09, 0.01]), rng.integers(0, 3, 700)
    members, first = np.argsort(strata, kind="stable"), np.cumsum([0, *np.bincount(strata)])
    drawn = unpacked(shuffled_labels(members, first, code, 4, np.uint64(1)), 700)
    assert drawn.shape == (SHUFFLES, 700)
    for s in range(3):
        here = strata == s
        expected = np.bincount(code[here], minlength=4)
        assert all((np.bincount(row[here], minlength=4) == expected).all() for row in drawn)


def test_every_labelling_is_as_likely():
    """Five cells of classes 0, 0, 1, 1, 2 have 30 labellings; chi-squared with 29 degrees of freedom."""
    code, whole = np.array([0, 0, 1, 1, 2]), np.array([0, 5])
    seen: Counter[bytes] = Counter()
    n_blocks = 6000 // SHUFFLES + 1
    for seed in range(n_blocks):
        seen.update(
            row.tobytes() for row in unpacked(shuffled_labels(np.arange(5), whole, code, 3, np.uint64(seed)), 5)
        )
    expected = n_blocks * SHUFFLES / 30
    assert len(seen) == 30
    assert sum((n - expected) ** 2 / expected for n in seen.values()) < 58  # p = .001


@pytest.mark.parametrize(("n_pairs", "k"), [(0, 2), (5, 1), (803, 5)])
def test_pairs_are_counted_as_one_by_one(n_pairs, k):
    rng = np.random.default_rng(n_pairs)
    n = 90
    code, pairs = rng.integers(0, k, n), rng.integers(0, n, (n_pairs, 2))
    code[:k] = np.arange(k)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    bits = shuffled_labels(np.arange(n), np.array([0, n]), code, k, np.uint64(3))
    found, labels = class_pairs_of_bits(bits, pairs), unpacked(bits, n)
    for s in (0, 1, 63, 64, SHUFFLES - 1):
        plain = np.zeros((k, k), dtype=int)
        for i, j in pairs:
            plain[labels[s, i], labels[s, j]] += 1
            plain[labels[s, j], labels[s, i]] += 1
        np.testing.assert_array_equal(found[s], plain)


def test_z_agrees_with_the_exact_moments_of_shuffling():
    """A chain of cells: mean and variance of the joins between two classes in closed form (Cliff & Ord 1981)."""
    n, n_red = 60, 24
    code = np.array(["red"] * n_red + ["blue"] * (n - n_red))
    pairs = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1)
    found = neighbourhood_enrichment(code, pairs, n_simulations=20_000, seed=4)
    n_blue, joins = n - n_red, n - 1
    mean = joins * 2 * n_red * n_blue / (n * (n - 1))
    shared = n - 2  # joins that share a cell
    one = 2 * n_red * n_blue / (n * (n - 1))
    two = n_red * n_blue / (n * (n - 1))  # two joins in a row: red blue red or blue red blue, all splits together
    apart = 4 * n_red * (n_red - 1) * n_blue * (n_blue - 1) / (n * (n - 1) * (n - 2) * (n - 3))
    square = joins * one + 2 * shared * two + (joins * (joins - 1) - 2 * shared) * apart
    assert found.expected[0, 1] == pytest.approx(mean, rel=0.005)
    assert found.sd[0, 1] == pytest.approx(np.sqrt(square - mean**2), rel=0.03)

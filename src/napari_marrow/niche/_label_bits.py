"""Shuffled class labels as bits, 64 shuffles to a word, and the neighbour pairs that they give.

A word holds one bit of one cell in 64 shuffles, and eight words go together, so that a logical operation acts on 512
shuffles at once. Sums over cells and over pairs are kept as bits as well (`_bit_adders`): of 64 terms three planes of a
counter take all, and what is left is one term of weight 64 that goes up the remaining planes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from napari_marrow.niche._bit_adders import WORDS, add_eight, add_eight_cells, add_eight_pairs

SHUFFLES = 64 * WORDS
_RANDOM_BITS = 9
_RANGE = 1 << _RANDOM_BITS
_PLANES = 40
_ZERO, _ONE, _ALL = np.uint64(0), np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)

Bits = npt.NDArray[np.uint64]
IntArray = npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def shuffled_labels(
    members: IntArray, first: IntArray, code: IntArray, k: int, seed: np.uint64
) -> Bits:  # pragma: no cover - compiled
    """Draw SHUFFLES labellings with the composition of `code` in every stratum, each as likely as any other.

    Every cell first draws a class of its own, with probabilities near the frequencies in its stratum. Then, in each
    shuffle, cells drawn at random among those of a class that is too frequent move to one that is too rare, until the
    composition is right. Neither part tells the cells of a stratum apart, so all labellings of the composition are
    equally likely.

    Parameters
    ----------
    members : (n,) int64
        Cells, sorted by stratum.
    first : (strata + 1,) int64
        Where each stratum begins in `members`.
    code : (n,) int64
        Class 0..k-1 of each cell.
    k : int
    seed : uint64

    Returns
    -------
    (n + 1, k, WORDS) uint64
        Bit s of word w: the cell is of this class in shuffle 64 w + s. The last cell, n, is of no class.
    """
    n = len(code)
    labels = np.zeros((n + 1, k, WORDS), dtype=np.uint64)
    state = seed
    for stratum in range(len(first) - 1):
        cells = members[first[stratum] : first[stratum + 1]]
        wanted = np.zeros(k, dtype=np.int64)
        for cell in cells:
            wanted[code[cell]] += 1
        state = _independent_labels(labels, cells, wanted, state)
        state = _mend_composition(labels, cells, wanted, _class_counts(labels, cells, n), state)
    return labels


@njit(cache=True, nogil=True)
def _mixed(state: np.uint64) -> np.uint64:  # pragma: no cover - compiled
    """Return the output of SplitMix64 (Steele, Lea & Flood 2014) at a state."""
    z = state
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def _independent_labels(
    labels: Bits, cells: IntArray, wanted: IntArray, state: np.uint64
) -> np.uint64:  # pragma: no cover - compiled
    """Give each cell a class in each shuffle: where a random number lies between cumulative frequencies."""
    k = len(wanted)
    random = np.zeros((_RANDOM_BITS, WORDS), dtype=np.uint64)
    below, passed = np.zeros(WORDS, np.uint64), np.zeros(WORDS, np.uint64)
    upper = np.round(np.cumsum(wanted) * (_RANGE / max(len(cells), 1))).astype(np.int64)
    for cell in cells:
        for b in range(_RANDOM_BITS):
            for w in range(WORDS):
                random[b, w] = _mixed(state + _GOLDEN * np.uint64(b * WORDS + w))
        state += _GOLDEN * np.uint64(_RANDOM_BITS * WORDS)
        passed[:] = _ZERO
        for c in range(k):
            # Number < upper cut, from the lowest bit up; `random` holds the number's bits inverted.
            below[:] = _ALL if upper[c] == _RANGE else _ZERO
            for b in range(_RANDOM_BITS if upper[c] < _RANGE else 0):
                if (upper[c] >> b) & 1:
                    for w in range(WORDS):
                        below[w] |= random[b, w]
                else:
                    for w in range(WORDS):
                        below[w] &= random[b, w]
            for w in range(WORDS):
                labels[cell, c, w] = below[w] & ~passed[w]
                passed[w] = below[w]
    return state


@njit(cache=True, nogil=True)
def _class_counts(labels: Bits, cells: IntArray, nobody: int) -> Bits:  # pragma: no cover - compiled
    """Count the cells of each class (k, planes, WORDS)."""
    k = labels.shape[1]
    counter = np.zeros((k, _PLANES, WORDS), dtype=np.uint64)
    at = np.full((len(cells) + 63) // 64 * 64, nobody * k * WORDS, dtype=np.int64)
    at[: len(cells)] = cells * (k * WORDS)
    flat, counted = labels.reshape(-1), counter.reshape(-1)
    eights, spill = np.zeros((k, 8 * WORDS), dtype=np.uint64), np.zeros(WORDS, dtype=np.uint64)
    for start in range(0, len(at), 64):
        for part in range(8):
            eight = at[start + 8 * part : start + 8 * part + 8]
            for c in range(k):
                place = c * WORDS
                add_eight_cells(flat, eight, place, place, counted, c * _PLANES * WORDS, eights[c], part * WORDS)
        for c in range(k):
            add_eight(counted, (c * _PLANES + 3) * WORDS, eights[c], spill, 0)
            _carry(counter[c], spill)
    return counter


@njit(cache=True, nogil=True)
def _mend_composition(
    labels: Bits, cells: IntArray, wanted: IntArray, counter: Bits, state: np.uint64
) -> np.uint64:  # pragma: no cover - compiled
    """Move cells drawn at random from classes that are too frequent to those that are too rare."""
    k, size = len(wanted), np.uint64(len(cells))
    excess = np.zeros(k, dtype=np.int64)
    for w in range(WORDS):
        for s in range(64):
            shift = np.uint64(s)
            for c in range(k):
                excess[c] = _value(counter, c, w, shift) - wanted[c]
            rare = 0
            for c in range(k):
                while excess[c] > 0:
                    state += _GOLDEN
                    # A number below `size` from the upper 32 bits: its bias is below size / 2^32.
                    cell = cells[np.int64(((_mixed(state) >> np.uint64(32)) * size) >> np.uint64(32))]
                    if not (labels[cell, c, w] >> shift) & _ONE:
                        continue
                    while excess[rare] >= 0:
                        rare += 1
                    labels[cell, c, w] ^= _ONE << shift
                    labels[cell, rare, w] |= _ONE << shift
                    excess[c] -= 1
                    excess[rare] += 1
    return state


@njit(cache=True, nogil=True)
def class_pairs_of_bits(labels: Bits, pairs: IntArray) -> IntArray:  # pragma: no cover - compiled
    """Count the ordered class pairs (SHUFFLES, k, k) of neighbours (p, 2) for `labels` as of `shuffled_labels`.

    Pairs of two different classes are counted; those within a class are what remains of the class's neighbours.
    """
    k, nobody = labels.shape[1], labels.shape[0] - 1
    n_kinds = k * (k - 1) // 2
    counter = np.zeros((max(n_kinds, 1), _PLANES, WORDS), dtype=np.uint64)
    at = np.full((len(pairs) + 63) // 64 * 128, nobody * k * WORDS, dtype=np.int64)
    at[: 2 * len(pairs)] = pairs.reshape(-1) * (k * WORDS)
    flat, counted = labels.reshape(-1), counter.reshape(-1)
    eights, spill = np.zeros((n_kinds, 8 * WORDS), dtype=np.uint64), np.zeros(WORDS, dtype=np.uint64)
    for start in range(0, len(at), 128):
        for part in range(8):
            eight = at[start + 16 * part : start + 16 * part + 16]
            q = 0
            for a in range(k):
                for b in range(a + 1, k):
                    plane = q * _PLANES * WORDS
                    add_eight_pairs(flat, eight, a * WORDS, b * WORDS, counted, plane, eights[q], part * WORDS)
                    q += 1
        for q in range(n_kinds):
            add_eight(counted, (q * _PLANES + 3) * WORDS, eights[q], spill, 0)
            _carry(counter[q], spill)
    degree = np.bincount(pairs.ravel(), minlength=nobody)
    neighbours = np.zeros((SHUFFLES, k), dtype=np.int64)
    weight = 0
    while (degree >> weight).any():
        odd = np.flatnonzero((degree >> weight) & 1)
        found = _class_counts(labels, odd, nobody)
        for s in range(SHUFFLES):
            for a in range(k):
                neighbours[s, a] += _value(found, a, s // 64, np.uint64(s % 64)) << weight
        weight += 1
    out = np.zeros((SHUFFLES, k, k), dtype=np.int64)
    for s in range(SHUFFLES):
        w, shift = s // 64, np.uint64(s % 64)
        q = 0
        for a in range(k):
            out[s, a, a] += neighbours[s, a]
            for b in range(a + 1, k):
                out[s, a, b] = out[s, b, a] = _value(counter, q, w, shift)
                out[s, a, a] -= out[s, a, b]
                out[s, b, b] -= out[s, a, b]
                q += 1
    return out


@njit(cache=True, nogil=True)
def _carry(counter: Bits, spill: Bits) -> None:  # pragma: no cover - compiled
    """Add words of weight 64 to a counter (planes, WORDS)."""
    for w in range(WORDS):
        term, plane = spill[w], 6
        while term:
            left = counter[plane, w] & term
            counter[plane, w] ^= term
            term = left
            plane += 1


@njit(cache=True, nogil=True)
def _value(counter: Bits, q: int, w: int, shift: np.uint64) -> np.int64:  # pragma: no cover - compiled
    """Read the number in one bit of counter q."""
    value = np.int64(0)
    for plane in range(_PLANES):
        value += np.int64((counter[q, plane, w] >> shift) & _ONE) << plane
    return value

"""Shuffled class labels as bits, 64 shuffles to a word, and the neighbour pairs that they give.

A word holds one bit of one cell in 64 shuffles, so that a logical operation acts on 64 shuffles at once, and on 256 or
512 where the compiler uses vectors. Sums over cells and over pairs are kept as bits as well, plane k holding the bits
of weight 2^k, eight terms added at a time by carry-save adders (Harley & Seal; see Muła, Kurz & Lemire 2018, "Faster
population counts using AVX2 instructions").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

WORDS = 4
"""Words of shuffles that are handled at once: the labels of 256 shuffles of 20 000 cells stay in the cache."""
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
    counter = np.zeros((labels.shape[1], _PLANES, WORDS), dtype=np.uint64)
    padded = np.full((len(cells) + 7) // 8 * 8, nobody, dtype=np.int64)
    padded[: len(cells)] = cells
    terms = np.zeros((8, WORDS), dtype=np.uint64)
    for start in range(0, len(padded), 8):
        for c in range(labels.shape[1]):
            for p in range(8):
                i = padded[start + p]
                for w in range(WORDS):
                    terms[p, w] = labels[i, c, w]
            _add_eight(counter[c], terms)
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
    counter = np.zeros((max(k * (k - 1) // 2, 1), _PLANES, WORDS), dtype=np.uint64)
    padded = np.full(((len(pairs) + 7) // 8 * 8, 2), nobody, dtype=np.int64)
    padded[: len(pairs)] = pairs
    terms = np.zeros((8, WORDS), dtype=np.uint64)
    for start in range(0, len(padded), 8):
        q = 0
        for a in range(k):
            for b in range(a + 1, k):
                for p in range(8):
                    i, j = padded[start + p, 0], padded[start + p, 1]
                    for w in range(WORDS):
                        terms[p, w] = (labels[i, a, w] & labels[j, b, w]) | (labels[i, b, w] & labels[j, a, w])
                _add_eight(counter[q], terms)
                q += 1
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
def _majority(a: np.uint64, b: np.uint64, c: np.uint64) -> np.uint64:  # pragma: no cover - compiled
    """Carry of a full adder."""
    return (a & b) | ((a ^ b) & c)


@njit(cache=True, nogil=True)
def _add_eight(counter: Bits, terms: Bits) -> None:  # pragma: no cover - compiled
    """Add eight words of bits (8, WORDS) to a counter (planes, WORDS); `terms` is used up."""
    for w in range(WORDS):
        ones, twos, fours = counter[0, w], counter[1, w], counter[2, w]
        a = _majority(ones, terms[0, w], terms[1, w])
        ones ^= terms[0, w] ^ terms[1, w]
        b = _majority(ones, terms[2, w], terms[3, w])
        ones ^= terms[2, w] ^ terms[3, w]
        c = _majority(ones, terms[4, w], terms[5, w])
        ones ^= terms[4, w] ^ terms[5, w]
        d = _majority(ones, terms[6, w], terms[7, w])
        ones ^= terms[6, w] ^ terms[7, w]
        e = _majority(twos, a, b)
        twos ^= a ^ b
        f = _majority(twos, c, d)
        twos ^= c ^ d
        terms[0, w] = _majority(fours, e, f)
        fours ^= e ^ f
        counter[0, w], counter[1, w], counter[2, w] = ones, twos, fours
    plane = 3
    busy = _ONE
    while busy:
        busy = _ZERO
        for w in range(WORDS):
            spill = counter[plane, w] & terms[0, w]
            counter[plane, w] ^= terms[0, w]
            terms[0, w] = spill
            busy |= spill
        plane += 1


@njit(cache=True, nogil=True)
def _value(counter: Bits, q: int, w: int, shift: np.uint64) -> np.int64:  # pragma: no cover - compiled
    """Read the number in one bit of counter q."""
    value = np.int64(0)
    for plane in range(_PLANES):
        value += np.int64((counter[q, plane, w] >> shift) & _ONE) << plane
    return value

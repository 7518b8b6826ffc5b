"""One marker in one pedigree after the other: which frames it is on in, and when it came on for good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.lineage.pedigree import Pedigree

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MarkerOnsets:
    """The onset of one marker, per track.

    Attributes
    ----------
    left_h, right_h : (n,) float64
        Hours between which it came on; right_h is inf where it did not.
    prevalent : (n,) bool
        On when a line of unknown history was first measured.
    excess : (n,) float64
        Log of intensity over threshold at onset.
    sure_h : (n,) float64
        Look that confirmed the onset, or the track's last one; -inf without onset.
    first_h, last_h : (n,) float64
        First and last measured frame; inf and -inf for none.
    confirmed_h : (n,) float64
        Last frame from which on an onset could be confirmed; -inf for none.
    """

    left_h: Floats
    right_h: Floats
    prevalent: Bools
    excess: Floats
    sure_h: Floats
    first_h: Floats
    last_h: Floats
    confirmed_h: Floats


def one_marker_onsets(
    pedigree: Pedigree, row: Ints, time: Floats, value: Floats, *, threshold: float, consecutive: int, hysteresis: float
) -> MarkerOnsets:
    """Return when a marker came on in each track.

    Parameters
    ----------
    pedigree : Pedigree
        Of n tracks.
    row, time, value : (m,) int64, float64 and float64
        Track (row of the pedigree), hour and intensity of every look, in order of track and time.
    threshold : float
        In the unit of the intensities.
    consecutive : int
        Looks in a row that confirm an onset; they may go on in a daughter.
    hysteresis : float
        Fraction of the threshold that a positive cell has to fall below to be negative again.

    Returns
    -------
    MarkerOnsets
    """
    n = len(pedigree)
    first = np.searchsorted(row, np.arange(n), side="left")
    stop = np.searchsorted(row, np.arange(n), side="right")
    has = stop > first
    state = _with_hysteresis(pedigree, row, value, first, stop, threshold, hysteresis)
    begins = np.zeros(len(row), dtype=bool)
    begins[first[has]] = True
    begins[1:] |= state[1:] != state[:-1]
    start = np.flatnonzero(begins)
    length = np.diff(np.append(start, len(row)))
    run_row, on = row[start], state[start]
    opens = start == first[run_row]
    closes = start + length == stop[run_row]
    head = np.zeros(n, dtype=np.int64)  # frames in a row, from birth, in which a track is on
    head[run_row[opens & on]] = length[opens & on]
    onward = np.zeros(n, dtype=np.int64)  # the longest such run among a track's daughters
    child = np.flatnonzero(pedigree.mother >= 0)
    np.maximum.at(onward, pedigree.mother[child], head[child])
    total = length + np.where(closes, onward[run_row], 0)
    needed = np.minimum(consecutive, (stop - first)[run_row])
    # A short track must be on in all its frames; one that divides is judged with its daughters.
    needed = np.where(pedigree.n_daughters[run_row] > 0, consecutive, needed)
    run = np.flatnonzero(on & (total >= needed))
    run = run[np.unique(run_row[run], return_index=True)[1]]
    left, right = np.full(n, -np.inf), np.full(n, np.inf)
    prevalent, excess = np.zeros(n, dtype=bool), np.full(n, -np.inf)
    at, who = start[run], run_row[run]
    right[who] = time[at]
    sure = np.full(n, -np.inf)
    sure[who] = time[np.minimum(at + consecutive, stop[who]) - 1]
    last = np.full(n, -np.inf)
    last[has] = time[stop[has] - 1]
    earliest = np.full(n, np.inf)
    earliest[has] = time[first[has]]
    known = last_known(pedigree, last)
    left[who] = np.where(
        opens[run], np.where(pedigree.mother[who] >= 0, known[pedigree.mother[who]], -np.inf), time[at - 1]
    )
    prevalent[who] = opens[run] & ~np.isfinite(left[who])
    excess[who] = np.log(np.maximum(value[at], 1e-12) / threshold) if threshold > 0 else value[at] - threshold
    confirmed = _last_confirmable(pedigree, time, first, stop, consecutive)
    return MarkerOnsets(left, right, prevalent, excess, sure, earliest, last, confirmed)


def _last_confirmable(pedigree: Pedigree, time: Floats, first: Ints, stop: Ints, consecutive: int) -> Floats:
    """Return the last frame of each track at which a run could begin that is long enough, -inf for none.

    What comes on later is not seen to, so that hours after it are none at risk: counting them makes rates too low.
    """
    has = stop > first
    after = np.zeros(len(first), dtype=np.int64)  # frames that daughters add
    child = np.flatnonzero(pedigree.mother >= 0)
    np.maximum.at(after, pedigree.mother[child], (stop - first)[child])
    at = stop - consecutive + np.minimum(after, consecutive - 1)
    # A short track without daughters has to be on in all its frames, so that its onset lies before the first of them.
    at = np.where(pedigree.n_daughters > 0, at, np.maximum(at, first))
    known = has & (at >= first)
    out = np.full(len(first), -np.inf)
    out[known] = time[at[known]]
    return out


def last_known(pedigree: Pedigree, last: Floats) -> Floats:
    """Last measured time of each track or, if it was never measured, of its nearest measured ancestor."""
    known = last.copy()
    for level in pedigree.levels()[1:]:
        blank = level[~np.isfinite(known[level])]
        known[blank] = known[pedigree.mother[blank]]
    return known


def _with_hysteresis(
    pedigree: Pedigree, row: Ints, value: Floats, first: Ints, stop: Ints, threshold: float, hysteresis: float
) -> Bools:
    """On above the threshold, off below its fraction, in between what it was; daughters begin as mothers end."""
    sure_on = value >= threshold
    sure = sure_on | (value < (threshold * hysteresis if threshold > 0 else threshold))
    index = np.where(sure, np.arange(len(value)), -1)
    carried = np.maximum.accumulate(index) if len(index) else index
    inside = carried >= first[row]
    state = np.zeros(len(value), dtype=bool)
    state[inside] = sure_on[carried[inside]]
    has = stop > first
    ended = np.zeros(len(first), dtype=bool)
    settled = np.zeros(len(first), dtype=bool)
    settled[has] = inside[stop[has] - 1]
    ended[has] = state[stop[has] - 1] & settled[has]
    for level in pedigree.levels()[1:]:
        heir = level[~settled[level]]
        ended[heir] = ended[pedigree.mother[heir]]
    begun = np.where(pedigree.mother >= 0, ended[pedigree.mother], False)
    state[~inside] = begun[row[~inside]]
    return state

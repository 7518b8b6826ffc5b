"""Learned persistence of speed: a fast cell stays fast, more so than its neighbours are as fast as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from napari_marrow.tracking.chains import Chains
from napari_marrow.tracking.points import Floats, Ints
from napari_marrow.tracking.threads import in_slices

_MOST_STEPS = 5  # what `chains` sums over
_PRIOR = 0.5  # steps that the usual speed counts for
_SHARE = 0.5  # of the evidence: the width of a step follows the cell's speed as well (see `motion`)
_LIMIT = 2.5  # standard deviations beyond which a speed says no more
_FEW = 50.0  # pairs that no correlation at all counts for
_LEAST = 20


@dataclass(frozen=True)
class SpeedModel:
    """Log-likelihood ratio of the speed after a link given the speed before it: same cell against a neighbour.

    Speeds are logs of mean squared steps, brought to mean 0 and standard deviation 1 by the number of steps they rest
    on. Both are taken as jointly normal, with one correlation along a cell and another between neighbouring cells.

    Attributes
    ----------
    before, after : (n,) float64
        Standardised speed of every detection over up to five steps before, after it.
    steps_before, steps_after : (n,) int64
        How many steps these are, 0 to 5.
    same, other : (6, 6) float64
        Correlation by both numbers of steps, along links and between neighbours.
    """

    before: Floats
    after: Floats
    steps_before: Ints
    steps_after: Ints
    same: Floats
    other: Floats

    def log_ratio(self, i: Ints, j: Ints) -> Floats:
        """Log-likelihood ratio of the pairs; 0 where a speed is not known."""
        out = np.empty(len(i))
        in_slices(
            lambda low, high: _log_ratio(
                self.before, self.after, self.steps_before, self.steps_after, self.same, self.other, i, j, out,
                low, high,
            ),
            len(i),
        )  # fmt: skip
        return out


@numba.njit(cache=True, nogil=True)
def _log_ratio(
    before: Floats, after: Floats, steps_before: Ints, steps_after: Ints, same: Floats, other: Floats, i: Ints,
    j: Ints, out: Floats, low: int, high: int,
) -> None:  # fmt: skip
    for e in range(low, high):
        x, y = before[i[e]], after[j[e]]
        r, s = same[steps_before[i[e]], steps_after[j[e]]], other[steps_before[i[e]], steps_after[j[e]]]
        squares, product = x * x + y * y, 2 * x * y
        ratio = 0.5 * np.log((1 - s * s) / (1 - r * r))
        ratio += 0.5 * (s * s * squares - s * product) / (1 - s * s)
        ratio -= 0.5 * (r * r * squares - r * product) / (1 - r * r)
        out[e] = _SHARE * ratio


def fit_speeds(
    chains: Chains, crowding: Ints, usual: Floats, links: tuple[Ints, Ints], beside: tuple[Ints, Ints]
) -> SpeedModel:
    """Learn how much speeds persist.

    Parameters
    ----------
    chains : Chains
    crowding : (n,) int64
        Class of local crowding.
    usual : (classes,) float64
        Mean squared step per unit of time in each class.
    links : (i, j)
        Links of one frame.
    beside : (i, j)
        A cell and the successor of a neighbour of it.

    Returns
    -------
    SpeedModel
    """
    level = usual[crowding]
    before, steps_before = _standardised(chains.past_speed, level, links[0])
    after, steps_after = _standardised(chains.future_speed, level, links[1])
    same, other = (_correlations(before[i], after[j], steps_before[i], steps_after[j]) for i, j in (links, beside))
    return SpeedModel(before, after, steps_before, steps_after, same, other)


def _standardised(sums: Floats, level: Floats, linked: Ints) -> tuple[Floats, Ints]:
    """Speeds by number of steps, in standard deviations from the median of the linked detections."""
    speed = np.log((sums[:, 0] / level + _PRIOR) / (sums[:, 1] + _PRIOR))
    steps = np.minimum(sums[:, 1], _MOST_STEPS).astype(np.int64)
    out = np.zeros(len(speed))
    for count in range(1, _MOST_STEPS + 1):
        known = speed[linked[steps[linked] == count]]
        if len(known) >= _LEAST:
            rows = steps == count
            width = max(float(known.std()), 0.1)
            out[rows] = np.clip((speed[rows] - float(np.median(known))) / width, -_LIMIT, _LIMIT)
    return out, steps


def _correlations(x: Floats, y: Floats, steps_x: Ints, steps_y: Ints) -> Floats:
    """Correlation by both numbers of steps, shrunk towards none where pairs are few."""
    side = _MOST_STEPS + 1
    cell = steps_x * side + steps_y
    count, xy, xx, yy = (np.bincount(cell, w, side * side) for w in (None, x * y, x * x, y * y))
    known = (count > 0) & (xx > 0) & (yy > 0)
    out = np.where(known, xy / np.sqrt(np.where(known, xx * yy, 1.0)), 0.0) * count / (count + _FEW)
    return np.asarray(np.clip(out, -0.9, 0.9).reshape(side, side))

"""Posterior of links and divisions over their rivals."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from napari_marrow.tracking.hypotheses import Solution
from napari_marrow.tracking.points import Floats, Ints

_LEAST_GAIN = -5.0  # a rival below this takes less than 1 % from any other
_MOST_GAIN = 25.0
_ITERATIONS = 12
_SETTLED = 1e-3
# Logistic calibration (slope, offset) of the log odds, because gains share evidence and know no rivals beyond the
# candidates: fitted to simulated truth by `benchmarks/calibration.py --fit`, held against other seeds and real truth.
_LINKS = (0.54, 0.11)
_DIVISIONS = (0.19, 0.31)


@dataclass(frozen=True)
class Posterior:
    """Probability of every chosen link, division and late division, in the order of the solution.

    `start` and `end` (n,) are the probabilities that nothing precedes, nothing follows a detection.
    """

    links: Floats
    divisions: Floats
    late: Floats
    start: Floats
    end: Floats


def posterior(n: int, solution: Solution, *, calibrated: bool) -> Posterior:
    """Marginal probabilities of the chosen links and divisions.

    Every hypothesis (a link, a division) takes the outgoing end of its source and the incoming ends of its targets; an
    end can be taken once. The marginals of this packing problem are found by belief propagation on it, as for data
    association by Williams and Lau (2014, IEEE Trans. Aerosp. Electron. Syst. 50:2942); a hypothesis' weight is
    exp(gain).

    Parameters
    ----------
    n : int
        Number of detections.
    solution : Solution
    calibrated : bool
        Whether the log odds are brought to the frequencies found on simulated truth.

    Returns
    -------
    Posterior
    """
    links, triples, late = solution.links, solution.triples, solution.late
    keep = _kept(links.gain, solution.chosen)
    keep_t = _kept(solution.triple_gain, solution.divided)
    m, k, q = len(keep), len(keep_t), len(late)
    nowhere = 3 * n
    ends = np.full((m + k + q, 3), nowhere, np.int64)
    ends[:m, 0], ends[:m, 1] = links.i[keep], n + links.j[keep]
    t = triples.take(keep_t)
    ends[m : m + k] = np.column_stack([t.mother, n + t.first, n + t.second])
    ends[m + k :, 0], ends[m + k :, 1] = 2 * n + late.mother, n + late.second
    gain = np.concatenate([links.gain[keep], solution.triple_gain[keep_t], solution.late_gain])
    odds, taken = _propagate(ends, np.exp(np.clip(gain, -30, _MOST_GAIN)), nowhere, _ITERATIONS)
    for_links, for_divisions = (_LINKS, _DIVISIONS) if calibrated else ((1.0, 0.0), (1.0, 0.0))
    probability = np.concatenate([_logistic(odds[:m], for_links), _logistic(odds[m:], for_divisions)])
    with np.errstate(divide="ignore"):
        free = 1 - _logistic(np.log(taken), for_links)
    return Posterior(
        probability[np.searchsorted(keep, solution.chosen)],
        probability[m + np.searchsorted(keep_t, solution.divided)],
        probability[m + k :],
        free[n : 2 * n],
        free[:n],
    )


def _logistic(odds: Floats, line: tuple[float, float]) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(line[0] * odds + line[1], -30, 30))))


def _kept(gain: Floats, chosen: Ints) -> Ints:
    keep = gain > _LEAST_GAIN
    keep[chosen] = True
    return np.flatnonzero(keep)


@numba.njit(cache=True, nogil=True)
def _propagate(ends: Ints, weight: Floats, nowhere: int, iterations: int) -> tuple[Floats, Floats]:
    """Log odds of every hypothesis, and odds of every end being taken.

    `ends` (h, 3) are the resources that a hypothesis takes, `nowhere` for none.

    A message from an end to a hypothesis is the weight that no other takes it.
    """
    h = len(weight)
    free = np.ones((h, 3))
    total = np.zeros(nowhere + 1)
    for _ in range(iterations):
        total[:] = 0.0
        for a in range(h):
            product = weight[a] * free[a, 0] * free[a, 1] * free[a, 2]
            for e in range(3):
                total[ends[a, e]] += product / free[a, e]
        moved = 0.0
        for a in range(h):
            product = weight[a] * free[a, 0] * free[a, 1] * free[a, 2]
            f0, f1, f2 = free[a, 0], free[a, 1], free[a, 2]
            for e in range(3):
                if ends[a, e] == nowhere:
                    continue
                own = product / (f0 if e == 0 else f1 if e == 1 else f2)
                new = max(1 / (1 + max(total[ends[a, e]] - own, 0.0)), 1e-30)
                moved = max(moved, abs(new - free[a, e]))
                free[a, e] = new
        if moved < _SETTLED:
            break
    odds = np.empty(h)
    total[:] = 0.0
    for a in range(h):
        product = weight[a] * free[a, 0] * free[a, 1] * free[a, 2]
        odds[a] = np.log(product)
        for e in range(3):
            total[ends[a, e]] += product / free[a, e]
    return odds, total

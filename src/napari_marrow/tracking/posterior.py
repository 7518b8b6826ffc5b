"""Posterior of links and divisions over their rivals."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from napari_marrow.tracking.hypotheses import Solution
from napari_marrow.tracking.points import Floats, Ints

_LEAST_GAIN = -5.0  # a rival below this takes less than 1 % from any other
_MOST_GAIN = 25.0
_ITERATIONS = 12


@dataclass(frozen=True)
class Posterior:
    """Probability of every chosen link, division and late division, in the order of the solution."""

    links: Floats
    divisions: Floats
    late: Floats


def posterior(n: int, solution: Solution) -> Posterior:
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
    odds = _propagate(ends, np.exp(np.clip(gain, -30, _MOST_GAIN)), nowhere, _ITERATIONS)
    probability = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
    return Posterior(
        probability[np.searchsorted(keep, solution.chosen)],
        probability[m + np.searchsorted(keep_t, solution.divided)],
        probability[m + k :],
    )


def _kept(gain: Floats, chosen: Ints) -> Ints:
    keep = gain > _LEAST_GAIN
    keep[chosen] = True
    return np.flatnonzero(keep)


@numba.njit(cache=True, nogil=True)
def _propagate(ends: Ints, weight: Floats, nowhere: int, iterations: int) -> npt.NDArray[np.float64]:
    """Log odds of every hypothesis; `ends` (h, 3) are the resources it takes, `nowhere` for none.

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
        for a in range(h):
            product = weight[a] * free[a, 0] * free[a, 1] * free[a, 2]
            f0, f1, f2 = free[a, 0], free[a, 1], free[a, 2]
            for e in range(3):
                if ends[a, e] == nowhere:
                    continue
                own = product / (f0 if e == 0 else f1 if e == 1 else f2)
                free[a, e] = max(1 / (1 + max(total[ends[a, e]] - own, 0.0)), 1e-30)
    odds = np.empty(h)
    for a in range(h):
        odds[a] = np.log(weight[a]) + np.log(free[a, 0]) + np.log(free[a, 1]) + np.log(free[a, 2])
    return odds

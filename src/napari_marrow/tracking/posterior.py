"""Posterior of links and divisions over their rivals."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from napari_marrow.tracking.exchange_groups import Packing, group_odds
from napari_marrow.tracking.hypotheses import Solution
from napari_marrow.tracking.points import Floats, Ints
from napari_marrow.tracking.reliability import (
    division_probability,
    link_probability,
    usual_division,
    usual_link,
)

_LEAST_GAIN = -5.0  # a rival below this takes less than 1 % from any other
_MOST_GAIN = 60.0
_ITERATIONS = 12
_SETTLED = 1e-3
_LEAST_ODDS = 1e-30


@dataclass(frozen=True)
class Posterior:
    """Probability that each chosen parent and child belong together, in the order of the solution.

    Attributes
    ----------
    links : (e,) float64
    divisions : (m, 2) float64
        Of the mother with the first and with the second daughter.
    late : (q,) float64
        Of the mother with the daughter that was found later.
    start, end : (n,) float64
        That nothing precedes, nothing follows a detection.
    """

    links: Floats
    divisions: Floats
    late: Floats
    start: Floats
    end: Floats


def posterior(n: int, solution: Solution, *, calibrated: bool) -> Posterior:
    """Marginal probabilities of the chosen links and divisions.

    Every hypothesis (a link, a division) takes the outgoing end of its source and the incoming ends of its targets; an
    end can be taken once; a hypothesis' weight is exp(gain). The marginals of this packing problem are exact within
    small groups of decisions that could be exchanged for one another (`exchange_groups`); between groups they follow by
    belief propagation, as for data association by Williams and Lau (2014, IEEE Trans. Aerosp. Electron. Syst. 50:2942).

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
    packing = _packing(n, solution)
    ends = np.column_stack([packing.source, np.where(packing.target < 0, 3 * n, 2 * n + packing.target)])
    free = _propagate(ends, np.exp(np.clip(packing.gain, -30, _MOST_GAIN)), 3 * n, _ITERATIONS)
    pairs, sources, targets = group_odds(packing, free)
    e, d = len(solution.chosen), len(solution.divided)
    z, into, out = (np.log(np.clip(odds, _LEAST_ODDS, 1 / _LEAST_ODDS)) for odds in (pairs, targets, sources[:n]))
    linked, daughters, late = z[:e, 0], z[e : e + d], z[e + d :, 0]
    if not calibrated:
        return Posterior(*(_as_they_are(part) for part in (linked, daughters, late, -into, -out)))
    usual, dividing = usual_link(linked), usual_division(np.concatenate([daughters.ravel(), late]))
    return Posterior(
        link_probability(linked, usual),
        division_probability(daughters.ravel(), dividing).reshape(-1, 2),
        division_probability(late, dividing),
        1 - link_probability(into, usual),
        1 - link_probability(out, usual),
    )


def _packing(n: int, solution: Solution) -> Packing:
    """Return links, divisions and late divisions, whose second daughter is an outgoing end of its own."""
    links, triples, late = solution.links, solution.triples, solution.late
    keep, keep_t = _kept(links.gain, solution.chosen), _kept(solution.triple_gain, solution.divided)
    m, k, q = len(keep), len(keep_t), len(late)
    target = np.full((m + k + q, 2), -1, np.int64)
    target[:, 0] = np.concatenate([links.j[keep], triples.first[keep_t], late.second])
    target[m : m + k, 1] = triples.second[keep_t]
    return Packing(
        np.concatenate([links.i[keep], triples.mother[keep_t], n + late.mother]),
        target,
        np.concatenate([links.gain[keep], solution.triple_gain[keep_t], solution.late_gain]),
        np.concatenate(
            [
                np.searchsorted(keep, solution.chosen),
                m + np.searchsorted(keep_t, solution.divided),
                m + k + np.arange(q),
            ]
        ).astype(np.int64),
        2 * n,
        n,
    )


def _as_they_are(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)))


def _kept(gain: Floats, chosen: Ints) -> Ints:
    keep = gain > _LEAST_GAIN
    keep[chosen] = True
    return np.flatnonzero(keep)


@numba.njit(cache=True, nogil=True)
def _propagate(ends: Ints, weight: Floats, nowhere: int, iterations: int) -> Floats:
    """Messages from ends to hypotheses, (h, 3): the weight that no other hypothesis takes the end.

    `ends` (h, 3) are the resources that a hypothesis takes, `nowhere` for none.
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
                new = max(1 / (1 + max(total[ends[a, e]] - own, 0.0)), 1e-60)
                moved = max(moved, abs(new - free[a, e]))
                free[a, e] = new
        if moved < _SETTLED:
            break
    return free

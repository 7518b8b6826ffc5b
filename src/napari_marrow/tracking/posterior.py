"""Posterior of links and divisions over their rivals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.tracking.points import Floats, Ints
from napari_marrow.tracking.solver import Solution

_LEAST_GAIN = -5.0  # a rival below this takes less than 1 % from any other
_MOST_GAIN = 25.0
_ITERATIONS = 12


@dataclass(frozen=True)
class Posterior:
    """Probability of every chosen edge."""

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
    chosen = set_of(links.i, links.j, solution.i, solution.j, n)
    keep = (links.gain > _LEAST_GAIN) | chosen
    divided = set_of(triples.first, triples.second, solution.divisions.first, solution.divisions.second, n)
    divided &= set_of(triples.mother, triples.first, solution.divisions.mother, solution.divisions.first, n)
    keep_t = (solution.triple_gain > _LEAST_GAIN) | divided
    i, j = links.i[keep], links.j[keep]
    t = triples.take(keep_t)
    nothing = np.full(len(i), 3 * n)
    ends = np.concatenate(
        [
            np.stack([i, n + j, nothing]),
            np.stack([t.mother, n + t.first, n + t.second]),
            np.stack([2 * n + late.mother, n + late.second, np.full(len(late), 3 * n)]),
        ],
        axis=1,
    )
    gain = np.concatenate([links.gain[keep], solution.triple_gain[keep_t], solution.late_gain])
    odds = _propagate(ends, np.exp(np.clip(gain, -30, _MOST_GAIN)), 3 * n)
    probability = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
    m, k = len(i), len(t)
    link_rows, division_rows = np.full(len(chosen), -1), np.full(len(divided), -1)
    link_rows[keep], division_rows[keep_t] = np.arange(m), m + np.arange(k)
    return Posterior(
        _in_order(links.i, links.j, probability[link_rows], chosen, solution.i, solution.j, n),
        _in_order(triples.mother, triples.first, probability[division_rows], divided, solution.divisions.mother,
                  solution.divisions.first, n),
        probability[m + k :],
    )  # fmt: skip


def set_of(i: Ints, j: Ints, chosen_i: Ints, chosen_j: Ints, n: int) -> npt.NDArray[np.bool_]:
    """Which candidate pairs are among the chosen ones."""
    return np.isin(i * n + j, chosen_i * n + chosen_j)


def _in_order(
    i: Ints, j: Ints, value: Floats, chosen: npt.NDArray[np.bool_], want_i: Ints, want_j: Ints, n: int
) -> Floats:
    """Values of the chosen candidates in the order of the solution."""
    key = i[chosen] * n + j[chosen]
    order = np.argsort(key)
    return np.asarray(value[chosen][order][np.searchsorted(key[order], want_i * n + want_j)])


def _propagate(ends: Ints, weight: Floats, nowhere: int) -> Floats:
    """Log odds of every hypothesis; `ends` (3, h) are the resources it takes, `nowhere` for none."""
    free = np.ones(ends.shape)  # message of an end to a hypothesis: the chance-weight that no other takes it
    real = ends < nowhere
    for _ in range(_ITERATIONS):
        product = weight * free.prod(0)
        asks = np.where(real, product / free, 0.0)
        total = np.bincount(ends.ravel(), asks.ravel(), minlength=nowhere + 1)
        new = np.where(real, 1 / (1 + np.maximum(total[ends] - asks, 0.0)), 1.0)
        free = np.maximum(new, 1e-30)
    return np.asarray(np.log(weight) + np.log(free).sum(0))

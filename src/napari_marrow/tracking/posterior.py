"""Posterior of links and divisions over their rivals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from napari_marrow.tracking.exchange_groups import Packing, group_odds
from napari_marrow.tracking.hypotheses import Solution
from napari_marrow.tracking.points import Floats, Ints
from napari_marrow.tracking.reliability import (
    alone,
    division_probability,
    link_probability,
    usual_division,
    usual_link,
)
from napari_marrow.tracking.threads import in_slices

_LEAST_GAIN = -5.0  # a rival below this takes less than 1 % from any other
_MOST_GAIN = 60.0
_ITERATIONS = 12
_SETTLED = 1e-3
_LEAST_ODDS = 1e-30
AT_ONCE = 500_000
"""Detections that are weighed together: bounds the memory."""


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


def posterior(n: int, solution: Solution, *, calibrated: bool, at_once: int = AT_ONCE) -> Posterior:
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
    at_once : int
        Detections that are weighed together; what lies beyond counts as far as the longest link reaches.

    Returns
    -------
    Posterior
    """
    linked, daughters, late, into, out = _log_odds(n, solution, at_once)
    if not calibrated:
        return Posterior(*(_as_they_are(part) for part in (linked, daughters, late, -into, -out)))
    usual, dividing = usual_link(linked), usual_division(np.concatenate([daughters.ravel(), late]))
    lonely = lonely_detections(n, solution)
    return Posterior(
        link_probability(linked, usual),
        division_probability(daughters.ravel(), dividing, lonely).reshape(-1, 2),
        division_probability(late, dividing, lonely),
        1 - link_probability(into, usual),
        1 - link_probability(out, usual),
    )


def lonely_detections(n: int, solution: Solution) -> float:
    """Return how many detections nothing touches for each division: see `reliability.alone`."""
    divisions, late = solution.divisions, solution.late
    sources = np.concatenate([solution.i, divisions.mother])
    targets = np.concatenate([solution.j, divisions.first, divisions.second, late.second])
    return alone(n, sources, targets, len(divisions) + len(late))


def link_marginals(n: int, solution: Solution) -> Floats:
    """Marginal probability of each chosen link by belief propagation alone: enough to weigh what is learned from it.

    Parameters
    ----------
    n : int
        Number of detections.
    solution : Solution

    Returns
    -------
    (c,) float64
    """
    found = np.empty(len(solution.chosen))
    for window in _windows(n, solution, AT_ONCE):
        packing = window.packing
        free = _messages(packing)[packing.chosen[: len(window.links)]]
        gain = packing.gain[packing.chosen[: len(window.links)]]
        odds = np.exp(np.clip(gain, -_MOST_GAIN, _MOST_GAIN)) * free[:, 0] * free[:, 1]
        found[window.links] = odds / (1 + odds)
    return found


def _log_odds(n: int, solution: Solution, at_once: int) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Log odds of links, mothers and daughters, late daughters, of incoming and outgoing ends being taken."""
    linked, daughters = np.empty(len(solution.chosen)), np.empty((len(solution.divided), 2))
    last, into, out = np.empty(len(solution.late)), np.empty(n), np.empty(n)
    for window in _windows(n, solution, at_once):
        pairs, sources, targets = group_odds(window.packing, _messages(window.packing))
        part = slice(window.low - window.first, window.high - window.first)
        e, d = len(window.links), len(window.divisions)
        linked[window.links], daughters[window.divisions] = pairs[:e, 0], pairs[e : e + d]
        last[window.late] = pairs[e + d :, 0]
        into[window.low : window.high], out[window.low : window.high] = targets[part], sources[part]
    linked, daughters, last, into, out = (
        np.log(np.clip(odds, _LEAST_ODDS, 1 / _LEAST_ODDS)) for odds in (linked, daughters, last, into, out)
    )
    return linked, daughters, last, into, out


@dataclass(frozen=True)
class _Window:
    """Hypotheses among some rows of the detections; `links`, `divisions`, `late` say which of the chosen ones.

    It is asked about the rows low..high, and knows those from `first` on.
    """

    low: int
    high: int
    first: int
    packing: Packing
    links: Ints
    divisions: Ints
    late: Ints


def _windows(n: int, solution: Solution, at_once: int) -> Iterator[_Window]:
    """Cut large data sets into windows of rows, which are in the order of frames.

    What lies more than the longest link before or after a window does not matter to it.
    """
    links, triples = solution.links, solution.triples
    spans = [(t - s).max(initial=0) for s, t in ((links.i, links.j), (triples.mother, triples.second))]
    margin = int(max(spans))
    for low in range(0, n, at_once):
        high = min(low + at_once, n)
        if n - high < at_once // 2:
            high = n
        yield _window(solution, low, high, max(low - margin, 0), min(high + margin, n))
        if high == n:
            break


def _window(solution: Solution, low: int, high: int, first: int, stop: int) -> _Window:
    """Return the hypotheses within rows first..stop; the second daughter of a late division is an end of its own."""
    links, triples, late = solution.links, solution.triples, solution.late
    keep, chosen = _kept(links.gain, solution.chosen, (links.i >= first) & (links.j < stop))
    keep_t, divided = _kept(
        solution.triple_gain, solution.divided, (triples.mother >= first) & (triples.second < stop)
    )  # fmt: skip
    keep_q = np.flatnonzero((late.mother >= first) & (late.second < stop))
    m, k, n = len(keep), len(keep_t), stop - first
    target = np.full((m + k + len(keep_q), 2), -1, np.int64)
    target[:, 0] = np.concatenate([links.j[keep], triples.first[keep_t], late.second[keep_q]]) - first
    target[m : m + k, 1] = triples.second[keep_t] - first
    source = np.concatenate([links.i[keep], triples.mother[keep_t], n + late.mother[keep_q]]) - first
    gain = np.concatenate([links.gain[keep], solution.triple_gain[keep_t], solution.late_gain[keep_q]])
    standing = [np.searchsorted(keep, solution.chosen[chosen]), m + np.searchsorted(keep_t, solution.divided[divided])]
    standing.append(m + k + np.arange(len(keep_q)))
    packing = Packing(source, target, gain, np.concatenate(standing).astype(np.int64), 2 * n, n)
    return _Window(low, high, first, packing, chosen, divided, keep_q)


def _messages(packing: Packing) -> Floats:
    nowhere = packing.n_sources + packing.n_targets
    ends = _ends(packing.source, packing.target, packing.n_sources, nowhere)
    weight = np.exp(np.clip(packing.gain, -30, _MOST_GAIN))
    return _propagate(ends, weight, packing.chosen, nowhere, _ITERATIONS)


def _as_they_are(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)))


def _kept(gain: Floats, chosen: Ints, inside: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Hypotheses of a window that weigh anything, and which of the chosen ones are among them."""
    keep = inside & (gain > _LEAST_GAIN)
    there = np.flatnonzero(inside[chosen])
    keep[chosen[there]] = True
    return np.flatnonzero(keep), there


def _propagate(ends: Ints, weight: Floats, chosen: Ints, nowhere: int, iterations: int) -> Floats:
    """Messages from ends to hypotheses, (h, 3): the weight that no other hypothesis takes the end.

    `ends` (h, 3) are the resources that a hypothesis takes, `nowhere` for none. The messages begin with what is
    `chosen`: of several states that confirm themselves they find the one beside it. What has settled rests until a
    message at one of its ends moves.
    """
    total, free = np.zeros(nowhere + 1), np.empty((len(weight), 3))
    _begin(ends, weight, chosen, nowhere, total, free)
    moved, stirred = np.ones(len(weight), np.bool_), np.empty(nowhere + 1, np.bool_)
    for _ in range(iterations):
        if not _add_up(ends, weight, free, nowhere, moved, stirred, total):
            break
        in_slices(lambda low, high: _send(ends, weight, nowhere, total, stirred, free, moved, low, high), len(weight))
    return free


@numba.njit(cache=True, nogil=True)
def _ends(source: Ints, target: Ints, n_sources: int, nowhere: int) -> npt.NDArray[Any]:
    """Resources that every hypothesis takes, (h, 3) int32."""
    out = np.empty((len(source), 3), np.int32)
    for a in range(len(source)):
        out[a, 0] = source[a]
        for side in range(2):
            out[a, 1 + side] = nowhere if target[a, side] < 0 else n_sources + target[a, side]
    return out


@numba.njit(cache=True, nogil=True)
def _begin(ends: Ints, weight: Floats, chosen: Ints, nowhere: int, total: Floats, free: Floats) -> None:
    """First messages: only what is chosen takes its ends."""
    for a in chosen:
        for e in range(3):
            total[ends[a, e]] = weight[a]
    total[nowhere] = 0.0
    for a in range(len(weight)):
        for e in range(3):
            free[a, e] = 1 / (1 + total[ends[a, e]])
    for a in chosen:
        free[a] = 1.0


@numba.njit(cache=True, nogil=True)
def _add_up(
    ends: Ints, weight: Floats, free: Floats, nowhere: int, moved: npt.NDArray[np.bool_],
    stirred: npt.NDArray[np.bool_], total: Floats,
) -> bool:  # fmt: skip
    """Sum up, for every end at which a message `moved`, what the hypotheses that take it weigh; False if none did."""
    stirred[:] = False
    some = False
    for a in range(len(weight)):
        if moved[a]:
            some = True
            for e in range(3):
                stirred[ends[a, e]] = True
    stirred[nowhere] = False
    for end in range(nowhere):
        if stirred[end]:
            total[end] = 0.0
    for a in range(len(weight)):
        if stirred[ends[a, 0]] or stirred[ends[a, 1]] or stirred[ends[a, 2]]:
            product = weight[a] * free[a, 0] * free[a, 1] * free[a, 2]
            for e in range(3):
                if stirred[ends[a, e]]:
                    total[ends[a, e]] += product / free[a, e]
    return some


@numba.njit(cache=True, nogil=True)
def _send(
    ends: Ints, weight: Floats, nowhere: int, total: Floats, stirred: npt.NDArray[np.bool_], free: Floats,
    moved: npt.NDArray[np.bool_], low: int, high: int,
) -> None:  # fmt: skip
    """Replace the messages to the hypotheses low..high."""
    for a in range(low, high):
        moved[a] = False
        if not (stirred[ends[a, 0]] or stirred[ends[a, 1]] or stirred[ends[a, 2]]):
            continue
        f0, f1, f2 = free[a, 0], free[a, 1], free[a, 2]
        product = weight[a] * f0 * f1 * f2
        for e in range(3):
            if not stirred[ends[a, e]]:
                continue
            own = product / (f0 if e == 0 else f1 if e == 1 else f2)
            new = max(1 / (1 + max(total[ends[a, e]] - own, 0.0)), 1e-60)
            moved[a] = moved[a] or abs(new - free[a, e]) >= _SETTLED
            free[a, e] = new

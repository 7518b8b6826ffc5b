"""Learned divisions: a mother and two daughters, against the look-alikes that segmentation errors make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from napari_marrow.tracking.appearance import AppearanceModel, log_normal
from napari_marrow.tracking.candidates import FrameTree
from napari_marrow.tracking.chains import Chains
from napari_marrow.tracking.division_geometry import DivisionGeometry, Heading
from napari_marrow.tracking.points import Detections, Floats, Ints
from napari_marrow.tracking.rank_statistics import median_deviation

# Chance that the shorter-lived of two daughters is followed for 0, 1-2 or 3 and more further frames: after a division,
# for any two starts, and for the two pieces of one over-segmented cell.
_LIFE_DIVISION = np.log([0.12, 0.10, 0.78])
_LIFE_START = np.log([0.60, 0.15, 0.25])
_LIFE_PIECES = np.log([0.92, 0.04, 0.04])
_UNSEEN_MOTHER = float(np.log(0.06 / 0.80))  # a mother that was not seen before is seldom one
_RATE_PIECES, _RATE_APART = 0.003, 0.006  # look-alikes per cell and frame
_TAIL = 0.03
_TWICE = float(np.log(2.0))


@dataclass(frozen=True)
class DivisionModel:
    """Geometry and appearance of a division.

    Attributes
    ----------
    rate : float
        Divisions per cell and frame.
    geometry : DivisionGeometry
        Where the daughters lie.
    size_shift, size_width : float
        Log of (summed size of the daughters / size of the mother).
    size_unlike : float
        Standard deviation of the daughters' log size ratio.
    shift, width, unlike : (k,) float64
        The same for every other feature: mean of the daughters minus mother, and daughter minus daughter.
    onset : (k, 4) float64
        Change of a feature just before a division (mean, sd) and at any time (mean, sd): mitotic rounding, brightening.
    """

    rate: float
    geometry: DivisionGeometry
    size_shift: float
    size_width: float
    size_unlike: float
    shift: Floats
    width: Floats
    unlike: Floats
    onset: Floats

    def with_rate(self, rate: float) -> DivisionModel:
        """Return the same model at another rate."""
        return replace(self, rate=rate)


@dataclass(frozen=True)
class Triples:
    """Candidate divisions of `mother` into `first` and `second`, rows of the detections."""

    mother: Ints
    first: Ints
    second: Ints

    def take(self, rows: npt.NDArray[np.bool_] | Ints) -> Triples:
        """Return a selection."""
        return Triples(self.mother[rows], self.first[rows], self.second[rows])

    def __len__(self) -> int:
        return len(self.mother)


def no_triples() -> Triples:
    """No candidate divisions."""
    none = np.zeros(0, np.int64)
    return Triples(none, none, none)


def first_division_model(
    detections: Detections, appearance: AppearanceModel | None, spacing: float, step: float, rate: float
) -> DivisionModel:
    """Weak prior: daughters about one contact distance apart, their midpoint near the mother, alike each other.

    Parameters
    ----------
    detections : Detections
    appearance : AppearanceModel or None
    spacing : float
        Contact distance of two young cells.
    step : float
        Usual displacement per coordinate.
    rate : float
        Divisions per cell and frame.
    """
    k = detections.features.shape[1]
    width = np.ones(k) if appearance is None else appearance.width
    onset = np.tile([0.0, 1.0, 0.0, 1.0], (k, 1))
    return DivisionModel(
        rate,
        DivisionGeometry(max(0.3 * spacing, step), spacing, 0.3 * spacing),
        0.0,
        0.2,
        0.2,
        np.zeros(k),
        1.5 * width,
        1.5 * width,
        onset,
    )


def join_triples(parts: Sequence[Triples]) -> Triples:
    """Candidate divisions one after the other."""
    return Triples(*(np.concatenate([getattr(p, a) for p in parts]) for a in ("mother", "first", "second")))


def propose(
    detections: Detections, tree: FrameTree, model: DivisionModel, before: Heading, k: int, rows: Ints
) -> Triples:
    """Pairs of detections in the next frame that lie about one of the detections `rows` as daughters would."""
    i, j, distance = tree.pairs(1, k, model.geometry.expected(detections, before), rows=rows)
    keep = distance <= model.geometry.reach * np.maximum(before.quick[i], 1.0) ** model.geometry.pace
    i, j = i[keep], j[keep]
    mothers_of_pairs, start, count = np.unique(i, return_index=True, return_counts=True)
    mothers, firsts, seconds = [], [], []
    for p in range(k):
        for q in range(p + 1, k):
            many = count > q
            mothers.append(mothers_of_pairs[many])
            firsts.append(j[start[many] + p])
            seconds.append(j[start[many] + q])
    none = np.zeros(0, np.int64)
    a, b, c = (np.concatenate([none, *x]) for x in (mothers, firsts, seconds))
    triples = Triples(a, np.minimum(b, c), np.maximum(b, c))
    keep = model.geometry.plausible(*model.geometry.measured(detections, before, a, triples.first, triples.second))
    if detections.size_column >= 0 and len(triples):
        size = detections.features[:, detections.size_column]
        total = log_sum(size[triples.first], size[triples.second]) - size[triples.mother]
        keep &= ~(np.abs(total - 0.1) > 0.8) & ~(np.abs(size[triples.first] - size[triples.second]) > 0.9)
    return triples.take(keep)


def lives(detections: Detections, chains: Chains) -> Ints:
    """0, 1 or 2: followed for no, one or two, three or more further frames; the end of the movie counts as long."""
    ahead = chains.future_count - 1
    at = np.arange(detections.n)
    for _ in range(4):
        following = chains.following[at]
        at = np.where(following >= 0, following, at)
    long = (ahead >= 3) | (detections.frame[at] == detections.n_frames - 1)
    return np.where(long, 2, np.where(ahead >= 1, 1, 0)).astype(np.int64)


def onset_change(detections: Detections, chains: Chains) -> Floats:
    """Change of every feature over the last frames: mean of up to three detections minus that of those before, (n, k).

    NaN where fewer than two earlier detections are known.
    """
    at = np.arange(detections.n)
    recent: list[Floats] = []
    earlier: list[Floats] = []
    for q in range(8):
        value = np.where((at >= 0)[:, None], detections.features[at], np.nan)
        (recent if q < 3 else earlier).append(value)
        at = np.where(at >= 0, chains.previous[at], -1)
    new, old = np.stack(recent), np.stack(earlier)
    known = (~np.isnan(old)).sum(0)
    middle = np.nansum(old, axis=0) / np.maximum(known, 1)
    return np.where(known >= 2, np.nansum(new, axis=0) / np.maximum((~np.isnan(new)).sum(0), 1) - middle, np.nan)


def division_log_ratio(
    detections: Detections, chains: Chains, triples: Triples, model: DivisionModel, density: Floats,
    appearance: AppearanceModel | None, life: Ints, change: Floats, before: Heading,
) -> Floats:  # fmt: skip
    """Log-likelihood ratio of divisions against two ordinary starts, less what the best look-alike explains.

    The look-alikes are one cell that was segmented in two pieces, and a blob of two cells that comes apart.

    Returns
    -------
    (m,) float64
    """
    i, j, k = triples.mother, triples.first, triples.second
    middle, apart = model.geometry.measured(detections, before, i, j, k)
    shorter = np.minimum(life[j], life[k])
    seen = (chains.past_count[i] > 1) | (detections.frame[i] == 0)
    out = model.geometry.log_density(middle, apart, before.quick[i], detections.ndim)
    out += _TWICE - np.log(density[j]) - np.log(density[k])  # the pair is unordered
    out += _LIFE_DIVISION[shorter] - _LIFE_START[shorter]
    pieces = np.log(_RATE_PIECES / model.rate) + _LIFE_PIECES[shorter] - _LIFE_DIVISION[shorter]
    split = np.where(seen, 0.0, -_UNSEEN_MOTHER * (detections.frame[i] > 0)) + np.log(_RATE_APART / model.rate)
    if detections.size_column >= 0 and appearance is not None:
        size = _size_terms(detections, chains, triples, model, appearance)
        out += size[0]
        pieces, split = pieces + size[1], np.where(chains.past_count[i] > 1, split + size[2], split + size[1])
    else:
        out += np.where(seen, 0.0, _UNSEEN_MOTHER)
        pieces, split = np.full(len(i), -np.inf), np.full(len(i), -np.inf)
    if appearance is not None:
        out += _feature_terms(detections, chains, triples, model, appearance, change)
    return np.asarray(out - np.maximum(0.0, np.logaddexp(pieces, split)))


def log_sum(a: Floats, b: Floats) -> Floats:
    """Log of the sum of two sizes given by their logs, NaN where one is missing."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.logaddexp(a, b))


def _tailed(x: Floats, mean: Floats | float, sd: Floats | float) -> Floats:
    narrow, wide = log_normal(x, mean, sd), log_normal(x, mean, 3 * np.asarray(sd))
    with np.errstate(invalid="ignore"):  # a missing measurement stays NaN
        return np.asarray(np.logaddexp(np.log(1 - _TAIL) + narrow, np.log(_TAIL) + wide))


def _size_terms(
    detections: Detections, chains: Chains, triples: Triples, model: DivisionModel, appearance: AppearanceModel
) -> tuple[Floats, Floats, Floats]:
    """Log-likelihood of the sizes: of a division against background, and of the two look-alikes against a division."""
    i, j, k = triples.mother, triples.first, triples.second
    f = detections.size_column
    size = detections.features[:, f]
    both = log_sum(chains.future[j, f], chains.future[k, f])
    total = both - chains.past[i, f]
    unlike = size[j] - size[k]
    before = size_before(chains, i, f)
    jump = size[i] - before
    width = np.where(chains.past_count[i] > 1, model.size_width, 2 * model.size_width)
    as_total, as_unlike = _tailed(total, model.size_shift, width), _tailed(unlike, 0.0, model.size_unlike)
    out = (
        as_total
        + as_unlike
        - appearance.background(chains.future[j, f], f)
        - appearance.background(chains.future[k, f], f)
    )
    pieces = -_TWICE - as_unlike
    came_apart = (
        log_normal(both - before, _TWICE, 0.2)
        - as_total
        + log_normal(jump, _TWICE, 0.2)
        - _tailed(jump, 0.0, 0.15)
        + pieces
    )
    known = ~np.isnan(total) & ~np.isnan(unlike) & ~np.isnan(jump)
    return np.where(known, out, 0.0), np.where(known, pieces, 0.0), np.where(known, came_apart, 0.0)


def size_before(chains: Chains, i: Ints, f: int) -> Floats:
    """Smallest level that a feature had one to three detections earlier; merged blobs seldom last longer."""
    out = chains.past[i, f]
    at = i
    for _ in range(3):
        earlier = chains.previous[at]
        at = np.where(earlier >= 0, earlier, at)
        out = np.fmin(out, chains.past[at, f])
    return np.asarray(out)


def _feature_terms(
    detections: Detections,
    chains: Chains,
    triples: Triples,
    model: DivisionModel,
    appearance: AppearanceModel,
    change: Floats,
) -> Floats:
    i, j, k = triples.mother, triples.first, triples.second
    out = np.zeros(len(i))
    for f in range(detections.features.shape[1]):
        mean, sd, any_mean, any_sd = model.onset[f]
        before = _tailed(change[i, f], mean, sd) - _tailed(change[i, f], any_mean, any_sd)
        out += np.where(np.isnan(change[i, f]), 0.0, np.clip(before, -3.0, 3.0))
        if f == detections.size_column:
            continue
        first, second = chains.future[j, f], chains.future[k, f]
        both = 0.5 * (first + second) - chains.past[i, f]
        unlike = detections.features[j, f] - detections.features[k, f]
        term = _tailed(both, model.shift[f], model.width[f]) + _tailed(unlike, 0.0, model.unlike[f])
        term -= appearance.background(first, f) + appearance.background(second, f)
        out += np.where(np.isnan(term), 0.0, term)
    return out


def fit_divisions(
    detections: Detections,
    chains: Chains,
    triples: Triples,
    model: DivisionModel,
    life: Ints,
    change: Floats,
    before: Heading,
) -> DivisionModel:
    """Learn the division model from the divisions of the last round, shrunk towards the model that stands."""
    i, j, k = triples.mother, triples.first, triples.second
    sure = (np.minimum(life[j], life[k]) >= 1) & ((chains.past_count[i] > 1) | (detections.frame[i] == 0))
    i, j, k = i[sure], j[sure], k[sure]
    m = len(i)
    if m < 5:
        return model
    trust = m / (m + 15.0)
    new = replace(model, geometry=model.geometry.learned(detections, before, i, j, k))
    f = detections.size_column
    noise = np.sqrt(2 * chains.noise.noise)  # two measurements differ by that much even of one cell
    if f >= 0:
        total = log_sum(chains.future[j, f], chains.future[k, f]) - chains.past[i, f]
        unlike = detections.features[j, f] - detections.features[k, f]
        total, unlike = total[~np.isnan(total)], unlike[~np.isnan(unlike)]
        if len(total) >= 5 and len(unlike) >= 5:
            new = replace(
                new,
                size_shift=_blend(float(np.median(total)), model.size_shift, trust),
                size_width=max(_blend(median_deviation(total), model.size_width, trust), 0.06),
                size_unlike=max(_blend(_unlike(unlike), model.size_unlike, trust), 0.05, noise[f]),
            )
    return _fit_features(detections, chains, Triples(i, j, k), new, trust, change)


def _fit_features(
    detections: Detections, chains: Chains, sure: Triples, model: DivisionModel, trust: float, change: Floats
) -> DivisionModel:
    i, j, k = sure.mother, sure.first, sure.second
    noise = np.sqrt(2 * chains.noise.noise)
    shift, width, unlike, onset = model.shift.copy(), model.width.copy(), model.unlike.copy(), model.onset.copy()
    for f in range(detections.features.shape[1]):
        both = 0.5 * (chains.future[j, f] + chains.future[k, f]) - chains.past[i, f]
        two = detections.features[j, f] - detections.features[k, f]
        both, two = both[~np.isnan(both)], two[~np.isnan(two)]
        if len(both) >= 5 and len(two) >= 5:
            shift[f] = _blend(float(np.median(both)), shift[f], trust)
            width[f] = max(_blend(median_deviation(both), width[f], trust), 0.2 * width[f])
            unlike[f] = max(_blend(_unlike(two), unlike[f], trust), 0.2 * unlike[f], noise[f])
        usual, before = change[~np.isnan(change[:, f]), f], change[i, f]
        before = before[~np.isnan(before)]
        if len(before) >= 20 and len(usual) >= 200:
            spread = max(median_deviation(usual), 1e-6)
            onset[f] = (
                float(np.median(before)),
                max(median_deviation(before), 0.7 * spread),
                float(np.median(usual)),
                spread,
            )
    return replace(model, shift=shift, width=width, unlike=unlike, onset=onset)


def _blend(new: float, old: float, trust: float) -> float:
    return trust * new + (1 - trust) * old


def _unlike(difference: Floats) -> float:
    """Width of a centred distribution; the outer quantile counts as well, because coarse measurements tie."""
    size = np.abs(difference)
    return max(1.4826 * float(np.median(size)), float(np.quantile(size, 0.8)) / 1.2816)

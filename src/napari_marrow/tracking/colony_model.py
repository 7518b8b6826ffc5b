"""How likely two colonies of different sessions are one: place, growth, shape, composition, learned from the pair."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import ndtr

from napari_marrow.tracking.appearance import log_normal
from napari_marrow.tracking.colony_tables import Colonies
from napari_marrow.tracking.points import Floats, Ints

_TAIL = 0.04  # of links lie three times wider: a merge with an unseen colony, a piece that was cut off
_STALE = 3.0
_NEVER_SEEN = 2.0  # times as often as usual a colony that no other session saw stays alone: it may be none
COMPOSITION = ("fraction_", "intensity_")


@dataclass(frozen=True)
class Growth:
    """What is known of growth before this pair of sessions is looked at.

    Attributes
    ----------
    shift : (n, m) float64
        Expected log growth of area beyond the pair's mean, from the growth before and after.
    narrow : (n, m) float64
        Width relative to the pair's own.
    """

    shift: Floats
    narrow: Floats


@dataclass(frozen=True)
class PairModel:
    """Two sessions, the earlier one registered, and what was learned about colonies that are the same.

    Attributes
    ----------
    before, after : Colonies
    moved : (n, 2) float64
        Registered places of the earlier session.
    uncertain : (n,) float64
        Variance of the registration at each, µm² per coordinate.
    density : float
        Colonies of the later session per µm².
    sigma : float
        Movement per coordinate, µm.
    growth, growth_width : float
        Log of area after over area before.
    lost : (n,) float64
        Probability that an earlier colony in the field finds no later one: it died, was missed or was none.
    new : (m,) float64
        Probability that a later colony in the field has no earlier one.
    seen_before : (n,) float64, optional
        Probability that an earlier colony goes back to one of the session before: then it is surely a colony.
    seen_after : (m,) float64, optional
        Probability that a later colony is found again in the session after.
    feature_width : dict of str to float
        Change of a feature along a link.
    contact : float
        See `colony_tables.contact`.
    known : Growth, optional
    """

    before: Colonies
    after: Colonies
    moved: Floats
    uncertain: Floats
    density: float
    sigma: float
    growth: float = 0.0
    growth_width: float = 0.45
    lost: Floats = field(default_factory=lambda: np.zeros(0))
    new: Floats = field(default_factory=lambda: np.zeros(0))
    feature_width: dict[str, float] = field(default_factory=dict)
    contact: float = 0.95
    known: Growth | None = None
    seen_before: Floats | None = None
    seen_after: Floats | None = None

    @property
    def grown(self) -> Floats:
        """Radii of the earlier session, grown to the later."""
        shift = self.growth if self.known is None else self.growth + np.median(self.known.shift, axis=1)
        return np.asarray(self.before.r * np.exp(0.5 * np.maximum(shift, 0.0)))

    def spread(self, i: Ints) -> Floats:
        """Return the standard deviation per coordinate of where earlier colonies are expected."""
        return np.asarray(np.sqrt(self.sigma**2 + self.uncertain[i]))

    # --- logs of likelihood ratios: the same colony against any other one

    def log_place(self, squared: Floats, spread: Floats) -> Floats:
        """Distance, against a place at random."""
        core = -squared / (2 * spread**2) - 2 * np.log(spread)
        tail = -squared / (2 * (_STALE * spread) ** 2) - 2 * np.log(_STALE * spread)
        density = np.logaddexp(np.log(1 - _TAIL) + core, np.log(_TAIL) + tail)
        return np.asarray(density - np.log(2 * np.pi * self.density))

    def log_any_size(self, j: Ints) -> Floats:
        """Log density of a later colony's log area among all."""
        every = self.after.log_area
        return log_normal(every[j], float(every.mean()), max(float(every.std()), 0.2))

    def log_size(self, log_area: Floats, log_later: Floats, i: Ints | None = None, j: Ints | None = None) -> Floats:
        """Log density of the growth from one log area to another; `i, j` name the colonies whose growth is known."""
        change = log_later - log_area - self.growth
        width: Floats | float = self.growth_width
        if self.known is not None and i is not None and j is not None:
            change, width = change - self.known.shift[i, j], width * self.known.narrow[i, j]
        core = np.log(0.95) + log_normal(change, 0.0, width)
        return np.asarray(np.logaddexp(core, np.log(0.05) + log_normal(change, 0.0, np.asarray(width) * 3)))

    def log_features(self, i: Ints, j: Ints) -> Floats:
        """Shape and composition, bounded so that none decides alone."""
        out = np.zeros(len(i))
        for name in self.feature_width:
            out += self._log_feature(name, self.before.features[name][i], j)
        return out

    def log_mixture(self, rows: Ints, share: Floats, j: Ints) -> Floats:
        """Composition of a colony that several went into: their mean by area. The shape of a union says nothing."""
        out = np.zeros(len(j))
        for name in self.feature_width:
            if name.startswith(COMPOSITION):
                mean = float(share @ self.before.features[name][rows])
                out += self._log_feature(name, np.full(len(j), mean), j)
        return out

    def log_piece(self, i: Ints, j: Ints) -> Floats:
        """Composition of a piece that came off a colony."""
        out = np.zeros(len(i))
        for name in self.feature_width:
            if name.startswith(COMPOSITION):
                out += self._log_feature(name, self.before.features[name][i], j)
        return out

    def _log_feature(self, name: str, expected: Floats, j: Ints) -> Floats:
        width, b = self.feature_width[name], self.after.features[name]
        any_width = max(float(np.nanstd(b)), 1.5 * width)
        ratio = log_normal(b[j] - expected, 0.0, width) - log_normal(b[j], float(np.nanmean(b)), any_width)
        return np.where(np.isnan(ratio), 0.0, np.clip(ratio, -4, 4))

    def touching(self, place: Floats, radius: Floats, q: Ints) -> Floats:
        """Probability that discs at some places (k, 2) of some grown radii (k,) have become one with colonies q."""
        both = radius + self.grown[q]
        apart = np.hypot(*(place - self.moved[q]).T)
        uncertain = np.hypot(np.sqrt(2) * self.sigma, 0.35 * self.growth_width * both)
        return np.asarray(ndtr((self.contact * both - apart) / uncertain))

    def isolated(self) -> Floats:
        """Probability that an earlier colony has touched no other."""
        out = np.ones(len(self.before))
        reach = 1.6 * 2 * float(self.grown.max(initial=0.0)) + 4 * self.sigma
        pairs = cKDTree(self.moved).query_pairs(reach, output_type="ndarray")
        p, q = pairs[:, 0], pairs[:, 1]
        apart = 1 - self.touching(self.moved[p], self.grown[p], q)
        np.multiply.at(out, p, apart)
        np.multiply.at(out, q, apart)
        return out

    # --- who may be expected to be there at all

    def leaves(self) -> Floats:
        """Probability that an earlier colony is in the later session's field."""
        return _within(self.moved, self.after.x, np.sqrt(self.sigma**2 + self.uncertain))

    def enters(self) -> Floats:
        """Probability that a later colony was in the earlier session's field."""
        spread = np.full(len(self.after), np.sqrt(self.sigma**2 + float(np.median(self.uncertain))))
        return _within(self.after.x, self.moved, spread)

    def partners(self) -> tuple[Floats, Floats]:
        """Probability of having a partner in the other session, for every earlier and every later colony."""
        found = np.clip((1 - self.lost) * self.leaves(), 0.02, 0.99)
        kin = np.clip((1 - self.new) * self.enters(), 0.02, 0.99)
        return np.asarray(found), np.asarray(kin)


def _within(places: Floats, others: Floats, spread: Floats) -> Floats:
    """Probability of lying in the box of others, widened by what a box of that many leaves at its rim."""
    if len(others) < 8:
        return np.ones(len(places))
    rim = np.ptp(others, axis=0) / (len(others) - 1)
    low, high = others.min(0) - rim, others.max(0) + rim
    spread = np.hypot(spread[:, None], rim)
    return np.asarray((ndtr((places - low) / spread) * ndtr((high - places) / spread)).prod(1))


def first_model(
    before: Colonies, after: Colonies, moved: Floats, sigma: float, density: float, contact: float
) -> PairModel:
    """Return the model before any link is known."""
    shared = [n for n in before.features if n in after.features]
    widths = {}
    for name in shared:
        b = after.features[name]
        known = np.isfinite(b).sum() >= 5 and np.isfinite(before.features[name]).sum() >= 5
        if known and np.nanstd(b) > 1e-6:
            widths[name] = 0.5 * float(np.nanstd(b))
    return PairModel(
        before, after, moved, np.zeros(len(before)), density, sigma, feature_width=widths, contact=contact,
        lost=np.full(len(before), 0.12), new=np.full(len(after), 0.12),
    )  # fmt: skip


def learn(model: PairModel, i: Ints, j: Ints, alone: Floats, probability: Floats) -> PairModel:
    """Learn movement, growth, features and rates from edges with their probabilities (maximisation step).

    Parameters
    ----------
    model : PairModel
    i, j : (e,) int64
    alone : (e,) float64
        Probability that the edge holds and its ends have no other.
    probability : (e,) float64
        Probability of the edge.
    """
    total = float(alone.sum())
    if total < 3:
        return model
    shrink = 4.0  # colonies' worth of what is usual
    widths = {}
    for name, old in model.feature_width.items():
        step = (model.after.features[name][j] - model.before.features[name][i]) ** 2
        ok = np.isfinite(step)
        weight = float(alone[ok].sum())
        widths[name] = float(np.sqrt(((alone * step)[ok].sum() + shrink * old**2) / (weight + shrink)))
    lone = 1 - np.minimum(np.bincount(i, probability, len(model.before)), 1.0)
    fresh = 1 - np.minimum(np.bincount(j, probability, len(model.after)), 1.0)
    growth, growth_width = _learn_growth(model.after.log_area[j] - model.before.log_area[i], alone, shrink)
    return replace(
        model,
        sigma=_learn_movement(model, i, j, alone),
        growth=growth,
        growth_width=growth_width,
        feature_width=widths,
        # who may have merged tells nothing of those who are lost: the isolated ones do
        lost=_rates(lone, model.leaves() * model.isolated(), model.seen_before),
        new=_rates(fresh, model.enters(), model.seen_after),
    )


def _learn_movement(model: PairModel, i: Ints, j: Ints, p: Floats) -> float:
    squared = ((model.moved[i] - model.after.x[j]) ** 2).sum(1)
    core = p * (squared < (3.5 * model.spread(i)) ** 2)
    movement = float((core * (squared / 2 - model.uncertain[i])).sum() / max(core.sum(), 1.0))
    return float(np.sqrt(max(movement, (0.01 / np.sqrt(model.density)) ** 2)))


def _learn_growth(change: Floats, p: Floats, shrink: float) -> tuple[float, float]:
    """Mean and width of log growth without what is far off."""
    middle = _weighted_quantile(change, p, 0.5)
    off = np.abs(change - middle)
    inner = p * (off < max(3.0 * 1.4826 * _weighted_quantile(off, p, 0.5), 0.3))
    middle = float((inner * change).sum() / inner.sum())
    width = np.sqrt(((inner * (change - middle) ** 2).sum() + shrink * 0.3**2) / (inner.sum() + shrink))
    return middle, float(np.clip(width, 0.08, 0.6))


def _rates(alone: Floats, inside: Floats, seen: Floats | None) -> Floats:
    """Probability of staying alone, learned from those surely in the field.

    Colonies that another session saw and those that none did are counted apart, each with what is usual put beside.
    """
    sure = inside > 0.6
    usual = float(np.clip((alone[sure].sum() + 1.2) / (sure.sum() + 10.0), 0.02, 0.6))
    if seen is None:
        return np.full(len(alone), usual)
    rate = []
    for weight, prior in ((seen, usual), (1 - seen, min(_NEVER_SEEN * usual, 0.5))):
        own = (weight * alone)[sure].sum() + 4 * prior
        rate.append(float(np.clip(own / (weight[sure].sum() + 4), 0.02, 0.8)))
    return np.asarray(seen * rate[0] + (1 - seen) * rate[1])


def _weighted_quantile(x: Floats, weight: Floats, q: float) -> float:
    order = np.argsort(x, kind="stable")
    total = np.cumsum(weight[order])
    return float(x[order][min(int(np.searchsorted(total, q * total[-1])), len(x) - 1)])

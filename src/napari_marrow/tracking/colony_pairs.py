"""Two sessions: registered, and their colonies' edges decided, in turns."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from napari_marrow.tracking.colony_hypotheses import Decision, decide
from napari_marrow.tracking.colony_model import Growth, PairModel, first_model, learn
from napari_marrow.tracking.colony_tables import Colonies, density
from napari_marrow.tracking.constellation import ConstellationFit, register_constellation
from napari_marrow.tracking.points import Floats
from napari_marrow.tracking.residual_field import ResidualField, fit_field

_ROUNDS = 4
_CONVINCING = 60.0  # nats of a registration that need no second thought
_GROWTH = (0.25, 0.5)  # of log area, tried where many colonies may have merged
_ENOUGH = 6.0  # links from which more than a constellation can be learned


@dataclass(frozen=True)
class Pair:
    """Two sessions whose edges are decided.

    Attributes
    ----------
    fit : ConstellationFit
        The first registration.
    evidence : float
        Of that registration, and of the landmarks' where there are any, nats.
    field : ResidualField or None
        What was added to it.
    model : PairModel
    decision : Decision
    """

    fit: ConstellationFit
    evidence: float
    field: ResidualField | None
    model: PairModel
    decision: Decision

    @property
    def registration(self) -> str:
        """Kind of registration: identity, shift, affine or smooth."""
        return "smooth" if self.field is not None and self.field.bends else _PLAIN.get(self.fit.kind, self.fit.kind)

    @property
    def sigma(self) -> float:
        """Residual per coordinate, movement and uncertainty of the registration together, µm."""
        return float(np.sqrt(self.model.sigma**2 + self.model.uncertain.mean()))

    def carry(self, places: Floats) -> tuple[Floats, Floats]:
        """Return where other places of the earlier session lie in the later one, and the variance of that."""
        base = places @ self.fit.matrix.T + self.fit.shift
        return (base, np.zeros(len(base))) if self.field is None else self.field(base)


_PLAIN = {"smooth": "affine"}


def pair_sessions(before: Colonies, after: Colonies, *, contact: float, seed: int) -> Pair:
    """Register two sessions and decide their edges; both must have a colony."""
    here = density(after.x)
    if len(after) < 2:
        # a lone organoid cannot be taken for another; what is near is judged by its own size
        here = 1 / (np.pi * (4 * float(after.r[0])) ** 2)
    fit, marks, evidence = _first_registration(before, after, here, contact, seed)
    model = first_model(before, after, fit.moved, fit.mixture.sigma, here, contact)
    field: ResidualField | None = None
    if marks is not None:
        field, model = _register(fit, marks, None, model)
    decision = decide(model)
    for _ in range(_ROUNDS):
        if decision.alone.sum() < _ENOUGH:
            break
        model = learn(model, decision.i, decision.j, decision.alone, decision.probability)
        field, model = _register(fit, marks, decision, model)
        decision = decide(model)
    return Pair(fit, evidence, field, model, decision)


def registration_evidence(before: Colonies, after: Colonies, *, contact: float, seed: int) -> float:
    """Return how much better two sessions fit than colonies at random, nats; chance alone reaches about 15."""
    return _own_registration(before, after, density(after.x), contact, seed).mixture.evidence


def decide_again(pair: Pair, known: Growth | None, seen_before: Floats | None, seen_after: Floats | None) -> Pair:
    """Decide a pair's edges once more, with what the sessions around it say.

    Parameters
    ----------
    pair : Pair
    known : Growth, optional
    seen_before : (n,) float64, optional
        Probability that each earlier colony goes back to one of the session before.
    seen_after : (m,) float64, optional
        Probability that each later colony is found again in the session after.
    """
    model, decision = replace(pair.model, known=known, seen_before=seen_before, seen_after=seen_after), pair.decision
    for _ in range(2):
        if decision.alone.sum() < _ENOUGH:
            break
        learned = learn(model, decision.i, decision.j, decision.alone, decision.probability)
        model = replace(learned, growth=model.growth, growth_width=model.growth_width)
        decision = decide(model)
    return replace(pair, model=model, decision=decision)


_Marks = tuple[Floats, Floats, Floats]
"""Places (after the first registration), targets and variance of landmarks that were found again."""


def _first_registration(
    before: Colonies, after: Colonies, here: float, contact: float, seed: int
) -> tuple[ConstellationFit, _Marks | None, float]:
    """Register on the landmarks where there are enough of them, else on the colonies."""
    a, b = before.landmarks, after.landmarks
    own = _own_registration(before, after, here, contact, seed)
    if len(a) < 8 or len(b) < 8:
        return own, None, own.mixture.evidence
    crowd = density(b)
    fit = register_constellation(a, np.ones(len(a)), b, np.ones(len(b)), density=crowd, seed=seed)
    if fit.mixture.evidence < own.mixture.evidence:
        return own, None, own.mixture.evidence
    squared = ((fit.moved[:, None] - b[None]) ** 2).sum(2)
    nearest = squared.argmin(1)
    p = fit.mixture.posterior(np.sqrt(squared.min(1)))
    sure = p > 0.5
    base = a @ fit.matrix.T + fit.shift
    marks = base[sure], b[nearest[sure]], fit.mixture.sigma**2 / p[sure]
    moved = before.x @ fit.matrix.T + fit.shift
    through = ConstellationFit(fit.kind, moved, fit.matrix, fit.shift, own.mixture)
    return through, marks, fit.mixture.evidence


def _own_registration(before: Colonies, after: Colonies, here: float, contact: float, seed: int) -> ConstellationFit:
    """Register on the colonies as they are; where that convinces little, on what touching ones will have merged to."""
    best = register_constellation(before.x, before.r, after.x, after.r, density=here, seed=seed)
    if best.mixture.evidence >= _CONVINCING or min(len(before), len(after)) < 12:
        return best
    for growth in _GROWTH:
        x, r = _united(before.x, before.r * np.exp(0.5 * growth), contact)
        fit = register_constellation(x, r, after.x, after.r, density=here, seed=seed)
        if fit.mixture.evidence > best.mixture.evidence:
            moved = before.x @ fit.matrix.T + fit.shift
            best = ConstellationFit(_PLAIN.get(fit.kind, fit.kind), moved, fit.matrix, fit.shift, fit.mixture)
    return best


def _united(x: Floats, r: Floats, contact: float) -> tuple[Floats, Floats]:
    """Unite discs that touch, nearest first, into one about their common centre with their summed area."""
    x, r = x.copy(), r.copy()
    while len(x) > 1:
        gap = np.hypot(*(x[:, None] - x[None]).transpose(2, 0, 1)) - contact * (r[:, None] + r[None])
        np.fill_diagonal(gap, np.inf)
        i, j = np.unravel_index(int(gap.argmin()), gap.shape)
        if gap[i, j] > 0:
            break
        share = r[i] ** 2 / (r[i] ** 2 + r[j] ** 2)
        x[i], r[i] = share * x[i] + (1 - share) * x[j], np.hypot(r[i], r[j])
        x, r = np.delete(x, j, axis=0), np.delete(r, j)
    return x, r


def _register(
    fit: ConstellationFit, marks: _Marks | None, decision: Decision | None, model: PairModel
) -> tuple[ResidualField | None, PairModel]:
    """Fit the residual field on landmarks and probable links, each colony's own link left out of its place."""
    before, after = model.before, model.after
    base = before.x @ fit.matrix.T + fit.shift
    chance, target = np.zeros(len(before)), base.copy()
    if decision is not None:
        for i, j, p in zip(decision.i, decision.j, decision.alone, strict=True):
            if p > chance[i]:
                chance[i], target[i] = p, after.x[j]
    seen = np.flatnonzero(chance > 0.05)
    if len(seen) + (len(marks[0]) if marks is not None else 0) < _ENOUGH:
        return None, model
    noise = model.sigma**2 / chance[seen] ** 2
    places, targets = base[seen], target[seen]
    if marks is not None:
        places, targets = np.concatenate([places, marks[0]]), np.concatenate([targets, marks[1]])
        noise = np.concatenate([noise, marks[2]])
    field = fit_field(places, targets, noise, 1 / np.sqrt(model.density))
    moved, uncertain = field(base)
    moved[seen], uncertain[seen] = field.left_out[: len(seen)], field.left_out_variance[: len(seen)]
    return field, replace(model, moved=moved, uncertain=uncertain)

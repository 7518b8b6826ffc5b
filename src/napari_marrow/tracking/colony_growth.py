"""Colonies that grew fast keep growing fast: what neighbouring gaps say of the growth in one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_marrow.tracking.colony_model import Growth
from napari_marrow.tracking.colony_pairs import Pair
from napari_marrow.tracking.points import Floats

_SURE = 0.8
_FEW = 25


def known_growth(pairs: Sequence[Pair | None]) -> list[Growth | None]:
    """Return, for every pair of neighbouring sessions, the growth to be expected from the pairs beside it.

    A colony's growth beyond the pair's mean is taken as one of three normal values with a common variance and the
    covariances of neighbouring and next but one gaps, estimated over the whole series; the middle one is predicted by
    those that are known.

    Parameters
    ----------
    pairs : sequence of Pair or None
        Of neighbouring sessions, in order; None where there is none.

    Returns
    -------
    list of Growth or None
    """
    past, future = zip(*(_deviations(pair) for pair in pairs), strict=True) if pairs else ((), ())
    moments = _moments(pairs, past)
    if moments is None:
        return [None] * len(pairs)
    out: list[Growth | None] = []
    for k, pair in enumerate(pairs):
        if pair is None:
            out.append(None)
            continue
        n, m = len(pair.model.before), len(pair.model.after)
        earlier = past[k - 1] if k and pairs[k - 1] is not None else np.full(n, np.nan)
        later = future[k + 1] if k + 1 < len(pairs) and pairs[k + 1] is not None else np.full(m, np.nan)
        out.append(_predict(earlier, later, moments, _pace(pair)))
    return out


def _pace(pair: Pair) -> float:
    """Return the mean growth of a pair: deviations are rates times the same days."""
    return max(pair.model.growth, 0.15)


def _deviations(pair: Pair | None) -> tuple[Floats, Floats]:
    """Return the growth beyond the mean per unit of mean growth, by later and by earlier colony."""
    if pair is None:
        return np.zeros(0), np.zeros(0)
    model, decision = pair.model, pair.decision
    by_child, by_parent = np.full(len(model.after), np.nan), np.full(len(model.before), np.nan)
    sure = decision.alone > _SURE
    i, j = decision.i[sure], decision.j[sure]
    change = (model.after.log_area[j] - model.before.log_area[i] - model.growth) / _pace(pair)
    limit = 3 * model.growth_width / _pace(pair)
    ok = np.abs(change) < limit
    by_child[j[ok]], by_parent[i[ok]] = change[ok], change[ok]
    return by_child, by_parent


def _moments(pairs: Sequence[Pair | None], past: Sequence[Floats]) -> tuple[float, float, float] | None:
    """Variance, and covariance of neighbouring and of next but one gaps."""
    every: list[Floats] = []
    once: list[Floats] = []
    twice: list[Floats] = []
    before: Floats | None = None
    for k, pair in enumerate(pairs):
        if pair is None:
            before = None
            continue
        own = past[k]
        every.append(own[np.isfinite(own)])
        sure = pair.decision.alone > _SURE
        i, j = pair.decision.i[sure], pair.decision.j[sure]
        earlier = np.full(len(pair.model.after), np.nan)
        if k and pairs[k - 1] is not None and len(past[k - 1]) == len(pair.model.before):
            earlier[j] = past[k - 1][i]
            once.append(_products(own, earlier))
            if before is not None and len(before) == len(pair.model.before):
                first = np.full(len(pair.model.after), np.nan)
                first[j] = before[i]
                twice.append(_products(own, first))
        before = earlier
    near = np.concatenate(once) if once else np.zeros(0)
    if len(near) < _FEW:
        return None
    variance = float(np.mean(np.concatenate(every) ** 2))
    bound = 0.9 * variance
    apart = np.concatenate(twice) if twice else np.zeros(0)
    one = float(np.clip(near.mean(), 0.0, bound))
    two = float(np.clip(apart.mean(), 0.0, bound)) if len(apart) >= _FEW else one**2 / max(variance, 1e-12)
    return variance, one, two


def _products(a: Floats, b: Floats) -> Floats:
    value = a * b
    return np.asarray(value[np.isfinite(value)])


def _predict(past: Floats, future: Floats, moments: tuple[float, float, float], pace: float) -> Growth:
    """Regress the middle of three values on those that are known."""
    variance, one, two = moments
    alone = one / variance
    both = one / (variance + two)
    p, f = np.nan_to_num(past)[:, None], np.nan_to_num(future)[None]
    has_p, has_f = np.isfinite(past)[:, None], np.isfinite(future)[None]
    slope = np.where(has_p & has_f, both, np.where(has_p | has_f, alone, 0.0))
    left = np.where(has_p & has_f, 1 - 2 * one * both / variance, np.where(has_p | has_f, 1 - alone**2, 1.0))
    return Growth(slope * (p + f) * pace, np.sqrt(np.clip(left, 0.05, 1.0)))

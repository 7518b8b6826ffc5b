"""Colonies that one session missed: linked over it, where they are found again and nothing else explains them."""

from __future__ import annotations

import numpy as np

from napari_marrow.tracking.colony_model import PairModel
from napari_marrow.tracking.colony_pairs import Pair
from napari_marrow.tracking.packing import pack
from napari_marrow.tracking.points import Floats, Ints

_FOUND_AGAIN = 0.35  # of those that are lost amid the field, found again after one more session
_REACH = 4.0


def links_over(first: Pair, second: Pair) -> tuple[Ints, Ints, Floats]:
    """Link colonies lost in the first pair with colonies new in the second.

    Parameters
    ----------
    first, second : Pair
        Of sessions s, s + 1 and s + 1, s + 2.

    Returns
    -------
    i, j : (e,) int64
        Rows of session s and of session s + 2.
    probability : (e,) float64
        That nothing happened to the colony but not being seen.
    """
    before, after = first.model.before, second.model.after
    open_parent = 1 - first.decision.heirs(len(before))
    open_child = 1 - second.decision.kin(len(after))
    # a colony that a third one swallowed, or that left the field, is not missed
    open_parent = open_parent * first.model.leaves()
    open_child = open_child * second.model.enters()
    moved, variance = second.carry(first.model.moved)
    uncertain = variance + first.model.uncertain + first.model.sigma**2
    model = PairModel(
        before, after, moved, uncertain, second.model.density, second.model.sigma,
        growth=first.model.growth + second.model.growth,
        growth_width=float(np.hypot(first.model.growth_width, second.model.growth_width)),
        feature_width={
            name: float(np.hypot(width, second.model.feature_width[name]))
            for name, width in first.model.feature_width.items() if name in second.model.feature_width
        },
    )  # fmt: skip
    squared = ((moved[:, None] - after.x[None]) ** 2).sum(2)
    spread = model.spread(np.arange(len(before)))
    i, j = np.nonzero(
        (squared <= (_REACH * spread[:, None]) ** 2) & (open_parent[:, None] > 0.3) & (open_child[None] > 0.3)
    )
    if not len(i):
        return i, j, np.zeros(0)
    weight = model.log_place(squared[i, j], spread[i]) - np.log(np.maximum(second.model.new[j], 0.02))
    weight += model.log_size(before.log_area[i], after.log_area[j]) - model.log_any_size(j) + model.log_features(i, j)
    weight += np.log(_FOUND_AGAIN / (1 - _FOUND_AGAIN)) + np.log(open_parent[i]) + np.log(open_child[j])
    claims = [(int(a), len(before) + int(b)) for a, b in zip(i, j, strict=True)]
    places = np.concatenate([moved, after.x])
    return i, j, pack(claims, np.asarray(weight), places).probability

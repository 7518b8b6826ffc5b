"""Candidate links, candidate divisions and what was decided among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_marrow.tracking.divisions import Triples, no_triples
from napari_marrow.tracking.points import Floats, Ints


@dataclass(frozen=True)
class Links:
    """Candidate links: source, target, frames between them, gain over leaving both open."""

    i: Ints
    j: Ints
    gap: Ints
    gain: Floats


def no_links() -> Links:
    """No candidate links."""
    none = np.zeros(0, np.int64)
    return Links(none, none, none, np.zeros(0))


@dataclass(frozen=True)
class Solution:
    """What was decided, with the rivals it was decided against.

    Attributes
    ----------
    links, triples : Links, Triples
        All candidates of the last round.
    triple_gain : (m,) float64
    chosen, divided : (e,), (d,) int64
        Rows of the chosen links and divisions.
    late, late_gain : Triples, float64
        Divisions whose second daughter was found later (its first one is linked already).
    """

    links: Links
    triples: Triples
    triple_gain: Floats
    chosen: Ints
    divided: Ints
    late: Triples
    late_gain: Floats

    @property
    def i(self) -> Ints:
        """Sources of the chosen links."""
        return self.links.i[self.chosen]

    @property
    def j(self) -> Ints:
        """Targets of the chosen links."""
        return self.links.j[self.chosen]

    @property
    def divisions(self) -> Triples:
        """Return the chosen divisions, those of `late` left out."""
        return self.triples.take(self.divided)


def no_solution() -> Solution:
    """Return nothing decided among nothing."""
    none = np.zeros(0, np.int64)
    return Solution(no_links(), no_triples(), np.zeros(0), none, none, no_triples(), np.zeros(0))

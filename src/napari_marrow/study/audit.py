"""A random sample of links that a person judges, and the error rate that follows from it. Knows no Qt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from napari_marrow.errors import SettingsError
from napari_marrow.study.edits import Entry
from napari_marrow.tracking.edit_graph import Node, Pair, TrackGraph


@dataclass(frozen=True)
class ErrorRate:
    """Share of wrong links with its 95 % interval.

    Attributes
    ----------
    wrong, judged : int
    rate, low, high : float
        NaN, 0 and 1 while nothing was judged.
    """

    wrong: int
    judged: int
    rate: float
    low: float
    high: float

    def __str__(self) -> str:
        if not self.judged:
            return "Nothing judged yet."
        percent = [f"{100 * value:.1f}" for value in (self.rate, self.low, self.high)]
        return f"{self.wrong} of {self.judged} wrong: {percent[0]} % (95 % interval {percent[1]} to {percent[2]} %)"


def error_rate(wrong: int, judged: int) -> ErrorRate:
    """Return the share of wrong links with Wilson's 95 % interval.

    Wilson's interval keeps its coverage for the rare errors and the samples of some hundred that audits have
    (Brown, Cai & DasGupta 2001, Statistical Science 16:101).

    Parameters
    ----------
    wrong, judged : int

    Raises
    ------
    SettingsError
        If there are more wrong ones than judged ones, or fewer than none.

    Examples
    --------
    >>> str(error_rate(3, 100))
    '3 of 100 wrong: 3.0 % (95 % interval 1.0 to 8.5 %)'
    """
    if not 0 <= wrong <= judged:
        raise SettingsError(f"{wrong} of {judged} cannot be wrong: give two counts, the first no larger.")
    if not judged:
        return ErrorRate(0, 0, float("nan"), 0.0, 1.0)
    from scipy.stats import binomtest

    interval = binomtest(wrong, judged).proportion_ci(0.95, method="wilson")
    return ErrorRate(wrong, judged, wrong / judged, float(interval.low), float(interval.high))


def draw_sample(graph: TrackGraph, session: int, size: int, seed: int) -> list[Pair]:
    """Draw links of a session at random, each as likely as any other, none twice.

    Parameters
    ----------
    graph : TrackGraph
    session : int
    size : int
        All of them if there are fewer.
    seed : int

    Raises
    ------
    SettingsError
        If the session has no links.
    """
    pairs = sorted(pair for pair in graph.edges if pair[0].session == session)
    if not pairs:
        raise SettingsError("This session has no links to draw from: track its cells first.")
    chosen = np.random.default_rng(seed).choice(len(pairs), size=min(size, len(pairs)), replace=False)
    return [pairs[int(k)] for k in chosen]


@dataclass
class Audit:
    """A sample and what a person said of it.

    Attributes
    ----------
    pairs : list of Pair
        In the order in which they were drawn.
    verdicts : dict of Pair to bool
        Whether a link is right.
    """

    pairs: list[Pair] = field(default_factory=list)
    verdicts: dict[Pair, bool] = field(default_factory=dict)

    @property
    def rate(self) -> ErrorRate:
        """The error rate so far."""
        return error_rate(sum(not right for right in self.verdicts.values()), len(self.verdicts))

    def next(self) -> Pair | None:
        """Return the first link that was not judged."""
        return next((pair for pair in self.pairs if pair not in self.verdicts), None)


def audit_of(entries: Iterable[Entry], position: str, session: int) -> Audit:
    """Return the last sample of a session with its verdicts, from the journal's standing entries.

    Parameters
    ----------
    entries : iterable of Entry
        Of the target "reviews", oldest first.
    position : str
    session : int
    """
    audit = Audit()
    for entry in entries:
        action = entry.action
        if entry.position != position or action.get("session") != session:
            continue
        if action["action"] == "draw audit":
            audit = Audit([_pair(values) for values in action["links"]])
        elif action["action"] == "judge":
            pair = _pair(action["link"])
            if pair in audit.pairs:
                audit.verdicts[pair] = action["verdict"] == "right"
    return audit


def drawing(session: int, pairs: list[Pair], seed: int) -> dict[str, object]:
    """Return a drawn sample as an entry of the journal."""
    links = [[list(parent), list(child)] for parent, child in pairs]
    return {"action": "draw audit", "session": session, "seed": seed, "links": links}


def judgement(session: int, pair: Pair, *, right: bool) -> dict[str, object]:
    """Return a verdict as an entry of the journal."""
    link = [list(pair[0]), list(pair[1])]
    return {"action": "judge", "session": session, "link": link, "verdict": "right" if right else "wrong"}


def _pair(values: list[list[int]]) -> Pair:
    parent, child = values
    return Node(*map(int, parent)), Node(*map(int, child))

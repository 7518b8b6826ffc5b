"""Solve again what an edit concerns, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from napari_marrow.progress import CancelToken, no_progress
from napari_marrow.tracking.divisions import Triples
from napari_marrow.tracking.edit_graph import Change, Edge, Node, Pair, TrackGraph
from napari_marrow.tracking.hypotheses import Links, Solution
from napari_marrow.tracking.matching import assign_forward
from napari_marrow.tracking.points import Floats, Ints, read_points
from napari_marrow.tracking.settings import TrackingSettings
from napari_marrow.tracking.solver import solve


def resolve(
    graph: TrackGraph,
    points: pd.DataFrame,
    nodes: list[Node],
    edited: Iterable[Node],
    *,
    settings: TrackingSettings | None = None,
    window: int = 10,
    cancel: CancelToken | None = None,
) -> Change:
    """Return the change that decides links again around edited nodes; confirmed edges stay, forbidden ones stay away.

    What links cost is learned from the whole session as in tracking. Decided again are the tracks that hold an edited
    node, within `window` frames of it, and with them the open ends that are candidates for theirs. Every other edge
    stays as it is.

    Parameters
    ----------
    graph : TrackGraph
        The edited tracks.
    points : DataFrame
        What was tracked; see `track_points`.
    nodes : list of Node
        The node of every row of `points`.
    edited : iterable of Node
    settings : TrackingSettings, optional
    window : int
        Frames.
    cancel : CancelToken, optional

    Returns
    -------
    Change
        To be given to `TrackGraph.apply`.
    """
    settings = settings or TrackingSettings()
    detections = read_points(points, settings)
    start = {node for node in edited if node in graph.nodes}
    if detections.n_frames < 2 or not start:
        return Change()
    solution, _ = solve(detections, settings, progress=no_progress, cancel=cancel or CancelToken())
    row_node = [nodes[k] for k in detections.order]
    free = _concerned(graph, start, window)
    free |= _open_candidates(graph, free, row_node, solution.links.i, solution.links.j)
    held = _held(graph, free)
    links, triples, worth = _open_hypotheses(graph, solution, held, free, row_node)
    return _difference(graph, held | _decided(detections.frame, links, triples, worth, row_node))


def _held(graph: TrackGraph, free: set[Node]) -> dict[Pair, Edge]:
    """Return the edges that stay: confirmed ones, and those that lead out of what is decided again."""
    held = {pair: edge for pair, edge in graph.edges.items() if edge.confirmed or not (set(pair) <= free)}
    # half a division is none: what is left of one goes with the half that stays
    halves = {p for p, _ in held}
    return held | {pair: edge for pair, edge in graph.edges.items() if pair[0] in halves}


def _open_hypotheses(
    graph: TrackGraph, solution: Solution, held: dict[Pair, Edge], free: set[Node], row_node: list[Node]
) -> tuple[Links, Triples, Floats]:
    """Return candidate links, candidate divisions and the gains of these, among free ends that nothing held takes."""
    n = len(row_node)
    links, triples = solution.links, solution.triples
    row = {node: k for k, node in enumerate(row_node)}
    inside = np.array([node in free and node in graph.nodes for node in row_node], dtype=bool)
    no_source, no_target = np.zeros(n, bool), np.zeros(n, bool)
    for source, target in held:
        if source in row:
            no_source[row[source]] = True
        if target in row:
            no_target[row[target]] = True
    banned = np.array([row[p] * n + row[c] for p, c in graph.forbidden if p in row and c in row], np.int64)

    def allowed(i: Ints, j: Ints) -> np.ndarray:
        return np.asarray(inside[i] & inside[j] & ~no_source[i] & ~no_target[j] & ~np.isin(i * n + j, banned))

    keep = allowed(links.i, links.j)
    part = allowed(triples.mother, triples.first) & allowed(triples.mother, triples.second)
    open_links = Links(links.i[keep], links.j[keep], links.gap[keep], links.gain[keep])
    return open_links, triples.take(part), solution.triple_gain[part]


def _decided(frame: Ints, links: Links, triples: Triples, worth: Floats, row_node: list[Node]) -> dict[Pair, Edge]:
    """Return the edges that are best among the hypotheses."""
    chosen, divided = assign_forward(
        len(row_node),
        (links.i, links.j, links.gain, frame[links.j]),
        (triples.mother, triples.first, triples.second, worth, frame[triples.first]),
    )
    new: dict[Pair, Edge] = {}
    for a, b, g in zip(links.i[chosen], links.j[chosen], links.gain[chosen], strict=True):
        kind = "link" if frame[b] - frame[a] == 1 else "gap"
        new[(row_node[a], row_node[b])] = Edge(kind, _chance(g))
    found = triples.take(divided)
    for a, b, c, g in zip(found.mother, found.first, found.second, worth[divided], strict=True):
        for daughter in (b, c):
            new[(row_node[a], row_node[daughter])] = Edge("division", _chance(g))
    return new


def _chance(gain: float) -> float:
    """Chance of an edge against leaving its ends open; its rivals are decided against."""
    return float(1 / (1 + np.exp(-np.clip(gain, -30, 30))))


def _concerned(graph: TrackGraph, start: set[Node], window: int) -> set[Node]:
    """Nodes of the edited tracks near an edit."""
    near = set()
    for node in graph.component(start):
        if any(node.session == s.session and abs(node.t - s.t) <= window for s in start):
            near.add(node)
    return near


def _open_candidates(graph: TrackGraph, free: set[Node], row_node: list[Node], i: Ints, j: Ints) -> set[Node]:
    """Return the open ends of other tracks that a concerned one could be linked with."""
    found: set[Node] = set()
    for a, b in zip(i.tolist(), j.tolist(), strict=True):
        p, c = row_node[a], row_node[b]
        if p in free and c not in free and c in graph.nodes and not graph.parents(c):
            found.add(c)
        elif c in free and p not in free and p in graph.nodes and not graph.children(p):
            found.add(p)
    return found


def _difference(graph: TrackGraph, new: dict[Pair, Edge]) -> Change:
    """Return the change to the new edges; an edge that stays keeps what was said of it."""
    edges = []
    for pair in sorted(set(graph.edges) | set(new)):
        before, after = graph.edges.get(pair), new.get(pair)
        if before is not None and after is not None and before.kind == after.kind:
            continue
        edges.append((pair, before, after))
    return Change(edges=tuple(edges))

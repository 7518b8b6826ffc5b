"""Edits that lead from one set of tracks to another, against the other itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_marrow.errors import EditError
from napari_marrow.tracking.edit_graph import Edge, Node, Pair, TrackGraph
from napari_marrow.tracking.graph_difference import edits_towards

CELLS = [Node(0, t, label) for t in range(5) for label in range(1, 6)]


def forest(seed: int, nodes: set[Node]) -> set[Pair]:
    """Return tracks that cells can have: one mother at most, two daughters at most, forward in time."""
    rng = np.random.default_rng(seed)
    children: dict[Node, int] = {}
    pairs = set()
    for child in sorted(nodes):
        earlier = [n for n in nodes if n.t < child.t and children.get(n, 0) < 2]
        if earlier and rng.random() < 0.8:
            mother = sorted(earlier)[rng.integers(len(earlier))]
            children[mother] = children.get(mother, 0) + 1
            pairs.add((mother, child))
    return pairs


def graph_of(pairs: set[Pair], nodes: set[Node]) -> TrackGraph:
    many = [mother for mother, _ in pairs]
    edges = {p: Edge("division" if many.count(p[0]) > 1 else "link", 0.9) for p in pairs}
    other = Node(1, 0, 1), Node(1, 1, 1)
    return TrackGraph(nodes | set(other), {**edges, other: Edge("link", 0.9)})


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sets(st.sampled_from(CELLS), max_size=8))
def test_edits_lead_to_the_other_tracks(before: int, after: int, removed: set[Node]) -> None:
    graph = graph_of(forest(before, set(CELLS)), set(CELLS))
    wanted = set(CELLS) - removed
    pairs = forest(after, wanted)
    unchanged = graph_of(forest(before, set(CELLS)), set(CELLS))
    actions = edits_towards(graph, wanted, pairs)
    assert graph == unchanged
    for action in actions:
        action.apply(graph)
    assert {p for p in graph.edges if p[0].session == 0} == pairs
    assert {n for n in graph.nodes if n.session == 0} == wanted
    assert (Node(1, 0, 1), Node(1, 1, 1)) in graph.edges
    assert edits_towards(graph, wanted, pairs) == []


def test_what_cells_cannot_do_is_refused() -> None:
    first, second = Node(0, 0, 1), Node(0, 0, 2)
    child = Node(0, 1, 1)
    graph = graph_of(set(), set(CELLS))
    with pytest.raises(EditError, match="comes from both"):
        edits_towards(graph, set(CELLS), {(first, child), (second, child)})
    with pytest.raises(EditError, match="more than two daughters"):
        edits_towards(graph, set(CELLS), {(first, Node(0, 1, label)) for label in (1, 2, 3)})
    with pytest.raises(EditError, match="1 of its cells are not in the study, the first with label 9 in frame 0"):
        edits_towards(graph, {*CELLS, Node(0, 0, 9)}, set())
    with pytest.raises(EditError, match="lacks 20 of the session's 25 cells"):
        edits_towards(graph, set(CELLS[:5]), set())

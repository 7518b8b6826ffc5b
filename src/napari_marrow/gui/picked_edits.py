"""Which edit the cells mean that a person picked. Knows no Qt."""

from __future__ import annotations

from collections.abc import Sequence

from napari_marrow.errors import EditError
from napari_marrow.tracking.edit_graph import Node, TrackGraph
from napari_marrow.tracking.edits import Action, Break, Confirm, Delete, Divide, Link, Merge, Swap

NEEDS: dict[str, str] = {
    "accept": "a cell and the one it comes from, or a mother and her daughters",
    "link": "a cell and a later one",
    "break": "a cell and the one that it goes on as",
    "swap": "two cells of one frame",
    "divide": "a mother and two later daughters",
    "merge": "two cells of one frame",
    "delete": "one cell or more",
}
"""What has to be picked for each edit."""


def edits_of(kind: str, picked: Sequence[Node], graph: TrackGraph) -> list[Action]:
    """Return the edits of a kind for the picked cells, which need no order: time tells parents from children.

    Parameters
    ----------
    kind : str
        A key of `NEEDS`.
    picked : sequence of Node
    graph : TrackGraph
        The tracks as they stand. Where one cell is picked, accept and break take the link that leads to it.

    Raises
    ------
    EditError
        If the picked cells do not fit; the sentence says what is needed.
    """
    nodes = sorted(dict.fromkeys(picked))
    if kind in ("accept", "break") and len(nodes) == 1 and graph.parents(nodes[0]):
        nodes = [graph.parents(nodes[0])[0], nodes[0]]
    if kind == "delete" and nodes:
        return [Delete(node) for node in nodes]
    first, rest = nodes[:1], nodes[1:]
    one_later = len(rest) == 1 and rest[0].t > first[0].t
    # daughters may be seen first in different frames, but one does not go on as the other
    two_later = len(rest) == 2 and rest[0].t > first[0].t and rest[0] not in graph.parents(rest[1])
    if kind == "link" and one_later:
        return [Link(first[0], rest[0])]
    if kind == "break" and (one_later or two_later):
        return [Break(first[0], child) for child in rest]
    if kind == "accept" and (one_later or two_later):
        open_ones = [c for c in rest if not (e := graph.edges.get((first[0], c))) or not e.confirmed]
        return [Confirm(first[0], child) for child in open_ones or rest]
    if kind == "divide" and two_later:
        return [Divide(first[0], rest[0], rest[1])]
    if kind in ("swap", "merge") and len(rest) == 1 and rest[0].t == first[0].t:
        return [Swap(first[0], rest[0]) if kind == "swap" else Merge(first[0], rest[0])]
    have = "nothing is picked" if not nodes else f"picked are {', '.join(f'label {node}' for node in nodes)}"
    raise EditError(f"To {kind}, pick {NEEDS[kind]}: {have}.")


def bulk_accept(graph: TrackGraph, session: int, probability: float, *, most: int = 50_000) -> list[Action]:
    """Return the edits that accept every open link of a session from a probability up.

    Raises
    ------
    EditError
        If there is none, or there are more than can be kept in one step.
    """
    open_ones = sorted(
        pair
        for pair, edge in graph.edges.items()
        if pair[0].session == session and not edge.confirmed and edge.probability >= probability
    )
    if not open_ones:
        raise EditError(f"No open link of this session has a probability of {probability:g} or more.")
    if len(open_ones) > most:
        raise EditError(
            f"{len(open_ones)} links have a probability of {probability:g} or more, {most} fit in one step."
        )
    return [Confirm(*pair) for pair in open_ones]

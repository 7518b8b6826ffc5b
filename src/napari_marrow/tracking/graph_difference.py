"""The edits that lead from a study's tracks to those of another program."""

from __future__ import annotations

from collections import defaultdict

from napari_marrow.errors import EditError
from napari_marrow.tracking.edit_graph import Node, Pair, TrackGraph
from napari_marrow.tracking.edits import Action, Break, Delete, Divide, Link

_MOST_MISSING = 0.5
"""Share of the cells above which a graph is taken to be a part of the session, not the whole of it edited."""


def edits_towards(graph: TrackGraph, nodes: set[Node], pairs: set[Pair]) -> list[Action]:
    """Return the edits that turn the tracks of cells into others; what both have alike is left as it is.

    Parameters
    ----------
    graph : TrackGraph
        Tracks of cells as they stand; it is not changed. Only the sessions that `nodes` name are compared.
    nodes : set of Node
        The cells of the other tracks: some or all of those of the sessions.
    pairs : set of (Node, Node)
        Their links, the earlier cell first.

    Returns
    -------
    list of Action
        Breaks, then deletions, then links and divisions from early to late; they can be applied one after the other.

    Raises
    ------
    EditError
        If a cell is not in `graph`, has two mothers or more than two daughters, or most cells of `graph` are missing.
    """
    sessions = {node.session for node in nodes}
    mine = {node for node in graph.nodes if node.session in sessions}
    _require_known(mine, nodes)
    wanted = _children(pairs)
    here = {pair for pair in graph.edges if pair[0] in mine and pair[1] in mine}
    gone = mine - nodes
    broken = sorted(pair for pair in here - pairs if not gone & set(pair))
    made: list[Action] = []
    for mother in sorted({parent for parent, _ in pairs - here}):
        daughters = sorted(wanted[mother])
        made.append(Link(mother, *daughters) if len(daughters) == 1 else Divide(mother, *daughters))
    return [*(Break(*pair) for pair in broken), *(Delete(node) for node in sorted(gone)), *made]


def _require_known(mine: set[Node], nodes: set[Node]) -> None:
    new = sorted(nodes - mine)
    if new:
        raise EditError(
            f"{len(new)} of its cells are not in the study, the first with label {new[0]}: new cells are painted in "
            "the study, and linked after the next run."
        )
    missing = len(mine - nodes)
    if missing > _MOST_MISSING * len(mine):
        raise EditError(
            f"It lacks {missing} of the session's {len(mine)} cells: give the graph of the whole session, not of a "
            "part."
        )


def _children(pairs: set[Pair]) -> dict[Node, list[Node]]:
    children: dict[Node, list[Node]] = defaultdict(list)
    mothers: dict[Node, Node] = {}
    for parent, child in sorted(pairs):
        if child in mothers:
            raise EditError(f"Label {child} comes from both {mothers[child]} and {parent}: cells have one mother.")
        mothers[child] = parent
        children[parent].append(child)
        if len(children[parent]) > 2:
            raise EditError(f"Label {parent} has more than two daughters: cells divide into two.")
    return children

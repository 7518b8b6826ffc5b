"""Tracks as a graph that can be changed and changed back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from napari_marrow.errors import EditError


class Node(NamedTuple):
    """A cell or colony in a frame."""

    session: int
    t: int
    label: int

    def __str__(self) -> str:
        return f"{self.label} in frame {self.t} of session {self.session}"


Pair = tuple[Node, Node]


@dataclass(frozen=True)
class Edge:
    """How two nodes are connected.

    Attributes
    ----------
    kind : str
        link, gap, division; for colonies same, gap, merge, split.
    probability : float
    confirmed : bool
        Whether a person said so: a solver must keep it.
    """

    kind: str
    probability: float
    confirmed: bool = False


@dataclass(frozen=True)
class Change:
    """What an edit does to a graph, as it was before and is after: so it can be undone exactly.

    Attributes
    ----------
    nodes : tuple of (Node, bool, bool)
        Whether the node is there, before and after.
    edges : tuple of (Pair, Edge or None, Edge or None)
    forbidden : tuple of (Pair, bool, bool)
        Whether a solver must not connect the pair.
    names : tuple of (Node, str, str)
    """

    nodes: tuple[tuple[Node, bool, bool], ...] = ()
    edges: tuple[tuple[Pair, Edge | None, Edge | None], ...] = ()
    forbidden: tuple[tuple[Pair, bool, bool], ...] = ()
    names: tuple[tuple[Node, str, str], ...] = ()

    def inverse(self) -> Change:
        """Return the change that takes this one back."""
        return Change(
            tuple((n, after, before) for n, before, after in self.nodes),
            tuple((p, after, before) for p, before, after in self.edges),
            tuple((p, after, before) for p, before, after in self.forbidden),
            tuple((n, after, before) for n, before, after in self.names),
        )

    def touched(self) -> set[Node]:
        """Return every node that it concerns."""
        pairs = [pair for pair, _, _ in (*self.edges, *self.forbidden)]
        return {n for n, _, _ in self.nodes} | {n for n, _, _ in self.names} | {n for pair in pairs for n in pair}


class TrackGraph:
    """Nodes, their edges, pairs that must not be connected, and names of tracks.

    Parameters
    ----------
    nodes : iterable of Node
    edges : mapping of Pair to Edge
    merges : bool
        Whether a node may have several parents: colonies merge, cells do not.
    """

    def __init__(self, nodes: set[Node], edges: dict[Pair, Edge], *, merges: bool = False) -> None:
        self.merges = merges
        self.nodes: set[Node] = set(nodes)
        self.edges: dict[Pair, Edge] = {}
        self.forbidden: set[Pair] = set()
        self.names: dict[Node, str] = {}
        self._parents: dict[Node, set[Node]] = {}
        self._children: dict[Node, set[Node]] = {}
        for pair, edge in edges.items():
            self._set_edge(pair, edge)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TrackGraph):
            return NotImplemented
        return (self.nodes, self.edges, self.forbidden, self.names, self.merges) == (
            other.nodes, other.edges, other.forbidden, other.names, other.merges,
        )  # fmt: skip

    __hash__ = None  # type: ignore[assignment]

    def parents(self, node: Node) -> list[Node]:
        """Return the nodes that it comes from, in order."""
        return sorted(self._parents.get(node, ()))

    def children(self, node: Node) -> list[Node]:
        """Return the nodes that come from it, in order."""
        return sorted(self._children.get(node, ()))

    def component(self, nodes: set[Node]) -> set[Node]:
        """Return the nodes and everything that edges connect them with."""
        seen, todo = set(nodes), list(nodes)
        while todo:
            node = todo.pop()
            for other in self._parents.get(node, set()) | self._children.get(node, set()):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        return seen

    def require(self, *nodes: Node) -> None:
        """Raise EditError unless the nodes are there."""
        for node in nodes:
            if node not in self.nodes:
                raise EditError(f"There is no label {node}: it was never found, or an edit removed it.")

    def apply(self, change: Change) -> None:
        """Make a change.

        Raises
        ------
        EditError
            If the graph is not as the change expects it; then nothing is changed.
        """
        fits = (
            all((n in self.nodes) == before for n, before, _ in change.nodes)
            and all(self.edges.get(p) == before for p, before, _ in change.edges)
            and all((p in self.forbidden) == before for p, before, _ in change.forbidden)
            and all(self.names.get(n, "") == before for n, before, _ in change.names)
        )
        if not fits:
            raise EditError("The tracks have changed since: undo the later edits first.")
        for node, _, after in change.nodes:
            (self.nodes.add if after else self.nodes.discard)(node)
        for pair, _, edge in change.edges:
            self._set_edge(pair, edge)
        for pair, _, after in change.forbidden:
            (self.forbidden.add if after else self.forbidden.discard)(pair)
        for node, _, name in change.names:
            if name:
                self.names[node] = name
            else:
                self.names.pop(node, None)

    def _set_edge(self, pair: Pair, edge: Edge | None) -> None:
        parent, child = pair
        if edge is None:
            self.edges.pop(pair, None)
            self._children[parent].discard(child)
            self._parents[child].discard(parent)
        else:
            self.edges[pair] = edge
            self._children.setdefault(parent, set()).add(child)
            self._parents.setdefault(child, set()).add(parent)

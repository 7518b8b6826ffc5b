"""Edits of tracks by a person: every one can be taken back, none does half of what it says.

What a person connects is confirmed, what a person breaks is forbidden: both bind a later solver.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from napari_marrow.errors import EditError
from napari_marrow.tracking.edit_graph import Change, Edge, Node, Pair, TrackGraph

_SURE = 1.0


class Action(ABC):
    """An edit; `kind` is its name in files."""

    kind: ClassVar[str]

    @abstractmethod
    def _change(self, graph: TrackGraph) -> Change:
        """Return what the edit does to a graph that holds its nodes."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Return the nodes that the edit names."""
        values = (getattr(self, item.name) for item in fields(self))  # type: ignore[arg-type]
        return tuple(value for value in values if isinstance(value, Node))

    def change(self, graph: TrackGraph) -> Change:
        """Return what the edit does to a graph, which stays as it is.

        Raises
        ------
        EditError
            If the edit is impossible or conflicts with what is there; the sentence says why and what to do.
        """
        graph.require(*self.nodes)
        return self._change(graph)

    def apply(self, graph: TrackGraph) -> Change:
        """Make the edit and return the change, whose `inverse` takes it back."""
        change = self.change(graph)
        graph.apply(change)
        return change

    def as_dict(self) -> dict[str, Any]:
        """Return the edit as plain values."""
        out: dict[str, Any] = {"action": self.kind}
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            out[item.name] = list(value) if isinstance(value, Node) else value
        return out


@dataclass(frozen=True)
class Break(Action):
    """Take an edge away, and forbid it."""

    parent: Node
    child: Node
    kind: ClassVar[str] = "break"

    def _change(self, graph: TrackGraph) -> Change:
        pair = self.parent, self.child
        _existing(graph, pair)
        return Change(edges=_without(graph, [pair]), forbidden=_forbid(graph, [pair]))


@dataclass(frozen=True)
class Link(Action):
    """Connect a node with a later one. A colony may get several parents (merge) and several children (split)."""

    parent: Node
    child: Node
    kind: ClassVar[str] = "link"

    def _change(self, graph: TrackGraph) -> Change:
        pair = self.parent, self.child
        _connectable(graph, pair)
        if pair in graph.edges:
            raise EditError(f"Label {self.parent} is linked with {self.child} already: confirm it instead.")
        if not graph.merges:
            _comes_from_nowhere_else(graph, self.child, set())
            _goes_nowhere_else(graph, self.parent, set(), ", or use divide")
            return Change(edges=((pair, None, _made(pair)),), forbidden=_allow(graph, [pair]))
        return Change(edges=_renamed(graph, {}, {pair: _made(pair)}), forbidden=_allow(graph, [pair]))


@dataclass(frozen=True)
class Swap(Action):
    """Let two nodes of a frame exchange where they come from."""

    first: Node
    second: Node
    kind: ClassVar[str] = "swap"

    def _change(self, graph: TrackGraph) -> Change:
        _of_one_frame(self.first, self.second, "swapped")
        mine, yours = graph.parents(self.first), graph.parents(self.second)
        if not mine and not yours:
            raise EditError(f"Neither {self.first} nor {self.second} comes from an earlier label: nothing to swap.")
        if mine == yours:
            raise EditError(f"Labels {self.first} and {self.second} come from the same label: nothing to swap.")
        old = [(p, self.first) for p in mine if p not in yours] + [(p, self.second) for p in yours if p not in mine]
        other = {self.first: self.second, self.second: self.first}
        new = {(p, other[c]): replace(graph.edges[(p, c)], probability=_SURE, confirmed=True) for p, c in old}
        edges = (*_without(graph, old), *((pair, None, edge) for pair, edge in sorted(new.items())))
        return Change(edges=edges, forbidden=(*_forbid(graph, old), *_allow(graph, list(new))))


@dataclass(frozen=True)
class Divide(Action):
    """Make two nodes the daughters of a third; a link to one of them becomes part of the division."""

    mother: Node
    first: Node
    second: Node
    kind: ClassVar[str] = "divide"

    def _change(self, graph: TrackGraph) -> Change:
        if graph.merges:
            raise EditError("Colonies do not divide: link a colony with both of its pieces.")
        if self.first == self.second:
            raise EditError(f"A division needs two daughters, not label {self.first} twice.")
        pairs = [(self.mother, self.first), (self.mother, self.second)]
        for pair in pairs:
            _connectable(graph, pair)
            _comes_from_nowhere_else(graph, pair[1], {self.mother})
        _goes_nowhere_else(graph, self.mother, {self.first, self.second})
        edge = Edge("division", _SURE, confirmed=True)
        if all(graph.edges.get(pair) == edge for pair in pairs):
            raise EditError(f"Label {self.mother} divides into these two already.")
        return Change(
            edges=tuple((p, graph.edges.get(p), edge) for p in pairs if graph.edges.get(p) != edge),
            forbidden=_allow(graph, pairs),
        )


@dataclass(frozen=True)
class Merge(Action):
    """Say that two labels of a frame are one object cut in two: `second` goes into `first`, with its links."""

    first: Node
    second: Node
    kind: ClassVar[str] = "merge"

    def _change(self, graph: TrackGraph) -> Change:
        _of_one_frame(self.first, self.second, "merged")
        added: dict[Pair, Edge] = {}
        if graph.merges or not graph.parents(self.first):
            for p in graph.parents(self.second):
                added[(p, self.first)] = graph.edges[(p, self.second)]
        if graph.merges or not graph.children(self.first):
            for c in graph.children(self.second):
                added[(self.first, c)] = graph.edges[(self.second, c)]
        added = {pair: edge for pair, edge in added.items() if pair not in graph.edges}
        return _removal(graph, self.second, added)


@dataclass(frozen=True)
class Delete(Action):
    """Take a node away that is no cell or colony, with its edges."""

    node: Node
    kind: ClassVar[str] = "delete"

    def _change(self, graph: TrackGraph) -> Change:
        return _removal(graph, self.node, {})


@dataclass(frozen=True)
class Relabel(Action):
    """Give the track that a node begins, or the organoid that it is, a name; an empty one takes it away."""

    node: Node
    name: str
    kind: ClassVar[str] = "relabel"

    def _change(self, graph: TrackGraph) -> Change:
        before = graph.names.get(self.node, "")
        if self.name == before:
            raise EditError(f"Label {self.node} has the name '{self.name}' already.")
        if self.name and self.name in graph.names.values():
            raise EditError(f"The name '{self.name}' is taken: choose another.")
        return Change(names=((self.node, before, self.name),))


@dataclass(frozen=True)
class Confirm(Action):
    """Say that an edge is right."""

    parent: Node
    child: Node
    kind: ClassVar[str] = "confirm"

    def _change(self, graph: TrackGraph) -> Change:
        pair = self.parent, self.child
        edge = _existing(graph, pair)
        if edge.confirmed:
            raise EditError(f"The link from {self.parent} to {self.child} is confirmed already.")
        return Change(edges=((pair, edge, replace(edge, confirmed=True)),))


ACTIONS: dict[str, type[Action]] = {c.kind: c for c in (Break, Link, Swap, Divide, Merge, Delete, Relabel, Confirm)}
"""Every edit by the name that files use."""


def action_from(values: Mapping[str, Any]) -> Action:
    """Return an edit from plain values, such as a line of a file.

    Parameters
    ----------
    values : mapping
        ``action``, and its nodes as ``[session, t, label]``.

    Raises
    ------
    EditError
        If the action is unknown, or a value is missing, unknown or no node.
    """
    kind = values.get("action")
    if not isinstance(kind, str) or kind not in ACTIONS:
        raise EditError(f"There is no edit '{kind}': use one of {', '.join(sorted(ACTIONS))}.")
    made = ACTIONS[kind]
    wanted = [f.name for f in fields(made)]  # type: ignore[arg-type]
    given = [name for name in values if name != "action"]
    if sorted(wanted) != sorted(map(str, given)):
        raise EditError(f"The edit '{kind}' needs {', '.join(wanted)}, not {', '.join(map(str, given)) or 'nothing'}.")
    return made(**{name: _value(kind, name, values[name]) for name in wanted})


def _value(kind: str, name: str, value: Any) -> Node | str:
    if name == "name":
        if not isinstance(value, str) or len(value) > 80 or not all(c.isprintable() for c in value):
            raise EditError(f"The name in '{kind}' must be a text of at most 80 printable characters.")
        return value.strip()
    numbers = isinstance(value, list | tuple) and len(value) == 3
    if not numbers or any(isinstance(v, bool) or not isinstance(v, int) or v < 0 for v in value):
        raise EditError(f"'{name}' of the edit '{kind}' is {value!r}: give [session, t, label], whole numbers from 0.")
    return Node(*value)


def _existing(graph: TrackGraph, pair: Pair) -> Edge:
    edge = graph.edges.get(pair)
    if edge is None:
        raise EditError(f"There is no link from {pair[0]} to {pair[1]}.")
    return edge


def _of_one_frame(first: Node, second: Node, done: str) -> None:
    if first[:2] != second[:2] or first == second:
        raise EditError(f"Only two labels of one frame can be {done}, not {first} and {second}.")


def _comes_from_nowhere_else(graph: TrackGraph, child: Node, but: set[Node]) -> None:
    others = [p for p in graph.parents(child) if p not in but]
    if others:
        raise EditError(f"Label {child} comes from {others[0]}: break that link first.")


def _goes_nowhere_else(graph: TrackGraph, parent: Node, but: set[Node], remedy: str = "") -> None:
    others = [c for c in graph.children(parent) if c not in but]
    if others:
        raise EditError(f"Label {parent} goes on as {others[0]}: break that link first{remedy}.")


def _connectable(graph: TrackGraph, pair: Pair) -> None:
    parent, child = pair
    if parent[:2] >= child[:2]:
        raise EditError(f"Label {child} is not later than {parent}: a link goes forward in time.")
    if not graph.merges and parent.session != child.session:
        raise EditError(f"Cells are linked within a session, not from {parent} to {child}: colonies go across.")


def _made(pair: Pair) -> Edge:
    return Edge("link" if pair[1].t - pair[0].t == 1 else "gap", _SURE, confirmed=True)


def _forbid(graph: TrackGraph, pairs: list[Pair]) -> tuple[tuple[Pair, bool, bool], ...]:
    return tuple((p, False, True) for p in pairs if p not in graph.forbidden)


def _allow(graph: TrackGraph, pairs: list[Pair]) -> tuple[tuple[Pair, bool, bool], ...]:
    return tuple((p, True, False) for p in pairs if p in graph.forbidden)


def _without(graph: TrackGraph, pairs: list[Pair]) -> tuple[tuple[Pair, Edge | None, Edge | None], ...]:
    """Edges taken away; what is left of a division becomes a link, and kinds of colonies' edges follow."""
    return _renamed(graph, dict.fromkeys(pairs), {})


def _removal(graph: TrackGraph, node: Node, added: dict[Pair, Edge]) -> Change:
    """Take a node away with its edges, its name and what was forbidden to it."""
    gone = [(p, node) for p in graph.parents(node)] + [(node, c) for c in graph.children(node)]
    name = graph.names.get(node, "")
    banned = [p for p in graph.forbidden if node in p]
    return Change(
        nodes=((node, True, False),),
        edges=_renamed(graph, dict.fromkeys(gone), added),
        forbidden=tuple((p, True, False) for p in sorted(banned)),
        names=((node, name, ""),) if name else (),
    )


def _renamed(
    graph: TrackGraph, gone: Mapping[Pair, None], added: Mapping[Pair, Edge]
) -> tuple[tuple[Pair, Edge | None, Edge | None], ...]:
    """Edges that go and come, and those beside them whose kind follows from how many share an end."""
    after: dict[Pair, Edge | None] = {**gone, **added}
    ends = {n for pair in after for n in pair}
    beside = {(p, n) for n in ends for p in graph.parents(n)} | {(n, c) for n in ends for c in graph.children(n)}
    for pair in sorted(beside - set(after)):
        after[pair] = graph.edges[pair]
    for pair, edge in list(after.items()):
        if edge is not None:
            after[pair] = replace(edge, kind=_kind(graph, pair, edge, after))
    return tuple(
        (pair, graph.edges.get(pair), edge) for pair, edge in sorted(after.items()) if graph.edges.get(pair) != edge
    )


def _kind(graph: TrackGraph, pair: Pair, edge: Edge, after: Mapping[Pair, Edge | None]) -> str:
    parent, child = pair

    def there(one: Pair) -> bool:
        return after[one] is not None if one in after else one in graph.edges

    siblings = set(graph.children(parent)) | {c for p, c in after if p == parent}
    children = sum(there((parent, c)) for c in siblings)
    kin = set(graph.parents(child)) | {p for p, c in after if c == child}
    parents = sum(there((p, child)) for p in kin)
    if not graph.merges:
        if children > 1:
            return "division"
        return _made(pair).kind if edge.kind == "division" else edge.kind
    if parents > 1:
        return "merge"
    if children > 1:
        return "split"
    return "same" if edge.kind not in ("gap", "same") or (edge.kind == "gap" and edge.confirmed) else edge.kind

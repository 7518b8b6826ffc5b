"""Track tables as graphs that can be edited, and edited graphs as track tables."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from napari_marrow.schemas import TRACK_EDGES, TRACK_NODES
from napari_marrow.tracking.edit_graph import Edge, Node, Pair, TrackGraph


def graph_of(nodes: pd.DataFrame, edges: pd.DataFrame) -> TrackGraph:
    """Return the cells of one position as a graph.

    Parameters
    ----------
    nodes, edges : DataFrame
        `TRACK_NODES` and `TRACK_EDGES`.
    """
    there = set(_nodes(nodes["session"], nodes["t"], nodes["label"]))
    pairs = _pairs(edges)
    kinds, chances = edges["kind"].astype(str).tolist(), edges["probability"].astype(float).tolist()
    return TrackGraph(there, {p: Edge(k, c) for p, k, c in zip(pairs, kinds, chances, strict=True)})


def curated_tables(
    graph: TrackGraph, nodes: pd.DataFrame, edges: pd.DataFrame, first_new_id: int
) -> tuple[pd.DataFrame, pd.DataFrame, dict[int, str]]:
    """Return the tables of an edited graph.

    A track keeps its number as long as its first node is the first one with it; pieces that came off get new ones.

    Parameters
    ----------
    graph : TrackGraph
    nodes, edges : DataFrame
        The tables that the graph was made of.
    first_new_id : int
        Number of the first track that is new.

    Returns
    -------
    nodes, edges : DataFrame
        `TRACK_NODES` and `TRACK_EDGES`; edges have a column ``confirmed``.
    names : dict of int to str
        Names of tracks.
    """
    keys = list(_nodes(nodes["session"], nodes["t"], nodes["label"]))
    kept = np.array([key in graph.nodes for key in keys], dtype=bool)
    out = nodes[kept].reset_index(drop=True)
    keys = [key for key, ok in zip(keys, kept, strict=True) if ok]
    old = dict(zip(keys, out["track_id"].astype(int).tolist(), strict=True))
    previous = {c: p for (p, c), e in graph.edges.items() if e.kind != "division"}
    chance = {c: e.probability for (_, c), e in graph.edges.items() if e.kind != "division"}
    track: dict[Node, int] = {}
    begins: dict[int, Node] = {}
    taken: set[int] = set()
    fresh = first_new_id
    for key in sorted(keys):
        parent = previous.get(key)
        if parent is not None:
            track[key] = track[parent]
            continue
        number = old[key]
        if number in taken:
            number, fresh = fresh, fresh + 1
        taken.add(number)
        track[key], begins[number] = number, key
    mother = {c: p for (p, c), e in graph.edges.items() if e.kind == "division"}
    parents = {number: track[mother[key]] for number, key in begins.items() if key in mother}
    out["track_id"] = [track[key] for key in keys]
    out["link_probability"] = [chance.get(key, np.nan) for key in keys]
    if "parent_track_id" in out.columns:
        out["parent_track_id"] = np.array([parents.get(track[key], 0) for key in keys], dtype=np.int32)
    names = {track[node]: name for node, name in sorted(graph.names.items()) if node in track}
    position = str(nodes["position"].iloc[0]) if len(nodes) else ""
    return TRACK_NODES.conform(out), _edge_table(graph, position, edges), names


def _edge_table(graph: TrackGraph, position: str, like: pd.DataFrame) -> pd.DataFrame:
    rows = [
        (position, p.session, p.t, p.label, c.t, c.label, e.kind, e.probability, e.confirmed)
        for (p, c), e in sorted(graph.edges.items(), key=lambda item: (item[0][1], item[0][0]))
    ]
    table = pd.DataFrame(rows, columns=[*TRACK_EDGES.names, "confirmed"])
    return TRACK_EDGES.conform(table) if rows else TRACK_EDGES.empty().assign(confirmed=pd.Series([], dtype=bool))


def colony_graph(colonies: pd.DataFrame, edges: pd.DataFrame) -> TrackGraph:
    """Return the colonies of one position as a graph; a node's frame is that of the colony.

    Parameters
    ----------
    colonies : DataFrame
        ``session, t, colony``; numbers do not repeat within a session.
    edges : DataFrame
        ``session_parent, colony_parent, session_child, colony_child, kind, probability``; refused ones are left out.
    """
    there = list(_nodes(colonies["session"], colonies["t"], colonies["colony"]))
    by_number = {(n.session, n.label): n for n in there}
    firm = edges[edges["kind"] != "refused"]
    made: dict[Pair, Edge] = {}
    columns = ["session_parent", "colony_parent", "session_child", "colony_child", "kind", "probability"]
    for a, p, b, c, kind, chance in firm[columns].itertuples(index=False, name=None):
        made[(by_number[(int(a), int(p))], by_number[(int(b), int(c))])] = Edge(str(kind), float(chance))
    return TrackGraph(set(there), made, merges=True)


def colony_edges_of(graph: TrackGraph, edges: pd.DataFrame) -> pd.DataFrame:
    """Return the edges of an edited graph of colonies as a table, the refused ones of the old table behind them.

    Parameters
    ----------
    graph : TrackGraph
    edges : DataFrame
        The table that the graph was made of.
    """
    rows = [
        (p.session, p.label, c.session, c.label, e.kind, e.probability, "", e.confirmed)
        for (p, c), e in sorted(graph.edges.items())
    ]
    columns = ["session_parent", "colony_parent", "session_child", "colony_child", "kind", "probability"]
    made = pd.DataFrame(rows, columns=[*columns, "reason", "confirmed"])
    refused = edges[edges["kind"] == "refused"].assign(confirmed=False)
    now = {(p.session, p.label, c.session, c.label) for p, c in graph.edges}
    still = [tuple(map(int, row)) not in now for row in refused[columns[:4]].itertuples(index=False, name=None)]
    parts = [part for part in (made, refused[np.asarray(still, dtype=bool)]) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else made


def _nodes(session: pd.Series, t: pd.Series, label: pd.Series) -> Iterable[Node]:
    return (Node(*row) for row in zip(session.astype(int), t.astype(int), label.astype(int), strict=True))


def _pairs(edges: pd.DataFrame) -> list[Pair]:
    parents = _nodes(edges["session"], edges["t_parent"], edges["label_parent"])
    children = _nodes(edges["session"], edges["t_child"], edges["label_child"])
    return list(zip(parents, children, strict=True))

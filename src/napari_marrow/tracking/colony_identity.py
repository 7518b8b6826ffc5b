"""Identity numbers and founder sets of colonies along their edges."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from napari_marrow.tracking.colony_tables import Colonies, read_colonies

Node = tuple[int, int]
"""Number of the table, and of the colony in it."""


def edited_identities(tables: Sequence[pd.DataFrame], edges: pd.DataFrame) -> pd.DataFrame:
    """Return `identities` over edges that were edited by hand.

    Parameters
    ----------
    tables : sequence of DataFrame
        As for `link_colonies`, with true session numbers: no number repeats within a session.
    edges : DataFrame
        ``session_parent, colony_parent, session_child, colony_child, kind``.
    """
    sessions = read_colonies(tables)
    place = {(s.session, int(n)): t for t, s in enumerate(sessions) for n in s.number}
    at = [
        [place[(int(a), int(c))] for a, c in zip(edges[f"session_{end}"], edges[f"colony_{end}"], strict=True)]
        for end in ("parent", "child")
    ]
    return identities(sessions, edges.assign(table_parent=at[0], table_child=at[1]))


def identities(sessions: Sequence[Colonies], edges: pd.DataFrame) -> pd.DataFrame:
    """Walk the edges: a number goes on to the largest heir of the largest parent, founder sets to all.

    Parameters
    ----------
    sessions : sequence of Colonies
        Tables in the order of time.
    edges : DataFrame
        ``table_parent, colony_parent, table_child, colony_child, kind``; refused ones carry nothing.

    Returns
    -------
    DataFrame
        ``session, colony, colony_id, founders``; a row per colony, the tables one after the other.
    """
    parents: dict[Node, list[Node]] = {}
    firm = edges[edges["kind"] != "refused"]
    columns = ["table_parent", "colony_parent", "table_child", "colony_child"]
    for a, p, b, c in firm[columns].astype(int).itertuples(index=False, name=None):
        parents.setdefault((b, c), []).append((a, p))
    size = {(t, int(n)): float(r) for t, s in enumerate(sessions) for n, r in zip(s.number, s.r, strict=True)}
    eldest = {child: max(found, key=lambda p: (size[p], p[0], -p[1])) for child, found in parents.items()}
    heir: dict[Node, Node] = {}
    for child, parent in eldest.items():
        known = heir.get(parent)
        if known is None or (size[child], -child[0], -child[1]) > (size[known], -known[0], -known[1]):
            heir[parent] = child
    first = next((t for t, s in enumerate(sessions) if len(s)), 0)
    ids: dict[Node, int] = {}
    founders: dict[Node, frozenset[int]] = {}
    rows, fresh = [], 1
    for t, s in enumerate(sessions):
        for number in map(int, s.number):
            node = (t, number)
            forebear = eldest.get(node)
            if forebear is not None and heir[forebear] == node:
                ids[node] = ids[forebear]
            else:
                ids[node] = fresh
                fresh += 1
            inherited: frozenset[int] = frozenset().union(*(founders[p] for p in parents.get(node, [])))
            founders[node] = inherited | ({ids[node]} if t == first else set())
            rows.append((s.session, number, ids[node], ";".join(str(f) for f in sorted(founders[node]))))
    table = pd.DataFrame(rows, columns=["session", "colony", "colony_id", "founders"])
    return table.astype({"session": "int32", "colony": "int32", "colony_id": "int32", "founders": object})

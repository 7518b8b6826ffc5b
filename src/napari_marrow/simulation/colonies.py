"""True colonies: who touches whom, which founders are inside, and what became of a colony in the next session."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

LINK_UM = 18.0
"""Cells whose centres are nearer than this are in one colony, µm (about 1.6 cell diameters)."""

MIN_CELLS = 5
"""Smallest group that counts as a colony."""


def group_cells(points: Float, *, link_um: float = LINK_UM, min_cells: int = MIN_CELLS) -> Int:
    """Single-linkage groups of points.

    Parameters
    ----------
    points : (n, d) float64
        µm.
    link_um : float
        Largest distance of neighbours in a group, µm.
    min_cells : int
        Smaller groups get 0.

    Returns
    -------
    (n,) int64
        Group of each point, from 1 in order of decreasing size (ties by first member); 0 for none.
    """
    n = len(points)
    if n == 0:
        return np.zeros(0, np.int64)
    pairs = cKDTree(points).query_pairs(link_um, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    count, component = connected_components(graph, directed=False)
    size = np.bincount(component, minlength=count)
    order = np.argsort(-size, kind="stable")
    number = np.zeros(count, np.int64)
    kept = order[size[order] >= min_cells]
    number[kept] = np.arange(1, len(kept) + 1)
    result: Int = number[component]
    return result


def founder_sets(colony: Int, founder: Int) -> dict[int, list[int]]:
    """Founders of each colony that have two cells, or a tenth of all, in it; those with most cells first."""
    result: dict[int, list[int]] = {}
    for number in np.unique(colony[colony > 0]):
        who, count = np.unique(founder[colony == number], return_counts=True)
        enough = (count >= 2) | (count >= 0.1 * count.sum())
        order = np.argsort(-count[enough], kind="stable")
        result[int(number)] = [int(f) for f in who[enough][order]]
    return result


def descent(cells_before: Int, cells_after: Int, parent: Int) -> Int:
    """Row in `cells_before` of each later cell's ancestor (or itself), -1 where it was not there.

    Parameters
    ----------
    cells_before, cells_after : (n,), (m,) int64
        Cell ids.
    parent : (cells,) int64
        Parent id of cell id - 1, 0 for none.

    Returns
    -------
    (m,) int64
    """
    row = np.full(len(parent) + 1, -1, np.int64)
    row[cells_before] = np.arange(len(cells_before))
    ancestor = cells_after.copy()
    for _ in range(200):
        moving = (ancestor > 0) & (row[ancestor] < 0)
        if not moving.any():
            break
        ancestor[moving] = parent[ancestor[moving] - 1]
    return np.where(ancestor > 0, row[ancestor], -1)


def colony_edges(before: Int, after: Int, ancestor: Int) -> pd.DataFrame:
    """Edges between the colonies of two moments: "contains cells of".

    Parameters
    ----------
    before : (n,) int64
        Colony of each cell at the earlier moment, 0 for none.
    after : (m,) int64
        Colony of each later cell.
    ancestor : (m,) int64
        From `descent`.

    Returns
    -------
    pandas.DataFrame
        colony_parent, colony_child, n_cells, kind (same, merge, split). An edge needs two cells and a tenth of the
        child.
    """
    known = (ancestor >= 0) & (after > 0)
    source = np.where(known, before[np.maximum(ancestor, 0)], 0) if len(before) else np.zeros_like(after)
    known &= source > 0
    table = pd.DataFrame({"colony_parent": source[known], "colony_child": after[known]})
    edges = table.value_counts(["colony_parent", "colony_child"], sort=False).reset_index(name="n_cells")
    edges = edges.sort_values(["colony_parent", "colony_child"], ignore_index=True)
    sizes = np.bincount(after, minlength=1)
    share = edges["n_cells"].to_numpy() / np.maximum(sizes[edges["colony_child"].to_numpy(dtype=int)], 1)
    edges = edges[(edges["n_cells"].to_numpy() >= 2) & (share >= 0.1)].reset_index(drop=True)
    parents = edges.groupby("colony_child")["colony_parent"].transform("size").to_numpy()
    children = edges.groupby("colony_parent")["colony_child"].transform("size").to_numpy()
    edges["kind"] = np.where(parents > 1, "merge", np.where(children > 1, "split", "same"))
    return edges

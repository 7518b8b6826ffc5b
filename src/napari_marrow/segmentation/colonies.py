"""Group cells into colonies by distance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from napari_marrow.errors import SettingsError


def cluster_colonies(
    points: npt.NDArray[np.floating], *, distance: float, min_cells: int, min_neighbours: int = 1
) -> npt.NDArray[np.int32]:
    """Return the colony of every cell.

    Two cells within `distance` of each other belong to one colony if both are core cells, that is, have at least
    `min_neighbours` others within that distance. A cell that is none joins the colony of its nearest core cell within
    reach (DBSCAN, Ester et al. 1996, with `min_neighbours` not counting the cell itself).

    Parameters
    ----------
    points : float array, shape (n, 2) or (n, 3)
        Centroids, µm.
    distance : float
        µm.
    min_cells : int
        Smaller groups are no colony.
    min_neighbours : int
        1 joins whatever is in reach; 3 to 5 keeps chains of stray cells from bridging two colonies.

    Returns
    -------
    int32 array, shape (n,)
        1..k in the order in which the colonies' first cells appear, 0 for none.

    Raises
    ------
    SettingsError
        If distance or counts are not positive.
    """
    if not distance > 0 or min_cells < 1 or min_neighbours < 0:
        raise SettingsError(
            f"Colonies need a distance above 0 and min_cells of 1 or more, not {distance:g} µm and {min_cells}."
        )
    n = len(points)
    if n == 0:
        return np.zeros(0, dtype=np.int32)
    tree = cKDTree(np.asarray(points, dtype=np.float64))
    pairs = tree.query_pairs(distance, output_type="ndarray")
    core = np.bincount(pairs.ravel(), minlength=n) >= min_neighbours
    joined = pairs[core[pairs].all(axis=1)]
    graph = coo_matrix((np.ones(len(joined)), (joined[:, 0], joined[:, 1])), shape=(n, n))
    _, group = connected_components(graph, directed=False)
    group = _adopt_border_cells(np.asarray(points, dtype=np.float64), pairs, core, group)
    large = np.bincount(group, minlength=n) >= min_cells
    kept, first = np.unique(group[large[group]], return_index=True)
    number = np.zeros(n, dtype=np.int32)
    number[kept[np.argsort(first, kind="stable")]] = np.arange(1, kept.size + 1)
    return number[group]


def _adopt_border_cells(
    points: npt.NDArray[np.float64],
    pairs: npt.NDArray[np.intp],
    core: npt.NDArray[np.bool_],
    group: npt.NDArray[np.int32],
) -> npt.NDArray[np.int32]:
    """Give each cell that is not core the group of its nearest core cell in reach."""
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[~core[both[:, 0]] & core[both[:, 1]]]
    if len(both) == 0:
        return group
    gap = np.linalg.norm(points[both[:, 0]] - points[both[:, 1]], axis=1)
    order = np.lexsort((both[:, 1], gap, both[:, 0]))
    cells, first = np.unique(both[order, 0], return_index=True)
    group = group.copy()
    group[cells] = group[both[order[first], 1]]
    return group

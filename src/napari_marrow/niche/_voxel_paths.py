"""The voxels of a skeleton as a graph: neighbours, degrees, and the paths between tips and junctions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.niche.geometry import BoolArray, FloatArray


@dataclass(frozen=True)
class VoxelPaths:
    """A traced skeleton.

    Attributes
    ----------
    coordinates : ndarray (n, ndim) float64
        Voxels in scan order.
    degrees : ndarray (n,) int
        Neighbours of each voxel, diagonal ones included, those across a corner not.
    pairs : ndarray (m, 2) int
        Neighbouring voxels, each pair once.
    paths : list of ndarray int
        Voxels of each path between voxels of a degree other than 2; of a ring, its first voxel is also its last.
    """

    coordinates: FloatArray
    degrees: npt.NDArray[np.int64]
    pairs: npt.NDArray[np.int64]
    paths: list[npt.NDArray[np.int64]]


def voxel_paths(skeleton: BoolArray) -> VoxelPaths:
    """Trace a skeleton; single voxels without a neighbour have no path."""
    from scipy.spatial import cKDTree

    coordinates = np.argwhere(skeleton).astype(np.float64)
    n = len(coordinates)
    reach = np.sqrt(skeleton.ndim) + 0.01
    pairs = cKDTree(coordinates).query_pairs(reach, output_type="ndarray").astype(np.int64).reshape(-1, 2)
    pairs = _without_triangles(coordinates, pairs)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    degrees = np.bincount(both[:, 0], minlength=n)
    start = np.concatenate([[0], np.cumsum(degrees)])
    return VoxelPaths(coordinates, degrees, pairs, _walk(start.tolist(), both[:, 1].tolist(), degrees.tolist()))


def _without_triangles(coordinates: FloatArray, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Keep, among voxels with three neighbours or more, only the links of their minimum spanning tree.

    A corner's three voxels all touch; without its diagonal it is a bend and no junction.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    n = len(coordinates)
    crossing = np.bincount(pairs.ravel(), minlength=n) >= 3
    between = crossing[pairs].all(axis=1)
    inner = pairs[between]
    length = np.linalg.norm(coordinates[inner[:, 0]] - coordinates[inner[:, 1]], axis=1)
    tree = minimum_spanning_tree(coo_array((length, (inner[:, 0], inner[:, 1])), shape=(n, n))).tocoo()
    return np.concatenate([pairs[~between], np.column_stack([tree.row, tree.col]).astype(np.int64)])


def _walk(start: list[int], neighbour: list[int], degree: list[int]) -> list[npt.NDArray[np.int64]]:
    # plain lists: a walk looks at single elements, which is slow on arrays and not worth compiling
    paths: list[list[int]] = []
    inner = [False] * len(degree)

    def follow(first: int, second: int) -> list[int]:
        path = [first, second]
        while degree[path[-1]] == 2 and path[-1] != first:
            inner[path[-1]] = True
            a, b = neighbour[start[path[-1]]], neighbour[start[path[-1]] + 1]
            path.append(b if a == path[-2] else a)
        return path

    for voxel, number in enumerate(degree):
        if number == 2:
            continue
        for other in neighbour[start[voxel] : start[voxel + 1]]:
            if degree[other] != 2:
                if voxel < other:
                    paths.append([voxel, other])
            elif not inner[other]:
                paths.append(follow(voxel, other))
    for voxel, number in enumerate(degree):
        if number == 2 and not inner[voxel]:
            inner[voxel] = True
            paths.append(follow(voxel, neighbour[start[voxel]]))
    return [np.array(path, dtype=np.int64) for path in paths]

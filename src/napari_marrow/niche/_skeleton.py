"""From a vessel mask to a pruned graph of centrelines in voxels of an isotropic grid.

Junction voxels of a skeleton come in clusters; counting each as a branch point, and each one-voxel bridge between them
as a branch, is the commonest error of skeleton statistics. Here clusters are one node before anything is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.niche.distances import Field, signed_distance
from napari_marrow.niche.geometry import BoolArray, FloatArray

# A round end is where the depth falls this far (voxels) below the radius; less would take the grid's steps for the end.
_ROUNDING = 0.8


@dataclass
class Edge:
    """A centreline between two nodes: `path` (m, ndim) in voxels of the isotropic grid, from node `a` to node `b`."""

    a: int
    b: int
    path: FloatArray

    @property
    def length(self) -> float:
        """Length in voxels."""
        return float(np.linalg.norm(np.diff(self.path, axis=0), axis=1).sum())

    def from_node(self, node: int) -> FloatArray:
        """Return the path so that it begins at `node`."""
        return self.path if self.a == node else self.path[::-1]


@dataclass(frozen=True)
class IsotropicMask:
    """Mask on a grid of one voxel size.

    Attributes
    ----------
    mask : ndarray bool
    voxel : float
        µm.
    origin : ndarray (ndim,) float64
        Position of voxel (0, ...) in µm.
    """

    mask: BoolArray
    voxel: float
    origin: FloatArray


def make_isotropic(mask: BoolArray, spacing: tuple[float, ...], voxel: float | None = None) -> IsotropicMask:
    """Resample a mask by linear interpolation of its signed distance (shape-based interpolation, Raya & Udupa 1990).

    Parameters
    ----------
    mask : ndarray bool
    spacing : tuple of float
        µm per axis.
    voxel : float or None
        Target voxel size in µm; None for the smallest spacing.
    """
    from scipy import ndimage

    sampling = np.asarray(spacing)
    target = float(sampling.min()) if voxel is None else float(voxel)
    if np.allclose(sampling, target, rtol=0.02) or not mask.any():
        return IsotropicMask(mask, float(sampling.mean()) if mask.any() else target, np.zeros(mask.ndim))
    origin = 0.5 * (target - sampling)
    shape = tuple(int(n) for n in np.maximum(np.round(np.asarray(mask.shape) * sampling / target), 1))
    field = signed_distance(mask, spacing)
    if not np.isfinite(field.flat[0]):
        return IsotropicMask(np.ones(shape, dtype=bool), target, origin)
    resampled = ndimage.affine_transform(
        field, target / sampling, offset=origin / sampling, output_shape=shape, order=1, mode="nearest"
    )
    return IsotropicMask(np.ascontiguousarray(resampled < 0), target, origin)


def skeleton_of(mask: BoolArray, depth: Field) -> BoolArray:
    """Thin a mask to its centreline; vessels cut by the lateral border run on to it.

    Thinning stops a radius short of where a vessel leaves the image, or forks into its corners. The mask is therefore
    continued beyond the lateral borders, thinned, and cut back. Not in z: vessels that lie along the first or last
    plane would move out.
    """
    from napari_marrow.niche._thinning import thin

    margin = min(int(np.ceil(1.5 * float(depth.max(initial=0.0)))) + 2, 64)
    pad = [(0, 0)] * (mask.ndim - 2) + [(margin, margin)] * 2
    return np.ascontiguousarray(thin(np.pad(mask, pad, mode="edge"))[..., margin:-margin, margin:-margin])


def trace(skeleton: BoolArray) -> list[Edge]:
    """Trace a skeleton image into edges between junction clusters and tips."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    from napari_marrow.niche._voxel_paths import voxel_paths

    if not skeleton.any():
        return []
    traced = voxel_paths(skeleton)
    coordinates = traced.coordinates
    crossing = traced.degrees >= 3
    between = traced.pairs[crossing[traced.pairs].all(axis=1)]
    n = len(coordinates)
    links = coo_array((np.ones(len(between)), (between[:, 0], between[:, 1])), shape=(n, n))
    _, cluster = connected_components(links, directed=False)
    size = np.bincount(cluster)
    centre = np.stack([np.bincount(cluster, weights=c) / size for c in coordinates.T], axis=1)
    edges = []
    for voxels in traced.paths:
        a, b = int(cluster[voxels[0]]), int(cluster[voxels[-1]])
        if a == b and crossing[voxels[0]] and crossing[voxels].all():
            continue  # a bridge within a junction cluster
        path = coordinates[voxels].copy()
        path[0], path[-1] = centre[a], centre[b]
        edges.append(Edge(a, b, path))
    return edges


def degrees(edges: list[Edge]) -> dict[int, int]:
    """Degree of each node; a loop counts twice at its node."""
    count: dict[int, int] = {}
    for edge in edges:
        count[edge.a] = count.get(edge.a, 0) + 1
        count[edge.b] = count.get(edge.b, 0) + 1
    return count


def prune(edges: list[Edge], depth: Field, *, shortest: float, radius_factor: float, reach: float) -> list[Edge]:
    """Remove side twigs that are shorter than `shortest` or than the vessel is wide, then free bits and tiny loops.

    Parameters
    ----------
    edges : list of Edge
    depth : ndarray float32
        Depth inside the vessel, voxels.
    shortest : float
        Pruning length, voxels.
    radius_factor : float
        Twigs shorter than this times the radius at their junction are bumps of the wall.
    reach : float
        Tips nearer to the image border than this (voxels) are cut vessels and stay.

    Notes
    -----
    Per round only the shortest twig of each junction goes and the rest is joined up, so that a vessel's end that forks
    within the pruning length keeps one of its two ends.
    """
    while True:
        degree = degrees(edges)
        worst: dict[int, tuple[float, int]] = {}
        for k, edge in enumerate(edges):
            for tip, junction in ((edge.a, edge.b), (edge.b, edge.a)):
                if degree[tip] != 1 or degree[junction] < 3:
                    continue
                end, root = edge.from_node(tip)[[0, -1]]
                limit = max(shortest, radius_factor * float(depth[tuple(np.round(root).astype(int))]))
                length = edge.length
                if length < limit and not near_border(end, depth.shape, reach):
                    worst[junction] = min(worst.get(junction, (np.inf, -1)), (length, k))
        if not worst:
            break
        gone = {k for _, k in worst.values()}
        edges = join([e for k, e in enumerate(edges) if k not in gone])
    return [e for e in edges if _is_vessel(e, degree, depth, shortest, reach)]


def _is_vessel(edge: Edge, degree: dict[int, int], depth: Field, shortest: float, reach: float) -> bool:
    if edge.length >= shortest:
        return True
    if edge.a == edge.b:
        return False
    free = degree[edge.a] == 1 and degree[edge.b] == 1
    return not free or any(near_border(p, depth.shape, reach) for p in edge.path[[0, -1]])


def contract(edges: list[Edge], depth: Field, *, factor: float = 2.0) -> list[Edge]:
    """Make one node of junctions that lie closer together than the vessel is wide (`factor` radii).

    Where thick vessels cross, thinning leaves a little mesh of short bridges; within one diameter it is no anatomy.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    degree = degrees(edges)
    short = []
    for k, edge in enumerate(edges):
        middle = edge.path[len(edge.path) // 2]
        width = float(depth[tuple(np.clip(np.round(middle).astype(int), 0, np.asarray(depth.shape) - 1))])
        if min(degree[edge.a], degree[edge.b]) >= 3 and edge.length < factor * max(width, 2.0):
            short.append(k)
    if not short:
        return edges
    nodes = {node: i for i, node in enumerate(sorted(degree))}
    place = np.zeros((len(nodes), depth.ndim))
    for edge in edges:
        place[nodes[edge.a]], place[nodes[edge.b]] = edge.path[0], edge.path[-1]
    a, b = ([nodes[getattr(edges[k], end)] for k in short] for end in "ab")
    links = coo_array((np.ones(len(a)), (a, b)), shape=(len(nodes),) * 2)
    _, group = connected_components(links, directed=False)
    centre = np.stack([np.bincount(group, weights=c) for c in place.T], axis=1) / np.bincount(group)[:, None]
    merged, dropped = [], set(short)
    for k, edge in enumerate(edges):
        first, second = int(group[nodes[edge.a]]), int(group[nodes[edge.b]])
        if k in dropped:
            continue
        path = edge.path.copy()
        path[0], path[-1] = centre[first], centre[second]
        merged.append(Edge(first, second, path))
    return merged


def drop_false_loops(edges: list[Edge], depth: Field) -> list[Edge]:
    """Drop loops too short to go round a hole: a centreline round a hole is longer than 2π radii of its vessel.

    3D thinning now and then leaves such loops inside solid crossings. Of two parallel edges the shorter one stays.
    """
    # Smoothed, because voxel steps make a short path up to a quarter longer than it is.
    lengths = [Edge(e.a, e.b, smooth(e.path, 2.0, closed=False)).length for e in edges]
    shortest: dict[tuple[int, int], float] = {}
    kept = []
    for k in np.argsort(lengths, kind="stable"):
        edge, length = edges[k], lengths[k]
        points = np.round(edge.path[[0, len(edge.path) // 2]]).astype(int)
        width = float(depth[tuple(np.clip(points, 0, np.asarray(depth.shape) - 1).T)].max())
        pair = (min(edge.a, edge.b), max(edge.a, edge.b))
        around = length if edge.a == edge.b else length + shortest.get(pair, np.inf)
        if around < 2 * np.pi * width:
            continue
        shortest.setdefault(pair, length)
        kept.append(edge)
    return kept


def near_border(point: FloatArray, shape: tuple[int, ...], reach: float) -> bool:
    """Whether a point (voxels) lies within `reach` of the outer face of the image."""
    return bool((point + 0.5 <= reach).any() or (np.asarray(shape) - 0.5 - point <= reach).any())


def join(edges: list[Edge]) -> list[Edge]:
    """Join the two edges of every node of degree 2."""
    at: dict[int, list[int]] = {}
    pool: dict[int, Edge] = dict(enumerate(edges))
    for k, edge in pool.items():
        at.setdefault(edge.a, []).append(k)
        at.setdefault(edge.b, []).append(k)
    fresh = len(edges)
    for node in list(at):
        meeting = at[node]
        if len(meeting) != 2 or meeting[0] == meeting[1]:
            continue
        first, second = pool.pop(meeting[0]), pool.pop(meeting[1])
        a = first.b if first.a == node else first.a
        b = second.b if second.a == node else second.a
        path = np.concatenate([first.from_node(node)[::-1], second.from_node(node)[1:]])
        pool[fresh] = Edge(a, b, path)
        del at[node]
        for end, old in ((a, meeting[0]), (b, meeting[1])):
            if end in at:
                at[end][at[end].index(old)] = fresh
        fresh += 1
    return list(pool.values())


def smooth(path: FloatArray, sigma: float, *, closed: bool) -> FloatArray:
    """Gaussian smoothing along a path, `sigma` in vertices; ends stay where they are, a closed path stays closed.

    Open paths are continued by point reflection at their ends, which leaves straight lines straight up to the last
    vertex.
    """
    from scipy import ndimage

    n = len(path)
    if n < 3 or sigma <= 0:
        return path
    if closed:
        ring = ndimage.gaussian_filter1d(path[:-1], sigma, axis=0, mode="wrap")
        return np.concatenate([ring, ring[:1]])
    reach = min(int(4 * sigma) + 1, n - 1)
    before = 2 * path[0] - path[1 : reach + 1][::-1]
    after = 2 * path[-1] - path[-reach - 1 : -1][::-1]
    extended = ndimage.gaussian_filter1d(np.concatenate([before, path, after]), sigma, axis=0, mode="nearest")
    result: npt.NDArray[np.float64] = extended[reach : reach + n]
    result[0], result[-1] = path[0], path[-1]
    return result


def run_on(
    path: FloatArray, holds: Callable[[FloatArray], BoolArray], depth: Field, width: float, reach: float
) -> tuple[FloatArray, bool]:
    """Continue the last direction of a path: to the window's edge if the vessel is cut there, else to its round end.

    Thinning stops short of both. A round end is where the depth begins to fall below the radius.

    Parameters
    ----------
    path : ndarray (m, ndim)
        Voxels.
    holds : callable
        Says which of the points (k, ndim), in voxels, lie in the window.
    depth : ndarray float32
        Depth inside the vessel, voxels.
    width : float
        Radius of the vessel, voxels.
    reach : float
        Longest continuation, voxels.

    Returns
    -------
    path : ndarray (m or m + 1, ndim)
    cut : bool
        Whether the window ends there.
    """
    path = path[: len(path) - _overshoot(path, depth, width, reach)]
    direction = path[-1] - path[max(len(path) - 8, 0)]
    norm = float(np.linalg.norm(direction))
    if norm == 0:
        return path, False
    steps = np.arange(0.0, reach + 0.25, 0.25)
    ray = path[-1] + steps[:, None] * direction / norm
    out = np.flatnonzero(~holds(ray))
    index = np.clip(np.round(ray).astype(int), 0, np.asarray(depth.shape) - 1)
    within = depth[tuple(index.T)]
    wall = np.flatnonzero(within <= 0)
    # Cut: the vessel itself reaches the window's edge, give or take a voxel.
    cut = len(out) > 0 and (len(wall) == 0 or int(out[0]) <= int(wall[0]) + 4)
    stops = out if cut else np.flatnonzero(within < width - _ROUNDING)
    last = max(int(stops[0]) - 1, 0) if len(stops) else 0
    return (np.concatenate([path, ray[last : last + 1]]) if last else path), cut


def _overshoot(path: FloatArray, depth: Field, width: float, reach: float) -> int:
    """Count the last vertices that lie in the round end: there the centreline wanders towards the wall."""
    n = min(int(reach), len(path) // 2)
    if n < 1:
        return 0
    index = np.clip(np.round(path[-n:]).astype(int), 0, np.asarray(depth.shape) - 1)
    deep = np.flatnonzero(depth[tuple(index.T)] >= width - _ROUNDING)
    return n - 1 - int(deep[-1]) if len(deep) else 0

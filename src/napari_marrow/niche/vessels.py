"""Vessel graph: length, branch points, tips, loops, radius and tortuosity of a vessel mask, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError
from napari_marrow.niche._skeleton import (
    Edge,
    IsotropicMask,
    contract,
    degrees,
    drop_false_loops,
    join,
    make_isotropic,
    prune,
    run_on,
    skeleton_of,
    smooth,
    trace,
)
from napari_marrow.niche.distances import Field
from napari_marrow.niche.geometry import BoolArray, FloatArray, as_mask, as_spacing, inside, measure_of

_AXES = ("z", "y", "x")


@dataclass(frozen=True)
class VesselSettings:
    """How a mask becomes a graph.

    Attributes
    ----------
    prune_um : float
        Pruning length: shorter side twigs, free bits and loops are no vessels, µm. State it with every count.
    radius_factor : float
        Side twigs shorter than this times the vessel's radius are bumps of the wall.
    merge_factor : float
        Branch points nearer to each other than this times the vessel's radius are one; where thick vessels cross,
        thinning leaves a mesh of short bridges.
    smoothing : float
        Smoothing of the centreline along itself, voxels of the isotropic grid (standard deviation, at least half the
        radius).
    voxel_um : float or None
        Voxel size of the isotropic grid; None for the smallest spacing.
    min_chord_um : float
        Branches with a shorter chord have no tortuosity, µm.
    """

    prune_um: float = 10.0
    radius_factor: float = 1.5
    merge_factor: float = 2.0
    smoothing: float = 2.0
    voxel_um: float | None = None
    min_chord_um: float = 10.0

    def __post_init__(self) -> None:
        if min(self.prune_um, self.radius_factor, self.merge_factor, self.smoothing, self.min_chord_um) < 0:
            raise SettingsError(f"Vessel settings must not be negative: {self}.")
        if self.voxel_um is not None and not self.voxel_um > 0:
            raise SettingsError(f"voxel_um is {self.voxel_um}: give a positive voxel size in µm.")


@dataclass(frozen=True)
class VesselGraph:
    """A vessel network and what is counted on it.

    Attributes
    ----------
    nodes : DataFrame
        node, (z,) y, x (µm), degree, kind: junction, tip (a blind end), cut (at the window's edge), ring (closed
        vessel).
    branches : DataFrame
        branch, node_a, node_b, length (µm), chord (µm), tortuosity (arc/chord, NaN for loops and short chords), radius
        (length-weighted mean, µm), radius_min, radius_max, kind: inner, tip, cut, loop.
    vertices : DataFrame
        branch, vertex, (z,) y, x, radius (µm), inside (whether it lies in the tissue): the centrelines, for maps and
        layers.
    ndim : int
    measure : float
        |W|, area in µm² (2D) or volume in µm³ (3D) of the tissue.
    length : float
        Total centreline length within the tissue, µm.
    n_components : int
    settings : VesselSettings
    """

    nodes: pd.DataFrame
    branches: pd.DataFrame
    vertices: pd.DataFrame
    ndim: int
    measure: float
    length: float
    n_components: int
    settings: VesselSettings = field(default_factory=VesselSettings)

    @property
    def length_density(self) -> float:
        """Length per tissue: mm/mm² in 2D, mm/mm³ in 3D; NaN without tissue."""
        return _ratio(self.length, self.measure) * (1e3 if self.ndim == 2 else 1e6)

    @property
    def length_density_unit(self) -> str:
        """Unit of `length_density`."""
        return "mm/mm²" if self.ndim == 2 else "mm/mm³"

    @property
    def n_branch_points(self) -> int:
        """Nodes of degree 3 or more, each junction cluster once."""
        return int((self.nodes["kind"] == "junction").sum())

    @property
    def branch_density(self) -> float:
        """Branch points per mm² (2D) or mm³ (3D)."""
        return _ratio(self.n_branch_points, self.measure) * (1e6 if self.ndim == 2 else 1e9)

    @property
    def n_tips(self) -> int:
        """Blind ends; ends cut by the window are not counted."""
        return int((self.nodes["kind"] == "tip").sum())

    @property
    def n_loops(self) -> int:
        """First Betti number E - V + C of the network."""
        return len(self.branches) - len(self.nodes) + self.n_components

    @property
    def mean_radius(self) -> float:
        """Length-weighted mean radius, µm; NaN without vessels."""
        lengths = self.branches["length"].to_numpy()
        return _ratio(float((lengths * self.branches["radius"].to_numpy()).sum()), float(lengths.sum()))

    @property
    def mean_tortuosity(self) -> float:
        """Length-weighted mean of arc/chord over branches that have one; NaN if none has."""
        known = self.branches[self.branches["tortuosity"].notna()]
        weight = known["length"].to_numpy()
        return _ratio(float((weight * known["tortuosity"].to_numpy()).sum()), float(weight.sum()))

    def segments(self) -> tuple[FloatArray, FloatArray]:
        """Direction times length of every centreline segment in the tissue (s, ndim) and its length (s,), µm."""
        points, same = self._joined()
        step = np.diff(points, axis=0)[same]
        return step, np.linalg.norm(step, axis=1)

    def segment_middles(self) -> FloatArray:
        """Middle (s, ndim) of every segment that `segments` gives, µm."""
        points, same = self._joined()
        return np.asarray(0.5 * (points[1:] + points[:-1])[same])

    def _joined(self) -> tuple[FloatArray, BoolArray]:
        points = self.vertices[list(_AXES[3 - self.ndim :])].to_numpy(dtype=np.float64)
        branch = self.vertices["branch"].to_numpy()
        held = self.vertices["inside"].to_numpy(dtype=bool)
        return points, (branch[1:] == branch[:-1]) & held[1:] & held[:-1]


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else float("nan")


def vessel_graph(
    mask: npt.ArrayLike,
    spacing: Sequence[float],
    *,
    tissue: npt.ArrayLike | None = None,
    settings: VesselSettings | None = None,
) -> VesselGraph:
    """Turn a vessel mask into a graph of smoothed centrelines.

    Parameters
    ----------
    mask : array bool (Y, X) or (Z, Y, X)
    spacing : sequence of float
        µm per axis.
    tissue : array bool or None
        Length is counted within it and divided by its area or volume: it must hold the vessels too. None for the whole
            image.
    settings : VesselSettings or None

    Returns
    -------
    VesselGraph
        Without nodes and branches for an empty mask.

    Raises
    ------
    SettingsError
        If shapes do not fit.

    Notes
    -----
    Isotropic resampling by shape-based interpolation, homotopic thinning in six directions,
    junction clusters merged, twigs pruned, Gaussian smoothing of the centrelines.
    Counting skeleton voxels errs by -17 %, voxel paths by +9 %, paths at 4:1 spacing by +19 %. Ends at the window's
    edge are run on to it and are no tips.
    """
    chosen = settings or VesselSettings()
    vessel = as_mask(mask, "vessel mask")
    sampling = as_spacing(spacing, vessel.ndim)
    held = np.ones(vessel.shape, dtype=bool) if tissue is None else as_mask(tissue, "tissue mask")
    if held.shape != vessel.shape:
        raise SettingsError(f"Vessel mask {vessel.shape} and tissue mask {held.shape} differ in shape.")
    window, measure = held, measure_of(held, sampling)
    iso = make_isotropic(vessel, sampling, chosen.voxel_um)
    edges, depth = _pruned_edges(iso, chosen)
    return _assemble(edges, depth, iso, window, sampling, measure, chosen)


def _pruned_edges(iso: IsotropicMask, chosen: VesselSettings) -> tuple[list[Edge], Field]:
    import edt

    if not iso.mask.any():
        return [], np.zeros(iso.mask.shape, dtype=np.float32)
    # Depth in voxels; the border is no wall: a vessel cut by it is as wide as what is seen.
    depth: Field = np.minimum(edt.edt(iso.mask, parallel=1), np.float32(max(iso.mask.shape)))
    # From the last centre inside to the wall are 0.5 voxels where it lies along the grid and next to 0 where it does
    # not.
    depth = np.maximum(depth - np.float32(0.25), np.float32(0.0))
    edges = join(trace(skeleton_of(iso.mask, depth)))
    reach = 2.0 if iso.mask.ndim == 2 else 3.0
    # Twigs go first: contracting their roots would chain distant junctions of a bumpy wall together.
    for _ in range(2):
        edges = prune(
            edges, depth, shortest=chosen.prune_um / iso.voxel, radius_factor=chosen.radius_factor, reach=reach
        )
        edges = join(drop_false_loops(contract(join(edges), depth, factor=chosen.merge_factor), depth))
    return edges, depth


def _assemble(
    edges: list[Edge],
    depth: Field,
    iso: IsotropicMask,
    window: BoolArray,
    spacing: tuple[float, ...],
    measure: float,
    chosen: VesselSettings,
) -> VesselGraph:
    def holds(voxels: FloatArray) -> BoolArray:
        return inside(voxels * iso.voxel + iso.origin, window, spacing)

    degree = degrees(edges)
    number = {node: k for k, node in enumerate(sorted(degree))}
    ends: dict[int, FloatArray] = {}
    cut: set[int] = set()
    branches: list[dict[str, object]] = []
    vertices: list[pd.DataFrame] = []
    for k, edge in enumerate(edges):
        path, radius_voxels = _centreline(edge, degree, depth, cut, chosen, holds)
        points = path * iso.voxel + iso.origin
        radius = radius_voxels * iso.voxel
        ends[edge.a], ends[edge.b] = points[0], points[-1]
        held = inside(points, window, spacing)
        branches.append(_branch_row(k, edge, number, degree, cut, points, radius, chosen))
        columns = dict(zip(_AXES[3 - depth.ndim :], points.T, strict=True))
        vertices.append(
            pd.DataFrame({"branch": k, "vertex": np.arange(len(points)), **columns, "radius": radius, "inside": held})
        )
    nodes = _node_table(ends, degree, number, cut, edges, depth.ndim)
    table = pd.concat(vertices, ignore_index=True) if vertices else _no_vertices(depth.ndim)
    graph = VesselGraph(
        nodes, pd.DataFrame(branches, columns=list(_BRANCH_COLUMNS)), table, depth.ndim, measure, 0.0,
        _components(edges, number), chosen,
    )  # fmt: skip
    length = float(graph.segments()[1].sum())
    return VesselGraph(nodes, graph.branches, table, depth.ndim, measure, length, graph.n_components, chosen)


_BRANCH_COLUMNS = (
    "branch", "node_a", "node_b", "length", "chord", "tortuosity", "radius", "radius_min", "radius_max", "kind",
)  # fmt: skip


def _centreline(
    edge: Edge,
    degree: dict[int, int],
    depth: Field,
    cut: set[int],
    chosen: VesselSettings,
    holds: Callable[[FloatArray], BoolArray],
) -> tuple[FloatArray, FloatArray]:
    """Smooth an edge's path, run ends that the window cuts on to its edge, and read the radius (all in voxels)."""
    index = np.clip(np.round(edge.path).astype(int), 0, np.asarray(depth.shape) - 1)
    width = float(np.median(depth[tuple(index.T)]))
    ring = edge.a == edge.b and degree[edge.a] == 2
    path = smooth(edge.path, max(chosen.smoothing, 0.5 * width), closed=ring)
    for node, last in ((edge.a, False), (edge.b, True)):
        if degree[node] != 1:
            continue
        oriented = path if last else path[::-1]
        on, at_window = run_on(oriented, holds, depth, width, 1.5 * width + 3.0)
        if at_window:
            cut.add(node)
        path = on if last else on[::-1]
    return path, _radius_along(path, depth)


def _radius_along(path: FloatArray, depth: Field) -> FloatArray:
    """Read the depth at the ridge next to each vertex: thinning leaves the centreline up to a voxel beside it."""
    from scipy import ndimage

    size = np.asarray(depth.shape)
    centre = np.clip(np.round(path).astype(int), 0, size - 1)
    best = np.zeros(len(path))
    for offset in np.ndindex((3,) * depth.ndim):
        index = np.clip(centre + np.asarray(offset) - 1, 0, size - 1)
        best = np.maximum(best, depth[tuple(index.T)])
    return np.asarray(ndimage.uniform_filter1d(best, min(5, len(best)), mode="nearest"))


def _branch_row(
    k: int,
    edge: Edge,
    number: dict[int, int],
    degree: dict[int, int],
    cut: set[int],
    points: FloatArray,
    radius: FloatArray,
    chosen: VesselSettings,
) -> dict[str, object]:
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    length = float(steps.sum())
    chord = float(np.linalg.norm(points[-1] - points[0]))
    straight = edge.a != edge.b and chord >= chosen.min_chord_um
    weighted = float((0.5 * (radius[1:] + radius[:-1]) * steps).sum())
    if edge.a == edge.b:
        kind = "loop"
    elif edge.a in cut or edge.b in cut:
        kind = "cut"
    else:
        kind = "tip" if 1 in (degree[edge.a], degree[edge.b]) else "inner"
    return {
        "branch": k, "node_a": number[edge.a], "node_b": number[edge.b], "length": length, "chord": chord,
        "tortuosity": length / chord if straight else float("nan"),
        "radius": _ratio(weighted, length), "radius_min": float(radius.min()), "radius_max": float(radius.max()),
        "kind": kind,
    }  # fmt: skip


def _node_table(
    ends: dict[int, FloatArray],
    degree: dict[int, int],
    number: dict[int, int],
    cut: set[int],
    edges: list[Edge],
    ndim: int,
) -> pd.DataFrame:
    rows = []
    for node, k in number.items():
        kind = "junction" if degree[node] >= 3 else "tip"
        if degree[node] == 2:
            kind = "ring"
        elif node in cut:
            kind = "cut"
        rows.append(
            {"node": k, **dict(zip(_AXES[3 - ndim :], ends[node], strict=True)), "degree": degree[node], "kind": kind}
        )
    return pd.DataFrame(rows, columns=["node", *_AXES[3 - ndim :], "degree", "kind"])


def _no_vertices(ndim: int) -> pd.DataFrame:
    columns = ["branch", "vertex", *_AXES[3 - ndim :], "radius", "inside"]
    return pd.DataFrame({c: np.zeros(0, dtype=bool if c == "inside" else np.float64) for c in columns})


def _components(edges: list[Edge], number: dict[int, int]) -> int:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not edges:
        return 0
    a = [number[e.a] for e in edges]
    b = [number[e.b] for e in edges]
    links = coo_array((np.ones(len(a)), (a, b)), shape=(len(number), len(number)))
    return int(connected_components(links, directed=False)[0])

"""Vessel networks: sprouts that branch, wander and fuse, as a graph of centrelines with radii."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.simulation.raster import tube_distance
from napari_marrow.simulation.scenario import Geometry
from napari_marrow.simulation.tissue import Tissue, sample_grid

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

NEAR_UM = 60.0
"""Distance up to which the field around vessels is computed exactly, µm."""

STEP_UM = 4.0
"""Length of a straight piece of a centreline."""


@dataclass(frozen=True)
class VesselGraph:
    """Centrelines between branch points and tips.

    Attributes
    ----------
    paths : tuple of (n, 3) float64
        Points z, y, x of each edge in µm; first and last point are its nodes.
    radii : tuple of float
        Radius of each edge, µm.
    ends : (edges, 2) int64
        Node numbers of each edge.
    nodes : (nodes, 3) float64
        Places of nodes, µm.
    """

    paths: tuple[Float, ...]
    radii: tuple[float, ...]
    ends: npt.NDArray[np.int64]
    nodes: Float

    @property
    def lengths(self) -> Float:
        """Length of each edge, µm."""
        return np.array([np.linalg.norm(np.diff(p, axis=0), axis=1).sum() for p in self.paths])

    def pieces(self) -> tuple[Float, Float, Float]:
        """Return starts (n, 3), ends (n, 3) and radii (n,) of all straight pieces, µm."""
        if not self.paths:
            return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0)
        radii = [np.full(len(p) - 1, r) for p, r in zip(self.paths, self.radii, strict=True)]
        return (
            np.concatenate([p[:-1] for p in self.paths]),
            np.concatenate([p[1:] for p in self.paths]),
            np.concatenate(radii),
        )

    def edge_table(self) -> pd.DataFrame:
        """One row per edge: edge, node_a, node_b, length (µm), radius (µm)."""
        return pd.DataFrame(
            {
                "edge": np.arange(1, len(self.paths) + 1, dtype=np.int32),
                "node_a": self.ends[:, 0].astype(np.int32),
                "node_b": self.ends[:, 1].astype(np.int32),
                "length": self.lengths,
                "radius": np.array(self.radii, dtype=float),
            }
        )

    def point_table(self) -> pd.DataFrame:
        """One row per point of a centreline: edge, point, z, y, x (µm)."""
        counts = [len(p) for p in self.paths]
        points = np.concatenate(self.paths) if self.paths else np.zeros((0, 3))
        return pd.DataFrame(
            {
                "edge": np.repeat(np.arange(1, len(counts) + 1, dtype=np.int32), counts),
                "point": np.concatenate([np.arange(c, dtype=np.int32) for c in counts] or [np.zeros(0, np.int32)]),
                "z": points[:, 0],
                "y": points[:, 1],
                "x": points[:, 2],
            }
        )


def distance_to_vessels(graph: VesselGraph, shape: tuple[int, ...], origin: Float, spacing: Float) -> Float32:
    """Signed distance in µm to the vessels' surface on a grid (negative in the lumen), at most 400 µm."""
    spacing, origin = np.asarray(spacing, float), np.asarray(origin, float)
    pieces = graph.pieces()
    near = np.full(shape, 400.0, np.float32)
    tube_distance(*pieces, spacing, origin, NEAR_UM, near)
    # Far away the distance is nearly linear: a grid four times coarser, interpolated, is good to 0.2 µm.
    coarse_spacing = spacing * np.where(np.array(shape) > 1, 4.0, 1.0)
    coarse = np.full([(n - 1) // 4 + 2 if n > 1 else 1 for n in shape], 400.0, np.float32)
    tube_distance(*pieces, coarse_spacing, origin, 400.0, coarse)
    places = np.indices(shape).reshape(3, -1)[:, far] if (far := (near >= NEAR_UM).ravel()).any() else None
    if places is not None:
        near.ravel()[far] = sample_grid(coarse, places.T * spacing, np.zeros(3), coarse_spacing)
    return near


class _Network:
    """Growing network: polylines, each with the (line, point) that it starts and ends on."""

    def __init__(self, tissue: Tissue, depth: float) -> None:
        self.tissue = tissue
        self.depth = depth
        self.lines: list[Float] = []
        self.radii: list[float] = []
        self.joints: list[list[tuple[int, int] | None]] = []

    def length(self) -> float:
        return float(sum(np.linalg.norm(np.diff(p, axis=0), axis=1).sum() for p in self.lines))

    def _blocked(self, point: Float) -> bool:
        if not 0.0 <= point[0] <= max(self.depth, 0.0):
            return True
        if self.tissue.outline.depth(np.array(point[1]), np.array(point[2])) < 0:
            return True
        return bool(self.tissue.sample(self.tissue.scaffold, point[None])[0] < 3.0)

    def _touched(self, point: Float, skip: int | None) -> tuple[int, int] | None:
        for number, line in enumerate(self.lines):
            if number == skip:
                continue
            distance = np.linalg.norm(line - point, axis=1)
            nearest = int(distance.argmin())
            if distance[nearest] < STEP_UM:
                return number, nearest
        return None

    def walk(
        self, start: Float, direction: Float, radius: float, joint: tuple[int, int] | None, budget: float,
        wiggle: float, rng: np.random.Generator,
    ) -> bool:  # fmt: skip
        """Grow a line until it fuses, leaves the tissue, meets scaffold or spends its budget; keep long ones."""
        points = [start]
        end: tuple[int, int] | None = None
        flat = self.depth <= 0
        while (len(points) - 1) * STEP_UM < budget:
            kick = rng.normal(0.0, wiggle, 3)
            if flat:
                kick[0] = 0.0
            direction = direction + kick
            direction = direction / np.linalg.norm(direction)
            point = points[-1] + STEP_UM * direction
            if self._blocked(point):
                break
            end = self._touched(point, joint[0] if joint and len(points) * STEP_UM < 25.0 else None)
            points.append(self.lines[end[0]][end[1]].copy() if end else point)
            if end:
                break
        if len(points) < 8:
            return False
        self.lines.append(np.array(points))
        self.radii.append(radius)
        self.joints.append([joint, end])
        return True

    def split(self) -> VesselGraph:
        """Cut lines at every point on which another starts or ends, and number the nodes."""
        cuts: list[set[int]] = [{0, len(line) - 1} for line in self.lines]
        for pair in self.joints:
            for joint in pair:
                if joint is not None:
                    cuts[joint[0]].add(joint[1])
        places: dict[tuple[float, float, float], int] = {}
        paths: list[Float] = []
        radii: list[float] = []
        ends: list[tuple[int, int]] = []
        for line, radius, marks in zip(self.lines, self.radii, cuts, strict=True):
            order = sorted(marks)
            for a, b in pairwise(order):
                numbers = [places.setdefault(tuple(np.round(line[k], 6)), len(places)) for k in (a, b)]
                paths.append(line[a : b + 1])
                radii.append(radius)
                ends.append((numbers[0], numbers[1]))
        nodes = np.array(list(places), dtype=float).reshape(-1, 3)
        return VesselGraph(tuple(paths), tuple(radii), np.array(ends, dtype=np.int64).reshape(-1, 2), nodes)


def grow_vessels(geometry: Geometry, tissue: Tissue, rng: np.random.Generator) -> VesselGraph:
    """Grow a network until its length density reaches `geometry.vessel_density` (within one sprout).

    Parameters
    ----------
    geometry : Geometry
    tissue : Tissue
    rng : numpy.random.Generator

    Returns
    -------
    VesselGraph
        In the tissue's coordinates, µm.
    """
    depth = geometry.depth_um
    size = tissue.outline.area * (max(depth, 1e-9) * 1e-3 if depth > 0 else 1.0)
    target = geometry.vessel_density * size * 1e-3  # mm/mm² x µm² = 1e-3 µm; mm/mm³ x µm³ = 1e-6 µm
    net = _Network(tissue, depth)
    big, centre = 0.0, np.array([depth / 2, *tissue.outline.centre])
    for _ in range(3000):
        left = target - net.length()
        if left < 8 * STEP_UM:
            break
        sinusoid = big < geometry.sinusoid_fraction * target
        low, high = geometry.sinusoid_diameter_um if sinusoid else geometry.sprout_diameter_um
        radius = 0.5 * rng.uniform(low, high)
        angle = rng.uniform(0, 2 * np.pi)
        joint: tuple[int, int] | None = None
        if net.lines and not sinusoid and rng.random() < 0.75:
            line = int(rng.integers(len(net.lines)))
            point = int(rng.integers(1, len(net.lines[line]) - 1))
            joint, start = (line, point), net.lines[line][point].copy()
            tangent = net.lines[line][point + 1] - net.lines[line][point - 1]
            angle = np.arctan2(tangent[1], tangent[2]) + rng.choice([-1, 1]) * rng.uniform(0.8, 1.57)
        else:
            rim = 0.97 * float(tissue.outline.radius_at(np.array(angle)))
            start = centre + rim * np.array([0.0, np.sin(angle), np.cos(angle)])
            start[0] = rng.uniform(0, depth) if depth > 0 else 0.0
            angle = angle + np.pi + rng.normal(0, 0.4)
        tilt = rng.normal(0, 0.3) if depth > 0 else 0.0
        direction = np.array([np.sin(tilt), np.cos(tilt) * np.sin(angle), np.cos(tilt) * np.cos(angle)])
        if net.walk(start, direction, radius, joint, left, 0.06 if sinusoid else 0.16, rng) and sinusoid:
            big += len(net.lines[-1]) * STEP_UM
    return net.split()

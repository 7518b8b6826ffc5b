"""Life of one organoid from seeding to its last frame, recorded where it is imaged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.progress import CancelToken
from napari_marrow.simulation.kinetics import ALIVE, Population, log_normal, seed_founders, step_fates
from napari_marrow.simulation.motion import cohesion, random_directions, separate, wander
from napari_marrow.simulation.scenario import Effect, Scenario
from napari_marrow.simulation.tissue import Tissue, grow_tissue
from napari_marrow.simulation.vessels import VesselGraph, distance_to_vessels, grow_vessels

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int = npt.NDArray[np.int64]

DENSE_STEP_H, SPARSE_STEP_H = 0.5, 1.0
"""Longest time steps within and between dense sessions, h."""


@dataclass(frozen=True)
class Snapshot:
    """Living blood cells at one moment: indices into the population (n,) and places (n, 3) z, y, x in µm."""

    cells: Int
    positions: Float


@dataclass(frozen=True)
class StaticNuclei:
    """Endothelial and stromal nuclei, which neither move nor divide.

    Attributes
    ----------
    positions : (n, 3) float64
        µm.
    angles : (n,) float64
        rad.
    endothelial : (n,) bool
        Else stromal.
    """

    positions: Float
    angles: Float
    endothelial: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class OrganoidHistory:
    """Everything about one organoid but its pixels.

    Attributes
    ----------
    tissue : Tissue
    vessels : VesselGraph
    vessel_distance : (Z, Y, X) float32
        Signed distance to the vessels on the tissue's grid, µm.
    static : StaticNuclei
    population : Population
        All blood cells that ever lived.
    snapshots : dict of float to Snapshot
        By time in h.
    """

    tissue: Tissue
    vessels: VesselGraph
    vessel_distance: Float32
    static: StaticNuclei
    population: Population
    snapshots: dict[float, Snapshot]


def live(
    scenario: Scenario, effect: Effect, times_h: Float, *, seed: int, commitment_factor: float = 1.0,
    founder_factor: float = 1.0, cancel: CancelToken | None = None,
) -> OrganoidHistory:  # fmt: skip
    """Simulate one organoid and keep its cells at the given times.

    Parameters
    ----------
    scenario : Scenario
    effect : Effect
        What its condition does.
    times_h : (n,) float64
        Moments to record, h since seeding.
    seed : int
    commitment_factor, founder_factor : float
        Random effects of organoid and batch.
    cancel : CancelToken, optional

    Returns
    -------
    OrganoidHistory

    Raises
    ------
    Cancelled
        When asked to stop; nothing is kept.
    """
    rng = np.random.default_rng(seed)
    shape, spacing = scenario.imaging.shape, scenario.imaging.spacing_um
    middle = (0.5 * (shape[1] - 1) * spacing[1], 0.5 * (shape[2] - 1) * spacing[2])
    tissue = grow_tissue(scenario.geometry, middle, rng)
    vessels = grow_vessels(scenario.geometry, tissue, rng)
    distance = distance_to_vessels(vessels, tissue.scaffold.shape, tissue.origin, tissue.spacing)
    static = _static_nuclei(scenario, tissue, vessels, rng)
    n = max(1, round(scenario.geometry.founders_per_mm2 * tissue.outline.area * 1e-6 * founder_factor))
    crowd = _Crowd(scenario, tissue, distance, static, n, rng)
    wanted = np.unique(np.asarray(times_h, dtype=float))
    snapshots: dict[float, Snapshot] = {}
    now = 0.0
    for target in wanted:
        while target - now > 1e-9:
            if cancel is not None:
                cancel.raise_if_cancelled()
            step = min(_longest_step(scenario, now), target - now)
            crowd.advance(now, step, effect, commitment_factor)
            now += step
        now = float(target)
        snapshots[now] = Snapshot(crowd.alive.copy(), crowd.positions[crowd.alive].copy())
    return OrganoidHistory(tissue, vessels, distance, static, crowd.cells, snapshots)


def _longest_step(scenario: Scenario, now: float) -> float:
    for plan in scenario.sessions:
        if plan.kind == "dense" and plan.start_h - 1e-9 <= now < plan.end_h:
            pieces = max(1, int(np.ceil(plan.interval_h / DENSE_STEP_H)))
            return plan.interval_h / pieces
    return SPARSE_STEP_H


def cell_radius(scenario: Scenario, cells: Population, index: Int, now: float) -> Float:
    """Radius in µm of cells by type: erythroblasts shrink per division, megakaryocytes grow, others stay."""
    base = 0.5 * scenario.geometry.cell_diameter_um
    radius = np.full(len(index), base)
    mature = np.isfinite(cells.onset[index]) & (cells.onset[index] <= now)
    since = now - cells.onset[index]
    erythroid = mature & (cells.lineage[index] == 0)
    radius[erythroid] *= 0.94 ** np.minimum(cells.since_onset[index][erythroid] + 1, 4)
    mega = mature & (cells.lineage[index] == 1)
    radius[mega] *= 1.0 + 0.5 * (1.0 - np.exp(-since[mega] / 48.0))
    return radius


class _Crowd:
    """Cells with places and directions (rows as in the population)."""

    def __init__(
        self, scenario: Scenario, tissue: Tissue, vessel_distance: Float32, static: StaticNuclei, n: int,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self.scenario, self.tissue, self.vessel_distance, self.static = scenario, tissue, vessel_distance, static
        self.rng = rng
        self.flat = scenario.geometry.depth_um <= 0
        self.cells = seed_founders(scenario.kinetics, n, rng)
        self.positions = self._places(n)
        self.directions = random_directions(rng, n, flat=self.flat)
        self.alive = np.arange(n)
        self.area_mm2 = tissue.outline.area * 1e-6

    def _places(self, n: int) -> Float:
        """Uniform places inside the outline, off scaffold and vessels."""
        found = np.zeros((0, 3))
        reach = self.tissue.outline.largest_radius
        depth = self.scenario.geometry.depth_um
        for _ in range(1000):
            m = 4 * n + 16
            trial = np.empty((m, 3))
            trial[:, 0] = self.rng.uniform(0, depth, m) if depth > 0 else 0.0
            trial[:, 1:] = np.asarray(self.tissue.outline.centre) + self.rng.uniform(-reach, reach, (m, 2))
            keep = (self.tissue.outline.depth(trial[:, 1], trial[:, 2]) > 8.0) & (
                self.tissue.sample(self.tissue.scaffold, trial) > 6.0
            )
            keep &= self.tissue.sample(self.vessel_distance, trial) > 3.0
            found = np.concatenate([found, trial[keep]])
            if len(found) >= n:
                break
        return found[:n] if len(found) >= n else np.resize(found, (n, 3))

    def advance(self, now: float, dt: float, effect: Effect, commitment_factor: float) -> None:
        """Fates, then movement, for one step."""
        kinetics, niche = self.scenario.kinetics, self.scenario.niche
        here = self.positions[self.alive]
        distance = np.maximum(self.tissue.sample(self.vessel_distance, here), 0.0)
        factor = 1.0 + np.asarray(niche.coupling)[None, :] * np.exp(-distance / niche.range_um)[:, None]
        crowding = max(0.02, 1.0 - len(self.alive) / self.area_mm2 / kinetics.capacity_per_mm2)
        _, mothers, daughters = step_fates(
            self.cells, self.alive, now, dt, kinetics, effect, niche_factor=factor,
            commitment_factor=commitment_factor, crowding=crowding, rng=self.rng,
        )  # fmt: skip
        self._place_daughters(mothers, daughters)
        kept = self.alive[self.cells.fate[self.alive] == ALIVE]
        self.alive = np.concatenate([kept, daughters])
        if len(self.alive):
            self._move(now + dt, dt)

    def _place_daughters(self, mothers: Int, daughters: Int) -> None:
        k = len(mothers)
        if k == 0:
            return
        axis = random_directions(self.rng, k, flat=self.flat)
        half = 0.42 * self.scenario.geometry.cell_diameter_um * axis
        self.positions = np.concatenate(
            [self.positions, self.positions[mothers] + half, self.positions[mothers] - half]
        )
        self.directions = np.concatenate([self.directions, axis, -axis])

    def _move(self, now: float, dt: float) -> None:
        motion, alive, cells = self.scenario.motion, self.alive, self.cells
        mature = np.isfinite(cells.onset[alive])
        speed = motion.speed_um_per_h * np.where(mature, motion.mature_speed_ratio, 1.0)
        radii = cell_radius(self.scenario, cells, alive, now)
        steps, self.directions[alive] = wander(
            self.directions[alive], speed, dt, persistence=motion.persistence_h, flat=self.flat, rng=self.rng
        )
        places = self.positions[alive] + steps
        pull = cohesion(places, cells.founder[alive] - 1, radii, packing=motion.packing, flat=self.flat)
        places = places + pull * -np.expm1(-motion.cohesion_per_h * dt)
        places = places + self._attraction(places, mature, dt)
        everything = np.concatenate([places, self.static.positions])
        sizes = np.concatenate([radii, np.full(len(self.static.positions), 5.0)])
        before = everything[len(places) :].copy()
        separate(everything, sizes, 0.04, 10, self.flat)
        everything[len(places) :] = before
        self.positions[alive] = self._walls(everything[: len(places)], radii)

    def _attraction(self, places: Float, mature: npt.NDArray[np.bool_], dt: float) -> Float:
        niche = self.scenario.niche
        if niche.attraction_um_per_h == 0.0:
            return np.zeros_like(places)
        distance = self.tissue.sample(self.vessel_distance, places)
        reached = (distance > 4.0) & (distance < 3.0 * niche.range_um) & ~mature
        return -niche.attraction_um_per_h * dt * reached[:, None] * self._gradient(self.vessel_distance, places)

    def _gradient(self, grid: Float32, places: Float) -> Float:
        step = 2.0
        slope = np.zeros_like(places)
        for k in range(1 if self.flat else 0, 3):
            shift = np.zeros(3)
            shift[k] = step
            slope[:, k] = self.tissue.sample(grid, places + shift) - self.tissue.sample(grid, places - shift)
        norm = np.linalg.norm(slope, axis=1, keepdims=True)
        return slope / np.maximum(norm, 1e-6)

    def _walls(self, places: Float, radii: Float) -> Float:
        """Keep cells off the scaffold and the lumen (softly) and inside the outline."""
        if self.tissue.has_scaffold:
            lack = np.maximum(radii - self.tissue.sample(self.tissue.scaffold, places), 0.0)
            places = places + 0.8 * lack[:, None] * self._gradient(self.tissue.scaffold, places)
        # A cell may squeeze past a thin vessel (over or under it), it does not stay in the lumen.
        lack = np.clip(0.5 * radii - self.tissue.sample(self.vessel_distance, places), 0.0, 3.0)
        places = places + 0.5 * lack[:, None] * self._gradient(self.vessel_distance, places)
        centre = np.asarray(self.tissue.outline.centre)
        away = places[:, 1:] - centre
        reach = np.linalg.norm(away, axis=1)
        limit = self.tissue.outline.radius_at(np.arctan2(away[:, 0], away[:, 1])) - radii
        shrink = np.minimum(1.0, limit / np.maximum(reach, 1e-9))
        places[:, 1:] = centre + away * shrink[:, None]
        if not self.flat:
            places[:, 0] = np.clip(places[:, 0], 0.0, self.scenario.geometry.depth_um)
        return places


def _static_nuclei(scenario: Scenario, tissue: Tissue, vessels: VesselGraph, rng: np.random.Generator) -> StaticNuclei:
    """Endothelial nuclei along the vessel walls and stromal nuclei anywhere in the tissue."""
    places: list[Float] = []
    angles: list[float] = []
    for path, radius in zip(vessels.paths, vessels.radii, strict=True):
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
        at = rng.uniform(0, 30.0) if np.isfinite(scenario.geometry.endothelial_spacing_um) else np.inf
        while at < along[-1]:
            i = min(int(np.searchsorted(along, at)), len(path) - 1)
            tangent = path[i] - path[i - 1] if i else path[1] - path[0]
            normal = np.array([0.0, tangent[2], -tangent[1]]) / max(float(np.hypot(tangent[1], tangent[2])), 1e-9)
            places.append(path[i] + normal * radius * rng.choice([-0.8, 0.8]))
            angles.append(float(np.arctan2(tangent[1], tangent[2])))
            at += scenario.geometry.endothelial_spacing_um * float(log_normal(1.0, 0.4, rng.standard_normal(1))[0])
    endothelial = len(places)
    n = rng.poisson(scenario.geometry.stromal_per_mm2 * tissue.outline.area * 1e-6)
    for _ in range(n):
        angle, depth = rng.uniform(0, 2 * np.pi), scenario.geometry.depth_um
        reach = 0.9 * float(tissue.outline.radius_at(np.array(angle))) * np.sqrt(rng.random())
        z = rng.uniform(0, depth) if depth > 0 else 0.0
        places.append(
            np.array(
                [z, tissue.outline.centre[0] + reach * np.sin(angle), tissue.outline.centre[1] + reach * np.cos(angle)]
            )
        )
        angles.append(rng.uniform(0, np.pi))
    return StaticNuclei(
        np.array(places, dtype=float).reshape(-1, 3),
        np.array(angles, dtype=float),
        np.arange(len(places)) < endothelial,
    )

"""From the state of cells to what is drawn: size, shape, brightness and stains at one moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_marrow.simulation.kinetics import DEAD, DIVIDED, Population
from napari_marrow.simulation.organoid import OrganoidHistory, cell_radius
from napari_marrow.simulation.scenario import LINEAGE_MARKERS, LINEAGES, TYPES, Scenario

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

MITOSIS_H, APOPTOSIS_H = 0.8, 4.0
"""How long before its end a cell is seen in mitosis or shrinking, h."""


@dataclass(frozen=True)
class DrawnCells:
    """Arguments of the drawing kernel in the tissue's frame: see `raster.draw_cells`."""

    centres: Float
    axes: Float
    angles: Float
    phases: Float
    ids: npt.NDArray[np.int32]
    nuclear: Float
    levels: dict[str, Float]


def cell_types(cells: Population, index: Int, now: float) -> Int:
    """Return the index into `TYPES` of cells at a time: stem, progenitor (latent decision) or mature (marker on)."""
    kind = np.where(cells.commit[index] <= now, 1, 0)
    return np.where(cells.onset[index] <= now, 2, kind)


def marker_levels(cells: Population, index: Int, now: float, rise_h: float, brightness: Float) -> dict[str, Float]:
    """Expression of every lineage marker, CD45 and CD34, about 1 where fully on.

    Parameters
    ----------
    cells : Population
    index : (n,) int64
        Cells.
    now : float
        h.
    rise_h : float
        Time constant of a marker's appearance, h.
    brightness : (n,) float64
        Level of each cell.

    Returns
    -------
    dict of str to (n,) float64
    """
    mature = cells.onset[index] <= now
    rise = np.where(mature, -np.expm1(-np.where(mature, now - cells.onset[index], 0.0) / rise_h), 0.0)
    levels = {}
    for k, name in enumerate(LINEAGES):
        levels[LINEAGE_MARKERS[name]] = np.where(cells.lineage[index] == k, rise, 0.0) * brightness
    committed = cells.commit[index] <= now
    decay = np.where(committed, np.exp(-np.where(committed, now - cells.commit[index], 0.0) / 30.0), 1.0)
    levels["CD34"] = decay * brightness
    levels["CD45"] = (1.0 - 0.9 * levels["CD235a"] / np.maximum(brightness, 1e-9)) * brightness
    return levels


class Appearance:
    """Draws the cells of one organoid; individual traits are fixed by the seed."""

    def __init__(self, scenario: Scenario, history: OrganoidHistory, seed: int) -> None:
        self.scenario, self.history = scenario, history
        rng = np.random.default_rng(seed)
        n = len(history.population) + len(history.static.positions)
        self.aspect = rng.uniform(1.0, 1.32, n)
        self.turn = rng.uniform(0, np.pi, n)
        self.spin = rng.normal(0.0, 0.08, n)
        self.phases = rng.uniform(0, 2 * np.pi, (n, 4))
        self.stain = np.exp(rng.normal(0.0, 0.14, n))

    def cells_at(self, time_h: float) -> DrawnCells:
        """Return blood cells and static nuclei at a recorded time, in the tissue's frame."""
        cells, snapshot = self.history.population, self.history.snapshots[time_h]
        index = snapshot.cells
        radius = cell_radius(self.scenario, cells, index, time_h) * self.scenario.geometry.nucleus_ratio
        size, aspect, light = self._cycle(index, time_h)
        radius, aspect = radius * size, self.aspect[index] * aspect
        blood_levels = marker_levels(
            cells, index, time_h, self.scenario.kinetics.marker_rise_h, cells.brightness[index]
        )
        static = self.history.static
        m = len(static.positions)
        rows = len(cells) + np.arange(m)
        axes = np.stack([radius, radius * np.sqrt(aspect), radius / np.sqrt(aspect)], axis=1)
        long = np.where(static.endothelial, 8.0, 8.5)
        short = np.where(static.endothelial, 3.2, 6.0)
        static_axes = np.stack([short, long, short], axis=1) if m else np.zeros((0, 3))
        dim = np.where(static.endothelial, 0.6, 0.4) * self.stain[rows]
        everyone = np.concatenate([index, rows])
        return DrawnCells(
            centres=np.concatenate([snapshot.positions, static.positions]),
            axes=np.concatenate([axes, static_axes]),
            angles=np.concatenate([self.turn[index] + self.spin[index] * time_h, static.angles]),
            phases=self.phases[everyone],
            ids=(everyone + 1).astype(np.int32),
            nuclear=np.concatenate([light * self.stain[index], dim]),
            levels={name: np.concatenate([level, np.zeros(m)]) for name, level in blood_levels.items()},
        )

    def types_at(self, time_h: float) -> npt.NDArray[np.object_]:
        """Names of the types of all drawn cells at a recorded time, in the order of `cells_at`."""
        index = self.history.snapshots[time_h].cells
        kinds = cell_types(self.history.population, index, time_h)
        static = np.where(self.history.static.endothelial, 3, 4)
        return np.array(TYPES, dtype=object)[np.concatenate([kinds, static])]

    def _cycle(self, index: Int, now: float) -> tuple[Float, Float, Float]:
        """Factors on radius, aspect ratio and nuclear light from cycle, mitosis and apoptosis."""
        cells = self.history.population
        age = now - cells.birth[index]
        left = cells.end[index] - now
        whole = np.where(np.isfinite(cells.cycle[index]), cells.cycle[index], 60.0)
        size = 0.88 + 0.2 * np.clip(age / whole, 0.0, 1.0)
        light = np.ones(len(index))
        aspect = np.ones(len(index))
        mitotic = (cells.fate[index] == DIVIDED) & (left < MITOSIS_H)
        size[mitotic] *= 0.85
        light[mitotic] *= 1.7
        aspect[mitotic] *= 1.45
        newborn = (age < 0.6) & (cells.parent[index] > 0)
        size[newborn] *= 0.92
        light[newborn] *= 1.3
        dying = (cells.fate[index] == DEAD) & (left < APOPTOSIS_H)
        shrink = np.clip(left[dying] / APOPTOSIS_H, 0.0, 1.0)
        size[dying] *= 0.6 + 0.4 * shrink
        light[dying] *= 1.8 - 0.8 * shrink
        return size, aspect, light

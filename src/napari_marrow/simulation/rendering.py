"""One frame of one organoid: structures and cells to light, light to counts, and the truth labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_marrow.simulation import optics
from napari_marrow.simulation.appearance import Appearance, DrawnCells
from napari_marrow.simulation.faults import Acquisition
from napari_marrow.simulation.organoid import OrganoidHistory
from napari_marrow.simulation.raster import draw_cells, tube_distance, warp_fields
from napari_marrow.simulation.scenario import Scenario

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

SCAFFOLD_GLOW = 0.02
"""Share of the scaffold's light seen in every other channel (mineral autofluoresces)."""


@dataclass(frozen=True)
class _Fields:
    """Static fields at the image's voxels, (Z, Y, X): distance to scaffold, stroma texture, depth in the outline."""

    scaffold: Float32
    texture: Float32
    inside: Float32


class Renderer:
    """Renders frames of one organoid; keeps nothing but the organoid's history and the shading fields."""

    def __init__(self, scenario: Scenario, history: OrganoidHistory, seed: int) -> None:
        self.scenario, self.history, self.seed = scenario, history, seed
        self.appearance = Appearance(scenario, history, seed)
        self.spacing = np.asarray(scenario.imaging.spacing_um, dtype=float)
        self._shading: dict[int, Float32] = {}
        tissue = history.tissue
        inside = np.broadcast_to(tissue.inside, tissue.texture.shape)
        self._static = np.stack([tissue.scaffold, tissue.texture, inside]).astype(np.float32)

    def labels(self, acquisition: Acquisition, t: int) -> Int32:
        """Return the truth labels (Z, Y, X) of nuclei; label = cell id; empty in a blank frame."""
        labels = np.zeros(self.scenario.imaging.shape, np.int32)
        if "blank" not in acquisition.flags[t]:
            self._draw(acquisition, t, (), labels)
        return labels

    def frame(self, acquisition: Acquisition, t: int, channels: tuple[str, ...]) -> npt.NDArray[np.uint16]:
        """Return the camera's counts (C, Z, Y, X) of a recorded frame.

        Parameters
        ----------
        acquisition : Acquisition
        t : int
            Recorded frame.
        channels : tuple of str
            Channels in order.

        Returns
        -------
        (C, Z, Y, X) uint16
        """
        imaging, flags = self.scenario.imaging, acquisition.flags[t]
        if "duplicate" in flags:
            return self.frame(acquisition, t - 1, channels)
        rng = np.random.default_rng([self.seed, acquisition.session, int(acquisition.planned[t])])
        if "blank" in flags:
            return optics.expose(np.zeros((len(channels), *imaging.shape), np.float32), imaging, rng)
        fields = self._fields(acquisition, t)
        light = self._light(acquisition, t, channels, fields)
        defocus = float(acquisition.defocus_um[t])
        light = np.stack([optics.blur(light[i], imaging, c, defocus_um=defocus) for i, c in enumerate(channels)])
        light = optics.mix_channels(light, channels, imaging.bleed_through)
        strength = acquisition.gain * (1.0 - imaging.bleaching_per_frame) ** int(acquisition.planned[t])
        base = self._background(fields)
        for i, name in enumerate(channels):
            light[i] = light[i] * (acquisition.gain if name == "brightfield" else strength)
            if name != "brightfield":
                light[i] += base
            light[i] *= self._illumination(i)
        if "bubble" in flags:
            light *= self._bubble(rng)
        if "saturation" in flags:
            light *= 400.0
        return optics.expose(light, imaging, rng)

    def _illumination(self, channel: int) -> Float32:
        if channel not in self._shading:
            # The microscope's, hence the same for all organoids.
            self._shading[channel] = optics.shading_field(self.scenario.imaging, channel, self.scenario.seed)
        return self._shading[channel]

    def _draw(
        self, acquisition: Acquisition, t: int, channels: tuple[str, ...], labels: Int32
    ) -> tuple[Float32, Float32, DrawnCells]:
        """Draw cells in the image's frame; return nuclei (Z, Y, X) and bodies (K, Z, Y, X)."""
        cells = self.appearance.cells_at(float(acquisition.true_h[t]))
        scale = float(acquisition.scale[t])
        centres = cells.centres.copy()
        centres[:, 1:] = acquisition.to_image(t, centres[:, 1:])
        centres[:, 0] *= scale
        names = [c for c in channels if c in cells.levels]
        columns = [cells.levels[c] for c in names]
        if "brightfield" in channels:
            columns.append(np.ones(len(centres)))
        levels = np.stack(columns, axis=1) if columns else np.zeros((len(centres), 0))
        nuclei = np.zeros(labels.shape, np.float32)
        bodies = np.zeros((levels.shape[1], *labels.shape), np.float32)
        nearest = np.full(labels.shape, np.inf, np.float32)
        # The image is turned by +angle from x towards y, and so is every cell's long axis.
        draw_cells(
            centres, cells.axes, cells.angles + acquisition.angle, cells.phases, cells.ids, cells.nuclear, levels,
            1.0 / self.scenario.geometry.nucleus_ratio, self.spacing, labels, nearest, nuclei, bodies,
        )  # fmt: skip
        return nuclei, bodies, cells

    def _fields(self, acquisition: Acquisition, t: int) -> _Fields:
        """Sample the static fields of the tissue at the image's voxels."""
        matrix, offset = acquisition.registration(t)
        tissue = self.history.tissue
        step = tissue.spacing[1:]
        out = np.empty((3, *self.scenario.imaging.shape), np.float32)
        warp_fields(
            self._static,
            matrix * self.spacing[1:][None, :] / step[:, None],
            (offset - tissue.origin[1:]) / step,
            self.spacing[0] / tissue.spacing[0] / float(acquisition.scale[t]),
            out,
        )
        return _Fields(scaffold=out[0], texture=out[1], inside=out[2])

    def _light(self, acquisition: Acquisition, t: int, channels: tuple[str, ...], fields: _Fields) -> Float32:
        """Photo-electrons from structures and cells before the optics, (C, Z, Y, X)."""
        imaging = self.scenario.imaging
        light = np.zeros((len(channels), *imaging.shape), np.float32)
        nuclei, bodies, cells = self._draw(acquisition, t, channels, np.zeros(imaging.shape, np.int32))
        stains = iter(range(bodies.shape[0]))
        for i, name in enumerate(channels):
            full = imaging.electrons[name]
            if name == "nuclei":
                light[i] = full * nuclei
            elif name in cells.levels:
                light[i] = full * bodies[next(stains)]
            elif name == "CD31":
                light[i] = full * self._vessel_light(acquisition, t, fields)
        if "brightfield" in channels:
            cover = np.minimum(bodies[-1], 1.5)
            relief = ndimage.gaussian_filter(cover, (0, 1, 1)) - ndimage.gaussian_filter(cover, (0, 3, 3))
            light[channels.index("brightfield")] = imaging.electrons["brightfield"] * (1.0 + 0.35 * relief)
        if self.history.tissue.has_scaffold:
            self._add_scaffold(light, fields, channels)
        return light

    def _vessel_light(self, acquisition: Acquisition, t: int, fields: _Fields) -> Float32:
        """CD31 stain: bright walls, and in 2D the walls above and below the lumen."""
        starts, ends, radii = self.history.vessels.pieces()
        flat = self.scenario.imaging.shape[0] == 1
        moved = []
        for points in (starts, ends):
            image = points.copy()
            image[:, 1:] = acquisition.to_image(t, points[:, 1:])
            image[:, 0] = 0.0 if flat else image[:, 0] * float(acquisition.scale[t])
            moved.append(image)
        distance = np.full(self.scenario.imaging.shape, 9.0, np.float32)
        tube_distance(moved[0], moved[1], radii * float(acquisition.scale[t]), self.spacing, np.zeros(3), 9.0, distance)
        wall = np.exp(-0.5 * ((distance + 1.0) / 1.5) ** 2)
        lumen = np.clip(0.5 - distance / 1.5, 0.0, 1.0) * (0.5 if flat else 0.06)
        return np.maximum(wall, lumen) * np.clip(fields.texture, 0.6, 1.5)

    def _add_scaffold(self, light: Float32, fields: _Fields, channels: tuple[str, ...]) -> None:
        """Shadow on what lies in and beside the scaffold, then the scaffold's own light."""
        imaging, distance = self.scenario.imaging, fields.scaffold
        solid = np.clip(0.5 - distance / 2.0, 0.0, 1.0)
        shadow = 1.0 - imaging.scaffold_shadow * np.clip(0.7 - distance / 16.0, 0.0, 1.0)
        texture = np.clip(0.2 + 0.8 * fields.texture, 0.4, 1.5)
        glow = imaging.electrons["scaffold"] * solid * texture * (0.75 + 0.25 * np.exp(distance / 6.0 * (distance < 0)))
        for i, name in enumerate(channels):
            if name == "scaffold":
                light[i] = glow
            elif name == "brightfield":
                light[i] *= 1.0 - 0.85 * solid
            else:
                light[i] *= shadow
                light[i] += SCAFFOLD_GLOW * glow

    def _background(self, fields: _Fields) -> Float32:
        """Medium and autofluorescent tissue, (Z, Y, X)."""
        imaging = self.scenario.imaging
        inside = np.clip(0.5 + fields.inside / 10.0, 0.0, 1.0) * fields.texture
        return (imaging.background_electrons + imaging.autofluorescence_electrons * inside).astype(np.float32)

    def _bubble(self, rng: np.random.Generator) -> Float32:
        """Return the factor (Y, X) of a gas bubble: dim disc with a bright rim."""
        ny, nx = self.scenario.imaging.shape[1:]
        cy, cx, radius = rng.uniform(0.2, 0.8) * ny, rng.uniform(0.2, 0.8) * nx, rng.uniform(0.12, 0.22) * min(ny, nx)
        r = np.hypot(np.arange(ny)[:, None] - cy, np.arange(nx)[None, :] - cx)
        factor = np.where(r < radius, 0.45, 1.0) + 1.2 * np.exp(-0.5 * ((r - radius) / 2.5) ** 2)
        return factor.astype(np.float32)

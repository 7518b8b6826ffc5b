"""Simulated frames with known structures, from easy to hard, for `benchmarks/structures.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from napari_marrow import simulation
from napari_marrow.simulation import Design, Faults, Geometry, Imaging, Kinetics, SessionPlan

CHANNELS = ("nuclei", "CD31", "CD235a", "CD41", "CD11b", "scaffold", "brightfield")


@dataclass(frozen=True)
class Scene:
    """A frame: its name, pixels (C, Z, Y, X) by channel, pixel size and truth."""

    name: str
    channels: dict[str, npt.NDArray[np.uint16]]
    spacing: tuple[float, float, float]
    labels: npt.NDArray[np.int32]
    truth: simulation.TrueStructures


def dimmed(imaging: Imaging, factor: float) -> Imaging:
    """Return the microscope with a fraction of the light of everything but the camera."""
    return replace(
        imaging,
        electrons={name: factor * value for name, value in imaging.electrons.items()},
        background_electrons=factor * imaging.background_electrons,
        autofluorescence_electrons=factor * imaging.autofluorescence_electrons,
    )


def scenario(
    name: str, seed: int, *, imaging: Imaging | None = None, geometry: Geometry | None = None, day: float = 7.0
) -> simulation.Scenario:
    """One organoid in one frame."""
    return replace(
        simulation.preset("tutorial", seed=seed),
        name=name,
        sessions=(SessionPlan("sparse", 24.0 * day, channels=CHANNELS),),
        kinetics=Kinetics(capacity_per_mm2=7500.0),
        geometry=geometry or Geometry(radius_um=190.0),
        imaging=imaging or Imaging(shape=(1, 480, 480)),
        faults=Faults(shift_um=(0.0, 0.0), rotation_deg=(0.0, 0.0)),
        design=Design(),
    )


def flat_scenarios(seed: int) -> list[simulation.Scenario]:
    """Planes: ordinary, a fifth of the light, strong shading, few cells, an organoid that fills the field."""
    plain = Imaging(shape=(1, 480, 480))
    return [
        scenario("ordinary", seed),
        scenario("a fifth of the light", seed + 1, imaging=dimmed(plain, 0.2)),
        scenario("half of the light lost in the corners", seed + 2, imaging=replace(plain, shading=0.5)),
        scenario("few cells", seed + 3, geometry=Geometry(radius_um=190.0, founders_per_mm2=60.0)),
        scenario("organoid fills the field", seed + 4, geometry=Geometry(radius_um=420.0)),
    ]


def deep_scenarios(seed: int) -> list[simulation.Scenario]:
    """Volumes of 1, 2 and 4 times deeper than wide voxels."""
    result = []
    for ratio in (1, 2, 4):
        side = 1.5
        imaging = Imaging(
            shape=(round(60 / (ratio * side)), 160, 160), spacing_um=(ratio * side, side, side),
            numerical_aperture=0.75, axial_ratio=3.0,
        )  # fmt: skip
        geometry = Geometry(
            radius_um=100.0, depth_um=60.0, vessel_density=300.0, founders_per_mm2=500.0, porosity=0.9,
            sinusoid_diameter_um=(20.0, 28.0),
        )  # fmt: skip
        result.append(scenario(f"volume, {ratio}:1", seed + ratio, imaging=imaging, geometry=geometry, day=6.0))
    return result


def render(chosen: simulation.Scenario) -> Scene:
    """Return the frame of a scenario."""
    experiment = simulation.simulate(chosen)
    session = experiment.sessions(experiment.positions[0])[0]
    frame = session.frame(0)
    channels = dict(zip(session.channels, frame, strict=True))
    truth = simulation.true_structures(experiment, session, 0)
    return Scene(chosen.name, channels, session.spacing, session.labels(0), truth)


def empty(seed: int, *, shading: float = 0.25) -> dict[str, npt.NDArray[np.uint16]]:
    """Return medium alone, (1, 480, 480) per channel: uneven light and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:480j, -1:1:480j]
    light = 1.0 - shading * ((y - 0.2) ** 2 + (x + 0.1) ** 2) / 3.0
    channels = {}
    for name in CHANNELS:
        electrons = 1500.0 if name == "brightfield" else 8.0
        channels[name] = (100 + rng.poisson(electrons * light) + rng.normal(0, 1.6, light.shape)).astype(np.uint16)[
            None
        ]
    return channels

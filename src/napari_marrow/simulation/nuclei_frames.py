"""Single frames of nuclei under very different conditions, to train and to score a network on.

One frame comes from an organoid of its own: magnification, density, light, haze, debris and the scaffold's shine are
drawn anew for each, so that a network sees crowding and bad light in all combinations, at nuclei of 7 to 30 px.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_marrow.errors import SettingsError
from napari_marrow.simulation.experiment import simulate
from napari_marrow.simulation.microscope import Faults, Imaging
from napari_marrow.simulation.scenario import Design, Geometry, Kinetics, Motion, Scenario, SessionPlan

Float = npt.NDArray[np.float64]

NOISE_LEVELS: dict[str, float] = {"low": 250.0, "medium": 60.0, "high": 18.0}
"""Photo-electrons per pixel of a nucleus, over about 17 of background and 1.6 of read noise."""


@dataclass(frozen=True)
class NucleiFrame:
    """A simulated frame and its truth.

    Attributes
    ----------
    image : uint16 array, shape (Y, X)
    labels : int32 array, shape (Y, X)
        Nuclei 1..n; debris and nuclei out of the plane are background.
    spacing : float
        Pixel size, µm.
    electrons : float
        Light of a nucleus, photo-electrons per pixel.
    """

    image: npt.NDArray[np.uint16]
    labels: npt.NDArray[np.int32]
    spacing: float
    electrons: float


def nuclei_frames(
    seed: int,
    *,
    electrons: float | None = None,
    side: int = 256,
    times_h: tuple[float, ...] = (48.0, 110.0, 170.0),
    channel: str = "nuclei",
) -> list[NucleiFrame]:
    """Return frames of one organoid at several ages.

    Parameters
    ----------
    seed : int
        Same seed, same pixels.
    electrons : float or None
        Light of a nucleus, photo-electrons per pixel; None draws it between 15 and 500.
    side : int
        Pixels along a side.
    times_h : tuple of float
        Ages of the culture, h: the older, the more crowded.
    channel : {"nuclei", "brightfield"}
        Bright field shows whole cells as reliefs with a halo; the labels are then those of the cells.

    Returns
    -------
    list of NucleiFrame
        Frames without a nucleus are left out.

    Raises
    ------
    SettingsError
        If there is no such channel.
    """
    if channel not in ("nuclei", "brightfield"):
        raise SettingsError(f"Channel '{channel}' has no labels of its own: give 'nuclei' or 'brightfield'.")
    rng = np.random.default_rng([seed, 2018])
    light = _log_uniform(rng, 15.0, 500.0) if electrons is None else electrons
    scenario = _scenario(rng, seed, light, side, times_h)
    if channel == "brightfield":
        scenario = _in_bright_field(scenario, light)
    experiment = simulate(scenario)
    frames = []
    for session in experiment.sessions(experiment.positions[0]):
        plane = session.shape[2] // 2
        labels = _compact(session.labels(0)[plane])
        image = session.frame(0)[0, plane]
        if channel == "nuclei":
            image = _add_debris(image, scenario.imaging, light, rng)
        if labels.any():
            frames.append(NucleiFrame(image, labels, scenario.imaging.spacing_um[1], light))
    return frames


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _scenario(rng: np.random.Generator, seed: int, electrons: float, side: int, times_h: tuple[float, ...]) -> Scenario:
    spacing = _log_uniform(rng, 0.32, 1.25)
    field = spacing * side
    thick = rng.random() < 0.4
    imaging = Imaging(
        # Light of neighbouring planes reaches the middle one, which is the one that is taken.
        shape=(5 if thick else 1, side, side),
        spacing_um=(3.0, spacing, spacing),
        numerical_aperture=float(np.clip(0.3 / spacing, 0.25, 0.8)) * float(rng.uniform(0.7, 1.1)),
        axial_ratio=float(rng.uniform(3, 6)),
        haze=float(rng.uniform(0.05, 0.5)),
        haze_sigma_um=float(rng.uniform(6, 20)),
        background_electrons=float(rng.uniform(3, 15)),
        autofluorescence_electrons=float(rng.uniform(2, 20)),
        read_noise_electrons=float(rng.uniform(1, 4)),
    )
    # The scaffold's own light is seen in the nuclear channel at a fiftieth: from nothing to as bright as a nucleus.
    shine = 50.0 * electrons * float(rng.uniform(0, 1.2)) * float(rng.random() < 0.5)
    geometry = Geometry(
        radius_um=max(60.0, field * float(rng.uniform(0.4, 0.9))),
        depth_um=30.0 if thick else 0.0,
        founders_per_mm2=_log_uniform(rng, 150, 1200) * (2.0 if thick else 1.0),
        cell_diameter_um=float(rng.uniform(9.5, 13.5)),
        nucleus_ratio=float(rng.uniform(0.75, 0.92)),
        endothelial_spacing_um=float(rng.uniform(30, 90)),
        stromal_per_mm2=float(rng.uniform(0, 120)),
        porosity=float(rng.uniform(0.7, 0.95)),
    )
    return Scenario(
        name="nuclei",
        seed=seed,
        sessions=tuple(SessionPlan("sparse", t, channels=("nuclei",)) for t in times_h),
        kinetics=Kinetics(capacity_per_mm2=_log_uniform(rng, 4000, 12000), first_division_mean_h=50.0),
        motion=Motion(speed_um_per_h=10.0, cohesion_per_h=0.12),
        geometry=geometry,
        imaging=replace(imaging, electrons={**imaging.electrons, "nuclei": electrons, "scaffold": shine}),
        faults=Faults(shift_um=(0.0, 0.0), rotation_deg=(0.0, 0.0)),
        design=Design(),
    )


def _in_bright_field(scenario: Scenario, electrons: float) -> Scenario:
    """Return the scenario in one plane of bright field, with cells as large as their labels."""
    flat = replace(
        scenario.imaging,
        shape=(1, *scenario.imaging.shape[1:]),
        electrons={**scenario.imaging.electrons, "brightfield": 10.0 * electrons},
    )
    return replace(
        scenario,
        sessions=tuple(replace(session, channels=("brightfield",)) for session in scenario.sessions),
        geometry=replace(scenario.geometry, nucleus_ratio=0.98, depth_um=0.0, stromal_per_mm2=0.0),
        imaging=flat,
    )


def _compact(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return labels 1..n without slivers of a few pixels, which a neighbour or the plane cut off."""
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    whole = np.median(counts[counts > 0]) if (counts > 0).any() else 0
    kept = counts > max(6, 0.08 * whole)
    numbers = np.zeros(counts.size, dtype=np.int32)
    numbers[kept] = np.arange(1, int(kept.sum()) + 1)
    result: npt.NDArray[np.int32] = numbers[labels]
    return result


def _add_debris(
    image: npt.NDArray[np.uint16], imaging: Imaging, electrons: float, rng: np.random.Generator
) -> npt.NDArray[np.uint16]:
    """Add specks, and nuclei far out of focus; their light is Poisson and adds to the Poisson light that is there."""
    light = np.zeros(image.shape)
    pixel = imaging.spacing_um[1]
    area_mm2 = image.size * pixel**2 * 1e-6
    for per_mm2, sigma, strength in ((200.0, (0.3, 1.2), (0.3, 3.0)), (80.0, (6.0, 12.0), (0.2, 0.7))):
        n = rng.poisson(per_mm2 * area_mm2 * rng.uniform(0, 1.5))
        for _ in range(n):
            light += _blob(image.shape, rng, rng.uniform(*sigma) / pixel, electrons * rng.uniform(*strength))
    counts = image + imaging.gain * rng.poisson(light)
    return np.clip(counts, 0, imaging.full_scale).astype(np.uint16)


def _blob(shape: tuple[int, ...], rng: np.random.Generator, sigma: float, height: float) -> Float:
    """Return a round spot of light somewhere in the image."""
    y, x = (rng.uniform(0, side) for side in shape)
    rows, columns = np.arange(shape[0])[:, None] - y, np.arange(shape[1])[None, :] - x
    blob: Float = height * np.exp(-(rows**2 + columns**2) / (2 * max(sigma, 0.5) ** 2))
    return ndimage.gaussian_filter(blob, 0.5)

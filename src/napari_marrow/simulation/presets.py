"""Ready-made scenarios."""

from __future__ import annotations

from dataclasses import replace

from napari_marrow.errors import SettingsError
from napari_marrow.simulation.microscope import Faults, Imaging
from napari_marrow.simulation.scenario import (
    Design,
    Effect,
    Geometry,
    Kinetics,
    Motion,
    Niche,
    Scenario,
    SessionPlan,
)

PRESETS: tuple[str, ...] = ("tutorial", "sample", "benchmark", "null", "coupled", "volume")
"""Names that `preset` takes."""

DENSE_CHANNELS = ("nuclei", "CD31", "CD235a", "CD41", "CD11b")
SPARSE_CHANNELS = (*DENSE_CHANNELS, "scaffold")


def _schedule(dense_frames: int, dense_day: float) -> tuple[SessionPlan, ...]:
    """Sparse on day 1, dense from day 4 or so, sparse on days 10, 14 and 18."""
    sparse = [SessionPlan("sparse", 24.0 * day, channels=SPARSE_CHANNELS) for day in (1, 10, 14, 18)]
    dense = SessionPlan("dense", 24.0 * dense_day, dense_frames, 1.0, DENSE_CHANNELS)
    return (sparse[0], dense, *sparse[1:])


def preset(name: str, *, seed: int = 0) -> Scenario:
    """Return a ready-made scenario.

    Parameters
    ----------
    name : str
        ``"tutorial"``: six organoids, two donors, control against TPO (more megakaryocytic output); a dense session of
        60 hourly frames from day 4 and sparse sessions on days 1, 10, 14 and 18. ``"sample"``: two organoids, dense for
        14 frames from day 5. ``"benchmark"``: one large organoid, about 1000 cells, endothelial and stromal nuclei too.
        ``"null"``: no drug effect, no niche effect, 4 + 4 organoids. ``"coupled"``: vessels attract cells and raise
        commitment, above all of megakaryocytes. ``"volume"``: four small organoids as stacks of 24 planes.
    seed : int
        Same name and seed, same pixels.

    Returns
    -------
    Scenario

    Raises
    ------
    SettingsError
        If there is no such preset.
    """
    if name not in PRESETS:
        raise SettingsError(f"There is no preset '{name}': choose one of {', '.join(PRESETS)}.")
    drug = Design(
        conditions={"control": Effect(), "TPO": Effect(commitment=(0.7, 5.0, 0.7), dose=50.0)},
        organoids_per_condition=3,
        donors=2,
    )
    tutorial = Scenario(
        name="tutorial",
        seed=seed,
        sessions=_schedule(42, 4),
        kinetics=Kinetics(capacity_per_mm2=7500.0),
        # Confined: a root mean squared displacement of about 4 µm between hourly frames.
        motion=Motion(speed_um_per_h=10.0, cohesion_per_h=0.12),
        design=drug,
    )
    if name == "tutorial":
        return tutorial
    if name == "sample":
        return replace(
            tutorial, name=name, sessions=_schedule(14, 5), design=replace(drug, organoids_per_condition=1, donors=1)
        )
    if name == "null":
        same = replace(drug, conditions={"control": Effect(), "sham": Effect()}, organoids_per_condition=4)
        return replace(tutorial, name=name, design=same)
    if name == "volume":
        return _volume(tutorial)
    if name == "coupled":
        niche = Niche(coupling=(0.5, 6.0, 1.0), range_um=20.0, attraction_um_per_h=1.5)
        same = replace(drug, conditions={"control": Effect()}, organoids_per_condition=4)
        return replace(tutorial, name=name, niche=niche, design=same)
    return _benchmark(tutorial)


def _benchmark(tutorial: Scenario) -> Scenario:
    geometry = Geometry(
        radius_um=600.0, founders_per_mm2=360.0, endothelial_spacing_um=60.0, stromal_per_mm2=40.0, porosity=0.8
    )
    return replace(
        tutorial,
        name="benchmark",
        sessions=(SessionPlan("dense", 96.0, 48, 0.5, DENSE_CHANNELS),),
        geometry=geometry,
        imaging=Imaging(shape=(1, 1024, 1024)),
        faults=Faults(),
        motion=Motion(speed_um_per_h=14.0, cohesion_per_h=0.12),
        design=Design(),
    )


def _volume(tutorial: Scenario) -> Scenario:
    """Four organoids of 170 x 170 x 50 µm: cells a third as dense per area as in 2D lie at several depths."""
    return replace(
        tutorial,
        name="volume",
        sessions=_schedule(8, 5),
        geometry=Geometry(radius_um=84.0, depth_um=48.0, founders_per_mm2=700.0, vessel_density=500.0),
        imaging=Imaging(shape=(24, 184, 184), spacing_um=(2.5, 1.02, 1.02), numerical_aperture=0.8, axial_ratio=3.0),
        design=replace(tutorial.design, organoids_per_condition=2),
    )

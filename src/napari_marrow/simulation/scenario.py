"""What is simulated: frozen settings, from the kinetics of the cells to the faults of the microscope.

Lengths in µm, times in hours since the cells were seeded, rates per hour, light in photo-electrons. The defaults are
those of healthy human marrow progenitors and of a 10x air objective.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_marrow.errors import SettingsError
from napari_marrow.simulation.microscope import CHANNELS, Faults, Imaging

LINEAGES: tuple[str, ...] = ("erythroid", "megakaryocytic", "granulo-monocytic")
"""Lineages in the order of every per-lineage tuple."""

LINEAGE_MARKERS: dict[str, str] = {"erythroid": "CD235a", "megakaryocytic": "CD41", "granulo-monocytic": "CD11b"}
"""The channel that shows each lineage."""

TYPES: tuple[str, ...] = ("stem", "progenitor", "mature", "endothelial", "stromal")
"""Cell types: uncommitted, committed without marker, marker on, and the two kinds of static niche nuclei."""


@dataclass(frozen=True)
class Kinetics:
    """How cells divide, commit, mature and die.

    Attributes
    ----------
    first_division_mean_h, first_division_cv : float
        Time to the founders' first division (log-normal), h and ratio.
    cycle_mean_h, cycle_cv : float
        Later cycles (log-normal).
    erythroid_cycle_mean_h, erythroid_cycle_sd_h : float
        Cycle of marker-positive erythroblasts, h.
    sister_correlation : float
        Correlation of the sisters' log cycle times.
    commitment_per_h : tuple of float
        Hazard that a stem cell commits, by generation (the last value holds on), 1/h.
    lineage_weights : tuple of float
        Share of each lineage among commitments, order of `LINEAGES`.
    onset_per_h : tuple of float
        Hazard of marker onset by divisions since commitment (the last value holds on), 1/h; the first is 0, so that
        onset comes 1 generation or later after the latent decision.
    latest_onset : int
        Divisions after commitment by which the marker is on at the latest.
    mature_divisions : tuple of int
        Divisions that a cell may still do after onset, by lineage.
    death_per_h : tuple of float
        Death hazard of stem, progenitor and mature cells, 1/h.
    mature_at_start : float
        Fraction of founders seeded already marker-positive.
    marker_rise_h : float
        Time constant of the marker's appearance, h.
    capacity_per_mm2 : float
        Density at which cycles stop (logistic slowing); infinite for none. In 3D per mm² of footprint.
    """

    first_division_mean_h: float = 75.0
    first_division_cv: float = 0.5
    cycle_mean_h: float = 28.0
    cycle_cv: float = 0.3
    erythroid_cycle_mean_h: float = 23.3
    erythroid_cycle_sd_h: float = 4.8
    sister_correlation: float = 0.7
    commitment_per_h: tuple[float, ...] = (0.002, 0.02, 0.03)
    lineage_weights: tuple[float, float, float] = (0.5, 0.2, 0.3)
    onset_per_h: tuple[float, ...] = (0.0, 0.02, 0.05)
    latest_onset: int = 3
    mature_divisions: tuple[int, int, int] = (4, 1, 4)
    death_per_h: tuple[float, float, float] = (0.002, 0.002, 0.003)
    mature_at_start: float = 0.07
    marker_rise_h: float = 5.0
    capacity_per_mm2: float = float("inf")

    def __post_init__(self) -> None:
        if min(self.first_division_mean_h, self.cycle_mean_h, self.erythroid_cycle_mean_h) <= 0:
            raise SettingsError("Cycle times must be above 0 h: check first_division_mean_h, cycle_mean_h.")
        if not 0 <= self.sister_correlation <= 1:
            raise SettingsError(f"sister_correlation is {self.sister_correlation}: give a value from 0 to 1.")
        if not self.commitment_per_h or not self.onset_per_h:
            raise SettingsError("commitment_per_h and onset_per_h need at least one hazard each.")


@dataclass(frozen=True)
class Motion:
    """How cells move: runs at constant speed, tumbles, soft contact, cohesion of a clone.

    Attributes
    ----------
    speed_um_per_h : float
        Speed of a run (0.1-1 µm/min = 6-60 µm/h for free progenitors).
    persistence_h : float
        Mean length of a run. The MSD exponent at lag t is ``x(1-e^-x)/(x-1+e^-x)`` with x = t / persistence, 1.22 at
        x = 5.5.
    mature_speed_ratio : float
        Speed of marker-positive cells relative to that.
    cohesion_per_h : float
        Rate at which a cell outside its colony's packing radius is drawn back to the clone's centre, 1/h.
    packing : float
        Radius of a colony of n cells = packing x cell radius x sqrt(n) (2D) or cbrt(n) (3D).
    """

    speed_um_per_h: float = 30.0
    persistence_h: float = 0.1
    mature_speed_ratio: float = 0.8
    cohesion_per_h: float = 0.3
    packing: float = 1.1


@dataclass(frozen=True)
class Niche:
    """What vessels do to cells.

    Attributes
    ----------
    coupling : tuple of float
        Per lineage, β of the commitment hazard's factor 1 + β exp(-d/range) at distance d from a vessel's surface.
    range_um : float
        Range of that factor, µm.
    attraction_um_per_h : float
        Drift of stem cells and progenitors towards vessels within three ranges, µm/h.
    """

    coupling: tuple[float, float, float] = (0.0, 0.0, 0.0)
    range_um: float = 20.0
    attraction_um_per_h: float = 0.0


@dataclass(frozen=True)
class Geometry:
    """The organoid and what stands still in it.

    Attributes
    ----------
    radius_um : float
        Mean radius of the organoid's outline.
    depth_um : float
        Thickness of the tissue; 0 for 2D.
    founders_per_mm2 : float
        Seeded cells per area of footprint.
    cell_diameter_um : float
        Mean diameter of a cell.
    nucleus_ratio : float
        Diameter of the nucleus over that of the cell (blasts have large ones).
    vessel_density : float
        Vessel length per tissue area, mm/mm² (3D: per volume, mm/mm³). In 2D the mean distance is about 1/(2 density).
    sprout_diameter_um, sinusoid_diameter_um : tuple of float
        Range of diameters of thin sprouts and of sinusoids, µm.
    sinusoid_fraction : float
        Share of vessels that are sinusoids.
    endothelial_spacing_um : float
        Distance between endothelial nuclei along a vessel; infinite for none.
    stromal_per_mm2 : float
        Large, dim stromal nuclei per mm².
    porosity : float
        Share of the organoid's volume free of hydroxyapatite scaffold (scaffolds as bought: 0.67; 1 for none).
    pore_um : float
        Mean pore diameter (as bought: 203 µm).
    """

    radius_um: float = 150.0
    depth_um: float = 0.0
    founders_per_mm2: float = 220.0
    cell_diameter_um: float = 11.0
    nucleus_ratio: float = 0.82
    vessel_density: float = 8.0
    sprout_diameter_um: tuple[float, float] = (8.0, 15.0)
    sinusoid_diameter_um: tuple[float, float] = (24.0, 34.0)
    sinusoid_fraction: float = 0.15
    endothelial_spacing_um: float = float("inf")
    stromal_per_mm2: float = 0.0
    porosity: float = 0.88
    pore_um: float = 203.0

    def __post_init__(self) -> None:
        if self.radius_um <= 0 or self.depth_um < 0 or not 0.3 <= self.porosity <= 1:
            raise SettingsError("Geometry needs radius_um > 0, depth_um >= 0 and porosity from 0.3 to 1.")


@dataclass(frozen=True)
class Effect:
    """What a condition does: factors on the commitment hazard per lineage, on cycle speed and on death."""

    commitment: tuple[float, float, float] = (1.0, 1.0, 1.0)
    speed: float = 1.0
    death: float = 1.0
    dose: float = float("nan")


@dataclass(frozen=True)
class Design:
    """Organoids, donors, batches and conditions.

    Attributes
    ----------
    conditions : dict of str to Effect
        In plate order; one row of the plate each.
    organoids_per_condition : int
    donors : int
        Donors (one culture batch each), taken in turn so that they are spread over conditions alike.
    organoid_sd, batch_sd : float
        SD of the log random effects of organoid and batch on the commitment hazard and on the number of founders.
    """

    conditions: dict[str, Effect] = field(default_factory=lambda: {"control": Effect()})
    organoids_per_condition: int = 1
    donors: int = 1
    organoid_sd: float = 0.1
    batch_sd: float = 0.1

    def __post_init__(self) -> None:
        if not self.conditions or self.organoids_per_condition < 1 or self.donors < 1:
            raise SettingsError("A design needs at least one condition, one organoid per condition and one donor.")


@dataclass(frozen=True)
class SessionPlan:
    """One mounting of the plate.

    Attributes
    ----------
    kind : str
        ``"dense"`` or ``"sparse"``.
    start_h : float
        Begin, hours since seeding.
    n_frames : int
    interval_h : float
        Time between frames.
    channels : tuple of str
        Names from `CHANNELS`.
    """

    kind: str
    start_h: float
    n_frames: int = 1
    interval_h: float = 1.0
    channels: tuple[str, ...] = ("nuclei", "CD31", "CD235a", "CD41", "CD11b")

    def __post_init__(self) -> None:
        unknown = [c for c in self.channels if c not in CHANNELS]
        if unknown or not self.channels:
            raise SettingsError(f"Unknown channels {unknown}: the simulator renders {', '.join(CHANNELS)}.")
        if self.kind not in ("dense", "sparse") or self.n_frames < 1 or self.interval_h <= 0 or self.start_h < 0:
            raise SettingsError(f"Session {self} needs kind dense or sparse, frames, an interval > 0 and start_h >= 0.")

    @property
    def end_h(self) -> float:
        """Time of the last frame, h."""
        return self.start_h + (self.n_frames - 1) * self.interval_h


@dataclass(frozen=True)
class Scenario:
    """A whole simulated experiment: same scenario and seed, same pixels.

    Attributes
    ----------
    sessions : tuple of SessionPlan
        In order of time, not overlapping; sessions are numbered from 1.
    t0 : str
        UTC time of seeding, ISO 8601.
    """

    name: str
    seed: int
    sessions: tuple[SessionPlan, ...]
    kinetics: Kinetics = Kinetics()
    motion: Motion = Motion()
    niche: Niche = Niche()
    geometry: Geometry = Geometry()
    imaging: Imaging = field(default_factory=Imaging)
    faults: Faults = field(default_factory=Faults)
    design: Design = field(default_factory=Design)
    t0: str = "2026-03-02T09:00:00+00:00"

    def __post_init__(self) -> None:
        if not self.sessions:
            raise SettingsError("A scenario needs at least one session.")
        for before, after in zip(self.sessions, self.sessions[1:], strict=False):
            if after.start_h <= before.end_h:
                raise SettingsError(
                    f"The session that starts at {after.start_h} h begins before the one that ends at "
                    f"{before.end_h} h is over: give sessions in order of time."
                )

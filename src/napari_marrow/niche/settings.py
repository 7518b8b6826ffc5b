"""Settings of the measurement of one frame."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_marrow.errors import SettingsError
from napari_marrow.niche.envelopes import Kind
from napari_marrow.niche.vessels import VesselSettings


@dataclass(frozen=True)
class NicheSettings:
    """What is measured in a frame, and against which null model.

    Attributes
    ----------
    n_simulations : int
        Simulations per null model; the smallest p is 1 / (n_simulations + 1). Take 999 for publication.
    n_uniform : int
        Simulations of uniform placement for cross L of all cells, each of which meets all pairs anew.
    seed : int
    r_max : float
        Longest distance to a structure in curves and in the proximity effect, µm.
    cross_r_max : float
        Longest distance between cells in cross L and g, µm.
    interaction_r : float
        Distance at which the scalar ``cross_l_<a>_<b>`` is read, µm.
    n_r : int
        Arguments of each curve.
    solid : tuple of str
        Structures that are no tissue (scaffold, voids): W is the tissue without them.
    vessels : tuple of str
        Structures that get a vessel graph.
    pairs : tuple of (str, str) or None
        Pairs of classes for cross L; None for every pair of classes other than "all", each class with itself, and "all"
        with itself.
    strata_column : str or None
        Column of the cell table (depth, signal-to-noise ratio) within whose quantiles labels are shuffled: null model
        (c).
    n_strata : int
    niche_radius : float
        Cells and tissue within this distance of a structure are its compartment, µm.
    neighbour_radius : float
        Cells nearer than this are neighbours, µm.
    density_radius : float
        Radius of the local density, µm.
    coverage : tuple of (str, str)
        Pairs of structures: how much of the surface of the first (vessel) the second (pericyte marker) covers.
    coverage_delta : float
        Largest gap between a surface and what covers it, µm; not below the width of the point spread function.
    cell_radii : tuple of (str, float)
        Classes of large cells (megakaryocytes) and their radius, µm: they are also compared with places where a cell
        of that size fits, null model (b) with size exclusion.
    block_um : float or None
        Edge of the blocks of tissue behind the 95 % intervals, µm; None for four along the longest axis.
    shrinkage_xy, shrinkage_z : float
        Imaged over native length (below 1 where fixation or clearing shrank the sample): lengths are divided by it.
    envelope : {"erl", "mad", "studentised"}
        Global envelope of the curves.
    vessel : VesselSettings
    """

    n_simulations: int = 199
    n_uniform: int = 99
    seed: int = 0
    r_max: float = 100.0
    cross_r_max: float = 60.0
    interaction_r: float = 30.0
    n_r: int = 50
    solid: tuple[str, ...] = ("scaffold",)
    vessels: tuple[str, ...] = ("vessel",)
    pairs: tuple[tuple[str, str], ...] | None = None
    strata_column: str | None = None
    n_strata: int = 4
    niche_radius: float = 20.0
    neighbour_radius: float = 25.0
    density_radius: float = 50.0
    coverage: tuple[tuple[str, str], ...] = ()
    coverage_delta: float = 2.0
    cell_radii: tuple[tuple[str, float], ...] = ()
    block_um: float | None = None
    shrinkage_xy: float = 1.0
    shrinkage_z: float = 1.0
    envelope: Kind = "erl"
    vessel: VesselSettings = field(default_factory=VesselSettings)

    def __post_init__(self) -> None:
        lengths = ("r_max", "cross_r_max", "interaction_r", "niche_radius", "neighbour_radius", "density_radius")
        for name in (*lengths, "coverage_delta"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name} is {getattr(self, name)}: give a positive length in µm.")
        if any(not radius > 0 for _, radius in self.cell_radii) or (
            self.block_um is not None and not self.block_um > 0
        ):
            raise SettingsError(
                f"cell_radii {self.cell_radii} and block_um {self.block_um}: give positive lengths in µm."
            )
        for name in ("shrinkage_xy", "shrinkage_z"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name} is {getattr(self, name)}: give imaged over native length, 1 for none.")
        if min(self.n_simulations, self.n_uniform) < 19:
            raise SettingsError(
                f"n_simulations is {self.n_simulations}, n_uniform {self.n_uniform}: a 95 % band needs at least 19."
            )
        if self.n_r < 5 or self.n_strata < 1:
            raise SettingsError(f"n_r {self.n_r} must be at least 5 and n_strata {self.n_strata} at least 1.")
        if self.envelope not in ("erl", "mad", "studentised"):
            raise SettingsError(f"Unknown envelope '{self.envelope}': use erl, mad or studentised.")

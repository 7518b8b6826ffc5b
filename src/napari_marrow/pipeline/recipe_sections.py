"""The sections of a recipe: every parameter with its meaning, unit and bounds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from napari_marrow.schemas import QUALITY_FLAGS


def _unit(unit: str) -> dict[str, Any]:
    return {"unit": unit}


class Section(BaseModel):
    """Base of the sections: unknown keys are refused, and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class CorrectSection(Section):
    """Corrections applied when pixels are read; the stored pixels stay as acquired."""

    shading: bool = Field(True, description="Divide by the uneven illumination estimated from each session's frames.")
    camera_offset: float = Field(
        0.0,
        ge=0,
        description=(
            "Counts of the camera without light, taken off before anything is divided or multiplied. Left at 0, "
            "illumination is corrected too weakly, and gain and bleaching scale the offset, too."
        ),
        json_schema_extra=_unit("counts"),
    )
    bleaching: bool = Field(False, description="Undo the loss of brightness over the frames of a session.")
    bleaching_channels: list[str] = Field(
        [],
        description=(
            "Channels whose bleaching is undone, all if none is named. Name those whose true signal is constant: a "
            "marker that comes on would be flattened."
        ),
    )
    bleaching_ratio_channels: list[str] = Field(
        [],
        description=(
            "Channels whose bleaching follows their own falling course, such as a dye that fades fast and then slowly; "
            "that of the others is exponential."
        ),
    )
    gain_jumps: bool = Field(
        False, description="Undo sudden changes of brightness within a session that all bright pixels share."
    )
    gain_channels: list[str] = Field([], description="Channels whose gain is looked at, all if none is named.")
    background: Literal["none", "level", "map"] = Field(
        "none",
        description=(
            "What is taken off every plane: nothing, its commonest level, or a map that follows the background. "
            "Networks and thresholds do not need it; it makes intensities of dim markers comparable."
        ),
    )
    background_channels: list[str] = Field([], description="Channels it is taken off, all if none is named.")
    background_um: float = Field(
        25.0,
        gt=0,
        le=1000,
        description="Length over which the map follows; larger than what is measured.",
        json_schema_extra=_unit("µm"),
    )
    min_frames: int = Field(
        8, ge=3, le=1000, description="Frames (over all sessions of a position) below which no shading is estimated."
    )


class RegistrationSection(Section):
    """Where the sample went between frames and between sessions."""

    drift: bool = Field(True, description="Estimate the drift within a session from frame to frame.")
    between_sessions: Literal["none", "translation", "rigid", "affine"] = Field(
        "rigid",
        description=(
            "What may differ between two mountings of the plate. Affine follows a gel that swells or shears, where "
            "that fits better than the rigid placing it starts from."
        ),
    )
    channels: list[str] = Field(
        ["scaffold", "CD31", "nuclei"],
        min_length=1,
        description="Channels to register on, best first; the first that both sessions hold is used.",
    )
    max_shift_um: float = Field(
        200.0,
        gt=0,
        le=5000,
        description="Largest shift that is looked for between sessions.",
        json_schema_extra=_unit("µm"),
    )
    max_angle_deg: float = Field(
        6.0,
        ge=0,
        le=180,
        description="Largest rotation that is looked for between sessions.",
        json_schema_extra=_unit("°"),
    )


class SegmentSection(Section):
    """Cells by a Cellpose network."""

    model: str = Field("marrow-nuclei", min_length=1, description="Name of a bundled model, or a file of weights.")
    channel: str = Field("nuclei", min_length=1, description="Channel that shows what is to be segmented.")
    second_channel: str | None = Field(
        None,
        min_length=1,
        description="Channel for the network's second input, such as the nuclei for whole cells; empty: none.",
    )
    diameter_um: float | None = Field(
        None,
        gt=0,
        le=500,
        description="Diameter of a cell; empty: estimated per session.",
        json_schema_extra=_unit("µm"),
    )
    flow_threshold: float = Field(
        0.4, ge=0, le=10, description="Largest flow error of a mask; larger keeps more masks."
    )
    cellprob_threshold: float = Field(
        0.0, ge=-6, le=6, description="Least cell probability (logit) of a mask's pixels."
    )
    min_area_um2: float = Field(
        12.0, ge=0, le=1e5, description="Masks below this area are dropped.", json_schema_extra=_unit("µm²")
    )
    volume_mode: Literal["planes", "flows"] = Field(
        "planes",
        description="Volumes: plane by plane and joined, or by flows of planes in three orientations (slower; planes "
        "close enough to show a cell from the side).",
    )
    flow_smoothing: float = Field(
        0.0, ge=0, le=20, description="Gaussian over the flows in three orientations.", json_schema_extra=_unit("px")
    )
    repair: bool = Field(
        False, description="Mend cells that are missed, merged or split in one frame by the frames before and after."
    )
    device: Literal["cpu", "auto", "cuda", "mps"] = Field(
        "cpu", description="What computes the network; auto: a GPU where torch finds one."
    )
    precision: Literal["auto", "f32", "bf16"] = Field("auto", description="Arithmetic of the network.")


class TrackSection(Section):
    """Cells within a session."""

    max_gap: int = Field(3, ge=1, le=10, description="Frames over which a lost cell may be found again.")
    candidates: int = Field(6, ge=2, le=20, description="Nearest cells of the next frame that compete for a cell.")
    rounds: int = Field(4, ge=1, le=8, description="Rounds of learning and linking.")
    divisions: bool = Field(True, description="Let cells divide.")
    division_rate: float = Field(
        0.003,
        gt=0,
        le=0.2,
        description="Divisions per cell and frame that learning starts from.",
        json_schema_extra=_unit("1/frame"),
    )
    second_order: bool = Field(True, description="Let a cell's own velocity and speed count.")
    drift: bool = Field(True, description="Take shifts of the whole field from frame to frame away first.")
    blobs: bool = Field(True, description="Let one outline hold two cells.")
    appearance: bool = Field(True, description="Let size and brightness help to tell cells apart.")
    use_intensities: bool = Field(True, description="Let the brightness in every channel help to tell cells apart.")
    features: list[str] = Field(
        [], description="Columns of the table of cells that count; empty: area, and brightness where it is used."
    )
    max_displacement_um: float | None = Field(
        None,
        gt=0,
        le=1e4,
        description="Largest step between two frames; empty: learned.",
        json_schema_extra=_unit("µm"),
    )
    skip_flags: list[str] = Field(
        ["blank", "duplicate"],
        description="Frames with one of these quality flags are taken as not recorded: cells are linked over them.",
    )
    min_ceiling: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Chance that the nearest cell is the right one, below which none is carried over a session gap.",
    )

    @field_validator("skip_flags")
    @classmethod
    def _known_flags(cls, names: list[str]) -> list[str]:
        unknown = [name for name in names if name not in QUALITY_FLAGS]
        if unknown:
            raise ValueError(f"there is no quality flag '{unknown[0]}' (known: {', '.join(QUALITY_FLAGS)})")
        return names


class CurateSection(Section):
    """What becomes of the edits of tracks."""

    resolve: bool = Field(True, description="Decide the links around an edit again; confirmed ones stay.")
    window: int = Field(10, ge=1, le=1000, description="Frames before and after an edit that are decided again.")


_CLASSIFIER = "file of a pixel classifier (marrow pixels train)"


class StructuresSection(Section):
    """Organoid, scaffold, vessels and what else has a channel, as label images; that of vessels stands in niche."""

    organoid_channels: list[str] = Field(
        [],
        description="Channels whose sum shows the tissue, or brightfield alone; empty: every fluorescence channel.",
    )
    organoids: int = Field(1, ge=1, le=1000, description="Organoids that a field may show; the largest are kept.")
    organoid_classifier: str | None = Field(
        None, min_length=1, description=f"Organoid by a {_CLASSIFIER} with the class organoid; empty: by brightness."
    )
    scaffold_channel: str = Field("scaffold", min_length=1, description="Channel that shows the scaffold.")
    scaffold_classifier: str | None = Field(
        None, min_length=1, description=f"Scaffold by a {_CLASSIFIER} with the class scaffold; empty: by brightness."
    )
    vessel_classifier: str | None = Field(
        None, min_length=1, description=f"Vessels by a {_CLASSIFIER} with the class vessels; empty: by a ridge filter."
    )
    pericyte_channel: str | None = Field(
        None,
        min_length=1,
        description="Channel that marks pericytes, found by brightness: their share of the vessels' surface counts.",
    )
    stroma_channel: str | None = Field(
        None,
        min_length=1,
        description="Channel that marks stroma (CD271, LepR), found by brightness: distances to it are measured.",
    )


class ColoniesSection(Section):
    """Colonies and their identity over sessions."""

    source: Literal["cells", "channel", "brightfield", "classifier"] = Field(
        "cells",
        description="From groups of cells, a channel that they are bright in, bright field, or a pixel classifier.",
    )
    channel: str = Field(
        "nuclei", min_length=1, description="Channel that colonies are bright in, where it is their source."
    )
    classifier: str | None = Field(
        None,
        min_length=1,
        description=f"A {_CLASSIFIER} with the class colonies, where it is their source.",
    )

    distance_um: float = Field(
        18.0, gt=0, le=500, description="Cells closer than this belong together.", json_schema_extra=_unit("µm")
    )
    min_cells: int = Field(4, ge=2, le=1000, description="Cells that make a colony.")
    min_ceiling: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Chance that the nearest colony is the right one, below which no identity is carried over a gap.",
    )


class NicheSection(Section):
    """Vessels, distances and who lives where."""

    vessel_channel: str = Field("CD31", description="Channel that marks vessels.")
    vessel_radii_um: list[float] = Field(
        [4.0, 8.0, 16.0],
        min_length=1,
        description="Radii of vessels that are looked for.",
        json_schema_extra=_unit("µm"),
    )
    every_h: float = Field(
        24.0, gt=0, le=1e4, description="Measured at each session's first and last frame, and at this spacing between.",
        json_schema_extra=_unit("h"),
    )  # fmt: skip
    tissue_window: Literal["organoid", "field"] = Field(
        "organoid",
        description="Where densities and distances count: in the organoid's outline, or in the whole field of view.",
    )
    r_max_um: float = Field(
        60.0, gt=0, le=2000, description="Largest distance of the curves.", json_schema_extra=_unit("µm")
    )
    n_simulations: int = Field(199, ge=19, le=99999, description="Simulations of each null model.")
    niche_radius_um: float = Field(
        20.0, gt=0, le=1000, description="Tissue and cells within this of a structure are its compartment.",
        json_schema_extra=_unit("µm"),
    )  # fmt: skip
    density_radius_um: float = Field(
        50.0, gt=0, le=1000, description="Radius within which the local density of cells is counted.",
        json_schema_extra=_unit("µm"),
    )  # fmt: skip
    neighbour_radius_um: float = Field(
        25.0, gt=0, le=500, description="Cells nearer than this are neighbours.", json_schema_extra=_unit("µm")
    )
    strata_column: str | None = Field(
        None, min_length=1,
        description="Column of the cell table, such as z, within whose quantiles labels are shuffled: against a marker "
        "that fades with depth.",
    )  # fmt: skip
    cell_radii_um: dict[str, float] = Field(
        {}, description="Classes of large cells and their radius: also compared with places where such a cell fits.",
        json_schema_extra=_unit("µm"),
    )  # fmt: skip
    shrinkage_xy: float = Field(
        1.0, gt=0.05, le=5, description="Imaged over native length in the plane; lengths are divided by it."
    )
    shrinkage_z: float = Field(
        1.0, gt=0.05, le=5,
        description="The same along z, with the mismatch of refractive index; lengths are divided by it.",
    )  # fmt: skip
    coverage_um: float = Field(
        2.0, gt=0, le=50,
        description="A vessel's surface within this of pericytes is covered; not below the optical resolution.",
        json_schema_extra=_unit("µm"),
    )  # fmt: skip
    remodelling_um: float = Field(
        10.0, gt=0, le=500,
        description="A vessel within this of one in the session before, and in its direction, is the same one.",
        json_schema_extra=_unit("µm"),
    )  # fmt: skip
    cell_classes: dict[str, str] = Field(
        {"HSPC": "CD34+ CD45+ CD31-/CD144-", "endothelial": "CD31+ CD144+ CD45-", "ambiguous CD34+": "CD34+"},
        description="Classes of cells and their markers with signs; a slash joins stains that stand for each other.",
    )
    class_thresholds: dict[str, float] = Field(
        {}, description="Thresholds of markers that are known; others come from control wells or a mixture.",
        json_schema_extra=_unit("counts"),
    )  # fmt: skip
    class_control: str | None = Field(
        None, min_length=1,
        description="Condition of the wells without the stains (isotype, fluorescence minus one): thresholds are their "
        "quantile; empty: thresholds come from a mixture.",
    )  # fmt: skip
    class_control_quantile: float = Field(
        0.99, ge=0.5, lt=1, description="Share of the control wells' cells that counts as off."
    )
    min_class_probability: float = Field(
        0.9, gt=0.5, lt=1, description="Least probability of a cell's class; below it the cell is ambiguous."
    )

    @field_validator("cell_classes")
    @classmethod
    def _readable(cls, rules: dict[str, str]) -> dict[str, str]:
        from napari_marrow.niche.cell_classes import parse_rules

        parse_rules(rules)
        return rules


class LineageSection(Section):
    """Marker onset and competing fates."""

    markers: dict[str, str] = Field(
        {"erythroid": "CD235a", "megakaryocytic": "CD41", "granulo-monocytic": "CD11b"},
        description="Lineage and the channel of its marker.",
    )
    consecutive: int = Field(2, ge=1, le=50, description="Frames in a row above threshold that make an onset.")
    min_track_frames: int = Field(3, ge=1, le=1000, description="Shorter tracks are left out.")
    n_bootstrap: int = Field(499, ge=99, le=99999, description="Bootstrap samples of founders for an organoid's bands.")
    bridge_sessions: bool = Field(
        False,
        description="Emergence over all sessions: hazards in a gap are drawn as lines between the sessions around it.",
    )
    n_pedigrees: int = Field(
        20, ge=0, le=1000, description="Pedigrees drawn from the link probabilities for the error of tracking; 0: none."
    )
    dying_h: float = Field(
        4.0, gt=0, le=200, description="Hours over which a dying cell shrinks before it is lost.",
        json_schema_extra=_unit("h"),
    )  # fmt: skip
    death_channel: str | None = Field(
        None, min_length=1, description="Channel of a death marker; empty: deaths are told by shrinking nuclei."
    )
    death_threshold: float | None = Field(None, description="Brightness from which that marker is on.")
    reference: str | None = Field(
        None, description="Condition that others are compared with; empty: the one called control."
    )


class ReportSection(Section):
    """What is written for people."""

    title: str = Field("", description="Title of the report; empty: the study's name.")

"""Settings of the microscope and of what goes wrong at it.

Lengths in µm, times in hours, light in photo-electrons per pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_marrow.errors import SettingsError

CHANNELS: tuple[str, ...] = (
    "nuclei", "CD31", "CD235a", "CD41", "CD11b", "CD45", "CD34", "scaffold", "brightfield",
)  # fmt: skip
"""Channels that can be rendered."""


@dataclass(frozen=True)
class Imaging:
    """The microscope, the dyes and the camera.

    Attributes
    ----------
    shape : tuple of int
        Planes, rows and columns of the image; one plane for 2D.
    spacing_um : tuple of float
        Voxel size (z, y, x), µm.
    numerical_aperture : float
        Lateral PSF FWHM = 0.51 λ / NA.
    axial_ratio : float
        Axial FWHM over lateral FWHM (3-6).
    axial_growth_per_100um : float
        Relative growth of the PSF per 100 µm of depth.
    haze : float
        Share of the light that comes from out of focus.
    haze_sigma_um : float
        Its spread.
    electrons : dict of str to float
        Signal of a fully stained structure per channel, photo-electrons per pixel.
    background_electrons : float
        Light outside of the tissue (medium), photo-electrons per pixel.
    autofluorescence_electrons : float
        Additional light of the tissue.
    gain : float
        Counts per photo-electron.
    read_noise_electrons, offset, full_scale : float
        Camera: read noise (SD), offset in counts, largest count.
    shading : float
        Loss of light in the corners (0.2-0.3).
    bleed_through : float
        Share of each fluorescence channel that the next redder one sees too (0.05-0.15).
    bleaching_per_frame : float
        Loss per exposure (0.001-0.01).
    session_gain_sd : float
        SD of the log gain between sessions (jumps of about ±20 % at 0.1).
    scaffold_shadow : float
        Share of light that the scaffold takes from what lies in it.
    """

    shape: tuple[int, int, int] = (1, 256, 256)
    spacing_um: tuple[float, float, float] = (1.0, 1.02, 1.02)
    numerical_aperture: float = 0.3
    axial_ratio: float = 4.0
    axial_growth_per_100um: float = 0.5
    haze: float = 0.2
    haze_sigma_um: float = 10.0
    electrons: dict[str, float] = field(
        default_factory=lambda: {
            "nuclei": 300.0, "CD31": 130.0, "CD235a": 180.0, "CD41": 180.0, "CD11b": 160.0, "CD45": 120.0,
            "CD34": 120.0, "scaffold": 700.0, "brightfield": 1500.0,
        }
    )  # fmt: skip
    background_electrons: float = 8.0
    autofluorescence_electrons: float = 9.0
    gain: float = 1.0
    read_noise_electrons: float = 1.6
    offset: float = 100.0
    full_scale: int = 65535
    shading: float = 0.25
    bleed_through: float = 0.06
    bleaching_per_frame: float = 0.002
    session_gain_sd: float = 0.08
    scaffold_shadow: float = 0.45

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1 or min(self.spacing_um) <= 0:
            raise SettingsError(f"Image shape {self.shape} and spacing {self.spacing_um} must be positive (z, y, x).")
        if self.numerical_aperture <= 0 or self.gain <= 0 or self.read_noise_electrons < 0:
            raise SettingsError("Imaging needs numerical_aperture > 0, gain > 0 and read_noise_electrons >= 0.")


@dataclass(frozen=True)
class Faults:
    """What goes wrong at the microscope; all of it is flagged in the truth.

    The frame faults are given as frame numbers of the named session: ``((session, t), ...)``, for every position alike
    unless `only_position` names one.

    Attributes
    ----------
    shift_um, rotation_deg : tuple of float
        Range of the remounting shift's length and of the rotation's size between sessions; the first session is the
        reference.
    drift_um_per_h : float
        Stage drift within a session (random direction per session).
    drift_jitter_um : float
        SD of the random part per frame.
    swelling_per_day : float
        Relative growth of the gel per day.
    blank, defocus, duplicate, dropped, saturation, bubble, z_jump, media_change : tuple of (session, t)
        Frames hit. `dropped` frames are missing from the file (a gap in time); `media_change` shifts the field from
        that frame on.
    media_change_um : float
        Size of that shift.
    restart : tuple of (session, t)
        The recorded clock starts again from 0 at this frame.
    swapped : tuple of (session, position, position)
        Wells whose files were exchanged in a session.
    only_position : str
        Position that the frame faults hit; empty for all.
    """

    shift_um: tuple[float, float] = (10.0, 60.0)
    rotation_deg: tuple[float, float] = (1.0, 3.0)
    drift_um_per_h: float = 0.1
    drift_jitter_um: float = 0.15
    swelling_per_day: float = 0.0
    blank: tuple[tuple[int, int], ...] = ()
    defocus: tuple[tuple[int, int], ...] = ()
    duplicate: tuple[tuple[int, int], ...] = ()
    dropped: tuple[tuple[int, int], ...] = ()
    saturation: tuple[tuple[int, int], ...] = ()
    bubble: tuple[tuple[int, int], ...] = ()
    z_jump: tuple[tuple[int, int], ...] = ()
    media_change: tuple[tuple[int, int], ...] = ()
    media_change_um: float = 12.0
    restart: tuple[tuple[int, int], ...] = ()
    swapped: tuple[tuple[int, str, str], ...] = ()
    only_position: str = ""

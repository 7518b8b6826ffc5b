"""What the user states for an import, and the session that is planned from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from napari_marrow.errors import SettingsError
from napari_marrow.ingest.source import STORED_AXES


@dataclass(frozen=True)
class Given:
    """What the user states; it goes before what a file says. See `import_files`."""

    position: str | None = None
    session: int | None = None
    pixel_size: tuple[float, ...] | None = None
    frame_interval_h: float | None = None
    start_h: float | Literal["auto"] | None = None
    axes: str | None = None
    channel_names: tuple[str, ...] | None = None
    name: str | None = None
    pattern: str | None = None

    def check(self) -> None:
        """Refuse impossible values.

        Raises
        ------
        SettingsError
            Naming the option.
        """
        if self.pixel_size is not None and (
            len(self.pixel_size) not in (2, 3) or not all(math.isfinite(s) and s > 0 for s in self.pixel_size)
        ):
            raise SettingsError(f"--pixel-size is {self.pixel_size}: give y,x or z,y,x in µm, all positive.")
        if self.frame_interval_h is not None and not 0 < self.frame_interval_h < 1e6:
            raise SettingsError(f"--frame-interval is {self.frame_interval_h}: give positive hours.")
        if isinstance(self.start_h, (int, float)) and not (math.isfinite(self.start_h) and self.start_h >= 0):
            raise SettingsError(f"--start is {self.start_h}: give hours since the study's t0, zero or more.")
        axes = self.axes
        if axes is not None and (
            set(axes) - set(STORED_AXES) or len(set(axes)) != len(axes) or not axes.endswith("YX")
        ):
            raise SettingsError(f"--axes is '{axes}': give letters of TCZYX, each once, ending in YX.")


@dataclass(frozen=True)
class Missing:
    """A fact that neither the file nor the user states.

    Attributes
    ----------
    lacks : str
        What the file lacks, after its name: ``"has no pixel size"``.
    option : str
        The option that gives it.
    """

    lacks: str
    option: str


@dataclass(frozen=True)
class PlannedSession:
    """A session that an import will make.

    Attributes
    ----------
    position, session : str, int
    source : Path
        File or OME-Zarr folder.
    image : int
        Number of the image within the source.
    axes : str
        Meaning of the source's axes.
    shape : (T, C, Z, Y, X)
    dtype : str
        Pixel type in the study.
    spacing : (dz, dy, dx)
        µm; dz is 1 where there is one plane.
    channels : tuple of str
    time_s : tuple of float
        Seconds since the first frame.
    start_h : float
        Hours since the study's t0.
    utc : str
        Time of the first frame, empty where unknown.
    stage : tuple of (z, y, x), optional
        µm per frame.
    digest : str
        Fingerprint of the source.
    present : bool
        Whether the study has it already, from the same source: it will be skipped.
    pattern : str
        How the files of a TIFF series are named, ``""`` for any other source.
    files : tuple of Path
        Files, or folders, that hold a part of it.
    missing : tuple of Missing
        What has to be given before it can be imported; its values here are then placeholders (NaN, no times).
    """

    position: str
    session: int
    source: Path
    image: int
    axes: str
    shape: tuple[int, int, int, int, int]
    dtype: str
    spacing: tuple[float, float, float]
    channels: tuple[str, ...]
    time_s: tuple[float, ...]
    start_h: float
    utc: str
    stage: tuple[tuple[float, float, float], ...] | None
    digest: str
    present: bool = False
    pattern: str = ""
    files: tuple[Path, ...] = ()
    missing: tuple[Missing, ...] = ()

    def __str__(self) -> str:
        t, c, z, y, x = self.shape
        frames = f"{t} frames over {self.time_s[-1] / 3600:g} h" if t > 1 else "1 frame"
        size = f"{y} x {x} px of {self.spacing[1]:g} µm"
        if z > 1:
            size = f"{z} x {y} x {x} voxels of {self.spacing[0]:g} x {self.spacing[1]:g} x {self.spacing[2]:g} µm"
        done = " (imported already)" if self.present else ""
        return (
            f"{self.source.name} -> {self.position} session {self.session}: {frames} from {self.start_h:g} h, "
            f"{c} {'channel' if c == 1 else 'channels'} ({', '.join(self.channels)}), {size}, "
            f"{self.dtype}{done}"
        )


def as_given(**options: Any) -> Given:
    """Return the user's statements from the arguments of `import_files`."""
    pixel = options.pop("pixel_size")
    if isinstance(pixel, (int, float)):
        pixel = (float(pixel), float(pixel))
    axes = options.pop("axes")
    names = options.pop("channel_names")
    return Given(
        pixel_size=None if pixel is None else tuple(float(s) for s in pixel),
        axes=None if axes is None else str(axes).upper(),
        channel_names=None if names is None else tuple(names),
        **options,
    )

"""From what files say and what the user adds to sessions of a study; whatever is still missing is asked for."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_marrow.errors import InputFileError, MissingMetadataError, PathExistsError, PathMissingError, SettingsError
from napari_marrow.ingest.ome_zarr import OmeZarrReader, is_ome_zarr
from napari_marrow.ingest.source import STORED_AXES, UNKNOWN_AXIS, ImageFacts, SourceReader, stored_dtype
from napari_marrow.ingest.tiff import TiffReader
from napari_marrow.study import Study

DEFAULT_POSITION = "A01_f00"
_NAMED = re.compile(r"(?P<position>[A-Z]{1,2}\d{2}_f\d{2,4})(?:_session(?P<session>\d{1,4}))?(?![A-Za-z0-9])")
_FLAT_DEPTH_UM = 1.0


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

    def __str__(self) -> str:
        t, c, z, y, x = self.shape
        every = "" if t == 1 else f", {self.time_s[-1] / 3600:g} h long"
        size = f"{y} x {x} px" if z == 1 else f"{z} x {y} x {x} voxels"
        done = " (imported already)" if self.present else ""
        return (
            f"{self.source.name} -> {self.position} session {self.session}: {t} frames from {self.start_h:g} h{every}, "
            f"{c} channels ({', '.join(self.channels)}), {size} of {self.spacing[1]:g} µm, {self.dtype}{done}"
        )


def open_source(path: Path) -> SourceReader:
    """Open a file or folder with the reader for it.

    Raises
    ------
    PathMissingError
        If there is nothing at the path.
    InputFileError
        If no reader takes it.
    """
    if not path.exists():
        raise PathMissingError(f"There is no file '{path}'.")
    if path.is_dir():
        if is_ome_zarr(path):
            return OmeZarrReader(path)
        raise InputFileError(f"'{path}' is a folder, but no OME-Zarr: give the image files in it.")
    return TiffReader(path)


def expand(sources: Iterable[Path]) -> list[Path]:
    """Return the sources with every plain folder replaced by the images directly in it, sorted by name.

    Raises
    ------
    InputFileError
        If a folder holds no images, or nothing was given.
    """
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir() and not is_ome_zarr(source):
            inside = sorted(p for p in source.iterdir() if p.suffix.lower() in (".tif", ".tiff") or is_ome_zarr(p))
            if not inside:
                raise InputFileError(f"The folder '{source}' holds no TIFF or OME-Zarr images.")
            found += inside
        else:
            found.append(source)
    if not found:
        raise InputFileError("There is nothing to import: give at least one image.")
    return found


def plan_sessions(
    sources: Sequence[Path], given: Given, study: Study | None
) -> tuple[list[PlannedSession], str | None]:
    """Plan every session of an import without writing anything.

    Returns
    -------
    (list of PlannedSession, str or None)
        The sessions and the t0 that a study without one gets.

    Raises
    ------
    MissingMetadataError
        If a fact is neither in the file nor given; the sentence names the option that gives it.
    InputFileError
        If a file cannot be imported.
    PathExistsError
        If the study has such a session from another source.
    """
    given.check()
    drafts: list[tuple[PlannedSession, str | None, bool]] = []
    covered: set[Path] = set()
    for path in expand(sources):
        if path.resolve() in covered:
            continue
        with open_source(path) as reader:
            digest = fingerprint(path)
            for facts in reader.images:
                covered.update(file.resolve() for file in facts.files)
                drafts.append(_draft(path, facts, len(reader.images), given, digest))
    placed = _place(drafts, given, study)
    return _in_time(placed, given, study)


def _draft(
    path: Path, facts: ImageFacts, n_images: int, given: Given, digest: str
) -> tuple[PlannedSession, str | None, bool]:
    """Return a session without its number and start, its date, and whether its number is stated."""
    axes = _axes(facts, given)
    t, c, z, y, x = (facts.size(axis, axes) for axis in STORED_AXES)
    named = _NAMED.search(path.name.partition(".")[0]) if n_images == 1 else None
    position = given.position or facts.position or (named["position"] if named else DEFAULT_POSITION)
    if n_images > 1 and facts.position is None:
        well, _, first = position.partition("_f")
        position = f"{well}_f{int(first or 0) + facts.image:02d}"
    number = given.session if given.session is not None else facts.session
    if number is None and named and named["session"]:
        number = int(named["session"])
    planned = PlannedSession(
        position=position,
        session=-1 if number is None else number,
        source=path,
        image=facts.image,
        axes=axes,
        shape=(t, c, z, y, x),
        dtype=stored_dtype(path, facts.dtype).name,
        spacing=_spacing(facts, given, z),
        channels=_channel_names(facts, given, c),
        time_s=_times(facts, given, t),
        start_h=math.nan,
        utc=facts.start_utc or "",
        stage=facts.stage_um if facts.stage_um and len(facts.stage_um) == t else None,
        digest=f"{digest}-{facts.image}",
    )
    return planned, facts.start_utc, number is not None


def _axes(facts: ImageFacts, given: Given) -> str:
    """Return the meaning of a file's axes.

    One unnamed axis is time when a frame interval is given and the pixel size is not one of volumes: the user has then
    said that the file is a film.
    """
    if given.axes is not None:
        stated = given.axes
        if len(stated) > len(facts.axes):  # axes of length 1 are not there
            stated = stated[len(stated) - len(facts.axes) :] if _leading_ones(facts, stated) else stated
        if len(stated) != len(facts.axes):
            raise InputFileError(
                f"'{facts.path.name}' has {len(facts.axes)} axes of lengths {facts.sizes}, but --axes names "
                f"{len(given.axes)} ({given.axes}): name each of them."
            )
        return stated
    unknown = facts.axes.count(UNKNOWN_AXIS)
    if unknown == 0:
        return facts.axes
    length = facts.sizes[facts.axes.index(UNKNOWN_AXIS)]
    is_film = given.frame_interval_h is not None and (given.pixel_size is None or len(given.pixel_size) == 2)
    if unknown == 1 and is_film and "T" not in facts.axes:
        return facts.axes.replace(UNKNOWN_AXIS, "T")
    example = "TCYX" if unknown > 1 else "TYX (frames), ZYX (planes) or CYX (channels)"
    raise MissingMetadataError(
        f"'{facts.path.name}' does not say what its axis of length {length} is (lengths {facts.sizes}): give --axes, "
        f"such as {example}."
    )


def _leading_ones(facts: ImageFacts, stated: str) -> bool:
    return len(facts.axes) == 2 and stated.endswith("YX")


def _spacing(facts: ImageFacts, given: Given, n_planes: int) -> tuple[float, float, float]:
    pixel = facts.pixel_um if given.pixel_size is None else (given.pixel_size[-2], given.pixel_size[-1])
    if pixel is None:
        raise MissingMetadataError(f"'{facts.path.name}' has no pixel size: give --pixel-size (µm).")
    z_um = facts.z_um if given.pixel_size is None or len(given.pixel_size) == 2 else given.pixel_size[0]
    if n_planes == 1:
        z_um = _FLAT_DEPTH_UM if z_um is None else z_um
    if z_um is None:
        raise MissingMetadataError(
            f"'{facts.path.name}' has {n_planes} planes of unknown distance: give --pixel-size z,y,x (µm)."
        )
    return z_um, pixel[0], pixel[1]


def _channel_names(facts: ImageFacts, given: Given, n_channels: int) -> tuple[str, ...]:
    if given.channel_names is not None:
        if len(given.channel_names) != n_channels:
            raise SettingsError(
                f"'{facts.path.name}' has {n_channels} channels, but --channels names {len(given.channel_names)}."
            )
        return given.channel_names
    if facts.channels is not None and len(facts.channels) == n_channels:
        return facts.channels
    return tuple(f"channel{n}" for n in range(n_channels))


def _times(facts: ImageFacts, given: Given, n_frames: int) -> tuple[float, ...]:
    if n_frames == 1:
        return (0.0,)
    if given.frame_interval_h is not None:
        return tuple(3600.0 * given.frame_interval_h * t for t in range(n_frames))
    if facts.time_s is None or len(facts.time_s) != n_frames:
        raise MissingMetadataError(f"'{facts.path.name}' has no frame times: give --frame-interval (hours).")
    back = np.flatnonzero(np.diff(facts.time_s) < 0)
    if len(back):
        raise InputFileError(
            f"'{facts.path.name}' has frame times that go backwards at frame {back[0] + 1}: give --frame-interval "
            "(hours) to state them."
        )
    return facts.time_s


def _place(
    drafts: list[tuple[PlannedSession, str | None, bool]], given: Given, study: Study | None
) -> list[tuple[PlannedSession, str | None]]:
    """Give every session its number: the stated one, or the next of its position."""
    taken = _sources_in(study)
    placed: list[tuple[PlannedSession, str | None]] = []
    for planned, date, stated in drafts:
        mine = {s: digest for (p, s), digest in taken.items() if p == planned.position}
        if stated:
            number = planned.session
        else:
            same = [s for s, digest in mine.items() if digest == planned.digest]
            number = same[0] if same else max(mine, default=-1) + 1
        place = (planned.position, number)
        if place in taken and taken[place] != planned.digest:
            raise PathExistsError(
                f"{planned.position} has session {number} already, from another file than '{planned.source.name}': "
                "give another --session or --position."
            )
        placed.append((replace(planned, session=number, present=study is not None and study.has_session(*place)), date))
        taken[place] = planned.digest
    return placed


def _sources_in(study: Study | None) -> dict[tuple[str, int], str]:
    if study is None:
        return {}
    return {
        (position, session): str(study.image(position, session).metadata.get("source_digest", ""))
        for position in study.positions
        for session in study.sessions(position)
    }


def _in_time(
    placed: list[tuple[PlannedSession, str | None]], given: Given, study: Study | None
) -> tuple[list[PlannedSession], str | None]:
    """Give every session its start since t0.

    Time zero is the study's; in a study without sessions it is the earliest date of the files, or else the first
    frame of the only session there is.
    """
    empty = study is None or not study.positions
    t0 = None if study is None else study.t0
    new_t0 = None
    if isinstance(given.start_h, (int, float)):
        return [replace(p, start_h=float(given.start_h)) for p, _ in placed], None
    dates = [date for _, date in placed if date is not None]
    if t0 is None and empty and dates:
        t0 = new_t0 = min(dates, key=lambda d: datetime.fromisoformat(d))
    starts = _known_starts(study)
    result = []
    for planned, date in placed:
        if planned.present:
            start = starts[planned.session]
        elif date is not None and t0 is not None:
            start = (datetime.fromisoformat(date) - datetime.fromisoformat(t0)).total_seconds() / 3600.0
        elif planned.session in starts:  # another position of the same mounting of the plate
            start = starts[planned.session]
        elif empty and not starts and t0 is None:
            start = 0.0
        else:
            why = "no acquisition date" if date is None else "a date, but the study has no t0"
            raise MissingMetadataError(
                f"'{planned.source.name}' has {why}: give --start (hours from the study's t0 to its first frame)."
            )
        if start < 0:
            raise InputFileError(
                f"'{planned.source.name}' begins {-start:.4g} h before the study's t0 ({t0}): import the earliest "
                "session first, or give --start."
            )
        starts.setdefault(planned.session, start)
        result.append(replace(planned, start_h=start))
    return result, new_t0


def _known_starts(study: Study | None) -> dict[int, float]:
    starts: dict[int, float] = {}
    for position in study.positions if study is not None else []:
        assert study is not None
        for session in study.sessions(position):
            start = study.image(position, session).start_h
            starts[session] = min(start, starts.get(session, math.inf))
    return starts


def fingerprint(path: Path) -> str:
    """Return a short digest of a source: its size and 34 samples of its bytes (an OME-Zarr: names, sizes, times).

    It tells files apart and recognises one that was imported before; it is no proof that every byte is the same.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            found = file.stat()
            digest.update(f"{file.relative_to(path)} {found.st_size} {found.st_mtime_ns}".encode("utf-8", "replace"))
        return digest.hexdigest()[:16]
    size = path.stat().st_size
    digest.update(str(size).encode())
    with path.open("rb") as handle:
        for step in range(34):
            handle.seek(step * max(size - 65536, 0) // 33)
            digest.update(handle.read(65536))
    return digest.hexdigest()[:16]


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

"""From what files say and what the user adds to sessions of a study; whatever is still missing is asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from napari_marrow.errors import InputFileError, MissingMetadataError, SettingsError
from napari_marrow.ingest.opening import expand, open_source
from napari_marrow.ingest.placing import Draft, fingerprint, fingerprint_of_files, in_time, place
from napari_marrow.ingest.plan import Given, Missing, PlannedSession
from napari_marrow.ingest.source import STORED_AXES, UNKNOWN_AXIS, ImageFacts, stored_dtype
from napari_marrow.study import Study

DEFAULT_POSITION = "A01_f00"
_NAMED = re.compile(r"(?P<position>[A-Z]{1,2}\d{2}_f\d{2,4})(?:_session(?P<session>\d{1,4}))?(?![A-Za-z0-9])")
_FLAT_DEPTH_UM = 1.0


def plan_sessions(
    sources: Sequence[Path], given: Given, study: Study | None
) -> tuple[list[PlannedSession], str | None]:
    """Plan every session of an import without writing anything.

    Returns
    -------
    (list of PlannedSession, str or None)
        The sessions, some perhaps with `missing` facts, and the t0 that a study without one gets.

    Raises
    ------
    InputFileError
        If a file cannot be imported.
    PathExistsError
        If the study has such a session from another source.
    """
    given.check()
    drafts: list[Draft] = []
    covered: set[Path] = set()
    for path, pattern in expand(sources, given.pattern):
        if path.resolve() in covered:
            continue
        with open_source(path, pattern) as reader:
            digest = "" if pattern else fingerprint(path)
            for facts in reader.images:
                covered.update(file.resolve() for file in facts.files)
                drafts.append(_draft(path, facts, len(reader.images), given, digest, pattern))
    return in_time(place(drafts, study), given, study)


def require_all(planned: Iterable[PlannedSession]) -> None:
    """Ask for what is missing in the first file that lacks something.

    Raises
    ------
    MissingMetadataError
        The sentence names the options.
    """
    for plan in planned:
        if plan.missing:
            lacks, options = ([getattr(m, part) for m in plan.missing] for part in ("lacks", "option"))
            raise MissingMetadataError(f"'{plan.source.name}' {_listed(lacks)}: give {_listed(options)}.")


class _Unstated(Exception):  # noqa: N818 - a question, collected before it is asked
    """A fact that neither the file nor the user states."""

    def __init__(self, lacks: str, option: str) -> None:
        super().__init__(lacks)
        self.question = Missing(lacks, option)


def _listed(words: Sequence[str]) -> str:
    words = list(dict.fromkeys(words))
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _draft(path: Path, facts: ImageFacts, n_images: int, given: Given, digest: str, pattern: str) -> Draft:
    """Return a session without its number and start."""
    axes, spacing, times, missing = _stated(facts, given)
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
        spacing=spacing,
        channels=_channel_names(facts, given, c),
        time_s=times,
        start_h=math.nan,
        utc=facts.start_utc or "",
        stage=facts.stage_um if facts.stage_um and len(facts.stage_um) == t else None,
        digest=fingerprint_of_files(path, facts.files) if pattern else f"{digest}-{facts.image}",
        pattern=pattern,
        files=facts.files,
        missing=missing,
    )
    return Draft(planned, facts.start_utc, number is not None)


def _stated(
    facts: ImageFacts, given: Given
) -> tuple[str, tuple[float, float, float], tuple[float, ...], tuple[Missing, ...]]:
    """Return axes, spacing and frame times, and all that is missing, in whose place stand NaN and no times."""
    missing: list[Missing] = []
    axes, spacing, times = facts.axes, (math.nan,) * 3, tuple[float, ...]()
    try:
        axes = _axes(facts, given)
    except _Unstated as unstated:
        missing.append(unstated.question)
    try:
        spacing = _spacing(facts, given, 1 if missing else facts.size("Z", axes))
    except _Unstated as unstated:
        missing.append(unstated.question)
    if UNKNOWN_AXIS in axes:
        if facts.time_s is None and given.frame_interval_h is None:
            missing.append(Missing("has no frame times", "--frame-interval (hours, if it is frames)"))
        return axes, spacing, times, tuple(missing)
    try:
        times = _times(facts, given, facts.size("T", axes))
    except _Unstated as unstated:
        missing.append(unstated.question)
    return axes, spacing, times, tuple(missing)


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
    example = "such as TCYX" if unknown > 1 else "TYX for frames, ZYX for planes, CYX for channels"
    raise _Unstated(f"does not say what its axis of length {length} is", f"--axes ({example})")


def _leading_ones(facts: ImageFacts, stated: str) -> bool:
    return len(facts.axes) == 2 and stated.endswith("YX")


def _spacing(facts: ImageFacts, given: Given, n_planes: int) -> tuple[float, float, float]:
    pixel = facts.pixel_um if given.pixel_size is None else (given.pixel_size[-2], given.pixel_size[-1])
    if pixel is None:
        raise _Unstated("has no pixel size", "--pixel-size (µm)")
    z_um = facts.z_um if given.pixel_size is None or len(given.pixel_size) == 2 else given.pixel_size[0]
    if n_planes == 1:
        z_um = _FLAT_DEPTH_UM if z_um is None else z_um
    if z_um is None:
        raise _Unstated(f"has {n_planes} planes of unknown distance", "--pixel-size z,y,x (µm)")
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
        raise _Unstated("has no frame times", "--frame-interval (hours)")
    back = np.flatnonzero(np.diff(facts.time_s) < 0)
    if len(back):
        raise InputFileError(
            f"'{facts.path.name}' has frame times that go backwards at frame {back[0] + 1}: give --frame-interval "
            "(hours) to state them."
        )
    return facts.time_s

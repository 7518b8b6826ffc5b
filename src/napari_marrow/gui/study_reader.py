"""What can be known and shown of a study, without a window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_marrow.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

    from napari_marrow.gui.session_layers import SessionLayers
    from napari_marrow.pipeline.recipe import Recipe


@dataclass(frozen=True)
class Place:
    """A session of a position.

    Attributes
    ----------
    position : str
    session : int
    n_frames : int
    start_h, end_h : float
        Time of its first and last frame, hours.
    """

    position: str
    session: int
    n_frames: int
    start_h: float
    end_h: float

    def __str__(self) -> str:
        if self.n_frames == 1:
            return f"{self.session}: 1 frame, day {self.start_h / 24:.1f}"
        return f"{self.session}: {self.n_frames} frames, day {self.start_h / 24:.1f} - {self.end_h / 24:.1f}"


@dataclass(frozen=True, eq=False)
class Contents:
    """What a study holds.

    Attributes
    ----------
    path : Path
    name : str
    places : list of Place
        Ordered by position and session.
    organoids : dict of str to str
        What to say of each position: its organoid and condition.
    channels : list of str
        Names of all channels.
    report : Path or None
        The report's page.
    recipe : Recipe or None
        That of the last run, None where nothing was run.
    """

    path: Path
    name: str
    places: list[Place]
    organoids: dict[str, str]
    channels: list[str]
    report: Path | None = None
    recipe: Recipe | None = None

    def positions(self) -> list[str]:
        """Return the positions in order."""
        return list(dict.fromkeys(place.position for place in self.places))

    def sessions(self, position: str) -> list[Place]:
        """Return the sessions of a position in order."""
        return [place for place in self.places if place.position == position]

    def default(self) -> Place:
        """Return the longest session of the first position."""
        return max(self.sessions(self.positions()[0]), key=lambda place: (place.n_frames, -place.session))


@dataclass(frozen=True, eq=False)
class Results:
    """Tables that are plotted; None where the step has not run."""

    emergence: pd.DataFrame | None = None
    tracks: pd.DataFrame | None = None
    onsets: pd.DataFrame | None = None


def read_contents(path: Path | str) -> Contents:
    """Look into a study.

    Raises
    ------
    StudyError
        If the folder is no study, or one without images.
    """
    from napari_marrow.pipeline.status import last_recipe
    from napari_marrow.study import Study

    study = Study.open(path)
    frames = study.frames()
    if not len(frames):
        raise StudyError(f"The study '{path}' holds no images yet: add some with `marrow import`.")
    grouped = frames.groupby(["position", "session"], sort=True)["time_h"].agg(["size", "min", "max"]).reset_index()
    places = [
        Place(str(row["position"]), int(row["session"]), int(row["size"]), float(row["min"]), float(row["max"]))
        for row in grouped.to_dict("records")
    ]
    channels = [c.name for place in places for c in study.image(place.position, place.session).channels]
    page = study.path / "report" / "report.html"
    return Contents(
        study.path,
        str(study.name),
        places,
        _organoids(study.layout),
        list(dict.fromkeys(channels)),
        page if page.is_file() else None,
        last_recipe(runs) if (runs := study.runs()) else None,
    )


def _organoids(layout: pd.DataFrame) -> dict[str, str]:
    said = {}
    for row in layout.to_dict("records"):
        parts = [str(row[name]) for name in ("organoid", "condition") if str(row.get(name) or "")]
        said[str(row["position"])] = ", ".join(dict.fromkeys(parts))
    return said


@dataclass(frozen=True, eq=False)
class Loaded:
    """A study as it is shown: what it holds, the layers of one session, the tables that are plotted."""

    contents: Contents
    layers: SessionLayers
    results: Results


def read_all(path: Path | str, place: tuple[str, int] | None = None) -> Loaded:
    """Read what is shown of a study.

    Parameters
    ----------
    path : path
        The ``*.marrow`` folder.
    place : (str, int), optional
        Position and session; by default, and where the study has no such session, the first position's longest.

    Raises
    ------
    StudyError
        If the folder is no study, or one without images.
    CorruptDataError
        If something stored is damaged.
    """
    from napari_marrow.gui.session_layers import session_layers
    from napari_marrow.study import Study

    contents = read_contents(path)
    results = read_results(path)
    known = {(p.position, p.session) for p in contents.places}
    default = contents.default()
    position, session = place if place in known and place is not None else (default.position, default.session)
    return Loaded(contents, session_layers(Study.open(path), position, session), results)


def read_results(path: Path | str) -> Results:
    """Return the tables that are plotted, where they belong to the active results that they were computed from."""
    from napari_marrow.gui.currency import current_steps
    from napari_marrow.study import Study

    study = Study.open(path)
    steps = current_steps(study)
    emergence, tracks, onsets = (
        study.table(name) if step in steps and study.has_table(name) else None
        for name, step in (("emergence", "lineage"), ("tracks", "curate"), ("onsets", "lineage"))
    )
    return Results(emergence, tracks, onsets)

"""What a step of the pipeline is: it plans units of work, computes one, and ties the results together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_marrow.errors import StudyError
from napari_marrow.pipeline.recipe import Recipe, digest
from napari_marrow.progress import CancelToken

if TYPE_CHECKING:
    from napari_marrow.study import Study


@dataclass(frozen=True, order=True)
class Unit:
    """The smallest piece of a step that is computed and committed at once.

    Attributes
    ----------
    position : str
        Imaged field; empty for a unit that covers the whole study.
    session : int
        Session; -1 for a unit that covers all sessions.
    t : int
        Frame; -1 for a unit that covers all frames.
    """

    position: str = ""
    session: int = -1
    t: int = -1

    def as_dict(self) -> dict[str, Any]:
        """Return the parts that are set, as a study's commit record names them."""
        unit: dict[str, Any] = {}
        if self.position:
            unit["position"] = self.position
        if self.session >= 0:
            unit["session"] = self.session
        if self.t >= 0:
            unit["t"] = self.t
        return unit

    def __str__(self) -> str:
        parts = [self.position] if self.position else ["study"]
        parts += [f"session {self.session}"] if self.session >= 0 else []
        parts += [f"frame {self.t}"] if self.t >= 0 else []
        return " ".join(parts)


@dataclass(frozen=True)
class Context:
    """What every unit of a run knows: the recipe and the key of each step."""

    recipe: Recipe
    keys: Mapping[str, str] = field(default_factory=dict)


Counts = dict[str, int | float]


class Step(ABC):
    """One step of the pipeline.

    Attributes
    ----------
    name, title : str
        Its name in recipes and on the command line, and what a progress bar says.
    version : int
        Raised when the same configuration would give another result.
    reads : sequence of str
        Steps whose results it reads.
    tables : sequence of str
        Tables that it writes; the first is written last in each unit and so is the unit's commit record.
    whole_study : bool
        Whether a unit's result depends on which sessions the study holds.
    unit_tables : sequence of str
        Tables that get a part for every unit; by default the first of `tables`.
    labels : sequence of str
        Label images that it writes.
    by_frame : bool
        Whether its units are frames that need nothing of other frames' units, so that a share of them can be computed
        apart from the rest.
    stands_for : str
        Step whose results are this step's as long as `state` is empty; none by default.
    """

    name: str = ""
    title: str = ""
    version: int = 1
    reads: Sequence[str] = ()
    tables: Sequence[str] = ()
    whole_study: bool = False
    unit_tables: Sequence[str] = ()
    labels: Sequence[str] = ()
    by_frame: bool = False
    stands_for: str = ""

    def label_images(self, study: Study, key: str, unit: Mapping[str, Any]) -> list[str]:
        """Return the names of the label images that a finished unit has written for its frame; none by default."""
        return []

    def state(self, study: Study) -> dict[str, Any]:
        """Return what the result depends on beside recipe and images, such as edits; empty by default."""
        return {}

    def covers(self, study: Study, key: str, unit: Unit) -> bool:
        """Return whether a finished unit holds what it should by now: more may have been imported since."""
        return True

    @abstractmethod
    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return every parameter that the result depends on."""

    @abstractmethod
    def plan(self, study: Study, context: Context) -> list[Unit]:
        """Return the units, in the order in which a chain of them has to be computed."""

    def chain(self, unit: Unit, context: Context) -> Hashable:
        """Return what units share that have to be computed one after the other; by default each stands alone."""
        return unit

    @abstractmethod
    def run_unit(self, study: Study, unit: Unit, context: Context, cancel: CancelToken) -> Counts:
        """Compute one unit and commit it; return counts to be added up in the run's record."""

    def finalize(self, study: Study, context: Context, computed: int) -> list[str]:
        """Tie the units together, in the parent process; return notes for the user."""
        return []


def frame_units(study: Study) -> list[Unit]:
    """Return a unit for every frame of a study."""
    return [Unit(u.position, u.session, t) for u in session_units(study) for t in range(_n_frames(study, u))]


def session_units(study: Study) -> list[Unit]:
    """Return a unit for every session of every position, sessions in order."""
    return [Unit(p, s) for p in study.positions for s in study.sessions(p)]


def position_units(study: Study) -> list[Unit]:
    """Return a unit for every position."""
    return [Unit(p) for p in study.positions]


def _n_frames(study: Study, unit: Unit) -> int:
    return int(study.image(unit.position, unit.session).shape[0])


def _identity(study: Study, position: str, session: int) -> list[Any]:
    """Return what tells a session's images from others under the same number."""
    image = study.image(position, session)
    return [session, int(image.shape[0]), image.start_h, image.metadata.get("source_digest", "")]


def inventory(study: Study) -> dict[str, list[Any]]:
    """Return which sessions each position has, and what tells their images from others."""
    return {p: [_identity(study, p, s) for s in study.sessions(p)] for p in study.positions}


def step_keys(steps: Iterable[Step], recipe: Recipe, study: Study) -> dict[str, str]:
    """Return the key of each step: the hash of its version, its configuration and the keys of the steps it reads.

    Raises
    ------
    StudyError
        If the study holds no images.
    """
    held = inventory(study)
    if not held:
        raise StudyError(f"The study '{study.path}' holds no images yet: add some with `marrow import`.")
    keys: dict[str, str] = {}
    for step in steps:
        content: dict[str, Any] = {
            "step": step.name,
            "version": step.version,
            "config": step.config(recipe),
            "reads": {name: keys[name] for name in step.reads},
        }
        if step.whole_study:
            content["inventory"] = held
        state = step.state(study)
        if state:
            content["state"] = state
        keys[step.name] = keys[step.stands_for] if step.stands_for and not state else digest(content)
    return keys
